//! RMSNormalization: each row gets a mean square of 1.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::batch_normalization::{channels, ones};
use crate::{Context, Initializer, Result};

/// `y = x / sqrt(mean(x²) + epsilon) scale` over the last axis (Zhang and Sennrich, arXiv 1910.07467). The shape stays; a mask is
/// handed on.
///
/// ```
/// use brisk_nn::{RMSNormalization, Sequential};
/// let model = Sequential::new([10, 64]).add(RMSNormalization::new()).build()?;
/// assert_eq!(model.output_shape().dims(), [10, 64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RMSNormalization {
    /// Keeps the division sound.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// How the scale starts.
    #[serde(default = "ones")]
    pub scale_initializer: Initializer,
}

fn epsilon() -> f64 {
    1e-6
}

impl Default for RMSNormalization {
    fn default() -> RMSNormalization {
        RMSNormalization { epsilon: epsilon(), scale_initializer: ones() }
    }
}

impl RMSNormalization {
    /// With Keras's defaults.
    pub fn new() -> RMSNormalization {
        RMSNormalization::default()
    }

    super::setters! {
        /// Keeps the division sound.
        epsilon: f64;
        /// How the scale starts.
        scale_initializer: Initializer;
    }
}

impl Layer for RMSNormalization {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let c = channels(cx, x, self.epsilon)?;
        let scale = cx.param("scale", [c], &self.scale_initializer)?;
        let last = x.rank() - 1;
        let rms = (x.square().mean(&[last]) + self.epsilon).rsqrt().expand(last);
        Ok(cx.hand_on(x, x * rms * scale))
    }
}
