//! Tensors of an ONNX file, in all the ways in which they are written.

use std::cell::RefCell;

use brisk_graph::{Data, Shape, Tensor};
use brisk_onnx::{Constant, Elem};
use half::{bf16, f16};

use super::proto::{SparseTensorProto, TensorProto};
use crate::budget::Budget;

/// The most elements that a tensor may have.
const MOST: usize = 1 << 36;

/// Type and shape of a tensor, or what is wrong with them.
pub fn kind(proto: &TensorProto) -> Result<(Elem, Shape), String> {
    let name = &proto.name;
    let code = proto.data_type;
    let elem = Elem::of_code(code.into())
        .ok_or_else(|| format!("tensor {name:?}: elements of type {code} are not known to Brisk"))?;
    let size = |&d: &i64| usize::try_from(d).map_err(|_| format!("tensor {name:?}: {d} is no size"));
    let dims = proto.dims.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let shape = Shape::from(dims);
    // Empty axes hide nothing.
    let cells = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d.max(1)));
    match cells <= MOST && shape.rank() <= 16 {
        true => Ok((elem, shape)),
        false => Err(format!("tensor {name:?}: {shape} is too large")),
    }
}

/// How many bytes so many elements take where they are written raw; texts are never.
pub fn raw_bytes(elem: Elem, elements: usize) -> Option<usize> {
    let bits = match elem {
        Elem::String => return None,
        Elem::Double => 64,
        Elem::Float => 32,
        Elem::Float16 | Elem::Bfloat16 => 16,
        Elem::Bool => 8,
        Elem::Float4E2M1 => 4,
        e => e.bits().map_or(8, |b| b.0 as usize),
    };
    Some(elements.checked_mul(bits)?.div_ceil(8))
}

/// Elements as they come in stretches of raw bytes.
pub struct Raw {
    elem: Elem,
    elements: usize,
    data: Data,
    /// What did not make up a whole element yet.
    rest: Vec<u8>,
}

