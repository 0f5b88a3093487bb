//! Conv1DTranspose: a convolution run backwards, to lengthen sequences.

use brisk_graph::{Prim, Value, prim::Conv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv1d::one;
use super::conv2d::{glorot, yes, zeros};
use super::conv2d_transpose::enlarged;
use super::recurrent::sequences;
use super::{Layer, check_sizes};
use crate::{Activation, Context, Initializer, Padding, Result};

/// The transpose of a convolution: each step adds its multiple of the kernel to a window of the result.
///
/// `[n, length, channels]` to `[n, length', filters]` with `length' = length * stride`, and for padding `valid`
/// `max(kernel - stride, 0)` more. The kernel is `[kernel_size, filters, channels]`.
///
/// ```
/// use brisk_nn::{Conv1DTranspose, Padding, Sequential};
/// let model = Sequential::new([7, 8]).add(Conv1DTranspose::new(4, 3).strides(2usize).padding(Padding::Same)).build()?;
/// assert_eq!(model.output_shape().dims(), [14, 4]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv1DTranspose {
    /// Number of channels that come out.
    pub filters: usize,
    /// Length of the window.
    pub kernel_size: usize,
    /// How far the window moves.
    #[serde(default = "one")]
    pub strides: usize,
    /// What happens at the ends.
    #[serde(default)]
    pub padding: Padding,
    /// Whether a bias is added.
    #[serde(default = "yes")]
    pub use_bias: bool,
    /// What the result goes through.
    #[serde(default)]
    pub activation: Activation,
    /// How the kernel starts.
    #[serde(default = "glorot")]
    pub kernel_initializer: Initializer,
    /// How the bias starts.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

impl Conv1DTranspose {
    /// With Keras's defaults.
    pub fn new(filters: usize, kernel_size: usize) -> Conv1DTranspose {
        Conv1DTranspose {
            filters,
            kernel_size,
            strides: 1,
            padding: Padding::Valid,
            use_bias: true,
            activation: Activation::Linear,
            kernel_initializer: glorot(),
            bias_initializer: zeros(),
        }
    }

    super::setters! {
        /// How far the window moves.
        strides: usize;
        /// What happens at the ends.
        padding: Padding;
        /// Whether a bias is added.
        use_bias: bool;
        /// What the result goes through.
        activation: Activation;
        /// How the kernel starts.
        kernel_initializer: Initializer;
        /// How the bias starts.
        bias_initializer: Initializer;
    }
}

impl Layer for Conv1DTranspose {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let [n, t, channels] = sequences(cx, x)?;
        let (k, s) = (self.kernel_size, self.strides);
        check_sizes(cx, &[("filters", self.filters), ("kernel_size", k), ("strides", s)])?;
        let Some((length, around)) = enlarged(t, k, s, self.padding) else {
            return Err(cx.error(format!("sequences of {t} steps would grow too long; use smaller strides")));
        };
        let kernel = cx.param("kernel", [k, self.filters, channels], &self.kernel_initializer)?;
        let kernel = kernel.reshape([k, 1, self.filters, channels]);
        let conv = Conv { stride: [s, 1], padding: [around, [0, 0]], ..Conv::default() };
        let maps = x.reshape([n, t, 1, channels]);
        let mut y = cx.builder().prim(Prim::ConvGradInput(conv, [length, 1]), &[maps, kernel]);
        if self.use_bias {
            y = y + cx.param("bias", [self.filters], &self.bias_initializer)?;
        }
        Ok(self.activation.apply(y).reshape([n, length, self.filters]))
    }
}
