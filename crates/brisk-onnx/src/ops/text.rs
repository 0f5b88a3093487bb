//! Texts. They never come from numbers that must be computed, so they are always known.

use std::sync::Arc;

use brisk_graph::Shape;

use super::Operator;
use crate::call::{Call, axis};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[];

/// An operand of texts.
pub fn texts<'c>(c: &'c Call<'_, '_>, i: usize) -> Result<(&'c Shape, &'c [String]), String> {
    match c.item(i)? {
        Item::Texts(shape, texts) => Ok((shape, texts)),
        _ => Err(format!("operand {i}: expected texts")),
    }
}

/// Numbers as NumPy writes them.
pub fn from_numbers<'g>(c: &mut Call<'_, 'g>, x: &Var<'g>) -> Result<Item<'g>, String> {
    let tensor = c.look(x.settled())?;
    let write = |v: f64| match x.elem {
        Elem::Bool => (if v != 0.0 { "True" } else { "False" }).to_string(),
        Elem::Double => float(v.to_string()),
        e if e.is_float() => float((v as f32).to_string()),
        _ => format!("{v}"),
    };
    let list = match tensor.data() {
        brisk_graph::Data::I64(v) => v.iter().map(i64::to_string).collect(),
        _ => tensor.to_f64s().into_iter().map(write).collect(),
    };
    Ok(Item::Texts(tensor.shape().clone(), Arc::new(list)))
}

fn float(text: String) -> String {
    match text.as_str() {
        "inf" => "INF".into(),
        "-inf" => "-INF".into(),
        "NaN" => "NaN".into(),
        _ => text,
    }
}

/// Texts one after another along an axis.
pub fn concat<'g>(c: &mut Call<'_, 'g>) -> Result<Item<'g>, String> {
    let parts = (0..c.inputs.len()).map(|i| texts(c, i)).collect::<Result<Vec<_>, _>>()?;
    let first = parts[0].0;
    let at = axis(c.int("axis", 1)?, first.rank())?;
    let outer: usize = first[..at].iter().product();
    let mut list = Vec::new();
    let mut dims = first.to_vec();
    dims[at] = parts.iter().map(|p| p.0.get(at).copied().unwrap_or(0)).sum();
    for i in 0..outer {
        for (shape, texts) in &parts {
            let n: usize = shape[at..].iter().product();
            list.extend(texts.get(i * n..(i + 1) * n).unwrap_or(&[]).iter().cloned());
        }
    }
    let shape = Shape::from(dims);
    match shape.elements() == list.len() {
        true => Ok(Item::Texts(shape, Arc::new(list))),
        false => Err("the shapes of the texts do not fit".into()),
    }
}

/// Texts at indices along the first axis.
pub fn gather<'g>(c: &mut Call<'_, 'g>) -> Result<Item<'g>, String> {
    let index = c.known_ints(1)?;
    let to = c.var(1)?.shape();
    let (shape, list) = texts(c, 0)?;
    if axis(c.int("axis", 0)?, shape.rank())? != 0 {
        return Err("texts are gathered along their first axis".into());
    }
    let width: usize = shape[1..].iter().product();
    let mut found = Vec::new();
    for i in index {
        let row = axis(i, shape[0])?;
        found.extend(list[row * width..(row + 1) * width].iter().cloned());
    }
    Ok(Item::Texts([&to[..], &shape[1..]].concat().into(), Arc::new(found)))
}
