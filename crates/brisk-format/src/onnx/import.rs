//! An ONNX file as a model of Brisk's.

use std::path::Path;

use brisk_graph::DType;
use brisk_nn::{LayerSpec, Loss, Model, ModelInput, Onnx, OnnxOutput, Task, TaskOutput};
use brisk_onnx::{Dim, Elem, Port, Type};
use brisk_runtime::State;

use super::OnnxFile;
use crate::{Error, Result, SavedModel};

/// The layer that holds the graph; its parameters are called `graph.NAME`.
const GRAPH: &str = "graph";

/// A model of an ONNX file: one [`Onnx`] layer with the file's graph and parameters, that takes rows (axis 0) of the graph's inputs and
/// gives its outputs as they are.
///
/// A graph that was made for so many rows, and takes no others, is asked several times if there are more.
///
/// Pictures come in as the file has them, `[channels, height, width]`. An error names what of the file does not fit into a model: an
/// operator that Brisk does not have, an input without axes, a shape that depends on numbers.
///
/// ```no_run
/// let path = "resnet50.onnx".as_ref();
/// let model = brisk_format::import_onnx(path, brisk_format::read_onnx(path)?)?;
/// println!("{}", model.model.summary()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn import_onnx(path: &Path, file: OnnxFile) -> Result<SavedModel> {
    let content = |message: String| Error::content(path, message);
    brisk_onnx::check(&file.model).map_err(|e| content(e.to_string()))?;
    let inputs = file.model.graph.inputs.iter().map(input).collect::<Result<Vec<_>, _>>().map_err(content)?;
    if inputs.is_empty() {
        return Err(content("its graph has no inputs: there is nothing to ask it about".into()));
    }
    let ports: Vec<String> = file.model.graph.outputs.iter().map(|o| o.name.clone()).collect();
    let rows = rows(&file.model);
    let layer = Onnx::new(file.model);
    let made = match (of_layer(layer.clone(), &inputs, &ports), rows) {
        (Ok(model), Some(_)) if model.answers(3) => Ok(model),
        (any, Some(rows)) => of_layer(layer.rows(rows), &inputs, &ports).or(any),
        (any, None) => any,
    };
    let model = made.map_err(|e| content(e.to_string()))?;
    // Nothing is done to what the graph yields.
    let outputs = ports.iter().map(|name| TaskOutput::new(name, Loss::MeanSquaredError)).collect();
    let task = Task { outputs, ..Task::new(model, Loss::MeanSquaredError) };
    let state: State =
        file.parameters.iter().map(|(name, t)| (format!("{GRAPH}.{name}"), t.clone())).collect();
    Ok(SavedModel::new(&task, &state))
}

/// A model of the layer that holds the graph.
fn of_layer(graph: Onnx, inputs: &[ModelInput], ports: &[String]) -> brisk_nn::Result<Model> {
    let mut layers = vec![LayerSpec::new(graph).name(GRAPH)];
    let mut names = vec![GRAPH.to_string()];
    for (i, port) in ports.iter().enumerate().skip(1) {
        let name = format!("output_{i}");
        layers.push(LayerSpec::new(OnnxOutput::new(port)).name(&name).inputs([GRAPH]));
        names.push(name);
    }
    Model::new(inputs.to_vec(), layers, &names)
}

/// The number of rows that all inputs of a graph are said to have.
fn rows(model: &brisk_onnx::Model) -> Option<usize> {
    let mut each = model.graph.inputs.iter().map(|port| match &port.ty {
        Type::Tensor(_, Some(dims)) => dims.first().and_then(size),
        _ => None,
    });
    let first = each.next()??;
    each.all(|other| other == Some(first)).then_some(first).filter(|&rows| rows > 0)
}

/// What a file with a graph holds, in ONNX's vocabulary: `.onnx`, `.tflite`, and `.pb` of TensorFlow. `None` if its name ends otherwise.
///
/// ```
/// assert!(brisk_format::read_graph("photo.png".as_ref())?.is_none());
/// # Ok::<(), brisk_format::Error>(())
/// ```
pub fn read_graph(path: &Path) -> Result<Option<OnnxFile>> {
    let end = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    Ok(Some(match end.as_str() {
        "onnx" => super::read_onnx(path)?,
        "tflite" => crate::import_tflite(path)?,
        "pb" => crate::import_frozen_graph(path)?,
        _ => return Ok(None),
    }))
}

fn size(dim: &Dim) -> Option<usize> {
    if let Dim::Size(n) = dim { Some(*n) } else { None }
}

/// What a model's input is for a graph's.
fn input(port: &Port) -> Result<ModelInput, String> {
    let name = &port.name;
    let Type::Tensor(elem, dims) = &port.ty else {
        return Err(format!("input {name:?} is {}; a model takes tensors", port.ty));
    };
    let Some([_, sizes @ ..]) = dims.as_deref() else {
        return Err(format!(
            "input {name:?} ({}) has no axis of rows; export the model with the shapes of its inputs",
            port.ty
        ));
    };
    let dtype = match elem {
        Elem::Uint8 | Elem::Bool => DType::U8,
        e if e.is_float() => DType::F32,
        Elem::String => return Err(format!("input {name:?} takes texts, which no model does here")),
        _ => DType::I32,
    };
    Ok(ModelInput::new(name.clone(), sizes.iter().map(size)).dtype(dtype))
}
