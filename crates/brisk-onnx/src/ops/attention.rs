//! Attention, and what is applied to its operands.

use brisk_graph::prim::{Binary, Prim};
use brisk_graph::{DType, Shape, Value, op};

use super::{Operator, many, one};
use crate::call::Call;
use crate::item::round;
use crate::record::record_inner;
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    many("Attention", attention),
    one("FlexAttention", flex_attention).of("ai.onnx.preview"),
    one("RotaryEmbedding", rotary_embedding),
    one("SwiGLU", swiglu),
];

/// `[n, heads, length, size]`, also of `[n, length, heads * size]`.
pub fn by_head<'g>(x: &Var<'g>, heads: i64) -> Result<Value<'g>, String> {
    match x.shape()[..] {
        [_, _, _, _] => Ok(x.floats()),
        [n, length, width] => {
            let heads = usize::try_from(heads).ok().filter(|&h| h > 0 && width.is_multiple_of(h));
            let heads = heads.ok_or_else(|| format!("{width} columns cannot be divided among the heads"))?;
            Ok(x.floats().reshape([n, length, heads, width / heads]).transpose(&[0, 2, 1, 3]))
        }
        _ => Err(format!(
            "expected [n, heads, length, size] or [n, length, heads * size], found {}",
            x.shape()
        )),
    }
}

/// `[n, length, heads * size]` of `[n, heads, length, size]`.
pub fn joined(x: Value<'_>) -> Value<'_> {
    let shape = x.shape();
    x.transpose(&[0, 2, 1, 3]).reshape([shape[0], shape[2], shape[1] * shape[3]])
}

/// What goes into attention, each `[n, heads, length, size]`.
struct Operands<'g> {
    query: Value<'g>,
    key: Value<'g>,
    value: Value<'g>,
}

impl<'g> Operands<'g> {
    fn new(query: Value<'g>, key: Value<'g>, value: Value<'g>) -> Result<Operands<'g>, String> {
        let (q, k, v) = (query.shape(), key.shape(), value.shape());
        let ([n, heads, _, size], [kn, groups, length, ksize], [vn, vgroups, vlength, _]) =
            (&q[..], &k[..], &v[..])
        else {
            return Err(format!("expected four axes each, found queries {q}, keys {k} and values {v}"));
        };
        let alike = n == kn && n == vn && size == ksize && groups == vgroups && length == vlength;
        match alike && *groups > 0 && heads.is_multiple_of(*groups) {
            true => Ok(Operands { query, key, value }),
            false => Err(format!("queries {q}, keys {k} and values {v} do not fit")),
        }
    }

    /// `scale query key^T`
    fn scores(&self, c: &Call<'_, 'g>) -> Result<Value<'g>, String> {
        let scale = match c.attribute("scale") {
            Some(_) => c.float("scale", 1.0)?,
            None => 1.0 / (self.query.last() as f64).sqrt(),
        };
        Ok(grouped(self.query * scale, self.key, true))
    }
}

/// A product for each head; neighbouring heads of the left share one of the right, so they are rows of one product.
fn grouped<'g>(a: Value<'g>, b: Value<'g>, tb: bool) -> Value<'g> {
    let (shape, groups) = (a.shape(), b.dim(1).max(1));
    let rows = shape[1] / groups * shape[2];
    let parted = a.reshape([shape[0], groups, rows, shape[3]]);
    let product = a.builder().prim(Prim::MatMul { ta: false, tb }, &[parted, b]);
    product.reshape([shape[0], shape[1], shape[2], product.last()])
}

/// In the precision of an element type.
fn in_precision<'g>(value: Value<'g>, elem: Elem) -> Value<'g> {
    match (elem, elem.format()) {
        (Elem::Double, _) => value.cast(DType::F64),
        (_, Some(format)) => round(value.cast(DType::F32), format),
        _ => value.cast(DType::F32),
    }
}

/// The element type that an attribute wants softmax computed in.
fn precision(c: &Call<'_, '_>, default: Elem) -> Result<Elem, String> {
    match c.elem("softmax_precision", default)? {
        e if e.is_float() => Ok(e),
        e => Err(format!("attribute softmax_precision: expected a float type, found {e}")),
    }
}

