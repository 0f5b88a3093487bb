//! Conv2DTranspose: a convolution run backwards, to enlarge maps.

use brisk_graph::{
    Prim, Value,
    prim::{Conv, positions},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::{glorot, one, yes, zeros};
use super::{Layer, check_sizes, maps};
use crate::{Activation, Context, Initializer, Padding, Result, Size};

/// The transpose of a convolution: each value adds its multiple of the kernel to a window of the result (Zeiler and others,
/// 2010).
///
/// `[n, height, width, channels]` to `[n, height', width', filters]` with `height' = height * stride`, and for padding
/// `valid` `max(kernel - stride, 0)` more. The kernel is `[kh, kw, filters, channels]`.
///
/// ```
/// use brisk_nn::{Conv2DTranspose, Padding, Sequential};
/// let model = Sequential::new([7, 7, 8]).add(Conv2DTranspose::new(4, 3).strides(2).padding(Padding::Same)).build()?;
/// assert_eq!(model.output_shape().dims(), [14, 14, 4]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv2DTranspose {
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

impl Conv2DTranspose {
    /// With Keras's defaults.
    pub fn new(filters: usize, kernel_size: impl Into<Size>) -> Conv2DTranspose {
        Conv2DTranspose {
            filters,
            kernel_size: kernel_size.into(),
            strides: one(),
            padding: Padding::Valid,
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

impl Layer for Conv2DTranspose {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let [_, h, w, channels] = maps(cx, x)?;
        let ([kh, kw], [sy, sx]) = (self.kernel_size.dims(), self.strides.dims());
        check_sizes(cx, &[("filters", self.filters), ("kernel_size", kh), ("kernel_size", kw)])?;
        check_sizes(cx, &[("strides", sy), ("strides", sx)])?;
        let (Some((out_h, rows)), Some((out_w, columns))) =
            (enlarged(h, kh, sy, self.padding), enlarged(w, kw, sx, self.padding))
        else {
            return Err(cx.error(format!("maps of {h}x{w} would grow too large; use smaller strides")));
        };
        let kernel = cx.param("kernel", [kh, kw, self.filters, channels], &self.kernel_initializer)?;
        let conv = Conv { stride: [sy, sx], padding: [rows, columns], ..Conv::default() };
        let mut y = cx.builder().prim(Prim::ConvGradInput(conv, [out_h, out_w]), &[x, kernel]); // [n, h', w', filters]
        if self.use_bias {
            y = y + cx.param("bias", [self.filters], &self.bias_initializer)?;
        }
        Ok(self.activation.apply(y))
    }
}

/// The size of the result along an axis, and the padding of the convolution that leads back; `None` if it is too large.
pub(super) fn enlarged(size: usize, kernel: usize, stride: usize, padding: Padding) -> Option<(usize, [usize; 2])> {
    let (exact, over) = (size.saturating_mul(stride), kernel.saturating_sub(stride));
    let (large, around) = match padding {
        Padding::Valid => (exact.saturating_add(over), [0, 0]),
        Padding::Same => (exact, [over / 2, over - over / 2]),
    };
    (positions(large, kernel, stride, 1, around) == Some(size)).then_some((large, around))
}
