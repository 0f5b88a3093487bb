//! MultiHeadAttention: every step looks at the steps of a sequence, with several heads.

use brisk_graph::op::{self, AttentionSpec};
use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::{glorot, yes, zeros};
use super::recurrent::sequences;
use super::rotary_embedding::{check_wavelength, rotate};
use super::{Dense, Layer, check_sizes};
use crate::{Context, Initializer, Result};

/// `y = concat_h(softmax(q_h k_h^T / sqrt(key_dim)) v_h) output`, with `q`, `k` and `v` the query, key and value times their kernels
/// (Vaswani and others, 2017), cut into heads. With fewer `num_kv_heads`, several heads of queries share one of keys and values
/// (Ainslie and others, 2023).
///
/// Inputs: query `[n, t, d]`, value `[n, s, e]`, key `[n, s, f]`; without a key the value is the key, and without a value the query
/// is both (self attention). The result is `[n, t, d]`. Steps that the mask of the value, or of the key, leaves out are seen by
/// none; a step that sees nothing gets the bias of the output. The mask of the query is handed on.
///
/// Parameters: `query.{kernel,bias}` `[d, num_heads key_dim]`, `key` `[f, num_kv_heads key_dim]`, `value`
/// `[e, num_kv_heads value_dim]`, `output` `[num_heads value_dim, d]`. They are Keras's (`[d, num_heads, key_dim]`, ...,
/// `[num_heads, value_dim, d]`; biases without the heads' axis too) with the axes of heads and size made one, number for number; the
/// initializers count the fans of the flat kernels.
///
/// ```
/// use brisk_nn::{Dense, Embedding, GlobalAveragePooling1D, MultiHeadAttention, Sequential};
/// let model = Sequential::new([80])
///     .add(Embedding::new(20_000, 128).mask_zero(true))
///     .add(MultiHeadAttention::new(4, 32))
///     .add(GlobalAveragePooling1D {})
///     .add(Dense::new(1))
///     .build()?;
/// assert_eq!(model.layers()[1].output, [Some(80), Some(128)]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MultiHeadAttention {
    /// Heads of queries.
    pub num_heads: usize,
    /// Size of a head of queries and keys.
    pub key_dim: usize,
    /// Size of a head of values; without it `key_dim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_dim: Option<usize>,
    /// Heads of keys and values, which divide `num_heads`; without it `num_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_kv_heads: Option<usize>,
    /// Share of attention weights that training drops.
    #[serde(default)]
    pub dropout: f64,
    /// Whether biases are added.
    #[serde(default = "yes")]
    pub use_bias: bool,
    /// Whether a step sees itself and the steps before it alone.
    #[serde(default)]
    pub use_causal_mask: bool,
    /// Turns queries and keys by their places, as [`RotaryEmbedding`](super::RotaryEmbedding) of this `max_wavelength` does; without it
    /// they know no places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_max_wavelength: Option<f64>,
    /// How the kernels start.
    #[serde(default = "glorot")]
    pub kernel_initializer: Initializer,
    /// How the biases start.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

impl MultiHeadAttention {
    /// With Keras's defaults.
    pub fn new(num_heads: usize, key_dim: usize) -> MultiHeadAttention {
        MultiHeadAttention {
            num_heads,
            key_dim,
            value_dim: None,
            num_kv_heads: None,
            dropout: 0.0,
            use_bias: true,
            use_causal_mask: false,
            rope_max_wavelength: None,
            kernel_initializer: glorot(),
            bias_initializer: zeros(),
        }
    }

    super::setters! {
        /// Size of a head of values.
        value_dim: Option<usize>;
        /// Heads of keys and values, which divide `num_heads`.
        num_kv_heads: Option<usize>;
        /// Share of attention weights that training drops.
        dropout: f64;
        /// Whether biases are added.
        use_bias: bool;
        /// Whether a step sees itself and the steps before it alone.
        use_causal_mask: bool;
        /// Turns queries and keys by their places, with this `max_wavelength`.
        rope_max_wavelength: Option<f64>;
        /// How the kernels start.
        kernel_initializer: Initializer;
        /// How the biases start.
        bias_initializer: Initializer;
    }

