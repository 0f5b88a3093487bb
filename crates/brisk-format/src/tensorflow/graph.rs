//! Graphs and functions, as data.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use prost::Message;

use super::constant::{Constants, TfConstant};
use super::proto::{self, attr_value::Value};
use super::types::{TfShape, TfType, partial_shape};
use crate::tensors::Fault;

/// A graph of TensorFlow: its operations by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TfGraph {
    /// The nodes, in the order of the file.
    pub nodes: Vec<TfNode>,
    index: HashMap<String, usize>,
}

/// An operation in a graph of TensorFlow.
#[derive(Clone, Debug, PartialEq)]
pub struct TfNode {
    /// Its name. No two nodes of a graph have the same.
    pub name: String,
    /// What it does, such as `MatMul`.
    pub op: String,
    /// What it reads. What it only waits for is left out.
    pub inputs: Vec<TfInput>,
    /// What it is told. SavedModels leave out what an operation would do by default.
    pub attributes: BTreeMap<String, TfAttribute>,
}

/// A value in a graph, as another node or an output uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TfInput {
    /// The node; within a function it may also be an argument.
    pub node: String,
    /// Which of its outputs is meant by name; only within functions.
    pub output: Option<String>,
    /// Which value: of all outputs of the node, or of the named one.
    pub index: usize,
}

/// What a node of TensorFlow is told.
#[derive(Clone, Debug, PartialEq)]
pub enum TfAttribute {
    /// A text, or any bytes.
    Text(Vec<u8>),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f32),
    /// Yes or no.
    Bool(bool),
    /// An element type.
    Type(TfType),
    /// A shape.
    Shape(TfShape),
    /// A tensor.
    Constant(Box<TfConstant>),
    /// A function, with what it is told.
    Function(String, BTreeMap<String, TfAttribute>),
    /// The name of an attribute of the function around it.
    Placeholder(String),
    /// Whole numbers. An empty list of anything is one of these.
    Integers(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Each of them yes or no.
    Bools(Vec<bool>),
    /// Texts, or any bytes.
    Texts(Vec<Vec<u8>>),
    /// Element types.
    Types(Vec<TfType>),
    /// Shapes.
    Shapes(Vec<TfShape>),
    /// Tensors.
    Constants(Vec<TfConstant>),
    /// Functions, each with what it is told.
    Functions(Vec<(String, BTreeMap<String, TfAttribute>)>),
}

/// A function of TensorFlow: a graph with arguments and results. Functions may call each other in a circle.
#[derive(Clone, Debug, PartialEq)]
pub struct TfFunction {
    /// Its arguments, by name, with their types.
    pub inputs: Vec<(String, TfType)>,
    /// Its results, by name, with the values that they are.
    pub outputs: Vec<(String, TfInput)>,
    /// What it does.
    pub graph: TfGraph,
}

