//! Frozen graphs: a graph alone, whose variables have become constants.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use brisk_onnx::{Port, Type};
use prost::Message;

use super::super::constant::Constants;
use super::super::graph::{TfFunction, TfGraph, TfInput};
use super::super::proto::GraphDef;
use super::super::{TfAttribute, TfNode};
use super::{Ends, typed};
use crate::hashed::read_whole;
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
    let mut ends = Ends::default();
    for node in inputs {
        let dtype = match node.attributes.get("dtype") {
            Some(TfAttribute::Type(dtype)) => *dtype,
            _ => return Err(format!("node {:?} (Placeholder): attribute \"dtype\" is missing", node.name)),
        };
        let shape = match node.attributes.get("shape") {
            Some(TfAttribute::Shape(shape)) => shape.clone(),
            _ => None,
        };
        ends.inputs.push((node.name.clone(), typed(&node.name, dtype, &shape)?));
    }
    let output = |value: TfInput| {
        let port = Port { name: value.node.clone(), ty: Type::Unknown };
        (value, port)
    };
    ends.outputs = wanted.into_iter().map(output).collect();
    ends.convert_frozen(graph, functions)
}
