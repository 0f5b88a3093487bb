//! Models of Keras: `.keras` files, and whole-model `.h5` files.

mod archive;
mod args;
mod classes;
mod compile;
mod ends;
mod export;
mod flatten;
mod graph;
mod hdf5;
mod import;
mod layer;
mod masks;
mod operation;
mod region;
mod report;
mod weights;
mod write_compile;
mod write_graph;
mod write_layer;
mod write_weights;

pub use export::save_keras;
pub use import::{KerasModel, KerasTraining, load_keras};
pub use report::KerasReport;
