//! MaxPooling1D: the largest of each window of a sequence.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recurrent::sequences;
use super::{Layer, check_sizes, max_pooling2d};
use crate::{Context, Padding, Result, Size};

/// `y[n, i, c] = max over the window at i of x[n, .., c]`.
///
/// `[n, length, channels]` to `[n, length', channels]`. The gradient goes to the first of equals.
///
/// ```
/// use brisk_nn::{MaxPooling1D, Sequential};
/// let model = Sequential::new([80, 32]).add(MaxPooling1D::new(2)).build()?;
/// assert_eq!(model.output_shape().dims(), [40, 32]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxPooling1D {
    /// Length of the window.
    #[serde(default = "two")]
    pub pool_size: usize,
    /// How far the window moves; without it, by its own length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides: Option<usize>,
    /// What happens at the ends. Cells outside never win.
    #[serde(default)]
    pub padding: Padding,
}

pub(super) fn two() -> usize { 2 }

impl MaxPooling1D {
    /// With Keras's defaults.
    pub fn new(pool_size: usize) -> MaxPooling1D {
        MaxPooling1D { pool_size, strides: None, padding: Padding::Valid }
    }

    super::setters! {
        /// How far the window moves.
        strides: Option<usize>;
        /// What happens at the ends.
        padding: Padding;
    }
}

impl Layer for MaxPooling1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        if self.pool_size > 256 {
            return Err(cx.error(format!(
                "expected a pool_size of at most 256, found {}; use GlobalMaxPooling1D for whole sequences",
                self.pool_size
            )));
        }
        let (maps, window) = windows(cx, x, self.pool_size, self.strides, self.padding)?;
        let y = maps.max_pool(window); // [n, length', 1, channels]
        Ok(y.reshape([x.dim(0), y.dim(1), x.dim(2)]))
    }
}

/// Sequences as maps one cell wide, and the window of a pooling layer over them.
pub(super) fn windows<'g>(
    cx: &Context<'g>,
    x: Value<'g>,
    size: usize,
    strides: Option<usize>,
    padding: Padding,
) -> Result<(Value<'g>, brisk_graph::prim::Window)> {
    let [n, t, c] = sequences(cx, x)?;
    check_sizes(cx, &[("pool_size", size), ("strides", strides.unwrap_or(size))])?;
    let strides = Size::from([strides.unwrap_or(size), 1]);
    let maps = x.reshape([n, t, 1, c]);
    Ok((maps, max_pooling2d::window(cx, maps, Size::from([size, 1]), Some(strides), padding)?))
}
