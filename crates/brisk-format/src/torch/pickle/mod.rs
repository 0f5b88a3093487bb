//! Python's pickles, protocols 0 to 5, as far as tensors and containers need them.
//!
//! A pickle is a program for a machine with a stack. This one runs all of it that builds values; where the program asks for a class
//! or function of Python, it gets what [`global`] knows, or is refused.

mod build;
mod global;
mod machine;
mod source;
mod text;
mod value;

use crate::tensors::Fault;

pub(super) use global::Global;
pub(super) use source::{Parsed, Source, unsound};
pub(super) use value::{Id, Storage, Value, Values, View};

/// A pickle that has been read: all its values, which of them is the result, and the storages that its tensors are views of.
pub(super) struct Pickle {
    pub values: Values,
    pub root: Id,
    pub storages: Vec<Storage>,
}

/// Reads a pickle; what follows it stays in the source. Messages say where in it something is wrong.
pub(super) fn read(source: &mut Source<'_>) -> Parsed<Pickle> {
    let start = source.read();
    let mut at = start;
    machine::run(source, &mut at).map_err(|fault| match fault {
        Fault::Unsound(found) => Fault::Unsound(format!("byte {} of its pickle: {found}", at - start)),
        fault => fault,
    })
}
