//! LSTMs over words in both directions.

use brisk_graph::{DType, Shape};

use crate::prelude::*;
use crate::{INPUT, Model, ModelInput, Result};

/// Embedding of 20,000 words in 128 numbers, two bidirectional LSTMs of 64 units, dense (Schuster and Paliwal, 1997; Graves and
/// Schmidhuber, 2005). Takes numbers of words `[length]`, 0 for padding. Logits come out; for two classes one is enough.
///
/// ```
/// let model = brisk_nn::zoo::bilstm([80], 1)?;
/// assert!(model.summary()?.contains("Total params: 2,757,761"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn bilstm(input_shape: impl Into<Shape>, outputs: usize) -> Result<Model> {
    let tokens = ModelInput::new(INPUT, input_shape.into().to_vec()).dtype(DType::I32);
    let layers = vec![
        Embedding::new(20_000, 128).mask_zero(true).into(),
        Bidirectional::new(LSTM::new(64).return_sequences(true)).into(),
        Bidirectional::new(LSTM::new(64)).into(),
        Dense::new(outputs).into(),
    ];
    Model::new(vec![tokens], layers, &[])
}
