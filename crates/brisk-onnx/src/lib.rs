//! ONNX's vocabulary: models as data, and what each operator is in Brisk's graph.
//!
//! A [`Model`] is what an ONNX file says. [`record`] turns it into a graph of Brisk's primitives and named operations, for the shapes
//! of its inputs; a graph that was recorded is like any other, so it can be differentiated, trained and compiled. [`Session`] runs a
//! model whose shapes depend on its data, piece by piece. [`export`] goes the other way: from Brisk's graph to a model.

mod call;
mod constant;
mod describe;
mod elem;
mod error;
mod export;
mod item;
mod model;
mod ops;
mod record;
mod room;
mod session;

pub use call::Host;
pub use constant::Constant;
pub use describe::{Row, describe};
pub use elem::{Elem, Format};
pub use error::{Error, Result, Unknown};
pub use export::{Export, Exported, PackedText, Record, export};
pub use item::{Item, Var};
pub use model::{Attribute, Dim, Function, Graph, Model, Node, Parameter, Port, Type};
pub use ops::{Operator, operators};
pub use record::{OPSETS, check, record};
pub use session::{Output, Session};
