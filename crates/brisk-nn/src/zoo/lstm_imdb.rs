//! An LSTM over words, the usual first one.

use brisk_graph::{DType, Shape};

use crate::prelude::*;
use crate::{INPUT, Model, ModelInput, Result};

/// Embedding of 20,000 words in 128 numbers, LSTM of 128 units, dense: the classifier of film reviews of most introductions to
/// Keras. Takes numbers of words `[length]`. Logits come out; for two classes one is enough.
///
/// ```
/// let model = brisk_nn::zoo::lstm_imdb([80], 1)?;
/// assert!(model.summary()?.contains("Total params: 2,691,713"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn lstm_imdb(input_shape: impl Into<Shape>, outputs: usize) -> Result<Model> {
    let tokens = ModelInput::new(INPUT, input_shape.into().to_vec()).dtype(DType::I32);
    let layers = vec![Embedding::new(20_000, 128).into(), LSTM::new(128).into(), Dense::new(outputs).into()];
    Model::new(vec![tokens], layers, &[])
}
