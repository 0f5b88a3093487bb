//! Packed texts: tokens are what is cut into tiles, texts are whole.

use brisk_graph::op::{self, AttentionSpec};
use brisk_graph::{Builder, DType, Graph, Role, Tensor, Value, interpret::interpret, rows_of};

use crate::agree::{check, check_at, descent, sample_inputs};

/// Two Transformer layers over packed tokens, the first token of each text into a classifier.
fn encoder(lengths: &[usize], padding: usize, size: usize, dropout: f64) -> Graph {
    encoder_with(lengths, padding, size, dropout, |x, rows| x.take(rows))
}

/// The same with a way to come by the rows of the first tokens.
fn encoder_with(
    lengths: &[usize],
    padding: usize,
    size: usize,
    dropout: f64,
    rows: impl for<'g> Fn(Value<'g>, Value<'g>) -> Value<'g>,
) -> Graph {
    let b = Builder::new();
    let tokens = lengths.iter().sum::<usize>() + padding;
    let texts = lengths.len();
    let starts: Vec<usize> = lengths
        .iter()
        .scan(0, |at, l| {
            *at += l;
            Some(*at - l)
        })
        .collect();
    let segments: Vec<i32> = starts.iter().zip(lengths).flat_map(|(&s, &l)| [s as i32, l as i32]).collect();
    let segments = b.constant(Tensor::new([texts, 2], segments).unwrap());
    let firsts = segments.slice(1, 0, 1).reshape([texts]);
    let ids = b.input("ids", Role::Batch, [tokens], DType::I32);
    let label = b.input("label", Role::Batch, [texts], DType::I32);
    let key = b.input("key", Role::Scalar, [2], DType::I32);
    let mut weights: Vec<Value<'_>> = Vec::new();
    let mut weight = |shape: &[usize]| {
        let w = b.input(&format!("w{}", weights.len()), Role::State, shape, DType::F32);
        weights.push(w);
        w
    };
    let mut x = weight(&[3, size]).take(ids);
    for _ in 0..2 {
        let [q, k, v] = [(); 3].map(|()| linear(x, weight(&[size, size]), weight(&[size])));
        let spec = AttentionSpec { dropout, ..AttentionSpec::new(2) };
        let y = op::attention(q, k, v, [segments, segments], None, Some(key), spec);
        let y = op::dropout(linear(y, weight(&[size, size]), weight(&[size])), key, dropout);
        x = op::layer_norm(x + y, weight(&[size]), weight(&[size]), 1e-5);
        let inner = op::gelu(linear(x, weight(&[size, 4 * size]), weight(&[4 * size])), false);
        let y = op::dropout(linear(inner, weight(&[4 * size, size]), weight(&[size])), key, dropout);
        x = op::layer_norm(x + y, weight(&[size]), weight(&[size]), 1e-5);
    }
    let pooled = rows(x, firsts).matmul(weight(&[size, size])).tanh();
    let logits = pooled.matmul(weight(&[size, 3]));
    let loss = op::sparse_cross_entropy(logits, label, 0.0).mean_all();
    descent(&b, loss, &weights)
}

fn linear<'g>(x: Value<'g>, w: Value<'g>, b: Value<'g>) -> Value<'g> {
    x.matmul(w) + b
}

#[test]
fn a_transformer_over_packed_texts_and_back() {
    check(&encoder(&[5, 3, 9, 1], 0, 8, 0.0));
    check(&encoder(&[5, 3, 9, 1], 14, 8, 0.2));
    check(&encoder(&[70], 2, 6, 0.0));
    // As many texts as tokens.
    check(&encoder(&[1, 1, 1], 0, 4, 0.0));
}

#[test]
fn the_last_layer_is_computed_for_the_rows_that_are_read_alone() {
    let lengths = [5, 3, 9, 1];
    let (all, few) = (encoder(&lengths, 14, 8, 0.0), encoder_with(&lengths, 14, 8, 0.0, rows_of));
    // Keys and values of the second layer are there for all tokens; queries, attention and what follows for one of each text.
    let products = |graph: &Graph, rows: usize| {
        let matmul = |n: &&brisk_graph::Node| {
            matches!(n.op, brisk_graph::Op::Prim(brisk_graph::Prim::MatMul { ta: false, tb: false }))
        };
        graph.nodes.iter().filter(matmul).filter(|n| n.shape[0] == rows).count()
    };
    assert_eq!((products(&all, 32), products(&all, 4)), (12, 2));
    assert_eq!((products(&few, 32), products(&few, 4)), (8, 6));
    let inputs = sample_inputs(&all);
    let (want, got) = (interpret(&all, &inputs).unwrap(), interpret(&few, &inputs).unwrap());
    assert_eq!(want.len(), got.len());
    for (i, (want, got)) in want.iter().zip(&got).enumerate() {
        for (want, got) in want.data.iter().zip(&got.data) {
            assert!((want - got).abs() <= 1e-9 * want.abs().max(1e-3), "result {i}: {got}, expected {want}");
        }
    }
    check(&few);
    check(&encoder_with(&lengths, 14, 8, 0.2, rows_of));
    check(&encoder_with(&[40, 30], 6, 32, 0.1, rows_of));
    check(&encoder_with(&[1, 1, 1], 0, 4, 0.0, rows_of));
}

