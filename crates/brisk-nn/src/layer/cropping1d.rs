//! Cropping1D: sequences lose steps at their ends.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recurrent::sequences;
use super::zero_padding1d::{Ends, one};
use super::Layer;
use crate::{Context, Result};

/// `[n, length, features]` to `[n, length - before - after, features]`.
///
/// ```
/// use brisk_nn::{Cropping1D, Sequential};
/// let model = Sequential::new([5, 3]).add(Cropping1D::new([1, 2])).build()?;
/// assert_eq!(model.output_shape().dims(), [2, 3]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cropping1D {
    /// One number; or `[before, after]`.
    #[serde(default = "one")]
    pub cropping: Ends,
}

impl Cropping1D {
    /// Of so many steps: one number, or `[before, after]`.
    pub fn new(cropping: impl Into<Ends>) -> Cropping1D {
        Cropping1D { cropping: cropping.into() }
    }
}

impl Layer for Cropping1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let [_, length, _] = sequences(cx, x)?;
        crop(x, 1, self.cropping.0).ok_or_else(|| {
            cx.error(format!("{length} steps are too few to lose {:?}; use a smaller cropping", self.cropping.0))
        })
    }
}

/// Without so many cells at both ends of an axis; `None` if nothing would be left.
pub(super) fn crop<'g>(x: Value<'g>, axis: usize, [before, after]: [usize; 2]) -> Option<Value<'g>> {
    let end = x.dim(axis).checked_sub(after)?;
    (before < end).then(|| x.slice(axis, before, end))
}
