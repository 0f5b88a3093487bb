//! The same elements in other places.

use brisk_graph::prim::{Prim, Scalar};
use brisk_graph::{DType, Shape, Value};

use super::{Operator, many, one};
use crate::call::{Call, axes, axis, size, sizes};
use crate::{Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("CenterCropPad", center_crop_pad),
    many("Concat", concat),
    one("DepthToSpace", depth_to_space),
    one("Expand", |c| {
        let x = c.var(0)?;
        let shape = Shape::from(sizes(c.known_ints(1)?)?);
        let to = x.shape().broadcast(&shape).ok_or_else(|| format!("{} does not fit {shape}", x.shape()))?;
        Ok(Var::new(x.elem, x.value().broadcast_to(to)))
    }),
    one("Flatten", |c| {
        let x = c.var(0)?;
        let (rank, at) = (x.rank() as i64, c.int("axis", 1)?);
        let at = if at < 0 { at + rank } else { at };
        if !(0..=rank).contains(&at) {
            return Err(format!("axis {at} is outside of {rank} axes"));
        }
        let shape = x.shape();
        let rows = shape[..at as usize].iter().product::<usize>();
        let columns = shape[at as usize..].iter().product::<usize>();
        Ok(Var::new(x.elem, x.value().reshape([rows, columns])))
    }),
    one("Pad", pad),
    many("Reshape", reshape),
    one("ReverseSequence", reverse_sequence),
    one("Slice", slice),
    one("SpaceToDepth", space_to_depth),
    many("Split", split),
    many("Squeeze", |c| {
        let shape = shape_of(c)?;
        let gone = match c.ints_at("axes", 1)? {
            Some(list) => axes(&list, shape.rank())?,
            None => (0..shape.rank()).filter(|&i| shape[i] == 1).collect(),
        };
        if let Some(&bad) = gone.iter().find(|&&i| shape[i] != 1) {
            return Err(format!("axis {bad} of {shape} is not of size 1"));
        }
        let dims: Vec<usize> = (0..shape.rank()).filter(|i| !gone.contains(i)).map(|i| shape[i]).collect();
        reshaped(c, dims)
    }),
    one("Tile", tile),
    one("Transpose", |c| {
        let x = c.var(0)?;
        let perm = match c.ints("perm")? {
            Some(list) => list.iter().map(|&a| axis(a, x.rank())).collect::<Result<Vec<_>, _>>()?,
            None => (0..x.rank()).rev().collect(),
        };
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        match sorted.into_iter().eq(0..x.rank()) {
            true => Ok(x.transposed(&perm)),
            false => Err(format!("{perm:?} is no order of the axes of {}", x.shape())),
        }
    }),
    one("Trilu", trilu),
    many("Unsqueeze", |c| {
        let shape = shape_of(c)?;
        let list = c.ints_at("axes", 1)?.ok_or("expected axes")?;
        if list.len() > MOST_AXES {
            return Err(format!("{} axes are more than the {MOST_AXES} that a value may have", list.len()));
        }
        let new = axes(&list, shape.rank() + list.len())?;
        if new.len() != list.len() {
            return Err(format!("axes {list:?} name one twice"));
        }
        let mut old = shape.iter();
        let place = |i| if new.contains(&i) { 1 } else { old.next().copied().unwrap_or(1) };
        let dims: Vec<usize> = (0..shape.rank() + list.len()).map(place).collect();
        reshaped(c, dims)
    }),
];

/// The most axes that a value may have.
const MOST_AXES: usize = 16;

fn shape_of(c: &Call<'_, '_>) -> Result<Shape, String> {
    match c.item(0)? {
        Item::Texts(shape, _) => Ok(shape.clone()),
        _ => Ok(c.var(0)?.shape()),
    }
}

/// The first operand, numbers or texts, in another shape.
fn reshaped<'g>(c: &mut Call<'_, 'g>, dims: Vec<usize>) -> Result<Vec<Item<'g>>, String> {
    let shape = Shape::from(dims);
    if shape.elements() != shape_of(c)?.elements() {
        return Err(format!("cannot give {} the shape {shape}", shape_of(c)?));
    }
    Ok(vec![match c.item(0)? {
        Item::Texts(_, texts) => Item::Texts(shape, texts.clone()),
        _ => {
            let x = c.var(0)?;
            Var::new(x.elem, x.value().reshape(shape)).into()
        }
    }])
}

