//! Primitives that move elements.

use brisk_graph::{Id, Node, Op, Prim};

use super::emit::{Val, elem, ints};
use super::maps::places;
use super::size::Size;
use super::walk::Walk;
use crate::{Attribute, Elem};

pub(super) fn reshape(w: &mut Walk<'_>, id: Id) -> Result<Val, String> {
    let input = w.input(id, 0)?;
    let (x, from) = (w.val(input)?, w.dims(input)?);
    // One number everywhere stays that.
    if x.dims.is_empty() {
        return Ok(x);
    }
    let dims = w.dims(id)?;
    if x.dims == dims && !x.turned {
        return Ok(x);
    }
    let x = w.e.full(&x, &from)?;
    w.e.reshaped(&x, &dims)
}

pub(super) fn transpose(w: &mut Walk<'_>, id: Id, perm: &[usize]) -> Result<Val, String> {
    let x = w.operand(id, 0)?;
    if x.dims.is_empty() {
        return Ok(x);
    }
    let ones = vec![Size::from(1); perm.len().saturating_sub(x.rank())];
    let x = w.e.reshaped(&x, &[ones, x.dims.clone()].concat())?;
    let body = w.e.permuted(&x, perm)?;
    let dims = perm.iter().map(|&p| x.dims[p].clone()).collect();
    Ok(Val { body, dims, ..x })
}

/// The operand with all its sizes, its axes in either order.
fn either_order(w: &mut Walk<'_>, id: Id, place: usize) -> Result<Val, String> {
    let input = w.input(id, place)?;
    let (x, dims) = (w.val(input)?, w.dims(input)?);
    if x.dims == dims { Ok(x) } else { w.e.full(&x, &dims) }
}

pub(super) fn slice(w: &mut Walk<'_>, id: Id, step: &[usize]) -> Result<Val, String> {
    let x = either_order(w, id, 0)?;
    let input = w.input(id, 0)?;
    let bound = |axis: usize, end: bool| {
        move |node: &Node| match &node.op {
            Op::Prim(Prim::Slice { start, end: e, .. }) => (if end { e } else { start }).get(axis).copied(),
            _ => None,
        }
    };
    let (mut axes, mut starts, mut ends, mut steps) = (vec![], vec![], vec![], vec![]);
    for (axis, &step) in step.iter().enumerate() {
        let start = w.size(id, bound(axis, false))?;
        let mut pairs = w.sampled.each(id).zip(w.sampled.each(input));
        let to_end = pairs.all(|(own, from)| bound(axis, true)(own) == from.shape.get(axis).copied());
        if to_end && step == 1 && start.fixed() == Some(0) {
            continue;
        }
        ends.push(match to_end {
            true => Size::number(i64::MAX),
            false => w.size(id, bound(axis, true))?,
        });
        axes.push(axis);
        starts.push(start);
        steps.push(step as i64);
    }
    if axes.is_empty() {
        return Ok(x);
    }
    let places = places(&x, &axes).into_iter().map(|a| a as i64);
    let mut inputs = vec![w.e.name(&x), w.e.sizes(&starts)?, w.e.sizes(&ends)?, w.e.list(places)?];
    if steps.iter().any(|&s| s != 1) {
        inputs.push(w.e.list(steps)?);
    }
    let name = w.e.one("Slice", inputs, vec![]);
    let dims = w.own_dims(id, &name, x.turned);
    Ok(Val { dims, turned: x.turned, ..Val::made(name, vec![], x.elem) })
}

pub(super) fn pad(w: &mut Walk<'_>, id: Id, inner: &[usize], value: f64) -> Result<Val, String> {
    let x = either_order(w, id, 0)?;
    let x = if x.elem == Elem::Bool { w.e.cast(&x, Elem::Uint8) } else { x };
    let value = w.e.scalar(value, w.node(id).dtype)?;
    let x = spread(w, x, inner, &value)?;
    let cells = |axis: usize, after: bool| {
        move |node: &Node| match &node.op {
            Op::Prim(Prim::Pad { low, high, .. }) => (if after { high } else { low }).get(axis).copied(),
            _ => None,
        }
    };
    let mut axes = Vec::new();
    let (mut before, mut after) = (vec![], vec![]);
    for axis in 0..x.rank() {
        let (low, high) = (w.size(id, cells(axis, false))?, w.size(id, cells(axis, true))?);
        if low.fixed() != Some(0) || high.fixed() != Some(0) {
            axes.push(axis);
            before.push(low);
            after.push(high);
        }
    }
    if axes.is_empty() {
        return Ok(x);
    }
    let places = places(&x, &axes).into_iter().map(|a| a as i64);
    let around = w.e.sizes(&[before, after].concat())?;
    let inputs = vec![w.e.name(&x), around, w.e.name(&value), w.e.list(places)?];
    let name = w.e.one("Pad", inputs, vec![]);
    let dims = w.own_dims(id, &name, x.turned);
    Ok(Val { dims, turned: x.turned, ..Val::made(name, vec![], x.elem) })
}

