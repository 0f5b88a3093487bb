//! Compute on slices and strides: SIMD, convolutions, pooling, reductions, random numbers.
//!
//! Knows no graph, starts no thread, and allocates nothing: callers give every buffer, scratch included.

pub mod conv;
pub mod elementwise;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod simd;
pub mod softmax;
