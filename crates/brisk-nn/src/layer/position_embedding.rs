//! PositionEmbedding: a learned vector for each place.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::glorot;
use super::recurrent::sequences;
use super::{Layer, check_sizes};
use crate::{Context, Initializer, Result};

/// The vectors of places, to be added to those of tokens: `y[n, p] = embeddings[p]`.
///
/// `[n, length, features]` to the same shape, `length` at most `sequence_length`; what comes in gives its shape and its mask
/// alone, as in KerasHub. Parameter: `embeddings` `[sequence_length, features]`.
///
/// ```
/// use brisk_nn::{Add, Embedding, LayerSpec, PositionEmbedding, Sequential};
/// let model = Sequential::new([80])
///     .add(LayerSpec::new(Embedding::new(20_000, 64)).name("tokens"))
///     .add(LayerSpec::new(PositionEmbedding::new(80)).name("places"))
///     .add(LayerSpec::new(Add {}).inputs(["tokens", "places"]))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [80, 64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionEmbedding {
    /// The most steps that a sequence may have.
    pub sequence_length: usize,
    /// How the table starts.
    #[serde(default = "glorot")]
    pub initializer: Initializer,
}

impl PositionEmbedding {
    /// With KerasHub's defaults.
    pub fn new(sequence_length: usize) -> PositionEmbedding {
        PositionEmbedding { sequence_length, initializer: glorot() }
    }

    super::setters! {
        /// How the table starts.
        initializer: Initializer;
    }
}

impl Layer for PositionEmbedding {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_sizes(cx, &[("sequence_length", self.sequence_length)])?;
        let [_, t, d] = sequences(cx, x)?;
        if t > self.sequence_length {
            return Err(cx.error(format!(
                "expected sequences of at most {} steps, found {t}; use a larger sequence_length, or cut them",
                self.sequence_length
            )));
        }
        let table = cx.param("embeddings", [self.sequence_length, d], &self.initializer)?;
        let y = table.slice(0, 0, t).broadcast_to(x.shape());
        Ok(cx.hand_on(x, y))
    }
}
