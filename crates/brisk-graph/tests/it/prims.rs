//! Gradients of every primitive against finite differences, first and second order.

use std::collections::BTreeSet;

use brisk_graph::prim::{Binary, Compare, Conv, Reduce, Scalar, Unary, Window};
use brisk_graph::{Builder, DType, Op, Prim, Role, Shape, Tensor, Value, grad};
use brisk_testkit::{Random, check_gradient, pooling};
use proptest::prelude::*;

/// The variants' names, and the one of a primitive. A new variant does not compile until it stands here; and then fails
/// until a case below covers it.
macro_rules! every {
    ($names:ident, $name:ident, $of:ty: $($variant:ident),* $(,)?) => {
        const $names: &[&str] = &[$(stringify!($variant)),*];
        fn $name(of: &$of) -> &'static str {
            use $of::*;
            match of { $($variant { .. } => stringify!($variant)),* }
        }
    };
}
every!(PRIMS, prim, Prim: Input, Constant, Fill, Iota, Unary, Binary, Compare, Select, Cast, Reshape, Broadcast,
    Transpose, Slice, Pad, Concat, Reverse, Reduce, ArgMax, Take, ScatterAdd, MatMul, Conv, ConvGradInput,
    ConvGradKernel, MaxPool, MaxPoolIndex, MaxPoolGrad, MaxPoolTake, SumPool, SumPoolGrad, Random);
every!(UNARIES, unary, Unary: Neg, Abs, Sign, Exp, Log, Sqrt, Rsqrt, Tanh, Erf, Floor, Sin, Cos, RoundBits);
every!(BINARIES, binary, Binary: Add, Sub, Mul, Div, Max, Min, Pow, And, Or, Xor, Shl, Shr);
/// They take whole numbers, which have no gradient; or their gradient is not their slope.
const BITS: [&str; 6] = ["And", "Or", "Xor", "Shl", "Shr", "RoundBits"];
every!(COMPARES, compare, Compare: Less, LessEqual, Equal);
every!(REDUCES, reduce, Reduce: Sum, Max, Min);

/// Checks gradients and notes which primitives a function is made of.
#[derive(Default)]
struct Cases {
    seen: BTreeSet<&'static str>,
    random: u32,
}

impl Cases {
    fn floats<const N: usize>(&mut self, shapes: [&[usize]; N], low: f64, high: f64) -> Vec<Tensor> {
        self.random += 1;
        let mut random = Random::new(self.random);
        shapes.map(|s| random.floats(s, low, high)).into()
    }

