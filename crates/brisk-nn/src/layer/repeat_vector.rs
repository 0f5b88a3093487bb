//! RepeatVector: a vector becomes a sequence of itself.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, check_sizes, sample};
use crate::{Context, Result};

/// `y[i, t] = x[i]`: `[n, features]` to `[n, times, features]`, with `times` the argument `n`.
///
/// ```
/// use brisk_nn::{RepeatVector, Sequential};
/// let model = Sequential::new([8]).add(RepeatVector::new(5)).build()?;
/// assert_eq!(model.output_shape().dims(), [5, 8]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatVector {
    /// How many steps the sequence has.
    pub n: usize,
}

impl RepeatVector {
    /// So many times.
    pub fn new(n: usize) -> RepeatVector {
        RepeatVector { n }
    }
}

impl Layer for RepeatVector {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_sizes(cx, &[("n", self.n)])?;
        match x.shape()[..] {
            [rows, features] => Ok(x.expand(1).broadcast_to([rows, self.n, features])),
            _ => Err(cx.error(format!("expected a vector per sample, found {}; put Flatten before it", sample(x)))),
        }
    }
}