impl TfGraph {
    /// A graph of nodes; `None` if two have the same name.
    pub(crate) fn of(nodes: Vec<TfNode>) -> Option<TfGraph> {
        let index: HashMap<_, _> = nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i)).collect();
        (index.len() == nodes.len()).then_some(TfGraph { nodes, index })
    }

    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<&TfNode> {
        self.index.get(name).and_then(|&i| self.nodes.get(i))
    }

    /// The nodes in an order in which each comes behind those that it reads; `None` if some read each other in a circle, as the
    /// loops of TensorFlow 1 do.
    pub fn order(&self) -> Option<Vec<&TfNode>> {
        let read =
            |node: &TfNode| node.inputs.iter().filter_map(|i| self.index.get(&i.node).copied()).collect();
        let reads: Vec<Vec<usize>> = self.nodes.iter().map(read).collect();
        let mut readers = vec![Vec::new(); self.nodes.len()];
        let mut waits: Vec<usize> = reads.iter().map(Vec::len).collect();
        for (i, read) in reads.iter().enumerate() {
            read.iter().for_each(|&r| readers[r].push(i));
        }
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(|&i| waits[i] == 0).collect();
        let mut done = 0;
        while let Some(&i) = order.get(done) {
            done += 1;
            for &reader in &readers[i] {
                waits[reader] -= 1;
                if waits[reader] == 0 {
                    order.push(reader);
                }
            }
        }
        (order.len() == self.nodes.len()).then(|| order.into_iter().map(|i| &self.nodes[i]).collect())
    }

    /// Reads nodes; each value that one of them reads must be another one's, or an argument.
    pub(super) fn read(
        nodes: Vec<Bytes>,
        arguments: &HashSet<String>,
        constants: &mut Constants,
    ) -> Result<TfGraph, Fault> {
        let mut graph = TfGraph::default();
        for node in nodes {
            let node: proto::NodeDef = decode(node)?;
            if node.name.is_empty() || node.op.is_empty() {
                return Err(Fault::Unsound(format!("node {:?} has no name or no operation", node.name)));
            }
            if arguments.contains(&node.name)
                || graph.index.insert(node.name.clone(), graph.nodes.len()).is_some()
            {
                return Err(Fault::Unsound(format!("two nodes or arguments are called {:?}", node.name)));
            }
            let within = |f: Fault| f.within(&format!("node {:?}", node.name));
            let inputs = node.input.iter().filter(|i| !i.starts_with('^'));
            let inputs = inputs.map(|i| TfInput::parse(i)).collect::<Result<_, _>>().map_err(within)?;
            let attributes = attributes(node.attr, constants).map_err(within)?;
            graph.nodes.push(TfNode { name: node.name, op: node.op, inputs, attributes });
        }
        for (node, input) in graph.nodes.iter().flat_map(|n| n.inputs.iter().map(move |i| (n, i))) {
            graph.check(input, arguments).map_err(|f| f.within(&format!("node {:?}", node.name)))?;
        }
        Ok(graph)
    }

    /// An error if there is no such node or argument.
    pub(super) fn check(&self, input: &TfInput, arguments: &HashSet<String>) -> Result<(), Fault> {
        let known = self.index.contains_key(&input.node) || arguments.contains(&input.node);
        match known {
            true => Ok(()),
            false => Err(Fault::Unsound(format!("there is no node {:?}, which is read", input.node))),
        }
    }
}

