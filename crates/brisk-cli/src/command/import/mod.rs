//! `brisk import`

mod check;
mod huggingface;
mod keras;
mod onnx;
mod torch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_format::{import_mxnet, import_saved_model, read_graph};
use clap::Args;

use super::Compute;
use crate::exit::bad_input;
use crate::printer::Printer;

/// Look at a model of another framework, and make a model folder of it
///
/// Says what it is, and what becomes of each of its tensors. Nothing in a file is ever executed.
///
/// FILE.onnx: operators of ONNX's versions 7 to 28; docs/onnx.md lists them. The model folder holds the graph and its parameters, to be
/// asked, served, or trained on.
///
/// FILE.keras, and whole models in .h5: layers of Keras's become Brisk's, with their weights; Lambda layers and other code are refused.
///
/// FILE.pt, .pth, .bin or .ckpt of PyTorch: the tensors of a state dict, for the model that `--into` names; layers are matched by name and by
/// order, and `--rename` says what that cannot find. Without `--into`: what is in the file.
///
/// A SavedModel of TensorFlow (a folder with saved_model.pb), a frozen graph (.pb), and NAME-symbol.json of MXNet with its
/// NAME-NNNN.params: graphs of inference.
///
/// FILE.tflite of TensorFlow Lite: its whole numbers that stand for floats become floats, rounded to the same places.
///
/// A Hugging Face folder: config.json, model.safetensors (or its shards) and what sentence-transformers adds. Encoders of the families
/// bert, roberta, xlm-roberta, camembert, distilbert and electra are understood.
#[derive(Args)]
pub struct Import {
    /// A model file (.onnx, .tflite, .keras, .h5, .pt, .pth, .bin, .ckpt), or a folder with config.json and model.safetensors
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
    /// Of PyTorch: the model that the tensors are for: a model folder or run, a project (FILE.yaml), or a preset
    #[arg(long, value_name = "MODEL")]
    into: Option<String>,
    /// Of PyTorch: the entry that holds the state dict, such as `model_state_dict` [default: found]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Of PyTorch: which of their modules or tensors is which of ours; `*` stands for any part of a name. May be given several times
    #[arg(long, value_name = "THEIRS -> OURS", requires = "into")]
    rename: Vec<String>,
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
        if self.path.join("saved_model.pb").is_file() {
            return onnx::run(&self, import_saved_model(&self.path)?, &printer);
        }
        if self.path.is_dir() {
            if checked.is_some() {
                return Err(bad_input(
                    "--check compares model files; a Hugging Face folder is checked by its tensors",
                ));
            }
            huggingface::run(&self.path, self.output.as_deref(), &printer, self.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(file) = read_graph(&self.path)? {
            return onnx::run(&self, file, &printer);
        }
        match extension(&self.path).as_str() {
            "json" => onnx::run(&self, import_mxnet(&self.path, &parameters(&self.path)?)?, &printer),
            "keras" | "h5" | "hdf5" => keras::run(&self, &printer),
            "pt" | "pth" | "bin" | "ckpt" => torch::run(&self, &printer),
            _ if !self.path.is_file() => {
                huggingface::run(&self.path, self.output.as_deref(), &printer, self.json)?;
                Ok(ExitCode::SUCCESS)
            }
            _ => Err(bad_input(format!(
                "{}: expected a model file (.onnx, .tflite, .keras, .h5, .pt, .pth, .bin, .ckpt) or a Hugging Face folder",
                self.path.display()
            ))),
        }
    }
}

/// The parameters beside a symbol of MXNet, `NAME-0010.params` beside `NAME-symbol.json`: those of the last epoch.
fn parameters(symbol: &Path) -> Result<PathBuf> {
    let name = symbol.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(stem) = name.strip_suffix("-symbol.json") else {
        return Err(bad_input(format!("{}: expected NAME-symbol.json of MXNet", symbol.display())));
    };
    let folder = symbol.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let ours = |path: &PathBuf| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".params"))
    };
    let found = beside.flatten().map(|entry| entry.path()).filter(ours).max();
    found.ok_or_else(|| bad_input(format!("{}: there is no {stem}-NNNN.params beside it", symbol.display())))
}

/// In small letters.
pub fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
