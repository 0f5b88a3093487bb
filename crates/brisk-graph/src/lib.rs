//! The computation graph of Brisk: shapes, operations, gradients, and a slow reference interpreter.
//!
//! Pure: no threads, no clock, no input or output.

mod dtype;
mod error;
pub mod evaluate;
pub mod frozen;
pub mod grad;
mod graph;
pub mod interpret;
mod lower;
pub mod op;
pub mod prim;
mod rows;
mod shape;
mod tensor;
mod value;

pub use dtype::DType;
pub use error::{Error, Result};
pub use grad::grad;
pub use graph::{Graph, Id, Input, Node, Op, Role};
pub use lower::decompose;
pub use prim::Prim;
pub use rows::rows_of;
pub use shape::Shape;
pub use tensor::{Data, Tensor};
pub use value::{Builder, Operand, Value};
