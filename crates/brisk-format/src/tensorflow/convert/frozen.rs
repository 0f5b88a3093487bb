//! Frozen graphs: a graph alone, whose variables have become constants.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use prost::Message;

use super::super::constant::Constants;
use super::super::graph::{TfFunction, TfGraph, TfInput};
use super::super::proto::GraphDef;
use super::super::{TfAttribute, TfNode};
use super::typed;
use super::variables::Variables;
use super::walk::Walk;
use crate::hashed::read_whole;
use crate::onnx::emit::Emitter;
use crate::tensors::Fault;
use crate::{Error, OnnxFile, Result};

/// A frozen graph of TensorFlow (`frozen_inference_graph.pb`) in ONNX's vocabulary: its `Placeholder`s come in, and what no other
/// node reads goes out. Its constants of more than one float are parameters. Nothing in it is run.
///
/// ```no_run
/// let file = brisk_format::import_frozen_graph("frozen_inference_graph.pb".as_ref())?;
/// println!("{} operators", file.model.graph.nodes.len());
/// # Ok::<(), brisk_format::Error>(())
/// ```
pub fn import_frozen_graph(path: &Path) -> Result<OnnxFile> {
    let (bytes, _) = read_whole(path, "a frozen graph of TensorFlow (.pb)")?;
    let read = read(bytes, path).map_err(|f| f.malformed(path, "graph of TensorFlow"));
    let (graph, functions) = read?;
    convert(&graph, &functions).map_err(|message| Error::content(path, message))
}

fn read(bytes: Vec<u8>, path: &Path) -> Result<(TfGraph, BTreeMap<String, TfFunction>), Fault> {
    let file = GraphDef::decode(bytes::Bytes::from(bytes)).map_err(|e| Fault::Unsound(e.to_string()))?;
    let mut constants = Constants::new(path);
    let graph = TfGraph::read(file.node, &HashSet::new(), &mut constants)?;
    let library = file.library.unwrap_or_default();
    let functions = super::super::saved_model::functions(library, &mut constants)?;
    Ok((graph, functions))
}

fn convert(graph: &TfGraph, functions: &BTreeMap<String, TfFunction>) -> Result<OnnxFile, String> {
    let inputs: Vec<&TfNode> = graph.nodes.iter().filter(|n| n.op == "Placeholder").collect();
    let read: HashSet<&str> = graph.nodes.iter().flat_map(|n| &n.inputs).map(|i| i.node.as_str()).collect();
    let ends = graph.nodes.iter().filter(|n| {
        !read.contains(n.name.as_str())
            && !["NoOp", "Const", "Placeholder", "Assert"].contains(&n.op.as_str())
    });
    let wanted: Vec<TfInput> =
        ends.map(|n| TfInput { node: n.name.clone(), output: None, index: 0 }).collect();
    if wanted.is_empty() {
        return Err("no node of the graph is one that no other reads; expected the outputs of a model".into());
    }
    let kept = inputs.iter().map(|n| n.name.clone()).chain(wanted.iter().map(|w| w.node.clone()));
    let mut walk = Walk::new(graph, functions, Variables::default(), Emitter::new(kept));
    walk.frozen = true;
    let mut ports = Vec::new();
    for node in inputs {
        let dtype = match node.attributes.get("dtype") {
            Some(TfAttribute::Type(dtype)) => *dtype,
            _ => return Err(format!("node {:?} (Placeholder): attribute \"dtype\" is missing", node.name)),
        };
        let shape = match node.attributes.get("shape") {
            Some(TfAttribute::Shape(shape)) => shape.clone(),
            _ => None,
        };
        ports.push(typed(&node.name, dtype, &shape)?);
        walk.given(&node.name, &node.name);
    }
    let found = walk.outermost(&wanted.iter().collect::<Vec<_>>())?;
    let mut emit = walk.finish();
    let mut outputs = Vec::new();
    for (input, value) in wanted.iter().zip(found) {
        let name = &input.node;
        emit.alias(value.name().map_err(|m| format!("output {name:?}: {m}"))?, name);
        outputs.push(brisk_onnx::Port { name: name.clone(), ty: brisk_onnx::Type::Unknown });
    }
    Ok(emit.finish(ports, outputs))
}
