//! Shape rules on anything: they refuse, they never panic, and what they accept can be built, run and differentiated.

use brisk_graph::op::{Attrs, OPS};
use brisk_graph::prim::{Binary, Compare, Conv, MAX_ELEMENTS, Reduce, Scalar, Unary, Window};
use brisk_graph::{Builder, DType, Prim, Role, Shape, Tensor, grad, interpret::interpret};
use brisk_testkit::{Random, shape};
use proptest::prelude::*;

/// Sizes as they may stand in a file that wishes us ill.
fn hostile() -> Sizes {
    prop_oneof![
        20 => 1..4usize,
        3 => Just(0),
        1 => prop::sample::select(vec![usize::MAX, usize::MAX - 1, usize::MAX / 2 + 1, 1 << 40, 1 << 32, 1 << 20]),
    ]
    .boxed()
}

fn small() -> Sizes {
    prop_oneof![8 => 1..4usize, 1 => Just(0)].boxed()
}

type Sizes = BoxedStrategy<usize>;

/// As many numbers as a shape has axes, most of the time.
fn list(n: &Sizes, rank: usize) -> impl Strategy<Value = Vec<usize>> + use<> {
    prop_oneof![9 => prop::collection::vec(n.clone(), rank), 1 => prop::collection::vec(n.clone(), 0..5)]
}

fn any_shape(n: &Sizes, rank: usize) -> impl Strategy<Value = Shape> + use<> {
    list(n, rank).prop_map(Shape::from)
}

fn axes(rank: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::sample::subsequence((0..rank.max(1)).collect::<Vec<_>>(), 0..=rank.max(1))
}

fn dtype() -> impl Strategy<Value = DType> {
    prop_oneof![4 => Just(DType::F32), 1 => Just(DType::F64), 2 => Just(DType::I32), 1 => Just(DType::U8)]
}

fn pair(n: &Sizes) -> impl Strategy<Value = [usize; 2]> + use<> {
    [n.clone(), n.clone()]
}

/// Numbers that mostly make sense as strides and such.
fn near(n: &Sizes, plain: std::ops::Range<usize>) -> impl Strategy<Value = [usize; 2]> + use<> {
    prop_oneof![12 => [plain.clone(), plain], 1 => [n.clone(), n.clone()]]
}

fn any_conv(n: &Sizes) -> impl Strategy<Value = Conv> + use<> {
    let padding = [near(n, 0..3), near(n, 0..3)];
    (near(n, 1..3), near(n, 1..3), padding, prop_oneof![6 => Just(1), 1 => n.clone()])
        .prop_map(|(stride, dilation, padding, groups)| Conv { stride, dilation, padding, groups })
}

fn any_window(n: &Sizes) -> impl Strategy<Value = Window> + use<> {
    (near(n, 1..4), near(n, 1..3), [near(n, 0..2), near(n, 0..2)])
        .prop_map(|(size, stride, padding)| Window { size, stride, padding })
}

