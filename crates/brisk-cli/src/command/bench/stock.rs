//! Batches of noise to measure with.

use std::path::Path;

use anyhow::{Context, Result};
use brisk_data::rounded_tokens;
use brisk_graph::{DType, Tensor};
use brisk_nn::{Rows, Task, Y};

use super::BATCHES;
use crate::exit::bad_input;

/// The most tokens of a text.
pub const LONGEST: usize = 512;

/// Counts of tokens of texts, one a line; what begins with `#` is a comment.
pub fn read_lengths(path: &Path) -> Result<Vec<usize>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#'));
    let lengths = lines.map(|(at, line)| {
        line.trim().parse().ok().filter(|n| (1..=LONGEST).contains(n)).ok_or_else(|| {
            let place = format!("{}, line {}", path.display(), at + 1);
            bad_input(format!("{place}: expected a number of tokens from 1 to {LONGEST}, found {line:?}"))
        })
    });
    let lengths = lengths.collect::<Result<Vec<usize>>>()?;
    match lengths.is_empty() {
        true => Err(bad_input(format!(
            "{}: expected a number of tokens on each line, found none",
            path.display()
        ))),
        false => Ok(lengths),
    }
}

/// Batches of noise, made beforehand. The texts of an encoder have these lengths, in order, batch after batch, and again from the
/// first; they are packed as the loader packs them.
pub fn stock(task: &Task, batch: usize, lengths: &[usize]) -> Result<Vec<Vec<(String, Tensor)>>> {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 32) % bound
    };
    let mut one = |number: usize| {
        let texts: Vec<usize> = (0..batch).map(|i| lengths[(number * batch + i) % lengths.len()]).collect();
        let (used, longest) = (texts.iter().sum::<usize>(), texts.iter().copied().max().unwrap_or(0));
        let mut tensors = Vec::new();
        for input in task.model.inputs() {
            let sizes = input.shape.iter().map(|d| d.unwrap_or(longest));
            let rows = if input.rows == Rows::Tokens { rounded_tokens(used) } else { batch };
            let shape: Vec<usize> = std::iter::once(rows).chain(sizes).collect();
            let places = 0..shape.iter().product::<usize>();
            let part = input.name.rsplit('.').next().unwrap_or_default();
            let tensor = match (input.dtype, part) {
                (DType::U8, _) => Tensor::new(shape, places.map(|_| next(256) as u8).collect::<Vec<_>>())?,
                (_, "segments") => {
                    let starts = texts.iter().scan(0, |start, n| Some(std::mem::replace(start, *start + n)));
                    let both = starts.zip(&texts).flat_map(|(start, &n)| [start as i32, n as i32]);
                    Tensor::new(shape, both.collect::<Vec<_>>())?
                }
                (_, "positions") => {
                    let mut all: Vec<i32> = texts.iter().flat_map(|&n| 0..n as i32).collect();
                    all.resize(rows, 0);
                    Tensor::new(shape, all)?
                }
                (_, "types") => Tensor::zeros(DType::I32, shape),
                (DType::F32, _) => {
                    let values = places.map(|_| next(2001) as f32 / 1000.0 - 1.0);
                    Tensor::new(shape, values.collect::<Vec<_>>())?
                }
                // Words without padding: any of 1 to 19,999.
                _ => Tensor::new(shape, places.map(|_| next(19_999) as i32 + 1).collect::<Vec<_>>())?,
            };
            tensors.push((input.tensor().to_string(), tensor));
        }
        let classes = task.model.output_shape().last().max(2) as u64;
        let labels: Vec<i32> = (0..batch).map(|_| next(classes) as i32).collect();
        tensors.push((Y.to_string(), Tensor::new([batch], labels)?));
        Ok(tensors)
    };
    (0..BATCHES).map(&mut one).collect()
}
