//! Values in the place of others, by a table.

use std::collections::HashMap;
use std::hash::Hash;

use brisk_graph::{DType, Data, Shape, Tensor, Value};

use super::ml::DOMAIN;
use super::text;
use super::{Operator, many};
use crate::call::Call;
use crate::{Attribute, Constant, Elem, Item, Var};

pub(super) const OPS: &[Operator] =
    &[many("CategoryMapper", category_mapper).of(DOMAIN), many("LabelEncoder", label_encoder).of(DOMAIN)];

/// A side of the table: keys or values.
enum Side {
    Numbers(Elem, Tensor),
    Texts(Vec<String>),
}

impl Side {
    fn of(c: &Call<'_, '_>, prefix: &str) -> Result<Side, String> {
        let tensor = |t: brisk_graph::Result<Tensor>| t.map_err(|e| e.to_string());
        let name = |kind: &str| format!("{prefix}_{kind}");
        let given = |kind: &str| c.attribute(&name(kind)).is_some();
        if given("tensor") {
            return match c.attribute(&name("tensor")) {
                Some(Attribute::Tensor(Constant::Numbers(elem, t))) => {
                    Ok(Side::Numbers(*elem, tensor(t.clone().reshape([t.elements()]))?))
                }
                Some(Attribute::Tensor(Constant::Texts(_, list))) => Ok(Side::Texts(list.to_vec())),
                _ => Err(format!("attribute {}: expected a tensor", name("tensor"))),
            };
        }
        if let Some(list) = c.texts(&name("strings"))?.filter(|_| given("strings")) {
            return Ok(Side::Texts(list));
        }
        if let Some(list) = c.float_list(&name("floats"))?.filter(|_| given("floats")) {
            return Ok(Side::Numbers(Elem::Float, tensor(Tensor::new([list.len()], list))?));
        }
        match c.ints(&name("int64s"))? {
            Some(list) => Ok(Side::Numbers(Elem::Int64, tensor(Tensor::new([list.len()], list))?)),
            None => Err(format!("expected keys and values, found no {prefix}")),
        }
    }

    fn len(&self) -> usize {
        match self {
            Side::Numbers(_, tensor) => tensor.elements(),
            Side::Texts(list) => list.len(),
        }
    }
}

/// The number of the last key that is equal, for each.
pub fn numbers<K: Hash + Eq>(
    keys: impl Iterator<Item = K>,
    found: impl Iterator<Item = K>,
) -> Vec<Option<usize>> {
    let table: HashMap<K, usize> = keys.enumerate().map(|(i, k)| (k, i)).collect();
    found.map(|k| table.get(&k).copied()).collect()
}

/// Numbers that are equal have the same bits here, and so have all that are none.
fn bits(tensor: &Tensor) -> Vec<u64> {
    let of = |v: f64| match v {
        v if v.is_nan() => u64::MAX,
        0.0 => 0,
        v => v.to_bits(),
    };
    match tensor.data() {
        Data::I64(v) => v.iter().map(|&v| v as u64).collect(),
        _ => tensor.to_f64s().into_iter().map(of).collect(),
    }
}

fn label_encoder<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (keys, values) = (Side::of(c, "keys")?, Side::of(c, "values")?);
    if keys.len() != values.len() {
        return Err(format!("{} keys have {} values", keys.len(), values.len()));
    }
    let default = c.attribute("default_tensor").cloned();
    match (&keys, c.item(0)?) {
        (Side::Texts(keys), Item::Texts(shape, list)) => {
            let (shape, found) = (shape.clone(), numbers(keys.iter(), list.iter()));
            encoded(c, shape, &found, &values, default.as_ref())
        }
        (Side::Numbers(_, keys), Item::Tensor(x)) => {
            let x = x.clone();
            if let Side::Numbers(elem, values) = &values {
                let default = default_number(c, *elem, default.as_ref())?;
                return chosen(c, &x, keys, *elem, values, default).map(|v| vec![v.into()]);
            }
            let seen = c.look(x.value().cast(keys.dtype()))?;
            let found = numbers(bits(keys).into_iter(), bits(&seen).into_iter());
            encoded(c, seen.shape().clone(), &found, &values, default.as_ref())
        }
        _ => Err("its keys are of another type than its operand".into()),
    }
}

