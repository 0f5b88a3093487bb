//! Models of Keras: `.keras` files, and whole-model `.h5` files.

mod archive;
mod args;
mod classes;
mod compile;
mod flatten;
mod graph;
mod hdf5;
mod import;
mod layer;
mod region;
mod report;
mod weights;

pub use import::{KerasModel, KerasTraining, load_keras};
pub use report::KerasReport;
