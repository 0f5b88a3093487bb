//! The operators of decision trees: how their attributes describe them.

use std::collections::{HashMap, HashSet};

use brisk_graph::Value;

use super::ml::{DOMAIN, Labels, transformed};
use super::trees::Test::*;
use super::trees::{Node, TESTS, Together, Trees};
use super::{Operator, many, one};
use crate::call::Call;
use crate::{Attribute, Constant, Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("TreeEnsemble", tree_ensemble).of(DOMAIN),
    many("TreeEnsembleClassifier", classifier).of(DOMAIN),
    one("TreeEnsembleRegressor", regressor).of(DOMAIN),
];

/// Floats in an attribute, or in a tensor beside it.
fn floats(c: &Call<'_, '_>, name: &str) -> Result<Option<Vec<f64>>, String> {
    match c.attribute(name) {
        Some(Attribute::Tensor(Constant::Numbers(_, tensor))) => return Ok(Some(tensor.to_f64s())),
        Some(_) => return Ok(c.float_list(name)?.map(|v| v.into_iter().map(f64::from).collect())),
        None => {}
    }
    match c.attribute(&format!("{name}_as_tensor")) {
        Some(Attribute::Tensor(Constant::Numbers(_, tensor))) => Ok(Some(tensor.to_f64s())),
        Some(_) => Err(format!("attribute {name}_as_tensor: expected a tensor")),
        None => Ok(None),
    }
}

fn needed<T>(name: &str, found: Option<T>) -> Result<T, String> {
    found.ok_or_else(|| format!("attribute {name} is missing"))
}

/// Rows for trees: f64 stays, everything else is f32.
fn rows<'g>(c: &Call<'_, 'g>) -> Result<Value<'g>, String> {
    let x = c.var(0)?;
    let value = x.floats();
    Ok(if x.rank() == 1 { value.expand(0) } else { value })
}

fn tree_ensemble<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let elem = c.var(0)?.elem;
    let trees = current(c)?;
    let together = match c.int("aggregate_function", 1)? {
        0 => Together::Average,
        1 => Together::Sum,
        2 => Together::Min,
        3 => Together::Max,
        other => return Err(format!("attribute aggregate_function: expected 0 to 3, found {other}")),
    };
    let names = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"];
    let post = usize::try_from(c.int("post_transform", 0)?).ok().and_then(|i| names.get(i));
    let post = post.ok_or("attribute post_transform: expected 0 to 4")?;
    let scores = trees.of(c, rows(c)?, together)?;
    Ok(Var::new(elem, transformed(scores, post)?))
}

fn n_targets(c: &Call<'_, '_>) -> Result<usize, String> {
    match c.int("n_targets", 1)? {
        n if n >= 1 => Ok(n as usize),
        n => Err(format!("attribute n_targets: expected at least 1, found {n}")),
    }
}

/// Scores `[n, targets]` with what the attribute adds to them.
fn with_base<'g>(c: &Call<'_, 'g>, scores: Value<'g>) -> Result<Value<'g>, String> {
    match floats(c, "base_values")? {
        None => Ok(scores),
        Some(base) if base.is_empty() => Ok(scores),
        Some(base) if base.len() == 1 || base.len() == scores.last() => {
            let base = c.make_floats([base.len()], base.into_iter().map(|v| v as f32).collect())?;
            Ok(scores + base.cast(scores.dtype()))
        }
        Some(base) => {
            Err(format!("attribute base_values: expected {} numbers, found {}", scores.last(), base.len()))
        }
    }
}

fn regressor<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let together = match c.text("aggregate_function", "SUM")? {
        "SUM" => Together::Sum,
        "AVERAGE" => Together::Average,
        "MIN" => Together::Min,
        "MAX" => Together::Max,
        other => return Err(format!("attribute aggregate_function: found {other:?}")),
    };
    let scores = old(c, "target", n_targets(c)?)?.of(c, rows(c)?, together)?;
    let scores = transformed(with_base(c, scores)?, c.text("post_transform", "NONE")?)?;
    Ok(Var::new(Elem::Float, scores.cast(brisk_graph::DType::F32)))
}

