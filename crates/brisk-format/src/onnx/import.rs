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
    let mut layers = vec![LayerSpec::new(Onnx::new(file.model)).name(GRAPH)];
    let mut names = vec![GRAPH.to_string()];
    for (i, port) in ports.iter().enumerate().skip(1) {
        let name = format!("output_{i}");
        layers.push(LayerSpec::new(OnnxOutput::new(port)).name(&name).inputs([GRAPH]));
        names.push(name);
    }
    let model = Model::new(inputs, layers, &names).map_err(|e| content(e.to_string()))?;
    // Nothing is done to what the graph yields.
    let outputs = ports.iter().map(|name| TaskOutput::new(name, Loss::MeanSquaredError)).collect();
    let task = Task { outputs, ..Task::new(model, Loss::MeanSquaredError) };
    let state: State =
        file.parameters.iter().map(|(name, t)| (format!("{GRAPH}.{name}"), t.clone())).collect();
    Ok(SavedModel::new(&task, &state))
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
    let size = |d: &Dim| if let Dim::Size(n) = d { Some(*n) } else { None };
    Ok(ModelInput::new(name.clone(), sizes.iter().map(size)).dtype(dtype))
}
