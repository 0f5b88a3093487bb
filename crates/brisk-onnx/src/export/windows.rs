//! Padding of windows over maps whose size is free.

use std::collections::BTreeSet;

use brisk_graph::op::AVG_POOL;
use brisk_graph::{Graph, Node, Op, Prim};

use crate::{Error, Result};

/// A window on its way over a map, down and right.
struct Sliding {
    map: [usize; 2],
    size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [[usize; 2]; 2],
}

impl Sliding {
    /// What a node moves over its first operand, if it does.
    fn of(graph: &Graph, node: &Node) -> Option<Sliding> {
        let sizes = |operand: usize, from: usize| {
            let shape = &graph.node(*node.inputs.get(operand)?).shape;
            Some([*shape.get(from)?, *shape.get(from + 1)?])
        };
        let map = sizes(0, 1)?;
        match &node.op {
            Op::Prim(Prim::Conv(c)) => {
                let size = sizes(1, 0)?;
                Some(Sliding { map, size, stride: c.stride, dilation: c.dilation, padding: c.padding })
            }
            Op::Prim(Prim::MaxPool(w)) => {
                Some(Sliding { map, size: w.size, stride: w.stride, dilation: [1, 1], padding: w.padding })
            }
            Op::Named(op, attrs) if *op == &AVG_POOL => {
                let list = |name| attrs.get_ints(name).iter().filter_map(|&v| usize::try_from(v).ok());
                let pair = |name| <[usize; 2]>::try_from(list(name).collect::<Vec<_>>()).ok();
                let [top, bottom, left, right] = list("padding").collect::<Vec<_>>().try_into().ok()?;
                let padding = [[top, bottom], [left, right]];
                Some(Sliding { map, size: pair("size")?, stride: pair("stride")?, dilation: [1, 1], padding })
            }
            _ => None,
        }
    }

    /// Whether ONNX's `SAME_UPPER` says this padding. Runtimes differ about windows with gaps, and about those that leave out cells between
    /// one place and the next.
    fn same_upper(&self) -> bool {
        let axis = |a: usize| {
            let (map, size, stride) = (self.map[a], self.size[a], self.stride[a]);
            let places = map.div_ceil(stride.max(1));
            let total =
                (places.saturating_sub(1).saturating_mul(stride)).saturating_add(size).saturating_sub(map);
            self.dilation[a] == 1 && size >= stride && self.padding[a] == [total / 2, total - total / 2]
        };
        axis(0) && axis(1)
    }
}

/// Nodes whose padding follows from the sizes of their maps, by their places in the graph.
#[derive(Default)]
pub(super) struct Paddings {
    differ: BTreeSet<usize>,
    unknown: BTreeSet<usize>,
}

impl Paddings {
    /// Compares a graph with the first, which is the same but for sizes.
    pub fn compare(&mut self, first: &Graph, other: &Graph) {
        for (i, (a, b)) in first.nodes.iter().zip(&other.nodes).enumerate() {
            let (Some(a), Some(b)) = (Sliding::of(first, a), Sliding::of(other, b)) else { continue };
            if a.padding != b.padding {
                self.differ.insert(i);
            }
            if !a.same_upper() || !b.same_upper() {
                self.unknown.insert(i);
            }
        }
    }

    /// The nodes that are padded as `SAME_UPPER` says; an error if others differ.
    pub fn same_upper(self, graph: &Graph) -> Result<BTreeSet<usize>> {
        match self.differ.intersection(&self.unknown).next().and_then(|&i| graph.nodes.get(i)) {
            Some(node) => Err(Error::Export {
                layer: node.scope.to_string(),
                op: node.op.name(),
                message: "its padding follows from the length of what comes in, and it moves by more than its window's size, or has \
                          gaps: ONNX has no such padding; give the model's inputs a fixed length"
                    .into(),
            }),
            None => Ok(self.differ),
        }
    }
}
