//! A node, as the functions that translate operators see it.

use std::collections::HashMap;
use std::sync::LazyLock;

use brisk_onnx::{Attribute, Elem};

use super::super::{MxnetNode, MxnetParameters, MxnetSymbol};
use super::KINDS;
use crate::error::quoted;
use crate::onnx::emit::Emitter;

/// The results of an operator.
pub(super) type Made = Result<Vec<String>, String>;

/// How an operator is translated.
#[derive(Clone, Copy)]
pub(super) struct Operator {
    pub name: &'static str,
    pub make: fn(&mut Call<'_>) -> Made,
    /// How many of its operands matter when the model answers, if not all do.
    pub reads: Option<usize>,
}

/// An operator of a table.
pub(super) const fn op(name: &'static str, make: fn(&mut Call<'_>) -> Made) -> Operator {
    Operator { name, make, reads: None }
}

/// One whose first operand alone matters when the model answers.
pub(super) const fn loss(name: &'static str, make: fn(&mut Call<'_>) -> Made) -> Operator {
    Operator { name, make, reads: Some(1) }
}

static BY_NAME: LazyLock<HashMap<&str, &'static Operator>> =
    LazyLock::new(|| KINDS.iter().flat_map(|kind| kind.iter()).map(|o| (o.name, o)).collect());

/// The translation of an operator.
pub(super) fn operator(name: &str) -> Option<&'static Operator> {
    BY_NAME.get(name).copied()
}

/// A node that is being translated.
pub(super) struct Call<'c> {
    pub node: &'c MxnetNode,
    /// The names of its operands; `None` for one that is not needed.
    pub inputs: Vec<Option<String>>,
    pub parameters: &'c MxnetParameters,
    pub graph: &'c MxnetSymbol,
    pub emit: &'c mut Emitter,
}

impl Call<'_> {
    /// The name of an operand.
    pub fn x(&self, i: usize) -> Result<String, String> {
        self.inputs.get(i).cloned().flatten().ok_or_else(|| format!("operand {i} is missing"))
    }

    /// The shape of an operand that is a parameter.
    pub fn dims(&self, i: usize) -> Option<Vec<usize>> {
        let name = &self.graph.nodes.get(self.node.inputs.get(i)?.node)?.name;
        let of = self.parameters.arguments.get(name).or_else(|| self.parameters.auxiliary.get(name));
        of.map(|t| t.shape().to_vec())
    }

    /// Adds an operator with one result.
    pub fn emit(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> Result<String, String> {
        self.emit.one(&self.node.name, op, inputs, attributes)
    }

    /// Adds the last operator of a translation.
    pub fn done(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attribute)>) -> Made {
        Ok(vec![self.emit(op, inputs, attributes)?])
    }

    /// The same operator in ONNX, on all operands.
    pub fn same(&mut self, op: &str) -> Made {
        let inputs = (0..self.inputs.len()).map(|i| self.x(i)).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.done(op, &inputs, vec![])
    }

    /// A float.
    pub fn number(&mut self, value: f64) -> Result<String, String> {
        self.emit.scalar(Elem::Float, value)
    }

    /// A list of whole numbers.
    pub fn list(&mut self, ints: &[i64]) -> Result<String, String> {
        self.emit.ints(&[ints.len()], ints)
    }

    /// The elements of a value as another type.
    pub fn cast(&mut self, x: &str, to: Elem) -> Result<String, String> {
        self.emit("Cast", &[x], vec![("to", Attribute::Int(to as i64))])
    }

    /// An attribute, unless there is none or it is `None`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.node.attributes.get(name).map(|t| t.trim()).filter(|t| *t != "None" && !t.is_empty())
    }

    fn parsed<T>(
        &self,
        name: &str,
        default: T,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(text) => parse(text)
                .ok_or_else(|| format!("attribute {name:?}: expected {expected}, found {}", quoted(text))),
        }
    }

    /// A whole number.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        self.parsed(name, default, "a whole number", |t| t.parse().ok())
    }

    /// A float.
    pub fn float(&self, name: &str, default: f64) -> Result<f64, String> {
        self.parsed(name, default, "a number", |t| t.parse().ok())
    }

    /// A truth value.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        self.parsed(name, default, "True or False", |t| match t {
            "True" | "true" | "1" => Some(true),
            "False" | "false" | "0" => Some(false),
            _ => None,
        })
    }

    /// A word.
    pub fn text(&self, name: &str, default: &'static str) -> &str {
        self.attribute(name).unwrap_or(default)
    }

    /// Whole numbers, or one alone; `None` if there are none.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        let list = |t: &str| self.node.integers(name).or_else(|| Some(vec![t.parse().ok()?]));
        self.parsed(name, None, "whole numbers", |t| list(t).map(Some))
    }

    /// Whole numbers of which some are `None`: `(0, None)`.
    pub fn optional_ints(&self, name: &str) -> Result<Vec<Option<i64>>, String> {
        let number = |t: &str| match t.trim() {
            "None" => Some(None),
            t => t.trim_end_matches('L').parse().ok().map(Some),
        };
        let list = |t: &str| {
            let inner =
                t.trim_start_matches(['(', '[']).trim_end_matches([')', ']']).trim().trim_end_matches(',');
            if inner.is_empty() { Some(Vec::new()) } else { inner.split(',').map(number).collect() }
        };
        self.parsed(name, Vec::new(), "whole numbers", list)
    }
}