fn reshape<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (shape, zero) = (shape_of(c)?, c.flag("allowzero", false)?);
    let wanted = c.ints_at("shape", 1)?.ok_or("expected a shape")?;
    if wanted.len() > MOST_AXES {
        return Err(format!("{} axes are more than the {MOST_AXES} that a value may have", wanted.len()));
    }
    let mut dims = Vec::new();
    for (i, &d) in wanted.iter().enumerate() {
        dims.push(match d {
            -1 => usize::MAX,
            0 if !zero => *shape
                .get(i)
                .ok_or_else(|| format!("size {i} is kept, but there are {} axes", shape.rank()))?,
            d => size(d)?,
        });
    }
    if let Some(free) = dims.iter().position(|&d| d == usize::MAX) {
        let known = dims
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != free)
            .map(|d| *d.1)
            .fold(1usize, usize::saturating_mul);
        if known == 0 || shape.elements() % known != 0 {
            return Err(format!("cannot give {shape} the shape {wanted:?}"));
        }
        dims[free] = shape.elements() / known;
    }
    reshaped(c, dims)
}

fn concat<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    if let Item::Texts(..) = c.item(0)? {
        return super::text::concat(c).map(|t| vec![t]);
    }
    let vars = c.vars()?;
    let at = axis(c.int("axis", 1)?, vars[0].rank())?;
    Ok(vec![join(c, &vars, at)?.into()])
}

/// Several values one after another along an axis.
pub fn join<'g>(c: &Call<'_, 'g>, vars: &[Var<'g>], at: usize) -> Result<Var<'g>, String> {
    let first = vars.first().ok_or("expected an operand")?;
    let dtype = vars.iter().map(|v| v.value().dtype()).reduce(crate::call::widest).unwrap_or(DType::F32);
    let largest = vars.iter().max_by_key(|v| v.shape().elements()).unwrap_or(first);
    let order = largest.raw().1.map(<[usize]>::to_vec);
    if let Some(bad) = vars.iter().find(|v| v.rank() != first.rank()) {
        return Err(format!("cannot join {} and {}", first.shape(), bad.shape()));
    }
    let values: Vec<Value<'g>> = vars.iter().map(|v| v.value_in(order.as_deref()).cast(dtype)).collect();
    let own = order.as_ref().map_or(at, |order| order[at]);
    Ok(super::elementwise::ordered(first.elem, c.b.concat(&values, own), order))
}

fn split<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let at = axis(c.int("axis", 0)?, x.rank())?;
    let size = x.shape()[at];
    let parts = match c.ints_at("split", 1)? {
        Some(list) => sizes(list)?,
        None => {
            let n = c.node.outputs.len();
            let given = c.int("num_outputs", n as i64)?;
            if given != n as i64 {
                return Err(format!(
                    "attribute num_outputs: expected {n}, one for each output, found {given}"
                ));
            }
            let each = size.div_ceil(n.max(1));
            (0..n).map(|i| each.min(size.saturating_sub(i.saturating_mul(each)))).collect()
        }
    };
    c.afford(parts.len())?;
    if parts.iter().sum::<usize>() != size {
        return Err(format!("parts {parts:?} do not make up {size}"));
    }
    Ok(pieces(&x, at, &parts).into_iter().map(Item::from).collect())
}

/// Stretches of a value along an axis.
pub fn pieces<'g>(x: &Var<'g>, at: usize, parts: &[usize]) -> Vec<Var<'g>> {
    let (value, order) = x.raw();
    let own = order.map_or(at, |order| order[at]);
    let mut start = 0;
    let piece = |&n: &usize| {
        start += n;
        super::elementwise::ordered(x.elem, value.slice(own, start - n, start), order.map(<[usize]>::to_vec))
    };
    parts.iter().map(piece).collect()
}

fn slice<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let starts = c.ints_at("starts", 1)?.ok_or("expected starts")?;
    let ends = c.ints_at("ends", 2)?.ok_or("expected ends")?;
    let list = c.ints_at("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if c.has(4) { c.known_ints(4)? } else { vec![1; starts.len()] };
    if ends.len() != starts.len() || list.len() != starts.len() || steps.len() != starts.len() {
        return Err("starts, ends, axes and steps have different lengths".into());
    }
    let (value, order) = x.raw();
    let shape = value.shape();
    let rank = shape.rank();
    let (mut from, mut to, mut by) = (vec![0; rank], shape.to_vec(), vec![1; rank]);
    let mut turned = Vec::new();
    let mut changed = false;
    for i in 0..starts.len() {
        let at = axis(list[i], rank)?;
        let at = order.map_or(at, |order| order[at]);
        let (size, step) = (shape[at] as i64, steps[i]);
        let place = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
        if step == 0 {
            return Err("a step of 0".into());
        }
        let (first, n) = match step > 0 {
            true => {
                let (start, end) = (place(starts[i]).clamp(0, size), place(ends[i]).clamp(0, size));
                (start, ((end - start).max(0) as u64).div_ceil(step as u64) as i64)
            }
            false => {
                let (start, end) = (place(starts[i]).clamp(-1, size - 1), place(ends[i]).clamp(-1, size - 1));
                let n = ((start - end).max(0) as u64).div_ceil(step.unsigned_abs()) as i64;
                turned.push(at);
                // The same elements from the front.
                (if n > 0 { start - (n - 1) * step.saturating_neg() } else { 0 }, n)
            }
        };
        let stride = step.unsigned_abs().min(shape[at].max(1) as u64) as usize;
        let first = first as usize;
        from[at] = first.min(shape[at]);
        to[at] = if n == 0 { from[at] } else { first + (n as usize - 1) * stride + 1 };
        by[at] = stride;
        changed = changed || from[at] != 0 || to[at] != shape[at] || stride != 1;
    }
    let mut result = match changed {
        true => c.b.prim(Prim::Slice { start: from, end: to, step: by }, &[value]),
        false => value,
    };
    if !turned.is_empty() {
        turned.sort_unstable();
        turned.dedup();
        result = result.reverse(&turned);
    }
    Ok(super::elementwise::ordered(x.elem, result, order.map(<[usize]>::to_vec)))
}

