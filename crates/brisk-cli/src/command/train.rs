//! `brisk train`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Result;
use brisk_eval::Report;
use brisk_runtime::Device;
use brisk_train::{DEFAULT_PROJECT, Outcome, PreparedData, Progress, Project, Run, new_run_dir};
use clap::Args;
use serde::Serialize;

use super::Threads;
use crate::exit::{INTERRUPTED, bad_input};
use crate::printer::{Printer, shell, thousands};

/// Train a model
///
/// Ctrl-C finishes the step, saves, and says how to go on (exit code 130); a second Ctrl-C quits at once.
#[derive(Args)]
pub struct Train {
    /// The project [default: brisk.yaml if there is one, else a small network on the sample that comes with Brisk]
    #[arg(value_name = "FILE.yaml")]
    file: Option<PathBuf>,
    /// The folder of the run [default: runs/NAME, NAME as the project's]
    #[arg(long, value_name = "RUN_DIR")]
    out: Option<PathBuf>,
    /// What everything random follows from
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    threads: Threads,
    /// Set a key of the project, such as train.epochs=3; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on with a run
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = ["file", "out", "seed"])]
    resume: Option<PathBuf>,
    /// One JSON object instead of text at the end
    #[arg(long)]
    json: bool,
}

/// What a finished run came to, for machines.
#[derive(Serialize)]
struct Summary<'a> {
    run: String,
    epochs: usize,
    loss: Option<f64>,
    accuracy: Option<f64>,
    evaluation: Option<&'a Report>,
}

