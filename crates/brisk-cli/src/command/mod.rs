//! The commands, one file each.

mod bench;
mod completions;
mod data;
mod doctor;
mod evaluate;
mod export;
mod import;
mod key;
mod log;
mod models;
mod new;
mod predict;
mod publish;
mod schema;
mod serve;
mod summary;
mod train;

use std::process::ExitCode;

use brisk_runtime::{Cpu, Precision};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub enum Command {
    New(new::New),
    Train(train::Train),
    Evaluate(evaluate::Evaluate),
    Predict(predict::Predict),
    Summary(summary::Summary),
    Import(import::Import),
    Export(export::Export),
    Publish(publish::Publish),
    Models(models::Models),
    Serve(serve::Serve),
    Key(key::Key),
    #[command(subcommand)]
    Data(data::Data),
    #[command(subcommand)]
    Bench(bench::Bench),
    Doctor(doctor::Doctor),
    Schema(schema::Schema),
    Completions(completions::Completions),
}

impl Command {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::New(c) => c.run(),
            Command::Train(c) => c.run(),
            Command::Evaluate(c) => c.run(),
            Command::Predict(c) => c.run(),
            Command::Summary(c) => c.run(),
            Command::Import(c) => c.run(),
            Command::Export(c) => c.run(),
            Command::Publish(c) => c.run(),
            Command::Models(c) => c.run(),
            Command::Serve(c) => c.run(),
            Command::Key(c) => c.run(),
            Command::Data(c) => c.run(),
            Command::Bench(c) => c.run(),
            Command::Doctor(c) => c.run(),
            Command::Schema(c) => c.run(),
            Command::Completions(c) => c.run(),
        }
    }
}

/// What computes.
#[derive(Args)]
pub struct Threads {
    /// Threads to compute with [default: all that the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), env = "BRISK_THREADS")]
    threads: Option<u16>,
}

impl Threads {
    /// Their number; 0 for all.
    pub fn number(&self) -> usize {
        self.threads.unwrap_or(0).into()
    }

    /// The device.
    pub fn device(&self) -> Cpu {
        self.threads.map_or_else(Cpu::all_threads, |n| Cpu::new(n.into()))
    }
}

/// How answers are computed.
#[derive(Args)]
pub struct Compute {
    #[command(flatten)]
    pub threads: Threads,
    /// What the operands of large matrix products are rounded to: bf16 is up to twice as fast on CPUs with AVX512-BF16, int8 up to four times on
    /// those with AVX512-VNNI
    #[arg(long, value_name = "KIND", default_value = "f32", value_parser = PossibleValuesParser::new(Precision::ALL.map(Precision::name)).map(precision))]
    pub precision: Precision,
}

/// The precision of a name that the parser has let through.
fn precision(name: String) -> Precision {
    Precision::ALL.into_iter().find(|p| p.name() == name).unwrap_or_default()
}

impl Compute {
    /// The device.
    pub fn device(&self) -> Cpu {
        self.threads.device().with_precision(self.precision)
    }
}