/// Puts so many cells between neighbours: behind each one, but the last.
fn spread(w: &mut Walk<'_>, mut x: Val, inner: &[usize], value: &Val) -> Result<Val, String> {
    for (axis, &between) in inner.iter().enumerate().filter(|i| *i.1 > 0) {
        x = w.e.settled(&x);
        let own = x.dims.clone();
        let each = Size::from(between + 1);
        let split = |middle: &[Size]| [&own[..axis], middle, &own[axis + 1..]].concat();
        let apart = w.e.reshaped(&x, &split(&[own[axis].clone(), 1.into()]))?;
        let inputs = vec![
            w.e.name(&apart),
            w.e.list([0, between as i64])?,
            w.e.name(value),
            w.e.list([axis as i64 + 1])?,
        ];
        let name = w.e.one("Pad", inputs, vec![]);
        let wide = Val::made(name, split(&[own[axis].clone(), each.clone()]), x.elem);
        let all = Size::product(&own[axis], &each);
        let wide = w.e.reshaped(&wide, &split(std::slice::from_ref(&all)))?;
        let end = all.plus(-(between as i64));
        let inputs = vec![w.e.name(&wide), w.e.list([0])?, w.e.size(&end)?, w.e.list([axis as i64])?];
        let name = w.e.one("Slice", inputs, vec![]);
        x = Val::made(name, split(&[end]), x.elem);
    }
    Ok(x)
}

pub(super) fn concat(w: &mut Walk<'_>, id: Id, axis: usize) -> Result<Val, String> {
    let node = w.node(id);
    let mut parts = (0..node.inputs.len()).map(|i| either_order(w, id, i)).collect::<Result<Vec<_>, _>>()?;
    let turned = parts.iter().any(|p| p.turned);
    if parts.iter().any(|p| p.elem != parts[0].elem) {
        parts = parts.iter().map(|p| w.e.cast(p, elem(node.dtype))).collect();
    }
    if turned {
        parts = parts.iter().map(|p| w.e.turned(p)).collect::<Result<_, _>>()?;
    }
    let Some(first) = parts.first() else { return Err("needs an operand".into()) };
    let (kind, place) = (first.elem, places(first, &[axis]));
    let names = parts.iter().map(|p| w.e.name(p)).collect();
    let place = place.first().map_or(0, |&p| p as i64);
    let name = w.e.one("Concat", names, vec![("axis", Attribute::Int(place))]);
    let dims = w.own_dims(id, &name, turned);
    Ok(Val { dims, turned, ..Val::made(name, vec![], kind) })
}

pub(super) fn reverse(w: &mut Walk<'_>, id: Id, axes: &[usize]) -> Result<Val, String> {
    let x = either_order(w, id, 0)?;
    let count = axes.len();
    let places = places(&x, axes).into_iter().map(|a| a as i64);
    let back = || std::iter::repeat_n(-1, count);
    let inputs = vec![
        w.e.name(&x),
        w.e.list(back())?,
        w.e.list(std::iter::repeat_n(i64::MIN, count))?,
        w.e.list(places)?,
        w.e.list(back())?,
    ];
    let name = w.e.one("Slice", inputs, vec![]);
    Ok(Val { dims: x.dims.clone(), turned: x.turned, ..Val::made(name, vec![], x.elem) })
}

/// With the axes in another order.
pub(super) fn permute(w: &mut Walk<'_>, val: &Val, perm: &[usize]) -> Val {
    let name = w.e.name(val);
    let name = w.e.one("Transpose", vec![name], vec![("perm", ints(perm.iter().copied()))]);
    Val::made(name, perm.iter().map(|&p| val.dims[p].clone()).collect(), val.elem)
}
