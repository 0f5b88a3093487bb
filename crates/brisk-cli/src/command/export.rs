//! `brisk export`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use brisk_format::{HfConfig, HfExport, HfFolder, is_model, load_model, save_huggingface};
use brisk_train::Project;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::printer::Printer;

/// Write a trained model in the format of another program
#[derive(Args)]
pub struct Export {
    /// A run (runs/NAME) or a model folder
    run: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: Format,
    /// The folder to write; new, or an earlier export
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
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
}

impl Export {
    pub fn run(self) -> Result<ExitCode> {
        let Format::Huggingface = self.format;
        let inside = self.run.join("model");
        let model = if !is_model(&self.run) && is_model(&inside) { &inside } else { &self.run };
        let saved = load_model(model)?.merged()?;
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
