//! What LSTM, GRU and SimpleRNN share.

use brisk_graph::{DType, Shape, Value, op, op::Yield};

use super::{check_sizes, sample};
use crate::{Context, Initializer, Result};

/// The cells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    Lstm,
    Gru,
    GruResetBefore,
    Simple,
}

/// A recurrent layer, told apart by its cell alone.
pub(super) struct Recurrent<'a> {
    pub cell: Cell,
    pub units: usize,
    pub use_bias: bool,
    pub kernel_initializer: &'a Initializer,
    pub recurrent_initializer: &'a Initializer,
    pub bias_initializer: &'a Initializer,
    pub return_sequences: bool,
    pub return_state: bool,
    pub go_backwards: bool,
}

pub(super) fn orthogonal() -> Initializer {
    Initializer::Orthogonal { gain: 1.0 }
}

/// Samples, steps and features of sequences.
pub(super) fn sequences(cx: &Context<'_>, x: Value<'_>) -> Result<[usize; 3]> {
    match x.shape()[..] {
        [n, t, c] if t > 0 && c > 0 => Ok([n, t, c]),
        _ => Err(cx.error(format!(
            "expected sequences [length, features], found {}; put Embedding before it for numbers of tokens, or Reshape, \
             and return_sequences: true on a recurrent layer before it",
            sample(x)
        ))),
    }
}

impl Recurrent<'_> {
    /// The layer's result. Sequences of a layer that goes backwards come out last step first, as in Keras, unless
    /// `in_place`.
    pub fn forward<'g>(
        &self,
        cx: &mut Context<'g>,
        inputs: &[Value<'g>],
        in_place: bool,
    ) -> Result<Value<'g>> {
        let b = cx.builder();
        let (x, state) = match *inputs {
            [x] => (x, None),
            [x, state] => (x, Some(state)),
            _ => {
                return Err(
                    cx.error(format!("takes one input, and maybe an initial state; found {}", inputs.len()))
                );
            }
        };
        check_sizes(cx, &[("units", self.units)])?;
        let ([n, t, features], u) = (sequences(cx, x)?, self.units);
        let (gates, states) = match self.cell {
            Cell::Lstm => (4, 2),
            Cell::Gru | Cell::GruResetBefore => (3, 1),
            Cell::Simple => (1, 1),
        };
        check_sizes(cx, &[("units", u.saturating_mul(gates))])?;
        let kernel = cx.param("kernel", [features, gates * u], self.kernel_initializer)?;
        let recurrent = cx.param("recurrent_kernel", [u, gates * u], self.recurrent_initializer)?;
        let (mut product, mut inner) = (x.matmul(kernel), b.fill(0.0, [gates * u])); // [n, t, gates u]
        if self.use_bias {
            let bias = match self.cell {
                Cell::Gru => {
                    let bias = cx.param("bias", [2, gates * u], self.bias_initializer)?;
                    inner = bias.slice(0, 1, 2).reshape([gates * u]);
                    bias.slice(0, 0, 1).reshape([gates * u])
                }
                Cell::Lstm | Cell::GruResetBefore | Cell::Simple => {
                    cx.param("bias", [gates * u], self.bias_initializer)?
                }
            };
            product = product + bias;
        }
        let wanted = Shape::from([n, states * u]);
        let initial = match state {
            Some(state) if state.shape() == wanted => state,
            Some(state) => {
                return Err(cx.error(format!(
                    "expected an initial state of {} numbers a sample, found {}; take it from a layer of as many units",
                    states * u,
                    sample(state)
                )));
            }
            None => b.fill(0.0, wanted),
        };
        let mask = cx.mask(x);
        let live = mask.unwrap_or_else(|| b.fill_as(1.0, [n, t], DType::U8));
        let run = |result: Yield| match self.cell {
            Cell::Lstm => op::lstm(product, recurrent, initial, live, result, self.go_backwards),
            Cell::Gru => op::gru(product, recurrent, inner, initial, live, result, self.go_backwards),
            Cell::GruResetBefore => {
                op::gru_reset_before(product, recurrent, initial, live, result, self.go_backwards)
            }
            Cell::Simple => op::simple_rnn(product, recurrent, initial, live, result, self.go_backwards),
        };
        let turned = self.go_backwards && !in_place;
        let y = match self.return_sequences {
            true if turned => run(Yield::Sequence).reverse(&[1]),
            true => run(Yield::Sequence),
            false => run(Yield::Last),
        };
        if let (true, Some(mask)) = (self.return_sequences, mask) {
            cx.set_mask(y, if turned { mask.reverse(&[1]) } else { mask });
        }
        if self.return_state {
            cx.set_state_of(y, run(Yield::State));
        }
        Ok(y)
    }
}