fn attention<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (query, key, value) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let (elem, kind, flat) = (query.elem, value.elem, query.rank() == 3);
    let (heads, groups) = (c.int("q_num_heads", 0)?, c.int("kv_num_heads", 0)?);
    let dtype = query.floats().dtype();
    let with_past = |new: Value<'g>, past: Option<Var<'g>>| match past {
        Some(past) => c.b.concat(&[past.floats().cast(new.dtype()), new], 2),
        None => new,
    };
    let (past_key, past_value) = (c.optional(4)?, c.optional(5)?);
    if past_key.is_some() != past_value.is_some() {
        return Err("expected past keys and past values, or none of both".into());
    }
    let past = past_key.as_ref().map(|p| p.shape().get(2).copied().unwrap_or(0));
    let key = with_past(by_head(&key, groups)?.cast(dtype), past_key);
    let value = with_past(by_head(&value, groups)?.cast(dtype), past_value);
    let operands = Operands::new(by_head(&query, heads)?, key, value)?;

    let raw = operands.scores(c)?;
    let capped = match c.float("softcap", 0.0)? {
        cap if cap > 0.0 => (raw * (1.0 / cap)).tanh() * cap,
        _ => raw,
    };
    let bias = bias(c, &raw.shape(), past, dtype)?;
    let biased = bias.map_or(capped, |bias| capped + bias);
    let rows = in_precision(biased, precision(c, elem)?);
    let weights = match bias {
        None => op::softmax(rows),
        // A query that no key is for has weights of 0.
        Some(bias) => {
            let last = bias.rank() - 1;
            let alone =
                bias.reduce_max(&[last]).equal(f64::NEG_INFINITY).expand(last).broadcast_to(rows.shape());
            let zero = c.b.fill_as(0.0, rows.shape(), rows.dtype());
            alone.select(zero, op::softmax(alone.select(zero, rows)))
        }
    };
    let weights = weights.cast(dtype);
    let result = grouped(weights, operands.value, false);
    let shown = match c.int("qk_matmul_output_mode", 0)? {
        0 => raw,
        1 => capped,
        2 => biased,
        3 => weights,
        other => return Err(format!("attribute qk_matmul_output_mode: expected 0 to 3, found {other}")),
    };
    let result = if flat { joined(result) } else { result };
    let all = [(elem, result), (elem, operands.key), (kind, operands.value), (elem, shown)];
    Ok(all.into_iter().map(|(elem, value)| Var::new(elem, value).into()).collect())
}

/// What is added to scores `[n, heads, queries, keys]`: minus infinity where a query must not see a key.
fn bias<'g>(
    c: &Call<'_, 'g>,
    scores: &Shape,
    past: Option<usize>,
    dtype: DType,
) -> Result<Option<Value<'g>>, String> {
    let [n, _, queries, keys] = scores[..] else { return Err(format!("scores {scores} have no four axes")) };
    let mut allowed: Vec<Value<'g>> = Vec::new();
    let mut added = None;
    if let Some(mask) = c.optional(3)? {
        let value = whole_mask(&mask, scores)?;
        match mask.elem {
            Elem::Bool => allowed.push(value),
            _ => added = Some(value.cast(dtype)),
        }
    }
    let known = match c.optional(6)? {
        Some(_) if past.is_some() => return Err("a cache comes as past keys or as a whole, not both".into()),
        Some(known) if known.shape().elements() == n => {
            Some(known.value().cast(DType::I64).reshape([n, 1, 1, 1]))
        }
        Some(known) => return Err(format!("expected {n} lengths of keys, found {}", known.shape())),
        None => None,
    };
    let place = c.b.iota(3, [1, 1, 1, keys], DType::I64);
    let row = c.b.iota(2, [1, 1, queries, 1], DType::I64);
    // Where a query stands among the keys.
    let own = match known {
        Some(known) => row + (known - queries as f64),
        None => row + past.unwrap_or(0) as f64,
    };
    let window = |name: &str| -> Result<Option<f64>, String> {
        match c.int(name, -1)? {
            -1 => Ok(None),
            size if size >= 0 => Ok(Some(size.min(1 << 40) as f64)),
            size => Err(format!("attribute {name}: expected at least -1, found {size}")),
        }
    };
    if c.flag("is_causal", false)? {
        allowed.push(place.less_equal(own));
    }
    if let Some(left) = window("left_window_size")? {
        allowed.push(own.less_equal(place + left));
    }
    if let Some(right) = window("right_window_size")? {
        allowed.push(place.less_equal(own + right));
    }
    if let Some(known) = known {
        allowed.push(place.less(known));
    }
    let Some(allowed) = allowed.into_iter().reduce(|a, b| a.binary(Binary::Min, b)) else { return Ok(added) };
    let number = |v: f64| c.b.fill_as(v, [1, 1, 1, 1], dtype);
    let bias = allowed.select(added.unwrap_or_else(|| number(0.0)), number(f64::NEG_INFINITY));
    Ok(Some(bias))
}