impl Train {
    pub fn run(self) -> Result<ExitCode> {
        let mut run = match &self.resume {
            Some(dir) => Run::resume(dir, &self.set)?,
            None => {
                let (project, name) = self.project()?;
                Run::create(project, &self.out.clone().unwrap_or_else(|| new_run_dir(&name)))?
            }
        };
        let device = self.threads.device().with_precision(run.project().train.precision.into());
        announce(&run, &device)?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        // Without a handler training works as well, it only stops less gently.
        let _ = ctrlc::set_handler(move || {
            if flag.swap(true, Relaxed) {
                std::process::exit(INTERRUPTED.into());
            }
            eprintln!("\nFinishing the step and saving; Ctrl-C again quits at once.");
        });
        let progress = Progress::stderr(run.project().train.epochs);
        match run.train(&device, progress, &stop)? {
            Outcome::Interrupted { epoch, step } => {
                eprintln!("Stopped in epoch {epoch} after step {step}; everything is saved. To go on:");
                eprintln!("  {}", self.resume_command(run.dir()));
                Ok(ExitCode::from(INTERRUPTED))
            }
            Outcome::Finished { report } => {
                self.finished(&run, report.as_ref())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    /// The project, and what its run is called.
    fn project(&self) -> Result<(Project, String)> {
        let mut set = self.set.clone();
        set.extend(self.seed.map(|s| format!("train.seed={s}")));
        let usual = Path::new("brisk.yaml");
        let file = self.file.as_deref().or_else(|| usual.exists().then_some(usual));
        let Some(file) = file else {
            return Ok((
                Project::parse_with(DEFAULT_PROJECT, "the default project", &set)?,
                "default".into(),
            ));
        };
        if !file.exists() {
            let message = "there is no such file; give the project's YAML, or start one with `brisk new DIR`";
            return Err(bad_input(format!("{}: {message}", file.display())));
        }
        Ok((Project::load(file, &set)?, name(file)))
    }

    fn resume_command(&self, dir: &Path) -> String {
        let mut command = format!("brisk train --resume {}", shell(&dir.display().to_string()));
        if self.resume.is_some() {
            self.set.iter().for_each(|s| command += &format!(" --set {}", shell(s)));
        }
        command
    }

    fn finished(&self, run: &Run, report: Option<&Report>) -> Result<()> {
        let (printer, dir) = (Printer::new(self.json), run.dir().display().to_string());
        if self.json {
            return Ok(printer.json(&Summary {
                run: dir,
                epochs: run.position().epoch,
                loss: report.map(|r| r.loss),
                accuracy: report.map(|r| r.accuracy),
                evaluation: report,
            })?);
        }
        if let Some(report) = report {
            let part = if run.prepared().data.counts()[2] > 0 { "Test" } else { "Validation" };
            let (loss, accuracy) = (report.loss, report.accuracy);
            let samples = thousands(report.samples as usize);
            printer
                .line(format!("\n{part} data ({samples} samples): loss {loss:.4}, accuracy {accuracy:.4}"))?;
        }
        printer.line(format!(
            "The run is in {dir}, the model in {dir}/model.\n\nNext:\n{}",
            next_commands(run)
        ))?;
        Ok(())
    }
}

/// A run is called as its project's file; as its folder if that is a plain brisk.yaml.
fn name(file: &Path) -> String {
    let stem = |p: &Path| p.file_stem().map(|s| s.to_string_lossy().into_owned());
    let folder =
        || std::path::absolute(file).ok()?.parent()?.file_name().map(|n| n.to_string_lossy().into_owned());
    match stem(file) {
        Some(s) if s == "brisk" => folder().unwrap_or(s),
        Some(s) => s,
        None => "run".into(),
    }
}

/// What to do with a trained model.
fn next_commands(run: &Run) -> String {
    let (ask, about) = match &run.prepared().data {
        PreparedData::Images(_) => ("FILE...", "ask the model about pictures"),
        PreparedData::Table(table) if table.features.inputs.values().all(|f| f.as_text().is_some()) => {
            ("TEXT...", "ask the model about texts")
        }
        PreparedData::Table(_) => ("--file TABLE", "ask the model about rows"),
    };
    let run = run.dir();
    let at = shell(&run.display().to_string());
    let runs = run
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .map_or(at.clone(), |p| shell(&p.display().to_string()));
    let open = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let commands = [
        (format!("brisk evaluate {at}"), "loss, accuracy, and a table of the classes"),
        (format!("brisk predict {at} {ask}"), about),
        (format!("{open} {at}/report.html"), "curves, confusion matrix, mistakes"),
        (format!("tensorboard --logdir {runs}"), "the curves in TensorBoard"),
    ];
    let width = commands.iter().map(|c| c.0.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> =
        commands.iter().map(|(command, what)| format!("  {command:<width$}   {what}")).collect();
    lines.join("\n")
}

/// What is about to happen.
fn announce(run: &Run, device: &dyn Device) -> Result<()> {
    let (prepared, project) = (run.prepared(), run.project());
    let [training, validation, test] = prepared.data.counts();
    let counts = [("training", training), ("validation", validation), ("test", test)];
    let parts: Vec<_> =
        counts.iter().filter(|c| c.1 > 0).map(|(name, n)| format!("{} {name}", thousands(*n))).collect();
    let (kind, shape) = match &prepared.data {
        PreparedData::Images(images) => (
            "images",
            format!("{} to {} classes", images.preprocessing.image, images.dataset.classes().len()),
        ),
        PreparedData::Table(table) => {
            let names = |names: Vec<&String>| names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
            let inputs = table.features.inputs.keys().collect();
            let outputs: Vec<&String> = table.features.targets.keys().collect();
            let outputs = if outputs.is_empty() { "embeddings".into() } else { names(outputs) };
            ("rows", format!("{} to {outputs}", names(inputs)))
        }
    };
    eprintln!("Data    {}: {} {kind}", project.source_name(), parts.join(", "));
    let model = &prepared.task.model;
    let parameters = model.param_specs()?.iter().map(|p| p.shape.elements()).sum();
    let batches = match project.train.batch_tokens {
        Some(tokens) => format!("batches of {tokens} tokens"),
        None => format!("batches of {}", project.train.batch_size),
    };
    eprintln!(
        "Model   {shape} in {} layers, {} parameters; {}, {batches}",
        model.layers().len(),
        thousands(parameters),
        project.train.optimizer.name(),
    );
    if let PreparedData::Table(table) = &prepared.data {
        if let Some(report) = &table.loaded {
            eprintln!("        {} tensors from {}", report.loaded.len(), project.pretrained_name());
        }
        table.remarks(&run.notes()?).iter().for_each(|remark| eprintln!("        {remark}"));
    }
    let from = match (run.position().epoch, run.position().step) {
        (0, 0) => String::new(),
        (epoch, 0) => format!(", going on after epoch {epoch}"),
        (epoch, step) => format!(", going on in epoch {} after step {step}", epoch + 1),
    };
    eprintln!("Device  {}; run {}{from}", device.describe(), run.dir().display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_called_as_their_projects() {
        assert_eq!(name(Path::new("x/cats.yaml")), "cats");
        assert_eq!(name(Path::new("x/cats/brisk.yaml")), "cats");
    }
}
