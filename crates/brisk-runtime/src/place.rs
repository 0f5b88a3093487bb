//! Where each value lives: which values have a part for each sample, which sum over samples, which are whole, and when
//! each can be computed.
//!
//! Operations that treat samples independently can run tile by tile, depth-first. An operation that mixes samples ends
//! that: its result is known only after all tiles, so its users belong to the next *level*. A net without batch
//! statistics has one level; each batch normalization adds some.

use brisk_graph::op::Cut;
use brisk_graph::prim::{Prim, Reduce};
use brisk_graph::{Graph, Node, Op, Role};

use crate::host::on_host;

/// How a value relates to the samples of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One value for the step: parameters, gradients once summed, the learning rate.
    Whole,
    /// The batch's samples one after another, each treated independently.
    Sample,
    /// A sum over samples: added up tile by tile, whole for its users.
    Sum,
}

/// What [`places`] finds.
pub struct Places {
    /// For each node.
    pub place: Vec<Place>,
    /// For nodes by sample and sums: the level whose region computes them. For whole ones: the level before whose
    /// region they can be known.
    pub level: Vec<usize>,
    /// For whole values: computed at once from values by sample, and with the samples along their first axis all the same.
    /// Later regions cut it as they cut what is by sample.
    pub rows: Vec<bool>,
    /// Number of samples, 0 if no input has any.
    pub batch: usize,
}

impl Places {
    /// Whether a tile of a region sees a part of this value.
    pub fn by_sample(&self, node: usize) -> bool {
        self.place[node] == Place::Sample || self.rows[node]
    }

    /// The level from which on users of a node can run.
    pub fn available(&self, node: usize) -> usize {
        match self.place[node] {
            Place::Sum => self.level[node] + 1,
            Place::Whole | Place::Sample => self.level[node],
        }
    }
}

/// Places every node of a graph.
pub fn places(graph: &Graph) -> Places {
    let batch_inputs = graph.inputs.iter().filter(|i| i.role == Role::Batch);
    // Of inputs with first axes of different sizes (tokens and texts, say), the largest is what is cut.
    let sizes = batch_inputs.map(|i| graph.node(i.id).shape.first().copied().unwrap_or(0));
    let batch = sizes.max().unwrap_or(0);
    let mut found = Places { place: Vec::new(), level: Vec::new(), rows: Vec::new(), batch };
    for node in &graph.nodes {
        let place = match batch {
            0 => Place::Whole,
            _ => place(graph, node, batch, &found),
        };
        let depends = node.inputs.iter().any(|id| found.by_sample(id.index()));
        let rows =
            place == Place::Whole && depends && node.shape.first() == Some(&batch) && cuts_itself(&node.op);
        let mixes = place == Place::Whole;
        let level = node.inputs.iter().map(|id| {
            let i = id.index();
            // An operation that needs all samples at once must wait for the level after theirs.
            found.available(i) + usize::from(mixes && found.place[i] == Place::Sample)
        });
        let level = level.max().unwrap_or(0);
        found.place.push(place);
        found.level.push(level);
        found.rows.push(rows);
    }
    found
}

/// Whether a kernel runs over all samples at once and cuts its work itself.
fn cuts_itself(op: &Op) -> bool {
    matches!(op, Op::Named(def, _) if def.kernel.as_ref().is_some_and(|k| k.cut == Cut::Parts))
}

