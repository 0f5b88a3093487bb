//! TransformerDecoder: every step looks at the steps before it, and at another sequence.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::conv2d::{glorot, zeros};
use super::transformer::{Parts, epsilon, relu};
use crate::{Activation, Context, Initializer, Result};

/// Causal self attention, attention to a second sequence if there is one, then a feed-forward part, each with its input added and
/// a layer normalization (Vaswani and others, 2017).
///
/// Inputs: `[n, length, features]`, and maybe the encoder's result `[n, other length, other features]`; the result has the shape of
/// the first. `num_heads` divides the features. Steps that either mask leaves out are seen by none, and the first's mask is handed on.
/// Parameters: `{self_attention,cross_attention}.{query,key,value,output}.{kernel,bias}` as in
/// [`MultiHeadAttention`](super::MultiHeadAttention), `feed_forward.{inner,outer}.{kernel,bias}`, and
/// `{self_attention,cross_attention,feed_forward}.norm.{gamma,beta}`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role};
/// use brisk_nn::{Context, TransformerDecoder};
/// let b = Builder::new();
/// let [target, memory] = [20, 30].map(|t| b.input(&format!("of {t}"), Role::Batch, [8, t, 64], DType::F32));
/// let mut cx = Context::new(&b);
/// let y = cx.layer("decoder", &TransformerDecoder::new(256, 4), &[target, memory])?;
/// assert_eq!(y.shape().dims(), [8, 20, 64]);
/// cx.layer("language_model", &TransformerDecoder::new(256, 4).rope_max_wavelength(Some(1e4)), &[target])?;
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformerDecoder {
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

impl TransformerDecoder {
    /// With KerasHub's defaults.
    pub fn new(intermediate_dim: usize, num_heads: usize) -> TransformerDecoder {
        TransformerDecoder {
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

impl Layer for TransformerDecoder {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let (x, memory) = match *inputs {
            [x] => (x, None),
            [x, memory] => (x, Some(memory)),
            _ => {
                let message = format!("takes a sequence, and maybe an encoder's; found {} inputs", inputs.len());
                return Err(cx.error(message));
            }
        };
        let parts = self.parts();
        parts.check(cx, x)?;
        cx.checkpoint(|cx| {
            let mut x = parts.attend_self(cx, x, true)?;
            if let Some(memory) = memory {
                x = parts.attend_to(cx, x, memory)?;
            }
            parts.feed_forward(cx, x)
        })
    }
}
