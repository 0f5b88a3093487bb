//! GlobalMaxPooling1D: one vector for each whole sequence.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::recurrent::sequences;
use crate::{Context, Result};

/// `y[n, c] = max over t of x[n, t, c]`. As in Keras, a mask is not looked at.
///
/// `[n, length, channels]` to `[n, channels]`.
///
/// ```
/// use brisk_nn::{GlobalMaxPooling1D, Sequential};
/// let model = Sequential::new([80, 64]).add(GlobalMaxPooling1D {}).build()?;
/// assert_eq!(model.output_shape().dims(), [64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobalMaxPooling1D {}

impl Layer for GlobalMaxPooling1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let [n, t, c] = sequences(cx, x)?;
        Ok(op::global_max_pool(x.reshape([n, t, 1, c])))
    }
}
