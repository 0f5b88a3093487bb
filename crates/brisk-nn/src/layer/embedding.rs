//! Embedding: numbers of tokens to vectors.

use brisk_graph::{DType, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, check_sizes, sample};
use crate::{Context, Initializer, Result};

/// `y[n, t] = embeddings[x[n, t]]`: a row of a table for each token.
///
/// `[n, length]`, or one number a sample `[n]`, of whole numbers from 0 below `input_dim` (i32, or floats that hold them) to `[n, length, output_dim]`; a
/// number outside is an error when the model runs. With `mask_zero`, 0 stands for padding, and what comes out carries a mask.
///
/// ```
/// use brisk_nn::{Dense, Embedding, LSTM, Sequential};
/// let model = Sequential::new([80]).add(Embedding::new(20_000, 128)).add(LSTM::new(128)).add(Dense::new(1)).build()?;
/// assert_eq!(model.layers()[0].output, [Some(80), Some(128)]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Number of tokens that are known; left out in a project, after an input that is a text or a category: as many as that has.
    #[serde(default)]
    pub input_dim: usize,
    /// Size of a token's vector.
    pub output_dim: usize,
    /// How the table starts.
    #[serde(default = "uniform")]
    pub embeddings_initializer: Initializer,
    /// Whether token 0 is padding, to be left out by the layers after.
    #[serde(default)]
    pub mask_zero: bool,
}

fn uniform() -> Initializer {
    Initializer::RandomUniform { minval: -0.05, maxval: 0.05 }
}

impl Embedding {
    /// With Keras's defaults.
    pub fn new(input_dim: usize, output_dim: usize) -> Embedding {
        Embedding { input_dim, output_dim, embeddings_initializer: uniform(), mask_zero: false }
    }

    super::setters! {
        /// How the table starts.
        embeddings_initializer: Initializer;
        /// Whether token 0 is padding, to be left out by the layers after.
        mask_zero: bool;
    }
}

impl Layer for Embedding {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_sizes(cx, &[("input_dim", self.input_dim), ("output_dim", self.output_dim)])?;
        if !matches!(x.rank(), 1 | 2) {
            return Err(cx.error(format!("expected numbers of tokens [length], found {}", sample(x))));
        }
        let tokens = x.cast(DType::I32);
        let table = cx.param("embeddings", [self.input_dim, self.output_dim], &self.embeddings_initializer)?;
        let y = table.take(tokens); // [n, length, output_dim]
        if self.mask_zero {
            let zero = cx.builder().fill_as(0.0, tokens.shape(), DType::I32);
            cx.set_mask(y, zero.less(tokens));
        }
        Ok(y)
    }
}
