//! Whole graphs: how they are printed, verified, and decomposed.

use brisk_graph::interpret::interpret;
use brisk_graph::prim::{Conv, Window};
use brisk_graph::{Builder, DType, Graph, Id, Op, Prim, Result, Role, Shape, Tensor, decompose, grad, op};
use brisk_testkit::Random;
use expect_test::expect;

/// A training step: convolution, pooling, a dense layer, dropout, loss, and plain gradient descent.
fn step() -> Result<Graph> {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [2, 6, 6, 1], DType::F32);
    let labels = b.input("labels", Role::Batch, [2], DType::I32);
    let key = b.input("key", Role::Scalar, [2], DType::I32);
    let k = b.input("conv.kernel", Role::State, [3, 3, 1, 2], DType::F32);
    let w = b.input("dense.kernel", Role::State, [8, 3], DType::F32);
    let window = Window { size: [2, 2], stride: [2, 2], padding: [[0, 0], [0, 0]] };
    let h = b.scope("conv", || op::relu(x.conv(k, Conv::default())).max_pool(window));
    let h = b.scope("drop", || op::dropout(h.reshape([2, 8]), key, 0.25));
    let logits = b.scope("dense", || h.matmul(w));
    let loss = b.scope("loss", || op::sparse_cross_entropy(logits, labels, 0.1).mean_all());
    let gradients = grad(loss, &[k, w])?;
    let updates = [(k, k - gradients[0] * 0.1), (w, w - gradients[1] * 0.1)];
    b.finish(&[("loss", loss)], &updates)
}

fn inputs() -> Vec<Tensor> {
    let mut random = Random::new(4);
    vec![
        random.floats([2, 6, 6, 1], -1.0, 1.0),
        random.indices([2], 3),
        random.indices([2], 1000),
        random.floats([3, 3, 1, 2], -1.0, 1.0),
        random.floats([8, 3], -1.0, 1.0),
    ]
}

