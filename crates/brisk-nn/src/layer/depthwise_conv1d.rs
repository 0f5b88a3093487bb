//! DepthwiseConv1D: each channel of a sequence is convolved by itself.

use brisk_graph::{Value, prim::Conv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv1d::{Padding1D, one, window};
use super::conv2d::{glorot, yes, zeros};
use super::{Layer, check_sizes};
use crate::{Activation, Context, Initializer, Result};

/// `y[n, i, c m + k] = activation(sum over a of x[n, i s + a d, c] kernel[a, c, k] + bias[c m + k])` with multiplier `m`.
///
/// `[n, length, channels]` to `[n, length', channels * depth_multiplier]`; the kernel is
/// `[kernel_size, channels, depth_multiplier]`.
///
/// ```
/// use brisk_nn::{DepthwiseConv1D, Sequential};
/// let model = Sequential::new([80, 16]).add(DepthwiseConv1D::new(5)).build()?;
/// assert_eq!(model.output_shape().dims(), [76, 16]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepthwiseConv1D {
    /// Length of the window.
    pub kernel_size: usize,
    /// How far the window moves.
    #[serde(default = "one")]
    pub strides: usize,
    /// What happens at the ends.
    #[serde(default)]
    pub padding: Padding1D,
    /// Number of channels that come out for each that goes in.
    #[serde(default = "one")]
    pub depth_multiplier: usize,
    /// Distance between neighbouring cells of the window.
    #[serde(default = "one")]
    pub dilation_rate: usize,
    /// Whether a bias is added.
    #[serde(default = "yes")]
    pub use_bias: bool,
    /// What the result goes through.
    #[serde(default)]
    pub activation: Activation,
    /// How the kernel starts.
    #[serde(default = "glorot")]
    pub depthwise_initializer: Initializer,
    /// How the bias starts.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

impl DepthwiseConv1D {
    /// With Keras's defaults.
    pub fn new(kernel_size: usize) -> DepthwiseConv1D {
        DepthwiseConv1D {
            kernel_size,
            strides: 1,
            padding: Padding1D::Valid,
            depth_multiplier: 1,
            dilation_rate: 1,
            use_bias: true,
            activation: Activation::Linear,
            depthwise_initializer: glorot(),
            bias_initializer: zeros(),
        }
    }

    super::setters! {
        /// How far the window moves.
        strides: usize;
        /// What happens at the ends.
        padding: Padding1D;
        /// Number of channels that come out for each that goes in.
        depth_multiplier: usize;
        /// Distance between neighbouring cells of the window.
        dilation_rate: usize;
        /// Whether a bias is added.
        use_bias: bool;
        /// What the result goes through.
        activation: Activation;
        /// How the kernel starts.
        depthwise_initializer: Initializer;
        /// How the bias starts.
        bias_initializer: Initializer;
    }
}

impl Layer for DepthwiseConv1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let (maps, conv) = window(cx, x, self.kernel_size, self.strides, self.dilation_rate, self.padding)?;
        let (k, channels) = (self.kernel_size, x.last());
        let outputs = channels.saturating_mul(self.depth_multiplier);
        check_sizes(cx, &[("depth_multiplier", self.depth_multiplier), ("channels * depth_multiplier", outputs)])?;
        let kernel = cx.param("kernel", [k, channels, self.depth_multiplier], &self.depthwise_initializer)?;
        let mut y = maps.conv(kernel.reshape([k, 1, 1, outputs]), Conv { groups: channels, ..conv });
        if self.use_bias {
            y = y + cx.param("bias", [outputs], &self.bias_initializer)?;
        }
        let y = self.activation.apply(y);
        Ok(y.reshape([x.dim(0), y.dim(1), outputs]))
    }
}
