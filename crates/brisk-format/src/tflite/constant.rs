//! Tensors that a file holds.

use bytes::Bytes;

use super::maker::{File, quantized};
use super::schema::{Quantization, Tensor};
use crate::elements::{Element, Elements};
use crate::tensorflow::{TensorDim, TensorProto, TensorShapeProto, TfConstant, TfType};
use crate::tensors::Fault;

pub(super) const INT32: i8 = 2;
pub(super) const UINT8: i8 = 3;
pub(super) const INT64: i8 = 4;
pub(super) const INT16: i8 = 7;
pub(super) const INT8: i8 = 9;
pub(super) const INT4: i8 = 17;

/// The element type of a number of the schema's `TensorType`.
pub(super) fn dtype(kind: i8) -> Result<TfType, String> {
    Ok(TfType(match kind {
        0 => 1,
        1 => 19,
        INT32 => 3,
        UINT8 => 4,
        INT64 => 9,
        5 => 7,
        6 => 10,
        INT16 => 5,
        INT8 | INT4 => 6,
        10 => 2,
        12 => 23,
        15 => 22,
        16 => 17,
        18 => 14,
        _ => return Err(format!("elements of the type {kind} of TensorFlow Lite have no like here")),
    }))
}

/// What a tensor holds, as floats if its whole numbers stand for such; `None` if the file does not hold its elements.
pub(super) fn read(file: &mut File<'_>, tensor: &Tensor) -> Result<Option<TfConstant>, Fault> {
    let named = |f: Fault| f.within(&format!("tensor {:?}", tensor.name));
    let data = file.model.data(file.bytes, tensor)?;
    let shape: Option<Vec<usize>> = tensor.shape.iter().map(|&d| d.try_into().ok()).collect();
    let Some(shape) = shape else { return Ok(None) };
    if data.is_empty() && !shape.contains(&0) {
        return Ok(None);
    }
    constant(file, tensor, &shape, data).map(Some).map_err(named)
}

fn constant(file: &mut File<'_>, tensor: &Tensor, shape: &[usize], data: &[u8]) -> Result<TfConstant, Fault> {
    if tensor.sparse {
        return Err(Fault::Unsupported("it is stored sparsely; convert the model without that".into()));
    }
    let dtype = dtype(tensor.kind).map_err(Fault::Unsupported)?;
    let element = dtype
        .element()
        .ok_or_else(|| Fault::Unsupported(format!("a constant of {dtype}s is not understood")))?;
    let unsound = |found: String| Err(Fault::Unsound(found));
    let Some((elements, bytes)) = element.extent(shape) else {
        return unsound(format!("its shape {shape:?} takes more bytes than any file has"));
    };
    let stored = if tensor.kind == INT4 { elements.div_ceil(2) } else { bytes };
    if data.len() != stored {
        return unsound(format!("it has {} bytes, but its shape {shape:?} takes {stored}", data.len()));
    }
    // Before memory is taken: many tensors may share their bytes.
    let taken = elements.saturating_mul(element.size().max(4));
    file.budget.take(taken).map_err(|_| {
        Fault::Unsupported("too many tensors share their bytes with others; convert the model again".into())
    })?;
    if let Some(quantization) = quantized(tensor, true) {
        let numbers = whole(tensor.kind, element, data, elements)?;
        let floats = floats(&numbers, shape, quantization).map_err(Fault::Unsound)?;
        return made(file, TfType(1), shape, floats.into());
    }
    if tensor.kind == INT4 {
        return Err(Fault::Unsupported("numbers of four bits without a scale are not understood".into()));
    }
    made(file, dtype, shape, file.bytes.slice_ref(data))
}

/// A constant of bytes.
pub(super) fn made(
    file: &mut File<'_>,
    dtype: TfType,
    shape: &[usize],
    content: Bytes,
) -> Result<TfConstant, Fault> {
    let dim = shape.iter().map(|&d| TensorDim { size: d as i64 }).collect();
    let tensor_shape = Some(TensorShapeProto { dim, unknown_rank: false });
    file.constants.read(TensorProto {
        dtype: dtype.0,
        tensor_shape,
        tensor_content: content,
        ..TensorProto::default()
    })
}

/// Whole numbers of any size; of those of four bits, the lower ones of a byte come first.
fn whole(kind: i8, element: Element, mut data: &[u8], elements: usize) -> Result<Vec<f64>, Fault> {
    if kind == INT4 {
        let both = data.iter().flat_map(|&b| [(b << 4) as i8 >> 4, b as i8 >> 4]);
        return Ok(both.take(elements).map(f64::from).collect());
    }
    let mut read = Elements::with_capacity(element, elements);
    read.read(&mut data, elements)?;
    Ok(read.finish(&[elements])?.to_f64s())
}

/// The bytes of the floats that whole numbers stand for.
fn floats(numbers: &[f64], shape: &[usize], q: &Quantization) -> Result<Vec<u8>, String> {
    let (places, stride) = match q.scales.len() {
        1 => (1, numbers.len().max(1)),
        count => {
            let axis = usize::try_from(q.axis).ok().filter(|&a| shape.get(a) == Some(&count));
            let axis = axis.ok_or_else(|| {
                format!("it has {count} scales, which its shape {shape:?} has not on axis {}", q.axis)
            })?;
            (count, shape.iter().skip(axis + 1).product::<usize>().max(1))
        }
    };
    if q.zeros.len() > 1 && q.zeros.len() != places {
        return Err(format!("it has {places} scales, but {} zero points", q.zeros.len()));
    }
    let float = |(i, number): (usize, &f64)| {
        let place = i / stride % places;
        let zero = q.zeros.get(place).or(q.zeros.first()).copied().unwrap_or(0);
        let scale = q.scales.get(place).copied().unwrap_or_default();
        ((number - zero as f64) as f32 * scale).to_le_bytes()
    };
    Ok(numbers.iter().enumerate().flat_map(float).collect())
}