    fn check(&self, cx: &Context<'_>, kv_heads: usize, value_dim: usize) -> Result<()> {
        check_sizes(
            cx,
            &[
                ("num_heads", self.num_heads),
                ("num_kv_heads", kv_heads),
                ("key_dim", self.key_dim),
                ("value_dim", value_dim),
                ("num_heads * key_dim", self.num_heads.saturating_mul(self.key_dim)),
                ("num_heads * value_dim", self.num_heads.saturating_mul(value_dim)),
            ],
        )?;
        if !self.num_heads.is_multiple_of(kv_heads) {
            let message = format!("expected num_kv_heads that divides the {} heads, found {kv_heads}", self.num_heads);
            return Err(cx.error(message));
        }
        check_dropout(cx, self.dropout)
    }

    /// Kernel and bias, as a layer.
    fn dense(&self, units: usize) -> Dense {
        Dense::new(units)
            .use_bias(self.use_bias)
            .kernel_initializer(self.kernel_initializer.clone())
            .bias_initializer(self.bias_initializer.clone())
    }
}

impl Layer for MultiHeadAttention {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let (query, value, key) = match *inputs {
            [query] => (query, query, query),
            [query, value] => (query, value, value),
            [query, value, key] => (query, value, key),
            _ => {
                let message = format!("takes a query, and maybe a value and a key; found {} inputs", inputs.len());
                return Err(cx.error(message));
            }
        };
        let kv_heads = self.num_kv_heads.unwrap_or(self.num_heads);
        let value_dim = self.value_dim.unwrap_or(self.key_dim);
        self.check(cx, kv_heads, value_dim)?;
        let ([n, t, d], [_, s, _]) = (sequences(cx, query)?, sequences(cx, value)?);
        sequences(cx, key)?;
        let steps = |x: Value<'g>| [x.dim(0), x.dim(1)];
        if steps(value) != [n, s] || steps(key) != [n, s] {
            return Err(cx.error(format!(
                "expected as many values and keys as one another, and as many samples as queries; found queries {}, values {} \
                 and keys {}",
                query.shape(),
                value.shape(),
                key.shape()
            )));
        }
        let mut q = cx.layer("query", &self.dense(self.num_heads * self.key_dim), &[query])?;
        let mut k = cx.layer("key", &self.dense(kv_heads * self.key_dim), &[key])?;
        let v = cx.layer("value", &self.dense(kv_heads * value_dim), &[value])?;
        if let Some(wavelength) = self.rope_max_wavelength {
            check_wavelength(cx, wavelength)?;
            q = rotate(cx, q, self.num_heads, wavelength)?;
            k = rotate(cx, k, kv_heads, wavelength)?;
        }
        let rows = |x: Value<'g>| x.reshape([x.dim(0) * x.dim(1), x.last()]);
        let segments = [segments(cx, n, t)?, segments(cx, n, s)?];
        let seen = [value, key].into_iter().filter_map(|x| cx.mask(x));
        let both = |a: Value<'g>, b: Value<'g>| if a.id() == b.id() { a } else { a.select(b, a) };
        let mask = seen.reduce(both).map(|m| m.reshape([n * s]));
        let spec = AttentionSpec {
            kv_heads,
            causal: self.use_causal_mask,
            dropout: self.dropout,
            ..AttentionSpec::new(self.num_heads)
        };
        let y = op::attention(rows(q), rows(k), rows(v), segments, mask, cx.key(), spec);
        let y = cx.layer("output", &self.dense(d), &[y.reshape([n, t, self.num_heads * value_dim])])?;
        Ok(cx.hand_on(query, y))
    }
}

/// The rows of each of `n` sequences of `length` steps, one after the other: i32 `[n, 2]` (first row, rows).
fn segments<'g>(cx: &Context<'g>, n: usize, length: usize) -> Result<Value<'g>> {
    let rows = i32::try_from(n.saturating_mul(length));
    let (Ok(_), Ok(length)) = (rows, i32::try_from(length)) else {
        let message = format!("{n} sequences of {length} steps are more than it can number; use smaller batches");
        return Err(cx.error(message));
    };
    cx.computed([n, 2], || (0..n as i32).flat_map(|i| [i * length, length]).collect::<Vec<_>>())
}

/// An error unless a share can be dropped.
pub(super) fn check_dropout(cx: &Context<'_>, rate: f64) -> Result<()> {
    match (0.0..1.0).contains(&rate) {
        true => Ok(()),
        false => Err(cx.error(format!("expected dropout from 0 to below 1, found {rate}"))),
    }
}