fn classifier<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let labels = Labels::of(c, "classlabels_int64s", "classlabels_strings")?;
    let trees = old(c, "class", labels.len())?;
    let mut scores = with_base(c, trees.of(c, rows(c)?, Together::Sum)?)?;
    let post = c.text("post_transform", "NONE")?.to_string();
    // Of two classes, only one may be voted for.
    let voted: HashSet<usize> = trees.votes.iter().map(|v| v.1).collect();
    if let (2, Some(&class), 1) = (labels.len(), voted.iter().next(), voted.len()) {
        let own = scores.slice(1, class, class + 1);
        let other = if matches!(post.as_str(), "NONE" | "PROBIT") { 1.0 - own } else { -own };
        scores = c.b.concat(&[other, own], 1);
    }
    let scores = transformed(scores, &post)?.cast(brisk_graph::DType::F32);
    let labels = labels.best(c, scores)?;
    Ok(vec![labels, Var::new(Elem::Float, scores).into()])
}

/// The trees of version 5: inner nodes and leaves apart.
fn current(c: &Call<'_, '_>) -> Result<Trees, String> {
    let sizes = |name: &str| needed(name, c.sizes(name)?);
    let (features, roots) = (sizes("nodes_featureids")?, sizes("tree_roots")?);
    let (yes, no) = (sizes("nodes_truenodeids")?, sizes("nodes_falsenodeids")?);
    let (yes_leaf, no_leaf) = (sizes("nodes_trueleafs")?, sizes("nodes_falseleafs")?);
    let splits = needed("nodes_splits", floats(c, "nodes_splits")?)?;
    let modes = needed("nodes_modes", floats(c, "nodes_modes")?)?;
    let missing = c.sizes("nodes_missing_value_tracks_true")?.unwrap_or_default();
    let (leaf_targets, leaf_weights) =
        (sizes("leaf_targetids")?, needed("leaf_weights", floats(c, "leaf_weights")?)?);
    let n = features.len();
    let lengths = [yes.len(), no.len(), yes_leaf.len(), no_leaf.len(), splits.len(), modes.len()];
    if lengths.iter().any(|&l| l != n) || leaf_targets.len() != leaf_weights.len() {
        return Err(format!("its lists of nodes have different lengths: {n} and {lengths:?}"));
    }
    let members = floats(c, "membership_values")?.unwrap_or_default();
    let mut members = members.split(|v| v.is_nan());
    // Leaves stand after the inner nodes, further tests of a set after those.
    let mut nodes = Vec::with_capacity(n + leaf_targets.len());
    let mut more: Vec<(usize, Vec<f64>)> = Vec::new();
    for i in 0..n {
        let child = |id: usize, leaf: usize| if leaf != 0 { id.saturating_add(n) } else { id };
        let next = [child(yes[i], yes_leaf[i]), child(no[i], no_leaf[i])];
        if next.iter().any(|&k| k >= n + leaf_targets.len()) {
            return Err(format!("node {i} leads to what does not exist"));
        }
        let (test, split) = match modes[i] as usize {
            6 => {
                let set = members.next().ok_or("attribute membership_values: it has too few sets")?;
                more.push((i, set.to_vec()));
                (Equal, set.first().copied().unwrap_or(f64::NAN))
            }
            mode => (*TESTS.get(mode).ok_or_else(|| format!("node {i} has no mode {mode}"))?, splits[i]),
        };
        let missing = missing.get(i).is_some_and(|&m| m != 0);
        nodes.push(Node { test: Some(test), feature: features[i], split, next, missing });
    }
    nodes.extend(leaf_targets.iter().map(|_| Node::leaf()));
    // A set is a row of tests: whoever fails one goes to the next.
    for (i, set) in more {
        let last = nodes[i].next[1];
        let mut before = i;
        for &split in set.iter().skip(1) {
            let new = Node { split, ..nodes[i] };
            nodes[before].next[1] = nodes.len();
            before = nodes.len();
            nodes.push(Node { next: [new.next[0], last], ..new });
        }
    }
    let votes = (0..leaf_targets.len()).map(|i| (n + i, leaf_targets[i], leaf_weights[i])).collect();
    let targets = n_targets(c)?;
    Ok(Trees { nodes, roots, votes, targets })
}

