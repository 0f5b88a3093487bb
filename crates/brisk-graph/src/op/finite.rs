//! Finding numbers that are none.

use super::{Attrs, Gradient, OpDef, Sample, SampleKind, same_as_input};
use crate::{DType, Value};

/// See [`is_finite`].
pub static IS_FINITE: OpDef = OpDef {
    name: "is_finite",
    doc: "1 where x is neither infinite nor NaN, else 0 (u8), element by element",
    shape: |inputs, attrs| Ok((same_as_input(inputs, attrs)?.0, DType::U8)),
    decompose: |_, x, _| {
        x[0].abs().less_equal(match x[0].dtype() {
            DType::F64 => f64::MAX,
            _ => f32::MAX.into(),
        })
    },
    gradient: Gradient::Closed(|_| vec![None]),
    kernel: None,
    samples: || vec![Sample::of([([3, 7], SampleKind::Float(-3.0, 3.0))])],
};

/// Whether each element is a finite number (u8).
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[1.0, f64::NAN, f64::INFINITY], op::is_finite), [1.0, 0.0, 0.0]);
/// ```
pub fn is_finite(x: Value<'_>) -> Value<'_> {
    x.builder().named(&IS_FINITE, Attrs::new(), &[x])
}
