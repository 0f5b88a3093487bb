//! Activations.

use super::{Attrs, Gradient, OpDef, Sample, SampleKind, same_as_input};
use crate::{Shape, Value};

fn samples() -> Vec<Sample> {
    let shapes = [Shape::from([1]), [3, 7].into(), [2, 65].into(), [2, 1, 5].into()];
    shapes.map(|s| Sample { inputs: vec![(s, SampleKind::Float(-3.0, 3.0))], attrs: Attrs::new() }).into()
}

/// See [`relu`].
pub static RELU: OpDef = OpDef {
    name: "relu",
    doc: "y = max(x, 0), element by element",
    shape: same_as_input,
    decompose: |_, x, _| x[0].max(0.0),
    gradient: Gradient::Closed(|g| {
        let zero = g.output.builder().fill_as(0.0, g.dy.shape(), g.dy.dtype());
        vec![Some(g.output.greater(0.0).select(g.dy, zero))]
    }),
    kernel: None,
    samples,
};

/// Rectifies: `max(x, 0)`.
pub fn relu(x: Value<'_>) -> Value<'_> {
    x.builder().named(&RELU, Attrs::new(), &[x])
}
