//! Normalization.

use brisk_graph::{DType, Value};

use super::elementwise::ordered;
use super::{Operator, many, one};
use crate::call::{Call, axis};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    many("BatchNormalization", batch),
    one("GroupNormalization", group),
    one("InstanceNormalization", instance),
    many("LayerNormalization", layer),
    one("LpNormalization", lp),
    one("LRN", lrn),
    one("MeanVarianceNormalization", mean_variance),
    one("RMSNormalization", rms),
];

/// A vector with a number for each channel, to stand beside `[n, channels, ...]` whose axes lie in an order.
fn by_channel<'g>(v: &Var<'g>, rank: usize, order: Option<&[usize]>, dtype: DType) -> Value<'g> {
    let mut dims = vec![1; rank];
    let at = order.map_or(1, |order| order[1]);
    dims[at] = v.shape().elements();
    v.value().cast(dtype).reshape(dims)
}

fn batch<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let momentum = c.float("momentum", 0.9)?;
    let training = c.flag("training_mode", false)?;
    if c.opset < 9 && !c.flag("spatial", true)? {
        return Err("attribute spatial: expected 1; statistics for each place are not supported".into());
    }
    if x.rank() < 2 {
        return Err(format!("expected [n, channels, ...], found {}", x.shape()));
    }
    let (value, order) = x.raw();
    let dtype = x.arithmetic();
    let value = value.cast(dtype);
    let numbers: Vec<Var<'g>> = (1..5).map(|i| c.var(i)).collect::<Result<_, _>>()?;
    let channels = x.shape()[1];
    if let Some(bad) = numbers.iter().find(|n| n.shape().elements() != channels) {
        return Err(format!("expected {channels} numbers, one for each channel, found {}", bad.shape()));
    }
    let [scale, bias, mean, var] =
        [0, 1, 2, 3].map(|i: usize| by_channel(&numbers[i], x.rank(), order, dtype));
    if training {
        let at = order.map_or(1, |order| order[1]);
        let others: Vec<usize> = (0..x.rank()).filter(|&a| a != at).collect();
        let keep = |v: Value<'g>| v.reshape(scale.shape());
        let now = keep(value.mean(&others));
        let spread = keep((value - now).square().mean(&others));
        let y = (value - now) * (spread + epsilon).rsqrt() * scale + bias;
        let running = |old: Value<'g>, new: Value<'g>| {
            Var::new(x.elem, (old * momentum + new * (1.0 - momentum)).reshape([channels])).into()
        };
        let order = order.map(<[usize]>::to_vec);
        return Ok(vec![ordered(x.elem, y, order).into(), running(mean, now), running(var, spread)]);
    }
    // One multiplication and one addition for each element; the rest is for each channel.
    let factor = scale * (var + epsilon).rsqrt();
    let y = value * factor + (bias - mean * factor);
    Ok(vec![ordered(x.elem, y, order.map(<[usize]>::to_vec)).into()])
}

/// `(x - mean) / sqrt(variance + epsilon)` over axes, and what was subtracted and multiplied.
fn standardized<'g>(v: Value<'g>, over: &[usize], epsilon: f64) -> [Value<'g>; 3] {
    let dims: Vec<usize> =
        v.shape().iter().enumerate().map(|(i, &d)| if over.contains(&i) { 1 } else { d }).collect();
    let mean = v.mean(over).reshape(&dims[..]);
    let centred = v - mean;
    let inverse = (centred.square().mean(over).reshape(&dims[..]) + epsilon).rsqrt();
    [centred * inverse, mean, inverse]
}

fn layer<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (x, scale, bias) = (c.var(0)?, c.var(1)?, c.optional(2)?);
    let at = axis(c.int("axis", -1)?, x.rank())?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let value = x.floats();
    let dtype = value.dtype();
    let rank = x.rank();
    let wants_all = c.node.outputs.iter().skip(1).any(|o| !o.is_empty());
    // The common case has a kernel.
    if at == rank - 1 && !wants_all && dtype == DType::F32 && rank >= 2 && scale.rank() == 1 {
        let gain = scale.value().cast(dtype);
        let shift = match &bias {
            Some(bias) => bias.value().cast(dtype).reshape(gain.shape()),
            None => c.b.fill(0.0, gain.shape()),
        };
        if gain.shape().elements() == value.last() {
            return Ok(vec![
                Var::new(x.elem, brisk_graph::op::layer_norm(value, gain, shift, epsilon)).into(),
            ]);
        }
    }
    let [normal, mean, inverse] = standardized(value, &(at..rank).collect::<Vec<_>>(), epsilon);
    let mut y = normal * scale.value().cast(dtype);
    if let Some(bias) = bias {
        y = y + bias.value().cast(dtype);
    }
    let stash = c.elem("stash_type", Elem::Float)?;
    let stashed = |v| Var::new(stash, v).into();
    Ok(vec![Var::new(x.elem, y).into(), stashed(mean), stashed(inverse)])
}

