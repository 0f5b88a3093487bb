//! Normalization.

use brisk_kernels::norm as kernels;

use super::{
    Attrs, Cut, Gradient, Inferred, Kernel, KernelCall, OpDef, Sample, SampleKind, keep_last, leading,
};
use crate::{DType, Shape, Value};

/// `x` and vectors as long as its last axis, all floats of one type.
fn rows_and_vectors(inputs: &[(&Shape, DType)], count: usize) -> Inferred {
    let Some(((x, dtype), vectors)) = inputs.split_first().filter(|i| i.1.len() + 1 == count) else {
        return Err(format!("expected {count} operands, found {}", inputs.len()));
    };
    if !dtype.is_float() || x.rank() == 0 || x.last() == 0 {
        return Err(format!("expected rows of floats, found {dtype} {x}"));
    }
    let vector = Shape::from([x.last()]);
    match vectors.iter().find(|v| *v.0 != vector || v.1 != *dtype) {
        Some(v) => Err(format!("beside {dtype} {x}: expected {dtype} {vector}, found {} {}", v.1, v.0)),
        None => Ok(((*x).clone(), *dtype)),
    }
}

/// `x` less the mean of its row, and the reciprocal standard deviation of the row.
fn center(x: Value<'_>, epsilon: f64) -> (Value<'_>, Value<'_>) {
    let centered = x - keep_last(x, Value::mean);
    let variance = keep_last(centered * centered, Value::mean);
    (centered, (variance + epsilon).rsqrt())
}

fn shapes() -> [Shape; 4] {
    [[3, 7].into(), [2, 65].into(), [1, 3].into(), [2, 3, 10].into()]
}

/// See [`layer_norm`].
pub static LAYER_NORM: OpDef = OpDef {
    name: "layer_norm",
    doc: "y = (x - mean) / sqrt(variance + epsilon) gain + bias, mean and variance over the last axis; \
          [.., n], [n], [n] -> [.., n]",
    shape: |inputs, _| rows_and_vectors(inputs, 3),
    decompose: |_, x, a| {
        let (centered, rstd) = center(x[0], a.get_float("epsilon"));
        centered * rstd * x[1] + x[2]
    },
    gradient: Gradient::Closed(|g| {
        let (b, x) = (g.dy.builder(), g.inputs[0]);
        let vector = |value| b.fill_as(value, g.inputs[1].shape(), x.dtype());
        let normal = b.named(&LAYER_NORM, g.attrs.clone(), &[x, vector(1.0), vector(0.0)]);
        let rows = leading(x);
        let dx = b.named(&LAYER_NORM_GRAD, g.attrs.clone(), &[x, g.inputs[1], g.dy]);
        vec![Some(dx), Some((g.dy * normal).sum(&rows)), Some(g.dy.sum(&rows))]
    }),
    kernel: Some(Kernel {
        cut: Cut::Rows,
        run: |c| {
            let [x, gain, bias] = c.inputs else { return Err("expected three operands".into()) };
            let epsilon = c.attrs.get_float("epsilon") as f32;
            let (x, gain, bias) = (x.f32s(), gain.f32s(), bias.f32s());
            kernels::layer_norm(c.columns, x, gain, bias, epsilon, c.output, &mut [], &mut []);
            Ok(())
        },
        by_row: &[true, false, false],
    }),
    samples: || {
        let sample = |s: Shape| {
            let n = Shape::from([s.last()]);
            Sample::of([
                (s, SampleKind::Float(-2.0, 2.0)),
                (n.clone(), SampleKind::Float(0.5, 1.5)),
                (n, SampleKind::Float(-1.0, 1.0)),
            ])
            .with(Attrs::new().float("epsilon", 1e-3))
        };
        shapes().map(sample).into()
    },
};

/// The gradient of [`LAYER_NORM`] by its first operand.
pub static LAYER_NORM_GRAD: OpDef = OpDef {
    name: "layer_norm_grad",
    doc: "dx = rstd (g - mean(g) - h mean(g h)) over the last axis, rstd = 1 / sqrt(variance + epsilon), \
          h = (x - mean) rstd, g = dy gain: the gradient of layer_norm by x; [.., n], [n], [.., n] -> [.., n]",
    shape: |inputs, _| match inputs {
        [x, gain, dy] if x == dy => rows_and_vectors(&[*x, *gain], 2),
        [x, _, dy] => Err(format!("expected a gradient {} {}, found {} {}", x.1, x.0, dy.1, dy.0)),
        _ => Err(format!("expected 3 operands, found {}", inputs.len())),
    },
    decompose: |_, x, a| {
        let (centered, rstd) = center(x[0], a.get_float("epsilon"));
        let (normal, g) = (centered * rstd, x[2] * x[1]);
        rstd * (g - keep_last(g, Value::mean) - normal * keep_last(g * normal, Value::mean))
    },
    gradient: Gradient::FromDecomposition,
    kernel: Some(Kernel { cut: Cut::Rows, run: layer_norm_grad, by_row: &[true, false, true] }),
    samples: || {
        let sample = |s: Shape| {
            Sample::of([
                (s.clone(), SampleKind::Float(-2.0, 2.0)),
                ([s.last()].into(), SampleKind::Float(0.5, 1.5)),
                (s, SampleKind::Float(-1.0, 1.0)),
            ])
            .with(Attrs::new().float("epsilon", 1e-3))
        };
        shapes().map(sample).into()
    },
};

