//! Values from nothing, and of shapes.

use brisk_graph::{DType, Shape, Tensor, Value};

use super::elementwise::TURN;
use super::{Operator, many, one};
use crate::call::{Call, sizes};
use crate::{Attribute, Constant, Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("Bernoulli", bernoulli),
    many("Constant", constant),
    one("ConstantOfShape", constant_of_shape),
    many("Dropout", dropout),
    one("EyeLike", eye_like),
    many("Identity", |c| Ok(vec![c.item(0)?.clone()])),
    one("Multinomial", multinomial),
    one("RandomNormal", |c| random(c, false, true)),
    one("RandomNormalLike", |c| random(c, true, true)),
    one("RandomUniform", |c| random(c, false, false)),
    one("RandomUniformLike", |c| random(c, true, false)),
    one("Range", range),
    one("Shape", shape),
    one("Size", |c| {
        let elements = shape_of(c.item(0)?)?.elements();
        c.make_ints([0; 0], vec![elements as i64])
    }),
];

fn shape_of(item: &Item<'_>) -> Result<Shape, String> {
    match item {
        Item::Tensor(var) => Ok(var.shape()),
        Item::Texts(shape, _) => Ok(shape.clone()),
        _ => Err("expected a tensor".into()),
    }
}

fn shape<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let shape = shape_of(c.item(0)?)?;
    let rank = shape.rank() as i64;
    let place = |v: i64| if v < 0 { (v + rank).max(0) } else { v.min(rank) } as usize;
    let (start, end) = (place(c.int("start", 0)?), place(c.int("end", rank)?));
    let dims: Vec<i64> = shape.get(start..end).unwrap_or(&[]).iter().map(|&d| d as i64).collect();
    c.make_ints([dims.len()], dims)
}

fn constant<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let [name] = c.node.attributes.keys().collect::<Vec<_>>()[..] else {
        return Err(format!("expected one attribute, found {}", c.node.attributes.len()));
    };
    let value = c.attribute(name).ok_or_else(|| format!("attribute {name} is left out"))?;
    let floats = |shape: Shape, v: &[f32]| {
        Ok::<_, String>(Var::new(Elem::Float, c.make_floats(shape, v.to_vec())?).into())
    };
    let ints = |shape: Shape, v: &[i64]| c.make_ints(shape, v.to_vec()).map(Item::from);
    Ok(vec![match value {
        // Its elements are shared.
        Attribute::Tensor(constant) => constant.item(c.b),
        Attribute::Int(v) => ints(Shape::scalar(), &[*v])?,
        Attribute::Ints(v) => ints([v.len()].into(), v)?,
        Attribute::Float(v) => floats(Shape::scalar(), &[*v])?,
        Attribute::Floats(v) => floats([v.len()].into(), v)?,
        Attribute::String(v) => c.make_texts(Shape::scalar(), vec![v.clone()])?,
        Attribute::Strings(v) => c.make_texts([v.len()], v.clone())?,
        _ => return Err("its attribute is no value".into()),
    }])
}

fn constant_of_shape<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let dims = sizes(c.known_ints(0)?)?;
    let (elem, value) = match c.attribute("value") {
        Some(Attribute::Tensor(Constant::Numbers(elem, t))) if t.elements() == 1 => (*elem, t.to_f64s()[0]),
        None => (Elem::Float, 0.0),
        _ => return Err("attribute value: expected a tensor of one number".into()),
    };
    Ok(Var::new(elem, c.b.fill_as(value, dims, elem.dtype())))
}

fn range<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let elem = c.var(0)?.elem;
    if elem.is_float() {
        let mut ends = [0.0; 3];
        for (i, end) in ends.iter_mut().enumerate() {
            *end = c.known_floats(i)?.first().copied().ok_or("expected numbers")?;
        }
        let [start, limit, delta] = ends;
        let n = count(c, (limit - start) / delta)?;
        let values: Vec<f64> = (0..n).map(|i| start + i as f64 * delta).collect();
        return Ok(Var::new(elem, c.constant(Tensor::from_f64s(elem.dtype(), [n], &values))?));
    }
    let mut ends = [0i64; 3];
    for (i, end) in ends.iter_mut().enumerate() {
        *end = c.known_ints(i)?.first().copied().ok_or("expected numbers")?;
    }
    let [start, limit, delta] = ends;
    let n = count(c, (limit as f64 - start as f64) / delta as f64)?;
    let values: Vec<i64> = (0..n).map(|i| start.wrapping_add((i as i64).wrapping_mul(delta))).collect();
    Ok(c.make_ints([n], values)?.of(elem))
}

