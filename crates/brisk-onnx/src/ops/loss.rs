//! Losses.

use brisk_graph::{DType, Value, op};

use super::{Operator, many, one};
use crate::call::Call;
use crate::{Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("NegativeLogLikelihoodLoss", |c| {
        let x = c.var(0)?;
        let loss = picked(c, &x, rows(&x)?)?;
        Ok(Var::new(x.elem, loss))
    }),
    many("SoftmaxCrossEntropyLoss", cross_entropy),
];

/// Scores `[n, classes, ...]` as rows of classes: `[n * ..., classes]`.
fn rows<'g>(x: &Var<'g>) -> Result<Value<'g>, String> {
    let (shape, rank) = (x.shape(), x.rank());
    if rank < 2 || shape[1] == 0 {
        return Err(format!("expected [n, classes, ...], found {shape}"));
    }
    let perm: Vec<usize> = (0..rank).filter(|&a| a != 1).chain([1]).collect();
    let count = shape.elements() / shape[1];
    Ok(x.transposed(&perm).floats().reshape([count, shape[1]]))
}

fn cross_entropy<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let (shape, rank) = (x.shape(), x.rank());
    let scores = op::log_softmax(rows(&x)?);
    let loss = picked(c, &x, scores)?;
    let lead: Vec<usize> = [&shape[..1], &shape[2..], &shape[1..2]].concat();
    let back: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let scores = scores.reshape(lead).transpose(&back);
    Ok(vec![Var::new(x.elem, loss).into(), Var::new(x.elem, scores).into()])
}

/// Minus the log-probability `[count, classes]` of each label, weighted, and reduced as the attribute says.
fn picked<'g>(c: &Call<'_, 'g>, x: &Var<'g>, scores: Value<'g>) -> Result<Value<'g>, String> {
    let (labels, shape) = (c.var(1)?, x.shape());
    let wanted = [&shape[..1], &shape[2..]].concat();
    if labels.shape()[..] != wanted[..] {
        return Err(format!("labels {} do not fit scores {shape}", labels.shape()));
    }
    let (count, classes) = (scores.dim(0), shape[1]);
    let label = labels.value().cast(DType::I64).reshape([count, 1]);
    let hit = c.b.iota(1, [1, classes], DType::I64).equal(label); // [count, classes]
    let counted = match c.attribute("ignore_index") {
        Some(_) => {
            let ignored = c.make_ints([1, 1], vec![c.int("ignore_index", 0)?])?.value();
            Some(label.equal(ignored).equal(0.0).cast(scores.dtype()))
        }
        None => None,
    };
    let zero = c.b.fill_as(0.0, [1, 1], scores.dtype());
    let of_label = |v: Value<'g>| hit.select(v, zero).sum(&[1]).reshape([count, 1]);
    let mut weights = counted;
    if let Some(weight) = c.optional(2)? {
        if weight.shape().elements() != classes {
            return Err(format!("expected {classes} weights, found {}", weight.shape()));
        }
        let own = of_label(
            weight.floats().cast(scores.dtype()).reshape([1, classes]).broadcast_to([count, classes]),
        );
        weights = Some(counted.map_or(own, |counted| counted * own));
    }
    let mut loss = -of_label(scores);
    if let Some(weights) = weights {
        loss = loss * weights;
    }
    match c.text("reduction", "mean")? {
        "none" => Ok(loss.reshape(wanted)),
        "sum" => Ok(loss.sum_all()),
        "mean" => match weights {
            Some(weights) => Ok(loss.sum_all() / weights.sum_all()),
            None => Ok(loss.mean_all()),
        },
        other => Err(format!("attribute reduction: expected none, sum or mean, found {other:?}")),
    }
}
