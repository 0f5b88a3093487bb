//! Ready-made models: functions from the shape of a sample and the number of classes to a [`Model`].

mod cifar10_cnn;
mod lenet;
mod mlp;
mod resnet18_cifar;

use brisk_graph::Shape;

use crate::config::unknown;
use crate::{Error, Model, Result};

pub use cifar10_cnn::cifar10_cnn;
pub use lenet::lenet;
pub use mlp::mlp;
pub use resnet18_cifar::resnet18_cifar;

/// A ready-made model.
pub struct Preset {
    /// Its name in configuration and on the command line: `cifar10-cnn`.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The shape of a sample that it was made for.
    pub input_shape: &'static [usize],
    /// Makes it for a shape of samples and a number of classes.
    pub build: fn(Shape, usize) -> Result<Model>,
}

/// All of them.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "cifar10-cnn",
        about: "two convolutions with pooling and one dense layer",
        input_shape: &[32, 32, 3],
        build: |shape, classes| cifar10_cnn(shape, classes),
    },
    Preset {
        name: "mlp",
        about: "two dense layers",
        input_shape: &[28, 28, 1],
        build: |shape, classes| mlp(shape, classes),
    },
    Preset {
        name: "lenet",
        about: "LeNet-5 with relu and max pooling",
        input_shape: &[28, 28, 1],
        build: |shape, classes| lenet(shape, classes),
    },
    Preset {
        name: "resnet18-cifar",
        about: "ResNet-18 for small images",
        input_shape: &[32, 32, 3],
        build: |shape, classes| resnet18_cifar(shape, classes),
    },
];

/// The preset of a name; an unknown one is answered with the nearest.
///
/// ```
/// use brisk_nn::zoo::preset;
/// let p = preset("lenet")?;
/// assert_eq!((p.build)([28, 28, 1].into(), 10)?.output_shape().dims(), [10]);
/// assert_eq!(preset("resnet18").err().unwrap().to_string(),
///            "model: unknown preset \"resnet18\"; known are: cifar10-cnn, mlp, lenet, resnet18-cifar");
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn preset(name: &str) -> Result<&'static Preset> {
    let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
    PRESETS
        .iter()
        .find(|p| p.name == name)
        .ok_or_else(|| Error::layer("model", unknown("preset", name, &names)))
}
