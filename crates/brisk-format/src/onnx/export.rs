//! A trained model as an ONNX file.

use std::path::Path;

use brisk_graph::{DType, Graph, Shape};
use brisk_nn::{INPUT, Loss, ModelInput, Rows, Scaling, Shapes, Task};
use brisk_onnx::{Export, Exported, PackedText, Port};
use indexmap::IndexMap;

use super::read::OnnxFile;
use super::write::write_onnx;
use crate::{Error, Result, SavedModel};

/// How a model is written as ONNX.
///
/// ```
/// let options = brisk_format::OnnxOptions { logits: true, ..Default::default() };
/// assert!(options.scaling);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Whether classifiers yield what their last layer does, rather than probabilities.
    pub logits: bool,
    /// Whether inputs come as they are stored, bytes of pictures for example, and are scaled inside; else they come scaled, as f32.
    pub scaling: bool,
    /// The longest sequences that a model with sines or rotations of places takes.
    pub longest: usize,
}

impl Default for OnnxOptions {
    fn default() -> OnnxOptions {
        OnnxOptions { logits: false, scaling: true, longest: 2048 }
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxReport {
    /// What comes in; sizes that may differ have names.
    pub inputs: Vec<Port>,
    /// What goes out.
    pub outputs: Vec<Port>,
    /// The number of operators.
    pub nodes: usize,
    /// The version of ONNX's operators.
    pub opset: i64,
    /// Operations of Brisk that ONNX does not have, which became several operators each.
    pub decomposed: Vec<String>,
}

/// Writes a trained model as an ONNX file.
///
/// What comes in keeps Brisk's layout: pictures are `[batch, height, width, channels]`. The batch is free, and so are lengths that differ
/// from batch to batch. A text comes as `input_ids`, `attention_mask` and, where the model reads them, `token_type_ids`, i64
/// `[batch, length]`; of several texts these follow the text's name and a dot. A mask has ones for a text's tokens, and zeros behind them.
/// Outputs are called as in predictions; with [`OnnxOptions::logits`] a classifier's `probabilities` become `logits`. The file's metadata names the
/// classes (`labels`, a list in JSON) and what each output was trained for.
///
/// ```
/// use brisk_format::{OnnxOptions, SavedModel, export_onnx, read_onnx};
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([4]).add(Dense::new(2)).build()?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let saved = SavedModel::new(&task, &task.model.init_state(1)?);
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.onnx");
/// let report = export_onnx(&path, &saved, &OnnxOptions::default())?;
/// assert_eq!(report.inputs[0].ty.to_string(), "float [batch, 4]");
/// assert_eq!(report.outputs[0].name, "probabilities");
/// assert_eq!(read_onnx(&path)?.parameters.get("dense.kernel"), saved.state.get("dense.kernel"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export_onnx(path: &Path, saved: &SavedModel, options: &OnnxOptions) -> Result<OnnxReport> {
    let unsaved = |message: String| Error::unsaved(path, message);
    let merged = match saved.lora {
        Some(_) => Some(saved.clone().merged().map_err(|e| unsaved(e.to_string()))?),
        None => None,
    };
    let saved = merged.as_ref().unwrap_or(saved);
    let task = task(saved, options).map_err(|e| unsaved(e.to_string()))?;
    let Exported { mut model, parameters, decomposed } = exported(saved, &task, options).map_err(unsaved)?;
    model.metadata = metadata(saved).map_err(unsaved)?;
    let report = OnnxReport {
        inputs: model.graph.inputs.clone(),
        outputs: model.graph.outputs.clone(),
        nodes: model.graph.nodes.len(),
        opset: model.opsets.get("").copied().unwrap_or(0),
        decomposed,
    };
    write_onnx(path, &OnnxFile { model, parameters })?;
    Ok(report)
}

/// The task whose predictions are exported.
fn task(saved: &SavedModel, options: &OnnxOptions) -> brisk_nn::Result<Task> {
    let mut task = saved.task();
    if !options.scaling {
        let stored = |i: &&ModelInput| i.dtype != DType::I32;
        let names: Vec<String> = task.model.inputs().iter().filter(stored).map(|i| i.name.clone()).collect();
        names.iter().try_for_each(|name| task.model.set_stored(name, DType::F32, Scaling::default()))?;
    }
    if options.logits {
        // What a regression says is what its last layer yields.
        task.outputs.iter_mut().for_each(|output| output.loss = Loss::MeanSquaredError);
    }
    Ok(task)
}

/// With a free length for each that the model has, or with one for all if they must be the same.
fn exported(saved: &SavedModel, task: &Task, options: &OnnxOptions) -> std::result::Result<Exported, String> {
    let own = Free::new(task, false);
    let found = own.export(saved, task, options);
    match found {
        Err(first) if own.axes.len() > 2 => {
            Free::new(task, true).export(saved, task, options).map_err(|_| first)
        }
        found => found,
    }
}

/// The axes whose sizes differ from batch to batch.
struct Free {
    axes: Vec<String>,
    /// For each of the model's inputs the axis of each of its lengths, in their order.
    lengths: Vec<Vec<usize>>,
    texts: Vec<PackedText>,
}

impl Free {
    fn new(task: &Task, one_length: bool) -> Free {
        let inputs = task.model.inputs();
        let text =
            |i: &ModelInput| i.name.strip_suffix(".ids").filter(|_| i.rows == Rows::Tokens).map(String::from);
        let names: Vec<String> = inputs.iter().filter_map(text).collect();
        let several = |i: &ModelInput| i.rows == Rows::Samples && i.shape.contains(&None);
        let alone = one_length || names.len() + inputs.iter().filter(|i| several(i)).count() < 2;
        let mut free = Free { axes: vec!["batch".into()], lengths: Vec::new(), texts: Vec::new() };
        let length_of = |axes: &mut Vec<String>, name: &str| {
            let axis = if alone { "length".to_string() } else { format!("{name}_length") };
            axes.iter().position(|a| *a == axis).unwrap_or_else(|| {
                axes.push(axis);
                axes.len() - 1
            })
        };
        for name in &names {
            let length = length_of(&mut free.axes, name);
            let called =
                |part: &str| if names.len() == 1 { part.to_string() } else { format!("{name}.{part}") };
            free.texts.push(PackedText {
                name: name.clone(),
                length,
                ids: called("input_ids"),
                mask: called("attention_mask"),
                types: called("token_type_ids"),
            });
        }
        for input in inputs {
            free.lengths.push(match input.rows {
                Rows::Samples => input
                    .shape
                    .iter()
                    .filter(|d| d.is_none())
                    .map(|_| length_of(&mut free.axes, &input.name))
                    .collect(),
                _ => {
                    let own = |t: &&PackedText| input.name.starts_with(&format!("{}.", t.name));
                    free.texts.iter().find(own).map(|t| t.length).into_iter().collect()
                }
            });
        }
        free
    }