#[test]
fn printed() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [4, 3], DType::F32);
    let w = b.input("dense.kernel", Role::State, [2, 3], DType::F32);
    let h = b.scope("net", || b.scope("dense", || b.prim(Prim::MatMul { ta: false, tb: true }, &[x, w])));
    let y = b.scope("net", || op::leaky_relu(h, 0.2).sum(&[1]));
    let graph = b.finish(&[("y", y)], &[(w, w * 0.5)]).unwrap();
    expect![[r#"
        %0 = input "x" : f32 [4, 3]
        %1 = input "dense.kernel" : f32 [2, 3]
        %2 = matmul[a, bT](%0, %1) : f32 [4, 2]   # net.dense
        %3 = leaky_relu[negative_slope 0.2](%2) : f32 [4, 2]   # net
        %4 = sum[1](%3) : f32 [4]   # net
        %5 = fill[0.5] : f32 [2, 3]
        %6 = mul(%1, %5) : f32 [2, 3]
        output "y" = %4
        update "dense.kernel" = %6
    "#]]
    .assert_eq(&graph.to_string());
    expect![[r#"
        %0 = input "x" : f32 [2, 6, 6, 1]
        %1 = input "labels" : i32 [2]
        %2 = input "key" : i32 [2]
        %3 = input "conv.kernel" : f32 [3, 3, 1, 2]
        %4 = input "dense.kernel" : f32 [8, 3]
        %5 = conv[stride 1x1, dilation 1x1, padding [[0, 0], [0, 0]], groups 1](%0, %3) : f32 [2, 4, 4, 2]   # conv
        %6 = relu(%5) : f32 [2, 4, 4, 2]   # conv
        %7 = max_pool[window 2x2, stride 2x2, padding [[0, 0], [0, 0]]](%6) : f32 [2, 2, 2, 2]   # conv
        %8 = reshape(%7) : f32 [2, 8]   # drop
        %9 = dropout[rate 0.25, stream 0](%8, %2) : f32 [2, 8]   # drop
        %10 = matmul(%9, %4) : f32 [2, 3]   # dense
        %11 = sparse_cross_entropy[label_smoothing 0.1](%10, %1) : f32 [2]   # loss
        %12 = sum[0](%11) : f32 []   # loss
        %13 = fill[0.5] : f32 []   # loss
        %14 = mul(%12, %13) : f32 []   # loss
        %15 = fill[0.5] : f32 [2]   # loss
        %16 = sparse_cross_entropy_grad[label_smoothing 0.1](%10, %1, %15) : f32 [2, 3]   # loss
        %17 = matmul[a, bT](%16, %4) : f32 [2, 8]   # dense
        %18 = matmul[aT, b](%9, %16) : f32 [8, 3]   # dense
        %19 = random[stream 0](%2) : f32 [2, 8]   # drop
        %20 = fill[0] : f32 [2, 8]   # drop
        %21 = fill[0.25] : f32 [2, 8]   # drop
        %22 = less(%19, %21) : u8 [2, 8]   # drop
        %23 = fill[1.3333333333333333] : f32 [2, 8]   # drop
        %24 = select(%22, %20, %17) : f32 [2, 8]   # drop
        %25 = mul(%24, %23) : f32 [2, 8]   # drop
        %26 = reshape(%25) : f32 [2, 2, 2, 2]   # drop
        %27 = max_pool_index[window 2x2, stride 2x2, padding [[0, 0], [0, 0]]](%6) : u8 [2, 2, 2, 2]   # conv
        %28 = max_pool_grad[window 2x2, stride 2x2, padding [[0, 0], [0, 0]]](%26, %27) : f32 [2, 4, 4, 2]   # conv
        %29 = fill[0] : f32 [2, 4, 4, 2]   # conv
        %30 = less(%29, %6) : u8 [2, 4, 4, 2]   # conv
        %31 = select(%30, %28, %29) : f32 [2, 4, 4, 2]   # conv
        %32 = conv_grad_kernel[stride 1x1, dilation 1x1, padding [[0, 0], [0, 0]], groups 1](%0, %31) : f32 [3, 3, 1, 2]   # conv
        %33 = fill[0.1] : f32 [3, 3, 1, 2]
        %34 = mul(%32, %33) : f32 [3, 3, 1, 2]
        %35 = sub(%3, %34) : f32 [3, 3, 1, 2]
        %36 = fill[0.1] : f32 [8, 3]
        %37 = mul(%18, %36) : f32 [8, 3]
        %38 = sub(%4, %37) : f32 [8, 3]
        output "loss" = %14
        update "conv.kernel" = %35
        update "dense.kernel" = %38
    "#]].assert_eq(&step().unwrap().to_string());
}

#[test]
fn decomposing_keeps_what_is_computed() {
    let graph = step().unwrap();
    let run = |graph: &Graph| interpret(graph, &inputs()).unwrap();
    let want = run(&graph);
    let none = decompose(&graph, |_, _| false).unwrap();
    assert!(none.nodes.iter().all(|n| matches!(n.op, Op::Prim(_))));
    assert_eq!(run(&none), want);
    let all = decompose(&graph, |_, _| true).unwrap();
    assert_eq!(all.to_string(), graph.to_string());
    let some = decompose(&graph, |def, _| def.kernel.is_some()).unwrap();
    let left: Vec<_> =
        some.nodes.iter().filter(|n| matches!(n.op, Op::Named(..))).map(|n| n.op.name()).collect();
    assert_eq!(left, ["sparse_cross_entropy", "sparse_cross_entropy_grad"]);
    assert_eq!(run(&some), want);
    // Scopes survive, and so do names and roles of inputs.
    assert!(none.nodes.iter().any(|n| &*n.scope == "conv"));
    assert_eq!(
        none.inputs.iter().map(|i| (&i.name, i.role)).collect::<Vec<_>>(),
        graph.inputs.iter().map(|i| (&i.name, i.role)).collect::<Vec<_>>()
    );
}

#[test]
fn equal_computations_are_recorded_once() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [3], DType::F32);
    assert_eq!((x * x + 1.0).id(), (x * x + 1.0).id());
    assert_eq!(op::elu(x, 0.5).id(), op::elu(x, 0.5).id());
    assert_ne!(op::elu(x, 0.5).id(), op::elu(x, 0.6).id());
    assert_ne!(
        b.random(b.iota(0, [2], DType::I32), [3]).id(),
        b.random(b.iota(0, [2], DType::I32), [3]).id()
    );
}

#[test]
fn gradients_carry_the_scope_of_what_they_are_gradients_of() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [3], DType::F32);
    let y = b.scope("model", || b.scope("act", || op::squared_error(op::gelu(x, true), x)));
    let by = b.scope("train", || grad(y.sum_all(), &[x])).unwrap()[0];
    let graph = decompose(&b.finish(&[("by", by)], &[]).unwrap(), |_, _| false).unwrap();
    let scopes: std::collections::BTreeSet<_> = graph.nodes.iter().map(|n| n.scope.to_string()).collect();
    assert_eq!(scopes.into_iter().collect::<Vec<_>>(), ["", "model.act", "train"]);
}

