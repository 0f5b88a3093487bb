//! Rewriting named operations into primitives.

use std::collections::HashMap;

use crate::graph::{Graph, Id, Node, Op};
use crate::op::OpDef;
use crate::{Builder, Prim, Result, Value};

/// The graph with every named operation replaced by its decomposition, except those that `keep` wants.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, decompose, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [2, 3], DType::F32);
/// let graph = b.finish(&[("y", op::relu(x))], &[])?;
/// assert!(decompose(&graph, |_, _| false)?.to_string().contains("max("));
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn decompose(graph: &Graph, keep: impl Fn(&'static OpDef, &Node) -> bool) -> Result<Graph> {
    record_anew(graph, |builder, n, values| {
        let node = &graph.nodes[n];
        let inputs: Vec<_> = node.inputs.iter().map(|id| values[id.index()]).collect();
        expand(builder, &node.op, node, &inputs, &keep)
    })
}

/// The graph with other nodes than its own, but for its inputs: `node` records each by its number, with the new values of those before
/// it.
pub(crate) fn record_anew(
    graph: &Graph,
    node: impl for<'g> Fn(&'g Builder, usize, &[Value<'g>]) -> Value<'g>,
) -> Result<Graph> {
    let builder = Builder::new();
    let mut values: Vec<Value<'_>> = Vec::with_capacity(graph.nodes.len());
    for (n, own) in graph.nodes.iter().enumerate() {
        let value = builder.scope_of(&own.scope, || match &own.op {
            Op::Prim(Prim::Input(number, shape, dtype)) => {
                let input = &graph.inputs[*number];
                builder.input(&input.name, input.role, shape, *dtype)
            }
            _ => node(&builder, n, &values),
        });
        values.push(value);
    }
    let outputs: Vec<_> =
        graph.outputs.iter().map(|(name, id)| (name.as_str(), values[id.index()])).collect();
    let updates =
        graph.updates.iter().map(|&(n, id)| (values[graph.inputs[n].id.index()], values[id.index()]));
    builder.finish(&outputs, &updates.collect::<Vec<_>>())
}

fn expand<'g>(
    builder: &'g Builder,
    op: &Op,
    node: &Node,
    inputs: &[Value<'g>],
    keep: &impl Fn(&'static OpDef, &Node) -> bool,
) -> Value<'g> {
    let Op::Named(def, attrs) = op else { return builder.push(op.clone(), inputs) };
    if keep(def, node) {
        return builder.push(op.clone(), inputs);
    }
    // Decompose on the side, then copy what came out, so that named operations inside it are decomposed too.
    let scratch = Builder::new();
    let arguments: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(i, v)| scratch.input(&i.to_string(), crate::Role::Batch, v.shape(), v.dtype()))
        .collect();
    let result = (def.decompose)(&scratch, &arguments, attrs);
    let inner = match scratch.finish(&[("", result)], &[]) {
        Ok(inner) => inner,
        Err(error) => {
            builder.fail(def.name, error.to_string());
            return inputs.first().copied().unwrap_or_else(|| builder.fill(0.0, node.shape.clone()));
        }
    };
    let mut values: HashMap<Id, Value<'g>> = HashMap::new();
    for (i, inner_node) in inner.nodes.iter().enumerate() {
        let operands: Vec<_> = inner_node.inputs.iter().map(|id| values[id]).collect();
        let value = match &inner_node.op {
            Op::Prim(Prim::Input(number, ..)) => inputs[*number],
            op => expand(builder, op, inner_node, &operands, keep),
        };
        values.insert(Id(i as u32), value);
    }
    values[&inner.outputs[0].1]
}
