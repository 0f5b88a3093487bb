//! The same elements in other places, reductions and products.

use brisk_onnx::{Attribute, Elem};

use super::call::{Call, Made, Operator, op};
use crate::onnx::emit::text;

pub(super) const OPS: &[Operator] = &[
    op("Concat", concat),
    op("Flatten", flatten),
    op("Pad", pad),
    op("Reshape", reshape),
    op("SliceChannel", split),
    op("argmax", argmax),
    op("batch_dot", |c| dot(c, ["...ij", "...ji"], ["...jk", "...kj"])),
    op("concat", concat),
    op("dot", |c| dot(c, ["ij", "ji"], ["jk", "kj"])),
    op("expand_dims", |c| {
        let (x, axis) = (c.x(0)?, c.int("axis", 0)?);
        let axes = c.list(&[axis])?;
        c.done("Unsqueeze", &[&x, &axes], vec![])
    }),
    op("flatten", flatten),
    op("max", |c| reduce(c, "ReduceMax")),
    op("mean", |c| reduce(c, "ReduceMean")),
    op("min", |c| reduce(c, "ReduceMin")),
    op("ones_like", |c| like(c, 1.0)),
    op("pad", pad),
    op("prod", |c| reduce(c, "ReduceProd")),
    op("reshape", reshape),
    op("slice", slice),
    op("slice_axis", |c| {
        let (x, axis, begin) = (c.x(0)?, c.int("axis", 0)?, c.int("begin", 0)?);
        let end = c.int("end", i64::MAX)?;
        let (begin, end, axes) = (c.list(&[begin])?, c.list(&[end])?, c.list(&[axis])?);
        c.done("Slice", &[&x, &begin, &end, &axes], vec![])
    }),
    op("split", split),
    op("squeeze", |c| {
        let (x, axes) = (c.x(0)?, c.ints("axis")?);
        let Some(axes) = axes.filter(|a| !a.is_empty()) else { return c.done("Squeeze", &[&x], vec![]) };
        let axes = c.list(&axes)?;
        c.done("Squeeze", &[&x, &axes], vec![])
    }),
    op("stack", |c| {
        let axis = c.int("axis", 0)?;
        let axes = c.list(&[axis])?;
        let mut parts = Vec::new();
        for i in 0..c.inputs.len() {
            let x = c.x(i)?;
            parts.push(c.emit("Unsqueeze", &[&x, &axes], vec![])?);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        c.done("Concat", &parts, vec![("axis", Attribute::Int(axis))])
    }),
    op("sum", |c| reduce(c, "ReduceSum")),
    op("sum_axis", |c| reduce(c, "ReduceSum")),
    op("take", |c| {
        let (x, at, axis) = (c.x(0)?, c.x(1)?, c.int("axis", 0)?);
        let at = c.cast(&at, Elem::Int64)?;
        c.done("Gather", &[&x, &at], vec![("axis", Attribute::Int(axis))])
    }),
    op("tile", |c| {
        let (x, repeats) = (c.x(0)?, c.ints("reps")?.unwrap_or_default());
        let repeats = c.list(&repeats)?;
        c.done("Tile", &[&x, &repeats], vec![])
    }),
    op("transpose", |c| {
        let (x, axes) = (c.x(0)?, c.ints("axes")?.filter(|a| !a.is_empty()));
        let attributes = axes.map(|axes| ("perm", Attribute::Ints(axes))).into_iter().collect();
        c.done("Transpose", &[&x], attributes)
    }),
    op("zeros_like", |c| like(c, 0.0)),
];

fn concat(c: &mut Call<'_>) -> Made {
    let axis = c.int("dim", 1)?;
    let inputs = (0..c.inputs.len()).map(|i| c.x(i)).collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    c.done("Concat", &inputs, vec![("axis", Attribute::Int(axis))])
}

fn flatten(c: &mut Call<'_>) -> Made {
    let x = c.x(0)?;
    c.done("Flatten", &[&x], vec![("axis", Attribute::Int(1))])
}

fn like(c: &mut Call<'_>, value: f64) -> Made {
    let (x, value) = (c.x(0)?, c.number(value)?);
    let shape = c.emit("Shape", &[&x], vec![])?;
    c.done("Expand", &[&value, &shape], vec![])
}

/// MXNet has the cells before and after each axis in a row; ONNX has all before, then all after.
fn pad(c: &mut Call<'_>) -> Made {
    let mode = match c.text("mode", "") {
        known @ ("constant" | "edge" | "reflect") => text(known),
        other => {
            return Err(format!("attribute \"mode\": expected constant, edge or reflect, found {other:?}"));
        }
    };
    let widths = c.ints("pad_width")?.unwrap_or_default();
    let side = |side: usize| widths.iter().skip(side).step_by(2).copied();
    let pads: Vec<i64> = side(0).chain(side(1)).collect();
    let (x, pads, fill) = (c.x(0)?, c.list(&pads)?, c.float("constant_value", 0.0)?);
    let fill = c.number(fill)?;
    c.done("Pad", &[&x, &pads, &fill], vec![("mode", mode)])
}

/// The sizes of a shape, some of which say what to do with the axes that come in: 0 keeps one, -1 is whatever is left, -2 keeps all
/// that follow, -3 joins two, -4 parts one into the next two sizes.
fn reshape(c: &mut Call<'_>) -> Made {
    if c.flag("reverse", false)? {
        return Err("attribute \"reverse\" is not supported; write the sizes from the front".into());
    }
    let (x, wanted) = (c.x(0)?, c.ints("shape")?.unwrap_or_default());
    let mut parts: Vec<String> = Vec::new();
    let mut at = 0;
    let mut wanted = wanted.into_iter();
    while let Some(size) = wanted.next() {
        match size {
            0 => parts.push(sizes(c, &x, at, Some(at + 1))?),
            -2 => parts.push(sizes(c, &x, at, None)?),
            -3 => {
                let (a, b) = (sizes(c, &x, at, Some(at + 1))?, sizes(c, &x, at + 1, Some(at + 2))?);
                parts.push(c.emit("Mul", &[&a, &b], vec![])?);
                at += 1;
            }
            -4 => {
                let [Some(a), Some(b)] = [wanted.next(), wanted.next()] else {
                    return Err("attribute \"shape\": expected two sizes behind -4".into());
                };
                let all = sizes(c, &x, at, Some(at + 1))?;
                for (own, other) in [(a, b), (b, a)] {
                    let part = match own {
                        -1 => {
                            let other = c.list(&[other])?;
                            c.emit("Div", &[&all, &other], vec![])?
                        }
                        own => c.list(&[own])?,
                    };
                    parts.push(part);
                }
            }
            size => parts.push(c.list(&[size])?),
        }
        at += 1;
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let shape = c.emit("Concat", &parts, vec![("axis", Attribute::Int(0))])?;
    c.done("Reshape", &[&x, &shape], vec![])
}

/// The sizes of some axes.
fn sizes(c: &mut Call<'_>, x: &str, start: i64, end: Option<i64>) -> Result<String, String> {
    let mut attributes = vec![("start", Attribute::Int(start))];
    attributes.extend(end.map(|end| ("end", Attribute::Int(end))));
    c.emit("Shape", &[x], attributes)
}

fn split(c: &mut Call<'_>) -> Made {
    const MOST: i64 = 1 << 16;
    let (x, axis, n) = (c.x(0)?, c.int("axis", 1)?, c.int("num_outputs", 0)?);
    if !(1..=MOST).contains(&n) {
        return Err(format!("attribute \"num_outputs\": expected 1 to {MOST}, found {n}"));
    }
    let attributes = vec![("axis", Attribute::Int(axis)), ("num_outputs", Attribute::Int(n))];
    let made = c.emit.call(&c.node.name, "Split", &[&x], attributes, n as usize)?;
    if !c.flag("squeeze_axis", false)? {
        return Ok(made);
    }
    let axes = c.list(&[axis])?;
    made.iter().map(|part| c.emit("Squeeze", &[part, &axes], vec![])).collect()
}

fn slice(c: &mut Call<'_>) -> Made {
    let x = c.x(0)?;
    let (begin, end, step) = (c.optional_ints("begin")?, c.optional_ints("end")?, c.optional_ints("step")?);
    let step = |i: usize| step.get(i).copied().flatten().unwrap_or(1);
    let (mut starts, mut ends, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (begin, end)) in begin.iter().zip(&end).enumerate() {
        let (first, last) = if step(i) > 0 { (0, i64::MAX) } else { (i64::MAX, i64::MIN) };
        starts.push(begin.unwrap_or(first));
        ends.push(end.unwrap_or(last));
        steps.push(step(i));
    }
    let axes: Vec<i64> = (0..starts.len() as i64).collect();
    let [starts, ends, axes, steps] = [c.list(&starts)?, c.list(&ends)?, c.list(&axes)?, c.list(&steps)?];
    c.done("Slice", &[&x, &starts, &ends, &axes, &steps], vec![])
}

fn reduce(c: &mut Call<'_>, name: &str) -> Made {
    if c.flag("exclude", false)? {
        return Err("attribute \"exclude\" is not supported; name the axes that are reduced".into());
    }
    let (x, axes, keep) = (c.x(0)?, c.ints("axis")?.unwrap_or_default(), c.flag("keepdims", false)?);
    let axes = c.list(&axes)?;
    let y = c.emit(name, &[&x, &axes], vec![("keepdims", Attribute::Int(keep.into()))])?;
    // Of all axes, one stays.
    match keep || c.ints("axis")?.is_some_and(|a| !a.is_empty()) {
        true => Ok(vec![y]),
        false => {
            let one = c.list(&[1])?;
            c.done("Reshape", &[&y, &one], vec![])
        }
    }
}

/// MXNet's indices are floats.
fn argmax(c: &mut Call<'_>) -> Made {
    let axis = c.ints("axis")?.and_then(|a| a.first().copied());
    let axis = axis.ok_or("attribute \"axis\": expected a number; flatten the operand first")?;
    let (x, keep) = (c.x(0)?, c.flag("keepdims", false)?);
    let attributes = vec![("axis", Attribute::Int(axis)), ("keepdims", Attribute::Int(keep.into()))];
    let at = c.emit("ArgMax", &[&x], attributes)?;
    Ok(vec![c.cast(&at, Elem::Float)?])
}

/// Of matrices; either may be transposed.
fn dot(c: &mut Call<'_>, left: [&str; 2], right: [&str; 2]) -> Made {
    let (a, b) = (c.x(0)?, c.x(1)?);
    let (ta, tb) = (c.flag("transpose_a", false)?, c.flag("transpose_b", false)?);
    if !ta && !tb {
        return c.done("MatMul", &[&a, &b], vec![]);
    }
    let [plain, turned] = left;
    let left = if ta { turned } else { plain };
    let [plain, turned] = right;
    let right = if tb { turned } else { plain };
    let result = if left.starts_with("...") { "...ik" } else { "ik" };
    c.done("Einsum", &[&a, &b], vec![("equation", text(&format!("{left},{right}->{result}")))])
}
