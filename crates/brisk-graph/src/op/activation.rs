//! Activations: element by element, from f32 or f64 to the same.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{Attrs, Gradient, OpDef, Sample, SampleKind, same_as_input};
use crate::{Shape, Value};

/// Whether an operation is one of these, and so works on each element by itself.
pub(crate) fn is_activation(def: &OpDef) -> bool {
    [&RELU, &LEAKY_RELU, &ELU, &GELU, &SILU, &SIGMOID, &SOFTPLUS].contains(&def)
}

fn samples() -> Vec<Sample> {
    let shapes: [Shape; 4] = [[1].into(), [3, 7].into(), [2, 65].into(), [2, 1, 5].into()];
    shapes.map(|s| Sample::of([(s, SampleKind::Float(-3.0, 3.0))])).into()
}

fn samples_with(attrs: Attrs) -> Vec<Sample> {
    samples().into_iter().map(|s| s.with(attrs.clone())).collect()
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
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[-1.0, 2.0], op::relu), [0.0, 2.0]);
/// ```
pub fn relu(x: Value<'_>) -> Value<'_> {
    x.builder().named(&RELU, Attrs::new(), &[x])
}

/// See [`leaky_relu`].
pub static LEAKY_RELU: OpDef = OpDef {
    name: "leaky_relu",
    doc: "y = x if x > 0, else negative_slope x, element by element",
    shape: same_as_input,
    decompose: |_, x, a| x[0].greater(0.0).select(x[0], x[0] * a.get_float("negative_slope")),
    gradient: Gradient::Closed(|g| {
        let slope = g.attrs.get_float("negative_slope");
        vec![Some(g.inputs[0].greater(0.0).select(g.dy, g.dy * slope))]
    }),
    kernel: None,
    samples: || samples_with(Attrs::new().float("negative_slope", 0.2)),
};

/// Rectifies with a slope for negative numbers: `x > 0 ? x : negative_slope x`.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[-2.0, 2.0], |x| op::leaky_relu(x, 0.25)), [-0.5, 2.0]);
/// ```
pub fn leaky_relu(x: Value<'_>, negative_slope: f64) -> Value<'_> {
    x.builder().named(&LEAKY_RELU, Attrs::new().float("negative_slope", negative_slope), &[x])
}

/// See [`elu`].
pub static ELU: OpDef = OpDef {
    name: "elu",
    doc: "y = x if x > 0, else alpha (e^x - 1), element by element",
    shape: same_as_input,
    // The exponential sees no positive number, so that it never overflows.
    decompose: |_, x, a| x[0].greater(0.0).select(x[0], (x[0].min(0.0).exp() - 1.0) * a.get_float("alpha")),
    gradient: Gradient::Closed(|g| {
        let slope = g.output + g.attrs.get_float("alpha");
        vec![Some(g.inputs[0].greater(0.0).select(g.dy, g.dy * slope))]
    }),
    kernel: None,
    samples: || samples_with(Attrs::new().float("alpha", 0.7)),
};

/// Exponential linear unit: `x > 0 ? x : alpha (e^x - 1)`.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// let y = on_row(&[-1000.0, 2.0], |x| op::elu(x, 0.5));
/// assert_eq!(y, [-0.5, 2.0]);
/// ```
pub fn elu(x: Value<'_>, alpha: f64) -> Value<'_> {
    x.builder().named(&ELU, Attrs::new().float("alpha", alpha), &[x])
}

/// `sqrt(2 / pi)` and the cubic coefficient of the approximate [`gelu`].
const GELU_TANH: [f64; 2] = [FRAC_2_SQRT_PI * FRAC_1_SQRT_2, 0.044715];

/// See [`gelu`].
pub static GELU: OpDef = OpDef {
    name: "gelu",
    doc: "y = x/2 (1 + erf(x / sqrt 2)), element by element; \
          approximate: y = x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))",
    shape: same_as_input,
    decompose: |_, x, a| {
        let x = x[0];
        let bell = match a.get_int("approximate") {
            0 => (x * FRAC_1_SQRT_2).erf(),
            _ => ((x * x * x * GELU_TANH[1] + x) * GELU_TANH[0]).tanh(),
        };
        x * 0.5 * (bell + 1.0)
    },
    gradient: Gradient::Closed(|g| {
        let x = g.inputs[0];
        let slope = match g.attrs.get_int("approximate") {
            // Normal distribution and x times its density.
            0 => {
                let density = (x * x * -0.5).exp() * (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5);
                ((x * FRAC_1_SQRT_2).erf() + 1.0) * 0.5 + x * density
            }
            _ => {
                let t = ((x * x * x * GELU_TANH[1] + x) * GELU_TANH[0]).tanh();
                let inner = (x * x * (3.0 * GELU_TANH[1]) + 1.0) * GELU_TANH[0];
                (t + 1.0) * 0.5 + x * 0.5 * (1.0 - t * t) * inner
            }
        };
        vec![Some(g.dy * slope)]
    }),
    kernel: None,
    samples: || {
        let with = |approximate| samples_with(Attrs::new().int("approximate", approximate));
        with(0).into_iter().chain(with(1)).collect()
    },
};

/// Gaussian error linear unit: `x` times the probability that a standard normal number is below it; `approximate`
/// through the hyperbolic tangent (Hendrycks and Gimpel, arXiv 1606.08415).
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// let y = on_row(&[0.0, 1.0], |x| op::gelu(x, false));
/// assert!(y[0] == 0.0 && (y[1] - 0.841345).abs() < 1e-6);
/// ```
pub fn gelu(x: Value<'_>, approximate: bool) -> Value<'_> {
    x.builder().named(&GELU, Attrs::new().int("approximate", approximate.into()), &[x])
}

/// See [`silu`].
pub static SILU: OpDef = OpDef {
    name: "silu",
    doc: "y = x / (1 + e^-x), element by element",
    shape: same_as_input,
    decompose: |_, x, _| x[0] * sigmoid(x[0]),
    gradient: Gradient::Closed(|g| {
        let s = sigmoid(g.inputs[0]);
        vec![Some(g.dy * (s + g.output * (1.0 - s)))]
    }),
    kernel: None,
    samples,
};

/// Sigmoid linear unit, or swish: `x sigmoid(x)`.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[0.0, 1000.0], op::silu), [0.0, 1000.0]);
/// ```
pub fn silu(x: Value<'_>) -> Value<'_> {
    x.builder().named(&SILU, Attrs::new(), &[x])
}

/// See [`sigmoid`].
pub static SIGMOID: OpDef = OpDef {
    name: "sigmoid",
    doc: "y = 1 / (1 + e^-x), element by element",
    shape: same_as_input,
    // For large negative x the exponential is infinite, and the result 0, as it should be.
    decompose: |_, x, _| 1.0 / ((-x[0]).exp() + 1.0),
    gradient: Gradient::Closed(|g| vec![Some(g.dy * (g.output * (1.0 - g.output)))]),
    kernel: None,
    samples,
};

/// Logistic function: `1 / (1 + e^-x)`.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[-1000.0, 0.0, 1000.0], op::sigmoid), [0.0, 0.5, 1.0]);
/// ```
pub fn sigmoid(x: Value<'_>) -> Value<'_> {
    x.builder().named(&SIGMOID, Attrs::new(), &[x])
}

/// See [`softplus`].
pub static SOFTPLUS: OpDef = OpDef {
    name: "softplus",
    doc: "y = ln(1 + e^x), element by element, as max(x, 0) + ln(1 + e^-|x|)",
    shape: same_as_input,
    decompose: |_, x, _| x[0].max(0.0) + ((-x[0].abs()).exp() + 1.0).log(),
    gradient: Gradient::Closed(|g| vec![Some(g.dy * sigmoid(g.inputs[0]))]),
    kernel: None,
    samples,
};

/// A smooth rectifier: `ln(1 + e^x)`.
///
/// ```
/// use brisk_graph::op;
/// use brisk_testkit::on_row;
/// assert_eq!(on_row(&[0.0, 1000.0], op::softplus), [2f64.ln(), 1000.0]);
/// ```
pub fn softplus(x: Value<'_>) -> Value<'_> {
    x.builder().named(&SOFTPLUS, Attrs::new(), &[x])
}
