//! Reductions along axes.

use brisk_onnx::{Attribute, Elem};

use super::super::TfType;
use super::call::{Call, Made, Run};
use super::value::Value;

pub(super) const OPS: &[(&str, Run)] = &[
    ("All", |c| truth(c, "ReduceMin")),
    ("Any", |c| truth(c, "ReduceMax")),
    ("ArgMax", |c| arg(c, "ArgMax")),
    ("ArgMin", |c| arg(c, "ArgMin")),
    ("Cumsum", |c| running(c, "CumSum")),
    ("EuclideanNorm", |c| reduce(c, "ReduceL2")),
    ("Max", |c| reduce(c, "ReduceMax")),
    ("Mean", |c| reduce(c, "ReduceMean")),
    ("Min", |c| reduce(c, "ReduceMin")),
    ("Prod", |c| reduce(c, "ReduceProd")),
    ("Sum", |c| reduce(c, "ReduceSum")),
    ("TopK", |c| {
        let k = c.int("k", 0)?;
        let k = c.list(&[k])?;
        top(c, &k)
    }),
    ("TopKV2", |c| {
        let k = c.list64(1)?;
        top(c, &k)
    }),
];

/// Along axes that may be none, which is not all of them.
fn along(c: &mut Call<'_, '_>, op: &str, x: &str) -> Result<String, String> {
    let (axes, keep) = (c.list64(1)?, c.flag("keep_dims", false)?);
    let attributes =
        vec![("keepdims", Attribute::Int(keep.into())), ("noop_with_empty_axes", Attribute::Int(1))];
    c.emit(op, &[x, &axes], attributes)
}

fn reduce(c: &mut Call<'_, '_>, op: &str) -> Made {
    let x = c.x(0)?;
    Ok(vec![Value::of(along(c, op, &x)?)])
}

fn truth(c: &mut Call<'_, '_>, op: &str) -> Made {
    let x = c.x(0)?;
    let x = c.cast(&x, Elem::Int32)?;
    let y = along(c, op, &x)?;
    Ok(vec![Value::of(c.cast(&y, Elem::Bool)?)])
}

fn arg(c: &mut Call<'_, '_>, op: &str) -> Made {
    const INT64: TfType = TfType(9);
    let x = c.x(0)?;
    let axis = if c.inputs.len() > 1 { c.known_one(1, "the axis")? } else { 0 };
    let elem = c.elem("output_type", INT64)?;
    let y = c.emit(op, &[&x], vec![("axis", Attribute::Int(axis)), ("keepdims", Attribute::Int(0))])?;
    match elem {
        Elem::Int64 => Ok(vec![Value::of(y)]),
        other => Ok(vec![Value::of(c.cast(&y, other)?)]),
    }
}

fn running(c: &mut Call<'_, '_>, op: &str) -> Made {
    let (x, axis) = (c.x(0)?, c.int64(1)?);
    let flags = [("exclusive", c.flag("exclusive", false)?), ("reverse", c.flag("reverse", false)?)];
    let attributes = flags.map(|(name, on)| (name, Attribute::Int(on.into()))).to_vec();
    c.done(op, &[&x, &axis], attributes)
}

fn top(c: &mut Call<'_, '_>, k: &str) -> Made {
    const INT32: TfType = TfType(3);
    let (x, elem) = (c.x(0)?, c.elem("index_type", INT32)?);
    let made = c.walk.emit.call(&c.node.name, "TopK", &[&x, k], vec![], 2)?;
    let [values, indices] = &made[..] else { return Err("expected two results".into()) };
    let indices = c.cast(indices, elem)?;
    Ok(vec![Value::of(values.clone()), Value::of(indices)])
}
