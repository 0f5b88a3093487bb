//! GlobalAveragePooling2D: one number for each whole map.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, maps};
use crate::{Context, Result};

/// `y[n, c] = mean over i, j of x[n, i, j, c]` (Lin and others, arXiv 1312.4400).
///
/// `[n, height, width, channels]` to `[n, channels]`.
///
/// ```
/// use brisk_nn::{GlobalAveragePooling2D, Sequential};
/// let model = Sequential::new([7, 7, 64]).add(GlobalAveragePooling2D {}).build()?;
/// assert_eq!(model.output_shape().dims(), [64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobalAveragePooling2D {}

impl Layer for GlobalAveragePooling2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        maps(cx, x)?;
        Ok(op::global_avg_pool(x))
    }
}
