//! BatchNormalization: each channel gets mean 0 and variance 1 over the batch.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::yes;
use super::{Layer, sample};
use crate::{Context, Initializer, Result};

/// `y = (x - mean) / sqrt(variance + epsilon) gamma + beta`, channel by channel, the last axis (Ioffe and Szegedy,
/// arXiv 1502.03167).
///
/// In training, mean and (biased) variance are those of the batch, and `moving = moving momentum + now (1 - momentum)`;
/// otherwise they are the moving ones. The shape stays.
///
/// ```
/// use brisk_nn::{BatchNormalization, Sequential};
/// let model = Sequential::new([8, 8, 16]).add(BatchNormalization::new()).build()?;
/// let names: Vec<_> = model.param_specs()?.into_iter().map(|p| p.name).collect();
/// assert_eq!(names[2], "batch_normalization.moving_mean");
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchNormalization {
    /// How slowly the moving statistics change.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
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
    #[serde(default = "super::conv2d::zeros")]
    pub beta_initializer: Initializer,
}

fn default_momentum() -> f64 {
    0.99
}

pub(super) fn default_epsilon() -> f64 {
    1e-3
}

pub(super) fn ones() -> Initializer {
    Initializer::Ones
}

impl Default for BatchNormalization {
    fn default() -> BatchNormalization {
        BatchNormalization {
            momentum: default_momentum(),
            epsilon: default_epsilon(),
            center: true,
            scale: true,
            gamma_initializer: ones(),
            beta_initializer: Initializer::Zeros,
        }
    }
}

impl BatchNormalization {
    /// With Keras's defaults.
    pub fn new() -> BatchNormalization {
        BatchNormalization::default()
    }

    super::setters! {
        /// How slowly the moving statistics change.
        momentum: f64;
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

impl Layer for BatchNormalization {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let c = channels(cx, x, self.epsilon)?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(cx.error(format!("expected a momentum from 0 to 1, found {}", self.momentum)));
        }
        let b = cx.builder();
        let gamma = if self.scale { cx.param("gamma", [c], &self.gamma_initializer)? } else { b.fill(1.0, [c]) };
        let beta = if self.center { cx.param("beta", [c], &self.beta_initializer)? } else { b.fill(0.0, [c]) };
        let moving_mean = cx.state("moving_mean", [c], &Initializer::Zeros)?;
        let moving_variance = cx.state("moving_variance", [c], &Initializer::Ones)?;
        if !cx.is_training() {
            return Ok(op::batch_norm(x, moving_mean, moving_variance, gamma, beta, self.epsilon));
        }
        let axes: Vec<usize> = (0..x.rank() - 1).collect();
        let mean = x.mean(&axes); // [channels]
        let variance = (x - mean).square().mean(&axes);
        for (moving, now) in [(moving_mean, mean), (moving_variance, variance)] {
            cx.update(moving, moving * self.momentum + now * (1.0 - self.momentum));
        }
        Ok(op::batch_norm(x, mean, variance, gamma, beta, self.epsilon))
    }
}

/// The number of channels that a normalization works on.
pub(super) fn channels(cx: &Context<'_>, x: Value<'_>, epsilon: f64) -> Result<usize> {
    if x.rank() < 2 {
        return Err(cx.error(format!("expected a vector or maps per sample, found {}; put Reshape before it", sample(x))));
    }
    match epsilon > 0.0 && epsilon.is_finite() {
        true => Ok(x.last()),
        false => Err(cx.error(format!("expected an epsilon above 0, found {epsilon}"))),
    }
}
