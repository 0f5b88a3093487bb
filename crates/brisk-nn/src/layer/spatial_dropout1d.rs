//! SpatialDropout1D: in training, a share of the channels is left out.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::check_rate;
use super::recurrent::sequences;
use super::Layer;
use crate::{Context, Result};

/// In training each channel of a sample becomes 0 everywhere with probability `rate`, and the others are divided by `1 - rate`;
/// otherwise nothing happens (Tompson and others, 2015). The shape, `[n, length, features]`, stays.
///
/// ```
/// use brisk_nn::{SpatialDropout1D, Sequential};
/// let model = Sequential::new([80, 32]).add(SpatialDropout1D::new(0.2)).build()?;
/// assert_eq!(model.output_shape().dims(), [80, 32]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpatialDropout1D {
    /// The share that is left out, from 0 to below 1.
    pub rate: f64,
}

impl SpatialDropout1D {
    /// With a rate.
    pub fn new(rate: f64) -> SpatialDropout1D {
        SpatialDropout1D { rate }
    }
}

impl Layer for SpatialDropout1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_rate(cx, self.rate)?;
        let [n, _, c] = sequences(cx, x)?;
        let Some(key) = cx.key() else { return Ok(x) };
        let kept = op::dropout(cx.builder().fill(1.0, [n, 1, c]), key, self.rate);
        Ok(cx.hand_on(x, x * kept))
    }
}
