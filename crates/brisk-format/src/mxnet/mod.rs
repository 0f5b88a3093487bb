//! Models of Apache MXNet: `NAME-0000.params`, the parameters, and `NAME-symbol.json`, the graph.

mod convert;
mod parameters;
mod symbol;

pub use convert::import_mxnet;
pub use parameters::{MxnetParameters, read_mxnet_parameters};
pub use symbol::{MxnetInput, MxnetNode, MxnetSymbol, read_mxnet_symbol};
