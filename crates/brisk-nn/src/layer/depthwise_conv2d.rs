//! DepthwiseConv2D: each channel is convolved by itself.

use brisk_graph::{Value, prim::Conv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::{glorot, one, window, yes, zeros};
use super::{Layer, check_sizes};
use crate::{Activation, Context, Initializer, Padding, Result, Size};

/// `y[n, i, j, c m + k] = activation(sum over a, b of x[n, i s + a d, j s + b d, c] kernel[a, b, c, k] + bias[c m + k])` with
/// multiplier `m` (Chollet, arXiv 1610.02357).
///
/// `[n, height, width, channels]` to `[n, height', width', channels * depth_multiplier]`; the kernel is
/// `[kh, kw, channels, depth_multiplier]`.
///
/// ```
/// use brisk_nn::{DepthwiseConv2D, Padding, Sequential};
/// let model = Sequential::new([8, 8, 6]).add(DepthwiseConv2D::new(3).padding(Padding::Same)).build()?;
/// assert_eq!(model.output_shape().dims(), [8, 8, 6]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepthwiseConv2D {
    /// Height and width of the window.
    pub kernel_size: Size,
    /// How far the window moves.
    #[serde(default = "one")]
    pub strides: Size,
    /// What happens at the edge.
    #[serde(default)]
    pub padding: Padding,
    /// Number of channels that come out for each that goes in.
    #[serde(default = "single")]
    pub depth_multiplier: usize,
    /// Distance between neighbouring cells of the window.
    #[serde(default = "one")]
    pub dilation_rate: Size,
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

pub(super) fn single() -> usize {
    1
}

impl DepthwiseConv2D {
    /// With Keras's defaults.
    pub fn new(kernel_size: impl Into<Size>) -> DepthwiseConv2D {
        DepthwiseConv2D {
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
            depth_multiplier: 1,
            dilation_rate: one(),
            use_bias: true,
            activation: Activation::Linear,
            depthwise_initializer: glorot(),
            bias_initializer: zeros(),
        }
    }

    super::setters! {
        /// How far the window moves.
        strides: impl Into<Size>;
        /// What happens at the edge.
        padding: Padding;
        /// Number of channels that come out for each that goes in.
        depth_multiplier: usize;
        /// Distance between neighbouring cells of the window.
        dilation_rate: impl Into<Size>;
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

impl Layer for DepthwiseConv2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let conv = window(cx, x, self.kernel_size, self.strides, self.dilation_rate, self.padding)?;
        check_sizes(cx, &[("depth_multiplier", self.depth_multiplier)])?;
        let ([kh, kw], channels) = (self.kernel_size.dims(), x.last());
        let outputs = channels.saturating_mul(self.depth_multiplier);
        let kernel = cx.param("kernel", [kh, kw, channels, self.depth_multiplier], &self.depthwise_initializer)?;
        let mut y = x.conv(kernel.reshape([kh, kw, 1, outputs]), Conv { groups: channels, ..conv }); // [n, h', w', channels * multiplier]
        if self.use_bias {
            y = y + cx.param("bias", [outputs], &self.bias_initializer)?;
        }
        Ok(self.activation.apply(y))
    }
}
