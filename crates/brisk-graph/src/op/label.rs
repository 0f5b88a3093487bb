//! Class numbers.

use super::{Attrs, Gradient, Inferred, OpDef, Sample, SampleKind};
use crate::{DType, Shape, Value};

/// See [`one_hot`].
pub static ONE_HOT: OpDef = OpDef {
    name: "one_hot",
    doc: "1 at the place of the label in a new last axis of `classes`, 0 elsewhere; all 0 for a label outside; \
          i32 [..] -> f32 [.., classes]",
    shape: |inputs, a| match (inputs, usize::try_from(a.get_int("classes"))) {
        ([(labels, DType::I32)], Ok(classes @ 1..)) => {
            Ok(([&labels[..], &[classes]].concat().into(), DType::F32))
        }
        ([(_, DType::I32)], _) => Err(format!("expected at least one class, found {}", a.get_int("classes"))),
        _ => Err("expected labels (i32)".into()),
    },
    decompose: |_, x, a| is_label(x[0], usize::try_from(a.get_int("classes")).unwrap_or(1)).cast(DType::F32),
    gradient: Gradient::Closed(|_| vec![None]),
    kernel: None,
    samples: || {
        let sample = |s: Shape, n: i32| {
            Sample::of([(s, SampleKind::Index(n))]).with(Attrs::new().int("classes", n.into()))
        };
        vec![sample([1].into(), 1), sample([5].into(), 3), sample([2, 3].into(), 10)]
    },
};

/// Whether a place in a new last axis is that of the label (u8).
pub(super) fn is_label(labels: Value<'_>, classes: usize) -> Value<'_> {
    let shape = Shape::from([&labels.shape()[..], &[classes]].concat());
    let place = labels.builder().iota(labels.rank(), shape, DType::I32);
    labels.expand(labels.rank()).equal(place)
}

/// Labels (i32) as rows of `classes` with a 1 at the place of the label; `[..]` to f32 `[.., classes]`. A label that
/// is no class gives zeros.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let labels = b.input("labels", Role::Batch, [32], DType::I32);
/// assert_eq!(op::one_hot(labels, 10).shape().dims(), [32, 10]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn one_hot(labels: Value<'_>, classes: usize) -> Value<'_> {
    let classes = i64::try_from(classes).unwrap_or(i64::MAX);
    labels.builder().named(&ONE_HOT, Attrs::new().int("classes", classes), &[labels])
}

/// Logits `[.., classes]` and labels (i32) `[..]`: the labels' shape and the logits' type.
pub(super) fn logits_and_labels(inputs: &[(&Shape, DType)]) -> Inferred {
    let [(logits, dtype), (labels, kind)] = inputs else {
        return Err(format!("expected logits and labels, found {} operands", inputs.len()));
    };
    if !dtype.is_float() || logits.rank() == 0 || logits.last() == 0 {
        return Err(format!("expected logits [.., classes] of floats, found {dtype} {logits}"));
    }
    let rows = Shape::from(&logits[..logits.rank() - 1]);
    match **labels == rows && *kind == DType::I32 {
        true => Ok((rows, *dtype)),
        false => Err(format!("beside logits {logits}: expected labels i32 {rows}, found {kind} {labels}")),
    }
}

/// See [`in_top_k`].
pub static IN_TOP_K: OpDef = OpDef {
    name: "in_top_k",
    doc: "1 where fewer than k logits of the row are larger than the label's, else 0 (also for a label outside, and \
          where the label's logit is NaN); [.., classes], i32 [..] -> f32 [..]",
    shape: |inputs, a| match a.get_int("k") {
        1.. => Ok((logits_and_labels(inputs)?.0, DType::F32)),
        k => Err(format!("expected k of at least 1, found {k}")),
    },
    decompose: |b, x, a| {
        let (logits, last) = (x[0], x[1].rank());
        let here = is_label(x[1], logits.last());
        let zero = b.fill_as(0.0, logits.shape(), logits.dtype());
        let own = here.select(logits, zero).sum(&[last]);
        let larger = logits.greater(own.expand(last)).cast(DType::F32).sum(&[last]);
        let known = here.cast(DType::F32).sum(&[last]) * own.equal(own).cast(DType::F32);
        larger.less(a.get_int("k") as f64).cast(DType::F32) * known
    },
    gradient: Gradient::Closed(|_| vec![None, None]),
    kernel: None,
    samples: || {
        let sample = |s: Shape, k| {
            let (rows, classes) = (Shape::from(&s[..s.rank() - 1]), s.last() as i32);
            Sample::of([(s, SampleKind::Float(-2.0, 2.0)), (rows, SampleKind::Index(classes))])
                .with(Attrs::new().int("k", k))
        };
        vec![
            sample([5, 7].into(), 1),
            sample([9, 10].into(), 3),
            sample([2, 3, 4].into(), 2),
            sample([2, 1].into(), 5),
        ]
    },
};

/// Whether the label is among the `k` classes of the largest logits: 1 or 0 (f32) for each row. Equals count in its
/// favour, as in Keras. `logits` are `[.., classes]`, `labels` i32 `[..]`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let logits = b.input("logits", Role::Batch, [32, 10], DType::F32);
/// let labels = b.input("labels", Role::Batch, [32], DType::I32);
/// let top_5_accuracy = op::in_top_k(logits, labels, 5).mean_all();
/// assert_eq!(top_5_accuracy.rank(), 0);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn in_top_k<'g>(logits: Value<'g>, labels: Value<'g>, k: usize) -> Value<'g> {
    let k = i64::try_from(k).unwrap_or(i64::MAX);
    logits.builder().named(&IN_TOP_K, Attrs::new().int("k", k), &[logits, labels])
}