/// The trees of versions before 5: nodes by the number of their tree and their own.
fn old(c: &Call<'_, '_>, prefix: &str, targets: usize) -> Result<Trees, String> {
    let ints = |name: &str| needed(name, c.ints(name)?);
    let (trees, ids) = (ints("nodes_treeids")?, ints("nodes_nodeids")?);
    let (yes, no) = (ints("nodes_truenodeids")?, ints("nodes_falsenodeids")?);
    let features = needed("nodes_featureids", c.sizes("nodes_featureids")?)?;
    let modes = needed("nodes_modes", c.texts("nodes_modes")?)?;
    let splits = needed("nodes_values", floats(c, "nodes_values")?)?;
    let missing = c.ints("nodes_missing_value_tracks_true")?.unwrap_or_default();
    let n = trees.len();
    let lengths = [ids.len(), yes.len(), no.len(), features.len(), modes.len(), splits.len()];
    if lengths.iter().any(|&l| l != n) {
        return Err(format!("its lists of nodes have different lengths: {n} and {lengths:?}"));
    }
    let place: HashMap<(i64, i64), usize> = (0..n).map(|i| ((trees[i], ids[i]), i)).collect();
    let find = |tree: i64, id: i64| {
        place.get(&(tree, id)).copied().ok_or_else(|| format!("tree {tree} has no node {id}"))
    };
    let mut nodes = Vec::with_capacity(n);
    let mut roots: Vec<(i64, usize)> = Vec::new();
    let mut seen = HashSet::new();
    for i in 0..n {
        if seen.insert(trees[i]) {
            roots.push((trees[i], i));
        }
        let test = match modes[i].as_str() {
            "LEAF" => None,
            "BRANCH_LEQ" => Some(LessEqual),
            "BRANCH_LT" => Some(Less),
            "BRANCH_GTE" => Some(GreaterEqual),
            "BRANCH_GT" => Some(Greater),
            "BRANCH_EQ" => Some(Equal),
            "BRANCH_NEQ" => Some(NotEqual),
            other => return Err(format!("attribute nodes_modes: found {other:?}")),
        };
        let next = match test {
            Some(_) => [find(trees[i], yes[i])?, find(trees[i], no[i])?],
            None => [i, i],
        };
        let missing = missing.get(i).is_some_and(|&m| m != 0);
        nodes.push(Node { test, feature: features[i], split: splits[i], next, missing });
    }
    let list = |name: &str| ints(&format!("{prefix}_{name}"));
    let (tree, node, target) = (list("treeids")?, list("nodeids")?, list("ids")?);
    let name = format!("{prefix}_weights");
    let weights = needed(&name, floats(c, &name)?)?;
    if [tree.len(), node.len(), target.len()].iter().any(|&l| l != weights.len()) {
        return Err("its lists of leaves have different lengths".into());
    }
    let vote = |i: usize| {
        let target = usize::try_from(target[i]).map_err(|_| format!("a leaf is for target {}", target[i]))?;
        Ok((find(tree[i], node[i])?, target, weights[i]))
    };
    let votes = (0..weights.len()).map(vote).collect::<Result<_, String>>()?;
    Ok(Trees { nodes, roots: roots.into_iter().map(|r| r.1).collect(), votes, targets })
}
