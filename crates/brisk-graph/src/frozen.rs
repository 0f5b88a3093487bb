//! What follows from state that nobody changes, computed once and kept: kernels turned round, scales of normalization that have become
//! part of a convolution's kernel.

use crate::graph::{Graph, Id, Input, Op, Role};
use crate::lower::record_anew;
use crate::prim::{Binary, Prim, Scalar};
use crate::{Result, Value};

/// A graph in two parts.
#[derive(Debug)]
pub struct Split {
    /// What follows from unchanging state alone. Its outputs are called as the inputs of [`Split::rest`] that they become.
    pub frozen: Graph,
    /// The rest, with state inputs for what the first part makes.
    pub rest: Graph,
}

/// A value takes at most so many times the memory of what it follows from, or it is not kept.
const MOST_GROWTH: usize = 2;

/// Splits what can be computed once from a graph; `None` if there is nothing to be gained. Scales of single channels behind a
/// convolution with an unchanging kernel become part of the kernel.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, frozen::split, prim::Conv};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [1, 8, 8, 3], DType::F32);
/// let kernel = b.input("kernel", Role::State, [4, 3, 3, 3], DType::F32); // filters first
/// let scale = b.input("scale", Role::State, [4], DType::F32);
/// let y = x.conv(kernel.transpose(&[2, 3, 1, 0]), Conv::default()) * scale;
/// let parts = split(&b.finish(&[("y", y)], &[])?)?.expect("a kernel to turn round");
/// assert!(parts.frozen.to_string().contains("transpose"));
/// assert!(!parts.rest.to_string().contains("mul"));
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn split(graph: &Graph) -> Result<Option<Split>> {
    let folded = fold_scales(graph)?;
    let graph = folded.as_ref().unwrap_or(graph);
    let kinds = kinds(graph);
    let mut frontier: Vec<usize> = Vec::new();
    let live = graph.live();
    let roots: Vec<Id> = graph.roots().collect();
    for (n, node) in graph.nodes.iter().enumerate().filter(|n| live[n.0]) {
        let outside = kinds[n] == Kind::Changing;
        if outside {
            frontier.extend(node.inputs.iter().map(|id| source(graph, id.index())));
        }
    }
    frontier.extend(roots.iter().map(|id| source(graph, id.index())));
    frontier.retain(|&n| worth(graph, &kinds, n));
    frontier.sort_unstable();
    frontier.dedup();
    if frontier.is_empty() {
        return Ok(None);
    }
    let name = |n: usize| format!("kept %{n}");
    let made = frontier.iter().map(|&n| (name(n), Id(n as u32))).collect();
    let frozen = Graph { outputs: made, updates: Vec::new(), ..graph.clone() }.with_inputs(|_, live| live);
    let mut rest = graph.clone();
    for &n in &frontier {
        let node = &mut rest.nodes[n];
        node.op = Op::Prim(Prim::Input(rest.inputs.len(), node.shape.clone(), node.dtype));
        node.inputs.clear();
        rest.inputs.push(Input { name: name(n), role: Role::State, id: Id(n as u32) });
    }
    let updated: Vec<usize> = rest.updates.iter().map(|u| u.0).collect();
    let state = |number: usize| rest.inputs[number].role == Role::State && !updated.contains(&number);
    let optional: Vec<bool> = (0..rest.inputs.len()).map(state).collect();
    let rest = rest.with_inputs(|number, live| live || !optional[number]);
    frozen.verify()?;
    rest.verify()?;
    Ok(Some(Split { frozen, rest }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Known with the graph.
    Known,
    /// Follows from state that nobody changes.
    Frozen,
    /// Follows from what comes in, from chance, or from state that changes.
    Changing,
}

fn kinds(graph: &Graph) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let kind = match &node.op {
            Op::Prim(Prim::Input(number, ..)) => {
                let changes = graph.updates.iter().any(|u| u.0 == *number);
                match graph.inputs[*number].role {
                    Role::State if !changes => Kind::Frozen,
                    _ => Kind::Changing,
                }
            }
            Op::Prim(Prim::Random(..)) => Kind::Changing,
            _ => {
                let of = |kind| node.inputs.iter().any(|id| kinds[id.index()] == kind);
                match (of(Kind::Changing), of(Kind::Frozen)) {
                    (true, _) => Kind::Changing,
                    (_, true) => Kind::Frozen,
                    _ => Kind::Known,
                }
            }
        };
        kinds.push(kind);
    }
    kinds
}

