//! The same computation, recorded for several sizes of its free axes.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use brisk_graph::op::AVG_POOL;
use brisk_graph::prim::{Conv, Scalar, Window};
use brisk_graph::{Graph, Id, Node, Op, Prim, Shape, decompose};

use super::windows::Paddings;
use super::{Record, table};
use crate::{Error, Result};

/// What stands for the free axes while graphs are recorded: batches in the first row, lengths in the others. Later ones are smaller, for
/// models that take short sequences only. The last of three is even, and all differ, so that what follows from one shows.
const TRIED: [[[usize; 3]; 4]; 4] = [
    [[7, 11, 13], [61, 97, 64], [67, 101, 70], [71, 103, 74]],
    [[17, 19, 13], [29, 37, 32], [31, 41, 34], [23, 43, 26]],
    [[7, 11, 5], [13, 17, 16], [19, 23, 20], [29, 31, 22]],
    [[11, 13, 7], [4, 6, 5], [3, 8, 9], [5, 10, 12]],
];

/// Graphs that are the same but for sizes.
pub(super) struct Sampled<'a> {
    /// At least one; the first is the one that is walked.
    graphs: Vec<Graph>,
    /// Of each axis the size in each graph.
    pub axes: Vec<Vec<usize>>,
    record: &'a Record<'a>,
    /// The most that a free length may be, as the caller wants it.
    longest: usize,
    at_longest: OnceCell<Result<Graph>>,
    /// The named operations that ONNX does not have.
    pub decomposed: BTreeSet<&'static str>,
    /// Nodes whose padding follows from their maps' sizes, as ONNX's `SAME_UPPER` says.
    same_upper: BTreeSet<usize>,
}

impl<'a> Sampled<'a> {
    pub fn new(axes: &[String], record: &'a Record<'a>, longest: usize) -> Result<Sampled<'a>> {
        let most = TRIED[0].len();
        if axes.len() > most {
            let message = format!(
                "expected at most {most} free axes, the batch first, found {}; give some inputs a fixed length",
                axes.len()
            );
            return Err(Error::Model(message));
        }
        let mut first = None;
        for tried in TRIED {
            let points = points(&tried[..axes.len()]);
            let mut decomposed = BTreeSet::new();
            match points.iter().map(|point| graph(record, point, &mut decomposed)).collect::<Result<Vec<_>>>()
            {
                Ok(graphs) => match every_rest(record, &graphs, &points) {
                    Ok(same_upper) => {
                        let axes = (0..axes.len()).map(|a| points.iter().map(|p| p[a]).collect()).collect();
                        let at_longest = OnceCell::new();
                        return Ok(Sampled {
                            graphs,
                            axes,
                            record,
                            longest,
                            at_longest,
                            decomposed,
                            same_upper,
                        });
                    }
                    Err(error) => first = first.or(Some(error)),
                },
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::Model("nothing was recorded".into())))
    }

    /// The graph that is walked.
    pub fn graph(&self) -> &Graph {
        &self.graphs[0]
    }

    /// The node in each graph.
    pub fn each(&self, id: Id) -> impl Iterator<Item = &Node> {
        self.graphs.iter().map(move |g| g.node(id))
    }

    /// What a node's operation is told, if it is the same in each graph.
    pub fn same<T: PartialEq>(&self, id: Id, of: impl Fn(&Node) -> T) -> Option<T> {
        let mut each = self.each(id).map(of);
        let first = each.next()?;
        each.all(|other| other == first).then_some(first)
    }

    /// Whether a window's padding follows from its map's size, as ONNX's `SAME_UPPER` says.
    pub fn same_upper(&self, id: Id) -> bool {
        self.same_upper.contains(&id.index())
    }

    /// For the longest sequences that the model takes, if there is such a graph.
    pub fn longest(&self) -> Option<&Graph> {
        self.at_longest.get_or_init(|| self.for_longest()).as_ref().ok()
    }

    /// For sequences of as many steps as the caller wants or half as many, and so on.
    fn for_longest(&self) -> Result<Graph> {
        let least = self.axes.iter().skip(1).flatten().copied().max().unwrap_or(1);
        let mut length = self.longest.max(least);
        loop {
            let point: Vec<usize> =
                self.axes.iter().enumerate().map(|(a, own)| if a == 0 { own[0] } else { length }).collect();
            match graph(self.record, &point, &mut BTreeSet::new())
                .and_then(|g| alike(self.graph(), &g).map(|()| g))
            {
                Err(_) if length > least => length = (length / 2).max(least),
                found => return found,
            }
        }
    }
}

/// All axes at their first size, each by itself at its others, and all at their second.
fn points(sizes: &[[usize; 3]]) -> Vec<Vec<usize>> {
    let at = |i: usize| sizes.iter().map(|s| s[i]).collect::<Vec<_>>();
    let mut all = vec![at(0)];
    for (a, own) in sizes.iter().enumerate() {
        for &size in &own[1..] {
            let mut point = at(0);
            point[a] = size;
            all.push(point);
        }
    }
    all.push(at(1));
    all
}

