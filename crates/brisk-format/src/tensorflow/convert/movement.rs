//! The same elements in other places.

use std::rc::Rc;

use brisk_onnx::Attribute;

use super::call::{Call, Made, Run};
use super::value::{Tensor, Value};
use crate::onnx::emit::text;

pub(super) const OPS: &[(&str, Run)] = &[
    ("BatchToSpaceND", from_batch),
    ("ConcatV2", |c| {
        let last = c.inputs.len().checked_sub(1).ok_or("it has no operands")?;
        let axis = c.known_one(last, "the axis")?;
        c.inputs.truncate(last);
        concat(c, axis)
    }),
    ("Concat", |c| {
        let axis = c.known_one(0, "the axis")?;
        c.inputs.remove(0);
        concat(c, axis)
    }),
    ("Gather", |c| gather(c, 0)),
    ("GatherNd", |c| {
        let (x, at) = (c.x(0)?, c.int64(1)?);
        c.done("GatherND", &[&x, &at], vec![])
    }),
    ("GatherV2", |c| {
        let axis = c.known_one(2, "the axis")?;
        gather(c, axis)
    }),
    ("MatrixBandPart", band),
    ("MirrorPad", |c| match c.text("mode", "")? {
        "REFLECT" => {
            mirrored(c, 1)?;
            pad(c, "reflect")
        }
        "SYMMETRIC" => symmetric(c),
        other => Err(format!("attribute \"mode\": expected REFLECT or SYMMETRIC, found {other}")),
    }),
    ("Pack", pack),
    ("Pad", |c| pad(c, "constant")),
    ("PadV2", |c| pad(c, "constant")),
    ("ReverseV2", |c| {
        let (x, axes) = (c.x(0)?, c.known(1, "axes")?);
        let all = |v: i64| vec![v; axes.len()];
        let (starts, ends, steps) = (c.list(&all(-1))?, c.list(&all(i64::MIN))?, c.list(&all(-1))?);
        let axes = c.list(&axes)?;
        c.done("Slice", &[&x, &starts, &ends, &axes, &steps], vec![])
    }),
    ("ScatterNd", |c| {
        let (at, updates, shape) = (c.int64(0)?, c.x(1)?, c.int64(2)?);
        let zero = c.number("T", 0.0)?;
        let zeros = c.emit("Expand", &[&zero, &shape], vec![])?;
        // Updates of the same place are added.
        c.done("ScatterND", &[&zeros, &at, &updates], vec![("reduction", text("add"))])
    }),
    ("SpaceToBatchND", to_batch),
    ("Split", |c| {
        let axis = c.known_one(0, "the axis")?;
        let (x, n) = (c.x(1)?, parts(c, "num_split")?);
        let attributes = vec![("axis", Attribute::Int(axis)), ("num_outputs", Attribute::Int(n as i64))];
        let made = c.walk.emit.call(&c.node.name, "Split", &[&x], attributes, n)?;
        Ok(made.into_iter().map(Value::of).collect())
    }),
    ("SplitV", split_v),
    ("Tile", |c| {
        let (x, repeats) = (c.x(0)?, c.int64(1)?);
        c.done("Tile", &[&x, &repeats], vec![])
    }),
    ("Transpose", |c| {
        let (x, perm) = (c.x(0)?, c.known(1, "the order of axes")?);
        c.done("Transpose", &[&x], vec![("perm", Attribute::Ints(perm))])
    }),
    ("Unpack", |c| {
        let (x, n, axis) = (c.x(0)?, parts(c, "num")?, c.int("axis", 0)?);
        let attributes = vec![("axis", Attribute::Int(axis)), ("num_outputs", Attribute::Int(n as i64))];
        let parts = c.walk.emit.call(&c.node.name, "Split", &[&x], attributes, n)?;
        let axes = c.list(&[axis])?;
        let part = |part: &String| c.emit("Squeeze", &[part, &axes], vec![]).map(Value::of);
        parts.iter().map(part).collect()
    }),
];

