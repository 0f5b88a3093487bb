//! Cross-entropy of rows of logits, against class numbers or distributions.

use brisk_kernels::softmax as kernels;

use super::label::{is_label, logits_and_labels};
use super::{
    Attrs, Cut, Gradient, Inferred, Kernel, KernelCall, OpDef, Sample, SampleKind, keep_last, log_softmax,
    softmax,
};
use crate::{DType, Shape, Value};

/// Rows that a gradient kernel takes at once: their losses, which nobody asked for, fit on the stack.
const ROWS: usize = 64;

fn smoothing(attrs: &Attrs) -> Result<f64, String> {
    let smoothing = attrs.get_float("label_smoothing");
    match (0.0..=1.0).contains(&smoothing) {
        true => Ok(smoothing),
        false => Err(format!("expected label_smoothing between 0 and 1, found {smoothing}")),
    }
}

/// 0 for each label; an error at run time for one that is no class.
fn check_labels<'g>(logits: Value<'g>, labels: Value<'g>) -> Value<'g> {
    logits.builder().fill_as(0.0, [logits.last()], logits.dtype()).take(labels)
}

fn bad_label(error: &brisk_kernels::movement::IndexError, before: usize) -> String {
    let row = before + error.position;
    format!("expected labels in 0..{}, found {} in row {row}", error.bound, error.index)
}

fn sparse_samples(with_dy: bool) -> Vec<Sample> {
    let shapes: [Shape; 5] = [[5, 10].into(), [3, 7].into(), [2, 65].into(), [4, 1].into(), [2, 3, 4].into()];
    let sample = |s: &Shape, smoothing| {
        let (rows, classes) = (Shape::from(&s[..s.rank() - 1]), s.last() as i32);
        let mut inputs =
            vec![(s.clone(), SampleKind::Float(-4.0, 4.0)), (rows.clone(), SampleKind::Index(classes))];
        inputs.extend(with_dy.then_some((rows, SampleKind::Float(-1.0, 1.0))));
        Sample::of(inputs).with(Attrs::new().float("label_smoothing", smoothing))
    };
    [0.0, 0.1].into_iter().flat_map(|smoothing| shapes.iter().map(move |s| sample(s, smoothing))).collect()
}

/// See [`sparse_cross_entropy`].
pub static SPARSE_CROSS_ENTROPY: OpDef = OpDef {
    name: "sparse_cross_entropy",
    doc: "-sum(t log_softmax(logits)) over the last axis, \
          t = (1 - label_smoothing) one_hot(label) + label_smoothing / classes; \
          [.., classes], i32 [..] -> [..]. A label that is no class is an error of the step",
    shape: |inputs, a| {
        smoothing(a)?;
        logits_and_labels(inputs)
    },
    decompose: |b, x, a| {
        let (log, smoothing) = (log_softmax(x[0]), a.get_float("label_smoothing"));
        let zero = b.fill_as(0.0, log.shape(), log.dtype());
        let last = [log.rank().saturating_sub(1)];
        // Selected, not multiplied: another class may well have a probability of 0.
        let own = is_label(x[1], log.last()).select(log, zero).sum(&last);
        let loss = check_labels(x[0], x[1]) - own * (1.0 - smoothing);
        if smoothing == 0.0 { loss } else { loss - log.mean(&last) * smoothing }
    },
    gradient: Gradient::Closed(|g| {
        let inputs = [g.inputs[0], g.inputs[1], g.dy];
        vec![Some(g.dy.builder().named(&SPARSE_CROSS_ENTROPY_GRAD, g.attrs.clone(), &inputs)), None]
    }),
    kernel: Some(Kernel {
        cut: Cut::Rows,
        run: |c| {
            let [logits, labels] = c.inputs else { return Err("expected two operands".into()) };
            let (logits, labels) = (logits.f32s(), labels.i32s());
            let Some(classes) = logits.len().checked_div(labels.len()) else { return Ok(()) };
            let smoothing = c.attrs.get_float("label_smoothing") as f32;
            kernels::sparse_cross_entropy(classes, logits, labels, smoothing, c.output, None)
                .map_err(|e| bad_label(&e, c.offset))
        },
        by_row: &[true, true],
    }),
    samples: || sparse_samples(false),
};

