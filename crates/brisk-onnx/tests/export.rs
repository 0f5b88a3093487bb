//! Each primitive and each named operation by itself: what is exported gives what the interpreter says.

use std::cell::RefCell;

use brisk_graph::interpret::interpret;
use brisk_graph::op::{OPS, OpDef};
use brisk_graph::prim::{Binary, Compare, Conv, Reduce, Scalar, Unary, Window};
use brisk_graph::{Builder, DType, Graph, Op, Prim, Role, Shape, Tensor};
use brisk_onnx::{Constant, Elem, Export, Output, Session, export};
use brisk_runtime::{Cpu, State};
use brisk_testkit::{assert_close, samples};

/// An operation of operands, of which those in `state` are known when it is exported.
fn graph(op: &Op, operands: &[Tensor], state: &[usize]) -> Graph {
    let b = Builder::new();
    let input = |(i, t): (usize, &Tensor)| {
        let role = if state.contains(&i) { Role::State } else { Role::Batch };
        b.input(&i.to_string(), role, t.shape(), t.dtype())
    };
    let inputs: Vec<_> = operands.iter().enumerate().map(input).collect();
    let y = b.push(op.clone(), &inputs);
    b.finish(&[("y", y)], &[]).unwrap()
}

/// What is exported yields, and what the interpreter does; an error if it cannot be exported.
fn compare(op: &Op, operands: &[Tensor], state: &[usize]) -> Result<(), String> {
    let name = op.name();
    let graph = graph(op, operands, state);
    let known: State = state.iter().map(|&i| (i.to_string(), operands[i].clone())).collect();
    let record = |_: &[usize]| Ok(graph.clone());
    let request = Export { axes: Vec::new(), ..Export::new(&record, &known) };
    let exported = export(&request).map_err(|e| e.to_string())?;
    let elem = |t: &Tensor| match t.dtype() {
        DType::F32 => (Elem::Float, t.clone()),
        DType::F64 => (Elem::Double, t.clone()),
        DType::U8 => (Elem::Uint8, t.clone()),
        DType::I32 => (Elem::Int32, Tensor::from_f64s(DType::I64, t.shape(), &t.to_f64s()).unwrap()),
        DType::I64 => (Elem::Int64, t.clone()),
    };
    let given = operands.iter().enumerate().filter(|(i, _)| !state.contains(i)).map(|(_, t)| {
        let (elem, tensor) = elem(t);
        Some(Output::Tensor(Constant::Numbers(elem, tensor)))
    });
    let device = Cpu::new(1);
    let mut session = Session::new(&device, &exported.model, exported.parameters);
    let found = match session.run(given.collect()).unwrap_or_else(|e| panic!("{name}: {e}")).remove(0) {
        Output::Tensor(Constant::Numbers(_, tensor)) => tensor,
        other => panic!("{name}: {other:?}"),
    };
    let expected = interpret(&graph, operands).unwrap().remove(0);
    assert_eq!(found.shape(), &expected.shape, "{name}");
    assert_close(name, &found.to_f64s(), &expected.data, 1e-5, 1e-5);
    Ok(())
}

fn floats(shape: impl Into<Shape>, low: f64, high: f64) -> Tensor {
    brisk_testkit::Random::new(7).floats(shape, low, high)
}

fn ints(dtype: DType, values: &[f64]) -> Tensor {
    Tensor::from_f64s(dtype, [values.len()], values).unwrap()
}