/// Finds each row's statistics again, a block of rows at a time: that costs less than keeping them.
fn layer_norm_grad(c: KernelCall<'_>) -> Result<(), String> {
    const ROWS: usize = 32;
    let [x, gain, dy] = c.inputs else { return Err("expected three operands".into()) };
    let epsilon = c.attrs.get_float("epsilon") as f32;
    let (mut mean, mut rstd) = ([0.0; ROWS], [0.0; ROWS]);
    let block = ROWS * c.columns.max(1);
    for ((x, dy), out) in x.f32s().chunks(block).zip(dy.f32s().chunks(block)).zip(c.output.chunks_mut(block))
    {
        let rows = x.len() / c.columns;
        let (mean, rstd) = (&mut mean[..rows], &mut rstd[..rows]);
        kernels::layer_norm(c.columns, x, &[], &[], epsilon, out, mean, rstd);
        kernels::layer_norm_grad(c.columns, x, gain.f32s(), mean, rstd, dy, out, &mut [], &mut []);
    }
    Ok(())
}

/// Normalizes each row, the last axis, to mean 0 and variance 1, then scales and shifts it:
/// `(x - mean) / sqrt(variance + epsilon) gain + bias` (Ba and others, arXiv 1607.06450).
///
/// `x` is `[.., n]`; `gain` and `bias` are `[n]`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 10, 64], DType::F32);
/// let y = op::layer_norm(x, b.fill(1.0, [64]), b.fill(0.0, [64]), 1e-3);
/// assert_eq!(y.shape(), x.shape());
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn layer_norm<'g>(x: Value<'g>, gain: Value<'g>, bias: Value<'g>, epsilon: f64) -> Value<'g> {
    x.builder().named(&LAYER_NORM, Attrs::new().float("epsilon", epsilon), &[x, gain, bias])
}

/// See [`batch_norm`].
pub static BATCH_NORM: OpDef = OpDef {
    name: "batch_norm",
    doc: "y = (x - mean) / sqrt(variance + epsilon) gain + bias with given statistics; \
          [.., n], [n], [n], [n], [n] -> [.., n]",
    shape: |inputs, _| rows_and_vectors(inputs, 5),
    decompose: |_, x, a| {
        // The factor is made once a channel, not once an element.
        let scale = (x[2] + a.get_float("epsilon")).rsqrt() * x[3];
        (x[0] - x[1]) * scale + x[4]
    },
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: || {
        let sample = |s: Shape| {
            let n = Shape::from([s.last()]);
            Sample::of([
                (s, SampleKind::Float(-2.0, 2.0)),
                (n.clone(), SampleKind::Float(-0.5, 0.5)),
                (n.clone(), SampleKind::Float(0.5, 2.0)),
                (n.clone(), SampleKind::Float(0.5, 1.5)),
                (n, SampleKind::Float(-1.0, 1.0)),
            ])
            .with(Attrs::new().float("epsilon", 1e-3))
        };
        shapes().into_iter().chain([[2, 3, 2, 4].into()]).map(sample).collect()
    },
};

/// Normalizes each channel, the last axis, by statistics of the batch or of the training set, then scales and
/// shifts it: `(x - mean) / sqrt(variance + epsilon) gain + bias` (Ioffe and Szegedy, arXiv 1502.03167).
///
/// `x` is `[.., n]`, all others are `[n]`. The gradient goes through the statistics too, if they depend on `x`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 8, 8, 16], DType::F32);
/// let mean = x.mean(&[0, 1, 2]);
/// let variance = (x - mean).square().mean(&[0, 1, 2]);
/// let y = op::batch_norm(x, mean, variance, b.fill(1.0, [16]), b.fill(0.0, [16]), 1e-3);
/// assert_eq!(y.shape(), x.shape());
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn batch_norm<'g>(
    x: Value<'g>,
    mean: Value<'g>,
    variance: Value<'g>,
    gain: Value<'g>,
    bias: Value<'g>,
    epsilon: f64,
) -> Value<'g> {
    x.builder().named(&BATCH_NORM, Attrs::new().float("epsilon", epsilon), &[x, mean, variance, gain, bias])
}
