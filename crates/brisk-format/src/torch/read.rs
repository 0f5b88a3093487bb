//! From the bytes of a storage to the elements of a tensor.

use std::cell::Cell;

use brisk_graph::Data;
use half::{bf16, f16};

use super::archive::{Bytes, Place};
use super::pickle::View;
use crate::elements::Element;
use crate::mapped::{MappedFile, WINDOW};
use crate::{Error, Result};

/// Reads what a view sees, row by row. The view lies within the storage.
pub(super) fn read(file: &MappedFile, place: &Place, view: &View) -> Result<Data> {
    let elements = Elements { file, place, view };
    Ok(match view.element {
        Element::F64 => Data::F64(elements.all(f64::from_le_bytes)?),
        Element::F32 => Data::F32(elements.all(f32::from_le_bytes)?),
        Element::F16 => Data::F32(elements.all(|b| f16::from_le_bytes(b).to_f32())?),
        Element::Bf16 => Data::F32(elements.all(|b| bf16::from_le_bytes(b).to_f32())?),
        Element::F8E4M3Fn | Element::F8E4M3Fnuz | Element::F8E5M2 | Element::F8E5M2Fnuz => {
            Data::F32(elements.all(|[b]| view.element.float(b).unwrap_or(f32::NAN))?)
        }
        Element::I64 => Data::I64(elements.all(i64::from_le_bytes)?),
        Element::I32 => Data::I32(elements.all(i32::from_le_bytes)?),
        Element::I16 => Data::I32(elements.all(|b| i16::from_le_bytes(b).into())?),
        Element::I8 => Data::I32(elements.all(|b| i8::from_le_bytes(b).into())?),
        Element::U64 => {
            let fits = Cell::new(true);
            let all = elements.all(|b| {
                i64::try_from(u64::from_le_bytes(b)).unwrap_or_else(|_| {
                    fits.set(false);
                    0
                })
            })?;
            if !fits.get() {
                let message = "a tensor of uint64 has numbers of 2^63 and more; save it as int64 or float64";
                return Err(Error::content(file.path(), message));
            }
            Data::I64(all)
        }
        Element::U32 => Data::I64(elements.all(|b| u32::from_le_bytes(b).into())?),
        Element::U16 => Data::I32(elements.all(|b| u16::from_le_bytes(b).into())?),
        Element::U8 => Data::U8(elements.all(|[b]| b)?),
        Element::Bool => Data::U8(elements.all(|[b]| u8::from(b != 0))?),
    })
}

struct Elements<'a> {
    file: &'a MappedFile,
    place: &'a Place,
    view: &'a View,
}

impl Elements<'_> {
    fn all<const N: usize, T>(&self, decode: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        match self.place.reversed {
            false => self.each(decode),
            true => self.each(|mut bytes: [u8; N]| {
                bytes.reverse();
                decode(bytes)
            }),
        }
    }

    fn each<const N: usize, T>(&self, decode: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        if self.view.shape.contains(&0) {
            return Ok(Vec::new());
        }
        let (count, start) = (self.view.extent(), self.view.offset * N);
        let mut values = Vec::with_capacity(count);
        if self.view.is_rows() {
            for begin in (0..count * N).step_by(WINDOW) {
                self.bytes(start + begin, WINDOW.min(count * N - begin), |bytes| {
                    values.extend(bytes.as_chunks().0.iter().map(|&b| decode(b)));
                })?;
            }
            return Ok(values);
        }
        let last: usize = self.view.shape.iter().zip(&self.view.strides).map(|(d, s)| (d - 1) * s).sum();
        self.bytes(start, (last + 1) * N, |bytes| {
            let all = bytes.as_chunks().0;
            self.view.each_row(|first, count, stride| {
                let row = all.get(first..).unwrap_or(&[]).iter();
                match stride {
                    0 => values.extend(row.take(1).cycle().take(count).map(|&b| decode(b))),
                    _ => values.extend(row.step_by(stride).take(count).map(|&b| decode(b))),
                }
            });
        })?;
        Ok(values)
    }

    /// Hands out a part of the storage.
    fn bytes(&self, begin: usize, length: usize, mut take: impl FnMut(&[u8])) -> Result<()> {
        match &self.place.bytes {
            Bytes::File { begin: start, .. } => take(&self.file.window(start + begin as u64, length)?),
            Bytes::Own(bytes) => take(bytes.get(begin..begin + length).unwrap_or(&[])),
        }
        Ok(())
    }
}

impl View {
    /// The product of all sizes that are not 0, saturating: the number of elements, where there are some.
    pub fn extent(&self) -> usize {
        self.shape.iter().fold(1usize, |n, &d| n.saturating_mul(d.max(1)))
    }

    /// The number of elements that a storage must have for it, if it can be told.
    pub fn reach(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let mut axes = self.shape.iter().zip(&self.strides);
        let last = axes.try_fold(self.offset, |at, (d, s)| at.checked_add((d - 1).checked_mul(*s)?))?;
        last.checked_add(1)
    }

    /// True if its elements lie one after the other.
    fn is_rows(&self) -> bool {
        let mut next = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == next;
            next *= size;
            fits
        })
    }

    /// Goes through all rows: where each begins behind the offset, its elements, and the distance between them.
    fn each_row(&self, mut row: impl FnMut(usize, usize, usize)) {
        let (Some((&count, outer)), Some((&stride, strides))) =
            (self.shape.split_last(), self.strides.split_last())
        else {
            return row(0, 1, 1);
        };
        let mut index = vec![0; outer.len()];
        let mut first = 0;
        loop {
            row(first, count, stride);
            let mut axes = index.iter_mut().zip(outer.iter().zip(strides)).rev();
            let carried = axes.all(|(i, (&size, &stride))| {
                *i += 1;
                first += stride;
                let full = *i == size;
                if full {
                    first -= size * stride;
                    *i = 0;
                }
                full
            });
            if carried {
                return;
            }
        }
    }
}
