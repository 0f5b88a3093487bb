//! Masking: steps of nothing but padding are left out by the layers after.

use brisk_graph::{DType, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::recurrent::sequences;
use crate::{Context, Result};

/// What comes out carries a mask: a step is left out where all its features are `mask_value`. Such steps become 0; the
/// others and the shape, `[n, length, features]`, stay.
///
/// ```
/// use brisk_nn::{LSTM, Masking, Sequential};
/// let model = Sequential::new([10, 8]).add(Masking::new(0.0)).add(LSTM::new(4)).build()?;
/// assert_eq!(model.output_shape().dims(), [4]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Masking {
    /// What padding consists of.
    #[serde(default)]
    pub mask_value: f64,
}

impl Masking {
    /// Of a value.
    pub fn new(mask_value: f64) -> Masking {
        Masking { mask_value }
    }
}

impl Layer for Masking {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        sequences(cx, x)?;
        let padding = x.equal(self.mask_value).cast(DType::F32).reduce_min(&[2]);
        let mask = padding.less(0.5); // [n, length]
        let y = mask.expand(2).select(x, x.builder().fill(0.0, x.shape()));
        cx.set_mask(y, mask);
        Ok(y)
    }
}
