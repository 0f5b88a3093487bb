//! Shape rules, the calls of the kernels, and the gradient that both ends share.

use std::cell::RefCell;

use brisk_kernels::recurrent::{Incoming, Kind, Sequences};

use super::super::{Attrs, GradientOf, Inferred, KernelCall, KernelInput};
use super::Yield;
use super::unroll::Cell;
use crate::prim::Prim;
use crate::{Builder, DType, Shape, Value};

/// What is expected beside the first operand: shapes, and `None` for floats of the first one's type.
fn expect(inputs: &[(&Shape, DType)], expected: &[(&str, Shape, Option<DType>)]) -> Result<(), String> {
    let dtype = inputs[0].1;
    for ((shape, found), (what, want, fixed)) in inputs[1..].iter().zip(expected) {
        let type_wanted = fixed.unwrap_or(dtype);
        if *shape != want || *found != type_wanted {
            return Err(format!(
                "beside {dtype} {}: expected {what} {type_wanted} {want}, found {found} {shape}",
                inputs[0].0
            ));
        }
    }
    Ok(())
}

/// Samples, steps and units of sequences whose steps are `width` times the units.
fn sizes(inputs: &[(&Shape, DType)], count: usize, width: usize) -> Result<[usize; 3], String> {
    if inputs.len() != count {
        return Err(format!("expected {count} operands, found {}", inputs.len()));
    }
    match (&inputs[0].0[..], inputs[0].1.is_float()) {
        (&[n, t, w], true) if t > 0 && w > 0 && w.is_multiple_of(width) => Ok([n, t, w / width]),
        _ => Err(format!(
            "expected floats [n, t, {width} u] with at least one step and unit, found {} {}",
            inputs[0].1, inputs[0].0
        )),
    }
}

/// The operands of a forward operation: samples, steps and units.
fn forward<C: Cell>(inputs: &[(&Shape, DType)]) -> Result<[usize; 3], String> {
    let (gates, gru) = (C::KIND.gates(), C::KIND == Kind::Gru);
    let [n, t, u] = sizes(inputs, 4 + usize::from(gru), gates)?;
    let mut expected = vec![
        ("a recurrent kernel", Shape::from([u, gates * u]), None),
        ("an initial state", [n, C::KIND.state() * u].into(), None),
        ("a mask", [n, t].into(), Some(DType::U8)),
    ];
    if gru {
        expected.push(("a bias", [gates * u].into(), None));
    }
    expect(inputs, &expected)?;
    Ok([n, t, u])
}

pub(super) fn shape<C: Cell>(inputs: &[(&Shape, DType)], attrs: &Attrs) -> Inferred {
    let sizes = forward::<C>(inputs)?;
    Ok((result::<C>(sizes, attrs), inputs[0].1))
}

fn result<C: Cell>([n, t, u]: [usize; 3], attrs: &Attrs) -> Shape {
    match Yield::of(attrs) {
        Yield::Last => [n, u].into(),
        Yield::Sequence => [n, t, u].into(),
        Yield::State => [n, C::KIND.state() * u].into(),
    }
}

pub(super) fn record_shape<C: Cell>(inputs: &[(&Shape, DType)], _: &Attrs) -> Inferred {
    let [n, t, u] = forward::<C>(inputs)?;
    Ok(([n, t, C::KIND.record() * u].into(), inputs[0].1))
}

pub(super) fn grad_shape<C: Cell>(inputs: &[(&Shape, DType)], attrs: &Attrs) -> Inferred {
    let kind = C::KIND;
    let [n, t, u] = sizes(inputs, 5, kind.record())?;
    let expected = [
        ("a recurrent kernel", Shape::from([u, kind.gates() * u]), None),
        ("an initial state", [n, kind.state() * u].into(), None),
        ("a mask", [n, t].into(), Some(DType::U8)),
        ("a gradient", result::<C>([n, t, u], attrs), None),
    ];
    expect(inputs, &expected)?;
    match attrs.get_int("initial") {
        0 => Ok(([n, t, kind.gradient() * u].into(), inputs[0].1)),
        _ => Ok(([n, kind.state() * u].into(), inputs[0].1)),
    }
}

fn direction(attrs: &Attrs) -> Attrs {
    Attrs::new().int("reverse", attrs.get_int("reverse"))
}

/// The record of an operation's operands.
pub(super) fn record<'g, C: Cell>(b: &'g Builder, operands: &[Value<'g>], attrs: &Attrs) -> Value<'g> {
    b.named(C::RECORD, direction(attrs), operands)
}

/// What an operation yields, of a record of `u` units.
pub(super) fn take<'g, C: Cell>(u: usize, record: Value<'g>, attrs: &Attrs) -> Value<'g> {
    let b = record.builder();
    let (n, t, width) = (record.dim(0), record.dim(1), C::KIND.record());
    let last = if attrs.get_int("reverse") == 0 { t.saturating_sub(1) } else { 0 };
    // Vectors `from..to` of one step.
    let of_last = |from: usize, to: usize| {
        let (start, end) = (vec![0, last, from * u], vec![n, last + 1, to * u]);
        b.prim(Prim::Slice { start, end, step: vec![1; 3] }, &[record]).reshape([n, (to - from) * u])
    };
    match Yield::of(attrs) {
        Yield::Sequence => record.slice(2, (width - 1) * u, width * u),
        Yield::State if C::KIND.state() == 2 => {
            b.concat(&[of_last(width - 1, width), of_last(width - 2, width - 1)], 1)
        }
        Yield::Last | Yield::State => of_last(width - 1, width),
    }
}