fn rms<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, scale) = (c.var(0)?, c.var(1)?);
    let at = axis(c.int("axis", -1)?, x.rank())?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let value = x.floats();
    let over: Vec<usize> = (at..x.rank()).collect();
    let dims: Vec<usize> =
        value.shape().iter().enumerate().map(|(i, &d)| if i >= at { 1 } else { d }).collect();
    let inverse = (value.square().mean(&over).reshape(dims) + epsilon).rsqrt();
    Ok(Var::new(x.elem, value * inverse * scale.value().cast(value.dtype())))
}

fn instance<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, scale, bias) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let epsilon = c.float("epsilon", 1e-5)?;
    let rank = x.rank();
    if rank < 2 {
        return Err(format!("expected [n, channels, ...], found {}", x.shape()));
    }
    let value = x.floats();
    let [normal, ..] = standardized(value, &(2..rank).collect::<Vec<_>>(), epsilon);
    let number = |v: &Var<'g>| by_channel(v, rank, None, value.dtype());
    Ok(Var::new(x.elem, normal * number(&scale) + number(&bias)))
}

fn group<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, scale, bias) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let epsilon = c.float("epsilon", 1e-5)?;
    let groups = c.int("num_groups", 1)?.max(1) as usize;
    let (shape, rank) = (x.shape(), x.rank());
    if rank < 2 || !shape[1].is_multiple_of(groups) {
        return Err(format!("{groups} groups do not fit {shape}"));
    }
    let value = x.floats();
    let rows = value.reshape([shape[0], groups, shape.elements() / shape[0].saturating_mul(groups).max(1)]);
    let [normal, ..] = standardized(rows, &[2], epsilon);
    let normal = normal.reshape(&shape);
    // Before version 21 there is a number for each group.
    let number = |v: &Var<'g>| {
        let n = v.shape().elements();
        let v = match n == groups && n != shape[1] {
            true => {
                let each = shape[1] / groups;
                Var::new(
                    v.elem,
                    v.value().reshape([groups, 1]).broadcast_to([groups, each]).reshape([shape[1]]),
                )
            }
            false => v.clone(),
        };
        by_channel(&v, rank, None, value.dtype())
    };
    Ok(Var::new(x.elem, normal * number(&scale) + number(&bias)))
}

fn lp<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let at = axis(c.int("axis", -1)?, x.rank())?;
    let value = x.floats();
    let norm = match c.int("p", 2)? {
        1 => value.abs().sum(&[at]),
        _ => value.square().sum(&[at]).sqrt(),
    };
    let norm = norm.expand(at);
    let zero = norm.equal(0.0);
    let safe = zero.select(c.b.fill_as(1.0, norm.shape(), norm.dtype()), norm);
    Ok(Var::new(x.elem, value / safe))
}

fn mean_variance<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let over = c.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let over = crate::call::axes(&over, x.rank())?;
    let value = x.floats();
    let dims: Vec<usize> =
        value.shape().iter().enumerate().map(|(i, &d)| if over.contains(&i) { 1 } else { d }).collect();
    let mean = value.mean(&over).reshape(&dims[..]);
    let centred = value - mean;
    let deviation = centred.square().mean(&over).reshape(&dims[..]).sqrt();
    Ok(Var::new(x.elem, centred / (deviation + 1e-9)))
}

/// `x / (bias + alpha / size sum(x^2))^beta` over neighbouring channels.
fn lrn<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let (alpha, beta, bias) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("bias", 1.0)?);
    let size = usize::try_from(c.int("size", 1)?)
        .ok()
        .filter(|&s| s > 0)
        .ok_or("attribute size: expected at least 1")?;
    c.afford(size.saturating_mul(2))?;
    if x.rank() < 2 {
        return Err(format!("expected [n, channels, ...], found {}", x.shape()));
    }
    let (value, order) = x.raw();
    let value = value.cast(x.arithmetic());
    let at = order.map_or(1, |order| order[1]);
    let (low, high) = ((size - 1) / 2, size - 1 - (size - 1) / 2);
    let channels = value.dim(at);
    let (mut before, mut after) = (vec![0; x.rank()], vec![0; x.rank()]);
    (before[at], after[at]) = (low, high);
    let squares = value.square().pad(&before, &after, 0.0);
    let part = |k: usize| squares.slice(at, k, k + channels);
    let sum = (1..size).fold(part(0), |sum, k| sum + part(k));
    let scale = sum * (alpha / size as f64) + bias;
    Ok(ordered(x.elem, value * scale.pow(-beta), order.map(<[usize]>::to_vec)))
}
