//! The operators, by kind: what each is in Brisk's graph.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::call::Call;
use crate::{Item, Var};

mod activation;
mod attention;
mod boolean;
mod cast;
mod control;
mod conv;
mod elementwise;
mod gather;
mod grid;
mod label_encoder;
mod linear;
mod linear_attention;
mod loss;
mod make;
mod ml;
mod movement;
mod ngrams;
mod norm;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod remarks;
mod resize;
mod roi;
mod search;
mod sequence;
mod signal;
mod text;
mod training;
mod tree_ensemble;
mod trees;
mod vision;

/// How an operator is recorded.
#[derive(Clone, Copy)]
pub enum Run {
    /// With one result, a tensor.
    One(for<'a, 'g> fn(&mut Call<'a, 'g>) -> Result<Var<'g>, String>),
    /// With several results, or others than tensors.
    Many(for<'a, 'g> fn(&mut Call<'a, 'g>) -> Result<Vec<Item<'g>>, String>),
}

/// An operator that Brisk has.
#[derive(Clone, Copy)]
pub struct Operator {
    /// Its name in ONNX.
    pub name: &'static str,
    /// Its operator set; the empty one is ONNX's own.
    pub domain: &'static str,
    pub(crate) run: Run,
}

impl Operator {
    /// The same in another operator set.
    const fn of(self, domain: &'static str) -> Operator {
        Operator { domain, ..self }
    }
}

type One = for<'a, 'g> fn(&mut Call<'a, 'g>) -> Result<Var<'g>, String>;
type Many = for<'a, 'g> fn(&mut Call<'a, 'g>) -> Result<Vec<Item<'g>>, String>;

const fn one(name: &'static str, run: One) -> Operator {
    Operator { name, domain: "", run: Run::One(run) }
}

const fn many(name: &'static str, run: Many) -> Operator {
    Operator { name, domain: "", run: Run::Many(run) }
}

const KINDS: &[&[Operator]] = &[
    activation::OPS,
    attention::OPS,
    boolean::OPS,
    cast::OPS,
    control::OPS,
    conv::OPS,
    elementwise::OPS,
    gather::OPS,
    grid::OPS,
    label_encoder::OPS,
    linear::OPS,
    linear_attention::OPS,
    loss::OPS,
    make::OPS,
    ml::OPS,
    movement::OPS,
    ngrams::OPS,
    norm::OPS,
    pool::OPS,
    quantize::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    roi::OPS,
    search::OPS,
    sequence::OPS,
    signal::OPS,
    text::OPS,
    training::OPS,
    tree_ensemble::OPS,
    vision::OPS,
];

static BY_NAME: LazyLock<HashMap<(&str, &str), &'static Operator>> =
    LazyLock::new(|| operators().map(|o| ((o.domain, o.name), o)).collect());

/// Every operator that Brisk has.
///
/// ```
/// assert!(brisk_onnx::operators().any(|o| o.name == "Conv"));
/// ```
pub fn operators() -> impl Iterator<Item = &'static Operator> {
    KINDS.iter().flat_map(|kind| kind.iter())
}

/// The operator of a name.
pub fn operator(domain: &str, name: &str) -> Option<&'static Operator> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    BY_NAME.get(&(domain, name)).copied()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_operator_stands_in_the_table_once() {
        let mut names: Vec<_> = super::operators().map(|o| (o.domain, o.name)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
