//! The model folder and checkpoints: atomic, checksummed, and free of code.
//!
//! - [`save_checkpoint`] and [`load_checkpoint`]: all that a training run needs to go on, in one file, bit for bit.
//! - [`save_model`] and [`load_model`]: a trained model as a folder in Hugging Face's shape, with everything that a
//!   prediction needs.
//! - [`model_files`]: what a model folder consists of.
//! - [`HfFolder`] and [`save_huggingface`]: encoders of BERT's kind as `transformers` reads and writes them.
//! - [`read_onnx`] and [`write_onnx`]: ONNX files; [`export_onnx`] makes one of a trained model.
//! - [`load_keras`] and [`save_keras`]: models of Keras, in `.keras` and `.h5` files.
//! - [`MappedTensors`]: safetensors files of others, tensor by tensor.
//! - [`read_flax`]: checkpoints of Flax.
//! - [`read_mxnet_parameters`] and [`read_mxnet_symbol`]: models of MXNet; [`import_mxnet`] translates them into ONNX's vocabulary.
//! - [`TfCheckpoint`] and [`read_saved_model`]: the variables and the graphs of TensorFlow;
//!   [`import_saved_model`] and [`import_frozen_graph`] translate them into ONNX's vocabulary.
//! - [`import_tflite`]: models of TensorFlow Lite in ONNX's vocabulary.
//! - [`TorchFile`]: checkpoints of PyTorch, tensor by tensor, without running them.
//! - [`save_tensors`] and [`load_tensors`]: any safetensors file.
//! - [`write_atomic`] and [`write_text`]: files that are there whole, or not at all.
//!
//! What is read here may come from anywhere: it is checked before it is believed, no code runs, no more memory is taken
//! than the length of the files calls for, and no bytes make it panic.

mod atomic;
mod budget;
mod checkpoint;
mod elements;
mod error;
mod flax;
mod hashed;
mod header;
mod huggingface;
mod keras;
mod manifest;
mod mapped;
mod model;
mod mxnet;
mod npz;
mod onnx;
mod report;
mod source;
mod tensorflow;
mod tensors;
mod tflite;
mod torch;

pub use atomic::{write_atomic, write_text};
pub use checkpoint::{Checkpoint, load_checkpoint, save_checkpoint};
pub use error::{Error, Result, TensorProblem};
pub use flax::{FlaxCheckpoint, read_flax};
pub use huggingface::{
    Family, Head, HfConfig, HfExport, HfFolder, SentencePooling, Sentences, save_huggingface,
};
pub use keras::{KerasModel, KerasReport, KerasTraining, load_keras, save_keras};
pub use mapped::MappedTensors;
pub use model::{SavedModel, TENSORS, is_model, load_model, model_files, save_model};
pub use mxnet::{
    MxnetInput, MxnetNode, MxnetParameters, MxnetSymbol, import_mxnet, read_mxnet_parameters,
    read_mxnet_symbol,
};
pub use npz::{load_npz, save_npz};
pub use onnx::{
    OnnxFile, OnnxOptions, OnnxReport, export_onnx, import_onnx, read_graph, read_onnx, read_onnx_value,
    write_onnx,
};
pub use report::LoadReport;
pub use tensorflow::{
    TfAttribute, TfCheckpoint, TfConstant, TfEndpoint, TfFunction, TfGraph, TfInput, TfNode, TfObject,
    TfObjectVariable, TfSavedModel, TfShape, TfSignature, TfType, TfVariable, import_frozen_graph,
    import_saved_model, read_saved_model,
};
pub use tensors::{load_tensors, save_tensors, tensor_bytes};
pub use tflite::import_tflite;
pub use torch::{StateDict, TorchFile, TorchValue, WeightRule};

/// The version of checkpoints and model folders that this Brisk writes. It reads all up to this one.
pub const FORMAT_VERSION: u32 = 1;
