//! What TransformerEncoder and TransformerDecoder share: parts around which their input is added.

use brisk_graph::Value;

use super::multi_head_attention::check_dropout;
use super::recurrent::sequences;
use super::{Dense, Dropout, Layer, LayerNormalization, MultiHeadAttention, check_sizes, sample};
use crate::{Activation, Context, Initializer, Result};

/// Vectors `[n, length, features]` through a part and back: `norm(x + part(x))`, or `x + part(norm(x))` with
/// `normalize_first`.
pub(super) struct Parts<'a> {
    pub intermediate_dim: usize,
    pub num_heads: usize,
    pub dropout: f64,
    pub activation: Activation,
    pub layer_norm_epsilon: f64,
    pub kernel_initializer: &'a Initializer,
    pub bias_initializer: &'a Initializer,
    pub normalize_first: bool,
    pub rope_max_wavelength: Option<f64>,
}

pub(super) fn relu() -> Activation {
    Activation::Relu
}

pub(super) fn epsilon() -> f64 {
    1e-5
}

impl Parts<'_> {
    /// An error unless the heads can share the features of `x`.
    pub fn check(&self, cx: &Context<'_>, x: Value<'_>) -> Result<()> {
        check_sizes(cx, &[("intermediate_dim", self.intermediate_dim), ("num_heads", self.num_heads)])?;
        check_dropout(cx, self.dropout)?;
        let [_, _, d] = sequences(cx, x)?;
        match d.is_multiple_of(self.num_heads) {
            true => Ok(()),
            false => Err(cx.error(format!(
                "expected features that {} heads can share, found {}; change num_heads, or put Dense before it",
                self.num_heads,
                sample(x)
            ))),
        }
    }

    /// Attention of `x` to itself, in the scope `self_attention`.
    pub fn attend_self<'g>(&self, cx: &mut Context<'g>, x: Value<'g>, causal: bool) -> Result<Value<'g>> {
        let layer = self.attention(x).use_causal_mask(causal).rope_max_wavelength(self.rope_max_wavelength);
        self.around(cx, "self_attention", x, |cx, x| layer.forward(cx, &[x]))
    }

    /// Attention of `x` to a memory, in the scope `cross_attention`.
    pub fn attend_to<'g>(&self, cx: &mut Context<'g>, x: Value<'g>, memory: Value<'g>) -> Result<Value<'g>> {
        let layer = self.attention(x);
        self.around(cx, "cross_attention", x, |cx, x| layer.forward(cx, &[x, memory]))
    }

    /// Two products with an activation between them, in the scope `feed_forward`.
    pub fn feed_forward<'g>(&self, cx: &mut Context<'g>, x: Value<'g>) -> Result<Value<'g>> {
        let (inner, outer) =
            (self.dense(self.intermediate_dim).activation(self.activation), self.dense(x.last()));
        self.around(cx, "feed_forward", x, |cx, x| {
            let y = cx.layer("inner", &inner, &[x])?;
            cx.layer("outer", &outer, &[y])
        })
    }

    fn around<'g>(
        &self,
        cx: &mut Context<'g>,
        scope: &str,
        x: Value<'g>,
        part: impl FnOnce(&mut Context<'g>, Value<'g>) -> Result<Value<'g>>,
    ) -> Result<Value<'g>> {
        let norm = LayerNormalization::new().epsilon(self.layer_norm_epsilon);
        cx.scope(scope, |cx| {
            let inside = if self.normalize_first { cx.layer("norm", &norm, &[x])? } else { x };
            let y = part(cx, inside)?;
            let y = x + cx.layer("dropout", &Dropout::new(self.dropout), &[y])?;
            let y = cx.hand_on(x, y);
            if self.normalize_first { Ok(y) } else { cx.layer("norm", &norm, &[y]) }
        })
    }

    fn attention(&self, x: Value<'_>) -> MultiHeadAttention {
        MultiHeadAttention::new(self.num_heads, x.last() / self.num_heads)
            .dropout(self.dropout)
            .kernel_initializer(self.kernel_initializer.clone())
            .bias_initializer(self.bias_initializer.clone())
    }

    fn dense(&self, units: usize) -> Dense {
        Dense::new(units)
            .kernel_initializer(self.kernel_initializer.clone())
            .bias_initializer(self.bias_initializer.clone())
    }
}
