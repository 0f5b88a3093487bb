//! Gradient checks, goldens and generators for Brisk's own tests.
//!
//! Whatever is wrong panics with a message that says what, where, and by how much: this is test code.

mod check;
mod close;
mod eval;
mod golden;
mod gradient;
mod sample;
mod strategy;

pub use check::{check_documented, check_fast_path, check_op_gradient, check_shape};
pub use close::{Number, assert_close};
pub use eval::{evaluate, on_row};
pub use golden::{Golden, goldens};
pub use gradient::check_gradient;
pub use sample::{Case, Random, samples};
pub use strategy::{dim, maps, pooling, shape};
