//! From the operators of a subgraph to nodes of TensorFlow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use bytes::Bytes;

use super::call::Call;
use super::constant;
use super::ops::operator;
use super::schema::{Model, Operator, Quantization, Subgraph, Tensor};
use crate::budget::Budget;
use crate::tensorflow::{Constants, TfAttribute, TfGraph, TfInput, TfNode, TfType};
use crate::tensors::Fault;

/// What is read of a file, and how much of it may still become constants.
pub(super) struct File<'f> {
    pub bytes: &'f Bytes,
    pub model: &'f Model<'f>,
    pub constants: Constants,
    pub budget: Budget,
    /// Subgraphs that are called, and may have to be translated.
    pub called: BTreeSet<usize>,
}

impl<'f> File<'f> {
    pub fn new(path: &Path, bytes: &'f Bytes, model: &'f Model<'f>) -> File<'f> {
        /// How many bytes the constants may take for each byte of the file: eight if every number of four bits becomes a float, and as
        /// much again for what is shared.
        const TIMES: u64 = 16;
        let budget = Budget::of(bytes.len() as u64, TIMES, 0);
        File { bytes, model, constants: Constants::new(path), budget, called: BTreeSet::new() }
    }
}

/// The nodes of a subgraph, while they are made.
///
/// Whole numbers that stand for floats are carried as these floats, and rounded to the places that they may have behind each operator.
pub(super) struct Maker<'c, 'f> {
    pub file: &'c mut File<'f>,
    pub subgraph: &'f Subgraph<'f>,
    /// What tensors have become.
    values: HashMap<i32, TfInput>,
    nodes: Vec<TfNode>,
    /// How often a number has been put behind each name.
    names: HashMap<String, usize>,
}

impl<'c, 'f> Maker<'c, 'f> {
    /// Inputs are the nodes, or arguments, of these names.
    pub fn new(file: &'c mut File<'f>, subgraph: &'f Subgraph<'f>, inputs: &[String]) -> Maker<'c, 'f> {
        let values = subgraph.inputs.iter().zip(inputs).map(|(&t, name)| (t, first(name.clone()))).collect();
        let names = inputs.iter().map(|name| (name.clone(), 0)).collect();
        Maker { file, subgraph, values, nodes: Vec::new(), names }
    }

    /// Adds the node of an input.
    pub fn placeholder(&mut self, name: &str, number: i32) -> Result<(), String> {
        let kind = constant::dtype(self.subgraph.tensor(number)?.kind)?;
        let attributes = BTreeMap::from([("dtype".to_string(), TfAttribute::Type(kind))]);
        self.nodes.push(TfNode { name: name.into(), op: "Placeholder".into(), inputs: vec![], attributes });
        Ok(())
    }

    /// Makes floats of an input that is whole numbers which stand for such.
    pub fn given(&mut self, number: i32, q: &Quantization) -> Result<(), String> {
        let given = self.value(number)?;
        let value = self.floats("", given, q)?;
        self.values.insert(number, value);
        Ok(())
    }

    /// Translates all operators.
    pub fn operators(&mut self) -> Result<(), String> {
        for operator in &self.subgraph.operators {
            let name =
                operator.outputs.first().and_then(|&t| self.subgraph.tensor(t).ok()).map(|t| t.name.as_str());
            let within = |m: String| format!("node {:?} ({}): {m}", name.unwrap_or_default(), operator.name);
            self.operator(operator, name.unwrap_or_default()).map_err(within)?;
        }
        Ok(())
    }

    fn operator(&mut self, op: &'f Operator<'f>, name: &str) -> Result<(), String> {
        let run = operator(&op.name).ok_or("it has no translation")?;
        let mut call = Call { op, name, maker: self };
        let made = run.run(&mut call)?;
        if made.len() < op.outputs.len() {
            return Err(format!("it has {} results; expected {} at most", op.outputs.len(), made.len()));
        }
        for (&t, mut value) in op.outputs.iter().zip(made) {
            let tensor = self.subgraph.tensor(t)?;
            let first = op.inputs.first().and_then(|&t| self.subgraph.tensor(t).ok());
            if let Some(quantization) = quantized(tensor, false)
                && !(run.moves() && first.is_some_and(|f| f.quantization.as_ref() == Some(quantization)))
            {
                value = self.rounded(&tensor.name, value, tensor.kind, quantization)?;
            }
            self.values.insert(t, value);
        }
        Ok(())
    }

