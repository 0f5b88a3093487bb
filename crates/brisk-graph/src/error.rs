//! What can go wrong while a graph is built.

use crate::{DType, Shape};

/// A result of building or evaluating a graph.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a graph is built or evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number of elements does not fit the shape.
    #[error("shape {shape} takes {} elements, found {found}", shape.elements())]
    Elements {
        /// The shape that was asked for.
        shape: Shape,
        /// The number of elements that are there.
        found: usize,
    },
    /// An element type that does not fit.
    #[error("{what}: expected {expected}, found {found}")]
    DType {
        /// What has the type.
        what: String,
        /// The type that fits.
        expected: DType,
        /// The type that is there.
        found: DType,
    },
    /// The operands of an operation do not fit it or each other.
    #[error("{}{op}: {message}", if scope.is_empty() { String::new() } else { format!("{scope}: ") })]
    Operands {
        /// The path of the layer or function that was being built, such as `encoder.dense_1`.
        scope: String,
        /// The operation.
        op: &'static str,
        /// What was expected, and what was found.
        message: String,
    },
}
