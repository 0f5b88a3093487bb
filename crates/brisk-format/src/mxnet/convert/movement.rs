//! The same elements in other places, reductions and products.

use brisk_onnx::{Attribute, Elem};

use super::call::{Call, Made, Operator, op};
use crate::error::quoted;
use crate::onnx::emit::text;

pub(super) const OPS: &[Operator] = &[
    op("Concat", concat),
    op("Flatten", flatten),
    op("Pad", pad),
    op("Reshape", reshape),
    op("SliceChannel", split),
    op("argmax", argmax),
    op("batch_dot", |c| {
        let (a, b) = (c.x(0)?, c.x(1)?);
        let y = product(c, &a, &b, "...")?;
        Ok(vec![y])
    }),
    op("concat", concat),
    op("dot", dot),
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
    op("take", take),
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

/// Indices that are out of range are the nearest one that is in it, or begin again, as the mode says.
fn take(c: &mut Call<'_>) -> Made {
    let (x, at, axis) = (c.x(0)?, c.x(1)?, c.int("axis", 0)?);
    let (clips, wraps) = match c.text("mode", "clip") {
        "clip" => (true, false),
        "wrap" => (false, true),
        "raise" => (false, false),
        other => {
            return Err(format!("attribute \"mode\": expected clip, wrap or raise, found {}", quoted(other)));
        }
    };
    let mut at = c.cast(&at, Elem::Int64)?;
    if clips || wraps {
        let size = sizes(c, &x, axis, Some(axis.saturating_add(1)).filter(|&end| end != 0))?;
        if wraps {
            at = c.emit("Mod", &[&at, &size], vec![])?;
        } else {
            let (zero, one) = (c.list(&[0])?, c.list(&[1])?);
            let last = c.emit("Sub", &[&size, &one], vec![])?;
            at = c.emit("Max", &[&at, &zero], vec![])?;
            at = c.emit("Min", &[&at, &last], vec![])?;
        }
    }
    c.done("Gather", &[&x, &at], vec![("axis", Attribute::Int(axis))])
}

/// Along the last axis of the first and the first axis of the second, or the other way round where one is transposed. Both become matrices.
fn dot(c: &mut Call<'_>) -> Made {
    let mut shapes = Vec::new();
    let mut matrix = |c: &mut Call<'_>, i: usize, along_first: bool| {
        let x = c.x(i)?;
        let (axis, start, end) = if along_first { (1, 1, None) } else { (-1, 0, Some(-1)) };
        shapes.push(sizes(c, &x, start, end)?);
        c.emit("Flatten", &[&x], vec![("axis", Attribute::Int(axis))])
    };
    let (ta, tb) = (c.flag("transpose_a", false)?, c.flag("transpose_b", false)?);
    let (a, b) = (matrix(c, 0, ta)?, matrix(c, 1, !tb)?);
    let y = product(c, &a, &b, "")?;
    let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
    let shape = c.emit("Concat", &shapes, vec![("axis", Attribute::Int(0))])?;
    c.done("Reshape", &[&y, &shape], vec![])
}

/// Of matrices, either of which may be transposed; `before` stands for their other axes.
fn product(c: &mut Call<'_>, a: &str, b: &str, before: &str) -> Result<String, String> {
    let (left, right) = match (c.flag("transpose_a", false)?, c.flag("transpose_b", false)?) {
        (false, false) => return c.emit("MatMul", &[a, b], vec![]),
        (false, true) => ("ij", "kj"),
        (true, false) => ("ji", "jk"),
        (true, true) => ("ji", "kj"),
    };
    let equation = format!("{before}{left},{before}{right}->{before}ik");
    c.emit("Einsum", &[a, b], vec![("equation", text(&equation))])
}
