//! Losses element by element: predictions and targets of one shape to as many losses. Reduce them as you like.

use super::{Attrs, Gradient, OpDef, Sample, SampleKind, same_as_both, sigmoid, softplus};
use crate::{Shape, Value};

fn samples(prediction: SampleKind, target: SampleKind) -> Vec<Sample> {
    let shapes: [Shape; 4] = [[1].into(), [3, 7].into(), [2, 65].into(), [2, 1, 5].into()];
    shapes.map(|s| Sample::of([(s.clone(), prediction), (s, target)])).into()
}

/// See [`binary_cross_entropy`].
pub static BINARY_CROSS_ENTROPY: OpDef = OpDef {
    name: "binary_cross_entropy",
    doc: "-(t ln(s) + (1 - t) ln(1 - s)), s = sigmoid(logit), as softplus(logit) - t logit, element by element",
    shape: same_as_both,
    decompose: |_, x, _| softplus(x[0]) - x[1] * x[0],
    gradient: Gradient::Closed(|g| {
        let (logits, targets) = (g.inputs[0], g.inputs[1]);
        vec![Some(g.dy * (sigmoid(logits) - targets)), Some(-(g.dy * logits))]
    }),
    kernel: None,
    samples: || samples(SampleKind::Float(-4.0, 4.0), SampleKind::Float(0.0, 1.0)),
};

/// Cross-entropy of logits against targets between 0 and 1, each by itself:
/// `-(t ln(sigmoid(x)) + (1 - t) ln(1 - sigmoid(x)))`, whatever the size of the logits.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// let y = on_row(&[-1000.0, 0.0], |x| op::binary_cross_entropy(x, x * 0.0));
/// assert_eq!(y, [0.0, 2f64.ln()]);
/// ```
pub fn binary_cross_entropy<'g>(logits: Value<'g>, targets: Value<'g>) -> Value<'g> {
    logits.builder().named(&BINARY_CROSS_ENTROPY, Attrs::new(), &[logits, targets])
}

/// See [`squared_error`].
pub static SQUARED_ERROR: OpDef = OpDef {
    name: "squared_error",
    doc: "(prediction - target)^2, element by element",
    shape: same_as_both,
    decompose: |_, x, _| (x[0] - x[1]).square(),
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: || samples(SampleKind::Float(-2.0, 2.0), SampleKind::Float(-2.0, 2.0)),
};

/// `(prediction - target)²`, element by element.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[3.0, -1.0], |x| op::squared_error(x, x * 0.0)), [9.0, 1.0]);
/// ```
pub fn squared_error<'g>(prediction: Value<'g>, target: Value<'g>) -> Value<'g> {
    prediction.builder().named(&SQUARED_ERROR, Attrs::new(), &[prediction, target])
}

/// See [`absolute_error`].
pub static ABSOLUTE_ERROR: OpDef = OpDef {
    name: "absolute_error",
    doc: "|prediction - target|, element by element",
    shape: same_as_both,
    decompose: |_, x, _| (x[0] - x[1]).abs(),
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: || samples(SampleKind::Float(-2.0, 2.0), SampleKind::Float(-2.0, 2.0)),
};

/// `|prediction - target|`, element by element.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[3.0, -1.0], |x| op::absolute_error(x, x * 0.0)), [3.0, 1.0]);
/// ```
pub fn absolute_error<'g>(prediction: Value<'g>, target: Value<'g>) -> Value<'g> {
    prediction.builder().named(&ABSOLUTE_ERROR, Attrs::new(), &[prediction, target])
}

/// See [`huber`].
pub static HUBER: OpDef = OpDef {
    name: "huber",
    doc: "e^2 / 2 where e = |prediction - target| is at most delta, else delta (e - delta / 2), element by element",
    shape: |inputs, attrs| match attrs.get_float("delta") {
        delta if delta > 0.0 => same_as_both(inputs, attrs),
        delta => Err(format!("expected delta above 0, found {delta}")),
    },
    decompose: |_, x, a| {
        let (e, delta) = ((x[0] - x[1]).abs(), a.get_float("delta"));
        e.less_equal(delta).select(e * e * 0.5, (e - 0.5 * delta) * delta)
    },
    gradient: Gradient::Closed(|g| {
        let delta = g.attrs.get_float("delta");
        let by_prediction = g.dy * (g.inputs[0] - g.inputs[1]).max(-delta).min(delta);
        vec![Some(by_prediction), Some(-by_prediction)]
    }),
    kernel: None,
    samples: || {
        let all = samples(SampleKind::Float(-2.0, 2.0), SampleKind::Float(-2.0, 2.0)).into_iter();
        all.map(|s| s.with(Attrs::new().float("delta", 0.8))).collect()
    },
};

/// Squared near zero, linear beyond `delta`: `e²/2` if `e = |prediction - target| <= delta`, else
/// `delta (e - delta/2)` (Huber, 1964).
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[3.0, -1.0], |x| op::huber(x, x * 0.0, 2.0)), [4.0, 0.5]);
/// ```
pub fn huber<'g>(prediction: Value<'g>, target: Value<'g>, delta: f64) -> Value<'g> {
    prediction.builder().named(&HUBER, Attrs::new().float("delta", delta), &[prediction, target])
}
