//! `-symbol.json`: the graph, as data.
//!
//! The layout is that of `src/pass/saveload_json.cc` of nnvm, which is part of apache/mxnet, with the older names that
//! `src/nnvm/legacy_json_util.cc` there knows: `param` and `attr` for what is `attrs` today, and references of two numbers.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::hashed::read_whole;
use crate::{Error, Result};

/// The graph of an MXNet model.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("net-symbol.json");
/// std::fs::write(&path, r#"{
///     "nodes": [
///         {"op": "null", "name": "data", "inputs": []},
///         {"op": "Activation", "name": "relu0", "attrs": {"act_type": "relu"}, "inputs": [[0, 0, 0]]}
///     ],
///     "arg_nodes": [0],
///     "heads": [[1, 0, 0]]
/// }"#)?;
/// let symbol = brisk_format::read_mxnet_symbol(&path)?;
/// let output = &symbol.nodes[symbol.heads[0].node];
/// assert_eq!((output.op.as_str(), output.attributes["act_type"].as_str()), ("Activation", "relu"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxnetSymbol {
    /// The nodes: each stands behind those that it reads.
    pub nodes: Vec<MxnetNode>,
    /// The outputs of the graph.
    pub heads: Vec<MxnetInput>,
}

/// A node of an MXNet graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxnetNode {
    /// The operation; `null` for inputs and parameters.
    pub op: String,
    /// Its name. No two inputs or parameters have the same.
    pub name: String,
    /// What it is told, as text: `kernel` is `(3, 3)`.
    pub attributes: BTreeMap<String, String>,
    /// What it reads.
    pub inputs: Vec<MxnetInput>,
}

/// An output of a node, as another node or the graph uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MxnetInput {
    /// The node, by its place in the graph.
    pub node: usize,
    /// Which of its outputs.
    pub output: usize,
}

impl MxnetSymbol {
    /// The inputs and parameters.
    pub fn variables(&self) -> impl Iterator<Item = &MxnetNode> {
        self.nodes.iter().filter(|n| n.is_variable())
    }
}

impl MxnetNode {
    /// True for an input or a parameter.
    pub fn is_variable(&self) -> bool {
        self.op == "null"
    }

    /// An attribute that is a list of whole numbers, such as `(3, 3)` or `[1,]`; `None` if there is no such attribute or it is
    /// something else. `None` and -1 in a list, or 0 in a shape, say that a size is not known.
    ///
    /// ```
    /// # let mut node = brisk_format::MxnetNode {
    /// #     op: "Convolution".into(), name: "conv0".into(), attributes: Default::default(), inputs: vec![],
    /// # };
    /// node.attributes.insert("kernel".into(), "(3, 5)".into());
    /// assert_eq!(node.integers("kernel"), Some(vec![3, 5]));
    /// ```
    pub fn integers(&self, attribute: &str) -> Option<Vec<i64>> {
        let text = self.attributes.get(attribute)?.trim();
        let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
        let inner = inner.or_else(|| text.strip_prefix('[').and_then(|t| t.strip_suffix(']')))?.trim();
        let inner = inner.strip_suffix(',').unwrap_or(inner);
        if inner.is_empty() {
            return Some(Vec::new());
        }
        let number = |n: &str| match n.trim() {
            "None" => Some(-1),
            // Python 2 wrote long numbers with a letter.
            n => n.strip_suffix('L').unwrap_or(n).parse().ok(),
        };
        inner.split(',').map(number).collect()
    }

    /// The shape that was given to an input or a parameter; a size that is not known is -1 or 0.
    pub fn shape(&self) -> Option<Vec<i64>> {
        self.integers("__shape__")
    }
}

/// Reads a `-symbol.json` of MXNet 1.x.
pub fn read_mxnet_symbol(path: &Path) -> Result<MxnetSymbol> {
    let (bytes, _) = read_whole(path, "the graph of an MXNet model (-symbol.json)")?;
    let malformed =
        |found: String| Error::Malformed { path: path.into(), format: "graph of MXNet (JSON)", found };
    let file: JsonSymbol = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    if let Some(node) = file.nodes.iter().find(|n| !n.subgraphs.is_empty()) {
        return Err(Error::content(
            path,
            format!(
                "node {:?} is a {:?} with graphs of its own, which is not supported; write the loop out before saving the model",
                node.name, node.op
            ),
        ));
    }
    symbol(file).map_err(malformed)
}

/// The file, as far as it is used.
#[derive(Deserialize)]
struct JsonSymbol {
    nodes: Vec<JsonNode>,
    heads: Vec<JsonInput>,
}

#[derive(Deserialize)]
struct JsonNode {
    op: String,
    name: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    #[serde(default)]
    attr: BTreeMap<String, String>,
    #[serde(default)]
    param: BTreeMap<String, String>,
    inputs: Vec<JsonInput>,
    #[serde(default)]
    subgraphs: Vec<IgnoredAny>,
}

/// The third number is a version, which only matters while a graph is made.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonInput {
    Pair(usize, usize),
    Triple(usize, usize, IgnoredAny),
}

impl From<JsonInput> for MxnetInput {
    fn from(input: JsonInput) -> MxnetInput {
        let (JsonInput::Pair(node, output) | JsonInput::Triple(node, output, _)) = input;
        MxnetInput { node, output }
    }
}

fn symbol(file: JsonSymbol) -> Result<MxnetSymbol, String> {
    let mut nodes: Vec<MxnetNode> = Vec::with_capacity(file.nodes.len());
    let mut variables = HashSet::new();
    for (i, node) in file.nodes.into_iter().enumerate() {
        let mut attributes = node.param;
        attributes.extend(node.attr);
        attributes.extend(node.attrs);
        let inputs: Vec<MxnetInput> = node.inputs.into_iter().map(Into::into).collect();
        let node = MxnetNode { op: node.op, name: node.name, attributes, inputs };
        if let Some(input) = node.inputs.iter().find(|input| input.node >= i) {
            let (name, read) = (&node.name, input.node);
            return Err(format!("node {i}, {name:?}, reads node {read}; expected one that stands before it"));
        }
        if node.is_variable() && !variables.insert(node.name.clone()) {
            return Err(format!("two inputs or parameters are called {:?}", node.name));
        }
        nodes.push(node);
    }
    let heads: Vec<MxnetInput> = file.heads.into_iter().map(Into::into).collect();
    if let Some(head) = heads.iter().find(|head| head.node >= nodes.len()) {
        return Err(format!("an output is that of node {}, but there are {} nodes", head.node, nodes.len()));
    }
    Ok(MxnetSymbol { nodes, heads })
}
