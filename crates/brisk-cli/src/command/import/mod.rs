//! `brisk import`

mod check;
mod huggingface;
mod onnx;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::Compute;
use crate::exit::bad_input;
use crate::printer::Printer;

/// Look at a model of another framework, and make a model folder of it
///
/// Says what it is, and what becomes of each of its tensors. Nothing in a file is ever executed.
///
/// FILE.onnx: operators of ONNX's versions 7 to 23; docs/onnx.md lists them. The model folder holds the graph and its parameters, to be
/// asked, served, or trained on.
///
/// A Hugging Face folder: config.json, model.safetensors (or its shards) and what sentence-transformers adds. Encoders of the families
/// bert, roberta, xlm-roberta, camembert, distilbert and electra are understood.
#[derive(Args)]
pub struct Import {
    /// A model file (.onnx), or a folder with config.json and model.safetensors
    #[arg(value_name = "FILE|FOLDER")]
    path: PathBuf,
    /// The model folder to write. Of a Hugging Face folder: the encoder with its tokenizer, and what stands on it; without a head, the
    /// model gives a vector for each text, pooled as sentence-transformers' files say, or else the mean over the tokens
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Compare with what the other framework said: tensors (.npz) by the names of the model's inputs, and of its outputs
    #[arg(long, num_args = 2, value_names = ["INPUTS.npz", "OUTPUTS.npz"])]
    check: Option<Vec<PathBuf>>,
    /// With --check: how far an output may lie away, in absolute terms or relative to its largest element
    #[arg(long, value_name = "X", default_value_t = 1e-4, requires = "check")]
    tolerance: f64,
    #[command(flatten)]
    compute: Compute,
    /// One JSON object, with every tensor
    #[arg(long)]
    json: bool,
}

impl Import {
    pub fn run(self) -> Result<ExitCode> {
        let printer = Printer::new(self.json);
        let checked = self.check.as_ref().map(|paths| (&paths[0], &paths[1]));
        if self.path.is_dir() {
            if checked.is_some() {
                return Err(bad_input(
                    "--check compares model files; a Hugging Face folder is checked by its tensors",
                ));
            }
            huggingface::run(&self.path, self.output.as_deref(), &printer, self.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        match extension(&self.path).as_str() {
            "onnx" => onnx::run(&self, &printer),
            _ => Err(bad_input(format!(
                "{}: expected a model file (.onnx) or a Hugging Face folder",
                self.path.display()
            ))),
        }
    }
}

/// In small letters.
pub fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
