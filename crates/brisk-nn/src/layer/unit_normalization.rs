//! UnitNormalization: each row gets the length 1.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::batch_normalization::channels;
use super::dot::unit;
use crate::{Context, Result};

/// `y = x / sqrt(sum(x²))` over the last axis; a row of zeros stays. The shape stays; a mask is handed on.
///
/// ```
/// use brisk_nn::{Dense, Sequential, UnitNormalization};
/// let model = Sequential::new([10]).add(Dense::new(4)).add(UnitNormalization {}).build()?;
/// assert_eq!(model.output_shape().dims(), [4]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnitNormalization {}

impl Layer for UnitNormalization {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        channels(cx, x, 1.0)?;
        Ok(cx.hand_on(x, unit(x)))
    }
}
