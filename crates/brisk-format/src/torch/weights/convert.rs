//! PyTorch's numbers in Brisk's layout.

use brisk_graph::{Data, Error, Result, Shape, Tensor};

use super::order::Order;
use crate::tensors::transposed;

/// How a parameter is made of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As it is.
    Same,
    /// `[a, b, c...]` to `[c..., b, a]`.
    Turned,
    /// A matrix with blocks of rows, one a gate, in this order, and turned.
    Gates(&'static [usize]),
    /// Two vectors with a block for each gate, in this order, one above the other.
    Both(&'static [usize]),
    /// The sum of two vectors.
    Sum,
    /// The third of this number of what stands one above the other, and turned.
    Part(usize),
}

/// Makes a parameter of a shape, with the numbers of its first and last axis in an order.
pub(super) fn convert(
    how: &How,
    theirs: &[Tensor],
    shape: &Shape,
    rows: Option<&Order>,
    columns: Option<&Order>,
) -> Result<Tensor> {
    let [first, rest @ ..] = theirs else {
        return Err(Error::Elements { shape: shape.clone(), found: 0 });
    };
    let made = match (how, rest) {
        (How::Same, _) => first.clone(),
        (How::Turned, _) => turned(first)?,
        (How::Gates(gates), _) => turned(&blocks(first, gates, gates.len())?)?,
        (How::Both(gates), [second]) => {
            let [a, b] = [blocks(first, gates, gates.len())?, blocks(second, gates, gates.len())?];
            Tensor::new([2, a.elements()], [a.f32s()?, b.f32s()?].concat())?
        }
        (How::Sum, [second]) => {
            let sum = first.f32s()?.iter().zip(second.f32s()?).map(|(a, b)| a + b);
            Tensor::new(first.shape().clone(), sum.collect::<Vec<f32>>())?
        }
        (How::Part(part), _) => turned(&blocks(first, &[*part], 3)?)?,
        (How::Both(_) | How::Sum, _) => return Err(Error::Elements { shape: shape.clone(), found: 1 }),
    };
    let made = made.reshape(shape.clone())?;
    let made = rows.map_or(Ok(made.clone()), |order| in_order(&made, order, true))?;
    columns.map_or(Ok(made.clone()), |order| in_order(&made, order, false))
}

/// Blocks of the first axis, which has `count` of them, in an order.
fn blocks(tensor: &Tensor, order: &[usize], count: usize) -> Result<Tensor> {
    let size = tensor.elements() / count;
    let from = tensor.f32s()?;
    let all: Vec<f32> = order
        .iter()
        .flat_map(|&block| from.get(block * size..(block + 1) * size).unwrap_or(&[]))
        .copied()
        .collect();
    let mut shape = tensor.shape().to_vec();
    if let Some(first) = shape.first_mut() {
        *first = *first / count * order.len();
    }
    Tensor::new(shape, all)
}

/// `[a, b, c...]` to `[c..., b, a]`.
fn turned(tensor: &Tensor) -> Result<Tensor> {
    let &[a, b, ref window @ ..] = tensor.shape().dims() else { return Ok(tensor.clone()) };
    let places: usize = window.iter().product();
    let flat = transposed(&tensor.clone().reshape([a, b * places])?)?; // [b, window, a]
    if window.is_empty() || b == 1 {
        return flat.reshape([window, &[b, a]].concat());
    }
    let from = flat.f32s()?;
    let mut to = Vec::with_capacity(from.len());
    for place in 0..places {
        for row in from.chunks_exact(a.max(1)).skip(place).step_by(places) {
            to.extend_from_slice(row);
        }
    }
    Tensor::new([window, &[b, a]].concat(), to)
}

/// The rows of a tensor, or its columns, from where an order says.
fn in_order(tensor: &Tensor, order: &Order, rows: bool) -> Result<Tensor> {
    let from = tensor.f32s()?;
    let last = tensor.shape().last().max(1);
    let row = |i: usize| from.get(i * last..(i + 1) * last).unwrap_or(&[]);
    let all: Vec<f32> = match rows {
        true => order.iter().flat_map(|&place| row(place)).copied().collect(),
        false => from
            .chunks_exact(last)
            .flat_map(|row| order.iter().filter_map(|&place| row.get(place)))
            .copied()
            .collect(),
    };
    Tensor::new(tensor.shape().clone(), Data::F32(all))
}
