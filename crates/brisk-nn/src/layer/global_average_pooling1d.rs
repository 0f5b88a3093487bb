//! GlobalAveragePooling1D: one vector for each whole sequence.

use brisk_graph::{DType, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::recurrent::sequences;
use crate::{Context, Result};

/// `y[n, c] = mean over t of x[n, t, c]`, over the steps that are not masked (0 if all are).
///
/// `[n, length, channels]` to `[n, channels]`.
///
/// ```
/// use brisk_nn::{GlobalAveragePooling1D, Sequential};
/// let model = Sequential::new([80, 64]).add(GlobalAveragePooling1D {}).build()?;
/// assert_eq!(model.output_shape().dims(), [64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobalAveragePooling1D {}

impl Layer for GlobalAveragePooling1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        sequences(cx, x)?;
        let Some(mask) = cx.mask(x) else { return Ok(x.mean(&[1])) };
        let live = mask.expand(2).select(x, cx.builder().fill(0.0, x.shape())); // what is masked may be anything
        let count = mask.cast(DType::F32).sum(&[1]).max(1.0); // [n]
        Ok(live.sum(&[1]) / count.expand(1))
    }
}
