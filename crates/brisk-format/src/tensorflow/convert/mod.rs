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
mod lite;
mod movement;
mod pictures;
mod pieces;
mod product;
mod reduce;
mod shape;
mod value;
mod variables;
mod walk;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use brisk_onnx::{Dim, Elem, Port, Type};

pub use self::frozen::import_frozen_graph;
use self::variables::Variables;
use self::walk::Walk;
use super::{
    TfCheckpoint, TfEndpoint, TfFunction, TfGraph, TfInput, TfSavedModel, TfShape, TfType, read_saved_model,
};
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
    let mut ends = Ends::default();
    for (name, endpoint) in &signature.inputs {
        let value = endpoint.value.as_ref().ok_or_else(|| several(name))?;
        ends.inputs.push((value.node.clone(), port(name, endpoint)?));
    }
    for (name, endpoint) in &signature.outputs {
        let value = endpoint.value.as_ref().ok_or_else(|| several(name))?;
        ends.outputs.push((value.clone(), port(name, endpoint)?));
    }
    let walk = Walk::new(&model.graph, &model.functions, variables);
    ends.convert(walk)
}

/// What comes into a graph and goes out of it.
#[derive(Default)]
pub(crate) struct Ends {
    /// The nodes that are given.
    pub inputs: Vec<(String, Port)>,
    /// The values that are asked for.
    pub outputs: Vec<(TfInput, Port)>,
}

impl Ends {
    /// Translates a graph whose variables have become constants: those of more than one float are parameters.
    pub fn convert_frozen(
        &self,
        graph: &TfGraph,
        functions: &BTreeMap<String, TfFunction>,
    ) -> Result<OnnxFile, String> {
        let mut walk = Walk::new(graph, functions, Variables::default());
        walk.frozen = true;
        self.convert(walk)
    }

    fn convert<'m>(&'m self, mut walk: Walk<'m>) -> Result<OnnxFile, String> {
        let (inputs, outputs) = (self.inputs.iter(), self.outputs.iter());
        walk.emit.keep(inputs.map(|(_, p)| &p.name).chain(outputs.map(|(_, p)| &p.name)));
        for (node, port) in &self.inputs {
            walk.given(node, &port.name);
        }
        let wanted: Vec<&TfInput> = self.outputs.iter().map(|(value, _)| value).collect();
        let found = walk.outermost(&wanted)?;
        let mut emit = walk.emit;
        let mut taken: HashSet<&str> = self.inputs.iter().map(|(_, p)| p.name.as_str()).collect();
        let mut outputs = Vec::new();
        for ((_, port), value) in self.outputs.iter().zip(found) {
            let Port { name, ty } = port.clone();
            // A name that another output or an input has.
            let own = if taken.insert(&port.name) { name } else { emit.unique(&name) };
            emit.alias(value.name().map_err(|m| format!("output {own:?}: {m}"))?, &own);
            outputs.push(Port { name: own, ty });
        }
        Ok(emit.finish(self.inputs.iter().map(|(_, p)| p.clone()).collect(), outputs))
    }
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
pub(crate) fn elem(dtype: TfType) -> Result<Elem, String> {
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