fn pad<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let name = if c.opset < 2 { "paddings" } else { "pads" };
    let pads = c.ints_at(name, 1)?.ok_or("expected pads")?;
    let fill = match c.has(2) {
        true => c.known_floats(2)?.first().copied().unwrap_or(0.0),
        false => c.float("value", 0.0)?,
    };
    let over = match c.has(3) {
        true => c.known_ints(3)?,
        false => (0..x.rank() as i64).collect(),
    };
    if pads.len() != 2 * over.len() {
        return Err(format!("expected {} pads, found {}", 2 * over.len(), pads.len()));
    }
    let mut value = x.value();
    let mode = c.text("mode", "constant")?.to_string();
    let rank = x.rank();
    let (mut low, mut high) = (vec![0; rank], vec![0; rank]);
    for (i, &a) in over.iter().enumerate() {
        let at = axis(a, rank)?;
        (low[at], high[at]) = (pads[i], pads[i + over.len()]);
    }
    // What is negative is cut off.
    for at in 0..rank {
        let size = value.dim(at) as i64;
        let (cut, end) = (low[at].saturating_neg().max(0), size.saturating_add(high[at].min(0)));
        if cut > 0 || end < size {
            let end = end.clamp(0, size);
            value = value.slice(at, cut.min(end) as usize, end as usize);
        }
    }
    let added = |v: &i64| usize::try_from(*v).unwrap_or(0);
    let (low, high): (Vec<usize>, Vec<usize>) =
        (low.iter().map(added).collect(), high.iter().map(added).collect());
    for at in 0..rank {
        c.room_for(value.dim(at).saturating_add(low[at]).saturating_add(high[at]))?;
    }
    let value = match mode.as_str() {
        "constant" => {
            let (inner, fill) = (vec![0; rank], Scalar(fill));
            c.b.prim(Prim::Pad { low, high, inner, value: fill }, &[value])
        }
        "edge" | "reflect" | "wrap" => {
            (0..rank).try_fold(value, |v, at| mirrored(c, v, at, [low[at], high[at]], &mode))?
        }
        other => {
            return Err(format!("attribute mode: expected constant, edge, reflect or wrap, found {other:?}"));
        }
    };
    Ok(Var::new(x.elem, value))
}

/// An axis with cells around it that are copies of its own.
fn mirrored<'g>(
    c: &Call<'_, 'g>,
    v: Value<'g>,
    at: usize,
    [low, high]: [usize; 2],
    mode: &str,
) -> Result<Value<'g>, String> {
    if low + high == 0 {
        return Ok(v);
    }
    let n = v.dim(at) as i64;
    if n == 0 {
        return Err("an empty axis has nothing to copy".into());
    }
    let source = |i: i64| match mode {
        "edge" => i.clamp(0, n - 1),
        "wrap" => i.rem_euclid(n),
        _ if n == 1 => 0,
        _ => {
            let i = i.rem_euclid(2 * (n - 1));
            if i < n { i } else { 2 * (n - 1) - i }
        }
    };
    let index: Vec<i32> = (-(low as i64)..n + high as i64).map(|i| source(i) as i32).collect();
    super::gather::take_along(c, v, at, index)
}

