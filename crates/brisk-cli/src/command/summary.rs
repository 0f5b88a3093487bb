//! `brisk summary`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use brisk_eval::Ready;
use brisk_format::{OnnxFile, read_graph};
use brisk_nn::{Model, zoo};
use brisk_onnx::{Row, describe};
use brisk_train::{DEFAULT_PROJECT, Project};
use clap::Args;
use serde_json::json;

use unicode_width::UnicodeWidthStr;

use crate::exit::bad_input;
use crate::printer::{Printer, thousands};

/// Classes of a ready-made model that is shown without data.
const CLASSES: usize = 10;

/// Show the layers of a model: their names, output shapes and parameters
#[derive(Args)]
pub struct Summary {
    /// A project (FILE.yaml), a run, a model folder, a graph (.onnx, .tflite, .pb), or a preset such as resnet18-cifar [default: as `brisk train`]
    #[arg(value_name = "FILE.yaml|RUN|MODEL|FILE.onnx|PRESET")]
    what: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub fn run(self) -> Result<ExitCode> {
        let printer = Printer::new(self.json);
        if let Some(file) = self.what.as_deref().map(|p| read_graph(p.as_ref())).transpose()?.flatten() {
            return graph(&file, &printer, self.json);
        }
        let model = self.model()?;
        match self.json {
            true => printer.json(&data(&model)?)?,
            false => printer.line(model.summary()?)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn model(&self) -> Result<Model> {
        let usual = Path::new("brisk.yaml").exists().then_some("brisk.yaml");
        let Some(what) = self.what.as_deref().or(usual) else {
            return of_project(&Project::parse(DEFAULT_PROJECT, "the default project")?);
        };
        let path = PathBuf::from(what);
        if path.is_dir() {
            let unfinished = path.join("config.yaml").is_file() && !path.join("model").is_dir();
            return match unfinished {
                true => of_project(&Project::load(&path.join("config.yaml"), &[])?),
                false => Ok(Ready::open(&path)?.model.model),
            };
        }
        if path.is_file() {
            return of_project(&Project::load(&path, &[])?);
        }
        if what.contains(['/', '\\', '.']) {
            return Err(bad_input(format!(
                "{what}: not found; expected a project, a run, a model folder or a preset"
            )));
        }
        model(what)
    }
}

/// The model of a preset.
pub fn model(preset: &str) -> Result<Model> {
    let preset = zoo::preset(preset)?;
    Ok((preset.build)(preset.input_shape.to_vec().into(), CLASSES)?)
}

/// Every node of a graph in a file.
fn graph(file: &OnnxFile, printer: &Printer, as_json: bool) -> Result<ExitCode> {
    let rows = describe(&file.model)?;
    let results =
        |row: &Row| -> Vec<String> { row.results.iter().map(|(n, t)| format!("{n}: {t}")).collect() };
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|r| json!({"name": r.name, "operator": r.op, "results": results(r), "parameters": r.parameters}))
            .collect();
        printer.json(&json!({ "nodes": rows }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let cells: Vec<[String; 3]> =
        rows.iter().map(|r| [r.op.clone(), results(r).join(", "), thousands(r.parameters)]).collect();
    let widths = [0, 1].map(|i| cells.iter().map(|c| c[i].width()).max().unwrap_or(0));
    for [op, results, parameters] in &cells {
        let pad = |text: &str, width: usize| " ".repeat(width - text.width());
        let line =
            format!("{op}{}  {results}{}  {parameters:>12}", pad(op, widths[0]), pad(results, widths[1]));
        printer.line(line)?;
    }
    let total: usize = rows.iter().map(|r| r.parameters).sum();
    printer.line(format!("\n{} nodes, {} parameters", thousands(rows.len()), thousands(total)))?;
    Ok(ExitCode::SUCCESS)
}

/// The model of a project. The data are opened only if the model depends on them.
fn of_project(project: &Project) -> Result<Model> {
    match (project.image(), &project.model.layers) {
        _ if project.is_table() => Ok(project.prepare()?.task.model),
        ((Some([height, width]), Some(channels)), Some(_)) => {
            Ok(project.model([height, width, channels], CLASSES)?)
        }
        _ => Ok(project.prepare()?.task.model),
    }
}

fn data(model: &Model) -> Result<serde_json::Value> {
    let specs = model.param_specs()?;
    let of = |name: &str, trainable: bool| -> usize {
        let own = specs.iter().filter(|s| s.trainable == trainable);
        let own =
            own.filter(|s| name.is_empty() || s.name.strip_prefix(name).is_some_and(|n| n.starts_with('.')));
        own.map(|s| s.shape.elements()).sum()
    };
    let layers: Vec<_> = model
        .layers()
        .iter()
        .map(|l| {
            json!({
                "name": l.name,
                "type": l.layer.kind(),
                "output_shape": l.output,
                "parameters": of(&l.name, true) + of(&l.name, false),
            })
        })
        .collect();
    let (trainable, other) = (of("", true), of("", false));
    Ok(json!({
        "input_shape": model.input_shape().dims(),
        "layers": layers,
        "parameters": {"total": trainable + other, "trainable": trainable, "non_trainable": other},
    }))
}
