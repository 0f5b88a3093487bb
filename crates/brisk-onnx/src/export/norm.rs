//! Normalizations.

use brisk_graph::Id;
use brisk_graph::op::Attrs;

use super::emit::{Body, Val};
use super::table::Form;
use super::walk::Walk;
use crate::Attribute;

/// Along the last axis.
pub(super) fn rows(w: &mut Walk<'_>, id: Id, form: &Form, _: &Attrs) -> Result<Val, String> {
    let x = w.full_operand(id, 0)?;
    let name = w.e.name(&x);
    let name = w.e.one(form.name, vec![name], vec![("axis", Attribute::Int(-1))]);
    Ok(Val { body: Body::Made(name), ..x })
}

pub(super) fn layer(w: &mut Walk<'_>, id: Id, form: &Form, attrs: &Attrs) -> Result<Val, String> {
    let (x, gain, bias) = (w.full_operand(id, 0)?, w.vector(id, 1)?, w.vector(id, 2)?);
    let inputs = [&x, &gain, &bias].map(|v| w.e.name(v)).to_vec();
    let epsilon = Attribute::Float(attrs.get_float("epsilon") as f32);
    let attrs = vec![("axis", Attribute::Int(-1)), ("epsilon", epsilon)];
    let name = w.e.one(form.name, inputs, attrs);
    Ok(Val { body: Body::Made(name), ..x })
}

pub(super) fn batch(w: &mut Walk<'_>, id: Id, form: &Form, attrs: &Attrs) -> Result<Val, String> {
    let [mean, variance, gain, bias] = [1, 2, 3, 4].map(|place| w.vector(id, place));
    let vectors = [gain?, bias?, mean?, variance?];
    let input = w.input(id, 0)?;
    let (x, dims) = (w.val(input)?, w.dims(input)?);
    let x = if x.dims == dims { x } else { w.e.full(&x, &dims)? };
    let x = w.e.turned(&x)?;
    let mut inputs = vec![w.e.name(&x)];
    inputs.extend(vectors.iter().map(|v| w.e.name(v)));
    let epsilon = Attribute::Float(attrs.get_float("epsilon") as f32);
    let name = w.e.one(form.name, inputs, vec![("epsilon", epsilon)]);
    Ok(Val { body: Body::Made(name), ..x })
}
