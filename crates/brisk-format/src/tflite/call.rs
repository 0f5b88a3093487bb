//! An operator, as the functions that translate operators see it.

use super::constant::dtype;
use super::maker::{Maker, quantized};
use super::schema::{Operator, Tensor};
use crate::tensorflow::{TfAttribute, TfInput, TfType};

/// The results of an operator.
pub(super) type Made = Result<Vec<TfInput>, String>;

/// How an operator is translated.
pub(super) type Run = fn(&mut Call<'_, '_, '_>) -> Made;

/// An operator that is being translated.
pub(super) struct Call<'c, 'm, 'f> {
    pub op: &'f Operator<'f>,
    /// The name of its first result.
    pub name: &'c str,
    pub maker: &'c mut Maker<'m, 'f>,
}

/// The attributes of a node.
pub(super) type Attributes = Vec<(&'static str, TfAttribute)>;

pub(super) fn text(word: &str) -> TfAttribute {
    TfAttribute::Text(word.into())
}

impl<'f> Call<'_, '_, 'f> {
    /// Whether an operand is there.
    pub fn has(&self, i: usize) -> bool {
        self.op.inputs.get(i).is_some_and(|&t| t >= 0)
    }

    /// The tensor that an operand is.
    pub fn tensor(&self, i: usize) -> Result<&'f Tensor, String> {
        let number =
            self.op.inputs.get(i).filter(|&&t| t >= 0).ok_or_else(|| format!("operand {i} is missing"))?;
        self.maker.subgraph.tensor(*number)
    }

    /// The sizes of an operand; -1 for what is not known.
    pub fn shape(&self, i: usize) -> Result<&'f [i32], String> {
        Ok(&self.tensor(i)?.shape)
    }

    /// An operand.
    pub fn x(&mut self, i: usize) -> Result<TfInput, String> {
        self.tensor(i)?;
        let number = self.op.inputs.get(i).copied().unwrap_or(-1);
        self.maker.value(number).map_err(|m| format!("operand {i}: {m}"))
    }

    /// All operands.
    pub fn all(&mut self) -> Made {
        (0..self.op.inputs.len()).map(|i| self.x(i)).collect()
    }

    /// The element type that an operand is carried as.
    pub fn kind(&self, i: usize) -> Result<TfType, String> {
        carried(self.tensor(i)?)
    }

    /// The element type of the first result.
    pub fn result(&self) -> Result<TfType, String> {
        let number = self.op.outputs.first().ok_or("it has no results")?;
        carried(self.maker.subgraph.tensor(*number)?)
    }

    pub fn byte(&self, slot: usize) -> Result<i8, String> {
        self.option(|t| t.byte(slot, 0), 0)
    }

    pub fn flag(&self, slot: usize) -> Result<bool, String> {
        Ok(self.byte(slot)? != 0)
    }

    pub fn int(&self, slot: usize) -> Result<i64, String> {
        self.int_or(slot, 0)
    }

    pub fn int_or(&self, slot: usize, default: i32) -> Result<i64, String> {
        self.option(|t| t.int(slot, default), default).map(i64::from)
    }

    pub fn float(&self, slot: usize) -> Result<f32, String> {
        self.option(|t| t.float(slot), 0.0)
    }

    pub fn ints(&self, slot: usize) -> Result<Vec<i64>, String> {
        Ok(self.option(|t| t.ints(slot), Vec::new())?.into_iter().map(i64::from).collect())
    }

    /// A field of its options, by its place there.
    fn option<T>(
        &self,
        read: impl Fn(super::flat::Table<'f>) -> Result<T, crate::tensors::Fault>,
        default: T,
    ) -> Result<T, String> {
        match self.op.options {
            None => Ok(default),
            Some(table) => read(table).map_err(|_| "its options lie outside of the file".into()),
        }
    }

    /// Adds a node; its first result. Its elements are those of the first operand, unless it says so.
    pub fn node(&mut self, op: &str, inputs: Vec<TfInput>, mut attributes: Attributes) -> TfInput {
        if let (Ok(kind), false) = (self.kind(0), attributes.iter().any(|(name, _)| *name == "T")) {
            attributes.push(("T", TfAttribute::Type(kind)));
        }
        self.maker.node(self.name, op, inputs, attributes)
    }

    /// Adds the last node of a translation.
    pub fn done(&mut self, op: &str, inputs: Vec<TfInput>, attributes: Attributes) -> Made {
        Ok(vec![self.node(op, inputs, attributes)])
    }

    /// A node on all operands.
    pub fn same(&mut self, op: &str, attributes: Attributes) -> Made {
        let inputs = self.all()?;
        self.done(op, inputs, attributes)
    }

    /// The first results of a node.
    pub fn several(&self, node: TfInput, count: usize) -> Made {
        Ok((0..count).map(|index| TfInput { index, ..node.clone() }).collect())
    }

    /// A list of whole numbers.
    pub fn list(&mut self, values: &[i64]) -> Result<TfInput, String> {
        self.maker.ints(&[values.len()], values)
    }

    /// One whole number.
    pub fn one(&mut self, value: i64) -> Result<TfInput, String> {
        self.maker.ints(&[], &[value])
    }

    /// The activation at the end of an operator, `ActivationFunctionType`.
    pub fn activated(&mut self, value: TfInput, slot: usize) -> Made {
        let made = match self.byte(slot)? {
            0 => value,
            1 => self.node("Relu", vec![value], vec![]),
            2 => self.clipped(value, -1.0, 1.0)?,
            3 => self.node("Relu6", vec![value], vec![]),
            4 => self.node("Tanh", vec![value], vec![]),
            other => {
                return Err(format!(
                    "its activation {other} is not supported; put an operator of its own behind it"
                ));
            }
        };
        Ok(vec![made])
    }

    pub fn clipped(&mut self, value: TfInput, low: f32, high: f32) -> Result<TfInput, String> {
        let (low, high) = (self.maker.float(low)?, self.maker.float(high)?);
        Ok(self.node("ClipByValue", vec![value, low, high], vec![]))
    }
}

/// The element type that a tensor is carried as.
pub(super) fn carried(tensor: &Tensor) -> Result<TfType, String> {
    match quantized(tensor, false) {
        Some(_) => Ok(TfType(1)),
        None => dtype(tensor.kind),
    }
}