/// How many steps there are.
fn count(c: &Call<'_, '_>, steps: f64) -> Result<usize, String> {
    if steps.is_nan() {
        return Err("its ends and its step do not say how many numbers there are".into());
    }
    let n = steps.ceil().max(0.0) as usize;
    c.room_for(n)?;
    Ok(n)
}

fn eye_like<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let elem = c.elem("dtype", x.elem)?;
    let k = c.int("k", 0)? as f64;
    let shape = x.shape();
    if shape.rank() != 2 {
        return Err(format!("expected a matrix, found {shape}"));
    }
    let (i, j) = (c.b.iota(0, &shape, DType::I64), c.b.iota(1, &shape, DType::I64));
    Ok(Var::new(elem, (i + k).equal(j).cast(elem.dtype())))
}

fn random<'g>(c: &mut Call<'_, 'g>, like: bool, normal: bool) -> Result<Var<'g>, String> {
    let (shape, elem) = match like {
        true => {
            let x = c.var(0)?;
            (x.shape(), if x.elem.is_float() { x.elem } else { Elem::Float })
        }
        false => (c.sizes("shape")?.ok_or("attribute shape: expected sizes")?.into(), Elem::Float),
    };
    c.room_for(shape.elements())?;
    let elem = c.elem("dtype", elem)?;
    let value = match normal {
        false => {
            let (low, high) = (c.float("low", 0.0)?, c.float("high", 1.0)?);
            c.host.random(&shape)? * (high - low) + low
        }
        true => {
            let (mean, scale) = (c.float("mean", 0.0)?, c.float("scale", 1.0)?);
            normal_numbers(c, &shape)? * scale + mean
        }
    };
    Ok(Var::new(elem, value.cast(elem.dtype())))
}

/// By Box and Muller.
fn normal_numbers<'g>(c: &mut Call<'_, 'g>, shape: &Shape) -> Result<Value<'g>, String> {
    let (u, v) = (c.host.random(shape)?, c.host.random(shape)?);
    Ok(((1.0 - u).log() * -2.0).sqrt() * (v * TURN).cos())
}

fn bernoulli<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let elem = c.elem("dtype", x.elem)?;
    let u = c.host.random(&x.shape())?;
    Ok(Var::new(elem, u.less(x.value().cast(DType::F32)).cast(elem.dtype())))
}

/// Draws classes by Gumbel's trick: the largest of log-probabilities with noise.
fn multinomial<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let elem = c.elem("dtype", Elem::Int32)?;
    let samples = usize::try_from(c.int("sample_size", 1)?).map_err(|_| "sample_size must be at least 0")?;
    let [n, classes] = x.shape()[..] else {
        return Err(format!("expected [n, classes], found {}", x.shape()));
    };
    let shape = Shape::from([n, samples, classes]);
    c.room_for(shape.elements())?;
    let u = c.host.random(&shape)?;
    let noise = -(-((1.0 - u).log())).log();
    let scores = x.value().cast(DType::F32).reshape([n, 1, classes]).broadcast_to(&shape) + noise;
    Ok(Var::new(elem, scores.argmax(2).cast(elem.dtype())))
}

fn dropout<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let asked = match c.has(2) {
        true => c.known_ints(2)?.first() == Some(&1),
        false => c.host.training() && c.opset < 12,
    };
    let ratio = match c.has(1) {
        true => c.known_floats(1)?.first().copied().unwrap_or(0.5),
        false => c.float("ratio", 0.5)?,
    };
    let training = asked || c.host.training();
    let all = |c: &Call<'_, 'g>| c.b.fill_as(1.0, x.shape(), DType::U8);
    let mask_elem = if c.opset < 10 { x.elem } else { Elem::Bool };
    if !training || ratio == 0.0 {
        let mask = Var::new(mask_elem, all(c).cast(mask_elem.dtype()));
        return Ok(vec![x.clone().into(), mask.into()]);
    }
    let keep = c.host.random(&x.shape())?.less(ratio).equal(0.0);
    let scaled = x.floats() * keep.cast(x.arithmetic()) * (1.0 / (1.0 - ratio));
    Ok(vec![Var::new(x.elem, scaled).into(), Var::new(mask_elem, keep.cast(mask_elem.dtype())).into()])
}
