//! Activation: an activation as a layer of its own.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Activation, Context, Result};

/// `y = activation(x)`; in configuration its name is `Activation`.
///
/// ```
/// use brisk_nn::{Activation, ActivationLayer, LayerSpec, Sequential};
/// let model = Sequential::new([8]).add(ActivationLayer::new(Activation::Relu)).build()?;
/// assert_eq!(model.output_shape().dims(), [8]);
/// let spec: LayerSpec = serde_json::from_str(r#"{"Activation": {"activation": "relu"}}"#)?;
/// assert_eq!(spec, ActivationLayer::new(Activation::Relu).into());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationLayer {
    /// The function.
    pub activation: Activation,
}

impl ActivationLayer {
    /// Of a function.
    pub fn new(activation: Activation) -> ActivationLayer {
        ActivationLayer { activation }
    }
}

impl Layer for ActivationLayer {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        Ok(cx.hand_on(x, self.activation.apply(x)))
    }
}
