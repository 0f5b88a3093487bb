//! What a model of TensorFlow Lite is made of: the tables of `tensorflow/compiler/mlir/lite/schema/schema.fbs`, with the places of
//! their fields.

use super::flat::{Flat, Table};
use super::names::OPERATORS;
use crate::tensors::Fault;

/// What stands behind the first offset of a file.
pub(super) const MARK: &[u8] = b"TFL3";

#[derive(Debug)]
pub(super) struct Model<'f> {
    pub subgraphs: Vec<Subgraph<'f>>,
    buffers: Vec<Buffer<'f>>,
    signatures: Vec<Signature>,
}

#[derive(Debug)]
pub(super) struct Subgraph<'f> {
    pub tensors: Vec<Tensor>,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    pub operators: Vec<Operator<'f>>,
}

#[derive(Debug)]
pub(super) struct Tensor {
    /// -1 for an axis whose size is not known.
    pub shape: Vec<i32>,
    /// Its element type, by its number.
    pub kind: i8,
    buffer: usize,
    pub name: String,
    pub quantization: Option<Quantization>,
    pub sparse: bool,
}

/// Whole numbers that stand for floats: `(number - zero) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantization {
    /// One, or one for each place of an axis.
    pub scales: Vec<f32>,
    /// As many, or one.
    pub zeros: Vec<i64>,
    pub axis: i32,
}

#[derive(Debug)]
pub(super) struct Operator<'f> {
    pub name: String,
    /// Tensors; -1 for one that is left out.
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    pub options: Option<Table<'f>>,
}

/// What a model is asked by name: inputs and outputs with their tensors.
#[derive(Debug)]
pub(super) struct Signature {
    key: String,
    pub subgraph: usize,
    pub inputs: Vec<(String, i32)>,
    pub outputs: Vec<(String, i32)>,
}

#[derive(Debug)]
enum Buffer<'f> {
    Here(&'f [u8]),
    /// Behind the tables, in files that are too large for their offsets.
    Behind {
        offset: u64,
        size: u64,
    },
}

impl<'f> Model<'f> {
    pub fn read(file: &'f Flat<'f>) -> Result<Model<'f>, Fault> {
        let model = file.root()?;
        let version = model.int(0, 0)?;
        if version != 3 {
            return Err(Fault::Unsupported(format!(
                "it has version {version} of its format; expected 3, as all have since 2017: convert the model again"
            )));
        }
        let codes: Vec<String> = model.tables(1)?.iter().map(operator_name).collect::<Result<_, _>>()?;
        let subgraphs =
            model.tables(2)?.iter().map(|t| Subgraph::read(t, &codes)).collect::<Result<_, _>>()?;
        let buffers = model.tables(4)?.iter().map(Buffer::read).collect::<Result<_, _>>()?;
        let signatures = model.tables(7)?.iter().map(Signature::read).collect::<Result<_, _>>()?;
        Ok(Model { subgraphs, buffers, signatures })
    }

    /// The elements of a tensor within the file; empty if it has none.
    pub fn data(&self, file: &'f [u8], tensor: &Tensor) -> Result<&'f [u8], Fault> {
        let missing = |what: &str| Fault::Unsound(format!("tensor {:?} has {what}", tensor.name));
        match self.buffers.get(tensor.buffer) {
            // Those of what is computed may be left out.
            None if tensor.buffer == 0 => Ok(&[]),
            None => Err(missing("a buffer that is not there")),
            Some(Buffer::Here(bytes)) => Ok(bytes),
            Some(Buffer::Behind { offset, size }) => {
                let range = offset
                    .checked_add(*size)
                    .and_then(|end| Some(usize::try_from(*offset).ok()?..usize::try_from(end).ok()?));
                range.and_then(|r| file.get(r)).ok_or_else(|| missing("a buffer outside of the file"))
            }
        }
    }

    /// The signature that those who serve a model ask, or the first one.
    pub fn signature(&self) -> Option<&Signature> {
        let serving = self.signatures.iter().find(|s| s.key == "serving_default");
        serving.or_else(|| self.signatures.first())
    }
}

