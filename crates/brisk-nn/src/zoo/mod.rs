//! Ready-made models: functions from the shape of a sample and the number of classes to a [`Model`].

mod bilstm;
mod cifar10_cnn;
mod gru;
mod lenet;
mod lstm_imdb;
mod mlp;
mod resnet18_cifar;
mod text_encoder;
mod textcnn;

use brisk_graph::Shape;

use crate::config::unknown;
use crate::{Error, Model, Result};

pub use bilstm::bilstm;
pub use cifar10_cnn::cifar10_cnn;
pub use gru::gru;
pub use lenet::lenet;
pub use lstm_imdb::lstm_imdb;
pub use mlp::mlp;
pub use resnet18_cifar::resnet18_cifar;
pub use text_encoder::{is_text_encoder, text_classifier, text_encoder};
pub use textcnn::textcnn;

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
    Preset {
        name: "lstm-imdb",
        about: "an LSTM over the words of a text",
        input_shape: &[80],
        build: |shape, classes| lstm_imdb(shape, classes),
    },
    Preset {
        name: "gru",
        about: "gated recurrent units over the words of a text",
        input_shape: &[80],
        build: |shape, classes| gru(shape, classes),
    },
    Preset {
        name: "bilstm",
        about: "two LSTMs over the words of a text, in both directions",
        input_shape: &[80],
        build: |shape, classes| bilstm(shape, classes),
    },
    Preset {
        name: "textcnn",
        about: "convolutions over the words of a text",
        input_shape: &[80],
        build: |shape, classes| textcnn(shape, classes),
    },
    Preset {
        name: "transformer-encoder",
        about: "a small encoder of BERT's kind, 2 layers of 128",
        input_shape: &[],
        build: |_, classes| text_classifier("transformer-encoder", classes),
    },
    Preset {
        name: "minilm",
        about: "an encoder of BERT's kind, 6 layers of 384",
        input_shape: &[],
        build: |_, classes| text_classifier("minilm", classes),
    },
    Preset {
        name: "bert-base",
        about: "BERT's base model, 12 layers of 768",
        input_shape: &[],
        build: |_, classes| text_classifier("bert-base", classes),
    },
];

/// The preset of a name; an unknown one is answered with the nearest.
///
/// ```
/// use brisk_nn::zoo::preset;
/// let p = preset("lenet")?;
/// assert_eq!((p.build)([28, 28, 1].into(), 10)?.output_shape().dims(), [10]);
/// assert_eq!(preset("resnet18").err().unwrap().to_string(),
///            "model: unknown preset \"resnet18\"; known are: cifar10-cnn, mlp, lenet, resnet18-cifar, lstm-imdb, \
///            gru, bilstm, textcnn, transformer-encoder, minilm, bert-base");
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub fn preset(name: &str) -> Result<&'static Preset> {
    let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
    PRESETS
        .iter()
        .find(|p| p.name == name)
        .ok_or_else(|| Error::layer("model", unknown("preset", name, &names)))
}
