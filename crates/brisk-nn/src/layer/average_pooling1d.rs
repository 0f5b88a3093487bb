//! AveragePooling1D: the mean of each window of a sequence.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::max_pooling1d::{two, windows};
use super::Layer;
use crate::{Context, Padding, Result};

/// `y[n, i, c] = mean over the window at i of x[n, .., c]`; cells outside the sequence do not count.
///
/// `[n, length, channels]` to `[n, length', channels]`.
///
/// ```
/// use brisk_nn::{AveragePooling1D, Sequential};
/// let model = Sequential::new([80, 32]).add(AveragePooling1D::new(2)).build()?;
/// assert_eq!(model.output_shape().dims(), [40, 32]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AveragePooling1D {
    /// Length of the window.
    #[serde(default = "two")]
    pub pool_size: usize,
    /// How far the window moves; without it, by its own length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides: Option<usize>,
    /// What happens at the ends.
    #[serde(default)]
    pub padding: Padding,
}



impl AveragePooling1D {
    /// With Keras's defaults.
    pub fn new(pool_size: usize) -> AveragePooling1D {
        AveragePooling1D { pool_size, strides: None, padding: Padding::Valid }
    }

    super::setters! {
        /// How far the window moves.
        strides: Option<usize>;
        /// What happens at the ends.
        padding: Padding;
    }
}

impl Layer for AveragePooling1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let (maps, window) = windows(cx, x, self.pool_size, self.strides, self.padding)?;
        let y = op::avg_pool(maps, window, false); // [n, length', 1, channels]
        Ok(y.reshape([x.dim(0), y.dim(1), x.dim(2)]))
    }
}
