//! Computing some rows of a value, and of what leads to it no more than they need.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Id, Node, Op};
use crate::op::{self, Cut, QUERY_SEGMENTS};
use crate::{Builder, DType, Prim, Shape, Value};

/// `x.take(rows)`, with the operations that lead to `x` alone, and work row by row, recorded once more for these rows only; the others
/// are no longer needed. Attention counts among them where `rows` are the first ones of its queries' segments.
///
/// So the last layer of an encoder whose first token stands for the text computes keys and values for all tokens, and
/// everything else for one token a text; and so does its gradient. Results are the same, except that dropout draws other numbers.
/// Whatever is to read all of `x` should be recorded before, or `x` is computed besides.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, rows_of};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [100, 8], DType::F32);
/// let w = b.input("w", Role::State, [8, 8], DType::F32);
/// let first = b.input("first", Role::Scalar, [3], DType::I32);
/// let y = rows_of(x.matmul(w).tanh(), first);
/// let graph = b.finish(&[("y", y)], &[])?;
/// assert!(graph.to_string().contains("matmul"));
/// assert!(graph.nodes.iter().skip(3).all(|node| node.shape[0] == 3));
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn rows_of<'g>(x: Value<'g>, rows: Value<'g>) -> Value<'g> {
    let b = x.builder();
    let (Some(&all), &[count]) = (x.shape().first(), rows.shape().dims()) else { return x.take(rows) };
    let nodes = leads_to(x, rows, all);
    let worth = |node: &Node| match &node.op {
        Op::Prim(Prim::MatMul { .. }) => true,
        Op::Named(def, _) => *def == &op::ATTENTION,
        _ => false,
    };
    if !nodes.values().any(|(node, _)| worth(node)) {
        return x.take(rows);
    }
    let mut made: BTreeMap<Id, Value<'g>> = BTreeMap::new();
    for (&id, (node, by_row)) in &nodes {
        let mut inputs: Vec<_> = node.inputs.iter().map(|&input| b.value(input)).collect();
        for &i in by_row {
            inputs[i] = made.get(&node.inputs[i]).copied().unwrap_or_else(|| inputs[i].take(rows));
        }
        let with_rows = |shape: &Shape| {
            let mut dims = shape.dims().to_vec();
            dims[0] = count;
            Shape::from(dims)
        };
        let op = match &node.op {
            Op::Prim(Prim::Fill(value, shape, dtype)) => {
                Op::Prim(Prim::Fill(*value, with_rows(shape), *dtype))
            }
            Op::Prim(Prim::Broadcast(shape)) => Op::Prim(Prim::Broadcast(with_rows(shape))),
            Op::Prim(Prim::Reshape(shape)) => Op::Prim(Prim::Reshape(with_rows(shape))),
            Op::Named(def, attrs) => {
                if *def == &op::ATTENTION {
                    let each = [count, 1];
                    let (start, length) = (b.iota(0, each, DType::I32), b.fill_as(1.0, each, DType::I32));
                    inputs[QUERY_SEGMENTS] = b.concat(&[start, length], 1);
                }
                let draws = attrs.get("stream").is_some();
                let attrs = if draws {
                    attrs.without("stream").int("stream", b.stream().into())
                } else {
                    attrs.clone()
                };
                Op::Named(def, attrs)
            }
            op => op.clone(),
        };
        made.insert(id, b.scope_of(&node.scope, || b.push(op, &inputs)));
    }
    made.get(&x.id()).copied().unwrap_or_else(|| x.take(rows))
}

/// `x`'s node and those before it that work row by row, each of which nobody but these reads, in order, with the operands that
/// have a row for each of theirs.
fn leads_to(x: Value<'_>, rows: Value<'_>, all: usize) -> BTreeMap<Id, (Node, Vec<usize>)> {
    let b = x.builder();
    let mut readers: BTreeMap<Id, Vec<(Id, usize)>> = BTreeMap::new();
    for id in b.ids() {
        for (place, &input) in b.node(id).inputs.iter().enumerate() {
            readers.entry(input).or_default().push((id, place));
        }
    }
    let mut found: BTreeMap<Id, (Node, Vec<usize>)> = BTreeMap::new();
    let mut candidates = BTreeSet::from([x.id()]);
    // Who reads a node has a larger number, so when a node's turn comes its readers are decided.
    while let Some(id) = candidates.pop_last() {
        let node = b.node(id);
        let mut read_by = readers.get(&id).into_iter().flatten();
        let alone = id == x.id()
            || read_by.all(|(reader, place)| found.get(reader).is_some_and(|(_, own)| own.contains(place)));
        // What needs no rows, such as a bias that is repeated, is made anew for nothing.
        let Some(own) = row_operands(b, &node, rows, all).filter(|own| alone || own.is_empty()) else {
            continue;
        };
        candidates.extend(own.iter().map(|&place| node.inputs[place]));
        found.insert(id, (node, own));
    }
    found
}

/// Which operands of a node have a row for each of its `all` rows, if it works row by row.
fn row_operands<'g>(b: &'g Builder, node: &Node, rows: Value<'g>, all: usize) -> Option<Vec<usize>> {
    if node.shape.first() != Some(&all) {
        return None;
    }
    let shape = |i: usize| b.value(node.inputs[i]).shape();
    let every = || (0..node.inputs.len()).collect::<Vec<_>>();
    match &node.op {
        Op::Prim(prim) => match prim {
            Prim::Unary(_) | Prim::Binary(_) | Prim::Compare(_) | Prim::Select | Prim::Cast(_) => {
                Some(every())
            }
            Prim::Fill(..) => Some(vec![]),
            Prim::Broadcast(to) => match shape(0) {
                from if from.rank() == to.rank() && from[0] == all => Some(vec![0]),
                _ => Some(vec![]),
            },
            Prim::Reshape(_) => (shape(0).first() == Some(&all)).then(|| vec![0]),
            Prim::Reduce(_, axes) => (!axes.contains(&0)).then(|| vec![0]),
            Prim::MatMul { ta: false, .. } if node.shape.rank() == 2 => Some(vec![0]),
            _ => None,
        },
        Op::Named(def, _) if *def == &op::ATTENTION => {
            let segments = b.value(node.inputs[QUERY_SEGMENTS]);
            let first = segments.slice(1, 0, 1).reshape([segments.dim(0)]);
            (first.id() == rows.id()).then(|| vec![0])
        }
        Op::Named(def, _) if *def == &op::DROPOUT => Some(vec![0]),
        Op::Named(def, _) if op::is_activation(def) => Some(vec![0]),
        Op::Named(def, _) => {
            let kernel = def.kernel.as_ref().filter(|k| k.cut == Cut::Rows && node.shape.rank() > 1)?;
            let own: Vec<_> = every().into_iter().filter(|&i| kernel.by_row[i]).collect();
            own.iter().all(|&i| shape(i).first() == Some(&all)).then_some(own)
        }
    }
}
