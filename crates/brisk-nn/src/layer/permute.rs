//! Permute: the axes of a sample in another order.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, sample};
use crate::{Context, Result};

/// Axis `i` of the result is axis `dims[i - 1]` of what comes in. Axes count from 1; axis 0, the batch, stays.
///
/// ```
/// use brisk_nn::{Permute, Sequential};
/// let model = Sequential::new([10, 64]).add(Permute::new([2, 1])).build()?;
/// assert_eq!(model.output_shape().dims(), [64, 10]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Permute {
    /// Which axis comes first, second, ...; each from 1 on once.
    pub dims: Vec<usize>,
}

impl Permute {
    /// To an order.
    pub fn new(dims: impl Into<Vec<usize>>) -> Permute {
        Permute { dims: dims.into() }
    }
}

impl Layer for Permute {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let axes = x.rank().saturating_sub(1);
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(1..=axes) {
            return Err(cx.error(format!(
                "expected dims that name each axis from 1 to {axes} of {} once, found {:?}",
                sample(x),
                self.dims
            )));
        }
        let order: Vec<usize> = std::iter::once(0).chain(self.dims.iter().copied()).collect();
        Ok(x.transpose(&order))
    }
}