    /// First and second order.
    #[track_caller]
    fn check(
        &mut self,
        name: &str,
        inputs: &[Tensor],
        build: impl for<'g> Fn(&'g Builder, &[Value<'g>]) -> Value<'g>,
    ) {
        let b = Builder::new();
        let values: Vec<_> = (0..inputs.len())
            .map(|i| b.input(&i.to_string(), Role::Batch, inputs[i].shape(), inputs[i].dtype()))
            .collect();
        let graph = b.finish(&[("y", build(&b, &values))], &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        for node in &graph.nodes {
            let Op::Prim(p) = &node.op else { continue };
            self.seen.insert(prim(p));
            self.seen.insert(match p {
                Prim::Unary(u) => unary(u),
                Prim::Binary(o) => binary(o),
                Prim::Compare(c) => compare(c),
                Prim::Reduce(r, _) => reduce(r),
                _ => continue,
            });
        }
        check_gradient(name, inputs, &build);
        for i in (0..inputs.len()).filter(|&i| inputs[i].dtype().is_float()) {
            check_gradient(&format!("{name}, gradient by {i}"), inputs, |b, x| {
                let y = build(b, x).cast(DType::F64);
                grad((y * y).sum_all(), &[x[i]]).unwrap_or_else(|e| panic!("{name}: {e}"))[0]
            });
        }
    }
}

const SHAPES: [&[usize]; 4] = [&[], &[1], &[3, 4], &[2, 1, 5]];

#[test]
fn gradients_of_every_primitive() {
    let mut cases = Cases::default();
    sources_and_elementwise(&mut cases);
    movement(&mut cases);
    reductions_and_rows(&mut cases);
    products(&mut cases);
    convolutions(&mut cases);
    pools(&mut cases);
    let all = [PRIMS, UNARIES, BINARIES, COMPARES, REDUCES].concat();
    let missing: Vec<_> =
        all.iter().filter(|name| !cases.seen.contains(*name) && !BITS.contains(name)).collect();
    assert!(missing.is_empty(), "no gradient check for {missing:?}");
}

fn sources_and_elementwise(cases: &mut Cases) {
    for shape in SHAPES {
        for op in [Unary::Neg, Unary::Abs, Unary::Sign, Unary::Exp, Unary::Tanh, Unary::Erf] {
            let x = cases.floats([shape], -2.0, 2.0);
            cases.check(&format!("{op:?} {shape:?}"), &x, |b, x| b.prim(Prim::Unary(op), x));
        }
        for op in [Unary::Log, Unary::Sqrt, Unary::Rsqrt, Unary::Floor, Unary::Sin, Unary::Cos] {
            let x = cases.floats([shape], 0.2, 3.0);
            cases.check(&format!("{op:?} {shape:?}"), &x, |b, x| b.prim(Prim::Unary(op), x));
        }
        for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min, Binary::Pow]
        {
            let x = cases.floats([shape, shape], 0.3, 2.0);
            cases.check(&format!("{op:?} {shape:?}"), &x, |b, x| b.prim(Prim::Binary(op), x));
        }
        for op in [Compare::Less, Compare::LessEqual, Compare::Equal] {
            let x = cases.floats([shape, shape], -2.0, 2.0);
            cases.check(&format!("{op:?} {shape:?}"), &x, |b, x| {
                let which = b.prim(Prim::Compare(op), &x[..2]);
                b.prim(Prim::Select, &[which, x[0] * x[0], x[1]])
            });
        }
        let x = cases.floats([shape], -2.0, 2.0);
        let table = x[0].clone();
        cases.check("sources", &x, move |b, x| {
            let key = b.iota(0, [2], DType::I32);
            let noise = b.random(key, x[0].shape()).cast(DType::F64);
            let places = if x[0].rank() == 0 { noise } else { b.iota(0, x[0].shape(), DType::F64) };
            x[0] * b.constant(table.clone()) + x[0] * noise * places * 0.5
        });
    }
    // Where operands are equal, a maximum's gradient is shared; that is its symmetric derivative.
    let x = cases.floats([&[3]], -1.0, 1.0);
    cases.check("max of a value with itself", &x, |_, x| x[0].max(x[0]) + x[0].min(x[0]));
}

fn movement(cases: &mut Cases) {
    let x = cases.floats([&[2, 3, 4]], -1.0, 1.0);
    cases.check("reshape", &x, |_, x| x[0].reshape([4, 6]));
    cases.check("transpose", &x, |_, x| x[0].transpose(&[2, 0, 1]));
    cases.check("reverse", &x, |_, x| x[0].reverse(&[0, 2]));
    cases.check("slice by steps", &x, |b, x| {
        b.prim(Prim::Slice { start: vec![0, 1, 0], end: vec![2, 3, 4], step: vec![2, 1, 3] }, x)
    });
    cases.check("slice of nothing", &x, |b, x| {
        let none = b.prim(Prim::Slice { start: vec![0, 1, 1], end: vec![2, 3, 1], step: vec![1, 1, 1] }, x);
        none.sum_all() + x[0].sum_all()
    });
    cases.check("pad", &x, |b, x| {
        let value = Scalar(0.5);
        b.prim(Prim::Pad { low: vec![1, 0, 2], high: vec![0, 3, 1], inner: vec![0, 1, 2], value }, x)
    });
    for (from, to) in
        [(&[2, 1, 4][..], &[2, 3, 4][..]), (&[1], &[5, 3]), (&[], &[2, 2]), (&[3, 1], &[2, 3, 1])]
    {
        let x = cases.floats([from], -1.0, 1.0);
        cases.check(&format!("broadcast {from:?} to {to:?}"), &x, |_, x| x[0].broadcast_to(to));
    }
    let x = cases.floats([&[2, 3], &[2, 1], &[2, 2]], -1.0, 1.0);
    cases.check("concat", &x, |b, x| b.concat(x, 1));
    cases.check("concat of one twice", &x[..1], |b, x| b.concat(&[x[0], x[0]], 0));
    let x = cases.floats([&[3]], -1.0, 1.0);
    cases.check("cast", &x, |_, x| x[0] * (x[0] * 0.0).cast(DType::I32).cast(DType::F64) + x[0]);
}

fn reductions_and_rows(cases: &mut Cases) {
    for kind in [Reduce::Sum, Reduce::Max, Reduce::Min] {
        for (shape, axes) in
            [(&[2, 3, 4][..], &[0, 2][..]), (&[5], &[0]), (&[1, 3], &[0]), (&[2, 2], &[0, 1])]
        {
            let x = cases.floats([shape], -1.0, 1.0);
            cases.check(&format!("{kind:?} {shape:?} {axes:?}"), &x, |b, x| {
                b.prim(Prim::Reduce(kind, axes.into()), x)
            });
        }
    }
    let x = cases.floats([&[3, 4]], -1.0, 1.0);
    cases.check("argmax", &x, |_, x| x[0] * x[0].argmax(1).cast(DType::F64).expand(1));
    let mut random = Random::new(77);
    let inputs = [random.floats([5, 2], -1.0, 1.0), random.indices([3, 4], 5)];
    cases.check("take", &inputs, |_, x| x[0].take(x[1]));
    let inputs = [random.floats([3, 4, 2], -1.0, 1.0), random.indices([3, 4], 5)];
    cases.check("scatter_add", &inputs, |b, x| b.prim(Prim::ScatterAdd(5), &[x[1], x[0]]));
    let inputs = [random.floats([1], -1.0, 1.0), random.indices([1], 1)];
    cases.check("scatter_add of numbers", &inputs, |b, x| b.prim(Prim::ScatterAdd(1), &[x[1], x[0]]));
}

fn products(cases: &mut Cases) {
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        for lead in [&[][..], &[2], &[1, 3]] {
            for [m, k, n] in [[2, 3, 4], [1, 3, 1], [3, 1, 2]] {
                let a = [lead, &if ta { [k, m] } else { [m, k] }].concat();
                let b = [lead, &if tb { [n, k] } else { [k, n] }].concat();
                let x = cases.floats([&a, &b], -1.0, 1.0);
                cases.check(&format!("matmul {a:?} {ta} {b:?} {tb}"), &x, |b, x| {
                    b.prim(Prim::MatMul { ta, tb }, x)
                });
            }
        }
    }
    let x = cases.floats([&[2, 3, 4], &[4, 2]], -1.0, 1.0);
    cases.check("matmul with a matrix", &x, |_, x| x[0].matmul(x[1]));
    cases.check("matmul with itself", &x[1..], |b, x| {
        b.prim(Prim::MatMul { ta: true, tb: false }, &[x[0], x[0]])
    });
}

