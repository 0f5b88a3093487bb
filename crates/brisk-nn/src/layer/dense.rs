//! Dense: every output sees every input.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::{glorot, yes, zeros};
use super::{Layer, check_sizes, sample};
use crate::{Activation, Context, Initializer, Result};

/// `y = activation(x kernel + bias)` over the last axis.
///
/// `[n, in]` to `[n, units]`, or `[n, time, in]` to `[n, time, units]`; the kernel is `[in, units]`. Maps must be flattened
/// first.
///
/// ```
/// use brisk_nn::{Activation, Dense, Sequential};
/// let model = Sequential::new([784]).add(Dense::new(128).activation(Activation::Relu)).add(Dense::new(10)).build()?;
/// assert_eq!(model.output_shape().dims(), [10]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Number of outputs.
    pub units: usize,
    /// What the result goes through.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a bias is added.
    #[serde(default = "yes")]
    pub use_bias: bool,
    /// How the kernel starts.
    #[serde(default = "glorot")]
    pub kernel_initializer: Initializer,
    /// How the bias starts.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

impl Dense {
    /// With Keras's defaults.
    pub fn new(units: usize) -> Dense {
        Dense {
            units,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: glorot(),
            bias_initializer: zeros(),
        }
    }

    super::setters! {
        /// What the result goes through.
        activation: Activation;
        /// Whether a bias is added.
        use_bias: bool;
        /// How the kernel starts.
        kernel_initializer: Initializer;
        /// How the bias starts.
        bias_initializer: Initializer;
    }
}

impl Layer for Dense {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_sizes(cx, &[("units", self.units)])?;
        match x.rank() {
            2 | 3 => {}
            4 => {
                return Err(cx.error(format!(
                    "expected a vector per sample, found maps {}; put Flatten before it",
                    sample(x)
                )));
            }
            _ => {
                return Err(cx.error(format!(
                    "expected a vector per sample, found {}; put Flatten or Reshape before it",
                    sample(x)
                )));
            }
        }
        let kernel = cx.param("kernel", [x.last(), self.units], &self.kernel_initializer)?;
        let mut y = x.matmul(kernel); // [n, ..., units]
        if self.use_bias {
            y = y + cx.param("bias", [self.units], &self.bias_initializer)?;
        }
        Ok(cx.hand_on(x, self.activation.apply(y)))
    }
}
