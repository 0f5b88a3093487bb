//! TensorFlow: checkpoints and SavedModels.

mod bundle;
mod checkpoint;
mod checksum;
mod names;
mod proto;
mod slices;
mod table;
mod types;

pub use checkpoint::{TfCheckpoint, TfVariable};
pub use types::TfType;
