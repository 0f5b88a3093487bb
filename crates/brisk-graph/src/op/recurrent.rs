//! Recurrent networks: a whole sequence is one operation.
//!
//! `lstm`, `gru` and `simple_rnn` yield what a layer wants: the hidden states of all steps, the last one, or the last state.
//! They are slices of the `_record` operations, which keep for each step what the way back needs, in one tensor; the
//! `_grad` operations go back over the record. Records and gradients have kernels; their decompositions unroll the loop.
//!
//! A step of a sample whose mask is 0 carries the state, and its hidden state is the one before.

use brisk_kernels::recurrent::Kind;

use super::{Attrs, Cut, Gradient, Kernel, OpDef, Sample, SampleKind};
use crate::{Shape, Value};

mod call;
mod reset_before;
mod unroll;

use call::{grad_shape, gradient, record, record_shape, run_grad, run_record, shape, take};
pub use reset_before::{GRU_RESET_BEFORE, gru_reset_before};
use unroll::{Gru, Lstm, Simple, unroll, unroll_grad};

/// What a recurrent operation yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yield {
    /// The hidden state after the last step (the first, in reverse), `[n, u]`.
    Last,
    /// The hidden state after every step, each at its own place, `[n, t, u]`.
    Sequence,
    /// The whole state after the last step: `[n, 2 u]`, hidden and cell, of an LSTM, else `[n, u]`.
    State,
}

impl Yield {
    fn of(attrs: &Attrs) -> Yield {
        match attrs.get_int("yield") {
            0 => Yield::Last,
            1 => Yield::Sequence,
            _ => Yield::State,
        }
    }
}

fn attrs(result: Yield, reverse: bool) -> Attrs {
    let number = match result {
        Yield::Last => 0,
        Yield::Sequence => 1,
        Yield::State => 2,
    };
    Attrs::new().int("yield", number).int("reverse", reverse.into())
}

/// The operands of a recurrent operation, for samples to test with: `[n, t, u]` and the cell.
fn operands(kind: Kind, [n, t, u]: [usize; 3]) -> Vec<(Shape, SampleKind)> {
    let float = SampleKind::Float(-1.0, 1.0);
    let mut all = vec![
        (Shape::from([n, t, kind.gates() * u]), float),
        ([u, kind.gates() * u].into(), float),
        ([n, kind.state() * u].into(), float),
        ([n, t].into(), SampleKind::Byte(2)),
    ];
    if kind == Kind::Gru {
        all.push(([kind.gates() * u].into(), float));
    }
    all
}

const SIZES: [[usize; 3]; 3] = [[3, 4, 2], [5, 2, 7], [1, 3, 1]];

fn samples(kind: Kind) -> Vec<Sample> {
    let mut all = Vec::new();
    for size in SIZES {
        for result in [Yield::Last, Yield::Sequence, Yield::State] {
            let reverse = size[0] == 5 || result == Yield::State;
            all.push(Sample::of(operands(kind, size)).with(attrs(result, reverse)));
        }
    }
    all
}

fn grad_samples(kind: Kind) -> Vec<Sample> {
    let float = SampleKind::Float(-0.9, 0.9);
    let mut all = Vec::new();
    for [n, t, u] in SIZES {
        for (result, dy) in [
            (Yield::Last, Shape::from([n, u])),
            (Yield::Sequence, [n, t, u].into()),
            (Yield::State, [n, kind.state() * u].into()),
        ] {
            for initial in [0, 1] {
                let sample = Sample::of([
                    (Shape::from([n, t, kind.record() * u]), float),
                    ([u, kind.gates() * u].into(), float),
                    ([n, kind.state() * u].into(), float),
                    ([n, t].into(), SampleKind::Byte(2)),
                    (dy.clone(), float),
                ]);
                all.push(
                    sample.with(
                        attrs(result, (n + initial as usize).is_multiple_of(2)).int("initial", initial),
                    ),
                );
            }
        }
    }
    all
}

