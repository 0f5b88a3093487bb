//! Reductions along axes.

use brisk_graph::{DType, Value};

use super::elementwise::turn;
use super::{Operator, one};
use crate::call::{Call, axes, axis};
use crate::{Elem, Var};

pub(super) const OPS: &[Operator] = &[
    one("ArgMax", |c| arg(c, false)),
    one("ArgMin", |c| arg(c, true)),
    one("CumProd", |c| scan(c, 1.0, |a, b| a * b)),
    one("CumSum", |c| scan(c, 0.0, |a, b| a + b)),
    one("ReduceL1", |c| reduce(c, |v, a| absolute(v).sum(a))),
    one("ReduceL2", |c| floats(c, |v, a| v.square().sum(a).sqrt())),
    one("ReduceLogSum", |c| floats(c, |v, a| v.sum(a).log())),
    one("ReduceLogSumExp", |c| floats(c, log_sum_exp)),
    one("ReduceMax", |c| largest(c, true)),
    one("ReduceMean", |c| reduce(c, mean)),
    one("ReduceMin", |c| largest(c, false)),
    one("ReduceProd", |c| reduce(c, product)),
    one("ReduceSum", |c| reduce(c, |v, a| v.sum(a))),
    one("ReduceSumSquare", |c| reduce(c, |v, a| (v * v).sum(a))),
];

fn absolute(v: Value<'_>) -> Value<'_> {
    if v.dtype().is_float() { v.abs() } else { v.max(0.0 - v) }
}

fn mean<'g>(v: Value<'g>, axes: &[usize]) -> Value<'g> {
    if v.dtype().is_float() {
        return v.mean(axes);
    }
    let sum = v.sum(axes);
    let count = v.shape().elements() / sum.shape().elements().max(1);
    sum / sum.builder().fill_as(count as f64, sum.shape(), sum.dtype())
}

fn log_sum_exp<'g>(v: Value<'g>, axes: &[usize]) -> Value<'g> {
    if v.shape().elements() == 0 {
        return v.sum(axes).log();
    }
    let most = v.reduce_max(axes);
    // An infinite maximum leaves nothing to be scaled.
    let finite = most.abs().less(f64::INFINITY);
    let base = finite.select(most, most.builder().fill_as(0.0, most.shape(), most.dtype()));
    let kept: Vec<usize> =
        v.shape().iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
    (v - base.reshape(kept)).exp().sum(axes).log() + base
}

/// Of halves and halves, so that a product has as few steps as can be.
fn product<'g>(v: Value<'g>, axes: &[usize]) -> Value<'g> {
    let b = v.builder();
    axes.iter().rev().fold(v, |v, &axis| {
        let mut v = v;
        if v.dim(axis) == 0 {
            let mut dims = v.shape().to_vec();
            dims.remove(axis);
            return b.fill_as(1.0, dims, v.dtype());
        }
        while v.dim(axis) > 1 {
            let n = v.dim(axis);
            let half = n / 2;
            let both = v.slice(axis, 0, half) * v.slice(axis, half, 2 * half);
            v = if n % 2 == 1 { b.concat(&[both, v.slice(axis, n - 1, n)], axis) } else { both };
        }
        let mut dims = v.shape().to_vec();
        dims.remove(axis);
        v.reshape(dims)
    })
}

/// The axes that are reduced, and whether they stay with size 1. `None`: nothing is reduced.
fn reduced(c: &mut Call<'_, '_>, rank: usize) -> Result<Option<(Vec<usize>, bool)>, String> {
    let keep = c.flag("keepdims", true)?;
    let list = c.ints_at("axes", 1)?.filter(|l| !l.is_empty());
    let all = (0..rank).collect();
    Ok(match list {
        Some(list) => Some((axes(&list, rank)?, keep)),
        None if c.flag("noop_with_empty_axes", false)? => None,
        None => Some((all, keep)),
    })
}

fn finish<'g>(x: &Var<'g>, value: Value<'g>, over: &[usize], keep: bool) -> Var<'g> {
    let shape = x.shape();
    let value = match keep {
        true => value.reshape(
            (0..shape.rank()).map(|i| if over.contains(&i) { 1 } else { shape[i] }).collect::<Vec<_>>(),
        ),
        false => value,
    };
    super::elementwise::wrap(Var::new(x.elem, value))
}