fn conv(stride: [usize; 2], dilation: [usize; 2], padding: [[usize; 2]; 2], groups: usize) -> Conv {
    Conv { stride, dilation, padding, groups }
}

fn convolutions(cases: &mut Cases) {
    let none = [[0, 0], [0, 0]];
    for (x, k, spec) in [
        ([2, 5, 4, 2], [3, 2, 2, 3], Conv::default()),
        ([1, 5, 6, 2], [3, 3, 2, 2], conv([2, 1], [1, 1], [[1, 1], [0, 2]], 1)),
        ([1, 6, 5, 1], [2, 2, 1, 2], conv([1, 2], [2, 3], none, 1)),
        ([2, 3, 4, 4], [2, 2, 2, 4], conv([1, 1], [1, 1], [[1, 0], [0, 1]], 2)),
        ([1, 4, 4, 3], [3, 3, 1, 6], conv([2, 2], [1, 1], [[0, 1], [0, 1]], 3)),
        ([1, 1, 1, 1], [1, 1, 1, 1], Conv::default()),
        ([3, 1, 5, 1], [1, 3, 1, 1], conv([1, 1], [1, 2], [[0, 0], [2, 2]], 1)),
        // The last row and column are seen by no window.
        ([1, 6, 6, 1], [3, 3, 1, 1], conv([2, 2], [1, 1], none, 1)),
    ] {
        let name = format!("{x:?} {k:?} {spec:?}");
        let inputs = cases.floats([&x, &k], -1.0, 1.0);
        cases.check(&format!("conv {name}"), &inputs, |_, x| x[0].conv(x[1], spec));
        let (shape, _) = Prim::Conv(spec)
            .infer(&[(&x.into(), DType::F64), (&k.into(), DType::F64)])
            .expect("a convolution");
        let by_input = cases.floats([&shape, &k], -1.0, 1.0);
        cases.check(&format!("by input {name}"), &by_input, |b, v| {
            b.prim(Prim::ConvGradInput(spec, [x[1], x[2]]), v)
        });
        let by_kernel = cases.floats([&x, &shape], -1.0, 1.0);
        cases.check(&format!("by kernel {name}"), &by_kernel, |b, v| {
            b.prim(Prim::ConvGradKernel(spec, [k[0], k[1]]), v)
        });
    }
}

fn pools(cases: &mut Cases) {
    for (shape, size, stride, padding) in [
        ([2, 4, 6, 2], [2, 2], [2, 2], [[0, 0], [0, 0]]),
        ([1, 5, 4, 3], [3, 2], [2, 1], [[1, 2], [0, 1]]),
        ([1, 1, 1, 1], [1, 1], [1, 1], [[0, 0], [0, 0]]),
        ([2, 5, 1, 1], [2, 1], [3, 2], [[0, 1], [0, 0]]),
    ] {
        check_pools(cases, shape, Window { size, stride, padding });
    }
}

