//! MaxPooling2D: the largest of each window.

use brisk_graph::{Value, prim::Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, check_fit, check_sizes, maps};
use crate::{Context, Padding, Result, Size};

/// `y[n, i, j, c] = max over the window at (i, j) of x[n, .., .., c]`.
///
/// `[n, height, width, channels]` to `[n, height', width', channels]`. The gradient goes to the first of equals.
///
/// ```
/// use brisk_nn::{MaxPooling2D, Sequential};
/// let model = Sequential::new([26, 26, 32]).add(MaxPooling2D::new(2)).build()?;
/// assert_eq!(model.output_shape().dims(), [13, 13, 32]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxPooling2D {
    /// Height and width of the window.
    #[serde(default = "two")]
    pub pool_size: Size,
    /// How far the window moves; without it, by its own size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides: Option<Size>,
    /// What happens at the edge. Cells outside never win.
    #[serde(default)]
    pub padding: Padding,
}

pub(super) fn two() -> Size {
    Size::from(2)
}

impl MaxPooling2D {
    /// With Keras's defaults.
    pub fn new(pool_size: impl Into<Size>) -> MaxPooling2D {
        MaxPooling2D { pool_size: pool_size.into(), strides: None, padding: Padding::Valid }
    }

    /// How far the window moves.
    pub fn strides(mut self, strides: impl Into<Size>) -> MaxPooling2D {
        self.strides = Some(strides.into());
        self
    }

    super::setters! {
        /// What happens at the edge.
        padding: Padding;
    }
}

impl Layer for MaxPooling2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let window = window(cx, x, self.pool_size, self.strides, self.padding)?;
        if window.size[0] * window.size[1] > 256 {
            let size = window.size;
            return Err(cx.error(format!("expected a pool_size of at most 256 cells, found {size:?}; use GlobalMaxPooling2D for whole maps")));
        }
        Ok(x.max_pool(window))
    }
}

/// The window of a pooling layer over some maps.
pub(super) fn window(
    cx: &Context<'_>,
    x: Value<'_>,
    size: Size,
    strides: Option<Size>,
    padding: Padding,
) -> Result<Window> {
    let [_, h, w, _] = maps(cx, x)?;
    let ([ph, pw], [sy, sx]) = (size.dims(), strides.unwrap_or(size).dims());
    check_sizes(cx, &[("pool_size", ph), ("pool_size", pw), ("strides", sy), ("strides", sx)])?;
    let padding = [padding.cells(h, ph, sy, 1), padding.cells(w, pw, sx, 1)];
    check_fit(cx, "pool_size", [h, w], [ph, pw], padding)?;
    Ok(Window { size: [ph, pw], stride: [sy, sx], padding })
}
