//! A small convolutional network, the usual first one.

use brisk_graph::Shape;

use crate::prelude::*;
use crate::{Model, Result};

/// Convolution 3x3x32, pooling, convolution 3x3x64, pooling, dense: the network of most introductions to Keras. Logits come
/// out.
///
/// ```
/// let model = brisk_nn::zoo::cifar10_cnn([32, 32, 3], 10)?;
/// assert!(model.summary()?.contains("Total params: 42,442"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn cifar10_cnn(input_shape: impl Into<Shape>, classes: usize) -> Result<Model> {
    Sequential::new(input_shape)
        .add(Conv2D::new(32, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(64, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Flatten {})
        .add(Dense::new(classes))
        .build()
}
