//! `brisk export`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use brisk_eval::open_model;
use brisk_format::{
    HfConfig, HfExport, HfFolder, OnnxOptions, SavedModel, export_onnx, is_model, save_huggingface,
    save_keras,
};
use brisk_onnx::Port;
use brisk_train::Project;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::printer::Printer;

/// Write a trained model in the format of another program
#[derive(Args)]
pub struct Export {
    /// A run (runs/NAME), a model folder, or a model file (.onnx, .keras, .h5, .pb, .tflite)
    run: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: Format,
    /// The folder (huggingface) or file (onnx, keras) to write; new, or an earlier export
    #[arg(long, value_name = "FOLDER|FILE")]
    output: PathBuf,
    /// To ONNX: what the last layer yields, not probabilities
    #[arg(long)]
    logits: bool,
    /// To ONNX: inputs come as f32, already scaled; else as they are stored, with their scaling inside
    #[arg(long)]
    scaled_inputs: bool,
    /// The Hugging Face folder that the encoder came from: its family, settings and tokenizer are taken over [default: the
    /// `pretrained` of the run, if it is still there]
    #[arg(long, value_name = "FOLDER")]
    like: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A folder that `transformers` loads
    Huggingface,
    /// A file that ONNX Runtime and others run
    Onnx,
    /// A file that Keras 3 loads
    Keras,
}

impl Export {
    pub fn run(self) -> Result<ExitCode> {
        let inside = self.run.join("model");
        let model = if !is_model(&self.run) && is_model(&inside) { &inside } else { &self.run };
        let saved = open_model(model)?;
        match self.format {
            Format::Huggingface => self.huggingface(model, saved),
            Format::Onnx => self.onnx(&saved),
            Format::Keras => self.keras(&saved),
        }
    }

    fn onnx(&self, saved: &SavedModel) -> Result<ExitCode> {
        let options =
            OnnxOptions { logits: self.logits, scaling: !self.scaled_inputs, ..OnnxOptions::default() };
        let report = export_onnx(&self.output, saved, &options)?;
        let printer = Printer::new(self.json);
        let ports = |all: &[Port]| all.iter().map(|p| format!("{} ({})", p.name, p.ty)).collect::<Vec<_>>();
        match self.json {
            true => printer.json(&json!({
                "output": self.output,
                "inputs": ports(&report.inputs),
                "outputs": ports(&report.outputs),
                "nodes": report.nodes,
                "opset": report.opset,
                "decomposed": report.decomposed,
            }))?,
            false => {
                let (inputs, outputs) = (ports(&report.inputs).join(", "), ports(&report.outputs).join(", "));
                printer.line(format!("inputs   {inputs}\noutputs  {outputs}"))?;
                printer.line(format!("nodes    {}, of version {}", report.nodes, report.opset))?;
                if !report.decomposed.is_empty() {
                    printer.line(format!("taken apart: {}", report.decomposed.join(", ")))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn keras(&self, saved: &SavedModel) -> Result<ExitCode> {
        let config = self.run.join("config.yaml");
        let optimizer = match !is_model(&self.run) && config.is_file() {
            true => Some(Project::load(&config, &[])?.train.optimizer),
            false => None,
        };
        let left_out = save_keras(&self.output, saved, optimizer.as_ref())?;
        let printer = Printer::new(self.json);
        match self.json {
            true => printer.json(&json!({"output": self.output, "left_out": left_out}))?,
            false => {
                printer.line(self.output.display())?;
                left_out.iter().try_for_each(|what| printer.line(format!("left out: {what}")))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn huggingface(&self, model: &Path, saved: SavedModel) -> Result<ExitCode> {
        let like = self.like.clone().map_or_else(|| pretrained(&self.run), |like| Ok(Some(like)))?;
        let like = like.as_deref().map(HfFolder::open).transpose()?;
        let config = HfConfig::of_model(&saved, like.as_ref().map(HfFolder::config))?;
        let tokenizer = tokenizer(model, like.as_ref());
        let sentences = like.as_ref().and_then(HfFolder::sentences);
        let export = HfExport { config: &config, state: &saved.state, tokenizer: &tokenizer, sentences };
        save_huggingface(&self.output, &export)?;
        let printer = Printer::new(self.json);
        let architecture = config.entries["architectures"][0].as_str().unwrap_or_default();
        match self.json {
            true => printer.json(&json!({"output": self.output, "architecture": architecture}))?,
            false => {
                printer.line(format!("{}: {architecture}", self.output.display()))?;
                if tokenizer.is_empty() {
                    printer.line("it has no tokenizer; copy the files of yours into it, or name its folder with --like")?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The folder that a run began from.
fn pretrained(run: &Path) -> Result<Option<PathBuf>> {
    let config = run.join("config.yaml");
    if is_model(run) || !config.is_file() {
        return Ok(None);
    }
    let folder = Project::load(&config, &[])?.model.pretrained;
    Ok(folder.filter(|folder| HfFolder::is_one(folder)))
}

/// The files of the tokenizer: those of the folder that the encoder came from, or the model's own.
fn tokenizer(model: &Path, like: Option<&HfFolder>) -> Vec<PathBuf> {
    let files = like.map_or(Vec::new(), HfFolder::tokenizer_files);
    if !files.is_empty() {
        return files;
    }
    ["tokenizer.json", "vocab.txt"].map(|name| model.join(name)).into_iter().filter(|f| f.is_file()).collect()
}