/// A call of each primitive that has operands, or makes something of none.
fn calls() -> Vec<(Prim, Vec<Tensor>)> {
    let x = || floats([2, 3, 4], -2.0, 2.0);
    let maps = || floats([2, 6, 7, 4], -2.0, 2.0);
    let index = |values: &[f64]| ints(DType::I32, values);
    let mut all: Vec<(Prim, Vec<Tensor>)> = Vec::new();
    use Unary::*;
    let rounded = RoundBits { digits: 11, lowest: -24 };
    for op in [Neg, Abs, Sign, Exp, Tanh, Erf, Floor, Sin, Cos, rounded] {
        all.push((Prim::Unary(op), vec![x()]));
    }
    for op in [Log, Sqrt, Rsqrt] {
        all.push((Prim::Unary(op), vec![floats([3, 5], 0.1, 3.0)]));
    }
    use Binary::{Add, And, Div, Max, Min, Mul, Or, Pow, Shl, Shr, Sub, Xor};
    for op in [Add, Sub, Mul, Div, Max, Min] {
        all.push((Prim::Binary(op), vec![x(), floats([2, 3, 4], 0.5, 2.0)]));
        for dtype in [DType::I32, DType::I64, DType::U8] {
            all.push((Prim::Binary(op), vec![ints(dtype, &[7.0, 10.0, 3.0]), ints(dtype, &[2.0, 5.0, 3.0])]));
        }
    }
    all.push((Prim::Binary(Pow), vec![floats([5], 0.1, 2.0), floats([5], -2.0, 2.0)]));
    for op in [And, Or, Xor, Shl, Shr] {
        for dtype in [DType::I32, DType::I64] {
            let a = ints(dtype, &[-7.0, 12345.0, -1.0, 1.0]);
            all.push((Prim::Binary(op), vec![a, ints(dtype, &[1.0, 3.0, 5.0, 0.0])]));
        }
    }
    for op in [Compare::Less, Compare::LessEqual, Compare::Equal] {
        all.push((Prim::Compare(op), vec![index(&[1.0, 2.0, 3.0]), index(&[2.0, 2.0, 2.0])]));
        all.push((Prim::Compare(op), vec![x(), floats([2, 3, 4], -1.0, 1.0)]));
    }
    let bytes = ints(DType::U8, &[0.0, 1.0, 1.0]);
    all.push((Prim::Select, vec![bytes.clone(), index(&[1.0, 2.0, 3.0]), index(&[4.0, 5.0, 6.0])]));
    for dtype in [DType::I32, DType::F64, DType::U8] {
        all.push((Prim::Cast(dtype), vec![floats([9], -3.0, 300.0)]));
    }
    all.push((Prim::Cast(DType::F32), vec![bytes]));
    all.push((Prim::Fill(Scalar(0.25), [2, 3].into(), DType::F32), vec![]));
    all.push((Prim::Iota(1, [2, 3, 4].into(), DType::I32), vec![]));
    all.push((Prim::Constant(floats([2, 3], -1.0, 1.0)), vec![]));
    all.push((Prim::Reshape([6, 4].into()), vec![x()]));
    all.push((Prim::Broadcast([5, 2, 3, 4].into()), vec![x()]));
    all.push((Prim::Transpose(vec![2, 0, 1]), vec![x()]));
    all.push((Prim::Slice { start: vec![0, 1, 1], end: vec![2, 3, 4], step: vec![1, 1, 2] }, vec![x()]));
    let pad = |low: [usize; 3], high: [usize; 3], inner: [usize; 3]| Prim::Pad {
        low: low.into(),
        high: high.into(),
        inner: inner.into(),
        value: Scalar(-1.5),
    };
    all.push((pad([0, 1, 0], [2, 0, 0], [0; 3]), vec![x()]));
    all.push((pad([1, 0, 0], [0, 0, 3], [0, 2, 1]), vec![x()]));
    all.push((Prim::Concat(1), vec![x(), floats([2, 5, 4], 0.0, 1.0)]));
    all.push((Prim::Reverse(vec![0, 2]), vec![x()]));
    for op in [Reduce::Sum, Reduce::Max, Reduce::Min] {
        all.push((Prim::Reduce(op, vec![0, 2]), vec![x()]));
        all.push((Prim::Reduce(op, vec![]), vec![x()]));
    }
    all.push((Prim::ArgMax(1), vec![x()]));
    all.push((Prim::Take, vec![x(), index(&[1.0, 0.0, 1.0])]));
    all.push((Prim::ScatterAdd(4), vec![index(&[3.0, 1.0, 3.0]), floats([3, 2], -1.0, 1.0)]));
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        for lead in [&[][..], &[2, 3]] {
            let shape = |m, n, t: bool| [lead, &if t { [n, m] } else { [m, n] }].concat();
            let (a, b) = (floats(shape(4, 5, ta), -1.0, 1.0), floats(shape(5, 3, tb), -1.0, 1.0));
            all.push((Prim::MatMul { ta, tb }, vec![a, b]));
        }
    }
    let conv = Conv { stride: [2, 1], dilation: [1, 2], padding: [[1, 0], [2, 1]], groups: 2 };
    all.push((Prim::Conv(conv), vec![maps(), floats([3, 2, 2, 6], -1.0, 1.0)]));
    all.push((
        Prim::ConvGradInput(conv, [6, 7]),
        vec![floats([2, 3, 8, 6], -1.0, 1.0), floats([3, 2, 2, 6], -1.0, 1.0)],
    ));
    let window = Window { size: [3, 2], stride: [2, 1], padding: [[1, 1], [0, 1]] };
    all.push((Prim::MaxPool(window), vec![maps()]));
    all.push((Prim::SumPool(window), vec![maps()]));
    all
}

