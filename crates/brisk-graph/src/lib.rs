//! The computation graph of Brisk: shapes, operations, gradients, and a slow reference interpreter.

mod dtype;
mod error;
mod shape;
mod tensor;

pub use dtype::DType;
pub use error::{Error, Result};
pub use shape::Shape;
pub use tensor::{Data, Tensor};
