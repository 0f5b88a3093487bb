//! UpSampling1D: sequences become longer by a whole factor.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::max_pooling1d::two;
use super::recurrent::sequences;
use super::{Layer, check_sizes};
use crate::{Context, Result};

/// Each step is repeated: `[n, length, features]` to `[n, length * size, features]`.
///
/// ```
/// use brisk_nn::{Sequential, UpSampling1D};
/// let model = Sequential::new([7, 8]).add(UpSampling1D::new(3)).build()?;
/// assert_eq!(model.output_shape().dims(), [21, 8]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpSampling1D {
    /// How often a step stands in the result.
    #[serde(default = "two")]
    pub size: usize,
}

impl UpSampling1D {
    /// By a factor.
    pub fn new(size: usize) -> UpSampling1D {
        UpSampling1D { size }
    }
}

impl Layer for UpSampling1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let [n, t, c] = sequences(cx, x)?;
        check_sizes(cx, &[("size", self.size), ("length * size", t.saturating_mul(self.size))])?;
        Ok(x.expand(2).broadcast_to([n, t, self.size, c]).reshape([n, t * self.size, c]))
    }
}
