//! Convolutions over words.

use brisk_graph::{DType, Shape};

use crate::prelude::*;
use crate::{INPUT, Model, ModelInput, Result};

/// Embedding of 20,000 words in 128 numbers, 100 filters each of 3, 4 and 5 words with relu, their maxima over the text, half of
/// them dropped in training, dense (Kim, 2014). Takes numbers of words `[length]`. Logits come out; for two classes one is
/// enough.
///
/// ```
/// let model = brisk_nn::zoo::textcnn([80], 1)?;
/// assert!(model.summary()?.contains("Total params: 2,714,201"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn textcnn(input_shape: impl Into<Shape>, outputs: usize) -> Result<Model> {
    let tokens = ModelInput::new(INPUT, input_shape.into().to_vec()).dtype(DType::I32);
    let layers = vec![
        LayerSpec::new(Embedding::new(20_000, 128)).name("embedding"),
        LayerSpec::new(Conv1D::new(100, 3).activation(Relu)).inputs(["embedding"]),
        LayerSpec::new(GlobalMaxPooling1D {}).name("of_3"),
        LayerSpec::new(Conv1D::new(100, 4).activation(Relu)).inputs(["embedding"]),
        LayerSpec::new(GlobalMaxPooling1D {}).name("of_4"),
        LayerSpec::new(Conv1D::new(100, 5).activation(Relu)).inputs(["embedding"]),
        LayerSpec::new(GlobalMaxPooling1D {}).name("of_5"),
        LayerSpec::new(Concatenate::new()).inputs(["of_3", "of_4", "of_5"]),
        Dropout::new(0.5).into(),
        Dense::new(outputs).into(),
    ];
    Model::new(vec![tokens], layers, &[])
}
