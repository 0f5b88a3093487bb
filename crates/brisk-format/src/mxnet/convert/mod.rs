//! Graphs of MXNet in ONNX's vocabulary.
//!
//! What an operator of MXNet means, and what its attributes are by default, is in `src/operator` of apache/mxnet 1.x.

mod call;
mod elementwise;
mod layers;
mod movement;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use brisk_graph::Data;
use brisk_onnx::{Constant, Dim, Elem, Port, Type};

use self::call::{Call, Operator, operator};
use super::{MxnetNode, MxnetParameters, MxnetSymbol, read_mxnet_parameters, read_mxnet_symbol};
use crate::onnx::emit::{Emitter, translatable};
use crate::{Error, OnnxFile, Result};

/// A model of MXNet 1.x, `NAME-symbol.json` and `NAME-0000.params`, in ONNX's vocabulary, as it answers: the inputs of the graph
/// that have no parameter come in, without the labels of losses.
///
/// Most graphs of MXNet do not say how large their inputs are, as `__shape__` of a variable does; an input without it that a
/// convolution or a dense layer reads first gets what their weights say. An error lists the operators that have no translation, all of them with their nodes.
///
/// ```no_run
/// use brisk_format::{import_mxnet, import_onnx};
/// let symbol = "resnet18-symbol.json".as_ref();
/// let file = import_mxnet(symbol, "resnet18-0000.params".as_ref())?;
/// let model = import_onnx(symbol, file)?;
/// println!("{}", model.model.summary()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn import_mxnet(symbol: &Path, parameters: &Path) -> Result<OnnxFile> {
    let (graph, parameters) = (read_mxnet_symbol(symbol)?, read_mxnet_parameters(parameters)?);
    convert(&graph, parameters).map_err(|message| Error::content(symbol, message))
}

fn convert(graph: &MxnetSymbol, parameters: MxnetParameters) -> Result<OnnxFile, String> {
    let needed = needed(graph)?;
    check(graph, &needed)?;
    let has = |name: &str| parameters.arguments.get(name).or_else(|| parameters.auxiliary.get(name));
    let wanted = |(i, node): &(usize, &MxnetNode)| {
        needed.get(*i) == Some(&true) && node.is_variable() && has(&node.name).is_none()
    };
    let inputs: Vec<(usize, &MxnetNode)> = graph.nodes.iter().enumerate().filter(wanted).collect();
    let mut emit = Emitter::new(inputs.iter().map(|(_, n)| n.name.clone()));
    let mut outputs: Vec<String> = Vec::new();
    for head in &graph.heads {
        let node = graph.nodes.get(head.node).ok_or("an output is that of no node")?;
        let number = if head.output == 0 { String::new() } else { head.output.to_string() };
        outputs.push(emit.unique(&format!("{}_output{number}", node.name)));
    }
    let mut readers: HashMap<usize, &MxnetNode> = HashMap::new();
    for node in &graph.nodes {
        if let Some(first) = node.inputs.first() {
            readers.entry(first.node).or_insert(node);
        }
    }
    let port = |&(i, node): &(usize, &MxnetNode)| {
        let ty = kind(graph, node, readers.get(&i).copied(), &parameters);
        Port { name: node.name.clone(), ty }
    };
    let ports: Vec<Port> = inputs.iter().map(port).collect();
    let mut values: HashMap<usize, Vec<String>> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| needed.get(*i) == Some(&true)) {
        let made = if !node.is_variable() {
            let within = |m: String| format!("node {:?} ({}): {m}", node.name, node.op);
            let read = |input: &super::MxnetInput| values.get(&input.node)?.get(input.output).cloned();
            // What is not needed is not there.
            let inputs = node.inputs.iter().map(read).collect();
            let mut call = Call { node, inputs, parameters: &parameters, graph, emit: &mut emit };
            let run = operator(&node.op).ok_or("it has no translation").map_err(|m| within(m.into()))?;
            (run.make)(&mut call).map_err(within)?
        } else if let Some(tensor) = has(&node.name) {
            let trainable = parameters.arguments.get(&node.name).is_some();
            let ints: Option<Vec<i64>> = match tensor.data() {
                Data::F32(_) | Data::F64(_) => None,
                Data::I64(v) => Some(v.clone()),
                Data::I32(v) => Some(v.iter().map(|&v| v.into()).collect()),
                Data::U8(v) => Some(v.iter().map(|&v| v.into()).collect()),
            };
            let constant = match ints {
                None => Constant::Numbers(Elem::Float, tensor.clone()),
                Some(ints) => {
                    Constant::ints(Elem::Int64, &tensor.shape()[..], ints).map_err(|e| e.to_string())?
                }
            };
            vec![emit.variable(&node.name, constant, trainable)]
        } else {
            vec![node.name.clone()]
        };
        values.insert(i, made);
    }
    let mut made = Vec::new();
    for (head, name) in graph.heads.iter().zip(outputs) {
        let value = values.get(&head.node).and_then(|v| v.get(head.output));
        let value = value.ok_or_else(|| format!("output {name:?} is one that its operator does not have"))?;
        emit.alias(value, &name);
        made.push(Port { name, ty: Type::Tensor(Elem::Float, None) });
    }
    Ok(emit.finish(ports, made))
}