fn default_number(c: &Call<'_, '_>, elem: Elem, tensor: Option<&Attribute>) -> Result<f64, String> {
    match tensor {
        Some(Attribute::Tensor(Constant::Numbers(_, t))) if t.elements() == 1 => Ok(t.to_f64s()[0]),
        Some(_) => Err("attribute default_tensor: expected one number".into()),
        None if elem.is_float() => c.float("default_float", -0.0),
        None => Ok(c.int("default_int64", -1)? as f64),
    }
}

/// What is known from texts.
fn encoded<'g>(
    c: &Call<'_, 'g>,
    shape: Shape,
    found: &[Option<usize>],
    values: &Side,
    default: Option<&Attribute>,
) -> Result<Vec<Item<'g>>, String> {
    match values {
        Side::Texts(list) => {
            let default = match default {
                Some(Attribute::Tensor(Constant::Texts(_, list))) if list.len() == 1 => list[0].clone(),
                Some(_) => return Err("attribute default_tensor: expected one text".into()),
                None => c.text("default_string", "_Unused")?.to_string(),
            };
            let value = |i: &Option<usize>| i.and_then(|i| list.get(i)).unwrap_or(&default).as_str();
            Ok(vec![text::chosen(c, shape, found.iter().map(value))?])
        }
        Side::Numbers(elem, tensor) => {
            // The values, and the default after them.
            let default = c.b.fill_as(default_number(c, *elem, default)?, [1], tensor.dtype());
            let table = c.b.concat(&[c.constant(Ok(tensor.clone()))?, default], 0);
            let rows: Vec<i32> = found.iter().map(|i| i.unwrap_or(tensor.elements()) as i32).collect();
            let rows = c.constant(Tensor::new(shape, rows))?;
            Ok(vec![Var::new(*elem, table.take(rows)).into()])
        }
    }
}

/// By comparing with every key.
fn chosen<'g>(
    c: &Call<'_, 'g>,
    x: &Var<'g>,
    keys: &Tensor,
    elem: Elem,
    values: &Tensor,
    default: f64,
) -> Result<Var<'g>, String> {
    const MOST: usize = 1 << 27;
    const MOST_KEYS: usize = 1 << 22;
    let (shape, n) = (x.shape(), keys.elements());
    if n > MOST_KEYS || shape.elements().saturating_mul(n) > MOST {
        return Err(format!("{shape} by {n} keys are too many"));
    }
    let dtype = x.arithmetic();
    let value = x.value().cast(dtype).reshape([shape.elements(), 1]);
    let keys = c.constant(Ok(keys.clone()))?.cast(dtype).reshape([1, n]);
    let none = |v: Value<'g>| v.equal(v).equal(0.0).cast(DType::F32);
    let mut hit = value.equal(keys).cast(DType::F32);
    if dtype.is_float() {
        hit = hit.max(none(value) * none(keys));
    }
    // The last one that is equal; row 0 is the default.
    let number = hit * (c.b.iota(1, [1, n], DType::F32) + 1.0);
    let row = match n {
        0 => c.b.fill(0.0, [shape.elements()]),
        _ => number.reduce_max(&[1]),
    };
    let default = c.b.fill_as(default, [1], values.dtype());
    let table = c.b.concat(&[default, c.constant(Ok(values.clone()))?], 0);
    Ok(Var::new(elem, table.take(row.cast(DType::I32)).reshape(shape)))
}

/// Names for numbers, or numbers for names.
fn category_mapper<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let names = c.texts("cats_strings")?.ok_or("attribute cats_strings: expected texts")?;
    let ints = c.ints("cats_int64s")?.ok_or("attribute cats_int64s: expected whole numbers")?;
    if names.len() != ints.len() {
        return Err(format!("{} names have {} numbers", names.len(), ints.len()));
    }
    if let Item::Texts(shape, list) = c.item(0)? {
        let found = numbers(names.iter(), list.iter());
        let tensor = Tensor::new([ints.len()], ints).map_err(|e| e.to_string())?;
        return encoded(c, shape.clone(), &found, &Side::Numbers(Elem::Int64, tensor), None);
    }
    let shape = c.var(0)?.shape();
    let found = numbers(ints.into_iter(), c.known_ints(0)?.into_iter());
    encoded(c, shape, &found, &Side::Texts(names), None)
}
