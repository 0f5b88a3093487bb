//! A file of tensors in a folder: safetensors, or PyTorch's own.

use std::path::Path;

use brisk_graph::{Shape, Tensor};

use crate::{MappedTensors, Result, TorchFile};

/// An open file of tensors.
#[derive(Debug)]
pub(super) enum Weights {
    Safetensors(MappedTensors),
    Torch(TorchFile),
}

impl Weights {
    /// Opens a file; what is called `.bin` is PyTorch's.
    pub fn open(path: &Path) -> Result<Weights> {
        match path.extension().is_some_and(|end| end == "bin") {
            true => TorchFile::open(path).map(Weights::Torch),
            false => MappedTensors::open(path).map(Weights::Safetensors),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Weights::Safetensors(file) => file.path(),
            Weights::Torch(file) => file.path(),
        }
    }

    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Weights::Safetensors(file) => Box::new(file.names()),
            Weights::Torch(file) => Box::new(file.names()),
        }
    }

    pub fn shape(&self, name: &str) -> Option<&Shape> {
        match self {
            Weights::Safetensors(file) => file.shape(name),
            Weights::Torch(file) => file.shape(name),
        }
    }

    /// The element type, as safetensors calls it.
    pub fn dtype(&self, name: &str) -> Option<String> {
        match self {
            Weights::Safetensors(file) => file.dtype(name),
            Weights::Torch(file) => Some(match file.dtype(name)? {
                "float64" => "F64".into(),
                "float32" => "F32".into(),
                "float16" => "F16".into(),
                "bfloat16" => "BF16".into(),
                other => other.to_uppercase(),
            }),
        }
    }

    /// Reads a tensor of floats as f32.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self {
            Weights::Safetensors(file) => file.tensor(name),
            Weights::Torch(file) => file.floats(name),
        }
    }
}