#[test]
fn each_primitive_gives_the_same() {
    for (prim, operands) in calls() {
        compare(&Op::Prim(prim), &operands, &[]).unwrap();
    }
}

/// What of a named operation must be known when it is exported.
fn known(op: &OpDef) -> &'static [usize] {
    match op.name {
        "lstm" | "simple_rnn" | "gru_reset_before" => &[1],
        "gru" => &[1, 4],
        _ => &[],
    }
}

#[test]
fn each_named_operation_gives_the_same_or_says_why_not() {
    let refused = RefCell::new(Vec::new());
    for op in OPS {
        for case in samples(op, DType::F32, 3) {
            if let Err(message) = compare(&Op::Named(op, case.attrs.clone()), &case.inputs, known(op)) {
                let mut refused = refused.borrow_mut();
                assert!(message.contains("cannot be written as ONNX"), "{message}");
                if refused.last() != Some(&op.name) {
                    refused.push(op.name);
                }
            }
        }
    }
    // Texts that begin anywhere, and random numbers.
    assert_eq!(refused.into_inner(), ["attention", "attention_grad", "segment_max", "dropout"]);
}

#[test]
fn what_only_gradients_have_is_refused_by_name() {
    let window = Window { size: [2, 2], stride: [2, 2], padding: [[0, 0], [0, 0]] };
    let (maps, pooled) = (floats([1, 4, 4, 2], -1.0, 1.0), floats([1, 2, 2, 2], -1.0, 1.0));
    let index = Tensor::zeros(DType::U8, [1, 2, 2, 2]);
    let calls = [
        (Prim::ConvGradKernel(Conv::default(), [2, 2]), vec![maps.clone(), floats([1, 3, 3, 5], -1.0, 1.0)]),
        (Prim::MaxPoolIndex(window), vec![maps.clone()]),
        (Prim::MaxPoolGrad(window, [4, 4]), vec![pooled.clone(), index.clone()]),
        (Prim::MaxPoolTake(window), vec![maps, index]),
        (Prim::SumPoolGrad(window, [4, 4]), vec![pooled]),
        (Prim::Random(0, [3].into()), vec![Tensor::zeros(DType::I32, [2])]),
    ];
    for (prim, operands) in calls {
        let error = compare(&Op::Prim(prim.clone()), &operands, &[]).unwrap_err();
        assert!(error.contains(&format!("({}) cannot be written as ONNX", prim.name())), "{error}");
        assert!(error.ends_with("export a prediction"), "{error}");
    }
}