impl<'f> Subgraph<'f> {
    fn read(table: &Table<'f>, codes: &[String]) -> Result<Subgraph<'f>, Fault> {
        Ok(Subgraph {
            tensors: table.tables(0)?.iter().map(Tensor::read).collect::<Result<_, _>>()?,
            inputs: table.ints(1)?,
            outputs: table.ints(2)?,
            operators: table.tables(3)?.iter().map(|t| Operator::read(t, codes)).collect::<Result<_, _>>()?,
        })
    }

    /// How many steps it takes to translate: each operator, and each value that is read or made, is one.
    pub fn steps(&self) -> usize {
        let operators = self.operators.iter().map(|o| 1 + o.inputs.len() + o.outputs.len());
        self.inputs.len() + self.outputs.len() + operators.sum::<usize>()
    }

    /// The tensor of a number.
    pub fn tensor(&self, number: i32) -> Result<&Tensor, String> {
        let found = usize::try_from(number).ok().and_then(|n| self.tensors.get(n));
        found.ok_or_else(|| format!("there is no tensor {number}"))
    }
}

impl Tensor {
    fn read(table: &Table<'_>) -> Result<Tensor, Fault> {
        const MOST_AXES: usize = 32;
        let signature = table.ints(7)?;
        let shape = if signature.is_empty() { table.ints(0)? } else { signature };
        if shape.len() > MOST_AXES {
            return Err(Fault::Unsupported(format!(
                "a tensor has {} axes; expected {MOST_AXES} at most",
                shape.len()
            )));
        }
        Ok(Tensor {
            shape,
            kind: table.byte(1, 0)?,
            buffer: table.index(2)?,
            name: table.name(3)?,
            quantization: table.table(4)?.as_ref().map(Quantization::read).transpose()?.flatten(),
            sparse: table.table(6)?.is_some(),
        })
    }
}

impl Quantization {
    fn read(table: &Table<'_>) -> Result<Option<Quantization>, Fault> {
        let (scales, zeros, axis) = (table.floats(2)?, table.longs(3)?, table.int(6, 0)?);
        Ok((!scales.is_empty()).then_some(Quantization { scales, zeros, axis }))
    }
}

impl<'f> Operator<'f> {
    fn read(table: &Table<'f>, codes: &[String]) -> Result<Operator<'f>, Fault> {
        let code = table.index(0)?;
        let missing = || Fault::Unsound(format!("an operator has the code {code}, which is not there"));
        Ok(Operator {
            name: codes.get(code).ok_or_else(missing)?.clone(),
            inputs: table.ints(1)?,
            outputs: table.ints(2)?,
            options: table.table(4)?,
        })
    }
}

impl Signature {
    fn read(table: &Table<'_>) -> Result<Signature, Fault> {
        let names = |slot| -> Result<Vec<(String, i32)>, Fault> {
            table.tables(slot)?.iter().map(|t| Ok((t.name(0)?, t.int(1, 0)?))).collect()
        };
        Ok(Signature {
            key: table.name(2)?,
            subgraph: table.index(4)?,
            inputs: names(0)?,
            outputs: names(1)?,
        })
    }
}

impl<'f> Buffer<'f> {
    fn read(table: &Table<'f>) -> Result<Buffer<'f>, Fault> {
        Ok(match (table.long(1)?, table.long(2)?) {
            // The offset 1 stands for one that was not filled in.
            (0 | 1, _) => Buffer::Here(table.bytes(0)?),
            (offset, size) => Buffer::Behind { offset, size },
        })
    }
}

/// The name of an operator code: in older files it has one byte, in newer ones more.
fn operator_name(table: &Table<'_>) -> Result<String, Fault> {
    const CUSTOM: i32 = 32;
    const LONGEST: usize = 80;
    let code = table.int(3, 0)?.max(table.byte(0, 0)?.into());
    if code == CUSTOM {
        return Ok(format!("CUSTOM {}", table.name(1)?.chars().take(LONGEST).collect::<String>()));
    }
    let known = usize::try_from(code).ok().and_then(|c| OPERATORS.get(c));
    Ok(known.map_or_else(|| format!("operator {code}"), |name| name.to_string()))
}