/// How many results there are.
fn parts(c: &Call<'_, '_>, name: &str) -> Result<usize, String> {
    const MOST: i64 = 1 << 16;
    match c.int(name, 0)? {
        n if (0..=MOST).contains(&n) => Ok(n as usize),
        n => Err(format!("attribute {name:?}: expected 0 to {MOST}, found {n}")),
    }
}

fn concat(c: &mut Call<'_, '_>, axis: i64) -> Made {
    let inputs = c.all()?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let mut parts = Vec::new();
    for i in 0..c.inputs.len() {
        let tensor = c.value(i)?.tensor()?;
        let list = tensor.dims.as_ref().is_some_and(|d| d.len() == 1) && axis == 0;
        parts.push(tensor.ints.as_ref().filter(|_| list).map(|ints| ints.to_vec()));
    }
    let name = c.emit("Concat", &inputs, vec![("axis", Attribute::Int(axis))])?;
    Ok(vec![listed(name, parts.into_iter().collect::<Option<Vec<_>>>().map(|p| p.concat()))])
}

/// A list of which some numbers are known, if it is a short one.
fn listed(name: String, ints: Option<Vec<Option<i64>>>) -> Value {
    const LONGEST: usize = 16;
    let ints = ints.filter(|i| i.len() <= LONGEST);
    let dims: Option<Rc<[usize]>> = ints.as_ref().map(|i| [i.len()].into());
    Value::Tensor(Tensor { name, ints: ints.map(Into::into), dims })
}

fn gather(c: &mut Call<'_, '_>, axis: i64) -> Made {
    let batch = c.int("batch_dims", 0)?;
    if batch != 0 {
        return Err(format!("attribute \"batch_dims\": expected 0, found {batch}; use gather_nd"));
    }
    let (x, at) = (c.x(0)?, c.x(1)?);
    c.done("Gather", &[&x, &at], vec![("axis", Attribute::Int(axis))])
}

fn band(c: &mut Call<'_, '_>) -> Made {
    let mut x = c.x(0)?;
    let (lower, upper) =
        (c.known_one(1, "the number of diagonals")?, c.known_one(2, "the number of diagonals")?);
    for (upper_part, k) in [(1, lower.saturating_neg()), (0, upper)] {
        // A negative number keeps all of them.
        let keeps_all = if upper_part == 1 { lower < 0 } else { upper < 0 };
        if !keeps_all {
            let k = c.walk.emit.ints(&[], &[k])?;
            x = c.emit("Trilu", &[&x, &k], vec![("upper", Attribute::Int(upper_part))])?;
        }
    }
    c.done("Identity", &[&x], vec![])
}

