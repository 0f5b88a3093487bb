//! A multilayer perceptron.

use brisk_graph::Shape;

use crate::prelude::*;
use crate::{Model, Result};

/// Flatten, 128 units with relu, dense (Rumelhart, Hinton and Williams, 1986, with relu for the sigmoid). Logits come out.
///
/// ```
/// let model = brisk_nn::zoo::mlp([28, 28, 1], 10)?;
/// assert!(model.summary()?.contains("Total params: 101,770"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn mlp(input_shape: impl Into<Shape>, classes: usize) -> Result<Model> {
    Sequential::new(input_shape)
        .add(Flatten {})
        .add(Dense::new(128).activation(Relu))
        .add(Dense::new(classes))
        .build()
}
