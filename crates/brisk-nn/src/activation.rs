//! Activations: functions of one number each, and softmax.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tagged;

/// An activation, with Keras's names and defaults.
///
/// ```
/// use brisk_nn::Activation;
/// let a: Activation = serde_json::from_str(r#"{"leaky_relu": {"negative_slope": 0.1}}"#)?;
/// assert_eq!(a, Activation::LeakyRelu { negative_slope: 0.1 });
/// assert_eq!(serde_json::from_str::<Activation>("\"gelu\"")?, Activation::Gelu { approximate: false });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(remote = "Activation", transform = crate::schema::allow_bare_names)]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `x` above 0, `negative_slope x` below (Maas and others, 2013).
    LeakyRelu {
        /// The slope below 0.
        #[serde(default = "default_slope")]
        negative_slope: f64,
    },
    /// `x` above 0, `alpha (e^x - 1)` below (Clevert and others, 2015).
    Elu {
        /// What it tends to, negated.
        #[serde(default = "default_alpha")]
        alpha: f64,
    },
    /// `x Φ(x)`, Φ the normal distribution (Hendrycks and Gimpel, 2016).
    Gelu {
        /// By tanh rather than by the error function.
        #[serde(default)]
        approximate: bool,
    },
    /// `x sigmoid(x)`, also called swish (Ramachandran and others, 2017).
    #[serde(alias = "swish")]
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `log(1 + e^x)`
    Softplus,
    /// `e^x / sum(e^x)` over the last axis.
    Softmax,
    /// The logarithm of softmax.
    LogSoftmax,
    /// `min(max(x, 0), 6)` (Krizhevsky, 2010).
    Relu6,
    /// `1.0507 x` above 0, `1.0507 * 1.6733 (e^x - 1)` below (Klambauer and others, 2017).
    Selu,
    /// `e^x`
    Exponential,
    /// `x / (1 + |x|)`
    Softsign,
    /// `min(max(x / 6 + 1 / 2, 0), 1)`
    HardSigmoid,
    /// `x hard_sigmoid(x)`, also called hard swish (Howard and others, 2019).
    #[serde(alias = "hard_swish")]
    HardSilu,
    /// `x tanh(softplus(x))` (Misra, 2019).
    Mish,
}
tagged!(Activation, "activation", null = "linear");

fn default_slope() -> f64 {
    0.2
}

fn default_alpha() -> f64 {
    1.0
}

/// With these numbers selu keeps mean 0 and variance 1.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

fn hard_sigmoid(x: Value<'_>) -> Value<'_> {
    (x * (1.0 / 6.0) + 0.5).max(0.0).min(1.0)
}

impl Activation {
    /// Applies it.
    pub fn apply<'g>(&self, x: Value<'g>) -> Value<'g> {
        match *self {
            Activation::Linear => x,
            Activation::Relu => op::relu(x),
            Activation::LeakyRelu { negative_slope } => op::leaky_relu(x, negative_slope),
            Activation::Elu { alpha } => op::elu(x, alpha),
            Activation::Gelu { approximate } => op::gelu(x, approximate),
            Activation::Silu => op::silu(x),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => op::sigmoid(x),
            Activation::Softplus => op::softplus(x),
            Activation::Softmax => op::softmax(x),
            Activation::LogSoftmax => op::log_softmax(x),
            Activation::Relu6 => op::relu(x).min(6.0),
            Activation::Selu => op::elu(x, SELU_ALPHA) * SELU_SCALE,
            Activation::Exponential => x.exp(),
            Activation::Softsign => x / (x.abs() + 1.0),
            Activation::HardSigmoid => hard_sigmoid(x),
            Activation::HardSilu => x * hard_sigmoid(x),
            Activation::Mish => x * op::softplus(x).tanh(),
        }
    }
}
