//! ONNX files: what they say is computed, and nothing in them does harm.

mod bounds;
#[path = "../../../examples/onnx_suite/case.rs"]
mod case;
mod docs;
mod files;
mod gradients;
mod models;
mod mutated;
mod suite;
mod wire;

pub use suite::cases;
