//! Dropout: in training, a share of the values is left out.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Context, Result};

/// In training each value becomes 0 with probability `rate`, and the others are divided by `1 - rate`; otherwise nothing
/// happens (Srivastava and others, 2014). The shape stays.
///
/// ```
/// use brisk_nn::{Dense, Dropout, Sequential};
/// let model = Sequential::new([64]).add(Dropout::new(0.5)).add(Dense::new(10)).build()?;
/// assert_eq!(model.output_shape().dims(), [10]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// The share that is left out, from 0 to below 1.
    pub rate: f64,
}

impl Dropout {
    /// With a rate.
    pub fn new(rate: f64) -> Dropout {
        Dropout { rate }
    }
}

impl Layer for Dropout {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_rate(cx, self.rate)?;
        let y = cx.key().map_or(x, |key| op::dropout(x, key, self.rate));
        Ok(cx.hand_on(x, y))
    }
}

/// An error unless a share can be left out.
pub(super) fn check_rate(cx: &Context<'_>, rate: f64) -> Result<()> {
    match (0.0..1.0).contains(&rate) {
        true => Ok(()),
        false => Err(cx.error(format!("expected a rate from 0 to below 1, found {rate}"))),
    }
}
