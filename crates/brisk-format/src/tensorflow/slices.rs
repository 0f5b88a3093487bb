//! Variables that were saved in parts.

use brisk_graph::{Data, Tensor};

use super::proto::TensorSliceProto;
use crate::tensors::Fault;

/// The most parts of one variable.
const MOST: usize = 1024;

/// A part of a tensor: where it begins and how long it is along each axis.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub begin: Vec<usize>,
    pub shape: Vec<usize>,
    /// What the checkpoint calls it.
    pub key: Vec<u8>,
}

/// The parts of a tensor, which lie within it, do not overlap, and are all of it together.
pub(super) fn slices(name: &str, shape: &[usize], parts: &[TensorSliceProto]) -> Result<Vec<Slice>, Fault> {
    let unsound = |found: String| Fault::Unsound(format!("variable {name:?} {found}"));
    if parts.len() > MOST {
        return Err(unsound(format!("has {} parts; at most {MOST} are read", parts.len())));
    }
    let slices: Option<Vec<Slice>> = parts.iter().map(|part| slice(name, shape, part)).collect();
    let Some(slices) = slices else {
        return Err(unsound(format!("{shape:?} has a part that lies outside of it")));
    };
    let meet = |a: &Slice, b: &Slice| {
        (0..shape.len()).all(|i| a.begin[i] < b.begin[i] + b.shape[i] && b.begin[i] < a.begin[i] + a.shape[i])
    };
    if slices.iter().enumerate().any(|(i, a)| slices[..i].iter().any(|b| meet(a, b))) {
        return Err(unsound("has parts that overlap".into()));
    }
    let elements = |shape: &[usize]| shape.iter().product::<usize>();
    if slices.iter().map(|s| elements(&s.shape)).sum::<usize>() != elements(shape) {
        return Err(unsound(format!("{shape:?} is more than its {} parts", slices.len())));
    }
    Ok(slices)
}

fn slice(name: &str, full: &[usize], part: &TensorSliceProto) -> Option<Slice> {
    if part.extent.len() != full.len() {
        return None;
    }
    let mut slice = Slice { begin: Vec::new(), shape: Vec::new(), key: Vec::new() };
    slice.key.push(0);
    ordered_text(&mut slice.key, name.as_bytes());
    ordered_unsigned(&mut slice.key, full.len() as u64);
    for (extent, &size) in part.extent.iter().zip(full) {
        let (begin, length) = match extent.length {
            Some(length) => (extent.start.try_into().ok()?, length.try_into().ok()?),
            None => (0, size),
        };
        if size.checked_sub(begin)? < length {
            return None;
        }
        slice.begin.push(begin);
        slice.shape.push(length);
        ordered_signed(&mut slice.key, if extent.length.is_some() { extent.start } else { 0 });
        ordered_signed(&mut slice.key, extent.length.unwrap_or(-1));
    }
    Some(slice)
}

/// Copies a part to its place in a tensor of the same type.
pub(super) fn put(full: &mut Tensor, slice: &Slice, part: &Tensor) -> brisk_graph::Result<()> {
    let shape = full.shape().to_vec();
    match part.data() {
        Data::F32(from) => copy(full.f32s_mut()?, &shape, slice, from),
        Data::F64(from) => copy(full.f64s_mut()?, &shape, slice, from),
        Data::I32(from) => copy(full.i32s_mut()?, &shape, slice, from),
        Data::I64(from) => copy(full.i64s_mut()?, &shape, slice, from),
        Data::U8(from) => copy(full.u8s_mut()?, &shape, slice, from),
    }
    Ok(())
}

/// Row by row: the last axis lies together on both sides.
fn copy<T: Copy>(to: &mut [T], shape: &[usize], slice: &Slice, from: &[T]) {
    let row = slice.shape.last().copied().unwrap_or(1);
    if from.is_empty() {
        return;
    }
    for (i, values) in from.chunks_exact(row).enumerate() {
        let (mut left, mut at, mut stride) = (i * row, 0, 1);
        for axis in (0..shape.len()).rev() {
            at += (slice.begin[axis] + left % slice.shape[axis]) * stride;
            left /= slice.shape[axis];
            stride *= shape[axis];
        }
        to[at..at + row].copy_from_slice(values);
    }
}

// Keys of parts are written so that their bytes sort as what they say does: `EncodeTensorNameSlice` in
// `tensorflow/core/util/saved_tensor_slice_util.cc` and `OrderedCode` in `tensorflow/core/lib/strings/ordered_code.cc`.

fn ordered_text(key: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        key.push(byte);
        match byte {
            0 => key.push(0xff),
            0xff => key.push(0),
            _ => {}
        }
    }
    key.extend([0, 1]);
}

fn ordered_unsigned(key: &mut Vec<u8>, n: u64) {
    let bytes = n.to_be_bytes();
    let zeros = (n.leading_zeros() / 8) as usize;
    key.push((bytes.len() - zeros) as u8);
    key.extend(&bytes[zeros..]);
}

/// Seven bits in each byte; as many ones in front as there are bytes.
fn ordered_signed(key: &mut Vec<u8>, n: i64) {
    let magnitude = if n < 0 { !n } else { n };
    let length = (64 - magnitude.leading_zeros() as usize) / 7 + 1;
    let ones = !(u128::MAX >> length) >> (128 - 8 * length);
    let bytes = (i128::from(n) as u128 ^ ones).to_be_bytes();
    key.extend(&bytes[bytes.len() - length..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `tensorflow/core/lib/strings/ordered_code_test.cc` expects them.
    #[test]
    fn numbers_are_written_as_tensorflow_writes_them() {
        let signed = |n: i64| {
            let mut key = Vec::new();
            ordered_signed(&mut key, n);
            key
        };
        assert_eq!(signed(0), [0x80]);
        assert_eq!(signed(63), [0xbf]);
        assert_eq!(signed(-1), [0x7f]);
        assert_eq!(signed(-64), [0x40]);
        assert_eq!(signed(64), [0xc0, 0x40]);
        assert_eq!(signed(-65), [0x3f, 0xbf]);
        assert_eq!(signed(i64::MAX), [0xff, 0xc0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(signed(i64::MIN), [0x00, 0x3f, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        let mut key = Vec::new();
        ordered_unsigned(&mut key, 0);
        ordered_unsigned(&mut key, 0x102);
        ordered_text(&mut key, b"a\0\xff");
        assert_eq!(key, [0, 2, 1, 2, b'a', 0, 0xff, 0xff, 0, 0, 1]);
    }
}
