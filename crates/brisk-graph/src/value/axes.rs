//! Moving axes: shapes and orders of the same elements.
//!
//! Transposes cost a copy, and reshapes nothing, so that transposes are brought together: one of another becomes one, and a
//! reshape that only splits axes, or only merges neighbours, goes before or behind. A shuffle of channels of images that lie
//! channels last (transposed, split, transposed, merged, transposed) is one transpose.

use std::ops::Range;

use super::Value;
use crate::{Op, Prim, Shape};

impl<'g> Value<'g> {
    /// The same elements in another shape.
    pub fn reshape(self, shape: impl Into<Shape>) -> Value<'g> {
        let shape = shape.into();
        match self.known() {
            _ if shape == self.shape() => return self,
            Some(value) if shape.elements() == self.shape().elements() => {
                return self.builder.fill_as(value, shape, self.dtype());
            }
            _ => {}
        }
        let node = self.builder.node(self.id);
        if let Op::Prim(Prim::Transpose(perm)) = &node.op
            && let Some(groups) = parts(&node.shape, &shape)
        {
            let mut split = Vec::new();
            let mut split_groups = Vec::new();
            for axis in 0..perm.len() {
                let start = split.len();
                let turned = groups.iter().zip(perm).find(|(_, p)| **p == axis);
                split.extend(turned.iter().flat_map(|(group, _)| &shape[(*group).clone()]));
                split_groups.push(start..split.len());
            }
            let from = self.builder.value(node.inputs[0]).reshape(split);
            return from.transpose(&moved(&split_groups, perm));
        }
        self.builder.prim(Prim::Reshape(shape), &[self])
    }

    /// Axes in another order.
    pub fn transpose(self, perm: &[usize]) -> Value<'g> {
        if perm.iter().copied().eq(0..self.rank()) {
            return self;
        }
        let node = self.builder.node(self.id);
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..node.shape.rank()) {
            return self.builder.prim(Prim::Transpose(perm.to_vec()), &[self]);
        }
        let shape: Vec<usize> = perm.iter().map(|&p| node.shape[p]).collect();
        // Axes of size 1 may stand anywhere.
        if perm.iter().filter(|&&p| node.shape[p] != 1).is_sorted() {
            return self.reshape(shape);
        }
        match &node.op {
            Op::Prim(Prim::Transpose(before)) => {
                let both: Vec<usize> = perm.iter().map(|&p| before[p]).collect();
                self.builder.value(node.inputs[0]).transpose(&both)
            }
            Op::Prim(Prim::Reshape(_)) => {
                let from = self.builder.value(node.inputs[0]);
                match parts(&node.shape, &from.shape()) {
                    Some(groups) => from.transpose(&moved(&groups, perm)).reshape(shape),
                    None => self.builder.prim(Prim::Transpose(perm.to_vec()), &[self]),
                }
            }
            _ => self.builder.prim(Prim::Transpose(perm.to_vec()), &[self]),
        }
    }
}

/// Which axes of a finer shape each axis of a coarse one is made of; nothing if axes are not split one by one, or none is.
fn parts(coarse: &[usize], fine: &[usize]) -> Option<Vec<Range<usize>>> {
    let mut at = 0;
    let mut split = false;
    let mut groups = Vec::with_capacity(coarse.len());
    for &size in coarse {
        let start = at;
        let mut product = 1;
        while at < fine.len() && (product < size || at == start) && fine[at] * product <= size {
            product *= fine[at];
            at += 1;
        }
        if product != size || size == 0 {
            return None;
        }
        split |= fine[start..at].iter().filter(|&&d| d > 1).count() > 1;
        groups.push(start..at);
    }
    (split && at == fine.len()).then_some(groups)
}

/// The order of the axes in groups, where the groups are put in an order.
fn moved(groups: &[Range<usize>], perm: &[usize]) -> Vec<usize> {
    perm.iter().flat_map(|&p| groups[p].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpret::interpret;
    use crate::{Builder, DType, Role, Tensor};

    /// What a formula makes of the numbers 0, 1, 2 and so on, and how many transposes it has.
    fn made(shape: &[usize], formula: impl Fn(Value<'_>) -> Value<'_>) -> (Vec<f64>, usize) {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, shape, DType::F32);
        let graph = b.finish(&[("y", formula(x))], &[]).unwrap();
        let numbers: Vec<f64> = (0..x.shape().elements()).map(|i| i as f64).collect();
        let y = interpret(&graph, &[Tensor::from_f64s(DType::F32, shape, &numbers).unwrap()]).unwrap();
        let transposes = graph.nodes.iter().filter(|n| matches!(n.op, Op::Prim(Prim::Transpose(_)))).count();
        (y[0].data.clone(), transposes)
    }

    #[test]
    fn a_shuffle_of_channels_is_one_transpose() {
        let (found, transposes) = made(&[2, 2, 2, 6], |x| {
            let split = x.transpose(&[0, 3, 1, 2]).reshape([2, 2, 3, 2, 2]);
            split.transpose(&[0, 2, 1, 3, 4]).reshape([2, 6, 2, 2]).transpose(&[0, 2, 3, 1])
        });
        let expected: Vec<f64> =
            (0..8).flat_map(|cell| [0, 3, 1, 4, 2, 5].map(|c| f64::from(cell * 6 + c))).collect();
        assert_eq!((found, transposes), (expected, 1));
    }

    #[test]
    fn what_does_not_split_axes_one_by_one_stays_where_it_is() {
        // [2, 3] turned is 0 3 1 4 2 5, whichever way it is laid out.
        let turned = vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0];
        for shape in [&[2, 3][..], &[6], &[1, 6], &[3, 1, 2], &[3, 2, 1]] {
            assert_eq!(
                made(&[2, 3], |x| x.transpose(&[1, 0]).reshape(shape)),
                (turned.clone(), 1),
                "{shape:?}"
            );
        }
        assert_eq!(made(&[3, 2], |x| x.reshape([2, 3]).transpose(&[1, 0])), (turned, 1));
    }

    #[test]
    fn axes_are_parts_of_coarser_ones() {
        assert_eq!(parts(&[4, 6], &[4, 2, 3]), Some(vec![0..1, 1..3]));
        assert_eq!(parts(&[1, 6], &[2, 3]), Some(vec![0..0, 0..2]));
        assert_eq!(parts(&[1, 6, 1], &[1, 2, 3, 1]), Some(vec![0..1, 1..3, 3..4]));
        for (coarse, fine) in
            [(&[4, 6][..], &[2, 12][..]), (&[4, 6], &[4, 6]), (&[6], &[1, 6]), (&[0, 4], &[0, 2, 2])]
        {
            assert_eq!(parts(coarse, fine), None, "{coarse:?} {fine:?}");
        }
    }
}
