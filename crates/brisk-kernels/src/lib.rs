//! Compute on slices and strides: SIMD, convolutions, pooling, reductions, random numbers.
//!
//! Knows no graph, starts no thread, and allocates nothing: callers give every buffer, scratch included.
//! (Two exceptions: building an [`elementwise::Program`], and the packing buffer that [`matmul`] keeps for each thread.)
//!
//! Functions are safe and check lengths once a call; the loops inside are written once, generic over the width of a
//! vector, and dispatched at run time by [`simd`]. Results never depend on how slices are aligned. Where each output
//! has an element or a row of its own, they do not depend on how the work is divided either; sums over what was divided
//! do, and so do matrix products of up to three rows (see [`matmul`]).
//!
//! | module | holds |
//! |---|---|
//! | [`simd`] | the choice of instructions; `exp`, `ln`, `tanh`, `erf` and others on vectors |
//! | [`elementwise`] | chains of elementwise operations as one pass, by an interpreter of L1-sized blocks |
//! | [`matmul`] | matrix products, strided and batched |
//! | [`conv`], [`pool`] | convolutions and pooling, forward and backward |
//! | [`reduce`], [`softmax`], [`norm`] | reductions, row by row or down columns, and what is built on them |
//! | [`recurrent`] | LSTM, GRU and simple cells over whole sequences |
//! | [`attention`] | scaled dot-product attention over packed rows |
//! | [`parted`] | a result that several threads fill at once |
//! | [`movement`] | strided copies, rows by index |
//! | [`random`] | counter-based random numbers |

pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod parted;
pub mod pool;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod simd;
pub mod softmax;
