//! Bidirectional: a recurrent layer in both directions.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, LayerConfig, LayerSpec};
use crate::{Context, Result};

/// A recurrent layer (LSTM, GRU or SimpleRNN) once forwards and once backwards, each with parameters of its own, and the
/// two results merged (Schuster and Paliwal, 1997). With `return_sequences`, both results of a step stand together, and those
/// of a masked step are 0, as in Keras.
///
/// `[n, length, features]` to `[n, 2 units]` with `concat`, else `[n, units]`; sequences likewise. Parameters:
/// `forward_lstm.kernel` and so on, and `backward_lstm.kernel`.
///
/// ```
/// use brisk_nn::{Bidirectional, LSTM, Sequential};
/// let model = Sequential::new([80, 32]).add(Bidirectional::new(LSTM::new(64))).build()?;
/// assert_eq!(model.output_shape().dims(), [128]);
/// assert_eq!(model.param_specs()?[0].name, "bidirectional.forward_lstm.kernel");
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bidirectional {
    /// The recurrent layer.
    pub layer: Box<LayerSpec>,
    /// How the two results become one.
    #[serde(default)]
    pub merge_mode: MergeMode,
}

/// How [`Bidirectional`] merges its two results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MergeMode {
    /// Side by side: forwards, then backwards.
    #[default]
    Concat,
    /// Their sum.
    Sum,
    /// Their product.
    Mul,
    /// Their mean.
    Ave,
}

impl Bidirectional {
    /// With Keras's defaults.
    pub fn new(layer: impl Into<LayerConfig>) -> Bidirectional {
        Bidirectional { layer: Box::new(LayerSpec::new(layer)), merge_mode: MergeMode::Concat }
    }

    super::setters! {
        /// How the two results become one.
        merge_mode: MergeMode;
    }
}

impl Layer for Bidirectional {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let mut results = Vec::new();
        for direction in ["forward", "backward"] {
            let name = format!("{direction}_{}", self.layer.layer.prefix());
            let back = direction == "backward";
            let result = cx.scope(&name, |cx| match &self.layer.layer {
                LayerConfig::LSTM(layer) => layer.run(cx, &[x], layer.go_backwards != back, true),
                LayerConfig::GRU(layer) => layer.run(cx, &[x], layer.go_backwards != back, true),
                LayerConfig::SimpleRNN(layer) => layer.run(cx, &[x], layer.go_backwards != back, true),
                other => Err(cx.error(format!(
                    "expected a recurrent layer (LSTM, GRU or SimpleRNN) to run in both directions, found {}",
                    other.kind()
                ))),
            })?;
            results.push(match cx.mask(result) {
                Some(mask) => mask.expand(2).select(result, cx.builder().fill(0.0, result.shape())),
                None => result,
            });
        }
        let (forward, backward) = (results[0], results[1]);
        let y = match self.merge_mode {
            MergeMode::Concat => cx.builder().concat(&results, forward.rank() - 1),
            MergeMode::Sum => forward + backward,
            MergeMode::Mul => forward * backward,
            MergeMode::Ave => (forward + backward) * 0.5,
        };
        if let (Some(mask), 3) = (cx.mask(x), y.rank()) {
            cx.set_mask(y, mask);
        }
        Ok(y)
    }
}
