//! GroupNormalization: each group of channels of a sample gets mean 0 and variance 1.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch_normalization::{channels, default_epsilon, ones};
use super::conv2d::{yes, zeros};
use super::{Layer, check_sizes};
use crate::{Context, Initializer, Result};

/// `y = (x - mean) / sqrt(variance + epsilon) gamma + beta`, mean and variance over all places and the neighbouring channels of a
/// group (Wu and He, arXiv 1803.08494). With a group for each channel it is instance normalization. The shape stays.
///
/// ```
/// use brisk_nn::{GroupNormalization, Sequential};
/// let model = Sequential::new([8, 8, 16]).add(GroupNormalization::new(4)).build()?;
/// assert_eq!(model.param_specs()?[0].shape.dims(), [16]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupNormalization {
    /// Into how many groups the channels are divided.
    #[serde(default = "many")]
    pub groups: usize,
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

fn many() -> usize {
    32
}

impl GroupNormalization {
    /// With so many groups, and Keras's defaults.
    pub fn new(groups: usize) -> GroupNormalization {
        GroupNormalization {
            groups,
            epsilon: default_epsilon(),
            center: true,
            scale: true,
            gamma_initializer: ones(),
            beta_initializer: zeros(),
        }
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

impl Layer for GroupNormalization {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let c = channels(cx, x, self.epsilon)?;
        check_sizes(cx, &[("groups", self.groups)])?;
        if c % self.groups != 0 {
            return Err(cx.error(format!("channels must be divisible by groups; found {c} channels and {} groups", self.groups)));
        }
        let (n, places) = (x.dim(0), super::sample(x).elements() / c.max(1));
        let grouped = x.reshape([n, places, self.groups, c / self.groups]);
        let stretch = |v: Value<'g>| v.reshape([n, 1, self.groups, 1]);
        let centered = grouped - stretch(grouped.mean(&[1, 3]));
        let variance = centered.square().mean(&[1, 3]);
        let mut y = (centered * stretch((variance + self.epsilon).rsqrt())).reshape(x.shape());
        if self.scale {
            y = y * cx.param("gamma", [c], &self.gamma_initializer)?;
        }
        if self.center {
            y = y + cx.param("beta", [c], &self.beta_initializer)?;
        }
        Ok(y)
    }
}
