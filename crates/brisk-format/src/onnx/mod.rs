//! ONNX files.

pub(crate) mod emit;
mod encode;
mod export;
mod import;
mod message;
mod proto;
mod read;
mod tensor;
mod value;
mod wire;
mod write;

pub(crate) use tensor::small_float;

pub use export::{OnnxOptions, OnnxReport, export_onnx};
pub use import::{import_onnx, read_graph};
pub use read::{OnnxFile, read_onnx};
pub use value::read_onnx_value;
pub use write::write_onnx;
