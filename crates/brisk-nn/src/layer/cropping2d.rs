//! Cropping2D: maps lose their edge.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cropping1d::crop;
use super::{Edges, Layer, maps};
use crate::{Context, Result};

/// `[n, height, width, channels]` to `[n, height - top - bottom, width - left - right, channels]`.
///
/// ```
/// use brisk_nn::{Cropping2D, Sequential};
/// let model = Sequential::new([5, 5, 3]).add(Cropping2D::new([[1, 2], [0, 0]])).build()?;
/// assert_eq!(model.output_shape().dims(), [2, 5, 3]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cropping2D {
    /// One number; or `[height, width]`; or `[[top, bottom], [left, right]]`.
    #[serde(default = "none")]
    pub cropping: Edges,
}

fn none() -> Edges {
    Edges::from(0)
}

impl Cropping2D {
    /// Of so many cells: one number, `[height, width]`, or `[[top, bottom], [left, right]]`.
    pub fn new(cropping: impl Into<Edges>) -> Cropping2D {
        Cropping2D { cropping: cropping.into() }
    }
}

impl Layer for Cropping2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let [_, h, w, _] = maps(cx, x)?;
        let [rows, columns] = self.cropping.0;
        crop(x, 1, rows).and_then(|x| crop(x, 2, columns)).ok_or_else(|| {
            cx.error(format!("maps of {h}x{w} are too small to lose {:?}; use a smaller cropping", self.cropping.0))
        })
    }
}