/// Any primitive but an input, for operands of so many axes.
fn any_prim(n: &Sizes, rank: usize) -> BoxedStrategy<Prim> {
    let unary = prop::sample::select(vec![Unary::Neg, Unary::Log, Unary::Sqrt, Unary::Tanh, Unary::Erf]);
    let binary = prop::sample::select(vec![Binary::Add, Binary::Div, Binary::Max, Binary::Pow]);
    let compare = prop::sample::select(vec![Compare::Less, Compare::Equal]);
    let reduce = prop::sample::select(vec![Reduce::Sum, Reduce::Max, Reduce::Min]);
    let sources = prop_oneof![
        any_shape(n, rank).prop_map(|s| Prim::Fill(Scalar(2.0), s, DType::F32)),
        (0..5usize, any_shape(n, rank), dtype()).prop_map(|(a, s, d)| Prim::Iota(a, s, d)),
        any_shape(n, rank).prop_map(|s| Prim::Random(1, s)),
        Just(Prim::Constant(Tensor::scalar(1.0))),
    ];
    let elementwise = prop_oneof![
        unary.prop_map(Prim::Unary),
        binary.prop_map(Prim::Binary),
        compare.prop_map(Prim::Compare),
        Just(Prim::Select),
        dtype().prop_map(Prim::Cast),
    ];
    let order = Just((0..rank).collect::<Vec<_>>()).prop_shuffle();
    let movement = prop_oneof![
        any_shape(n, 1).prop_map(Prim::Reshape),
        (any_shape(n, rank), any_shape(n, 1))
            .prop_map(|(s, t)| Prim::Broadcast([&t[..], &s[..]].concat().into())),
        prop_oneof![order, list(n, rank)].prop_map(Prim::Transpose),
        [list(n, rank), list(n, rank), list(n, rank)].prop_map(|[start, end, step]| {
            // The start is mostly 0 or 1, that something be left.
            Prim::Slice { start: start.into_iter().map(|s| s.saturating_sub(2)).collect(), end, step }
        }),
        [list(n, rank), list(n, rank), list(n, rank)].prop_map(|[low, high, inner]| Prim::Pad {
            low,
            high,
            inner,
            value: Scalar(0.0)
        }),
        (0..5usize).prop_map(Prim::Concat),
        axes(rank).prop_map(Prim::Reverse),
        n.clone().prop_map(Prim::ScatterAdd),
        Just(Prim::Take),
    ];
    let contractions = prop_oneof![
        (reduce, prop_oneof![4 => axes(rank), 1 => list(n, rank)]).prop_map(|(r, a)| Prim::Reduce(r, a)),
        (0..5usize).prop_map(Prim::ArgMax),
        any::<(bool, bool)>().prop_map(|(ta, tb)| Prim::MatMul { ta, tb }),
        any_conv(n).prop_map(Prim::Conv),
        (any_conv(n), pair(n)).prop_map(|(c, s)| Prim::ConvGradInput(c, s)),
        (any_conv(n), pair(n)).prop_map(|(c, s)| Prim::ConvGradKernel(c, s)),
    ];
    let pools = prop_oneof![
        any_window(n).prop_map(Prim::MaxPool),
        any_window(n).prop_map(Prim::MaxPoolIndex),
        any_window(n).prop_map(Prim::MaxPoolTake),
        any_window(n).prop_map(Prim::SumPool),
        (any_window(n), pair(n)).prop_map(|(w, s)| Prim::MaxPoolGrad(w, s)),
        (any_window(n), pair(n)).prop_map(|(w, s)| Prim::SumPoolGrad(w, s)),
    ];
    match rank {
        4 => {
            prop_oneof![1 => sources, 1 => elementwise, 2 => movement, 4 => contractions, 4 => pools].boxed()
        }
        _ => prop_oneof![1 => sources, 1 => elementwise, 2 => movement, 1 => contractions].boxed(),
    }
}

/// Three operands: most rules want them alike, some want whole numbers somewhere.
fn operands(n: &Sizes, rank: usize) -> impl Strategy<Value = Vec<(Shape, DType)>> + use<> {
    let alike = (any_shape(n, rank), dtype()).prop_map(|(s, d)| vec![(s, d); 3]);
    let free = prop::collection::vec((any_shape(n, rank), dtype()), 3);
    let floats = [any_shape(n, rank), any_shape(n, rank), any_shape(n, rank)]
        .prop_map(|shapes| shapes.map(|s| (s, DType::F32)).to_vec())
        .boxed();
    let rows = (any_shape(n, rank), any_shape(n, 1), dtype())
        .prop_map(|(s, t, d)| vec![(s.clone(), DType::I32), ([&s[..], &t[..]].concat().into(), d), (s, d)]);
    // Maps and a kernel of as many channels.
    let maps = (floats.clone(), 1..3usize).prop_map(|(mut operands, groups)| {
        if let (&[_, _, _, c], &[kh, kw, _, filters]) = (&operands[0].0[..], &operands[1].0[..]) {
            operands[1].0 = [kh, kw, c / groups, filters].into();
        }
        operands
    });
    prop_oneof![1 => alike, 1 => free, 1 => rows, 2 => maps]
}