/// As many samples share each reading of the recurrent kernel.
const SAMPLES: usize = brisk_kernels::recurrent::BLOCK;

/// Declares the three operations of a cell.
macro_rules! cell {
    ($cell:ident, $kind:expr, $by_row:expr,
     $name:ident: $text:literal, $doc:literal; $record:ident: $record_text:literal, $record_doc:literal;
     $grad:ident: $grad_text:literal, $grad_doc:literal) => {
        #[doc = concat!("See [`", $text, "`].")]
        pub static $name: OpDef = OpDef {
            name: $text,
            doc: $doc,
            shape: shape::<$cell>,
            decompose: |b, x, a| take::<$cell>(x[1].dim(0), record::<$cell>(b, x, a), a),
            gradient: Gradient::Closed(gradient::<$cell>),
            kernel: None,
            samples: || samples($kind),
        };

        #[doc = concat!("All that the way back of [`", $text, "`] needs of each step.")]
        pub static $record: OpDef = OpDef {
            name: $record_text,
            doc: $record_doc,
            shape: record_shape::<$cell>,
            decompose: unroll::<$cell>,
            gradient: Gradient::FromDecomposition,
            kernel: Some(Kernel { cut: Cut::Samples(SAMPLES), run: run_record::<$cell>, by_row: $by_row }),
            samples: || {
                let with = |(i, size)| {
                    Sample::of(operands($kind, size)).with(Attrs::new().int("reverse", i as i64 % 2))
                };
                SIZES.into_iter().enumerate().map(with).collect()
            },
        };

        #[doc = concat!("The gradient of [`", $text, "`] by its gates' inputs, or by the initial state.")]
        pub static $grad: OpDef = OpDef {
            name: $grad_text,
            doc: $grad_doc,
            shape: grad_shape::<$cell>,
            decompose: unroll_grad::<$cell>,
            gradient: Gradient::FromDecomposition,
            kernel: Some(Kernel {
                cut: Cut::Samples(SAMPLES),
                run: run_grad::<$cell>,
                by_row: &[true, false, true, true, true],
            }),
            samples: || grad_samples($kind),
        };
    };
}

cell! { Lstm, Kind::Lstm, &[true, false, true, true],
LSTM: "lstm", "c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c'), (i, f, g, o) = x + h R for each step; \
    operands x, R, (h, c) at the start, mask: [n, t, 4u], [u, 4u], [n, 2u], u8 [n, t] -> the last h [n, u] (yield 0), every h \
    [n, t, u] (1) or the last (h, c) [n, 2u] (2)";
LSTM_RECORD: "lstm_record", "the gates sigmoid(i), sigmoid(f), tanh(g), sigmoid(o), then c and h after each step of lstm; \
    operands of lstm -> [n, t, 6u]";
LSTM_GRAD: "lstm_grad", "the gradient of lstm by x [n, t, 4u], or with initial 1 by the state at the start [n, 2u]; operands \
    record, R, state at the start, mask, gradient by the result" }
cell! { Gru, Kind::Gru, &[true, false, true, true, false],
GRU: "gru", "h' = z h + (1 - z) tanh(x_h + r s_h), z = sigmoid(x_z + s_z), r = sigmoid(x_r + s_r), s = h R + b for each step; \
    operands x (z, r, h), R, h at the start, mask, b: [n, t, 3u], [u, 3u], [n, u], u8 [n, t], [3u] -> the last h [n, u] (yield \
    0 or 2) or every h [n, t, u] (1)";
GRU_RECORD: "gru_record", "z, r, the candidate tanh(..), s_h and h after each step of gru; operands of gru -> [n, t, 5u]";
GRU_GRAD: "gru_grad", "the gradient of gru by x_h and by s (z, r, h), of which the first two are those by x: [n, t, 4u], or with \
    initial 1 by the state at the start [n, u]; operands record, R, state at the start, mask, gradient by the result" }
