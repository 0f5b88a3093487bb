//! Softmax and its logarithm over the last axis.

use brisk_kernels::softmax as kernels;

use super::{
    Attrs, Cut, Gradient, Kernel, OpDef, Sample, SampleKind, keep_last, rows_of_input, same_as_both,
};
use crate::{DType, Shape, Value};

fn shapes() -> [Shape; 5] {
    [[1].into(), [3, 7].into(), [2, 65].into(), [4, 1].into(), [2, 3, 10].into()]
}

fn samples() -> Vec<Sample> {
    shapes().map(|s| Sample::of([(s, SampleKind::Float(-4.0, 4.0))])).into()
}

/// A result and the gradient by it.
fn grad_samples(range: SampleKind) -> Vec<Sample> {
    shapes().map(|s| Sample::of([(s.clone(), range), (s, SampleKind::Float(-1.0, 1.0))])).into()
}

fn rows_of_both(inputs: &[(&Shape, DType)], attrs: &Attrs) -> super::Inferred {
    same_as_both(inputs, attrs)?;
    rows_of_input(&inputs[..1], attrs)
}

/// See [`softmax`].
pub static SOFTMAX: OpDef = OpDef {
    name: "softmax",
    doc: "y = e^x / sum(e^x) over the last axis, as e^(x - max) / sum(e^(x - max)); [.., n] -> [.., n]",
    shape: rows_of_input,
    decompose: |_, x, _| {
        let e = (x[0] - keep_last(x[0], Value::reduce_max)).exp();
        e / keep_last(e, Value::sum)
    },
    gradient: Gradient::Closed(|g| {
        vec![Some(g.dy.builder().named(&SOFTMAX_GRAD, Attrs::new(), &[g.output, g.dy]))]
    }),
    kernel: Some(Kernel {
        cut: Cut::Rows,
        run: |c| {
            kernels::softmax(c.columns, c.inputs[0].f32s(), c.output);
            Ok(())
        },
        by_row: &[true],
    }),
    samples,
};

/// The gradient of [`SOFTMAX`], from its result.
pub static SOFTMAX_GRAD: OpDef = OpDef {
    name: "softmax_grad",
    doc: "dx = y (dy - sum(y dy)) over the last axis: the gradient of softmax from its result y; \
          [.., n], [.., n] -> [.., n]",
    shape: rows_of_both,
    decompose: |_, x, _| x[0] * (x[1] - keep_last(x[0] * x[1], Value::sum)),
    gradient: Gradient::FromDecomposition,
    kernel: Some(Kernel {
        cut: Cut::Rows,
        run: |c| {
            kernels::softmax_grad(c.columns, c.inputs[0].f32s(), c.inputs[1].f32s(), c.output);
            Ok(())
        },
        by_row: &[true, true],
    }),
    samples: || grad_samples(SampleKind::Float(0.0, 1.0)),
};

/// Turns rows, the last axis, into probabilities: `e^x / sum(e^x)`, whatever the size of the numbers.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[1000.0, 1000.0, -1000.0], op::softmax), [0.5, 0.5, 0.0]);
/// ```
pub fn softmax(x: Value<'_>) -> Value<'_> {
    x.builder().named(&SOFTMAX, Attrs::new(), &[x])
}

/// See [`log_softmax`].
pub static LOG_SOFTMAX: OpDef = OpDef {
    name: "log_softmax",
    doc: "y = x - ln(sum(e^x)) over the last axis, with the largest subtracted first; [.., n] -> [.., n]",
    shape: rows_of_input,
    decompose: |_, x, _| {
        let x = x[0] - keep_last(x[0], Value::reduce_max);
        x - keep_last(x.exp(), Value::sum).log()
    },
    gradient: Gradient::Closed(|g| {
        vec![Some(g.dy.builder().named(&LOG_SOFTMAX_GRAD, Attrs::new(), &[g.output, g.dy]))]
    }),
    kernel: Some(Kernel {
        cut: Cut::Rows,
        run: |c| {
            kernels::log_softmax(c.columns, c.inputs[0].f32s(), c.output);
            Ok(())
        },
        by_row: &[true],
    }),
    samples,
};

/// The gradient of [`LOG_SOFTMAX`], from its result.
pub static LOG_SOFTMAX_GRAD: OpDef = OpDef {
    name: "log_softmax_grad",
    doc: "dx = dy - e^y sum(dy) over the last axis: the gradient of log_softmax from its result y; \
          [.., n], [.., n] -> [.., n]",
    shape: rows_of_both,
    decompose: |_, x, _| x[1] - x[0].exp() * keep_last(x[1], Value::sum),
    gradient: Gradient::FromDecomposition,
    kernel: Some(Kernel {
        cut: Cut::Rows,
        run: |c| {
            kernels::log_softmax_grad(c.columns, c.inputs[0].f32s(), c.inputs[1].f32s(), c.output);
            Ok(())
        },
        by_row: &[true, true],
    }),
    samples: || grad_samples(SampleKind::Float(-5.0, 0.0)),
};

/// The logarithm of [`softmax`], whatever the size of the numbers: `x - ln(sum(e^x))` over the last axis.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[0.0, -1000.0], op::log_softmax), [0.0, -1000.0]);
/// ```
pub fn log_softmax(x: Value<'_>) -> Value<'_> {
    x.builder().named(&LOG_SOFTMAX, Attrs::new(), &[x])
}
