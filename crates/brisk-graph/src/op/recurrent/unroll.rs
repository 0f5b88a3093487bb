//! The loop in primitives: the oracle of the kernels.

use brisk_kernels::recurrent::Kind;

use super::super::{Attrs, OpDef, sigmoid};
use super::Yield;
use crate::{Builder, Value};

/// A cell as formulas over `[n, u]`.
pub(super) trait Cell {
    const KIND: Kind;
    const RECORD: &'static OpDef;
    const GRAD: &'static OpDef;

    /// The record of a step from the step's gates, the product (with bias) and the state before.
    fn step<'g>(x: &[Value<'g>], product: &[Value<'g>], state: &[Value<'g>]) -> Vec<Value<'g>>;
    /// From the record, the state before and the gradient by the state after: the gradients of the step, and that by the
    /// state before, but for the product's part.
    fn back<'g>(
        record: &[Value<'g>],
        before: &[Value<'g>],
        dy: &[Value<'g>],
    ) -> (Vec<Value<'g>>, Vec<Value<'g>>);
    /// The state in a record.
    fn state<'g>(record: &[Value<'g>]) -> Vec<Value<'g>>;
}

pub(super) struct Lstm;
pub(super) struct Gru;
pub(super) struct Simple;

fn sigmoid_slope(y: Value<'_>) -> Value<'_> {
    y * (1.0 - y)
}

fn tanh_slope(y: Value<'_>) -> Value<'_> {
    1.0 - y * y
}

impl Cell for Lstm {
    const KIND: Kind = Kind::Lstm;
    const RECORD: &'static OpDef = &super::LSTM_RECORD;
    const GRAD: &'static OpDef = &super::LSTM_GRAD;

    fn step<'g>(x: &[Value<'g>], product: &[Value<'g>], state: &[Value<'g>]) -> Vec<Value<'g>> {
        let sum = |k: usize| x[k] + product[k];
        let (i, f, g, o) = (sigmoid(sum(0)), sigmoid(sum(1)), sum(2).tanh(), sigmoid(sum(3)));
        let c = f * state[1] + i * g;
        vec![i, f, g, o, c, o * c.tanh()]
    }

    fn back<'g>(r: &[Value<'g>], before: &[Value<'g>], dy: &[Value<'g>]) -> (Vec<Value<'g>>, Vec<Value<'g>>) {
        let (i, f, g, o, out) = (r[0], r[1], r[2], r[3], r[4].tanh());
        let dc = dy[1] + dy[0] * o * tanh_slope(out);
        let gates = vec![
            dc * g * sigmoid_slope(i),
            dc * before[1] * sigmoid_slope(f),
            dc * i * tanh_slope(g),
            dy[0] * out * sigmoid_slope(o),
        ];
        (gates, vec![dy[0] * 0.0, dc * f])
    }

    fn state<'g>(record: &[Value<'g>]) -> Vec<Value<'g>> {
        vec![record[5], record[4]]
    }
}

impl Cell for Gru {
    const KIND: Kind = Kind::Gru;
    const RECORD: &'static OpDef = &super::GRU_RECORD;
    const GRAD: &'static OpDef = &super::GRU_GRAD;

    fn step<'g>(x: &[Value<'g>], product: &[Value<'g>], state: &[Value<'g>]) -> Vec<Value<'g>> {
        let (z, r) = (sigmoid(x[0] + product[0]), sigmoid(x[1] + product[1]));
        let candidate = (x[2] + r * product[2]).tanh();
        vec![z, r, candidate, product[2], z * state[0] + (1.0 - z) * candidate]
    }

    fn back<'g>(r: &[Value<'g>], before: &[Value<'g>], dy: &[Value<'g>]) -> (Vec<Value<'g>>, Vec<Value<'g>>) {
        let dx = dy[0] * (1.0 - r[0]) * tanh_slope(r[2]);
        let dz = dy[0] * (before[0] - r[2]) * sigmoid_slope(r[0]);
        let dr = dx * r[3] * sigmoid_slope(r[1]);
        (vec![dx, dz, dr, dx * r[1]], vec![dy[0] * r[0]])
    }

    fn state<'g>(record: &[Value<'g>]) -> Vec<Value<'g>> {
        vec![record[4]]
    }
}

impl Cell for Simple {
    const KIND: Kind = Kind::Simple;
    const RECORD: &'static OpDef = &super::SIMPLE_RNN_RECORD;
    const GRAD: &'static OpDef = &super::SIMPLE_RNN_GRAD;

