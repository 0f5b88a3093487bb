//! Models of Apache MXNet: `NAME-0000.params`, the parameters, and `NAME-symbol.json`, the graph.

mod parameters;
mod symbol;

pub use parameters::{MxnetParameters, read_mxnet_parameters};
pub use symbol::{MxnetInput, MxnetNode, MxnetSymbol, read_mxnet_symbol};
