//! Gated recurrent units over words.

use brisk_graph::{DType, Shape};

use crate::prelude::*;
use crate::{INPUT, Model, ModelInput, Result};

/// Embedding of 20,000 words in 128 numbers, GRU of 128 units, dense (Cho and others, 2014). Takes numbers of words
/// `[length]`, 0 for padding. Logits come out; for two classes one is enough.
///
/// ```
/// let model = brisk_nn::zoo::gru([80], 1)?;
/// assert!(model.summary()?.contains("Total params: 2,659,201"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn gru(input_shape: impl Into<Shape>, outputs: usize) -> Result<Model> {
    let tokens = ModelInput::new(INPUT, input_shape.into().to_vec()).dtype(DType::I32);
    let layers = vec![
        Embedding::new(20_000, 128).mask_zero(true).into(),
        GRU::new(128).into(),
        Dense::new(outputs).into(),
    ];
    Model::new(vec![tokens], layers, &[])
}
