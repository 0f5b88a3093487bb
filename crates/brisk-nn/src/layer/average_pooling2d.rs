//! AveragePooling2D: the mean of each window.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::max_pooling2d::{two, window};
use crate::{Context, Padding, Result, Size};

/// `y[n, i, j, c] = mean over the window at (i, j) of x[n, .., .., c]`; cells outside the maps do not count.
///
/// `[n, height, width, channels]` to `[n, height', width', channels]`.
///
/// ```
/// use brisk_nn::{AveragePooling2D, Sequential};
/// let model = Sequential::new([26, 26, 32]).add(AveragePooling2D::new(2)).build()?;
/// assert_eq!(model.output_shape().dims(), [13, 13, 32]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AveragePooling2D {
    /// Height and width of the window.
    #[serde(default = "two")]
    pub pool_size: Size,
    /// How far the window moves; without it, by its own size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides: Option<Size>,
    /// What happens at the edge.
    #[serde(default)]
    pub padding: Padding,
}

impl AveragePooling2D {
    /// With Keras's defaults.
    pub fn new(pool_size: impl Into<Size>) -> AveragePooling2D {
        AveragePooling2D { pool_size: pool_size.into(), strides: None, padding: Padding::Valid }
    }

    /// How far the window moves.
    pub fn strides(mut self, strides: impl Into<Size>) -> AveragePooling2D {
        self.strides = Some(strides.into());
        self
    }

    super::setters! {
        /// What happens at the edge.
        padding: Padding;
    }
}

impl Layer for AveragePooling2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        Ok(op::avg_pool(x, window(cx, x, self.pool_size, self.strides, self.padding)?, false))
    }
}