impl TfNode {
    /// An attribute that is a text in UTF-8.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        match self.attributes.get(attribute)? {
            TfAttribute::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// An attribute that is a list of whole numbers, such as `strides`.
    pub fn integers(&self, attribute: &str) -> Option<&[i64]> {
        match self.attributes.get(attribute)? {
            TfAttribute::Integers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// The tensor that a `Const` is.
    pub fn constant(&self) -> Option<&TfConstant> {
        match self.attributes.get("value")? {
            TfAttribute::Constant(constant) => Some(constant),
            _ => None,
        }
    }
}

impl TfInput {
    /// `node`, `node:1` in graphs; `argument`, `node:output:1` in functions.
    pub(super) fn parse(text: &str) -> Result<TfInput, Fault> {
        let mut parts = text.split(':');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        let (node, output, index) = match parts {
            (Some(node), None, ..) => (node, None, Some(0)),
            (Some(node), Some(index), None, _) => (node, None, index.parse().ok()),
            (Some(node), Some(output), Some(index), None) => {
                (node, Some(output.to_string()), index.parse().ok())
            }
            _ => ("", None, None),
        };
        match index {
            Some(index) if !node.is_empty() => Ok(TfInput { node: node.into(), output, index }),
            _ => Err(Fault::Unsound(format!(
                "there is no value {text:?}; expected NODE, NODE:INDEX or NODE:OUTPUT:INDEX"
            ))),
        }
    }
}

impl TfFunction {
    pub(super) fn read(function: Bytes, constants: &mut Constants) -> Result<(String, TfFunction), Fault> {
        let function: proto::FunctionDef = decode(function)?;
        let signature = function.signature.unwrap_or_default();
        let within = |f: Fault| f.within(&format!("function {:?}", signature.name));
        let inputs: Vec<_> = signature.input_arg.into_iter().map(|a| (a.name, TfType(a.r#type))).collect();
        let mut arguments = HashSet::new();
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !arguments.insert(name.clone())) {
            return Err(within(Fault::Unsound(format!("two arguments are called {name:?}"))));
        }
        let graph = TfGraph::read(function.node_def, &arguments, constants).map_err(within)?;
        let mut outputs = Vec::new();
        let mut results = HashSet::new();
        for output in signature.output_arg {
            if !results.insert(output.name.clone()) {
                return Err(within(Fault::Unsound(format!("two results are called {:?}", output.name))));
            }
            let Some(value) = function.ret.get(&output.name) else {
                return Err(within(Fault::Unsound(format!("the result {:?} is not a value", output.name))));
            };
            let value = TfInput::parse(value).map_err(within)?;
            graph.check(&value, &arguments).map_err(within)?;
            outputs.push((output.name, value));
        }
        Ok((signature.name, TfFunction { inputs, outputs, graph }))
    }
}

fn attributes(
    attributes: HashMap<String, proto::AttrValue>,
    constants: &mut Constants,
) -> Result<BTreeMap<String, TfAttribute>, Fault> {
    let mut read = BTreeMap::new();
    for (name, value) in attributes {
        // One without a value says nothing.
        if let Some(value) = value.value {
            let value = attribute(value, constants).map_err(|f| f.within(&format!("attribute {name:?}")))?;
            read.insert(name, value);
        }
    }
    Ok(read)
}

/// As deep as prost decodes messages, which is not deep.
fn attribute(value: Value, constants: &mut Constants) -> Result<TfAttribute, Fault> {
    Ok(match value {
        Value::S(text) => TfAttribute::Text(text.into()),
        Value::I(n) => TfAttribute::Integer(n),
        Value::F(x) => TfAttribute::Float(x),
        Value::B(b) => TfAttribute::Bool(b),
        Value::Type(dtype) => TfAttribute::Type(TfType(dtype)),
        Value::Shape(shape) => TfAttribute::Shape(partial_shape(&shape)),
        Value::Tensor(tensor) => TfAttribute::Constant(constants.read(tensor)?.into()),
        Value::Placeholder(name) => TfAttribute::Placeholder(name),
        Value::Func(func) => TfAttribute::Function(func.name, attributes(func.attr, constants)?),
        Value::List(list) => self::list(list, constants)?,
    })
}

/// A list has one kind; the others are empty.
fn list(list: proto::attr_value::ListValue, constants: &mut Constants) -> Result<TfAttribute, Fault> {
    let kinds = [
        list.s.is_empty(),
        list.i.is_empty(),
        list.f.is_empty(),
        list.b.is_empty(),
        list.r#type.is_empty(),
        list.shape.is_empty(),
        list.tensor.is_empty(),
        list.func.is_empty(),
    ];
    if kinds.into_iter().filter(|empty| !empty).count() > 1 {
        return Err(Fault::Unsound("a list has items of several kinds".into()));
    }
    Ok(if !list.s.is_empty() {
        TfAttribute::Texts(list.s.into_iter().map(Into::into).collect())
    } else if !list.f.is_empty() {
        TfAttribute::Floats(list.f)
    } else if !list.b.is_empty() {
        TfAttribute::Bools(list.b)
    } else if !list.r#type.is_empty() {
        TfAttribute::Types(list.r#type.into_iter().map(TfType).collect())
    } else if !list.shape.is_empty() {
        TfAttribute::Shapes(list.shape.iter().map(partial_shape).collect())
    } else if !list.tensor.is_empty() {
        let tensor = |t| constants.read(decode(t)?);
        TfAttribute::Constants(list.tensor.into_iter().map(tensor).collect::<Result<_, _>>()?)
    } else if !list.func.is_empty() {
        let mut functions = Vec::new();
        for func in list.func {
            functions.push((func.name, attributes(func.attr, constants)?));
        }
        TfAttribute::Functions(functions)
    } else {
        TfAttribute::Integers(list.i)
    })
}

/// Decodes a message that is one of many. None of them is empty.
pub(super) fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Fault> {
    match bytes.is_empty() {
        true => Err(Fault::Unsound("a message is empty".into())),
        false => M::decode(bytes).map_err(|e| Fault::Unsound(e.to_string())),
    }
}