fn call(n: Sizes) -> impl Strategy<Value = (Prim, Vec<(Shape, DType)>)> {
    prop_oneof![1 => 0..4usize, 1 => Just(4usize)]
        .prop_flat_map(move |rank| (any_prim(&n, rank), operands(&n, rank)))
}

/// The first so many operands that the rule takes, if any.
fn taken<'a>(prim: &Prim, operands: &'a [(Shape, DType)]) -> Option<&'a [(Shape, DType)]> {
    (0..=operands.len()).map(|count| &operands[..count]).find(|o| prim.infer(&refs(o)).is_ok())
}

fn refs(operands: &[(Shape, DType)]) -> Vec<(&Shape, DType)> {
    operands.iter().map(|(s, d)| (s, *d)).collect()
}

fn product(s: &Shape) -> usize {
    s.iter().fold(1, |n, d| n.saturating_mul((*d).max(1)))
}

/// Builds, differentiates, and, if it is small, runs `op(operands)`: errors are fine, panics are not.
fn exercise(
    operands: &[(Shape, DType)],
    make: impl for<'g> Fn(&'g Builder, &[brisk_graph::Value<'g>]) -> brisk_graph::Value<'g>,
) {
    let b = Builder::new();
    let values: Vec<_> =
        operands.iter().enumerate().map(|(i, (s, d))| b.input(&i.to_string(), Role::Batch, s, *d)).collect();
    let y = make(&b, &values);
    if b.check().is_err() {
        return;
    }
    let floats: Vec<_> = values.iter().copied().filter(|v| v.dtype().is_float()).collect();
    let mut outputs = vec![y];
    if let Ok(gradients) = grad(y.cast(DType::F64).sum_all(), &floats) {
        for (value, gradient) in floats.iter().zip(&gradients) {
            assert_eq!((value.shape(), value.dtype()), (gradient.shape(), gradient.dtype()));
        }
        outputs.extend(gradients);
    }
    let size =
        outputs.iter().map(|v| product(&v.shape())).chain(operands.iter().map(|o| product(&o.0))).max();
    if b.check().is_err() || size > Some(500) {
        return;
    }
    let names: Vec<_> = (0..outputs.len()).map(|i| i.to_string()).collect();
    let named: Vec<_> = names.iter().map(String::as_str).zip(outputs.iter().copied()).collect();
    let graph = b.finish(&named, &[]).unwrap();
    if graph.nodes.iter().any(|n| product(&n.shape) > 2000) {
        return;
    }
    let mut random = Random::new(8);
    let tensors: Vec<_> = operands
        .iter()
        .map(|(s, d)| {
            let values = if d.is_float() { random.floats(s, 0.1, 2.0) } else { random.indices(s, 3) };
            Tensor::from_f64s(*d, s, &values.to_f64s()).unwrap()
        })
        .collect();
    if let Ok(found) = interpret(&graph, &tensors) {
        for (array, value) in found.iter().zip(&outputs) {
            assert_eq!((&array.shape, array.data.len()), (&value.shape(), value.shape().elements()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn primitives_never_panic_on_hostile_sizes((prim, ops) in call(hostile())) {
        if let Some(ops) = taken(&prim, &ops) {
            let (shape, _) = prim.infer(&refs(ops)).unwrap();
            prop_assert!(product(&shape) <= MAX_ELEMENTS);
            let _ = (shape.strides(), prim.to_string());
            exercise(ops, |b, x| b.prim(prim.clone(), x));
        }
    }

    #[test]
    fn primitives_run_wherever_their_rule_says_so((prim, ops) in call(small())) {
        if let Some(ops) = taken(&prim, &ops) {
            exercise(ops, |b, x| b.prim(prim.clone(), x));
        }
    }

    #[test]
    fn named_operations_never_panic(
        which in 0..OPS.len(),
        ops in (0..5usize).prop_flat_map(|rank| operands(&hostile(), rank)),
        sample in any::<prop::sample::Index>(),
        hostile_attr in prop::option::of(any::<i64>()),
    ) {
        let def = OPS[which];
        let samples = (def.samples)();
        let sample = &samples[sample.index(samples.len())];
        let attrs = match hostile_attr {
            None => sample.attrs.clone(),
            Some(n) => ["classes", "k", "stream", "approximate"].iter().fold(
                Attrs::new().ints("size", &[n, 2]).ints("stride", &[1, n]).ints("padding", &[n; 4]).ints("factors", &[n, n]),
                |attrs, name| attrs.int(name, n),
            ),
        };
        // Operands as they come, or those of the sample with axes of other sizes.
        let mut own = sample.inputs.iter().map(|(s, k)| match k {
            brisk_graph::op::SampleKind::Float(..) => (s.clone(), DType::F32),
            _ => (s.clone(), DType::I32),
        }).collect::<Vec<_>>();
        if let Some((first, _)) = ops.first() {
            let batch = first.first().copied().unwrap_or(1);
            let old = own[0].0.first().copied();
            for operand in &mut own {
                if operand.0.first().copied() == old && operand.0.rank() > 0 {
                    let mut dims = operand.0.to_vec();
                    dims[0] = batch;
                    operand.0 = dims.into();
                }
            }
        }
        for ops in [ops, own] {
            if let Ok((shape, dtype)) = (def.shape)(&refs(&ops), &attrs) {
                exercise(&ops, |b, x| {
                    let y = b.named(def, attrs.clone(), x);
                    if b.check().is_ok() {
                        let made = (def.decompose)(b, x, &attrs);
                        assert!(b.check().is_err() || (made.shape(), made.dtype()) == (shape.clone(), dtype));
                    }
                    y
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn moving_there_and_back_changes_nothing(s in shape(1..=4), seed in any::<u32>()) {
        let x = Random::new(seed).floats(&s, -1.0, 1.0);
        let rank = s.rank();
        let there: Vec<_> = (1..rank).chain([0]).collect();
        let back: Vec<_> = [rank - 1].into_iter().chain(0..rank - 1).collect();
        let y = brisk_testkit::evaluate(std::slice::from_ref(&x), |_, x| {
            let ones = vec![1; rank];
            let inner = x[0].pad(&ones, &ones, 7.0);
            let inner = (0..rank).fold(inner, |v, a| v.slice(a, 1, 1 + s[a]));
            inner.transpose(&there).transpose(&back).reverse(&[0]).reverse(&[0])
        });
        prop_assert_eq!(y.unwrap().data, x.to_f64s());
    }

    #[test]
    fn a_sum_over_all_axes_is_that_of_one_after_another(s in shape(1..=4), seed in any::<u32>()) {
        let x = [Random::new(seed).floats(&s, -1.0, 1.0)];
        let all = brisk_testkit::evaluate(&x, |_, x| x[0].sum_all()).unwrap();
        let each = brisk_testkit::evaluate(&x, |_, x| (0..x[0].rank()).fold(x[0], |v, _| v.sum(&[0]))).unwrap();
        brisk_testkit::assert_close("sum", &all.data, &each.data, 1e-9, 1e-9);
    }
}

#[test]
fn values_have_a_largest_size() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [1 << 20, 1 << 20], DType::F32);
    b.check().unwrap();
    b.concat(&[x, x], 0);
    let error = b.check().unwrap_err().to_string();
    assert!(error.contains("[2097152, 1048576] is too large: at most 2^40 elements"), "{error}");
}
