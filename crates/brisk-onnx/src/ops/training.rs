//! .

use super::Operator;

pub(super) const OPS: &[Operator] = &[];
