//! A model as data: what an ONNX file says, without its bytes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{Constant, Elem, Error, Result};

/// A model: a graph in ONNX's vocabulary, and which versions of it.
///
/// ```
/// use brisk_onnx::Model;
/// let text = r#"{"opsets": {"": 13}, "graph": {"name": "g",
///     "inputs": [{"name": "x", "type": {"tensor": ["float", [{"name": "n"}, {"size": 3}]]}}],
///     "outputs": [{"name": "y", "type": {"tensor": ["float", null]}}],
///     "nodes": [{"op": "Relu", "inputs": ["x"], "outputs": ["y"]}]}}"#;
/// let model: Model = serde_json::from_str(text)?;
/// assert_eq!(model.graph.nodes[0].op, "Relu");
/// assert_eq!(model.graph.inputs[0].ty.to_string(), "float [n, 3]");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The version of each operator set, by domain; the empty one is ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    /// What is computed.
    pub graph: Graph,
    /// Operators that the model brings itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<Function>,
    /// What its maker wrote beside it.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub metadata: IndexMap<String, String>,
}

/// Operators on named values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What comes in.
    #[serde(default)]
    pub inputs: Vec<Port>,
    /// What goes out.
    pub outputs: Vec<Port>,
    /// Numbers that belong to the graph itself: shapes, axes, limits.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub constants: IndexMap<String, Constant>,
    /// Numbers that were learned, and stand beside the graph.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub parameters: IndexMap<String, Parameter>,
    /// In the order in which they are computed.
    pub nodes: Vec<Node>,
}

/// A learned tensor of a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its element type in the file; it is kept as f32.
    pub elem: Elem,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether training changes it; running statistics and scales of quantized numbers stay.
    pub trainable: bool,
}

/// A call of an operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The operator.
    pub op: String,
    /// Its operator set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// The node's own name; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The names of what goes in; an empty one stands for what is left out.
    pub inputs: Vec<String>,
    /// The names of what comes out; an empty one stands for what nobody wants.
    pub outputs: Vec<String>,
    /// Its attributes.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub attributes: IndexMap<String, Attribute>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Attribute {
    Int(i64),
    Float(f32),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
    Tensor(Constant),
    Graph(Box<Graph>),
    Type(Type),
    /// In a function: the attribute of its call that has this name.
    Of(String),
}

/// An operator that a model brings itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its operator set.
    pub domain: String,
    /// Its name.
    pub name: String,
    /// The names of what goes in.
    pub inputs: Vec<String>,
    /// The names of what comes out.
    pub outputs: Vec<String>,
    /// Attributes that a call may leave out.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub defaults: IndexMap<String, Attribute>,
    /// The versions of the operator sets that it uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub opsets: BTreeMap<String, i64>,
    /// What it is.
    pub nodes: Vec<Node>,
}

/// What comes into a graph, or goes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
}

/// The type of a value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// The file does not say.
    #[default]
    Unknown,
    /// A tensor: its elements, and its axes if they are known.
    Tensor(Elem, Option<Vec<Dim>>),
    /// A list of values of one type.
    Sequence(Box<Type>),
    /// A value, or none.
    Optional(Box<Type>),
}

/// The size of an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dim {
    /// A number.
    Size(usize),
    /// The same wherever this name stands.
    Name(String),
    /// Any.
    Unknown,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Unknown => f.write_str("unknown"),
            Type::Tensor(elem, None) => write!(f, "{elem}"),
            Type::Tensor(elem, Some(dims)) => {
                let dims: Vec<_> = dims.iter().map(Dim::to_string).collect();
                write!(f, "{elem} [{}]", dims.join(", "))
            }
            Type::Sequence(inner) => write!(f, "sequence of {inner}"),
            Type::Optional(inner) => write!(f, "optional {inner}"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Size(n) => write!(f, "{n}"),
            Dim::Name(name) => name.escape_debug().fmt(f),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

impl Model {
    /// What the names of a program's inputs begin with: no parameter's name does.
    pub(crate) fn input_prefix(&self) -> String {
        let mut prefix = String::from("input ");
        while self.graph.parameters.keys().any(|name| name.starts_with(&prefix)) {
            prefix.push(' ');
        }
        prefix
    }

    /// The part of the model that leads to one of its values, or to the first result of a node: a trunk for other layers.
    ///
    /// ```
    /// use brisk_onnx::Model;
    /// let text = r#"{"opsets": {"": 13}, "graph": {"inputs": [{"name": "x", "type": "unknown"}],
    ///     "outputs": [{"name": "y", "type": "unknown"}],
    ///     "parameters": {"w": {"elem": "float", "shape": [3, 2], "trainable": true}},
    ///     "nodes": [{"op": "Relu", "inputs": ["x"], "outputs": ["h"]},
    ///         {"op": "MatMul", "name": "head", "inputs": ["h", "w"], "outputs": ["y"]}]}}"#;
    /// let model: Model = serde_json::from_str(text)?;
    /// let trunk = model.clone().until("h")?;
    /// assert_eq!((trunk.graph.nodes.len(), trunk.graph.parameters.len()), (1, 0));
    /// assert_eq!(model.clone().until("head")?.graph.nodes.len(), 2);
    /// assert!(model.until("tail").unwrap_err().to_string().contains("\"tail\""));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn until(mut self, name: &str) -> Result<Model> {
        let graph = &mut self.graph;
        let of_node = graph.nodes.iter().find(|n| n.name == name).and_then(|n| n.outputs.first());
        let made = graph.nodes.iter().flat_map(|n| &n.outputs).find(|o| *o == name);
        let Some(value) = made.or(of_node).cloned() else {
            return Err(Error::Model(format!(
                "there is no node and no value {name:?} in the graph; `brisk summary` lists them"
            )));
        };
        let mut wanted: HashSet<String> = [value.clone()].into();
        let mut kept = Vec::new();
        for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
            if node.outputs.iter().any(|o| wanted.contains(o)) {
                reads(&node, &mut wanted);
                kept.push(node);
            }
        }
        kept.reverse();
        graph.nodes = kept;
        graph.constants.retain(|name, _| wanted.contains(name));
        graph.parameters.retain(|name, _| wanted.contains(name));
        graph.inputs.retain(|port| wanted.contains(&port.name));
        let known = graph.outputs.iter().find(|o| o.name == value);
        graph.outputs = vec![known.cloned().unwrap_or(Port { name: value, ty: Type::Unknown })];
        Ok(self)
    }
}

/// All names that a node reads, also those in graphs among its attributes.
fn reads(node: &Node, to: &mut HashSet<String>) {
    to.extend(node.inputs.iter().filter(|i| !i.is_empty()).cloned());
    for attribute in node.attributes.values() {
        if let Attribute::Graph(graph) = attribute {
            to.extend(graph.outputs.iter().map(|o| o.name.clone()));
            graph.nodes.iter().for_each(|n| reads(n, to));
        }
    }
}
