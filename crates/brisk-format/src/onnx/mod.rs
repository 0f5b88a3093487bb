//! ONNX files.

pub(crate) mod emit;
mod import;
mod proto;
mod read;
mod tensor;
mod value;
mod wire;

pub use import::import_onnx;
pub use read::{OnnxFile, read_onnx};
pub use value::read_onnx_value;