fn reduce<'g>(
    c: &mut Call<'_, 'g>,
    f: impl FnOnce(Value<'g>, &[usize]) -> Value<'g>,
) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let dtype = x.arithmetic();
    match reduced(c, x.rank())? {
        // Nothing to reduce: but what is done to each element is done.
        None => Ok(Var::new(x.elem, f(x.value().cast(dtype), &[]))),
        Some((over, keep)) => {
            // Pictures whose channels stand last: the same axes elsewhere.
            if let (value, Some(order)) = x.raw()
                && x.elem.is_float()
            {
                let mut own: Vec<usize> = over.iter().map(|&a| order[a]).collect();
                own.sort_unstable();
                let left: Vec<usize> =
                    (0..order.len()).filter(|a| !over.contains(a)).map(|a| order[a]).collect();
                if left.is_sorted() {
                    return Ok(finish(&x, f(value.cast(dtype), &own), &over, keep));
                }
            }
            Ok(finish(&x, f(x.value().cast(dtype), &over), &over, keep))
        }
    }
}

fn floats<'g>(
    c: &mut Call<'_, 'g>,
    f: impl FnOnce(Value<'g>, &[usize]) -> Value<'g>,
) -> Result<Var<'g>, String> {
    let elem = c.var(0)?.elem;
    let back = move |v: Value<'g>| if elem.is_float() { v } else { v.cast(DType::I64) };
    reduce(c, |v, a| {
        let wide = if v.dtype().is_float() { v } else { v.cast(DType::F64) };
        back(f(wide, a))
    })
}

fn largest<'g>(c: &mut Call<'_, 'g>, max: bool) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    reduce(c, |v, a| {
        if v.shape().elements() == 0 {
            let shape = v.sum(a).shape();
            let end = match (v.dtype().is_float(), max) {
                (true, true) => f64::NEG_INFINITY,
                (true, false) => f64::INFINITY,
                // All bits of one without a sign.
                (false, false) if x.elem == Elem::Uint64 => -1.0,
                (false, true) if x.elem == Elem::Uint64 => 0.0,
                (false, true) => x.elem.range().map_or(i64::MIN as f64, |r| r.0),
                (false, false) => x.elem.range().map_or(i64::MAX as f64, |r| r.1),
            };
            return v.builder().fill_as(end, shape, v.dtype());
        }
        if a.is_empty() {
            return v;
        }
        let most = |v: Value<'g>| if max { v.reduce_max(a) } else { v.reduce_min(a) };
        if x.elem == Elem::Uint64 { turn(most(turn(v))) } else { most(v) }
    })
}

fn arg<'g>(c: &mut Call<'_, 'g>, smallest: bool) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let at = axis(c.int("axis", 0)?, x.rank())?;
    let (keep, last) = (c.flag("keepdims", true)?, c.flag("select_last_index", false)?);
    let mut value = x.value().cast(x.arithmetic());
    if x.elem == Elem::Uint64 {
        value = turn(value);
    }
    if smallest {
        // Of whole numbers the smallest has no opposite.
        value = if value.dtype().is_float() { 0.0 - value } else { -1.0 - value };
    }
    let size = value.dim(at) as f64;
    let index = match last {
        true => {
            let found = value.reverse(&[at]).argmax(at).cast(DType::I64);
            (size - 1.0) - found
        }
        false => value.argmax(at).cast(DType::I64),
    };
    Ok(finish(&x.of(Elem::Int64), index, &[at], keep))
}

/// Running sums or products, by doubling steps.
fn scan<'g>(
    c: &mut Call<'_, 'g>,
    neutral: f64,
    f: impl Fn(Value<'g>, Value<'g>) -> Value<'g>,
) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let at = axis(c.known_ints(1)?.first().copied().unwrap_or(0), x.rank())?;
    let (exclusive, reverse) = (c.flag("exclusive", false)?, c.flag("reverse", false)?);
    let mut value = x.value().cast(x.arithmetic());
    if reverse {
        value = value.reverse(&[at]);
    }
    let n = value.dim(at);
    let shifted = |v: Value<'g>, by: usize| {
        let mut low = vec![0; v.rank()];
        low[at] = by;
        v.slice(at, 0, n - by).pad(&low, &vec![0; v.rank()], neutral)
    };
    if exclusive && n > 0 {
        value = shifted(value, 1);
    }
    let mut step = 1;
    while step < n {
        value = f(value, shifted(value, step));
        step *= 2;
    }
    if reverse {
        value = value.reverse(&[at]);
    }
    Ok(super::elementwise::wrap(Var::new(x.elem, value)))
}