cell! { Simple, Kind::Simple, &[true, false, true, true],
SIMPLE_RNN: "simple_rnn", "h' = tanh(x + h R) for each step; operands x, R, h at the start, mask: [n, t, u], [u, u], [n, u], u8 \
    [n, t] -> the last h [n, u] (yield 0 or 2) or every h [n, t, u] (1)";
SIMPLE_RNN_RECORD: "simple_rnn_record", "h after each step of simple_rnn; operands of simple_rnn -> [n, t, u]";
SIMPLE_RNN_GRAD: "simple_rnn_grad", "the gradient of simple_rnn by x [n, t, u], or with initial 1 by the state at the start [n, \
    u]; operands record, R, state at the start, mask, gradient by the result" }

/// Long short-term memory over sequences (Hochreiter and Schmidhuber, 1997; with a forget gate, Gers and others, 2000).
///
/// `x` is `[n, t, 4u]`: each step's input times its weights, plus the bias, for the gates i, f, g, o; `recurrent` is `[u, 4u]`;
/// `initial` is `[n, 2u]`, hidden state and cell; `mask` is u8 `[n, t]`, 0 for steps to leave out.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [8, 20, 4 * 16], DType::F32);
/// let r = b.input("r", Role::State, [16, 4 * 16], DType::F32);
/// let mask = b.fill_as(1.0, [8, 20], DType::U8);
/// let h = op::lstm(x, r, b.fill(0.0, [8, 32]), mask, op::Yield::Last, false);
/// assert_eq!(h.shape().dims(), [8, 16]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn lstm<'g>(
    x: Value<'g>,
    recurrent: Value<'g>,
    initial: Value<'g>,
    mask: Value<'g>,
    result: Yield,
    reverse: bool,
) -> Value<'g> {
    x.builder().named(&LSTM, attrs(result, reverse), &[x, recurrent, initial, mask])
}

/// Gated recurrent unit over sequences (Cho and others, 2014), the reset after the product (Keras's `reset_after`).
///
/// `x` is `[n, t, 3u]`: each step's input times its weights, plus the bias, for z, r, h; `recurrent` is `[u, 3u]` and `bias`
/// `[3u]` is added to its product; `initial` is `[n, u]`; `mask` is u8 `[n, t]`, 0 for steps to leave out.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [8, 20, 3 * 16], DType::F32);
/// let r = b.input("r", Role::State, [16, 3 * 16], DType::F32);
/// let mask = b.fill_as(1.0, [8, 20], DType::U8);
/// let h = op::gru(x, r, b.fill(0.0, [48]), b.fill(0.0, [8, 16]), mask, op::Yield::Sequence, true);
/// assert_eq!(h.shape().dims(), [8, 20, 16]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn gru<'g>(
    x: Value<'g>,
    recurrent: Value<'g>,
    bias: Value<'g>,
    initial: Value<'g>,
    mask: Value<'g>,
    result: Yield,
    reverse: bool,
) -> Value<'g> {
    x.builder().named(&GRU, attrs(result, reverse), &[x, recurrent, initial, mask, bias])
}

/// The plain recurrent network over sequences: `h' = tanh(x + h recurrent)` (Elman, 1990).
///
/// `x` is `[n, t, u]`: each step's input times its weights, plus the bias; `recurrent` is `[u, u]`; `initial` is `[n, u]`; `mask`
/// is u8 `[n, t]`, 0 for steps to leave out.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [8, 20, 16], DType::F32);
/// let r = b.input("r", Role::State, [16, 16], DType::F32);
/// let mask = b.fill_as(1.0, [8, 20], DType::U8);
/// let h = op::simple_rnn(x, r, b.fill(0.0, [8, 16]), mask, op::Yield::Last, false);
/// assert_eq!(h.shape().dims(), [8, 16]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn simple_rnn<'g>(
    x: Value<'g>,
    recurrent: Value<'g>,
    initial: Value<'g>,
    mask: Value<'g>,
    result: Yield,
    reverse: bool,
) -> Value<'g> {
    x.builder().named(&SIMPLE_RNN, attrs(result, reverse), &[x, recurrent, initial, mask])
}
