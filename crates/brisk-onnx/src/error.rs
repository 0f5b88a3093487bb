//! What can go wrong with a model.

use std::fmt;

/// What is wrong with a model, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operators that Brisk does not know, all of them.
    #[error("{}", unknown(.0))]
    Operators(Vec<Unknown>),
    /// A node whose operands or attributes do not fit.
    #[error("node {node:?} ({}): {message}", .op.escape_debug())]
    Node {
        /// Its name, or that of its first result.
        node: String,
        /// Its operator.
        op: String,
        /// What was expected, and what was found.
        message: String,
    },
    /// A layer that cannot be written as ONNX.
    #[error("layer {layer:?} ({op}) cannot be written as ONNX: {message}")]
    Export {
        /// The layer.
        layer: String,
        /// The operation in it.
        op: &'static str,
        /// What stands in the way, and what to do.
        message: String,
    },
    /// The model itself.
    #[error("{0}")]
    Model(String),
    /// Running a part of it.
    #[error(transparent)]
    Run(#[from] brisk_runtime::Error),
    /// Recording it.
    #[error(transparent)]
    Graph(#[from] brisk_graph::Error),
}

/// A result of reading or recording a model.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operator that Brisk does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Its name, with its domain if that is not ONNX's own.
    pub op: String,
    /// The nodes that call it.
    pub nodes: Vec<String>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        let names: Vec<_> = self.nodes.iter().take(SHOWN).map(|n| n.escape_debug().to_string()).collect();
        let more = self.nodes.len().saturating_sub(SHOWN);
        let and = if more > 0 { format!(" and {more} more") } else { String::new() };
        write!(f, "{} (nodes {}{and})", self.op.escape_debug(), names.join(", "))
    }
}

fn unknown(all: &[Unknown]) -> String {
    let list: Vec<_> = all.iter().map(Unknown::to_string).collect();
    format!(
        "the model uses operators that Brisk does not have: {}; docs/onnx.md lists those that it has",
        list.join("; ")
    )
}