/// What a value is read through to.
fn source(graph: &Graph, mut n: usize) -> usize {
    while let Op::Prim(Prim::Broadcast(_)) = &graph.nodes[n].op {
        n = graph.nodes[n].inputs[0].index();
    }
    n
}

/// Whether a frozen value is work: what users read through is none, and what would take much more memory is not kept.
fn worth(graph: &Graph, kinds: &[Kind], n: usize) -> bool {
    let node = &graph.nodes[n];
    if kinds[n] != Kind::Frozen || matches!(node.op, Op::Prim(Prim::Input(..))) {
        return false;
    }
    let sources: usize = node.inputs.iter().map(|id| graph.node(*id).shape.elements()).sum();
    match &node.op {
        Op::Prim(Prim::Broadcast(_)) => false,
        Op::Prim(Prim::Reshape(_)) => worth(graph, kinds, source(graph, node.inputs[0].index())),
        _ => node.shape.elements() <= MOST_GROWTH * sources.max(1),
    }
}

/// A factor for each place of the last axis: a frozen value that is stretched along all others.
fn by_channel(graph: &Graph, kinds: &[Kind], n: usize) -> Option<usize> {
    let node = &graph.nodes[n];
    let Op::Prim(Prim::Broadcast(shape)) = &node.op else { return None };
    let from = node.inputs[0].index();
    let source = &graph.nodes[from].shape;
    let channels = shape.last();
    let fits = kinds[from] != Kind::Changing && source.elements() == channels && source.last() == channels;
    fits.then_some(from)
}

/// The graph with scales of channels inside the kernels of the convolutions before them; `None` if there are none.
fn fold_scales(graph: &Graph) -> Result<Option<Graph>> {
    let kinds = kinds(graph);
    let mut users = vec![0usize; graph.nodes.len()];
    for node in &graph.nodes {
        node.inputs.iter().for_each(|id| users[id.index()] += 1);
    }
    graph.roots().for_each(|id| users[id.index()] += 1);
    let fold = Fold { graph, kinds: &kinds, users: &users };
    let scaled = |n: usize| fold.scale_of(n).filter(|(x, _)| fold.takes_scale(*x));
    if !(0..graph.nodes.len()).any(|n| scaled(n).is_some()) {
        return Ok(None);
    }
    record_anew(graph, |b, n, values| match scaled(n) {
        Some((x, factor)) => fold.scaled(values, x, values[factor]),
        None => {
            let node = &graph.nodes[n];
            b.push(node.op.clone(), &node.inputs.iter().map(|id| values[id.index()]).collect::<Vec<_>>())
        }
    })
    .map(Some)
}

struct Fold<'a> {
    graph: &'a Graph,
    kinds: &'a [Kind],
    users: &'a [usize],
}

impl Fold<'_> {
    /// A product with a factor for each channel: what is multiplied, and the factors.
    fn scale_of(&self, n: usize) -> Option<(usize, usize)> {
        let node = &self.graph.nodes[n];
        if !matches!(node.op, Op::Prim(Prim::Binary(Binary::Mul))) {
            return None;
        }
        let [a, b] = [0, 1].map(|i| node.inputs[i].index());
        let pair = |x: usize, f: usize| by_channel(self.graph, self.kinds, f).map(|f| (x, f));
        pair(a, b).or_else(|| pair(b, a))
    }

    /// An addition of a number for each channel: what is added to, and the numbers.
    fn shift_of(&self, n: usize) -> Option<(usize, usize)> {
        let node = &self.graph.nodes[n];
        if !matches!(node.op, Op::Prim(Prim::Binary(Binary::Add))) {
            return None;
        }
        let [a, b] = [0, 1].map(|i| node.inputs[i].index());
        let pair = |x: usize, f: usize| by_channel(self.graph, self.kinds, f).map(|f| (x, f));
        pair(a, b).or_else(|| pair(b, a))
    }

    /// Whether a value that is read once can be made with a scale in it at no cost.
    fn takes_scale(&self, n: usize) -> bool {
        let node = &self.graph.nodes[n];
        if self.users[n] != 1 || self.kinds[n] != Kind::Changing {
            return false;
        }
        match &node.op {
            Op::Prim(Prim::Conv(_)) => self.kinds[node.inputs[1].index()] == Kind::Frozen,
            _ => match self.scale_of(n).or_else(|| self.shift_of(n)) {
                Some((x, _)) => self.takes_scale(x),
                None => false,
            },
        }
    }

    /// A value that takes a scale, times factors.
    fn scaled<'g>(&self, values: &[Value<'g>], n: usize, factors: Value<'g>) -> Value<'g> {
        let node = &self.graph.nodes[n];
        let of = |i: usize| values[node.inputs[i].index()];
        if let Op::Prim(Prim::Conv(conv)) = &node.op {
            let channels = factors.shape().elements();
            return of(0).conv(of(1) * factors.reshape([channels]), *conv);
        }
        if let Some((x, own)) = self.scale_of(n) {
            return self.scaled(values, x, values[own] * factors);
        }
        match self.shift_of(n) {
            Some((x, own)) => self.scaled(values, x, factors) + values[own] * factors,
            None => values[n] * factors,
        }
    }
}