    fn step<'g>(x: &[Value<'g>], product: &[Value<'g>], _: &[Value<'g>]) -> Vec<Value<'g>> {
        vec![(x[0] + product[0]).tanh()]
    }

    fn back<'g>(r: &[Value<'g>], _: &[Value<'g>], dy: &[Value<'g>]) -> (Vec<Value<'g>>, Vec<Value<'g>>) {
        (vec![dy[0] * tanh_slope(r[0])], vec![dy[0] * 0.0])
    }

    fn state<'g>(record: &[Value<'g>]) -> Vec<Value<'g>> {
        vec![record[0]]
    }
}

/// `[n, k u]` as `k` times `[n, u]`.
pub(super) fn split(v: Value<'_>, u: usize) -> Vec<Value<'_>> {
    (0..v.last() / u.max(1)).map(|k| v.slice(1, k * u, (k + 1) * u)).collect()
}

/// Step `t` of `[n, t, w]`.
pub(super) fn at(v: Value<'_>, t: usize) -> Value<'_> {
    v.slice(1, t, t + 1).reshape([v.dim(0), v.last()])
}

/// `a` where the step is live, `b` elsewhere, for each of several.
pub(super) fn choose<'g>(live: Value<'g>, a: Vec<Value<'g>>, b: &[Value<'g>]) -> Vec<Value<'g>> {
    a.into_iter().zip(b).map(|(a, &b)| live.select(a, b)).collect()
}

pub(super) fn order(steps: usize, attrs: &Attrs) -> Vec<usize> {
    match attrs.get_int("reverse") {
        0 => (0..steps).collect(),
        _ => (0..steps).rev().collect(),
    }
}

/// Where step `t` of a mask is live, `[n, 1]`.
pub(super) fn live(mask: Value<'_>, t: usize) -> Value<'_> {
    let step = mask.slice(1, t, t + 1);
    step.builder().fill_as(0.0, step.shape(), step.dtype()).less(step)
}

/// The record of every step.
pub(super) fn unroll<'g, C: Cell>(b: &'g Builder, operands: &[Value<'g>], attrs: &Attrs) -> Value<'g> {
    let (x, recurrent, mask) = (operands[0], operands[1], operands[3]);
    let u = recurrent.dim(0);
    let mut state = split(operands[2], u);
    let mut steps = vec![x; x.dim(1)];
    for t in order(x.dim(1), attrs) {
        let product = state[0].matmul(recurrent);
        let product = operands.get(4).map_or(product, |&bias| product + bias);
        let record = C::step(&split(at(x, t), u), &split(product, u), &state);
        // A step that is left out has zeros, but for its state.
        let mut carried = vec![record[0] * 0.0; record.len()];
        let first = record.len() - state.len();
        (0..state.len()).for_each(|i| carried[first + i] = state[state.len() - 1 - i]);
        let record = choose(live(mask, t), record, &carried);
        state = C::state(&record);
        steps[t] = b.concat(&record, 1).expand(1);
    }
    b.concat(&steps, 1)
}

/// The gradient of every step, or by the state at the start.
pub(super) fn unroll_grad<'g, C: Cell>(b: &'g Builder, operands: &[Value<'g>], attrs: &Attrs) -> Value<'g> {
    let [record, recurrent, initial, mask, dy] = operands[..] else {
        b.fail(C::GRAD.name, "expected 5 operands");
        return operands[0];
    };
    let u = recurrent.dim(0);
    let zero = initial.slice(1, 0, u) * 0.0;
    let mut state = match Yield::of(attrs) {
        Yield::State => split(dy, u),
        Yield::Last => vec![dy, zero],
        Yield::Sequence => vec![zero, zero],
    };
    state.truncate(C::KIND.state());
    let order = order(record.dim(1), attrs);
    let mut steps = vec![record; order.len()];
    for (i, &t) in order.iter().enumerate().rev() {
        if Yield::of(attrs) == Yield::Sequence {
            state[0] = state[0] + at(dy, t);
        }
        let before = match i.checked_sub(1) {
            Some(i) => C::state(&split(at(record, order[i]), u)),
            None => split(initial, u),
        };
        let (gates, mut next) = C::back(&split(at(record, t), u), &before, &state);
        let gates = choose(live(mask, t), gates, &[zero; 4]);
        let product = b.concat(&gates[gates.len() - C::KIND.gates()..], 1);
        next[0] = next[0] + product.matmul(recurrent.transpose(&[1, 0]));
        state = choose(live(mask, t), next, &state);
        steps[t] = b.concat(&gates, 1).expand(1);
    }
    match attrs.get_int("initial") {
        0 => b.concat(&steps, 1),
        _ => b.concat(&state, 1),
    }
}
