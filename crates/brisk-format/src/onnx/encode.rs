//! Elements as they are written raw.

use std::io::{self, Write};

use brisk_graph::{Data, Tensor};
use brisk_onnx::Elem;
use half::{bf16, f16};

use super::tensor::small_float;

/// So many elements are turned into bytes at a time.
const WINDOW: usize = 1 << 14;

/// Writes the elements of a tensor as those of an ONNX type: as many bytes as [`raw_bytes`](super::tensor::raw_bytes) says.
pub fn write_raw(elem: Elem, tensor: &Tensor, w: &mut dyn Write) -> io::Result<()> {
    match (elem, tensor.data()) {
        (Elem::Float, Data::F32(v)) => return w.write_all(bytemuck::cast_slice(v)),
        (Elem::Double, Data::F64(v)) => return w.write_all(bytemuck::cast_slice(v)),
        (Elem::Int32, Data::I32(v)) => return w.write_all(bytemuck::cast_slice(v)),
        (Elem::Int64 | Elem::Uint64, Data::I64(v)) => return w.write_all(bytemuck::cast_slice(v)),
        (Elem::Uint8 | Elem::Bool, Data::U8(v)) => return w.write_all(v),
        _ => {}
    }
    let codes = codes(elem);
    let mut bytes = Vec::new();
    for start in (0..tensor.elements()).step_by(WINDOW) {
        let end = (start + WINDOW).min(tensor.elements());
        bytes.clear();
        match elem.is_float() {
            true => floats(elem, &codes, (start..end).map(|i| float(tensor.data(), i)), &mut bytes),
            false => whole(elem, (start..end).map(|i| int(tensor.data(), i)), &mut bytes),
        }
        w.write_all(&bytes)?;
    }
    Ok(())
}

fn float(data: &Data, i: usize) -> f64 {
    match data {
        Data::F32(v) => v[i].into(),
        Data::F64(v) => v[i],
        Data::I32(v) => v[i].into(),
        Data::I64(v) => v[i] as f64,
        Data::U8(v) => v[i].into(),
    }
}

fn int(data: &Data, i: usize) -> i64 {
    match data {
        Data::F32(v) => v[i].round() as i64,
        Data::F64(v) => v[i].round() as i64,
        Data::I32(v) => v[i].into(),
        Data::I64(v) => v[i],
        Data::U8(v) => v[i].into(),
    }
}

fn floats(elem: Elem, codes: &[(f32, u8)], values: impl Iterator<Item = f64>, to: &mut Vec<u8>) {
    match elem {
        Elem::Float => values.for_each(|v| to.extend((v as f32).to_le_bytes())),
        Elem::Double => values.for_each(|v| to.extend(v.to_le_bytes())),
        Elem::Float16 => values.for_each(|v| to.extend(f16::from_f64(v).to_le_bytes())),
        Elem::Bfloat16 => values.for_each(|v| to.extend(bf16::from_f64(v).to_le_bytes())),
        Elem::Float4E2M1 => packed(values.map(|v| nearest(codes, v)), 4, to),
        _ => to.extend(values.map(|v| nearest(codes, v))),
    }
}

fn whole(elem: Elem, values: impl Iterator<Item = i64>, to: &mut Vec<u8>) {
    match elem {
        Elem::Bool => to.extend(values.map(|v| u8::from(v != 0))),
        e => match e.bits().map_or(8, |b| b.0) {
            64 => values.for_each(|v| to.extend(v.to_le_bytes())),
            32 => values.for_each(|v| to.extend((v as u32).to_le_bytes())),
            16 => values.for_each(|v| to.extend((v as u16).to_le_bytes())),
            8 => to.extend(values.map(|v| v as u8)),
            bits => packed(values.map(|v| v as u8), bits, to),
        },
    }
}

/// Several in a byte, the first in its low bits.
fn packed(mut values: impl Iterator<Item = u8>, bits: u32, to: &mut Vec<u8>) {
    let mask = (1u8 << bits) - 1;
    while let Some(first) = values.next() {
        let mut byte = first & mask;
        for place in 1..8 / bits {
            byte |= (values.next().unwrap_or(0) & mask) << (place * bits);
        }
        to.push(byte);
    }
}

/// The numbers of a float type of eight or four bits in order, with their codes; those that are none come last.
fn codes(elem: Elem) -> Vec<(f32, u8)> {
    let count = match elem {
        Elem::Float4E2M1 => 16,
        Elem::Float8E4M3Fn
        | Elem::Float8E4M3Fnuz
        | Elem::Float8E5M2
        | Elem::Float8E5M2Fnuz
        | Elem::Float8E8M0 => 256,
        _ => 0,
    };
    let mut codes: Vec<(f32, u8)> = (0..count).map(|c: u16| (small_float(elem, c as u8), c as u8)).collect();
    codes.sort_by(|a, b| a.0.is_nan().cmp(&b.0.is_nan()).then(a.0.total_cmp(&b.0)));
    codes
}

/// The code of the number that is nearest.
fn nearest(codes: &[(f32, u8)], value: f64) -> u8 {
    let numbers = codes.partition_point(|c| !c.0.is_nan());
    let (finite, none) = codes.split_at(numbers);
    if value.is_nan() {
        return none.first().map_or(0, |c| c.1);
    }
    let value = value as f32;
    let above = finite.partition_point(|c| c.0.total_cmp(&value).is_lt());
    let far = |i: usize| finite.get(i).map(|c| ((c.0 - value).abs(), c.1)).filter(|c| !c.0.is_nan());
    let exact = finite.get(above).filter(|c| c.0 == value).map(|c| c.1);
    let near = [far(above), above.checked_sub(1).and_then(far)].into_iter().flatten();
    exact.or_else(|| near.min_by(|a, b| a.0.total_cmp(&b.0)).map(|c| c.1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::tensor::{Raw, raw_bytes};
    use brisk_onnx::Constant;

    /// What is written of a type is what is read of it, for all numbers that it has.
    #[test]
    fn every_type_comes_back() {
        let kinds = (1..=26).filter_map(Elem::of_code).filter(|&e| e != Elem::String);
        for elem in kinds {
            let bytes: Vec<u8> = match elem {
                Elem::Bool => vec![0, 1, 1, 0],
                _ => (0..=255).collect(),
            };
            let bits = raw_bytes(elem, 8).unwrap();
            let elements = bytes.len() * 8 / bits;
            let mut raw = Raw::new(elem, elements);
            raw.take(&bytes);
            let Constant::Numbers(_, tensor) = raw.finish([elements].into()).unwrap() else { panic!() };
            let mut written = Vec::new();
            write_raw(elem, &tensor, &mut written).unwrap();
            let mut again = Raw::new(elem, elements);
            again.take(&written);
            let Constant::Numbers(_, read) = again.finish([elements].into()).unwrap() else { panic!() };
            let bits = |t: &Tensor| {
                t.to_f64s().iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect::<Vec<_>>()
            };
            assert_eq!(bits(&read), bits(&tensor), "{elem}");
        }
    }
}
