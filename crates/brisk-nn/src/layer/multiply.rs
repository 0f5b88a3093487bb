//! Multiply: the product of several layers' results, element by element.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::add::merge;
use crate::{Context, Result};

/// `y = x1 x2 ...`; all have the same shape, or sizes of 1 that are stretched.
///
/// ```
/// use brisk_nn::{Dense, LayerSpec, Multiply, Sequential};
/// let model = Sequential::new([8])
///     .add(LayerSpec::new(Dense::new(8)).name("inner"))
///     .add(LayerSpec::new(Multiply {}).inputs(["input", "inner"]))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [8]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Multiply {}

impl Layer for Multiply {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        merge(cx, inputs, |a, b| a * b)
    }
}
