//! TransformerEncoder: every step looks at all steps.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::conv2d::{glorot, zeros};
use super::transformer::{Parts, epsilon, relu};
use crate::{Activation, Context, Initializer, Result};

/// Self attention, then a feed-forward part, each with its input added and a layer normalization (Vaswani and others, 2017).
///
/// `[n, length, features]` to the same; `num_heads` divides the features. Steps that are masked are seen by none, and the mask is
/// handed on. Parameters: `self_attention.{query,key,value,output}.{kernel,bias}` as in
/// [`MultiHeadAttention`](super::MultiHeadAttention), `feed_forward.{inner,outer}.{kernel,bias}`, and
/// `{self_attention,feed_forward}.norm.{gamma,beta}`.
///
/// ```
/// use brisk_nn::{Dense, Embedding, GlobalAveragePooling1D, Sequential, TransformerEncoder};
/// let model = Sequential::new([80])
///     .add(Embedding::new(20_000, 64).mask_zero(true))
///     .add(TransformerEncoder::new(256, 4).dropout(0.1).normalize_first(true))
///     .add(GlobalAveragePooling1D {})
///     .add(Dense::new(1))
///     .build()?;
/// assert_eq!(model.layers()[1].output, [Some(80), Some(64)]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformerEncoder {
    /// Size of the feed-forward part's inner vectors.
    pub intermediate_dim: usize,
    /// Attention heads; they share the features.
    pub num_heads: usize,
    /// Share of attention weights, and of what each part yields, that training drops.
    #[serde(default)]
    pub dropout: f64,
    /// Between the two products of the feed-forward part.
    #[serde(default = "relu")]
    pub activation: Activation,
    /// Added to variances.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    /// How the kernels start.
    #[serde(default = "glorot")]
    pub kernel_initializer: Initializer,
    /// How the biases start.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
    /// Whether each part's input is normalized (pre-norm; Xiong and others, 2020), rather than its sum with the result (post-norm).
    #[serde(default)]
    pub normalize_first: bool,
    /// Turns queries and keys of the self attention by their places, as [`RotaryEmbedding`](super::RotaryEmbedding) of this
    /// `max_wavelength` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_max_wavelength: Option<f64>,
}

impl TransformerEncoder {
    /// With KerasHub's defaults.
    pub fn new(intermediate_dim: usize, num_heads: usize) -> TransformerEncoder {
        TransformerEncoder {
            intermediate_dim,
            num_heads,
            dropout: 0.0,
            activation: relu(),
            layer_norm_epsilon: epsilon(),
            kernel_initializer: glorot(),
            bias_initializer: zeros(),
            normalize_first: false,
            rope_max_wavelength: None,
        }
    }

    super::setters! {
        /// Share of attention weights, and of what each part yields, that training drops.
        dropout: f64;
        /// Between the two products of the feed-forward part.
        activation: Activation;
        /// Added to variances.
        layer_norm_epsilon: f64;
        /// How the kernels start.
        kernel_initializer: Initializer;
        /// How the biases start.
        bias_initializer: Initializer;
        /// Whether each part's input is normalized, rather than its sum with the result.
        normalize_first: bool;
        /// Turns queries and keys of the self attention by their places, with this `max_wavelength`.
        rope_max_wavelength: Option<f64>;
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            intermediate_dim: self.intermediate_dim,
            num_heads: self.num_heads,
            dropout: self.dropout,
            activation: self.activation,
            layer_norm_epsilon: self.layer_norm_epsilon,
            kernel_initializer: &self.kernel_initializer,
            bias_initializer: &self.bias_initializer,
            normalize_first: self.normalize_first,
            rope_max_wavelength: self.rope_max_wavelength,
        }
    }
}

impl Layer for TransformerEncoder {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let (x, parts) = (cx.one(inputs)?, self.parts());
        parts.check(cx, x)?;
        cx.checkpoint(|cx| {
            let x = parts.attend_self(cx, x, false)?;
            parts.feed_forward(cx, x)
        })
    }
}