    /// A tensor as a value.
    pub fn value(&mut self, number: i32) -> Result<TfInput, String> {
        if let Some(value) = self.values.get(&number) {
            return Ok(value.clone());
        }
        let tensor = self.subgraph.tensor(number)?;
        let value = constant::read(self.file, tensor).map_err(|f| match f {
            Fault::Io(error) => error.to_string(),
            Fault::Unsound(found) | Fault::Unsupported(found) => found,
        })?;
        let value = value.ok_or_else(|| format!("tensor {:?} is read, but nothing makes it", tensor.name))?;
        let attributes = vec![("value", TfAttribute::Constant(Box::new(value)))];
        let value = self.node(&tensor.name, "Const", vec![], attributes);
        self.values.insert(number, value.clone());
        Ok(value)
    }

    /// Adds a node; its first result.
    pub fn node(
        &mut self,
        like: &str,
        op: &str,
        inputs: Vec<TfInput>,
        attributes: Vec<(&str, TfAttribute)>,
    ) -> TfInput {
        let name = self.unique(if like.is_empty() { op } else { like });
        let attributes = attributes.into_iter().map(|(n, a)| (n.to_string(), a)).collect();
        self.nodes.push(TfNode { name: name.clone(), op: op.into(), inputs, attributes });
        first(name)
    }

    /// A name like this one that no other node has.
    fn unique(&mut self, like: &str) -> String {
        let Some(&(mut number)) = self.names.get(like) else {
            self.names.insert(like.into(), 0);
            return like.into();
        };
        let name = loop {
            number += 1;
            let name = format!("{like}#{number}");
            if !self.names.contains_key(&name) {
                break name;
            }
        };
        self.names.insert(like.into(), number);
        self.names.insert(name.clone(), 0);
        name
    }

    /// A constant of whole numbers.
    pub fn ints(&mut self, shape: &[usize], values: &[i64]) -> Result<TfInput, String> {
        let content: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.made(TfType(9), shape, content)
    }

    /// A constant of one float.
    pub fn float(&mut self, value: f32) -> Result<TfInput, String> {
        self.made(TfType(1), &[], value.to_le_bytes().to_vec())
    }

    fn made(&mut self, dtype: TfType, shape: &[usize], content: Vec<u8>) -> Result<TfInput, String> {
        let constant =
            constant::made(self.file, dtype, shape, content.into()).map_err(|_| "a constant is too large")?;
        Ok(self.node("", "Const", vec![], vec![("value", TfAttribute::Constant(Box::new(constant)))]))
    }

    /// The floats that whole numbers stand for.
    pub fn floats(&mut self, name: &str, value: TfInput, q: &Quantization) -> Result<TfInput, String> {
        let (scale, zero) = self.step(name, q)?;
        Ok(self.node(name, "DequantizeLinear", vec![value, scale, zero], vec![]))
    }

    /// The whole numbers that stand for floats.
    pub fn whole(
        &mut self,
        name: &str,
        value: TfInput,
        kind: i8,
        q: &Quantization,
    ) -> Result<TfInput, String> {
        let (scale, zero) = self.step(name, q)?;
        let to = vec![("T", TfAttribute::Type(constant::dtype(kind)?))];
        Ok(self.node(name, "QuantizeLinear", vec![value, scale, zero], to))
    }

    fn rounded(&mut self, name: &str, value: TfInput, kind: i8, q: &Quantization) -> Result<TfInput, String> {
        let value = self.whole(name, value, kind, q)?;
        self.floats(name, value, q)
    }

    fn step(&mut self, name: &str, q: &Quantization) -> Result<(TfInput, TfInput), String> {
        let (&[scale], zero) = (&q.scales[..], q.zeros.first().copied().unwrap_or(0)) else {
            return Err(format!("tensor {name:?} has a scale for each place of an axis; only constants may"));
        };
        Ok((self.float(scale)?, self.ints(&[], &[zero])?))
    }

    pub fn finish(self) -> Result<TfGraph, String> {
        TfGraph::of(self.nodes).ok_or_else(|| "two nodes have the same name".into())
    }
}

/// The first result of a node.
pub(super) fn first(node: String) -> TfInput {
    TfInput { node, output: None, index: 0 }
}

/// How the whole numbers of a tensor stand for floats, if they do. Those of 32 bits do only in constants, as biases.
pub(super) fn quantized(tensor: &Tensor, constant: bool) -> Option<&Quantization> {
    let small = matches!(tensor.kind, constant::INT8 | constant::UINT8 | constant::INT16 | constant::INT4);
    let large = matches!(tensor.kind, constant::INT32 | constant::INT64) && constant;
    tensor.quantization.as_ref().filter(|_| small || large)
}
