//! Flatten: a sample becomes a vector.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Context, Result};

/// `[n, ...]` to `[n, product of the rest]`, row-major.
///
/// ```
/// use brisk_nn::{Flatten, Sequential};
/// let model = Sequential::new([5, 5, 64]).add(Flatten {}).build()?;
/// assert_eq!(model.output_shape().dims(), [1600]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flatten {}

impl Layer for Flatten {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        Ok(x.reshape([x.dim(0), super::sample(x).elements()]))
    }
}