impl Graph {
    /// The same graph with some of its inputs; `keep` is told the number of each, and whether something asks for it.
    fn with_inputs(mut self, keep: impl Fn(usize, bool) -> bool) -> Graph {
        let live = self.live();
        let mut place = vec![None; self.inputs.len()];
        let mut kept = Vec::new();
        for (number, input) in std::mem::take(&mut self.inputs).into_iter().enumerate() {
            if keep(number, live[input.id.index()]) {
                place[number] = Some(kept.len());
                kept.push(input);
            }
        }
        for node in &mut self.nodes {
            if let Op::Prim(Prim::Input(number, shape, dtype)) = &mut node.op {
                match place[*number] {
                    Some(own) => *number = own,
                    // Nothing asks for it, so that `compact` takes it away.
                    None => node.op = Op::Prim(Prim::Fill(Scalar(0.0), shape.clone(), *dtype)),
                }
            }
        }
        self.inputs = kept;
        self.updates.iter_mut().for_each(|u| u.0 = place[u.0].unwrap_or(u.0));
        self.compact()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpret::interpret;
    use crate::prim::Conv;
    use crate::{Builder, DType, Tensor};

    fn tensor(shape: &[usize], seed: usize) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f64> = (0..n).map(|i| ((i * 7 + seed) % 11) as f64 / 5.0 - 1.0).collect();
        Tensor::from_f64s(DType::F32, shape, &values).unwrap()
    }

    #[test]
    fn both_parts_together_are_the_whole() {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [2, 5, 5, 3], DType::F32);
        let kernel = b.input("kernel", Role::State, [4, 3, 3, 3], DType::F32);
        let [scale, shift, mean] =
            ["scale", "shift", "mean"].map(|n| b.input(n, Role::State, [4], DType::F32));
        let counted = b.input("counted", Role::State, [4], DType::F32);
        let map = x.conv(kernel.transpose(&[2, 3, 1, 0]), Conv::default());
        let normal = map * scale + (shift - mean * scale);
        let twice = normal * (mean + 2.0) + shift;
        let y = twice.max(0.0) + counted;
        let graph = b.finish(&[("y", y)], &[(counted, counted + 1.0)]).unwrap();
        let parts = split(&graph).unwrap().unwrap();
        let text = parts.rest.to_string();
        assert!(!text.contains("mul") && !text.contains("transpose"), "{text}");
        assert!(!parts.frozen.to_string().contains("counted"));
        let inputs: Vec<Tensor> =
            graph.inputs.iter().enumerate().map(|(i, n)| tensor(&graph.node(n.id).shape, i)).collect();
        let given = |name: &str| graph.input_named(name).map(|i| inputs[i].clone());
        let whole = interpret(&graph, &inputs).unwrap();
        let first: Vec<Tensor> = parts.frozen.inputs.iter().map(|i| given(&i.name).unwrap()).collect();
        let made = interpret(&parts.frozen, &first).unwrap();
        let second: Vec<Tensor> = parts
            .rest
            .inputs
            .iter()
            .map(|i| match parts.frozen.outputs.iter().position(|o| o.0 == i.name) {
                Some(k) => Tensor::from_f64s(DType::F32, &made[k].shape, &made[k].data).unwrap(),
                None => given(&i.name).unwrap(),
            })
            .collect();
        let found = interpret(&parts.rest, &second).unwrap();
        for (a, b) in whole.iter().zip(&found) {
            assert_eq!(a.shape, b.shape);
            assert!(a.data.iter().zip(&b.data).all(|(x, y)| (x - y).abs() < 1e-5 * x.abs().max(1.0)));
        }
    }

    #[test]
    fn plain_weights_are_left_where_they_are() {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [2, 3], DType::F32);
        let (w, bias) =
            (b.input("w", Role::State, [3, 4], DType::F32), b.input("bias", Role::State, [4], DType::F32));
        assert!(split(&b.finish(&[("y", x.matmul(w) + bias)], &[]).unwrap()).unwrap().is_none());
    }
}
