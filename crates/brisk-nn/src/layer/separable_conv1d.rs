//! SeparableConv1D: channels of sequences are convolved one by one, then mixed.

use brisk_graph::{Value, prim::Conv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv1d::{Padding1D, one, window};
use super::conv2d::{glorot, yes, zeros};
use super::{Layer, check_sizes};
use crate::{Activation, Context, Initializer, Result};

/// A [`DepthwiseConv1D`](super::DepthwiseConv1D) and a convolution with a window of one step on it.
///
/// `[n, length, channels]` to `[n, length', filters]`. Parameters: `depthwise_kernel` `[kernel_size, channels, depth_multiplier]`,
/// `pointwise_kernel` `[1, channels * depth_multiplier, filters]`, `bias` `[filters]`.
///
/// ```
/// use brisk_nn::{SeparableConv1D, Sequential};
/// let model = Sequential::new([80, 16]).add(SeparableConv1D::new(32, 5)).build()?;
/// assert_eq!(model.output_shape().dims(), [76, 32]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeparableConv1D {
    /// Number of channels that come out.
    pub filters: usize,
    /// Length of the window.
    pub kernel_size: usize,
    /// How far the window moves.
    #[serde(default = "one")]
    pub strides: usize,
    /// What happens at the ends.
    #[serde(default)]
    pub padding: Padding1D,
    /// Distance between neighbouring cells of the window.
    #[serde(default = "one")]
    pub dilation_rate: usize,
    /// Number of channels between the two steps for each that goes in.
    #[serde(default = "one")]
    pub depth_multiplier: usize,
    /// Whether a bias is added.
    #[serde(default = "yes")]
    pub use_bias: bool,
    /// What the result goes through.
    #[serde(default)]
    pub activation: Activation,
    /// How the first kernel starts.
    #[serde(default = "glorot")]
    pub depthwise_initializer: Initializer,
    /// How the second kernel starts.
    #[serde(default = "glorot")]
    pub pointwise_initializer: Initializer,
    /// How the bias starts.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

impl SeparableConv1D {
    /// With Keras's defaults.
    pub fn new(filters: usize, kernel_size: usize) -> SeparableConv1D {
        SeparableConv1D {
            filters,
            kernel_size,
            strides: 1,
            padding: Padding1D::Valid,
            dilation_rate: 1,
            depth_multiplier: 1,
            use_bias: true,
            activation: Activation::Linear,
            depthwise_initializer: glorot(),
            pointwise_initializer: glorot(),
            bias_initializer: zeros(),
        }
    }

    super::setters! {
        /// How far the window moves.
        strides: usize;
        /// What happens at the ends.
        padding: Padding1D;
        /// Distance between neighbouring cells of the window.
        dilation_rate: usize;
        /// Number of channels between the two steps for each that goes in.
        depth_multiplier: usize;
        /// Whether a bias is added.
        use_bias: bool;
        /// What the result goes through.
        activation: Activation;
        /// How the first kernel starts.
        depthwise_initializer: Initializer;
        /// How the second kernel starts.
        pointwise_initializer: Initializer;
        /// How the bias starts.
        bias_initializer: Initializer;
    }
}

impl Layer for SeparableConv1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let (maps, conv) = window(cx, x, self.kernel_size, self.strides, self.dilation_rate, self.padding)?;
        let (k, channels) = (self.kernel_size, x.last());
        let inner = channels.saturating_mul(self.depth_multiplier);
        check_sizes(cx, &[("filters", self.filters), ("depth_multiplier", self.depth_multiplier)])?;
        check_sizes(cx, &[("channels * depth_multiplier", inner)])?;
        let first = [k, channels, self.depth_multiplier];
        let first = cx.param("depthwise_kernel", first, &self.depthwise_initializer)?;
        let second = cx.param("pointwise_kernel", [1, inner, self.filters], &self.pointwise_initializer)?;
        let each = maps.conv(first.reshape([k, 1, 1, inner]), Conv { groups: channels, ..conv });
        let mut y = each.conv(second.reshape([1, 1, inner, self.filters]), Conv::default());
        if self.use_bias {
            y = y + cx.param("bias", [self.filters], &self.bias_initializer)?;
        }
        let y = self.activation.apply(y);
        Ok(y.reshape([x.dim(0), y.dim(1), self.filters]))
    }
}
