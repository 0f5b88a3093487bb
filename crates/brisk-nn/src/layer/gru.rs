//! GRU: gated recurrent units over sequences.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::conv2d::{glorot, yes, zeros};
use super::recurrent::{Cell, Recurrent, orthogonal};
use crate::{Context, Initializer, Result};

/// `h' = z h + (1 - z) tanh(x_h + r s_h)`, `z = sigmoid(x_z + s_z)`, `r = sigmoid(x_r + s_r)`, with
/// `x = input kernel + bias[0]` and `s = h recurrent_kernel + bias[1]` for each step (Cho and others, 2014, with the reset after
/// the product, Keras's `reset_after`).
///
/// `[n, length, features]` to `[n, units]`, or `[n, length, units]` with `return_sequences`. A second input, if there is one, is
/// the initial state `[n, units]`. A step that is masked is left out. Parameters: `kernel` `[features, 3 units]`,
/// `recurrent_kernel` `[units, 3 units]`, `bias` `[2, 3 units]`.
///
/// ```
/// use brisk_nn::{Dense, GRU, Sequential};
/// let model = Sequential::new([80, 32]).add(GRU::new(64)).add(Dense::new(1)).build()?;
/// assert_eq!(model.layers()[0].output, [Some(64)]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GRU {
    /// Size of the state.
    pub units: usize,
    /// Whether a bias is added.
    #[serde(default = "yes")]
    pub use_bias: bool,
    /// Whether the state is reset after its product with the recurrent kernel, rather than before; then `tanh(x_h + (r h) R_h)`
    /// takes the place of `tanh(x_h + r s_h)`, and the bias is `[3 units]`.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub reset_after: bool,
    /// How the kernel starts.
    #[serde(default = "glorot")]
    pub kernel_initializer: Initializer,
    /// How the recurrent kernel starts.
    #[serde(default = "orthogonal")]
    pub recurrent_initializer: Initializer,
    /// How the bias starts.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
    /// Whether the hidden state after every step comes out, rather than the last.
    #[serde(default)]
    pub return_sequences: bool,
    /// Whether the last state can be had too: other layers name it `NAME.state` among their inputs.
    #[serde(default)]
    pub return_state: bool,
    /// Whether it goes from the last step to the first; sequences come out in that order.
    #[serde(default)]
    pub go_backwards: bool,
}

fn is_yes(value: &bool) -> bool {
    *value
}

impl GRU {
    /// With Keras's defaults.
    pub fn new(units: usize) -> GRU {
        GRU {
            units,
            use_bias: true,
            reset_after: true,
            kernel_initializer: glorot(),
            recurrent_initializer: orthogonal(),
            bias_initializer: zeros(),
            
            return_sequences: false,
            return_state: false,
            go_backwards: false,
        }
    }

    super::setters! {
        /// Whether a bias is added.
        use_bias: bool;
        /// Whether the state is reset after its product with the recurrent kernel, rather than before.
        reset_after: bool;
        /// How the kernel starts.
        kernel_initializer: Initializer;
        /// How the recurrent kernel starts.
        recurrent_initializer: Initializer;
        /// How the bias starts.
        bias_initializer: Initializer;
        /// Whether the hidden state after every step comes out, rather than the last.
        return_sequences: bool;
        /// Whether the last state can be had too: other layers name it `NAME.state` among their inputs.
        return_state: bool;
        /// Whether it goes from the last step to the first; sequences come out in that order.
        go_backwards: bool;
    }

    /// The layer in a direction, its sequences with every step at its own place.
    pub(super) fn run<'g>(
        &self,
        cx: &mut Context<'g>,
        inputs: &[Value<'g>],
        go_backwards: bool,
        in_place: bool,
    ) -> Result<Value<'g>> {
        let recurrent = Recurrent {
            cell: if self.reset_after { Cell::Gru } else { Cell::GruResetBefore },
            units: self.units,
            use_bias: self.use_bias,
            kernel_initializer: &self.kernel_initializer,
            recurrent_initializer: &self.recurrent_initializer,
            bias_initializer: &self.bias_initializer,
            return_sequences: self.return_sequences,
            return_state: self.return_state,
            go_backwards,
        };
        recurrent.forward(cx, inputs, in_place)
    }
}

impl Layer for GRU {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        self.run(cx, inputs, self.go_backwards, false)
    }
}
