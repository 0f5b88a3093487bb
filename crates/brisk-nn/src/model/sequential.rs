//! Models from Rust code.

use brisk_graph::Shape;

use crate::{LayerSpec, Model, Result};

/// Collects layers to a [`Model`].
///
/// ```
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([32, 32, 3])
///     .add(Conv2D::new(32, 3).activation(Relu))
///     .add(MaxPooling2D::new(2))
///     .add(Conv2D::new(64, 3).activation(Relu))
///     .add(MaxPooling2D::new(2))
///     .add(Flatten {})
///     .add(Dense::new(10))
///     .build()?;
/// assert_eq!(model.layers()[2].name, "conv2d_1");
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequential {
    input: Shape,
    layers: Vec<LayerSpec>,
}

impl Sequential {
    /// A model without layers, for samples of a shape.
    pub fn new(input_shape: impl Into<Shape>) -> Sequential {
        Sequential { input: input_shape.into(), layers: Vec::new() }
    }

    /// With a layer more: after the one before, or where its [`LayerSpec`] says.
    #[allow(clippy::should_implement_trait)] // Keras's name
    pub fn add(mut self, layer: impl Into<LayerSpec>) -> Sequential {
        self.layers.push(layer.into());
        self
    }

    /// Checks names, connections and shapes.
    pub fn build(self) -> Result<Model> {
        Model::from_layers(self.input, self.layers)
    }
}