fn place(graph: &Graph, node: &Node, batch: usize, known: &Places) -> Place {
    let by_sample = |i: usize| known.by_sample(node.inputs[i].index());
    let operand = |i: usize| &graph.node(node.inputs[i]).shape;
    // The samples are axis 0, or rows of samples are.
    let rows = |shape: &[usize]| shape.first().is_some_and(|&d| d > 0 && d % batch == 0);
    let any = (0..node.inputs.len()).any(by_sample);
    let operands_in_rows = || (0..node.inputs.len()).all(|i| !by_sample(i) || rows(operand(i)));
    let cut = |yes: bool| if yes { Place::Sample } else { Place::Whole };
    // All samples stretched over each of them, as `x [n]` beside `y [n, n]`: that is read through, and a tile has not all of it.
    let mixed = |id: &brisk_graph::Id| {
        let source = graph.node(*id);
        known.place[id.index()] == Place::Whole
            && matches!(source.op, Op::Prim(Prim::Broadcast(_)))
            && known.by_sample(source.inputs[0].index())
    };
    let prim = match &node.op {
        Op::Prim(prim) => prim,
        Op::Named(def, _) => {
            let Some(kernel) = &def.kernel else { return Place::Whole };
            if kernel.cut == Cut::Parts {
                return Place::Whole;
            }
            let fits = kernel
                .by_row
                .iter()
                .enumerate()
                .all(|(i, &by_row)| if by_row { rows(operand(i)) } else { !by_sample(i) });
            // Rows end before the last axis, so that axis must not be the one of the samples.
            let leading = matches!(kernel.cut, Cut::Samples(_))
                || node.shape.rank() >= 2
                || kernel
                    .by_row
                    .iter()
                    .zip(&node.inputs)
                    .any(|(&by_row, id)| by_row && graph.node(*id).shape.rank() >= 2);
            return cut(any && fits && leading && rows(&node.shape));
        }
    };
    if let Prim::Input(number, ..) = prim {
        return cut(graph.inputs[*number].role == Role::Batch && node.shape.first() == Some(&batch));
    }
    if let Prim::Random(_, shape) = prim {
        return cut(rows(shape) && shape.rank() > 1);
    }
    if !any || on_host(graph, node) {
        return Place::Whole;
    }
    match prim {
        Prim::Input(..) | Prim::Constant(_) | Prim::Fill(..) | Prim::Iota(..) | Prim::Random(..) => {
            Place::Whole
        }
        Prim::Reshape(_) => Place::Sample,
        Prim::Unary(_) | Prim::Cast(_) | Prim::Binary(_) | Prim::Compare(_) | Prim::Select => {
            cut(rows(&node.shape) && !node.inputs.iter().any(mixed))
        }
        Prim::Broadcast(shape) => cut(operand(0).rank() == shape.rank() && rows(operand(0))),
        Prim::Transpose(perm) => cut(perm.first() == Some(&0) && rows(operand(0))),
        Prim::Slice { start, end, step } => {
            cut(rows(operand(0)) && start[0] == 0 && end[0] == operand(0)[0] && step[0] == 1)
        }
        Prim::Pad { low, high, inner, .. } => cut(rows(operand(0)) && low[0] + high[0] + inner[0] == 0),
        Prim::Concat(axis) => cut(*axis > 0 && operands_in_rows()),
        Prim::Reverse(axes) => cut(!axes.contains(&0) && rows(operand(0))),
        Prim::Reduce(kind, axes) => match axes.contains(&0) {
            false => cut(rows(operand(0)) && !node.inputs.iter().any(mixed)),
            true if *kind == Reduce::Sum && rows(operand(0)) => Place::Sum,
            true => Place::Whole,
        },
        Prim::ArgMax(axis) => cut(*axis > 0 && rows(operand(0))),
        Prim::Take => cut(!by_sample(0) && rows(operand(1))),
        Prim::ScatterAdd(_) => match by_sample(0) && by_sample(1) && rows(operand(0)) && rows(operand(1)) {
            true => Place::Sum,
            false => Place::Whole,
        },
        Prim::MatMul { ta, tb } => {
            let rank = node.shape.rank();
            if rank > 2 {
                return cut(operands_in_rows());
            }
            match (by_sample(0), by_sample(1)) {
                (true, false) if !ta => cut(rows(operand(0))),
                (true, true) if *ta && !tb && rows(operand(0)) && rows(operand(1)) => Place::Sum,
                _ => Place::Whole,
            }
        }
        Prim::Conv(_) | Prim::ConvGradInput(..) => cut(by_sample(0) && !by_sample(1) && rows(operand(0))),
        Prim::ConvGradKernel(..) => {
            match by_sample(0) && by_sample(1) && rows(operand(0)) && rows(operand(1)) {
                true => Place::Sum,
                false => Place::Whole,
            }
        }
        Prim::MaxPool(_) | Prim::MaxPoolIndex(_) | Prim::SumPool(_) | Prim::SumPoolGrad(..) => {
            cut(rows(operand(0)))
        }
        Prim::MaxPoolGrad(..) | Prim::MaxPoolTake(_) => cut(rows(operand(0)) && rows(operand(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brisk_graph::{Builder, DType};

    #[test]
    fn samples_beside_all_samples_are_not_cut() {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [3], DType::F32);
        let y = b.input("y", Role::Batch, [3, 1], DType::F32);
        let sum = x + y;
        let graph = b.finish(&[("sum", sum)], &[]).unwrap();
        assert_eq!(places(&graph).place[sum.id().index()], Place::Whole);
    }

    #[test]
    fn batch_statistics_start_a_new_level() {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [8, 3], DType::F32);
        let w = b.input("w", Role::State, [3, 5], DType::F32);
        let y = x.matmul(w);
        let mean = y.mean(&[0]);
        let centred = y - mean;
        let loss = (centred * centred).sum_all();
        let graph = b.finish(&[("loss", loss)], &[]).unwrap();
        let found = places(&graph);
        let of = |id: brisk_graph::Id| (found.place[id.index()], found.level[id.index()]);
        assert_eq!(of(y.id()), (Place::Sample, 0));
        assert_eq!(of(mean.id()), (Place::Whole, 1));
        assert_eq!(of(centred.id()), (Place::Sample, 1));
        assert_eq!(of(loss.id()), (Place::Sum, 1));
    }
}