    /// The tensors of a batch of these sizes.
    fn shapes(&self, task: &Task, sizes: &[usize]) -> Shapes {
        let size = |axis: usize| sizes.get(axis).copied().unwrap_or(1);
        let tensor = |(input, lengths): (&ModelInput, &Vec<usize>)| {
            let mut lengths = lengths.iter().map(|&a| size(a));
            let rows = match input.rows {
                Rows::Tokens => size(0).saturating_mul(lengths.next().unwrap_or(1)),
                Rows::Samples | Rows::Texts => size(0),
            };
            let row = input.shape.iter().map(|d| d.or_else(|| lengths.next()).unwrap_or(1));
            let shape: Vec<usize> = std::iter::once(rows).chain(row).collect();
            (input.tensor().to_string(), Shape::from(shape), input.dtype)
        };
        Shapes::Tensors(task.model.inputs().iter().zip(&self.lengths).map(tensor).collect())
    }

    fn export(
        &self,
        saved: &SavedModel,
        task: &Task,
        options: &OnnxOptions,
    ) -> std::result::Result<Exported, String> {
        let record = |sizes: &[usize]| -> std::result::Result<Graph, String> {
            task.predict_graph(self.shapes(task, sizes)).map_err(|e| e.to_string())
        };
        let mut names: Vec<(String, String)> = task
            .model
            .inputs()
            .iter()
            .filter(|i| i.name == INPUT)
            .map(|i| (i.tensor().into(), INPUT.into()))
            .collect();
        if options.logits && saved.outputs.iter().any(|o| o.loss.is_classification()) {
            names.push((brisk_nn::PROBABILITIES.into(), "logits".into()));
        }
        let specs = task.param_specs().map_err(|e| e.to_string())?;
        let fixed = specs.into_iter().filter(|s| !s.trainable).map(|s| s.name);
        let request = Export {
            name: "brisk".into(),
            axes: self.axes.clone(),
            record: &record,
            state: &saved.state,
            fixed: fixed.collect(),
            names,
            texts: self.texts.clone(),
            longest: options.longest,
        };
        brisk_onnx::export(&request).map_err(|e| e.to_string())
    }
}

fn metadata(saved: &SavedModel) -> std::result::Result<IndexMap<String, String>, String> {
    let mut entries = IndexMap::new();
    entries.insert("brisk_version".to_string(), env!("CARGO_PKG_VERSION").to_string());
    let kind = |loss: &Loss| match (loss.is_binary(), loss.is_classification()) {
        (true, _) => "binary classification",
        (false, true) => "classification",
        (false, false) => "regression",
    };
    let kinds: Vec<String> =
        saved.outputs.iter().map(|o| format!("{}: {}", o.said(), kind(&o.loss))).collect();
    entries.insert("outputs".into(), kinds.join("\n"));
    if !saved.labels.is_empty() {
        entries.insert("labels".into(), serde_json::to_string(&saved.labels).map_err(|e| e.to_string())?);
    }
    Ok(entries)
}
