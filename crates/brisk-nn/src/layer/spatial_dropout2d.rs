//! SpatialDropout2D: in training, a share of the channels is left out.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::check_rate;
use super::{Layer, maps};
use crate::{Context, Result};

/// In training each channel of a sample becomes 0 everywhere with probability `rate`, and the others are divided by `1 - rate`;
/// otherwise nothing happens (Tompson and others, 2015). The shape, `[n, height, width, channels]`, stays.
///
/// ```
/// use brisk_nn::{SpatialDropout2D, Sequential};
/// let model = Sequential::new([8, 8, 16]).add(SpatialDropout2D::new(0.2)).build()?;
/// assert_eq!(model.output_shape().dims(), [8, 8, 16]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpatialDropout2D {
    /// The share that is left out, from 0 to below 1.
    pub rate: f64,
}

impl SpatialDropout2D {
    /// With a rate.
    pub fn new(rate: f64) -> SpatialDropout2D {
        SpatialDropout2D { rate }
    }
}

impl Layer for SpatialDropout2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_rate(cx, self.rate)?;
        let [n, _, _, c] = maps(cx, x)?;
        let Some(key) = cx.key() else { return Ok(x) };
        let kept = op::dropout(cx.builder().fill(1.0, [n, 1, 1, c]), key, self.rate);
        Ok(x * kept)
    }
}
