//! Layers that carry a state from token to token instead of all tokens before.

use brisk_graph::{DType, Value, op};

use super::attention::{by_head, joined};
use super::conv::{Windows, convolve_with};
use super::{Operator, many};
use crate::call::Call;
use crate::{Item, Var};

pub(super) const OPS: &[Operator] =
    &[many("CausalConvWithState", causal_conv), many("LinearAttention", linear_attention)];

/// How many tokens are unrolled.
const MOST_STEPS: usize = 1 << 10;

/// Each channel convolved with its own kernel, over what was before and is now.
fn causal_conv<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (x, kernel, bias) = (c.var(0)?, c.var(1)?, c.optional(2)?);
    let dtype = x.floats().dtype();
    let ([n, channels, length], [filters, 1, size]) = (&x.shape()[..], &kernel.shape()[..]) else {
        return Err(format!(
            "expected [n, channels, length] and [channels, 1, size], found {} and {}",
            x.shape(),
            kernel.shape()
        ));
    };
    let (n, channels, length, size) = (*n, *channels, *length, *size);
    if *filters != channels || size == 0 {
        return Err(format!("a kernel {} does not fit {}", kernel.shape(), x.shape()));
    }
    let before = match c.optional(3)? {
        Some(past) if past.shape()[..] == [n, channels, size - 1] => past.floats().cast(dtype),
        Some(past) => {
            return Err(format!("expected a state [{n}, {channels}, {}], found {}", size - 1, past.shape()));
        }
        None => c.b.fill_as(0.0, [n, channels, size - 1], dtype),
    };
    let all = if size == 1 { x.floats() } else { c.b.concat(&[before, x.floats()], 2) };
    let windows = Windows { size: vec![size], stride: vec![1], dilation: vec![1], pads: vec![[0, 0]] };
    let mut y = convolve_with(c, &Var::new(x.elem, all), &kernel, &windows, channels, dtype)?.value();
    if let Some(bias) = bias {
        if bias.shape().elements() != channels {
            return Err(format!("expected {channels} biases, found {}", bias.shape()));
        }
        y = y + bias.floats().cast(dtype).reshape([channels, 1]);
    }
    let y = match c.text("activation", "none")? {
        "none" => y,
        "silu" | "swish" => op::silu(y),
        other => return Err(format!("attribute activation: expected silu, swish or none, found {other:?}")),
    };
    let state = all.slice(2, length, length + size - 1);
    Ok(vec![Var::new(x.elem, y).into(), Var::new(x.elem, state).into()])
}

/// `S = decay S + k (beta (v - decay S^T k))^T`, and `S^T q` for each token; without a decay it is 1, and without beta `v` is added as it is.
fn linear_attention<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (query, key, value) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let rule = c.text("update_rule", "gated_delta")?;
    let (gated, delta) = match rule {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(format!("attribute update_rule: found {other:?}")),
    };
    if (gated, delta) != (c.has(4), c.has(5)) {
        return Err(format!("the update rule {rule:?} and its operands decay and beta do not fit"));
    }
    let (heads, groups) = (c.int("q_num_heads", 0)?, c.int("kv_num_heads", 0)?);
    let packed = |x: &Var<'g>, heads: i64| match x.rank() {
        3 => by_head(x, heads).map(|v| v.cast(DType::F32)),
        _ => Err(format!("expected [n, length, heads * size], found {}", x.shape())),
    };
    let (q, k, v) = (packed(&query, heads)?, packed(&key, groups)?, packed(&value, groups)?);
    let ([n, heads, length, size], [kn, groups, klength, ksize], [vn, _, vlength, width]) =
        (&q.shape()[..], &k.shape()[..], &v.shape()[..])
    else {
        return Err("expected four axes".into());
    };
    let fits = n == kn && n == vn && length == klength && length == vlength && size == ksize;
    if !fits || !heads.is_multiple_of(*groups) {
        return Err(format!(
            "queries {}, keys {} and values {} do not fit",
            query.shape(),
            key.shape(),
            value.shape()
        ));
    }
    let (n, heads, groups, length, size, width) = (*n, *heads, *groups, *length, *size, *width);
    if length > MOST_STEPS {
        return Err(format!("expected at most {MOST_STEPS} tokens, found {length}"));
    }
    let gate = |i: usize, by_group: &[usize]| -> Result<Option<Value<'g>>, String> {
        let Some(gate) = c.optional(i)? else { return Ok(None) };
        let shape = gate.shape();
        let [gn, glength, columns] = shape[..] else { return Err(format!("operand {i}: found {shape}")) };
        match gn == n && glength == length && by_group.contains(&columns) {
            true => packed(&gate, if columns == 1 { 1 } else { groups as i64 }).map(Some),
            false => {
                Err(format!("operand {i}: expected [{n}, {length}, one of {by_group:?}], found {shape}"))
            }
        }
    };
    let decay = gate(4, &[groups, groups * size])?;
    let beta = gate(5, &[groups, 1])?;
    let past = c.optional(3)?;
    let kind = past.as_ref().map_or(query.elem, |p| p.elem);
    let mut state = match past {
        Some(past) if past.shape()[..] == [n, groups, size, width] => past.value().cast(DType::F32),
        Some(past) => {
            return Err(format!("expected a state [{n}, {groups}, {size}, {width}], found {}", past.shape()));
        }
        None => c.b.fill(0.0, [n, groups, size, width]),
    };
    let scale = match c.float("scale", 0.0)? {
        0.0 => 1.0 / (size as f64).sqrt(),
        scale => scale,
    };
    let each = heads / groups;
    // One token: a row for each group.
    let at = |x: Value<'g>, t: usize| x.slice(2, t, t + 1);
    let mut results = Vec::new();
    for t in 0..length {
        let column = at(k, t).transpose(&[0, 1, 3, 2]); // [n, groups, size, 1]
        let mut new = at(v, t); // [n, groups, 1, width]
        if let Some(decay) = decay {
            state = state * at(decay, t).exp().transpose(&[0, 1, 3, 2]);
        }
        if let Some(beta) = beta {
            new = at(beta, t) * (new - at(k, t).matmul(state));
        }
        state = state + column * new;
        let rows = at(q, t).reshape([n, groups, each, size]);
        results.push(rows.matmul(state).reshape([n, heads, 1, width]));
    }
    let y = match results.is_empty() {
        true => c.b.fill(0.0, [n, 0, heads * width]),
        false => joined(c.b.concat(&results, 2) * scale),
    };
    Ok(vec![Var::new(query.elem, y).into(), Var::new(kind, state).into()])
}