fn check_pools(cases: &mut Cases, shape: [usize; 4], window: Window) {
    let size = [shape[1], shape[2]];
    let name = format!("{shape:?} {window:?}");
    let x = cases.floats([&shape], -1.0, 1.0);
    cases.check(&format!("max_pool {name}"), &x, |_, x| x[0].max_pool(window));
    cases.check(&format!("sum_pool {name}"), &x, |_, x| x[0].sum_pool(window));
    let out = Prim::SumPool(window).infer(&[(&shape.into(), DType::F64)]).expect("pooling").0;
    let two = cases.floats([&shape, &out], -1.0, 1.0);
    cases.check(&format!("max_pool_grad {name}"), &two, |b, x| {
        let index = b.prim(Prim::MaxPoolIndex(window), &x[..1]);
        b.prim(Prim::MaxPoolGrad(window, size), &[x[1], index])
    });
    cases.check(&format!("max_pool_take {name}"), &two[..1], |b, x| {
        let index = b.prim(Prim::MaxPoolIndex(window), x);
        b.prim(Prim::MaxPoolTake(window), &[x[0] * x[0], index])
    });
    cases.check(&format!("sum_pool_grad {name}"), &two[1..], |b, x| {
        b.prim(Prim::SumPoolGrad(window, size), x)
    });
}

#[test]
fn second_order_gradient_of_a_small_net() {
    let mut random = Random::new(9);
    let inputs = [
        random.floats([2, 5, 5, 1], -1.0, 1.0),
        random.floats([3, 3, 1, 2], -0.5, 0.5),
        random.floats([18, 3], -0.5, 0.5),
    ];
    // The squared norm of the loss's gradient by the weights, as gradient penalties use it.
    check_gradient("gradient penalty", &inputs, |_, x| {
        let hidden = x[0].conv(x[1], Conv::default()).tanh().reshape([2, 18]);
        let loss = hidden.matmul(x[2]).tanh().square().sum_all();
        let gradients = grad(loss, &x[1..]).unwrap();
        gradients[0].square().sum_all() + gradients[1].square().sum_all()
    });
}

#[test]
fn a_value_that_does_not_matter_has_gradient_zero() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [2], DType::F32);
    let other = b.input("other", Role::Batch, [3], DType::F32);
    let gradients = grad(x.sum_all(), &[x, other]).unwrap();
    assert_eq!(gradients[1].shape(), Shape::from([3]));
    let found = brisk_graph::interpret::interpret(
        &b.finish(&[("a", gradients[0]), ("b", gradients[1])], &[]).unwrap(),
        &[Tensor::zeros(DType::F32, [2]), Tensor::zeros(DType::F32, [3])],
    )
    .unwrap();
    assert_eq!((&found[0].data[..], &found[1].data[..]), (&[1.0; 2][..], &[0.0; 3][..]));
    assert!(grad(x, &[x]).unwrap_err().to_string().contains("expected a float scalar, found f32 [2]"));
}

fn convolution() -> impl Strategy<Value = ([usize; 4], [usize; 4], Conv)> {
    let axis = || (1..=3usize, 1..=3usize, 1..=2usize, 0..=2usize, 0..=2usize, 0..=3usize);
    (axis(), axis(), 1..=2usize, 1..=2usize, 1..=2usize, 1..=2usize).prop_map(
        |(h, w, n, groups, c, filters)| {
            // The map is as large as one window needs, and a little more.
            let size = |a: (usize, usize, usize, usize, usize, usize)| {
                ((a.0 - 1) * a.2 + 1 + a.5).saturating_sub(a.3 + a.4).max(1)
            };
            let spec = conv([h.1, w.1], [h.2, w.2], [[h.3, h.4], [w.3, w.4]], groups);
            ([n, size(h), size(w), c * groups], [h.0, w.0, c, filters * groups], spec)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gradients_of_any_convolution((x, k, spec) in convolution(), seed in any::<u32>()) {
        let mut random = Random::new(seed);
        let inputs = [random.floats(x, -1.0, 1.0), random.floats(k, -1.0, 1.0)];
        check_gradient(&format!("{x:?} {k:?} {spec:?}"), &inputs, |_, v| v[0].conv(v[1], spec));
    }

    #[test]
    fn gradients_of_any_pooling((shape, window) in pooling(), seed in any::<u32>()) {
        prop_assume!(shape.elements() <= 300);
        let inputs = [Random::new(seed).floats(&shape, -1.0, 1.0)];
        check_gradient(&format!("{shape} {window:?}"), &inputs, |_, v| v[0].max_pool(window));
        check_gradient(&format!("{shape} {window:?}"), &inputs, |_, v| v[0].sum_pool(window));
    }
}
