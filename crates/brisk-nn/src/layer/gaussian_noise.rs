//! GaussianNoise: in training, normal noise is added.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Context, Result};

/// In training a normal number of deviation `stddev` is added to each value; otherwise nothing happens. The shape stays; a mask is
/// handed on.
///
/// ```
/// use brisk_nn::{Dense, GaussianNoise, Sequential};
/// let model = Sequential::new([64]).add(GaussianNoise::new(0.1)).add(Dense::new(10)).build()?;
/// assert_eq!(model.output_shape().dims(), [10]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GaussianNoise {
    /// The standard deviation of the noise.
    pub stddev: f64,
}

impl GaussianNoise {
    /// With a standard deviation.
    pub fn new(stddev: f64) -> GaussianNoise {
        GaussianNoise { stddev }
    }
}

impl Layer for GaussianNoise {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        if !(self.stddev >= 0.0 && self.stddev.is_finite()) {
            return Err(cx.error(format!("expected a stddev of 0 or more, found {}", self.stddev)));
        }
        let Some(key) = cx.key() else { return Ok(x) };
        Ok(cx.hand_on(x, x + normal(x, key) * self.stddev))
    }
}

/// Standard normal numbers in the shape of a value (Box and Muller).
pub(super) fn normal<'g>(like: Value<'g>, key: Value<'g>) -> Value<'g> {
    let uniform = || like.builder().random(key, like.shape()); // from 0 to below 1
    let radius = ((1.0 - uniform()).log() * -2.0).sqrt();
    radius * (uniform() * std::f64::consts::TAU).cos()
}
