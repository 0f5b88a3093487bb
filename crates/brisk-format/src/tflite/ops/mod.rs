//! What operators of TensorFlow Lite are in TensorFlow.
//!
//! What an operator means, and where its options stand, is in `schema.fbs` and in `tensorflow/lite/kernels` of TensorFlow's repository.

mod elementwise;
mod layers;
mod movement;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) use self::movement::function;
use super::call::{Call, Made, Run};

/// A translation.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// The operator of a name in TensorFlow, without attributes.
    Same(&'static str),
    Own(Run),
    /// One whose results are elements of its first operand.
    Moves(Run),
}

impl Rule {
    pub fn run(self, call: &mut Call<'_, '_, '_>) -> Made {
        match self {
            Rule::Same(op) => call.same(op, vec![]),
            Rule::Own(run) | Rule::Moves(run) => run(call),
        }
    }

    /// Whether results need not be rounded to the places of whole numbers, as the operand is there already.
    pub fn moves(self) -> bool {
        matches!(self, Rule::Moves(_))
    }
}

static BY_NAME: LazyLock<HashMap<&str, Rule>> = LazyLock::new(|| {
    let all = [elementwise::OPS, layers::OPS, movement::OPS];
    all.iter().flat_map(|kind| kind.iter().copied()).collect()
});

/// The translation of an operator.
pub(super) fn operator(name: &str) -> Option<Rule> {
    BY_NAME.get(name).copied()
}