/// The gradients by the operands. That by the recurrent kernel is one product over all steps.
pub(super) fn gradient<'g, C: Cell>(g: GradientOf<'_, 'g>) -> Vec<Option<Value<'g>>> {
    let b = g.dy.builder();
    let [x, recurrent, initial, mask, ..] = g.inputs[..] else { return vec![None; g.inputs.len()] };
    let (n, t, u, kind) = (x.dim(0), x.dim(1), recurrent.dim(0), C::KIND);
    let record = record::<C>(b, g.inputs, g.attrs);
    let back = |initial_state: i64| {
        let attrs = g.attrs.clone().int("initial", initial_state);
        b.named(C::GRAD, attrs, &[record, recurrent, initial, mask, g.dy])
    };
    let steps = back(0);
    // The hidden state before each step.
    let width = kind.record() * u;
    let hidden = |from: usize, to: usize| {
        let (start, end) = (vec![0, from, width - u], vec![n, to, width]);
        b.prim(Prim::Slice { start, end, step: vec![1; 3] }, &[record])
    };
    let first = initial.slice(1, 0, u).expand(1);
    let before = match g.attrs.get_int("reverse") {
        _ if t == 1 => first,
        0 => b.concat(&[first, hidden(0, t - 1)], 1),
        _ => b.concat(&[hidden(1, t), first], 1),
    };
    let gates = kind.gates() * u;
    let (by_x, by_product) = match kind {
        Kind::Gru => {
            let by_x = b.concat(&[steps.slice(2, u, 3 * u), steps.slice(2, 0, u)], 2);
            (by_x, steps.slice(2, u, 4 * u))
        }
        Kind::Lstm | Kind::Simple => (steps, steps),
    };
    let by_recurrent = b.prim(
        Prim::MatMul { ta: true, tb: false },
        &[before.reshape([n * t, u]), by_product.reshape([n * t, gates])],
    );
    let mut all = vec![Some(by_x), Some(by_recurrent), Some(back(1)), None];
    if kind == Kind::Gru {
        all.push(Some(by_product.sum(&[0, 1])));
    }
    all
}

thread_local! {
    /// Scratch memory of this thread's calls, which grows to what the largest needs.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch(length: usize, call: impl FnOnce(&mut [f32])) {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        call(&mut scratch[..length]);
    });
}

/// What a call runs over: as many samples as its part of the mask has.
fn sequences<C: Cell>(c: &KernelCall<'_>, mask: &[u8]) -> Result<Sequences, String> {
    let (Some(x), Some(r)) = (c.shapes.first(), c.shapes.get(1)) else {
        return Err("expected shapes".into());
    };
    let (steps, units) = (x[1], r[0]);
    let reverse = c.attrs.get_int("reverse") != 0;
    Ok(Sequences { kind: C::KIND, samples: mask.len() / steps.max(1), steps, units, reverse })
}

pub(super) fn run_record<C: Cell>(c: KernelCall<'_>) -> Result<(), String> {
    let [x, recurrent, initial, KernelInput::U8(mask), rest @ ..] = c.inputs else {
        return Err("expected gates, recurrent kernel, state and mask".into());
    };
    let run = sequences::<C>(&c, mask)?;
    let bias = rest.first().map_or(&[][..], |b| b.f32s());
    with_scratch(run.forward_scratch(), |scratch| {
        run.forward(x.f32s(), recurrent.f32s(), bias, initial.f32s(), mask, c.output, scratch);
    });
    Ok(())
}

pub(super) fn run_grad<C: Cell>(c: KernelCall<'_>) -> Result<(), String> {
    let [record, recurrent, initial, KernelInput::U8(mask), dy] = c.inputs else {
        return Err("expected record, recurrent kernel, state, mask and gradient".into());
    };
    let run = sequences::<C>(&c, mask)?;
    let incoming = match Yield::of(c.attrs) {
        Yield::Last => Incoming::Hidden(dy.f32s()),
        Yield::Sequence => Incoming::Steps(dy.f32s()),
        Yield::State => Incoming::State(dy.f32s()),
    };
    let (record, recurrent, initial) = (record.f32s(), recurrent.f32s(), initial.f32s());
    let steps = run.samples * run.steps * C::KIND.gradient() * run.units;
    let by_state = c.attrs.get_int("initial") != 0;
    let length = run.backward_scratch() + if by_state { steps } else { 0 };
    with_scratch(length, |scratch| {
        let (scratch, unused) = scratch.split_at_mut(run.backward_scratch());
        let (gradient, by_initial) = if by_state { (unused, c.output) } else { (c.output, unused) };
        run.backward(record, recurrent, initial, mask, incoming, gradient, by_initial, scratch);
    });
    Ok(())
}
