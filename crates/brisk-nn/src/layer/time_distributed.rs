//! TimeDistributed: a layer applied to every step of a sequence.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, LayerConfig, LayerSpec, sample};
use crate::{Context, Result};

/// `y[n, t] = layer(x[n, t])`: the same layer, with the same parameters, for every step. The layer sees all steps of all
/// samples as one batch.
///
/// `[n, length, ..]` to `[n, length, ..]`. A mask is handed on. Parameters: the layer's own, without a name of its own.
///
/// ```
/// use brisk_nn::{Conv2D, Sequential, TimeDistributed};
/// let model = Sequential::new([16, 32, 32, 3]).add(TimeDistributed::new(Conv2D::new(8, 3))).build()?;
/// assert_eq!(model.output_shape().dims(), [16, 30, 30, 8]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeDistributed {
    /// The layer.
    pub layer: Box<LayerSpec>,
}

impl TimeDistributed {
    /// Of a layer.
    pub fn new(layer: impl Into<LayerConfig>) -> TimeDistributed {
        TimeDistributed { layer: Box::new(LayerSpec::new(layer)) }
    }
}

impl Layer for TimeDistributed {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let shape = x.shape();
        let [n, t, inner @ ..] = &shape[..] else {
            return Err(cx.error(format!("expected sequences [length, ..], found {}", sample(x))));
        };
        if inner.is_empty() {
            return Err(cx.error(format!("expected sequences [length, ..], found {}; put Embedding or Reshape before it", sample(x))));
        }
        let each = x.reshape([&[n * t], inner].concat());
        let y = self.layer.layer.as_layer().forward(cx, &[each])?;
        let y = y.reshape([&[*n, *t], y.shape().get(1..).unwrap_or(&[])].concat());
        Ok(cx.hand_on(x, y))
    }
}
