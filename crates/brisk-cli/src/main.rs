//! The command line of Brisk: arguments in, a library call, a report out.
//!
//! Results go to stdout (`--json` for machines), progress and logs to stderr. Exit codes: 0 good, 1 failed (a full disk, a
//! loss that is no number), 2 bad usage or bad input, 130 interrupted.

mod command;
mod exit;
mod files;
mod printer;
mod repository;
mod saved;

use std::process::ExitCode;

use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  brisk train                            train a small network on the sample that comes with Brisk
  brisk evaluate runs/default            measure it on its test data
  brisk predict runs/default photo.png   ask it about pictures
  brisk predict runs/reviews \"A text\"    ask a model about texts
  brisk new my-project                   start a project of your own: a commented brisk.yaml
  brisk train --resume runs/default      go on after a break

Every key of a project can be set on the way: brisk train --set train.epochs=3
Exit codes: 0 good, 1 failed, 2 bad usage or bad input, 130 interrupted";

const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BRISK_TARGET"), ", ", env!("BRISK_PROFILE"), ")");

/// Deep learning in one fast binary: prepare data, train, evaluate and use models of images, texts and tables
#[derive(Parser)]
#[command(name = "brisk", version = VERSION, after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

/// What the command line is made of, for shell completions.
fn definition() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::definition().debug_assert();
    }
}
