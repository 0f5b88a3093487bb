//! Development automation: `cargo xtask COMMAND`.

mod instructions;
mod machine;
mod peers;
mod protocol;
mod report;
mod results;
mod rows;
mod venv;

use clap::Parser;

/// Development automation for Brisk
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
enum Command {
    /// Measure Brisk against PyTorch, Keras, JAX and ONNX Runtime, row by row
    Peers(peers::Peers),
    /// Count the instructions of a few kernels with valgrind, and fail if they are more than in bench/instructions.json
    Instructions(instructions::Instructions),
    /// Make the golden files of brisk-testkit anew, and check them against Keras
    Goldens,
    /// Train the same CNN on Fashion-MNIST with Keras and with Brisk, and compare test accuracies
    Accuracy(Accuracy),
    /// Make the Rust of protobuf's messages anew from crates/brisk-serve/proto and crates/brisk-format/proto
    Protocol,
}

#[derive(clap::Args)]
struct Accuracy {
    /// Folder of the four IDX files, gz (Debian: package dataset-fashion-mnist)
    data: std::path::PathBuf,
    /// Seeds to train with
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Only run Brisk
    #[arg(long)]
    skip_keras: bool,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Peers(command) => command.run(),
        Command::Instructions(command) => command.run(),
        Command::Goldens => goldens(),
        Command::Accuracy(command) => accuracy(&command),
        Command::Protocol => protocol::run(),
    }
}

fn goldens() -> anyhow::Result<()> {
    let python = venv::ensure()?;
    for script in [
        "layers.py",
        "training.py",
        "fine_tuning.py",
        "check_layers.py",
        "huggingface.py",
        "tensorflow_files.py",
        "tensorflow_graphs.py",
        "mxnet_graphs.py",
        "torch_files.py",
        "torch_models.py",
    ] {
        let path = venv::root().join("crates/brisk-testkit/goldens").join(script);
        venv::check(std::process::Command::new(&python).arg(path))?;
    }
    Ok(())
}

fn accuracy(command: &Accuracy) -> anyhow::Result<()> {
    let python = venv::ensure()?;
    let brisk = peers::build_brisk()?;
    let mut script = std::process::Command::new(python);
    script.arg(venv::root().join("bench/peers/fashion_mnist_accuracy.py")).arg(&command.data);
    script.arg("--brisk").arg(brisk).arg("--seeds");
    script.args(command.seeds.iter().map(u64::to_string));
    if command.skip_keras {
        script.arg("--skip-keras");
    }
    venv::check(&mut script)
}
