//! A node, as the functions that translate operators see it.

use std::collections::HashMap;
use std::sync::LazyLock;

use brisk_onnx::{Attribute, Elem};

use super::super::{TfAttribute, TfNode, TfType};
use super::value::Value;
use super::walk::Walk;
use super::{control, elem, elementwise, lists, lite, movement, pictures, pieces, product, reduce, shape};

/// How an operator is translated.
pub(super) type Run = fn(&mut Call<'_, '_>) -> Result<Vec<Value>, String>;

/// The results of an operator.
pub(super) type Made = Result<Vec<Value>, String>;

const KINDS: [&[(&str, Run)]; 10] = [
    control::OPS,
    elementwise::OPS,
    lists::OPS,
    lite::OPS,
    movement::OPS,
    pictures::OPS,
    pieces::OPS,
    product::OPS,
    reduce::OPS,
    shape::OPS,
];

static BY_NAME: LazyLock<HashMap<&str, Run>> =
    LazyLock::new(|| KINDS.iter().flat_map(|kind| kind.iter().copied()).collect());

/// The translation of an operator.
pub(super) fn operator(name: &str) -> Option<Run> {
    BY_NAME.get(name).copied()
}

/// A node that is being translated.
pub(super) struct Call<'c, 'm> {
    pub node: &'m TfNode,
    pub inputs: Vec<Value>,
    pub walk: &'c mut Walk<'m>,
}

impl Call<'_, '_> {
    /// An operand.
    pub fn value(&self, i: usize) -> Result<&Value, String> {
        self.inputs.get(i).ok_or_else(|| format!("operand {i} is missing"))
    }

    /// The name of an operand that is a tensor.
    pub fn x(&self, i: usize) -> Result<String, String> {
        self.value(i)?.name().map(String::from).map_err(|m| format!("operand {i}: {m}"))
    }

    /// The names of all operands.
    pub fn all(&self) -> Result<Vec<String>, String> {
        (0..self.inputs.len()).map(|i| self.x(i)).collect()
    }

    /// The whole numbers of an operand that must be known.
    pub fn known(&self, i: usize, what: &str) -> Result<Vec<i64>, String> {
        let known = self.value(i)?.tensor().ok().and_then(|t| t.known());
        known.ok_or_else(|| {
            format!("operand {i}: {what} must be a few constants, found numbers that are computed")
        })
    }

    /// One whole number that must be known.
    pub fn known_one(&self, i: usize, what: &str) -> Result<i64, String> {
        match self.known(i, what)?[..] {
            [one] => Ok(one),
            ref many => Err(format!("operand {i}: {what} must be one number, found {}", many.len())),
        }
    }

    /// The shape of an operand that must be known.
    pub fn dims(&self, i: usize, what: &str) -> Result<Vec<usize>, String> {
        let known = self.value(i)?.tensor().ok().and_then(|t| t.dims.as_ref().map(|d| d.to_vec()));
        known.ok_or_else(|| {
            format!(
                "operand {i}: {what} must be a variable or a constant, whose shape is known; export it so"
            )
        })
    }

    /// An operand as numbers of ONNX's shapes and axes.
    pub fn int64(&mut self, i: usize) -> Result<String, String> {
        let tensor = self.value(i)?.tensor()?.clone();
        match (tensor.known(), &tensor.dims) {
            (Some(ints), Some(dims)) => self.walk.emit.ints(dims, &ints),
            _ => self.emit("Cast", &[&tensor.name], vec![("to", Attribute::Int(Elem::Int64 as i64))]),
        }
    }

    /// The same, as a list if it is one number.
    pub fn list64(&mut self, i: usize) -> Result<String, String> {
        if let Some(ints) = self.value(i)?.tensor()?.known() {
            return self.list(&ints);
        }
        let (x, flat) = (self.int64(i)?, self.list(&[-1])?);
        self.emit("Reshape", &[&x, &flat], vec![])
    }

    /// A list of whole numbers.
    pub fn list(&mut self, ints: &[i64]) -> Result<String, String> {
        self.walk.emit.ints(&[ints.len()], ints)
    }

    /// Adds an operator of ONNX with one result.
    pub fn emit(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> Result<String, String> {
        self.walk.emit.one(&self.node.name, op, inputs, attributes)
    }

    /// Adds the last operator of a translation.
    pub fn done(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attribute)>) -> Made {
        Ok(vec![Value::of(self.emit(op, inputs, attributes)?)])
    }

    /// The same operator in ONNX, on all operands.
    pub fn same(&mut self, op: &str) -> Made {
        let inputs = self.all()?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.done(op, &inputs, vec![])
    }

    /// The elements of a value as another type.
    pub fn cast(&mut self, x: &str, to: Elem) -> Result<String, String> {
        self.emit("Cast", &[x], vec![("to", Attribute::Int(to as i64))])
    }

    /// One number of the type that an attribute names.
    pub fn number(&mut self, ty: &str, value: f64) -> Result<String, String> {
        let elem = self.elem(ty, TfType(1))?;
        self.walk.emit.scalar(elem, value)
    }

    fn wrong<T>(&self, name: &str, expected: &str) -> Result<T, String> {
        match self.node.attributes.get(name) {
            Some(TfAttribute::Placeholder(of)) => Err(format!(
                "attribute {name:?} is the attribute {of:?} of the function around it, which is not supported; export the model with TensorFlow 2"
            )),
            _ => Err(format!("attribute {name:?}: expected {expected}")),
        }
    }

    /// A whole number.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(TfAttribute::Integer(v)) => Ok(*v),
            Some(_) => self.wrong(name, "a whole number"),
        }
    }

    /// A truth value.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(TfAttribute::Bool(v)) => Ok(*v),
            Some(_) => self.wrong(name, "a truth value"),
        }
    }

    /// A float.
    pub fn float(&self, name: &str, default: f32) -> Result<f32, String> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(TfAttribute::Float(v)) => Ok(*v),
            Some(_) => self.wrong(name, "a float"),
        }
    }

    /// A word.
    pub fn text(&self, name: &str, default: &'static str) -> Result<&str, String> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(_) => self.node.text(name).map_or_else(|| self.wrong(name, "a word"), Ok),
        }
    }

    /// Whole numbers; none if there is no such attribute.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>, String> {
        match self.node.attributes.get(name) {
            None => Ok(Vec::new()),
            Some(TfAttribute::Integers(v)) => Ok(v.clone()),
            Some(_) => self.wrong(name, "whole numbers"),
        }
    }

    /// An element type.
    pub fn elem(&self, name: &str, default: TfType) -> Result<Elem, String> {
        match self.node.attributes.get(name) {
            None => elem(default),
            Some(TfAttribute::Type(v)) => elem(*v),
            Some(_) => self.wrong(name, "an element type"),
        }
    }

    /// A function.
    pub fn called(&self, name: &str) -> Result<String, String> {
        match self.node.attributes.get(name) {
            Some(TfAttribute::Function(called, _)) => Ok(called.clone()),
            _ => self.wrong(name, "a function"),
        }
    }
}