/// Which nodes lead to the outputs, without the labels of losses.
fn needed(graph: &MxnetSymbol) -> Result<Vec<bool>, String> {
    let mut needed = vec![false; graph.nodes.len()];
    for head in &graph.heads {
        *needed.get_mut(head.node).ok_or("an output is that of no node")? = true;
    }
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if needed.get(i) != Some(&true) {
            continue;
        }
        let reads = operator(&node.op).and_then(|o| o.reads).unwrap_or(usize::MAX);
        for input in node.inputs.iter().take(reads) {
            if let Some(place) = needed.get_mut(input.node) {
                *place = true;
            }
        }
    }
    Ok(needed)
}

fn check(graph: &MxnetSymbol, needed: &[bool]) -> Result<(), String> {
    let mut unknown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (node, needed) in graph.nodes.iter().zip(needed) {
        if *needed && !node.is_variable() && operator(&node.op).is_none() {
            unknown.entry(&node.op).or_default().insert(&node.name);
        }
    }
    translatable("MXNet", unknown)
}

/// The type of an input: as its node says, or as the weights of what reads it first do.
fn kind(
    graph: &MxnetSymbol,
    node: &MxnetNode,
    reader: Option<&MxnetNode>,
    parameters: &MxnetParameters,
) -> Type {
    if let Some(shape) = node.shape() {
        let dims = shape.iter().map(|&d| match usize::try_from(d) {
            Ok(d) if d > 0 => Dim::Size(d),
            _ => Dim::Unknown,
        });
        return Type::Tensor(Elem::Float, Some(dims.collect()));
    }
    let weights = reader.and_then(|n| n.inputs.get(1)).and_then(|input| graph.nodes.get(input.node));
    let weights = weights.and_then(|w| parameters.arguments.get(&w.name)).map(|t| t.shape().to_vec());
    let dims = match (reader, weights.as_deref()) {
        (Some(node), Some([_, channels, sizes @ ..])) if node.op.starts_with("Convolution") => {
            let groups = node.attributes.get("num_group").and_then(|g| g.parse().ok()).unwrap_or(1usize);
            let mut dims = vec![Dim::Unknown, Dim::Size(channels.saturating_mul(groups))];
            dims.extend(sizes.iter().map(|_| Dim::Unknown));
            Some(dims)
        }
        (Some(node), Some([_, inputs])) if node.op == "FullyConnected" => {
            Some(vec![Dim::Unknown, Dim::Size(*inputs)])
        }
        (Some(node), Some([_, _])) if node.op == "Embedding" => Some(vec![Dim::Unknown, Dim::Unknown]),
        _ => None,
    };
    Type::Tensor(Elem::Float, dims)
}

/// All tables of operators.
const KINDS: [&[Operator]; 3] = [elementwise::OPS, layers::OPS, movement::OPS];
