//! GaussianDropout: in training, values are multiplied with normal noise.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::dropout::check_rate;
use super::gaussian_noise::normal;
use crate::{Context, Result};

/// In training each value is multiplied with a normal number of mean 1 and deviation `sqrt(rate / (1 - rate))`; otherwise nothing
/// happens (Srivastava and others, 2014). The shape stays; a mask is handed on.
///
/// ```
/// use brisk_nn::{Dense, GaussianDropout, Sequential};
/// let model = Sequential::new([64]).add(GaussianDropout::new(0.5)).add(Dense::new(10)).build()?;
/// assert_eq!(model.output_shape().dims(), [10]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GaussianDropout {
    /// As of [`Dropout`](super::Dropout), from 0 to below 1.
    pub rate: f64,
}

impl GaussianDropout {
    /// With a rate.
    pub fn new(rate: f64) -> GaussianDropout {
        GaussianDropout { rate }
    }
}

impl Layer for GaussianDropout {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_rate(cx, self.rate)?;
        let Some(key) = cx.key() else { return Ok(x) };
        let deviation = (self.rate / (1.0 - self.rate)).sqrt();
        Ok(cx.hand_on(x, x * (normal(x, key) * deviation + 1.0)))
    }
}
