//! Operands to test with: random, the same each time, and far from the kinks of functions.

use brisk_graph::op::{Attrs, OpDef, SampleKind};
use brisk_graph::{DType, Shape, Tensor};
use brisk_kernels::random;

/// A source of random operands: a function of its seed alone.
///
/// Its floats lie on a grid with as many points as it takes: no two numbers of a tensor are equal, none is zero, and no
/// number of one tensor equals one of another. So rectifiers, maxima and absolute differences are smooth
/// around them, and finite differences can be trusted.
///
/// ```
/// use brisk_testkit::Random;
/// let mut random = Random::new(7);
/// let x = random.floats([2, 3], -1.0, 1.0);
/// assert_eq!(x.shape().dims(), [2, 3]);
/// assert!(x.f64s()?.iter().all(|v| v.abs() <= 1.0 && *v != 0.0));
/// # Ok::<(), brisk_graph::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    seed: u32,
    tensors: u32,
}

impl Random {
    /// The source of a seed.
    pub fn new(seed: u32) -> Random {
        Random { seed, tensors: 0 }
    }

    fn key(&mut self) -> [u32; 2] {
        self.tensors += 1;
        [self.seed, self.tensors]
    }

    /// f64 numbers in a range.
    pub fn floats(&mut self, shape: impl Into<Shape>, low: f64, high: f64) -> Tensor {
        let shape = shape.into();
        let key = self.key();
        let count = shape.elements();
        // Each number has a part of the grid for itself, and each tensor its own place between the grid's lines.
        let part = 1024usize.div_ceil(count.max(1)).max(4);
        let step = (high - low) / (part * count.max(1)) as f64;
        let offset = 0.31 + 0.06 * f64::from(self.tensors % 7);
        let parts = random::permutation(key, count);
        let number = |(i, place): (usize, u32)| {
            let within = random::bits([key[0], !key[1]], i as u64) as usize % part;
            low + ((place as usize * part + within) as f64 + offset) * step
        };
        let data: Vec<f64> = parts.into_iter().enumerate().map(number).collect();
        Tensor::new(shape, data).expect("one number for each place")
    }

    /// i32 numbers from 0 below a bound.
    pub fn indices(&mut self, shape: impl Into<Shape>, bound: i32) -> Tensor {
        let shape = shape.into();
        let key = self.key();
        let index = |i| (random::bits(key, i as u64) % bound.unsigned_abs().max(1)) as i32;
        let data: Vec<i32> = (0..shape.elements()).map(index).collect();
        Tensor::new(shape, data).expect("one number for each place")
    }

    /// What a sample asks for; floats of a type.
    pub fn tensor(&mut self, shape: &Shape, kind: SampleKind, float: DType) -> Tensor {
        let (tensor, dtype) = match kind {
            SampleKind::Float(low, high) => (self.floats(shape, low, high), float),
            SampleKind::Index(bound) => (self.indices(shape, bound), DType::I32),
            SampleKind::Byte(bound) => (self.indices(shape, bound.into()), DType::U8),
            SampleKind::Exactly(values) => (
                Tensor::new(shape.clone(), values.to_vec()).expect("as many numbers as the shape says"),
                DType::I32,
            ),
        };
        Tensor::from_f64s(dtype, shape, &tensor.to_f64s()).expect("the same elements")
    }
}

/// Operands and attributes for one call of a named operation.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operands.
    pub inputs: Vec<Tensor>,
    /// The attributes.
    pub attrs: Attrs,
}

impl Case {
    /// Types and shapes of the operands, as shape rules want them.
    pub fn operands(&self) -> Vec<(&Shape, DType)> {
        self.inputs.iter().map(|t| (t.shape(), t.dtype())).collect()
    }

    /// How it is called in messages.
    pub fn describe(&self, op: &OpDef) -> String {
        let operands: Vec<_> = self.inputs.iter().map(|t| format!("{} {}", t.dtype(), t.shape())).collect();
        format!("{}{}({})", op.name, self.attrs, operands.join(", "))
    }
}

/// The samples of an operation, filled with floats of a type.
///
/// ```
/// use brisk_graph::{DType, op};
/// let cases = brisk_testkit::samples(&op::SOFTMAX, DType::F64, 1);
/// assert_eq!(cases[0].inputs[0].dtype(), DType::F64);
/// ```
pub fn samples(op: &OpDef, float: DType, seed: u32) -> Vec<Case> {
    let mut random = Random::new(seed);
    let fill = |sample: brisk_graph::op::Sample| Case {
        inputs: sample.inputs.iter().map(|(shape, kind)| random.tensor(shape, *kind, float)).collect(),
        attrs: sample.attrs,
    };
    (op.samples)().into_iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn floats_are_distinct_and_the_same_each_time() {
        let make = || {
            let mut random = Random::new(3);
            let (a, b) = (random.floats([40, 50], -2.0, 2.0), random.floats([40, 50], -2.0, 2.0));
            [a.to_f64s(), b.to_f64s()].concat()
        };
        let (mut first, second) = (make(), make());
        assert_eq!(first, second);
        assert!(first.iter().all(|v| v.abs() > 1e-5 && v.abs() < 2.0));
        first.sort_by(f64::total_cmp);
        assert!(first.windows(2).all(|w| w[1] - w[0] > 1e-5));
    }
}
