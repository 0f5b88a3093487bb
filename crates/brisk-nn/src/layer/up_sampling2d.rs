//! UpSampling2D: maps become larger by whole factors.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::max_pooling2d::two;
use super::{Layer, check_sizes, maps};
use crate::{Context, Result, Size};

/// `[n, height, width, channels]` to `[n, height * size, width * size, channels]`.
///
/// ```
/// use brisk_nn::{Sequential, UpSampling2D};
/// let model = Sequential::new([7, 7, 8]).add(UpSampling2D::new([2, 3])).build()?;
/// assert_eq!(model.output_shape().dims(), [14, 21, 8]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpSampling2D {
    /// By what.
    #[serde(default = "two")]
    pub size: Size,
    /// What stands between the old cells.
    #[serde(default)]
    pub interpolation: Interpolation,
}

/// How [`UpSampling2D`] fills the space between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Each cell is repeated.
    #[default]
    Nearest,
    /// Linear between the centers of the nearest cells.
    Bilinear,
}

impl UpSampling2D {
    /// By a factor, repeating.
    pub fn new(size: impl Into<Size>) -> UpSampling2D {
        UpSampling2D { size: size.into(), interpolation: Interpolation::Nearest }
    }

    super::setters! {
        /// What stands between the old cells.
        interpolation: Interpolation;
    }
}

impl Layer for UpSampling2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        maps(cx, x)?;
        let [fy, fx] = self.size.dims();
        check_sizes(cx, &[("size", fy), ("size", fx)])?;
        let interpolation = match self.interpolation {
            Interpolation::Nearest => op::Interpolation::Nearest,
            Interpolation::Bilinear => op::Interpolation::Bilinear,
        };
        Ok(op::upsample(x, [fy, fx], interpolation))
    }
}