#[test]
fn what_nobody_asks_for_goes_and_inputs_stay() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [3], DType::F32);
    b.input("unused", Role::Batch, [9], DType::F32);
    let _ = x.exp().log().sin();
    let graph = b.finish(&[("y", x * 2.0)], &[]).unwrap();
    assert_eq!((graph.inputs.len(), graph.nodes.len()), (2, 4));
}

type Damage = fn(&mut Graph);

#[test]
fn the_verifier_finds_damage() {
    let damages: &[(&str, Damage)] = &[
        ("stands after it", |g| {
            let last = Id(g.nodes.len() as u32 - 1);
            g.nodes[7].inputs[0] = last;
        }),
        ("stands after it", |g| g.nodes[6].inputs[0] = Id(u32::MAX)),
        ("its rule says", |g| {
            let at = g.nodes.iter().position(|n| n.op.name() == "relu").unwrap();
            g.nodes[at].shape = Shape::from([1]);
        }),
        ("its rule says", |g| {
            let at = g.nodes.iter().position(|n| n.op.name() == "conv").unwrap();
            g.nodes[at].dtype = DType::F64;
        }),
        ("takes 2 operands, found 1", |g| {
            let at = g.nodes.iter().position(|n| n.op.name() == "conv").unwrap();
            g.nodes[at].inputs.pop();
        }),
        ("expected one operand of floats", |g| {
            let at = g.nodes.iter().position(|n| n.op.name() == "relu").unwrap();
            g.nodes[at].inputs.clear();
        }),
        ("of state", |g| g.updates[0].1 = g.updates[1].1),
        ("of state", |g| g.inputs[3].role = Role::Scalar),
        ("there are", |g| g.updates[0].0 = 99),
        ("there are", |g| g.updates[0].1 = Id(9999)),
        ("there are", |g| g.outputs[0].1 = Id(9999)),
        ("there are", |g| g.inputs[0].id = Id(9999)),
        ("there are", |g| g.inputs.swap(0, 1)),
        ("there are", |g| {
            g.inputs.pop();
            g.updates.pop();
        }),
    ];
    assert!(step().unwrap().verify().is_ok());
    for (i, (message, damage)) in damages.iter().enumerate() {
        let mut graph = step().unwrap();
        damage(&mut graph);
        let error = graph.verify().expect_err(message).to_string();
        assert!(error.contains(message), "damage {i}: {error:?} does not say {message:?}");
    }
}

#[test]
fn the_first_mistake_is_reported_with_its_place() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [2, 3], DType::F32);
    b.scope("encoder", || b.scope("dense_1", || x.matmul(x)) + b.fill(0.0, [7]));
    let error = b.finish(&[("y", x)], &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "encoder.dense_1: matmul: cannot multiply [2, 3] by [2, 3]: inner sizes 3 and 2 differ"
    );
    let b = Builder::new();
    b.input("x", Role::Batch, [2], DType::F32);
    b.input("x", Role::Batch, [2], DType::F32);
    assert_eq!(b.check().unwrap_err().to_string(), "input: there are two inputs named \"x\"");
}
