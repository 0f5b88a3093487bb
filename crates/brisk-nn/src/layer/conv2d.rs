//! Conv2D: each place of a map sees a window of the map below.

use brisk_graph::{Value, prim::Conv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, check_fit, check_sizes, maps};
use crate::{Activation, Context, Initializer, Padding, Result, Size};

/// Convolution: `y[n, i, j, f] = activation(sum over a, b, c of x[n, i s + a d, j s + b d, c] kernel[a, b, c, f] + bias[f])`
/// with stride `s` and dilation `d` (LeCun and others, 1989).
///
/// `[n, height, width, channels]` to `[n, height', width', filters]`; the kernel is `[kh, kw, channels / groups, filters]`.
///
/// ```
/// use brisk_nn::{Activation, Conv2D, Padding, Sequential};
/// let model = Sequential::new([32, 32, 3])
///     .add(Conv2D::new(32, 3).activation(Activation::Relu))
///     .add(Conv2D::new(64, 3).strides(2).padding(Padding::Same))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [15, 15, 64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv2D {
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
    /// Into how many groups the channels are divided, each with filters of its own.
    #[serde(default = "one_group")]
    pub groups: usize,
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

pub(super) fn one() -> Size {
    Size::from(1)
}

fn one_group() -> usize {
    1
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn glorot() -> Initializer {
    Initializer::GlorotUniform
}

pub(super) fn zeros() -> Initializer {
    Initializer::Zeros
}

impl Conv2D {
    /// With Keras's defaults.
    pub fn new(filters: usize, kernel_size: impl Into<Size>) -> Conv2D {
        Conv2D {
            filters,
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
            dilation_rate: one(),
            groups: 1,
            use_bias: true,
            activation: Activation::Linear,
            kernel_initializer: glorot(),
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
        /// Into how many groups the channels are divided.
        groups: usize;
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

impl Layer for Conv2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_sizes(cx, &[("filters", self.filters), ("groups", self.groups)])?;
        let conv = window(cx, x, self.kernel_size, self.strides, self.dilation_rate, self.padding)?;
        let channels = x.last();
        for (what, count) in [("input channels", channels), ("filters", self.filters)] {
            if count % self.groups != 0 {
                return Err(cx.error(format!(
                    "{what} must be divisible by groups; found {count} {what} and {} groups",
                    self.groups
                )));
            }
        }
        let [kh, kw] = self.kernel_size.dims();
        let shape = [kh, kw, channels / self.groups, self.filters];
        let kernel = cx.param("kernel", shape, &self.kernel_initializer)?;
        let mut y = x.conv(kernel, Conv { groups: self.groups, ..conv }); // [n, h', w', filters]
        if self.use_bias {
            y = y + cx.param("bias", [self.filters], &self.bias_initializer)?;
        }
        Ok(self.activation.apply(y))
    }
}

/// The convolution of maps in one group, if its window fits.
pub(super) fn window(
    cx: &Context<'_>,
    x: Value<'_>,
    kernel_size: Size,
    strides: Size,
    dilation_rate: Size,
    padding: Padding,
) -> Result<Conv> {
    let [_, h, w, _] = maps(cx, x)?;
    let ([kh, kw], [sy, sx], [dy, dx]) = (kernel_size.dims(), strides.dims(), dilation_rate.dims());
    check_sizes(cx, &[("kernel_size", kh), ("kernel_size", kw)])?;
    check_sizes(cx, &[("strides", sy), ("strides", sx), ("dilation_rate", dy), ("dilation_rate", dx)])?;
    let padding = [padding.cells(h, kh, sy, dy), padding.cells(w, kw, sx, dx)];
    let extent = |kernel: usize, dilation: usize| (kernel - 1).saturating_mul(dilation).saturating_add(1);
    check_fit(cx, "kernel", [h, w], [extent(kh, dy), extent(kw, dx)], padding)?;
    Ok(Conv { stride: [sy, sx], dilation: [dy, dx], padding, groups: 1 })
}