/// Several values along a new axis. What is known of whole numbers stays so: they are often a shape.
fn pack(c: &mut Call<'_, '_>) -> Made {
    let axis = c.int("axis", 0)?;
    let axes = c.list(&[axis])?;
    let (mut parts, mut numbers) = (Vec::new(), Vec::new());
    for i in 0..c.inputs.len() {
        let tensor = c.value(i)?.tensor()?.clone();
        let scalar = tensor.dims.as_ref().is_some_and(|d| d.is_empty());
        numbers.push(tensor.ints.filter(|_| scalar).and_then(|ints| ints.first().copied().flatten()));
        parts.push(c.emit("Unsqueeze", &[&tensor.name, &axes], vec![])?);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let name = c.emit("Concat", &parts, vec![("axis", Attribute::Int(axis))])?;
    // If one of them is a single number, all are.
    let list = axis == 0 && numbers.iter().any(Option::is_some);
    Ok(vec![listed(name, list.then_some(numbers))])
}

/// TensorFlow has the cells before and after each axis in a row; ONNX has all before, then all after.
fn pad(c: &mut Call<'_, '_>, mode: &str) -> Made {
    let (x, pads) = (c.x(0)?, c.int64(1)?);
    let turned = c.emit("Transpose", &[&pads], vec![("perm", Attribute::Ints(vec![1, 0]))])?;
    let flat = c.list(&[-1])?;
    let pads = c.emit("Reshape", &[&turned, &flat], vec![])?;
    let attributes = vec![("mode", text(mode))];
    match c.inputs.len() > 2 {
        true => {
            let fill = c.x(2)?;
            c.done("Pad", &[&x, &pads, &fill], attributes)
        }
        false => c.done("Pad", &[&x, &pads], attributes),
    }
}

/// Checks what is known of the cells that mirror others: there may be as many of them as an axis has cells, but for so many at its edge.
fn mirrored(c: &Call<'_, '_>, but: usize) -> Result<(), String> {
    let Some(pads) = c.value(1)?.tensor()?.known() else { return Ok(()) };
    let dims = c.value(0)?.tensor()?.dims.as_deref();
    let pairs = dims.map_or(pads.len().div_ceil(2), <[usize]>::len);
    if pads.len() != pairs * 2 {
        return Err(format!(
            "operand 1: expected the cells before and after each of {pairs} axes, found {} numbers",
            pads.len()
        ));
    }
    for (axis, pair) in pads.as_chunks::<2>().0.iter().enumerate() {
        let most = dims.and_then(|d| d.get(axis)).map_or(i64::MAX, |&d| d.saturating_sub(but) as i64);
        if let Some(found) = pair.iter().find(|p| !(0..=most).contains(*p)) {
            let expected = if most == i64::MAX { "0 or more".into() } else { format!("0 to {most}") };
            return Err(format!(
                "operand 1: expected {expected} cells that mirror those of axis {axis}, found {found}"
            ));
        }
    }
    Ok(())
}

/// Cells beyond an edge are those before it, the outermost first; axis by axis.
fn symmetric(c: &mut Call<'_, '_>) -> Made {
    mirrored(c, 0)?;
    let (mut x, pads) = (c.x(0)?, c.known(1, "the cells before and after each axis")?);
    let back = c.list(&[-1])?;
    for (&[before, after], axis) in pads.as_chunks().0.iter().zip(0..).filter(|(pair, _)| **pair != [0, 0]) {
        let axes = c.list(&[axis])?;
        let mut parts = vec![x.clone()];
        if before > 0 {
            let (starts, ends) = (c.list(&[before - 1])?, c.list(&[i64::MIN])?);
            parts.insert(0, c.emit("Slice", &[&x, &starts, &ends, &axes, &back], vec![])?);
        }
        if after > 0 {
            let ends = c.list(&[(-1i64).saturating_sub(after)])?;
            parts.push(c.emit("Slice", &[&x, &back, &ends, &axes, &back], vec![])?);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        x = c.emit("Concat", &parts, vec![("axis", Attribute::Int(axis))])?;
    }
    Ok(vec![Value::of(x)])
}

/// A size of -1 takes what is left.
fn split_v(c: &mut Call<'_, '_>) -> Made {
    let (x, n, axis) = (c.x(0)?, parts(c, "num_split")?, c.known_one(2, "the axis")?);
    let sizes = match c.value(1)?.tensor()?.known() {
        Some(known) if known.contains(&-1) => {
            let others = known.iter().filter(|&&s| s != -1).fold(0i64, |a, &b| a.saturating_add(b));
            let (shape, at, others) = (c.emit("Shape", &[&x], vec![])?, c.list(&[axis])?, c.list(&[others])?);
            let size = c.emit("Gather", &[&shape, &at], vec![])?;
            let rest = c.emit("Sub", &[&size, &others], vec![])?;
            let mut list = Vec::new();
            for &size in &known {
                list.push(if size == -1 { rest.clone() } else { c.list(&[size])? });
            }
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            c.emit("Concat", &list, vec![("axis", Attribute::Int(0))])?
        }
        _ => c.int64(1)?,
    };
    let attributes = vec![("axis", Attribute::Int(axis))];
    let made = c.walk.emit.call(&c.node.name, "Split", &[&x, &sizes], attributes, n)?;
    Ok(made.into_iter().map(Value::of).collect())
}

/// The size of an axis.
fn size(c: &mut Call<'_, '_>, x: &str, axis: i64) -> Result<String, String> {
    c.emit("Shape", &[x], vec![("start", Attribute::Int(axis)), ("end", Attribute::Int(axis + 1))])
}

/// A list of lists.
fn joined(c: &mut Call<'_, '_>, lists: &[String]) -> Result<String, String> {
    let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
    c.emit("Concat", &lists, vec![("axis", Attribute::Int(0))])
}

/// The cells between those of a convolution with holes become pictures of their own.
fn to_batch(c: &mut Call<'_, '_>) -> Made {
    let (x, blocks) = (c.x(0)?, c.known(1, "blocks")?);
    let n = blocks.len() as i64;
    let pads = c.int64(2)?;
    let turned = c.emit("Transpose", &[&pads], vec![("perm", Attribute::Ints(vec![1, 0]))])?;
    let flat = c.list(&[-1])?;
    let pads = c.emit("Reshape", &[&turned, &flat], vec![])?;
    let axes = c.list(&(1..=n).collect::<Vec<_>>())?;
    let x = c.emit("Pad", &[&x, &pads, "", &axes], vec![])?;
    let batch = size(c, &x, 0)?;
    let (mut parted, mut joined_sizes) = (vec![batch.clone()], vec![flat.clone()]);
    for (&block, axis) in blocks.iter().zip(1..) {
        let (all, block) = (size(c, &x, axis)?, c.list(&[block])?);
        let each = c.emit("Div", &[&all, &block], vec![])?;
        parted.extend([each.clone(), block]);
        joined_sizes.push(each);
    }
    parted.push(flat);
    joined_sizes.push(c.emit("Shape", &[&x], vec![("start", Attribute::Int(n + 1))])?);
    let (parted, whole) = (joined(c, &parted)?, joined(c, &joined_sizes)?);
    let y = c.emit("Reshape", &[&x, &parted], vec![])?;
    let perm = (1..=n).map(|i| 2 * i).chain([0]).chain((1..=n).map(|i| 2 * i - 1)).chain([2 * n + 1]);
    let y = c.emit("Transpose", &[&y], vec![("perm", Attribute::Ints(perm.collect()))])?;
    c.done("Reshape", &[&y, &whole], vec![])
}

/// Back into one picture, whose edges are cut off.
fn from_batch(c: &mut Call<'_, '_>) -> Made {
    let (x, blocks) = (c.x(0)?, c.known(1, "blocks")?);
    let n = blocks.len() as i64;
    let pictures = c.list(&[blocks.iter().fold(1i64, |a, &b| a.saturating_mul(b))])?;
    let (all, flat) = (size(c, &x, 0)?, c.list(&[-1])?);
    let batch = c.emit("Div", &[&all, &pictures], vec![])?;
    let (mut parted, mut whole, mut sizes) = (Vec::new(), vec![batch.clone()], Vec::new());
    for &block in &blocks {
        parted.push(c.list(&[block])?);
    }
    parted.push(batch);
    for (&block, axis) in blocks.iter().zip(1..) {
        let (each, block) = (size(c, &x, axis)?, c.list(&[block])?);
        sizes.push(c.emit("Mul", &[&each, &block], vec![])?);
        parted.push(each);
    }
    parted.push(flat);
    whole.extend(sizes.iter().cloned());
    whole.push(c.emit("Shape", &[&x], vec![("start", Attribute::Int(n + 1))])?);
    let (parted, whole, sizes) = (joined(c, &parted)?, joined(c, &whole)?, joined(c, &sizes)?);
    let y = c.emit("Reshape", &[&x, &parted], vec![])?;
    let perm = [n].into_iter().chain((0..n).flat_map(|i| [n + 1 + i, i])).chain([2 * n + 1]);
    let y = c.emit("Transpose", &[&y], vec![("perm", Attribute::Ints(perm.collect()))])?;
    let y = c.emit("Reshape", &[&y, &whole], vec![])?;
    let crops = c.int64(2)?;
    let (before, after, one) =
        (c.walk.emit.ints(&[], &[0])?, c.walk.emit.ints(&[], &[1])?, Attribute::Int(1));
    let starts = c.emit("Gather", &[&crops, &before], vec![("axis", one.clone())])?;
    let cut = c.emit("Gather", &[&crops, &after], vec![("axis", one)])?;
    let ends = c.emit("Sub", &[&sizes, &cut], vec![])?;
    let axes = c.list(&(1..=n).collect::<Vec<_>>())?;
    c.done("Slice", &[&y, &starts, &ends, &axes], vec![])
}
