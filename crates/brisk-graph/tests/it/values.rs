//! The reference interpreter against results worked out by hand.

use brisk_graph::interpret::Array;
use brisk_graph::prim::{Conv, Scalar, Window};
use brisk_graph::{Builder, DType, Prim, Tensor, Value};
use brisk_testkit::{assert_close, evaluate};

fn f64s<const N: usize>(shape: &[usize], data: [f64; N]) -> Tensor {
    Tensor::new(shape, data.to_vec()).unwrap()
}

fn count(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    Tensor::new(shape, (1..=n).map(|i| i as f64).collect::<Vec<_>>()).unwrap()
}

#[track_caller]
fn check(
    inputs: &[Tensor],
    build: impl for<'g> Fn(&'g Builder, &[Value<'g>]) -> Value<'g>,
    shape: &[usize],
    want: &[f64],
) {
    let Array { shape: found, data } = evaluate(inputs, build).unwrap();
    assert_eq!(&found[..], shape);
    assert_close("values", &data, want, 1e-12, 1e-12);
}

#[test]
fn elementwise() {
    let x = [f64s(&[4], [-1.5, 0.0, 2.5, f64::NAN])];
    let nan = f64::NAN;
    check(&x, |_, x| x[0].sign(), &[4], &[-1.0, 0.0, 1.0, nan]);
    check(&x, |_, x| x[0].floor(), &[4], &[-2.0, 0.0, 2.0, nan]);
    check(&x, |_, x| x[0].max(0.0), &[4], &[0.0, 0.0, 2.5, nan]);
    check(&x, |_, x| 0.0 - x[0].min(1.0), &[4], &[1.5, 0.0, -1.0, nan]);
    check(&x, |_, x| x[0].less(0.0), &[4], &[1.0, 0.0, 0.0, 0.0]);
    check(&x, |_, x| x[0].greater(0.0), &[4], &[0.0, 0.0, 1.0, 0.0]);
    check(&x, |_, x| x[0].less_equal(0.0), &[4], &[1.0, 1.0, 0.0, 0.0]);
    check(&x, |_, x| x[0].equal(x[0]), &[4], &[1.0, 1.0, 1.0, 0.0]);
    check(&x[..1], |_, x| x[0].less(0.0).select(x[0], x[0] * 2.0), &[4], &[-1.5, 0.0, 5.0, nan]);
    let wild = [f64s(&[5], [-7.9, 300.5, 1.9, 1e20, f64::NAN])];
    check(&wild, |_, x| x[0].cast(DType::U8), &[5], &[0.0, 255.0, 1.0, 255.0, 0.0]);
    check(&wild, |_, x| x[0].cast(DType::I32), &[5], &[-7.0, 300.0, 1.0, 2147483647.0, 0.0]);
    let whole = [Tensor::new([3], vec![7i32, -7, 6]).unwrap(), Tensor::new([3], vec![2i32, 2, 4]).unwrap()];
    check(&whole, |_, x| x[0] / x[1], &[3], &[3.0, -3.0, 1.0]);
}

/// Values from tables (Abramowitz and Stegun, 7.1), to all their digits; both branches of the series.
#[test]
fn error_function() {
    let x = [f64s(&[7], [0.0, 0.5, 1.0, -1.0, 2.0, 3.0, 7.0])];
    let want = [
        0.0,
        0.520_499_877_813_046_5,
        0.842_700_792_949_714_9,
        -0.842_700_792_949_714_9,
        0.995_322_265_018_952_7,
        0.999_977_909_503_001_4,
        1.0,
    ];
    let got = evaluate(&x, |_, x| x[0].erf()).unwrap();
    assert_close("erf", &got.data, &want, 1e-14, 0.0);
}

#[test]
fn movement() {
    let x = [count(&[2, 3])];
    check(&x, |_, x| x[0].transpose(&[1, 0]), &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    check(&x, |_, x| x[0].reverse(&[1]), &[2, 3], &[3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    check(
        &x,
        |b, x| b.concat(&[x[0].slice(1, 2, 3), x[0]], 1),
        &[2, 4],
        &[3.0, 1.0, 2.0, 3.0, 6.0, 4.0, 5.0, 6.0],
    );
    let pad = Prim::Pad { low: vec![0, 1], high: vec![1, 0], inner: vec![0, 1], value: Scalar(9.0) };
    let want = [[9.0, 1.0, 9.0, 2.0, 9.0, 3.0], [9.0, 4.0, 9.0, 5.0, 9.0, 6.0], [9.0; 6]];
    check(&x, |b, x| b.prim(pad.clone(), x), &[3, 6], &want.concat());
    let slice = Prim::Slice { start: vec![1, 0], end: vec![2, 3], step: vec![1, 2] };
    check(&x, |b, x| b.prim(slice.clone(), x), &[1, 2], &[4.0, 6.0]);
    check(
        &[count(&[2, 1])],
        |_, x| x[0].broadcast_to([2, 2, 2]),
        &[2, 2, 2],
        &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0],
    );
    check(&[count(&[1])], |b, _| b.iota(1, [2, 3], DType::I32), &[2, 3], &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
}

#[test]
fn rows_and_reductions() {
    let x = [count(&[3, 2]), Tensor::new([4], vec![2, 0, 0, 1]).unwrap()];
    check(&x, |_, x| x[0].take(x[1]), &[4, 2], &[5.0, 6.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0]);
    let updates = [Tensor::new([3], vec![1, 1, 0]).unwrap(), count(&[3, 2])];
    check(&updates, |b, x| b.prim(Prim::ScatterAdd(3), x), &[3, 2], &[5.0, 6.0, 4.0, 6.0, 0.0, 0.0]);
    check(&x, |_, x| x[0].sum(&[0]), &[2], &[9.0, 12.0]);
    check(&x, |_, x| x[0].mean_all(), &[], &[3.5]);
    check(&x, |_, x| x[0].reduce_min(&[1]), &[3], &[1.0, 3.0, 5.0]);
    check(&[f64s(&[2, 3], [1.0, 7.0, 7.0, -1.0, -1.0, -2.0])], |_, x| x[0].argmax(1), &[2], &[1.0, 0.0]);
    let bad = [count(&[3, 2]), Tensor::new([1], vec![3]).unwrap()];
    let error = evaluate(&bad, |_, x| x[0].take(x[1])).unwrap_err();
    assert_eq!(error.to_string(), "take: index 3 is out of range for 3 rows");
}

#[test]
fn products() {
    let x = [count(&[2, 3]), count(&[3, 2])];
    check(&x, |_, x| x[0].matmul(x[1]), &[2, 2], &[22.0, 28.0, 49.0, 64.0]);
    let t = [count(&[2, 3]), count(&[2, 3])];
    check(&t, |b, x| b.prim(Prim::MatMul { ta: false, tb: true }, x), &[2, 2], &[14.0, 32.0, 32.0, 77.0]);
    let want = [17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0];
    check(&t, |b, x| b.prim(Prim::MatMul { ta: true, tb: false }, x), &[3, 3], &want);
}

#[test]
fn convolutions() {
    let x = [count(&[1, 3, 3, 1]), f64s(&[2, 2, 1, 1], [1.0, 10.0, 100.0, 1000.0])];
    check(&x, |_, x| x[0].conv(x[1], Conv::default()), &[1, 2, 2, 1], &[5421.0, 6532.0, 8754.0, 9865.0]);
    let odd = Conv { stride: [2, 2], padding: [[0, 1], [1, 0]], ..Conv::default() };
    // Windows begin at row 0 and 2, column -1 and 1.
    check(&x, |_, x| x[0].conv(x[1], odd), &[1, 2, 2, 1], &[4010.0, 6532.0, 70.0, 98.0]);
    let dilated = Conv { dilation: [2, 2], ..Conv::default() };
    check(&x, |_, x| x[0].conv(x[1], dilated), &[1, 1, 1, 1], &[9731.0]);
    let groups = Conv { groups: 2, ..Conv::default() };
    let two = [f64s(&[1, 1, 1, 2], [3.0, 5.0]), f64s(&[1, 1, 1, 4], [1.0, 2.0, 10.0, 20.0])];
    check(&two, |_, x| x[0].conv(x[1], groups), &[1, 1, 1, 4], &[3.0, 6.0, 50.0, 100.0]);
}

#[test]
fn pools() {
    let window = Window { size: [2, 2], stride: [2, 2], padding: [[0, 0], [1, 0]] };
    let x = [f64s(&[1, 2, 3, 1], [1.0, 5.0, 5.0, 4.0, 5.0, 2.0])];
    // Columns -1..1 and 1..3; the cell of the padding is cell 0 of the first window, and never wins.
    check(&x, |_, x| x[0].max_pool(window), &[1, 1, 2, 1], &[4.0, 5.0]);
    check(&x, |b, x| b.prim(Prim::MaxPoolIndex(window), x), &[1, 1, 2, 1], &[3.0, 0.0]);
    check(&x, |_, x| x[0].sum_pool(window), &[1, 1, 2, 1], &[5.0, 17.0]);
    let dy = [f64s(&[1, 1, 2, 1], [2.0, 3.0]), Tensor::new([1, 1, 2, 1], vec![3u8, 0]).unwrap()];
    check(
        &dy,
        |b, x| b.prim(Prim::MaxPoolGrad(window, [2, 3]), x),
        &[1, 2, 3, 1],
        &[0.0, 3.0, 0.0, 2.0, 0.0, 0.0],
    );
    check(
        &dy[..1],
        |b, x| b.prim(Prim::SumPoolGrad(window, [2, 3]), x),
        &[1, 2, 3, 1],
        &[2.0, 3.0, 3.0, 2.0, 3.0, 3.0],
    );
}

#[test]
fn random_numbers_depend_on_key_stream_and_place_alone() {
    let key = |a: i32, b: i32| [Tensor::new([2], vec![a, b]).unwrap()];
    let draw = |key: &[Tensor], stream, n: usize| {
        evaluate(key, |b, x| b.prim(Prim::Random(stream, [n].into()), x)).unwrap().data
    };
    let first = draw(&key(1, -2), 0, 50);
    assert_eq!(first, draw(&key(1, -2), 0, 50));
    assert_eq!(first[..20], draw(&key(1, -2), 0, 20));
    assert!(first != draw(&key(1, -2), 1, 50) && first != draw(&key(1, 2), 0, 50));
    assert!(first.iter().all(|v| (0.0..1.0).contains(v) && (v * 16_777_216.0).fract() == 0.0));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let b = Builder::new();
    let x = b.input("x", brisk_graph::Role::Batch, [2], DType::F32);
    let graph = b.finish(&[("y", x * 2.0)], &[]).unwrap();
    let run = |inputs: &[Tensor]| brisk_graph::interpret::interpret(&graph, inputs).unwrap_err().to_string();
    assert_eq!(run(&[]), "interpret: expected 1 inputs, found 0");
    assert_eq!(run(&[Tensor::zeros(DType::F32, [3])]), "interpret: x: expected [2], found [3]");
}

#[test]
fn many_parts_of_one_value_are_told_apart() {
    const PARTS: usize = 1 << 18;
    let b = Builder::new();
    let x = b.constant(Tensor::new([PARTS], vec![1f32; PARTS]).unwrap());
    let ids: std::collections::HashSet<_> = (0..PARTS).map(|i| x.slice(0, i, i + 1).id()).collect();
    assert_eq!(ids.len(), PARTS);
    assert_eq!(x.slice(0, 3, 4).id(), x.slice(0, 3, 4).id());
}
