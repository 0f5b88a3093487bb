//! LeNet-5.

use brisk_graph::Shape;

use crate::prelude::*;
use crate::{Model, Result};

/// LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998), with relu
/// and max pooling for tanh and trained averages, as it is used today. Logits come out.
///
/// ```
/// let model = brisk_nn::zoo::lenet([28, 28, 1], 10)?;
/// assert!(model.summary()?.contains("Total params: 61,706"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn lenet(input_shape: impl Into<Shape>, classes: usize) -> Result<Model> {
    Sequential::new(input_shape)
        .add(Conv2D::new(6, 5).padding(Padding::Same).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(16, 5).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Flatten {})
        .add(Dense::new(120).activation(Relu))
        .add(Dense::new(84).activation(Relu))
        .add(Dense::new(classes))
        .build()
}