fn tile<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let repeats = match c.opset < 6 && c.inputs.len() > 2 {
        true => {
            let (tiles, at) = (c.known_ints(1)?, c.known_ints(2)?);
            let mut all = vec![1; x.rank()];
            let at = axis(at.first().copied().unwrap_or(0), x.rank())?;
            all[at] = tiles.first().copied().unwrap_or(1);
            all
        }
        false => c.known_ints(1)?,
    };
    let repeats = sizes(repeats)?;
    if repeats.len() != x.rank() {
        return Err(format!("expected {} repeats, found {}", x.rank(), repeats.len()));
    }
    let shape = x.shape();
    let (mut split, mut wide, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for (&d, &r) in shape.iter().zip(&repeats) {
        split.extend([1, d]);
        wide.extend([r, d]);
        whole.push(d.saturating_mul(r));
    }
    Ok(Var::new(x.elem, x.value().reshape(split).broadcast_to(wide).reshape(whole)))
}

/// `[n, c, h, w]`
fn maps(x: &Var<'_>) -> Result<[usize; 4], String> {
    match x.shape()[..] {
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => Err(format!("expected [n, channels, height, width], found {}", x.shape())),
    }
}

fn block(c: &Call<'_, '_>) -> Result<usize, String> {
    match c.int("blocksize", 0)? {
        b if b > 0 && b < 1 << 20 => Ok(b as usize),
        b => Err(format!("attribute blocksize: expected at least 1, found {b}")),
    }
}

fn depth_to_space<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let ([n, ch, h, w], b) = (maps(&x)?, block(c)?);
    if !ch.is_multiple_of(b * b) {
        return Err(format!("{ch} channels are no multiple of {b} x {b}"));
    }
    let d = ch / (b * b);
    let value = match c.word("mode", &["DCR", "CRD"])? {
        "CRD" => x.value().reshape([n, d, b, b, h, w]).transpose(&[0, 1, 4, 2, 5, 3]),
        _ => x.value().reshape([n, b, b, d, h, w]).transpose(&[0, 3, 4, 1, 5, 2]),
    };
    Ok(Var::new(x.elem, value.reshape([n, d, h.saturating_mul(b), w.saturating_mul(b)])))
}

fn space_to_depth<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let ([n, ch, h, w], b) = (maps(&x)?, block(c)?);
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(format!("maps of {h} x {w} are no multiple of {b}"));
    }
    let value = x.value().reshape([n, ch, h / b, b, w / b, b]);
    let value = match c.word("mode", &["DCR", "CRD"])? {
        "CRD" => value.transpose(&[0, 1, 3, 5, 2, 4]),
        _ => value.transpose(&[0, 3, 5, 1, 2, 4]),
    };
    Ok(Var::new(x.elem, value.reshape([n, ch.saturating_mul(b * b), h / b, w / b])))
}

fn trilu<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let upper = c.flag("upper", true)?;
    let shape = x.shape();
    let rank = shape.rank();
    if rank < 2 {
        return Err(format!("expected matrices, found {shape}"));
    }
    let matrix = Shape::from(&shape[rank - 2..]);
    let (i, j) = (c.b.iota(0, &matrix, DType::I64), c.b.iota(1, &matrix, DType::I64));
    let diagonal = match c.optional(1)? {
        Some(k) => i + k.value().cast(DType::I64).reshape([0; 0]),
        None => i,
    };
    let kept = if upper { diagonal.less_equal(j) } else { j.less_equal(diagonal) };
    let value = x.value();
    let zero = c.b.fill_as(0.0, &shape, value.dtype());
    Ok(Var::new(x.elem, kept.broadcast_to(&shape).select(value, zero)))
}

fn center_crop_pad<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let wanted = sizes(c.known_ints(1)?)?;
    let over = c.ints("axes")?.unwrap_or_else(|| (0..x.rank() as i64).collect());
    let mut value = x.value();
    for (&a, &size) in over.iter().zip(&wanted) {
        let at = axis(a, x.rank())?;
        let have = value.dim(at);
        if have > size {
            let start = (have - size) / 2;
            value = value.slice(at, start, start + size);
        } else if have < size {
            let (mut low, mut high) = (vec![0; x.rank()], vec![0; x.rank()]);
            low[at] = (size - have) / 2;
            high[at] = size - have - low[at];
            value = value.pad(&low, &high, 0.0);
        }
    }
    Ok(Var::new(x.elem, value))
}

/// Turns the first so many steps of each sequence round.
fn reverse_sequence<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let lengths = c.var(1)?;
    let (time, batch) = (c.int("time_axis", 0)?, c.int("batch_axis", 1)?);
    let (time, batch) = (axis(time, x.rank())?, axis(batch, x.rank())?);
    let shape = x.shape();
    let mut dims = vec![1; x.rank()];
    dims[batch] = shape[batch];
    let length = lengths.value().cast(DType::I64).reshape(dims).broadcast_to(&shape);
    let step = c.b.iota(time, &shape, DType::I64);
    let from = step.less(length).select(length - 1.0 - step, step);
    super::gather::gather_along(&x, time, from)
}
