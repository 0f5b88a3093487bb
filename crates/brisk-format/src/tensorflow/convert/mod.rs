//! Graphs of TensorFlow in ONNX's vocabulary.
//!
//! What an operator of TensorFlow means is in `tensorflow/core/api_def/base_api` and `tensorflow/core/ops` of its repository, with
//! the attributes that a SavedModel leaves out because they have their default.

mod call;
mod control;
mod elementwise;
mod frozen;
#[cfg(test)]
mod hostile;
mod lists;
mod movement;
mod pictures;
mod pieces;
mod product;
mod reduce;
mod shape;
mod value;
mod variables;
mod walk;

use std::path::Path;

use brisk_onnx::{Dim, Elem, Port, Type};

pub use self::frozen::import_frozen_graph;
use self::variables::Variables;
use self::walk::Walk;
use super::{TfCheckpoint, TfEndpoint, TfSavedModel, TfShape, TfType, read_saved_model};
use crate::onnx::emit::Emitter;
use crate::{Error, OnnxFile, Result};

/// The signature that those who serve a model ask.
const SIGNATURE: &str = "serving_default";

/// What a SavedModel answers in its signature `serving_default`, or its only one, in ONNX's vocabulary: its functions are written
/// out where they are called, its variables are the parameters. Nothing in it is run.
///
/// An error lists the operators that have no translation, all of them with their nodes. Loops are translated as they are: what
/// [`brisk_onnx`] can do with them is said there.
///
/// ```no_run
/// use brisk_format::{import_onnx, import_saved_model, save_model};
/// let folder = "saved_model".as_ref();
/// let file = import_saved_model(folder)?;
/// println!("{} operators, {} parameters", file.model.graph.nodes.len(), file.parameters.len());
/// save_model("model".as_ref(), &import_onnx(folder, file)?)?;
/// # Ok::<(), brisk_format::Error>(())
/// ```
pub fn import_saved_model(path: &Path) -> Result<OnnxFile> {
    let model = read_saved_model(path)?;
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let checkpoint = match folder.join("variables").is_dir() {
        true => Some(TfCheckpoint::open(folder)?),
        false => None,
    };
    let variables = Variables::new(&model, checkpoint.as_ref());
    convert(&model, variables).map_err(|message| Error::content(path, message))
}

fn convert(model: &TfSavedModel, variables: Variables<'_>) -> Result<OnnxFile, String> {
    let signature = match model.signatures.get(SIGNATURE) {
        Some(signature) => signature,
        None => {
            let mut asked =
                model.signatures.iter().filter(|(name, s)| !name.starts_with("__") && !s.outputs.is_empty());
            match (asked.next(), asked.next()) {
                (Some((_, only)), None) => only,
                _ => {
                    let names: Vec<&String> = model.signatures.keys().collect();
                    return Err(format!(
                        "it has no signature {SIGNATURE:?}, only {names:?}; export it with one, as `model.export` does"
                    ));
                }
            }
        }
    };
    let kept = signature.inputs.keys().chain(signature.outputs.keys()).cloned();
    let mut walk = Walk::new(&model.graph, &model.functions, variables, Emitter::new(kept));
    let mut ports = Vec::new();
    for (name, endpoint) in &signature.inputs {
        ports.push(port(name, endpoint)?);
        walk.given(&endpoint.value.as_ref().ok_or_else(|| several(name))?.node, name);
    }
    let mut wanted = Vec::new();
    for (name, endpoint) in &signature.outputs {
        wanted.push(endpoint.value.as_ref().ok_or_else(|| several(name))?);
    }
    let found = walk.outermost(&wanted)?;
    let mut emit = walk.finish();
    let mut outputs = Vec::new();
    for ((name, endpoint), value) in signature.outputs.iter().zip(found) {
        // A name that is an input's too.
        let own = if signature.inputs.contains_key(name) { emit.unique(name) } else { name.clone() };
        emit.alias(value.name().map_err(|m| format!("output {name:?}: {m}"))?, &own);
        outputs.push(Port { name: own, ..port(name, endpoint)? });
    }
    Ok(emit.finish(ports, outputs))
}

fn several(name: &str) -> String {
    format!("{name:?} is a sparse or ragged tensor; export the model with dense ones")
}

fn port(name: &str, endpoint: &TfEndpoint) -> Result<Port, String> {
    typed(name, endpoint.dtype, &endpoint.shape)
}

fn typed(name: &str, dtype: TfType, shape: &TfShape) -> Result<Port, String> {
    let dim = |d: &Option<usize>| d.map_or(Dim::Unknown, Dim::Size);
    let dims = shape.as_ref().map(|s| s.iter().map(dim).collect());
    let elem = elem(dtype).map_err(|m| format!("{name:?}: {m}"))?;
    Ok(Port { name: name.into(), ty: Type::Tensor(elem, dims) })
}

/// TensorFlow's element types in ONNX.
fn elem(dtype: TfType) -> Result<Elem, String> {
    Ok(match dtype.0 {
        1 => Elem::Float,
        2 => Elem::Double,
        3 => Elem::Int32,
        4 => Elem::Uint8,
        5 => Elem::Int16,
        6 => Elem::Int8,
        7 => Elem::String,
        9 => Elem::Int64,
        10 => Elem::Bool,
        14 => Elem::Bfloat16,
        17 => Elem::Uint16,
        19 => Elem::Float16,
        22 => Elem::Uint32,
        23 => Elem::Uint64,
        _ => return Err(format!("elements of {dtype} have no like in ONNX")),
    })
}
