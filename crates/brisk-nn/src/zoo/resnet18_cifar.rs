//! ResNet-18 for small images.

use brisk_graph::Shape;

use crate::prelude::*;
use crate::{LayerSpec, Model, Result};

/// ResNet-18 (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", arXiv 1512.03385) as it is used on
/// CIFAR: a 3x3 convolution and no pooling at the start, four stages of two blocks with 64, 128, 256 and 512 channels,
/// a 1x1 convolution on the way around where the size changes. Convolutions start as He and others (2015) say. Logits come
/// out.
///
/// ```
/// let model = brisk_nn::zoo::resnet18_cifar([32, 32, 3], 10)?;
/// assert!(model.summary()?.contains("Trainable params: 11,173,962"));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn resnet18_cifar(input_shape: impl Into<Shape>, classes: usize) -> Result<Model> {
    let mut layers = Layers(Vec::new());
    let mut x = layers.conv_norm("stem", "input", 64, 3, 1);
    x = layers.relu("stem_relu", &x);
    for (stage, filters) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = layers.block(&format!("stage{}_block{}", stage + 1, block + 1), &x, filters, stride);
        }
    }
    let mut layers = layers.0;
    layers.push(LayerSpec::new(GlobalAveragePooling2D {}).name("pool"));
    layers.push(LayerSpec::new(Dense::new(classes)).name("head"));
    Model::from_layers(input_shape, layers)
}

struct Layers(Vec<LayerSpec>);

impl Layers {
    fn push(&mut self, layer: impl Into<LayerConfig>, name: String, inputs: &[&str]) -> String {
        self.0.push(LayerSpec::new(layer).name(&name).inputs(inputs.iter().copied()));
        name
    }

    fn conv_norm(&mut self, name: &str, x: &str, filters: usize, kernel: usize, stride: usize) -> String {
        let conv = Conv2D::new(filters, kernel)
            .strides(stride)
            .padding(Padding::Same)
            .use_bias(false)
            .kernel_initializer(Initializer::HeNormal);
        let conv = self.push(conv, format!("{name}_conv"), &[x]);
        self.push(BatchNormalization::new(), format!("{name}_norm"), &[&conv])
    }

    fn relu(&mut self, name: &str, x: &str) -> String {
        self.push(ActivationLayer::new(Relu), name.into(), &[x])
    }

    /// `relu(x + norm(conv(relu(norm(conv(x))))))`
    fn block(&mut self, name: &str, x: &str, filters: usize, stride: usize) -> String {
        let around = match stride != 1 {
            true => self.conv_norm(&format!("{name}_around"), x, filters, 1, stride),
            false => x.to_string(),
        };
        let y = self.conv_norm(&format!("{name}_1"), x, filters, 3, stride);
        let y = self.relu(&format!("{name}_1_relu"), &y);
        let y = self.conv_norm(&format!("{name}_2"), &y, filters, 3, 1);
        let sum = self.push(Add {}, format!("{name}_add"), &[&around, &y]);
        self.relu(&format!("{name}_relu"), &sum)
    }
}
