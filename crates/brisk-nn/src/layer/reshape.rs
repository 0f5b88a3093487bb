//! Reshape: the same values in another shape.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, sample};
use crate::{Context, Result};

/// `[n, ...]` to `[n, target_shape...]`, row-major. One size may be -1: what is left.
///
/// ```
/// use brisk_nn::{Reshape, Sequential};
/// let model = Sequential::new([784]).add(Reshape::new([28, -1, 1])).build()?;
/// assert_eq!(model.output_shape().dims(), [28, 28, 1]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    /// The shape of a sample; one size may be -1.
    pub target_shape: Vec<i64>,
}

impl Reshape {
    /// To a shape.
    pub fn new(target_shape: impl Into<Vec<i64>>) -> Reshape {
        Reshape { target_shape: target_shape.into() }
    }
}

impl Layer for Reshape {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let (target, have) = (&self.target_shape, sample(x));
        if target.iter().filter(|&&d| d == -1).count() > 1 {
            return Err(cx.error(format!("expected at most one -1 in target_shape, found {target:?}")));
        }
        let fixed: Vec<usize> = target.iter().filter(|&&d| d != -1).map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
        if let Some(bad) = target.iter().find(|&&d| d == 0 || d < -1) {
            return Err(cx.error(format!("expected sizes of 1 or more, or one -1, in target_shape, found {bad}")));
        }
        let known = fixed.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        let count = have.elements();
        let fits = if target.contains(&-1) { count % known == 0 } else { count == known };
        if !fits {
            return Err(cx.error(format!(
                "cannot give {have}, {count} values a sample, the shape {target:?}; change target_shape so that its product fits"
            )));
        }
        let size = |&d: &i64| usize::try_from(d).unwrap_or(count / known);
        let shape: Vec<usize> = [x.dim(0)].into_iter().chain(target.iter().map(size)).collect();
        Ok(x.reshape(shape))
    }
}
