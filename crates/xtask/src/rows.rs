//! What is measured: rows, each a unit of work that Brisk and its peers do alike.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::venv::root;

/// Counts of tokens of real texts, for answers of encoders.
pub const LENGTHS: &str = "bench/lengths/sentences.txt";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Brisk,
    Torch,
    TorchCompile,
    Keras,
    Jax,
    #[value(name = "onnxruntime")]
    #[serde(rename = "onnxruntime")]
    OnnxRuntime,
}
use Side::{Jax, Keras, OnnxRuntime, Torch, TorchCompile};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Train,
    Infer,
}
use Work::{Infer, Train};

#[derive(Clone, Copy, PartialEq, Eq)]
enum DType {
    F32,
    /// Mixed precision: parameters and sums in f32.
    Bf16,
    /// Weights in int8 by channel, activations quantized as they come.
    Int8,
}
use DType::{Bf16, F32, Int8};

/// A unit of work.
pub struct Row {
    work: Work,
    preset: &'static str,
    batch_size: usize,
    dtype: DType,
    /// Timed steps of a run: about five seconds' worth.
    pub steps: usize,
    /// Whom Brisk is compared with: who can do it, at a speed worth the wait.
    pub peers: &'static [Side],
}

const fn row(
    work: Work,
    preset: &'static str,
    batch_size: usize,
    dtype: DType,
    steps: usize,
    peers: &'static [Side],
) -> Row {
    Row { work, preset, batch_size, dtype, steps, peers }
}

/// All rows, in the order of the report. Steps on [`LENGTHS`] are multiples of the eight batches that take turns.
pub static ROWS: &[Row] = &[
    row(Train, "cifar10-cnn", 32, F32, 250, &[Torch, TorchCompile, Keras, Jax]),
    row(Train, "cifar10-cnn", 128, F32, 80, &[Torch, TorchCompile, Keras, Jax]),
    row(Train, "resnet18-cifar", 32, F32, 6, &[Torch, TorchCompile, Keras]),
    row(Train, "lenet", 32, F32, 800, &[Torch, TorchCompile, Keras, Jax]),
    row(Train, "mlp", 32, F32, 4000, &[Torch, TorchCompile, Keras, Jax]),
    row(Train, "lstm-imdb", 32, F32, 150, &[Torch, TorchCompile, Keras]),
    row(Train, "minilm", 32, F32, 4, &[Torch, TorchCompile]),
    row(Train, "minilm", 32, Bf16, 4, &[Torch, TorchCompile]),
    row(Train, "bert-base", 8, F32, 4, &[Torch, TorchCompile]),
    row(Train, "bert-base", 8, Bf16, 4, &[Torch, TorchCompile]),
    row(Infer, "cifar10-cnn", 1, F32, 5000, &[Torch, OnnxRuntime]),
    row(Infer, "cifar10-cnn", 256, F32, 200, &[Torch, OnnxRuntime]),
    row(Infer, "cifar10-cnn", 1, Int8, 5000, &[OnnxRuntime]),
    row(Infer, "cifar10-cnn", 256, Int8, 200, &[OnnxRuntime]),
    row(Infer, "minilm", 1, F32, 400, &[Torch, OnnxRuntime]),
    row(Infer, "minilm", 32, F32, 24, &[Torch, OnnxRuntime]),
    row(Infer, "minilm", 1, Int8, 400, &[OnnxRuntime]),
    row(Infer, "minilm", 32, Int8, 24, &[OnnxRuntime]),
];

impl Row {
    /// `train-minilm-b32-bf16`
    pub fn name(&self) -> String {
        let work = if self.work == Train { "train" } else { "infer" };
        let dtype = if self.dtype == F32 { String::new() } else { format!("-{}", self.dtype()) };
        format!("{work}-{}-b{}{dtype}", self.preset, self.batch_size)
    }

    fn dtype(&self) -> &'static str {
        match self.dtype {
            F32 => "f32",
            Bf16 => "bf16",
            Int8 => "int8",
        }
    }

    /// The program that does it, ready to start; `brisk` and `python` are the programs' paths.
    pub fn command(&self, side: Side, steps: usize, threads: usize, brisk: &Path, python: &Path) -> Command {
        let infer = self.work == Infer;
        let mut command = match side {
            Side::Brisk => {
                let mut command = Command::new(brisk);
                command.args(["bench", if infer { "infer" } else { "train" }, self.preset]);
                command
            }
            peer => {
                let script = match peer {
                    Torch | TorchCompile => "torch",
                    Keras => "keras",
                    Jax => "jax",
                    Side::Brisk | OnnxRuntime => "onnxruntime",
                };
                let mut command = Command::new(python);
                command.arg(root().join(format!("bench/peers/peer_{script}.py")));
                command.args(["--preset", self.preset]);
                command.args(infer.then_some("--infer"));
                command.args((peer == TorchCompile).then_some("--compile"));
                command
            }
        };
        for (flag, value) in [("--batch-size", self.batch_size), ("--steps", steps), ("--threads", threads)] {
            command.arg(flag).arg(value.to_string());
        }
        if self.dtype != F32 {
            let flag = if side == Side::Brisk { "--precision" } else { "--dtype" };
            command.args([flag, self.dtype()]);
        }
        if infer && self.preset == "minilm" {
            command.arg("--lengths").arg(root().join(LENGTHS));
        }
        command.arg("--json");
        command
    }
}

/// The row of a name.
pub fn find(name: &str) -> Result<&'static Row, String> {
    ROWS.iter().find(|r| r.name() == name).ok_or_else(|| {
        let names: Vec<_> = ROWS.iter().map(Row::name).collect();
        format!("expected some of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_to_their_rows() {
        for row in ROWS {
            assert!(std::ptr::eq(find(&row.name()).unwrap(), row), "{}", row.name());
        }
        assert!(find("train-minilm-b32-bf16").is_ok());
        assert!(find("train-minilm-b33").err().unwrap().contains("infer-minilm-b32-int8"));
    }

    #[test]
    fn every_side_does_the_same_work() {
        let line = |name: &str, side| {
            let command = find(name).unwrap().command(side, 8, 2, "brisk".as_ref(), "python".as_ref());
            let root = root().display().to_string() + "/";
            let words = command.get_args().map(|a| a.to_string_lossy().replace(&root, ""));
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line("train-cifar10-cnn-b128", Side::Brisk),
            "bench train cifar10-cnn --batch-size 128 --steps 8 --threads 2 --json"
        );
        assert_eq!(
            line("train-minilm-b32-bf16", TorchCompile),
            "bench/peers/peer_torch.py --preset minilm --compile --batch-size 32 --steps 8 --threads 2 --dtype bf16 --json"
        );
        let lengths = "--lengths bench/lengths/sentences.txt --json";
        assert_eq!(
            line("infer-minilm-b1-int8", Side::Brisk),
            format!("bench infer minilm --batch-size 1 --steps 8 --threads 2 --precision int8 {lengths}")
        );
        assert_eq!(
            line("infer-minilm-b1-int8", OnnxRuntime),
            format!(
                "bench/peers/peer_onnxruntime.py --preset minilm --infer --batch-size 1 --steps 8 --threads 2 --dtype int8 {lengths}"
            )
        );
    }
}