impl Raw {
    /// Of so many elements, whose bytes are known to be there.
    pub fn new(elem: Elem, elements: usize) -> Raw {
        let data = match elem.dtype() {
            brisk_graph::DType::F32 => Data::F32(Vec::with_capacity(elements)),
            brisk_graph::DType::F64 => Data::F64(Vec::with_capacity(elements)),
            brisk_graph::DType::I32 => Data::I32(Vec::with_capacity(elements)),
            brisk_graph::DType::I64 => Data::I64(Vec::with_capacity(elements)),
            brisk_graph::DType::U8 => Data::U8(Vec::with_capacity(elements)),
        };
        Raw { elem, elements, data, rest: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        let width = match self.elem {
            Elem::Double | Elem::Int64 | Elem::Uint64 => 8,
            Elem::Float | Elem::Int32 | Elem::Uint32 => 4,
            Elem::Float16 | Elem::Bfloat16 | Elem::Int16 | Elem::Uint16 => 2,
            _ => 1,
        };
        let mut bytes = bytes;
        if !self.rest.is_empty() {
            let n = (width - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.rest.len() < width {
                return;
            }
            let whole = std::mem::take(&mut self.rest);
            self.whole(&whole);
        }
        let whole = bytes.len() / width * width;
        self.whole(&bytes[..whole]);
        self.rest = bytes[whole..].to_vec();
    }

    fn whole(&mut self, bytes: &[u8]) {
        fn each<const N: usize, T>(bytes: &[u8], to: &mut Vec<T>, f: impl Fn([u8; N]) -> T) {
            to.extend(bytes.as_chunks::<N>().0.iter().map(|&b| f(b)));
        }
        let elem = self.elem;
        match (&mut self.data, elem) {
            (Data::F64(v), _) => each(bytes, v, f64::from_le_bytes),
            (Data::F32(v), Elem::Float) => each(bytes, v, f32::from_le_bytes),
            (Data::F32(v), Elem::Float16) => each(bytes, v, |b| f16::from_le_bytes(b).to_f32()),
            (Data::F32(v), Elem::Bfloat16) => each(bytes, v, |b| bf16::from_le_bytes(b).to_f32()),
            (Data::F32(v), Elem::Float4E2M1) => {
                for b in bytes {
                    v.extend([b & 15, b >> 4].map(|code| small_float(elem, code)));
                }
                v.truncate(self.elements);
            }
            (Data::F32(v), _) => v.extend(bytes.iter().map(|&b| small_float(elem, b))),
            (Data::U8(v), Elem::Bool) => v.extend(bytes.iter().map(|&b| u8::from(b != 0))),
            (Data::U8(v), _) => v.extend_from_slice(bytes),
            (Data::I64(v), Elem::Int64 | Elem::Uint64) => each(bytes, v, i64::from_le_bytes),
            (Data::I64(v), Elem::Int32) => each(bytes, v, |b| i32::from_le_bytes(b).into()),
            (Data::I64(v), Elem::Uint32) => each(bytes, v, |b| u32::from_le_bytes(b).into()),
            (Data::I64(v), Elem::Int16) => each(bytes, v, |b| i16::from_le_bytes(b).into()),
            (Data::I64(v), Elem::Uint16) => each(bytes, v, |b| u16::from_le_bytes(b).into()),
            (Data::I64(v), Elem::Int8) => v.extend(bytes.iter().map(|&b| i64::from(b as i8))),
            (Data::I64(v), _) => {
                // Several in a byte, the first in its low bits.
                let (bits, signed) = elem.bits().unwrap_or((8, false));
                for &b in bytes {
                    for k in 0..8 / bits {
                        v.push(small_int(b >> (k * bits), bits, signed));
                    }
                }
                v.truncate(self.elements);
            }
            (Data::I32(_), _) => {}
        }
    }

    /// All elements.
    pub fn finish(self, shape: Shape) -> Result<Constant, String> {
        Tensor::new(shape, self.data).map(|t| Constant::Numbers(self.elem, t)).map_err(|e| e.to_string())
    }
}

fn small_int(byte: u8, bits: u32, signed: bool) -> i64 {
    let value = i64::from(byte) & ((1 << bits) - 1);
    if signed && value >= 1 << (bits - 1) { value - (1 << bits) } else { value }
}

/// A float of eight or four bits (OCP and Graphcore formats, as ONNX describes them).
pub fn small_float(elem: Elem, code: u8) -> f32 {
    let (exponent_bits, mantissa_bits, bias) = match elem {
        Elem::Float8E4M3Fn => (4, 3, 7),
        Elem::Float8E4M3Fnuz => (4, 3, 8),
        Elem::Float8E5M2 => (5, 2, 15),
        Elem::Float8E5M2Fnuz => (5, 2, 16),
        Elem::Float4E2M1 => (2, 1, 1),
        _ => return if code == 255 { f32::NAN } else { (f32::from(code) - 127.0).exp2() },
    };
    let mantissa = u32::from(code) & ((1 << mantissa_bits) - 1);
    let exponent = (u32::from(code) >> mantissa_bits) & ((1 << exponent_bits) - 1);
    let negative = (u32::from(code) >> (mantissa_bits + exponent_bits)) & 1 == 1;
    let sign = if negative { -1.0 } else { 1.0 };
    let top = (1 << exponent_bits) - 1;
    match elem {
        Elem::Float8E4M3Fnuz | Elem::Float8E5M2Fnuz if code == 0x80 => return f32::NAN,
        Elem::Float8E4M3Fn if exponent == top && mantissa == 7 => return f32::NAN,
        Elem::Float8E5M2 if exponent == top && mantissa == 0 => return sign * f32::INFINITY,
        Elem::Float8E5M2 if exponent == top => return f32::NAN,
        _ => {}
    }
    let fraction = mantissa as f32 / (1 << mantissa_bits) as f32;
    match exponent {
        0 => sign * fraction * (1.0 - bias as f32).exp2(),
        e => sign * (1.0 + fraction) * (e as f32 - bias as f32).exp2(),
    }
}

/// A tensor whose elements stand in the message itself.
pub fn constant(proto: &TensorProto) -> Result<Constant, String> {
    let (elem, shape) = kind(proto)?;
    let (name, elements) = (&proto.name, shape.elements());
    let count = |found: usize| match found == elements {
        true => Ok(()),
        false => Err(format!("tensor {name:?}: {shape} has {elements} elements, found {found}")),
    };
    if elem == Elem::String {
        count(proto.string_data.len())?;
        let texts = proto.string_data.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
        return Ok(Constant::Texts(shape, std::sync::Arc::new(texts)));
    }
    if let Some(bytes) = &proto.raw_data {
        let expected = raw_bytes(elem, elements).unwrap_or(0);
        if bytes.len() != expected {
            return Err(format!(
                "tensor {name:?}: {elem} {shape} takes {expected} bytes, found {}",
                bytes.len()
            ));
        }
        let mut raw = Raw::new(elem, elements);
        raw.take(bytes);
        return raw.finish(shape);
    }
    let numbers = |data: Data| {
        count(data.len())?;
        Tensor::new(shape.clone(), data).map(|t| Constant::Numbers(elem, t)).map_err(|e| e.to_string())
    };
    let ints = &proto.int32_data;
    match elem {
        Elem::Float => numbers(proto.float_data.clone().into()),
        Elem::Double => numbers(proto.double_data.clone().into()),
        Elem::Int64 => numbers(proto.int64_data.clone().into()),
        Elem::Uint32 | Elem::Uint64 => {
            numbers(proto.uint64_data.iter().map(|&v| v as i64).collect::<Vec<_>>().into())
        }
        Elem::Float16 => {
            numbers(ints.iter().map(|&v| f16::from_bits(v as u16).to_f32()).collect::<Vec<_>>().into())
        }
        Elem::Bfloat16 => {
            numbers(ints.iter().map(|&v| bf16::from_bits(v as u16).to_f32()).collect::<Vec<_>>().into())
        }
        Elem::Bool => numbers(ints.iter().map(|&v| u8::from(v != 0)).collect::<Vec<_>>().into()),
        Elem::Uint8 => numbers(ints.iter().map(|&v| v as u8).collect::<Vec<_>>().into()),
        // Narrow types lie in the low bytes as they would raw, several in one.
        e if e.is_float() || e.bits().is_some_and(|b| b.0 < 8) => {
            let bytes: Vec<u8> = ints.iter().map(|&v| v as u8).collect();
            let expected = raw_bytes(elem, elements).unwrap_or(0);
            if bytes.len() != expected {
                let found = bytes.len();
                return Err(format!(
                    "tensor {name:?}: {elem} {shape} takes {expected} numbers, found {found}"
                ));
            }
            let mut raw = Raw::new(elem, elements);
            raw.take(&bytes);
            raw.finish(shape)
        }
        _ => numbers(ints.iter().map(|&v| i64::from(v)).collect::<Vec<_>>().into()),
    }
}

/// How many elements the sparse tensors of a file may have together, their zeros among them: a file of a few bytes must not fill the
/// memory.
pub struct Sparse(RefCell<Budget>);

impl Sparse {
    /// Of a file of which nothing is read yet.
    pub fn new() -> Sparse {
        const MOST: u64 = 1 << 27;
        Sparse(RefCell::new(Budget::new(MOST)))
    }

    /// A sparse tensor with all its zeros.
    pub fn dense(&self, proto: &SparseTensorProto) -> Result<Constant, String> {
        let values = proto.values.as_ref().ok_or("a sparse tensor without values")?;
        let indices = proto.indices.as_ref().ok_or("a sparse tensor without indices")?;
        let whole =
            TensorProto { dims: proto.dims.clone(), data_type: values.data_type, ..TensorProto::default() };
        let (elem, shape) = kind(&whole)?;
        let elements = shape.elements();
        self.0.borrow_mut().take(elements).map_err(|most| {
            format!("a sparse tensor of {shape} is too large: all together may have {most} elements")
        })?;
        let (Constant::Numbers(_, values), Constant::Numbers(_, indices)) =
            (constant(values)?, constant(indices)?)
        else {
            return Err("a sparse tensor of texts".into());
        };
        let unfit = || format!("the indices of a sparse tensor do not fit {shape}");
        let Data::I64(list) = indices.data() else { return Err(unfit()) };
        // A number in row-major order for each, or one for each axis.
        let (axes, whole) = ([elements], indices.shape().rank() == 1);
        let sizes: &[usize] = if whole { &axes } else { &shape };
        let place = |row: &[i64]| {
            row.iter().zip(sizes).try_fold(0, |sum, (&i, &size)| {
                let own = usize::try_from(i).ok().filter(|&i| i < size)?;
                Some(sum * size + own)
            })
        };
        let rows = list.chunks_exact(sizes.len().max(1));
        let places: Option<Vec<usize>> = rows.map(place).collect();
        let fits = list.len() == values.elements() * sizes.len();
        let places = places.filter(|_| fits).ok_or_else(unfit)?;
        let data: Data = match values.data() {
            Data::F32(v) => spread(v, &places, elements).into(),
            Data::F64(v) => spread(v, &places, elements).into(),
            Data::I32(v) => spread(v, &places, elements).into(),
            Data::I64(v) => spread(v, &places, elements).into(),
            Data::U8(v) => spread(v, &places, elements).into(),
        };
        Tensor::new(shape, data).map(|t| Constant::Numbers(elem, t)).map_err(|e| e.to_string())
    }
}

/// Values at their places, and zeros.
fn spread<T: Copy + Default>(values: &[T], places: &[usize], elements: usize) -> Vec<T> {
    let mut all = vec![T::default(); elements];
    places.iter().zip(values).for_each(|(&place, &value)| all[place] = value);
    all
}
