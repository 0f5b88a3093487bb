//! Shapes, and values of a shape.

use brisk_onnx::{Attribute, Elem};

use super::super::TfType;
use super::call::{Call, Made, Run};
use super::value::{Tensor, Value};

pub(super) const OPS: &[(&str, Run)] = &[
    ("BroadcastArgs", |c| {
        let [a, b] = [ones(c, 0)?, ones(c, 1)?];
        let both = c.emit("Mul", &[&a, &b], vec![])?;
        sizes(c, "Shape", &both, "T")
    }),
    ("BroadcastTo", |c| {
        let (x, shape) = (c.x(0)?, c.int64(1)?);
        c.done("Expand", &[&x, &shape], vec![])
    }),
    ("ExpandDims", |c| {
        let (x, axes) = (c.x(0)?, c.list64(1)?);
        c.done("Unsqueeze", &[&x, &axes], vec![])
    }),
    ("Fill", |c| {
        let (shape, x) = (c.int64(0)?, c.x(1)?);
        c.done("Expand", &[&x, &shape], vec![])
    }),
    ("OneHot", one_hot),
    ("OnesLike", |c| like(c, 1.0)),
    ("Range", |c| {
        let (start, limit, delta) = (c.x(0)?, c.x(1)?, c.x(2)?);
        c.done("Range", &[&start, &limit, &delta], vec![])
    }),
    ("Rank", |c| {
        let x = c.x(0)?;
        let shape = c.emit("Shape", &[&x], vec![])?;
        let rank = c.emit("Size", &[&shape], vec![])?;
        Ok(vec![Value::of(c.cast(&rank, Elem::Int32)?)])
    }),
    ("Reshape", |c| {
        let (x, shape) = (c.x(0)?, c.int64(1)?);
        // A size of 0 means 0.
        let name = c.emit("Reshape", &[&x, &shape], vec![("allowzero", Attribute::Int(1))])?;
        let known = c.value(1)?.tensor()?.known();
        let dims = known.and_then(|d| d.into_iter().map(|d| d.try_into().ok()).collect::<Option<Vec<_>>>());
        Ok(vec![Value::Tensor(Tensor { name, ints: None, dims: dims.map(Into::into) })])
    }),
    ("Shape", |c| {
        let x = c.x(0)?;
        sizes(c, "Shape", &x, "out_type")
    }),
    ("ShapeN", |c| {
        let inputs = c.all()?;
        let mut shapes = Vec::new();
        for x in inputs {
            shapes.extend(sizes(c, "Shape", &x, "out_type")?);
        }
        Ok(shapes)
    }),
    ("Size", |c| {
        let x = c.x(0)?;
        sizes(c, "Size", &x, "out_type")
    }),
    ("Squeeze", |c| {
        let (x, axes) = (c.x(0)?, c.ints("squeeze_dims")?);
        if axes.is_empty() {
            return c.done("Squeeze", &[&x], vec![]);
        }
        let axes = c.list(&axes)?;
        c.done("Squeeze", &[&x, &axes], vec![])
    }),
    ("Where", |c| {
        let x = c.x(0)?;
        let places = c.emit("NonZero", &[&x], vec![])?;
        c.done("Transpose", &[&places], vec![("perm", Attribute::Ints(vec![1, 0]))])
    }),
    ("ZerosLike", |c| like(c, 0.0)),
];

/// i32 unless an attribute says otherwise.
fn sizes(c: &mut Call<'_, '_>, op: &str, x: &str, ty: &str) -> Made {
    const INT32: TfType = TfType(3);
    let elem = c.elem(ty, INT32)?;
    let sizes = c.emit(op, &[x], vec![])?;
    Ok(vec![Value::of(if elem == Elem::Int64 { sizes } else { c.cast(&sizes, elem)? })])
}

/// Ones of the shape that an operand says.
fn ones(c: &mut Call<'_, '_>, i: usize) -> Result<String, String> {
    let (shape, one) = (c.int64(i)?, c.walk.emit.ints(&[], &[1])?);
    c.emit("Expand", &[&one, &shape], vec![])
}

fn like(c: &mut Call<'_, '_>, value: f64) -> Made {
    let (x, value) = (c.x(0)?, c.number("T", value)?);
    let shape = c.emit("Shape", &[&x], vec![])?;
    c.done("Expand", &[&value, &shape], vec![])
}

/// An index that is no class, -1 too, has no hot one: it is compared with all classes.
fn one_hot(c: &mut Call<'_, '_>) -> Made {
    let (on, off, axis) = (c.x(2)?, c.x(3)?, c.int("axis", -1)?);
    let (index, depth) = (c.int64(0)?, c.int64(1)?);
    let (zero, one) = (c.walk.emit.ints(&[], &[0])?, c.walk.emit.ints(&[], &[1])?);
    let mut classes = c.emit("Range", &[&zero, &depth, &one], vec![])?;
    let axes = c.list(&[axis])?;
    if axis != -1 {
        // Behind the classes come as many axes as in the indices behind theirs.
        let shape = c.emit("Shape", &[&index], vec![("start", Attribute::Int(axis))])?;
        let (behind, flat, one) = (c.emit("Size", &[&shape], vec![])?, c.list(&[1])?, c.list(&[1])?);
        let behind = c.emit("Reshape", &[&behind, &flat], vec![])?;
        let ones = c.emit("Expand", &[&one, &behind], vec![])?;
        let all = c.list(&[-1])?;
        let shape = c.emit("Concat", &[&all, &ones], vec![("axis", Attribute::Int(0))])?;
        classes = c.emit("Reshape", &[&classes, &shape], vec![])?;
    }
    let index = c.emit("Unsqueeze", &[&index, &axes], vec![])?;
    let hot = c.emit("Equal", &[&index, &classes], vec![])?;
    c.done("Where", &[&hot, &on, &off], vec![])
}
