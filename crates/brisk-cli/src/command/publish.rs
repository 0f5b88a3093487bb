//! `brisk publish`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_eval::{Ready, Unmet, run_of};
use brisk_format::{TENSORS, is_model, model_files};
use brisk_registry::{Publication, Repository, check_alias, check_name};
use brisk_train::{Project, RunMetrics};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::exit::bad_input;
use crate::printer::{Printer, shell};
use crate::repository::{arrow, signed, wait};

/// Publish a trained model as the next version of a model in a repository
///
/// Of a run, `publish: {require: {test_accuracy: ">= 0.9"}}` in its project says what must have been measured. A model folder that is no part of
/// a run has no requirements; the version's description says which were met.
#[derive(Args)]
pub struct Publish {
    /// A run (runs/NAME) or a model folder
    run: PathBuf,
    /// What the model is called in the repository
    #[arg(long)]
    name: String,
    /// The repository: a folder, or s3://BUCKET/PREFIX
    #[arg(
        long,
        visible_alias = "repository",
        value_name = "REPOSITORY",
        default_value = "models",
        env = "BRISK_REPOSITORY"
    )]
    to: String,
    /// An alias to point to the new version, such as production; several may be given
    #[arg(long, value_name = "ALIAS")]
    alias: Vec<String>,
    /// Words about this version
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What is to be published, and what was measured of it.
struct Origin {
    model: PathBuf,
    run: Option<PathBuf>,
    metrics: BTreeMap<String, f64>,
    /// The requirements, all met.
    required: BTreeMap<String, String>,
    /// The checksum of the tensors that were measured.
    measured: Option<String>,
}

impl Publish {
    pub fn run(self) -> Result<ExitCode> {
        check_name(&self.name)?;
        self.alias.iter().try_for_each(|alias| check_alias(alias))?;
        let origin = Origin::open(&self.run)?;
        let source = origin.run.as_deref().unwrap_or(&origin.model).canonicalize().ok();
        let source = source.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
        let publication = Publication {
            extra: companions(&origin.model)?,
            metrics: origin.metrics.clone(),
            required: origin.required.clone(),
            expected: origin.measured.iter().map(|sum| (TENSORS.to_string(), sum.clone())).collect(),
            source: source.unwrap_or_default(),
            note: self.note.clone(),
            ..Publication::new(&self.name, &origin.model)
        };
        let (version, moves) = wait(async {
            let repository = signed(Repository::create(&self.to).await?);
            let version = repository.publish(&publication).await?;
            let mut moves = Vec::new();
            for alias in &self.alias {
                let moved = repository.set_alias(&self.name, alias, version.version).await;
                let context = || format!("{} {} is published, but", self.name, version.version);
                moves.push((alias, moved.with_context(context)?));
            }
            Ok((version, moves))
        })?;
        let place = format!("{}/{}/{}", self.to.trim_end_matches('/'), version.name, version.version);
        let printer = Printer::new(self.json);
        if self.json {
            let moves: Map<String, Value> =
                moves.iter().map(|(alias, moved)| (alias.to_string(), json!(moved))).collect();
            let gate: Vec<Value> = version
                .required
                .iter()
                .map(|(m, required)| json!({"metric": m, "required": required, "found": origin.metrics.get(m)}))
                .collect();
            let mut data = json!(version);
            data["path"] = place.into();
            data["aliases"] = moves.into();
            data["gate"] = gate.into();
            printer.json(&data)?;
            return Ok(ExitCode::SUCCESS);
        }
        printer.line(format!("{} {} -> {place}", version.name, version.version))?;
        for (metric, required) in &version.required {
            let found = origin.metrics.get(metric).copied().unwrap_or(f64::NAN);
            printer.line(format!("  {metric} {found:.4}, as required: {required}"))?;
        }
        for (alias, moved) in &moves {
            printer.line(format!("  {alias}: {}", arrow(moved)))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Origin {
    /// A run, or a model by itself. An error if a run's model is not what its project requires.
    fn open(path: &Path) -> Result<Origin> {
        let (model, run) = match is_model(path) {
            true => (path.to_path_buf(), run_of(path)),
            false => (path.join("model"), Some(path.to_path_buf())),
        };
        let Some(run) = run.filter(|run| run.join("config.yaml").is_file()) else {
            model_files(path)?; // says what the path is, if it is no model
            let (metrics, required) = (BTreeMap::new(), BTreeMap::new());
            return Ok(Origin { model, run: None, metrics, required, measured: None });
        };
        if !is_model(&model) {
            model_files(path)?; // says that the run has not finished
        }
        let require = Project::load(&run.join("config.yaml"), &[])?.publish.require;
        let again = format!("`brisk train --resume {}` measures it", shell(&run.display().to_string()));
        let (metrics, measured) = match RunMetrics::read(&run)? {
            Some(metrics) if metrics.model != RunMetrics::model(&model)? => {
                let place = run.join("metrics.json");
                return Err(bad_input(format!(
                    "{}: it is of another model than {}: not published; {again}",
                    place.display(),
                    model.display()
                )));
            }
            Some(metrics) => (metrics.values, Some(metrics.model)),
            None if require.is_empty() => {
                eprintln!(
                    "warning: {}: it has no metrics.json: published without metrics; {again}",
                    run.display()
                );
                (BTreeMap::new(), None)
            }
            None => {
                let message = "not published: its project requires metrics, but it has no metrics.json, where they stand";
                return Err(bad_input(format!("{}: {message}; {again}", run.display())));
            }
        };
        match require.check(&metrics) {
            Ok(()) => {
                let required = require.0.iter().map(|(m, c)| (m.clone(), c.to_string())).collect();
                Ok(Origin { model, run: Some(run), metrics, required, measured })
            }
            Err(unmet) => Err(refusal(&run, &unmet)),
        }
    }
}

fn refusal(run: &Path, unmet: &[Unmet]) -> anyhow::Error {
    let each: String = unmet.iter().map(|u| format!("\n  {u}")).collect();
    let what = if unmet.len() == 1 { "a requirement is" } else { "requirements are" };
    bad_input(format!(
        "{}: not published: {what} not met{each}\nTrain a better model; what is required stands in {}, under publish.require",
        run.display(),
        run.join("config.yaml").display()
    ))
}

/// What goes with the model: outputs that a server checks before it serves it, and the run's report.
fn companions(model: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let ready = Ready::open(model).with_context(|| format!("{}: it cannot be asked", model.display()))?;
    Ok(brisk_serve::companions(&ready)?)
}