#[test]
fn layers_between_attentions_are_one_region() {
    use brisk_runtime::{Cpu, Device, Options};
    let plan = Cpu::new(1).compile(&encoder(&[40, 24], 0, 32, 0.1), &Options::default()).unwrap().explain();
    assert_eq!(plan.matches("= attention(").count(), 2, "{plan}");
    assert_eq!(plan.matches("= attention_grad(").count(), 2, "{plan}");
    assert_eq!(plan.matches("region of").count(), 6, "{plan}");
}

#[test]
fn large_products_are_rounded_as_asked_and_small_ones_never() {
    use brisk_runtime::{Cpu, Device, Options, Precision};
    let large = encoder(&[40, 24, 9], 7, 96, 0.1);
    check_at(&large, Precision::Bf16, 2e-2);
    let explain = |graph: &Graph, precision| {
        Cpu::new(1).with_precision(precision).compile(graph, &Options::default()).unwrap().explain()
    };
    // Of the 12 matrices of two layers: forward, gradient by the input, gradient by the matrix. Eight of each are too small in the other.
    let rounded = |graph: &Graph| explain(graph, Precision::Bf16).matches("matmul bf16(").count();
    assert_eq!((rounded(&large), rounded(&encoder(&[40, 24], 0, 32, 0.1))), (12 * 3 + 3, 0));
    // What is updated is not in eight bits.
    assert_eq!(explain(&large, Precision::Int8).matches("int8").count(), 0);
}

#[test]
fn weights_that_stay_are_multiplied_in_eight_bits_even_for_one_sample() {
    use brisk_runtime::{Cpu, Device, Options, Precision};
    for batch in [1, 70] {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [batch, 300], DType::F32);
        let w = |name: &str, shape: [usize; 2]| b.input(name, Role::State, shape, DType::F32);
        let h = op::gelu(x.matmul(w("w", [300, 200])), false);
        let y = h.matmul(w("v", [200, 50])).matmul(w("u", [50, 10]));
        let graph = b.finish(&[("y", y)], &[]).unwrap();
        check_at(&graph, Precision::Int8, 2e-2);
        let plan = Cpu::new(1)
            .with_precision(Precision::Int8)
            .compile(&graph, &Options::default())
            .unwrap()
            .explain();
        assert_eq!((plan.matches("matmul int8(").count(), plan.matches("matmul(").count()), (2, 1), "{plan}");
    }
}

#[test]
fn few_samples_are_cut_by_the_columns_and_rows_of_their_results() {
    use brisk_graph::prim::{Conv, Window};
    use brisk_runtime::{Cpu, Device, Options};
    let tasks = |graph: &Graph| {
        let plan = Cpu::new(1).compile(graph, &Options::default()).unwrap().explain();
        assert_eq!(plan.matches("region of").count(), 0, "{plan}");
        let cut = plan.matches("whole, ").count() - plan.matches("whole, 1 tasks").count();
        assert!(cut >= 1, "{plan}");
    };
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [13, 300], DType::F32);
    let w = |name: &str, shape: [usize; 2]| b.input(name, Role::State, shape, DType::F32);
    let h = op::gelu(x.matmul(w("w", [300, 700])) + b.input("b", Role::State, [700], DType::F32), false);
    let tokens = b.finish(&[("y", h.matmul(w("v", [700, 150])))], &[]).unwrap();
    check(&tokens);
    tasks(&tokens);

    let b = Builder::new();
    let x = b.input("x", Role::Batch, [1, 23, 21, 16], DType::F32);
    let w = |name: &str, shape: [usize; 4]| b.input(name, Role::State, shape, DType::F32);
    let same = Conv { padding: [[1, 1]; 2], ..Conv::default() };
    let strided = Conv { padding: [[1, 1]; 2], stride: [2, 2], ..Conv::default() };
    let y = op::relu(x.conv(w("w1", [3, 3, 16, 80]), same));
    let y = op::relu(y.conv(w("w2", [3, 3, 80, 32]), strided));
    let pool = Window { size: [2, 2], stride: [2, 2], padding: [[0, 0]; 2] };
    let y = op::relu(y.conv(w("w3", [3, 3, 32, 96]), same)).max_pool(pool);
    let image = b.finish(&[("y", y)], &[]).unwrap();
    check(&image);
    tasks(&image);
}