/// The gradient of [`SPARSE_CROSS_ENTROPY`] by its logits.
pub static SPARSE_CROSS_ENTROPY_GRAD: OpDef = OpDef {
    name: "sparse_cross_entropy_grad",
    doc: "(softmax(logits) - t) dy, t as in sparse_cross_entropy, whose gradient by the logits it is; \
          [.., classes], i32 [..], [..] -> [.., classes]",
    shape: |inputs, a| {
        smoothing(a)?;
        let [logits, labels, dy] = inputs else {
            return Err(format!("expected 3 operands, found {}", inputs.len()));
        };
        let (rows, dtype) = logits_and_labels(&[*logits, *labels])?;
        match *dy == (&rows, dtype) {
            true => Ok((logits.0.clone(), dtype)),
            false => Err(format!("expected a gradient {dtype} {rows}, found {} {}", dy.1, dy.0)),
        }
    },
    decompose: |_, x, a| {
        let (logits, smoothing) = (x[0], a.get_float("label_smoothing"));
        let target = is_label(x[1], logits.last()).cast(logits.dtype()) * (1.0 - smoothing);
        let target = if smoothing == 0.0 { target } else { target + smoothing / logits.last() as f64 };
        (softmax(logits) - target) * (x[2] + check_labels(logits, x[1])).expand(x[2].rank())
    },
    gradient: Gradient::FromDecomposition,
    kernel: Some(Kernel { cut: Cut::Rows, run: sparse_cross_entropy_grad, by_row: &[true, true, true] }),
    samples: || sparse_samples(true),
};

fn sparse_cross_entropy_grad(c: KernelCall<'_>) -> Result<(), String> {
    let [logits, labels, dy] = c.inputs else { return Err("expected three operands".into()) };
    let (logits, labels, dy) = (logits.f32s(), labels.i32s(), dy.f32s());
    let Some(classes) = logits.len().checked_div(labels.len()) else { return Ok(()) };
    let smoothing = c.attrs.get_float("label_smoothing") as f32;
    let mut loss = [0.0; ROWS];
    for (block, out) in c.output.chunks_mut(ROWS * classes).enumerate() {
        let first = block * ROWS;
        let rows = first..first + out.len() / classes;
        let logits = &logits[rows.start * classes..rows.end * classes];
        let loss = &mut loss[..rows.len()];
        kernels::sparse_cross_entropy(classes, logits, &labels[rows.clone()], smoothing, loss, Some(out))
            .map_err(|e| bad_label(&e, c.offset / classes + first))?;
        scale_rows(out, &dy[rows]);
    }
    Ok(())
}

/// Multiplies each row by its number.
fn scale_rows(rows: &mut [f32], by: &[f32]) {
    let columns = rows.len() / by.len().max(1);
    for (row, by) in rows.chunks_mut(columns.max(1)).zip(by) {
        row.iter_mut().for_each(|v| *v *= by);
    }
}

/// Cross-entropy of rows of logits against class numbers: `-sum(t log_softmax(logits))` for each row, with
/// `t = (1 - label_smoothing) one_hot(label) + label_smoothing / classes`.
///
/// `logits` are `[.., classes]`, `labels` i32 `[..]`, the result is `[..]`. A label that is no class is an error when
/// the step runs.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let logits = b.input("logits", Role::Batch, [32, 10], DType::F32);
/// let labels = b.input("labels", Role::Batch, [32], DType::I32);
/// let loss = op::sparse_cross_entropy(logits, labels, 0.0);
/// assert_eq!(loss.shape().dims(), [32]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn sparse_cross_entropy<'g>(logits: Value<'g>, labels: Value<'g>, label_smoothing: f64) -> Value<'g> {
    let attrs = Attrs::new().float("label_smoothing", label_smoothing);
    logits.builder().named(&SPARSE_CROSS_ENTROPY, attrs, &[logits, labels])
}

/// Logits and targets `[.., classes]`: rows and type.
fn logits_and_targets(inputs: &[(&Shape, DType)]) -> Inferred {
    match inputs {
        [logits, targets]
            if logits == targets && logits.1.is_float() && logits.0.rank() > 0 && logits.0.last() > 0 =>
        {
            Ok((Shape::from(&logits.0[..logits.0.rank() - 1]), logits.1))
        }
        [a, b] => Err(format!(
            "expected logits and targets [.., classes], found {} {} and {} {}",
            a.1, a.0, b.1, b.0
        )),
        _ => Err(format!("expected logits and targets, found {} operands", inputs.len())),
    }
}

