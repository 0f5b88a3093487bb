//! TensorFlow: checkpoints and SavedModels.

mod bundle;
mod checkpoint;
mod checksum;
mod constant;
mod convert;
mod graph;
mod names;
#[allow(missing_docs, clippy::all, unused_qualifications)]
#[rustfmt::skip]
mod proto;
mod saved_model;
mod slices;
mod table;
mod types;

pub use checkpoint::{TfCheckpoint, TfVariable};
pub(crate) use constant::Constants;
pub use constant::TfConstant;
pub(crate) use convert::{Ends, elem};
pub use convert::{import_frozen_graph, import_saved_model};
pub use graph::{TfAttribute, TfFunction, TfGraph, TfInput, TfNode};
pub(crate) use proto::{TensorProto, TensorShapeProto, tensor_shape_proto::Dim as TensorDim};
pub use saved_model::{TfEndpoint, TfObject, TfObjectVariable, TfSavedModel, TfSignature, read_saved_model};
pub use types::{TfShape, TfType};
