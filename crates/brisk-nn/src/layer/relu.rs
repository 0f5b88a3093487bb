//! ReLU: what is below a threshold goes, what is above a bound is cut.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Context, Result};

/// `y = max_value` where `x >= max_value`, `x` from `threshold` on, and `negative_slope (x - threshold)` below. The shape stays; a mask
/// is handed on.
///
/// ```
/// use brisk_nn::{ReLU, Sequential};
/// let model = Sequential::new([8]).add(ReLU::new().max_value(Some(6.0))).build()?;
/// assert_eq!(model.output_shape().dims(), [8]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReLU {
    /// The largest that comes out; without it there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_value: Option<f64>,
    /// The slope below the threshold.
    #[serde(default)]
    pub negative_slope: f64,
    /// From where on values pass.
    #[serde(default)]
    pub threshold: f64,
}

impl ReLU {
    /// `max(x, 0)`
    pub fn new() -> ReLU {
        ReLU::default()
    }

    super::setters! {
        /// The largest that comes out.
        max_value: Option<f64>;
        /// The slope below the threshold.
        negative_slope: f64;
        /// From where on values pass.
        threshold: f64;
    }
}

impl Layer for ReLU {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let numbers = [Some(self.negative_slope), Some(self.threshold), self.max_value];
        if let Some(found) = numbers.into_iter().flatten().find(|v| !v.is_finite()) {
            return Err(cx.error(format!("expected finite numbers, found {found}")));
        }
        let above = match self.max_value {
            Some(most) => x.min(most),
            None => x,
        };
        let below = (x - self.threshold) * self.negative_slope;
        Ok(cx.hand_on(x, x.less(self.threshold).select(below, above)))
    }
}