fn graph(record: &Record<'_>, point: &[usize], decomposed: &mut BTreeSet<&'static str>) -> Result<Graph> {
    let graph = record(point).map_err(Error::Model)?;
    decomposed.extend(graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Named(op, _) if table::of(op).is_none() => Some(op.name),
        _ => None,
    }));
    Ok(decompose(&graph, |op, _| table::of(op).is_some())?)
}

/// An error unless the graphs are the same but for sizes, and stay so whatever is left over when windows have gone over the free lengths
/// in their steps: padding may follow from that. The nodes whose padding does are what comes back.
fn every_rest(record: &Record<'_>, graphs: &[Graph], points: &[Vec<usize>]) -> Result<BTreeSet<usize>> {
    let (Some(first), Some(point)) = (graphs.first(), points.first()) else { return Ok(BTreeSet::new()) };
    let mut paddings = Paddings::default();
    let mut compare = |other: &Graph| alike(first, other).map(|()| paddings.compare(first, other));
    graphs.iter().try_for_each(&mut compare)?;
    let mut all = 1usize;
    for (i, node) in first.nodes.iter().enumerate() {
        let step = step(&node.op).filter(|_| graphs.iter().any(|g| g.nodes[i].shape[1..] != node.shape[1..]));
        all = all.saturating_mul(step.unwrap_or(1));
        const MOST: usize = 64;
        if all > MOST {
            return Err(Error::Export {
                layer: node.scope.to_string(),
                op: node.op.name(),
                message: format!(
                    "windows over a free length move by more than {MOST} in all; give the model's inputs a fixed length"
                ),
            });
        }
    }
    (1..all).try_for_each(|rest| {
        let point: Vec<usize> =
            point.iter().enumerate().map(|(a, &p)| if a == 0 { p } else { p + rest }).collect();
        compare(&graph(record, &point, &mut BTreeSet::new())?)
    })?;
    paddings.same_upper(first)
}

/// By how many cells a window moves, at the most of down and right.
fn step(op: &Op) -> Option<usize> {
    let stride = match op {
        Op::Prim(Prim::Conv(c) | Prim::ConvGradInput(c, _)) => c.stride,
        Op::Prim(Prim::MaxPool(w) | Prim::SumPool(w)) => w.stride,
        Op::Named(op, attrs) if *op == &AVG_POOL => {
            let strides = attrs.get_ints("stride").iter().filter_map(|&s| usize::try_from(s).ok());
            return strides.max();
        }
        _ => return None,
    };
    stride.into_iter().max()
}

/// An error unless two graphs are the same but for sizes.
fn alike(a: &Graph, b: &Graph) -> Result<()> {
    let same = |(x, y): (&Node, &Node)| {
        x.inputs == y.inputs
            && x.dtype == y.dtype
            && x.shape.rank() == y.shape.rank()
            && x.scope == y.scope
            && sizeless(&x.op) == sizeless(&y.op)
    };
    match a.nodes.iter().zip(&b.nodes).find(|pair| !same(*pair)) {
        Some((node, _)) => Err(Error::Export {
            layer: node.scope.to_string(),
            op: node.op.name(),
            message: "what it is told differs with the sizes of what comes in, in a way that ONNX cannot say; give the \
                      model's inputs a fixed length"
                .into(),
        }),
        None if a.nodes.len() == b.nodes.len() && a.outputs == b.outputs && a.inputs == b.inputs => Ok(()),
        None => Err(Error::Model(
            "another computation is recorded for other sizes of what comes in; give the model's inputs a fixed length".into(),
        )),
    }
}

/// The operation without what may follow from the sizes of its operands.
fn sizeless(op: &Op) -> Op {
    let none = Shape::scalar;
    let prim = match op {
        Op::Prim(prim) => prim,
        Op::Named(op, attrs) if *op == &AVG_POOL => return Op::Named(op, attrs.without("padding")),
        Op::Named(..) => return op.clone(),
    };
    let padding = [[0, 0], [0, 0]];
    Op::Prim(match prim {
        Prim::Conv(conv) => Prim::Conv(Conv { padding, ..*conv }),
        Prim::MaxPool(window) => Prim::MaxPool(Window { padding, ..*window }),
        Prim::Input(number, _, dtype) => Prim::Input(*number, none(), *dtype),
        Prim::Constant(tensor) => Prim::Fill(Scalar(0.0), none(), tensor.dtype()),
        Prim::Fill(_, _, dtype) => Prim::Fill(Scalar(0.0), none(), *dtype),
        Prim::Iota(axis, _, dtype) => Prim::Iota(*axis, none(), *dtype),
        Prim::Reshape(_) => Prim::Reshape(none()),
        Prim::Broadcast(_) => Prim::Broadcast(none()),
        Prim::Slice { step, .. } => Prim::Slice { start: vec![], end: vec![], step: step.clone() },
        Prim::Pad { inner, value, .. } => {
            Prim::Pad { low: vec![], high: vec![], inner: inner.clone(), value: *value }
        }
        Prim::ScatterAdd(_) => Prim::ScatterAdd(0),
        Prim::ConvGradInput(conv, _) => Prim::ConvGradInput(*conv, [0, 0]),
        other => other.clone(),
    })
}
