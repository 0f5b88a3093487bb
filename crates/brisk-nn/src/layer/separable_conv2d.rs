//! SeparableConv2D: channels are convolved one by one, then mixed.

use brisk_graph::{Value, prim::Conv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::{glorot, one, window, yes, zeros};
use super::depthwise_conv2d::single;
use super::{Layer, check_sizes};
use crate::{Activation, Context, Initializer, Padding, Result, Size};

/// A [`DepthwiseConv2D`](super::DepthwiseConv2D) and a convolution with a window of one cell on it (Chollet, arXiv 1610.02357).
///
/// `[n, height, width, channels]` to `[n, height', width', filters]`. Parameters: `depthwise_kernel`
/// `[kh, kw, channels, depth_multiplier]`, `pointwise_kernel` `[1, 1, channels * depth_multiplier, filters]`, `bias` `[filters]`.
///
/// ```
/// use brisk_nn::{Padding, SeparableConv2D, Sequential};
/// let model = Sequential::new([8, 8, 6]).add(SeparableConv2D::new(16, 3).padding(Padding::Same)).build()?;
/// assert_eq!(model.output_shape().dims(), [8, 8, 16]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeparableConv2D {
    /// Number of channels that come out.
    pub filters: usize,
    /// Height and width of the window.
    pub kernel_size: Size,
    /// How far the window moves.
    #[serde(default = "one")]
    pub strides: Size,
    /// What happens at the edge.
    #[serde(default)]
    pub padding: Padding,
    /// Distance between neighbouring cells of the window.
    #[serde(default = "one")]
    pub dilation_rate: Size,
    /// Number of channels between the two steps for each that goes in.
    #[serde(default = "single")]
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

impl SeparableConv2D {
    /// With Keras's defaults.
    pub fn new(filters: usize, kernel_size: impl Into<Size>) -> SeparableConv2D {
        SeparableConv2D {
            filters,
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
            dilation_rate: one(),
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
        strides: impl Into<Size>;
        /// What happens at the edge.
        padding: Padding;
        /// Distance between neighbouring cells of the window.
        dilation_rate: impl Into<Size>;
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

impl Layer for SeparableConv2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_sizes(cx, &[("filters", self.filters)])?;
        let conv = window(cx, x, self.kernel_size, self.strides, self.dilation_rate, self.padding)?;
        let ([kh, kw], channels) = (self.kernel_size.dims(), x.last());
        let inner = channels.saturating_mul(self.depth_multiplier);
        check_sizes(cx, &[("depth_multiplier", self.depth_multiplier), ("channels * depth_multiplier", inner)])?;
        let first = [kh, kw, channels, self.depth_multiplier];
        let first = cx.param("depthwise_kernel", first, &self.depthwise_initializer)?;
        let second = cx.param("pointwise_kernel", [1, 1, inner, self.filters], &self.pointwise_initializer)?;
        let each = x.conv(first.reshape([kh, kw, 1, inner]), Conv { groups: channels, ..conv }); // [n, h', w', channels * multiplier]
        let mut y = each.conv(second, Conv::default()); // [n, h', w', filters]
        if self.use_bias {
            y = y + cx.param("bias", [self.filters], &self.bias_initializer)?;
        }
        Ok(self.activation.apply(y))
    }
}