/// A mask with four axes and a place for each key; the keys after its end are hidden.
fn whole_mask<'g>(mask: &Var<'g>, scores: &Shape) -> Result<Value<'g>, String> {
    let shape = mask.shape();
    let keys = scores.last();
    let unfit = || format!("a mask {shape} does not fit scores {scores}");
    let value = match mask.elem {
        Elem::Bool => mask.value().cast(DType::U8),
        _ => mask.floats(),
    };
    let mut dims = vec![1; 4usize.checked_sub(shape.rank()).ok_or_else(unfit)?];
    dims.extend_from_slice(&shape);
    let value = value.reshape(&dims[..]);
    let missing = keys.checked_sub(dims[3]).ok_or_else(unfit)?;
    let hidden = if mask.elem == Elem::Bool { 0.0 } else { f64::NEG_INFINITY };
    let value = match missing {
        0 => value,
        _ => value.pad(&[0; 4], &[0, 0, 0, missing], hidden),
    };
    match value.shape().broadcast(scores).as_ref() == Some(scores) {
        true => Ok(value),
        false => Err(unfit()),
    }
}

/// Attention with graphs of the model's own between its steps.
fn flex_attention<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (query, key, value) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let operands = Operands::new(query.floats(), key.floats(), value.floats())?;
    let elem = precision(c, if query.elem == Elem::Double { Elem::Double } else { Elem::Float })?;
    let scores = in_precision(operands.scores(c)?, elem);
    let scores = changed(c, "score_mod", elem, scores)?;
    let weights = changed(c, "prob_mod", elem, op::softmax(scores))?;
    let result = grouped(weights, operands.value.cast(weights.dtype()), false);
    Ok(Var::new(query.elem, result.cast(query.arithmetic())))
}

/// What a graph among the attributes, if there is one, makes of a value; its shape stays.
fn changed<'g>(c: &mut Call<'_, 'g>, name: &str, elem: Elem, value: Value<'g>) -> Result<Value<'g>, String> {
    if c.attribute(name).is_none() {
        return Ok(value);
    }
    let graph = c.graph(name)?;
    let found = record_inner(c, graph, vec![Some(Var::new(elem, value).into())])?;
    match found.into_iter().next() {
        Some(Item::Tensor(var)) if var.shape() == value.shape() => Ok(in_precision(var.value(), elem)),
        Some(Item::Tensor(var)) => {
            Err(format!("attribute {name}: it makes {} of {}", var.shape(), value.shape()))
        }
        _ => Err(format!("attribute {name}: expected a graph that makes a tensor")),
    }
}

/// Turns pairs of columns by angles that follow from the position (Su and others, 2021).
fn rotary_embedding<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, cos, sin) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let interleaved = c.flag("interleaved", false)?;
    let value = by_head(&x, c.int("num_heads", 0)?)?;
    let [n, heads, length, size] = value.shape()[..] else { return Err("expected four axes".into()) };
    let turned = match c.int("rotary_embedding_dim", 0)? {
        0 => size,
        dim => usize::try_from(dim)
            .ok()
            .filter(|&d| d <= size)
            .ok_or_else(|| format!("cannot turn {dim} of {size} columns"))?,
    };
    if !turned.is_multiple_of(2) {
        return Err(format!("expected an even number of columns to turn, found {turned}"));
    }
    let half = turned / 2;
    let positions = c.optional(3)?;
    let table = |cache: &Var<'g>| -> Result<Value<'g>, String> {
        let rows = match &positions {
            Some(positions) => cache.floats().take(positions.indices()),
            None => cache.floats(),
        };
        match rows.shape()[..] == [n, length, half] {
            true => Ok(rows.cast(value.dtype()).reshape([n, 1, length, half])),
            false => Err(format!("expected angles for [{n}, {length}, {half}], found {}", rows.shape())),
        }
    };
    let (cos, sin) = (table(&cos)?, table(&sin)?);
    let columns = value.slice(3, 0, turned);
    let part = |i: usize| match interleaved {
        true => {
            columns.reshape([n, heads, length, half, 2]).slice(4, i, i + 1).reshape([n, heads, length, half])
        }
        false => columns.slice(3, i * half, (i + 1) * half),
    };
    let (a, b) = (part(0), part(1));
    let (real, imaginary) = (a * cos - b * sin, a * sin + b * cos);
    let rotated = match interleaved {
        true => c.b.concat(&[real.expand(4), imaginary.expand(4)], 4).reshape([n, heads, length, turned]),
        false => c.b.concat(&[real, imaginary], 3),
    };
    let result = match turned == size {
        true => rotated,
        false => c.b.concat(&[rotated, value.slice(3, turned, size)], 3),
    };
    Ok(Var::new(x.elem, if x.rank() == 3 { joined(result) } else { result }))
}

fn swiglu<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (gate, x) = (c.var(0)?, c.var(1)?);
    let alpha = c.float("alpha", 1.0)?;
    if gate.shape() != x.shape() {
        return Err(format!("expected operands of one shape, found {} and {}", gate.shape(), x.shape()));
    }
    let value = gate.floats();
    Ok(Var::new(gate.elem, value * op::sigmoid(value * alpha) * x.floats().cast(value.dtype())))
}
