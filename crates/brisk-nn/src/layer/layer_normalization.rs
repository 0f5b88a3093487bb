//! LayerNormalization: each row gets mean 0 and variance 1.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::batch_normalization::{channels, default_epsilon, ones};
use super::conv2d::{yes, zeros};
use crate::{Context, Initializer, Result};

/// `y = (x - mean) / sqrt(variance + epsilon) gamma + beta` over the last axis (Ba and others, arXiv 1607.06450). The shape
/// stays.
///
/// ```
/// use brisk_nn::{LayerNormalization, Sequential};
/// let model = Sequential::new([10, 64]).add(LayerNormalization::new().epsilon(1e-6)).build()?;
/// assert_eq!(model.output_shape().dims(), [10, 64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerNormalization {
    /// Keeps the division sound.
    #[serde(default = "default_epsilon")]
    pub epsilon: f64,
    /// Whether beta is added.
    #[serde(default = "yes")]
    pub center: bool,
    /// Whether it is multiplied with gamma.
    #[serde(default = "yes")]
    pub scale: bool,
    /// How gamma starts.
    #[serde(default = "ones")]
    pub gamma_initializer: Initializer,
    /// How beta starts.
    #[serde(default = "zeros")]
    pub beta_initializer: Initializer,
}

impl Default for LayerNormalization {
    fn default() -> LayerNormalization {
        LayerNormalization {
            epsilon: default_epsilon(),
            center: true,
            scale: true,
            gamma_initializer: ones(),
            beta_initializer: zeros(),
        }
    }
}

impl LayerNormalization {
    /// With Keras's defaults.
    pub fn new() -> LayerNormalization {
        LayerNormalization::default()
    }

    super::setters! {
        /// Keeps the division sound.
        epsilon: f64;
        /// Whether beta is added.
        center: bool;
        /// Whether it is multiplied with gamma.
        scale: bool;
        /// How gamma starts.
        gamma_initializer: Initializer;
        /// How beta starts.
        beta_initializer: Initializer;
    }
}

impl Layer for LayerNormalization {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let (c, b) = (channels(cx, x, self.epsilon)?, cx.builder());
        let gamma = if self.scale { cx.param("gamma", [c], &self.gamma_initializer)? } else { b.fill(1.0, [c]) };
        let beta = if self.center { cx.param("beta", [c], &self.beta_initializer)? } else { b.fill(0.0, [c]) };
        Ok(cx.hand_on(x, op::layer_norm(x, gamma, beta, self.epsilon)))
    }
}
