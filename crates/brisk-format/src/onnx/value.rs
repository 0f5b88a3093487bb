//! Values in files of their own, as ONNX's tests store them: `input_0.pb`.

use std::fs;
use std::path::Path;

use brisk_onnx::{Output, Type};
use prost::Message;

use super::proto::{OptionalProto, SequenceProto, TensorProto};
use super::tensor::constant;
use crate::hashed::open_file;
use crate::{Error, Result};

/// Reads a value of a type, which is that of the model's input or output: the file does not say.
///
/// ```no_run
/// # let port: brisk_onnx::Port = unimplemented!();
/// let x = brisk_format::read_onnx_value("test_data_set_0/input_0.pb".as_ref(), &port.ty)?;
/// # Ok::<(), brisk_format::Error>(())
/// ```
pub fn read_onnx_value(path: &Path, ty: &Type) -> Result<Output> {
    open_file(path, "a value of an ONNX model")?;
    let bytes = fs::read(path).map_err(Error::read(path))?;
    let wrong = |message: String| Error::content(path, format!("no sound value: {message}"));
    let decoded = |e: prost::DecodeError| wrong(e.to_string());
    match ty {
        Type::Sequence(_) => sequence(&SequenceProto::decode(&bytes[..]).map_err(decoded)?).map_err(wrong),
        Type::Optional(inner) => {
            let optional = OptionalProto::decode(&bytes[..]).map_err(decoded)?;
            match (&optional.tensor_value, &optional.sequence_value, &**inner) {
                (Some(tensor), ..) => constant(tensor).map(Output::Tensor).map_err(wrong),
                (None, Some(list), _) => sequence(list).map_err(wrong),
                (None, None, _) => Ok(Output::Nothing),
            }
        }
        _ => {
            let tensor = TensorProto::decode(&bytes[..]).map_err(decoded)?;
            constant(&tensor).map(Output::Tensor).map_err(wrong)
        }
    }
}

fn sequence(proto: &SequenceProto) -> Result<Output, String> {
    let tensors = proto.tensor_values.iter().map(|t| constant(t).map(Output::Tensor));
    let lists = proto.sequence_values.iter().map(sequence);
    tensors.chain(lists).collect::<Result<_, _>>().map(Output::Sequence)
}
