//! Conv1D: each step of a sequence sees a window of the sequence below.

use brisk_graph::{Value, prim::Conv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::{glorot, yes, zeros};
use super::recurrent::sequences;
use super::{Layer, check_fit, check_sizes};
use crate::{Activation, Context, Initializer, Padding, Result};

/// `y[n, i, f] = activation(sum over a, c of x[n, i s + a d, c] kernel[a, c, f] + bias[f])` with stride `s` and dilation `d`.
///
/// `[n, length, channels]` to `[n, length', filters]`; the kernel is `[kernel_size, channels / groups, filters]`.
///
/// ```
/// use brisk_nn::{Conv1D, Padding1D, Sequential};
/// let model = Sequential::new([80, 128])
///     .add(Conv1D::new(64, 5))
///     .add(Conv1D::new(64, 3).padding(Padding1D::Causal).dilation_rate(2usize))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [76, 64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv1D {
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
    /// Into how many groups the channels are divided, each with filters of its own.
    #[serde(default = "one")]
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

pub(super) fn one() -> usize {
    1
}

/// How the window of a [`Conv1D`] meets the ends of its sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Padding1D {
    /// It stays inside.
    #[default]
    Valid,
    /// Zeros around the sequence, as few as give `ceil(length / stride)` positions; the odd one goes to the end.
    Same,
    /// Zeros before the sequence, so that no step sees a later one (van den Oord and others, 2016).
    Causal,
}

impl Conv1D {
    /// With Keras's defaults.
    pub fn new(filters: usize, kernel_size: usize) -> Conv1D {
        Conv1D {
            filters,
            kernel_size,
            strides: 1,
            padding: Padding1D::Valid,
            dilation_rate: 1,
            groups: 1,
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
        padding: Padding1D;
        /// Distance between neighbouring cells of the window.
        dilation_rate: usize;
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

impl Layer for Conv1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let (maps, conv) = window(cx, x, self.kernel_size, self.strides, self.dilation_rate, self.padding)?;
        let (k, channels) = (self.kernel_size, x.last());
        check_sizes(cx, &[("filters", self.filters), ("groups", self.groups)])?;
        for (what, count) in [("input channels", channels), ("filters", self.filters)] {
            if count % self.groups != 0 {
                return Err(cx.error(format!(
                    "{what} must be divisible by groups; found {count} {what} and {} groups",
                    self.groups
                )));
            }
        }
        let kernel = cx.param("kernel", [k, channels / self.groups, self.filters], &self.kernel_initializer)?;
        let kernel = kernel.reshape([k, 1, channels / self.groups, self.filters]);
        let mut y = maps.conv(kernel, Conv { groups: self.groups, ..conv }); // [n, length', 1, filters]
        if self.use_bias {
            y = y + cx.param("bias", [self.filters], &self.bias_initializer)?;
        }
        let y = self.activation.apply(y);
        Ok(y.reshape([x.dim(0), y.dim(1), self.filters]))
    }
}

/// Sequences as maps one cell wide, and the convolution over them.
pub(super) fn window<'g>(
    cx: &Context<'g>,
    x: Value<'g>,
    kernel_size: usize,
    stride: usize,
    dilation: usize,
    padding: Padding1D,
) -> Result<(Value<'g>, Conv)> {
    let [n, t, channels] = sequences(cx, x)?;
    check_sizes(cx, &[("kernel_size", kernel_size), ("strides", stride), ("dilation_rate", dilation)])?;
    let reach = (kernel_size - 1).saturating_mul(dilation);
    let around = match padding {
        Padding1D::Valid => [0, 0],
        Padding1D::Same => Padding::Same.cells(t, kernel_size, stride, dilation),
        Padding1D::Causal => [reach, 0],
    };
    let padding = [around, [0, 0]];
    check_fit(cx, "kernel", [t, 1], [reach.saturating_add(1), 1], padding)?;
    let conv = Conv { stride: [stride, 1], dilation: [dilation, 1], padding, groups: 1 };
    Ok((x.reshape([n, t, 1, channels]), conv))
}