fn dense_samples(with_dy: bool) -> Vec<Sample> {
    let shapes: [Shape; 5] = [[5, 10].into(), [3, 7].into(), [2, 65].into(), [4, 1].into(), [2, 3, 4].into()];
    let sample = |s: Shape| {
        let rows = Shape::from(&s[..s.rank() - 1]);
        let mut inputs = vec![(s.clone(), SampleKind::Float(-4.0, 4.0)), (s, SampleKind::Float(0.0, 1.0))];
        inputs.extend(with_dy.then_some((rows, SampleKind::Float(-1.0, 1.0))));
        Sample::of(inputs)
    };
    shapes.map(sample).into()
}

/// See [`cross_entropy`].
pub static CROSS_ENTROPY: OpDef = OpDef {
    name: "cross_entropy",
    doc: "-sum(target log_softmax(logits)) over the last axis; [.., classes], [.., classes] -> [..]",
    shape: |inputs, _| logits_and_targets(inputs),
    decompose: |_, x, _| -(x[1] * log_softmax(x[0])).sum(&[x[0].rank().saturating_sub(1)]),
    gradient: Gradient::Closed(|g| {
        let b = g.dy.builder();
        let by_logits = b.named(&CROSS_ENTROPY_GRAD, Attrs::new(), &[g.inputs[0], g.inputs[1], g.dy]);
        let by_targets = -(log_softmax(g.inputs[0]) * g.dy.expand(g.dy.rank()));
        vec![Some(by_logits), Some(by_targets)]
    }),
    kernel: Some(Kernel {
        cut: Cut::Rows,
        run: |c| {
            let [logits, targets] = c.inputs else { return Err("expected two operands".into()) };
            let (logits, targets) = (logits.f32s(), targets.f32s());
            let Some(classes) = logits.len().checked_div(c.output.len()) else { return Ok(()) };
            kernels::categorical_cross_entropy(classes, logits, targets, 0.0, c.output, None);
            Ok(())
        },
        by_row: &[true, true],
    }),
    samples: || dense_samples(false),
};

/// The gradient of [`CROSS_ENTROPY`] by its logits.
pub static CROSS_ENTROPY_GRAD: OpDef = OpDef {
    name: "cross_entropy_grad",
    doc: "(sum(target) softmax(logits) - target) dy over the last axis: the gradient of cross_entropy by the logits; \
          [.., classes], [.., classes], [..] -> [.., classes]",
    shape: |inputs, _| {
        let [logits, targets, dy] = inputs else {
            return Err(format!("expected 3 operands, found {}", inputs.len()));
        };
        let (rows, dtype) = logits_and_targets(&[*logits, *targets])?;
        match *dy == (&rows, dtype) {
            true => Ok((logits.0.clone(), dtype)),
            false => Err(format!("expected a gradient {dtype} {rows}, found {} {}", dy.1, dy.0)),
        }
    },
    decompose: |_, x, _| {
        let by_row = keep_last(x[1], Value::sum) * softmax(x[0]) - x[1];
        by_row * x[2].expand(x[2].rank())
    },
    gradient: Gradient::FromDecomposition,
    kernel: Some(Kernel { cut: Cut::Rows, run: cross_entropy_grad, by_row: &[true, true, true] }),
    samples: || dense_samples(true),
};

fn cross_entropy_grad(c: KernelCall<'_>) -> Result<(), String> {
    let [logits, targets, dy] = c.inputs else { return Err("expected three operands".into()) };
    let (logits, targets, dy) = (logits.f32s(), targets.f32s(), dy.f32s());
    let Some(classes) = logits.len().checked_div(dy.len()) else { return Ok(()) };
    let mut loss = [0.0; ROWS];
    let block = ROWS * classes;
    let operands = logits.chunks(block).zip(targets.chunks(block)).zip(dy.chunks(ROWS));
    for (((logits, targets), dy), out) in operands.zip(c.output.chunks_mut(block)) {
        kernels::categorical_cross_entropy(classes, logits, targets, 0.0, &mut loss[..dy.len()], Some(out));
        scale_rows(out, dy);
    }
    Ok(())
}

/// Cross-entropy of rows of logits against target distributions: `-sum(target log_softmax(logits))` for each row.
///
/// Both are `[.., classes]`, the result is `[..]`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let logits = b.input("logits", Role::Batch, [32, 10], DType::F32);
/// let targets = b.input("targets", Role::Batch, [32, 10], DType::F32);
/// assert_eq!(op::cross_entropy(logits, targets).shape().dims(), [32]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn cross_entropy<'g>(logits: Value<'g>, targets: Value<'g>) -> Value<'g> {
    logits.builder().named(&CROSS_ENTROPY, Attrs::new(), &[logits, targets])
}
