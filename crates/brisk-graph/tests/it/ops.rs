//! The one test that walks the op table, and the documentation derived from it.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use brisk_graph::op::{Attrs, Cut, Gradient, KernelCall, KernelInput, OPS, OpDef, SampleKind};
use brisk_graph::{Builder, DType, Role, Shape, Tensor, Value, grad, op};
use brisk_testkit::{
    Case, Random, assert_close, check_documented, check_fast_path, check_gradient, check_op_gradient,
    check_shape, evaluate, samples,
};

const SEED: u32 = 20;

#[test]
fn every_op_keeps_its_promises() {
    let mut names = HashSet::new();
    for op in OPS {
        assert!(names.insert(op.name), "{} stands twice in the table", op.name);
        check_documented(op);
        for case in samples(op, DType::F64, SEED) {
            check_shape(op, &case);
            check_op_gradient(op, &case);
        }
        for case in samples(op, DType::F32, SEED) {
            check_shape(op, &case);
            check_fast_path(op, &case);
        }
    }
}

/// Rows of every length that SIMD may stumble over.
#[test]
fn kernels_take_rows_of_any_length() {
    for columns in (1..=40).chain([63, 64, 65, 127, 129, 1000]) {
        for op in OPS.iter().filter(|op| op.kernel.as_ref().is_some_and(|k| k.cut == Cut::Rows)) {
            let mut random = Random::new(columns as u32);
            let sample = (op.samples)().into_iter().find(|s| s.inputs[0].0[..] == [3, 7]).unwrap();
            let resize = |(shape, kind): &(Shape, SampleKind)| {
                let dims = match shape[..] {
                    [3, 7] => vec![3, columns],
                    [7] => vec![columns],
                    [3] => vec![3],
                    _ => panic!("{}: {shape}", op.name),
                };
                let kind = match kind {
                    SampleKind::Index(_) => SampleKind::Index(columns as i32),
                    other => *other,
                };
                random.tensor(&dims.into(), kind, DType::F32)
            };
            let inputs: Vec<Tensor> = sample.inputs.iter().map(resize).collect();
            check_fast_path(op, &Case { inputs, attrs: sample.attrs.clone() });
        }
    }
}

#[test]
fn a_label_outside_is_an_error_that_names_it_and_its_row() {
    let logits = Tensor::zeros(DType::F32, [70, 3]);
    let dy = Tensor::zeros(DType::F32, [70]);
    for bad in [-1, 3, i32::MAX, i32::MIN] {
        let mut labels = vec![0; 70];
        labels[66] = bad;
        let labels = Tensor::new([70], labels).unwrap();
        let run = |op: &OpDef, inputs: &[KernelInput<'_>], elements: usize, columns, offset| {
            let attrs = Attrs::new().float("label_smoothing", 0.0);
            let output = &mut vec![0.0; elements][..];
            let call = KernelCall {
                inputs,
                output,
                shapes: &[],
                columns,
                offset,
                attrs: &attrs,
                results: &[],
                part: 0,
                parts: 1,
            };
            (op.kernel.as_ref().unwrap().run)(call).unwrap_err()
        };
        let (x, l, d) = (logits.f32s().unwrap(), labels.i32s().unwrap(), dy.f32s().unwrap());
        let inputs = [KernelInput::F32(x), KernelInput::I32(l), KernelInput::F32(d)];
        let message = run(&op::SPARSE_CROSS_ENTROPY, &inputs[..2], 70, 70, 100);
        assert_eq!(message, format!("expected labels in 0..3, found {bad} in row 166"));
        let message = run(&op::SPARSE_CROSS_ENTROPY_GRAD, &inputs, 210, 3, 300);
        assert_eq!(message, format!("expected labels in 0..3, found {bad} in row 166"));
        let error = evaluate(&[logits.clone(), labels], |_, x| op::sparse_cross_entropy(x[0], x[1], 0.0));
        assert!(error.unwrap_err().to_string().contains(&format!("index {bad} is out of range")));
    }
}

#[test]
fn large_numbers_do_not_overflow() {
    let x = Tensor::new([2, 3], vec![1e4f64, -1e4, 0.0, -1e4, 1e4, 1e4]).unwrap();
    let labels = Tensor::new([2], vec![1, 1]).unwrap();
    let inputs = [x.clone(), labels];
    let soft = evaluate(&inputs, |_, x| op::softmax(x[0])).unwrap();
    assert_close("softmax", &soft.data, &[1.0, 0.0, 0.0, 0.0, 0.5, 0.5], 1e-12, 0.0);
    let loss = evaluate(&inputs, |_, x| op::sparse_cross_entropy(x[0], x[1], 0.0)).unwrap();
    assert_close("loss", &loss.data, &[2e4, 2f64.ln()], 1e-12, 1e-12);
    let y = evaluate(&inputs, |b, x| {
        let (x, gelus) = (x[0], [true, false].map(|approximate| op::gelu(x[0], approximate)));
        b.concat(&[op::sigmoid(x), op::silu(x), op::softplus(x), gelus[0], gelus[1], op::elu(x, 1.0)], 0)
    });
    assert!(y.unwrap().data.iter().all(|v| v.is_finite()));
    // A class that is out of the question (-inf) takes no part in the loss of the others.
    let masked = Tensor::new([1, 3], vec![0.0, f64::NEG_INFINITY, 0.0]).unwrap();
    let inputs = [masked, Tensor::new([1], vec![2]).unwrap()];
    let loss = evaluate(&inputs, |_, x| op::sparse_cross_entropy(x[0], x[1], 0.0)).unwrap();
    assert_close("masked", &loss.data, &[2f64.ln()], 1e-12, 0.0);
}

#[test]
fn in_top_k_counts_equals_in_favour_and_nothing_unknown() {
    let logits = [[1.0, 3.0, 2.0], [2.0, 2.0, 2.0], [f64::NAN, 1.0, 2.0], [5.0, 1.0, 0.0], [0.0, 0.0, 9.0]];
    let logits = Tensor::new([5, 3], logits.concat()).unwrap();
    let inputs = [logits, Tensor::new([5], vec![2, 0, 0, 7, -1]).unwrap()];
    let top = |k| evaluate(&inputs, |_, x| op::in_top_k(x[0], x[1], k)).unwrap().data;
    assert_eq!(top(1), [0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(top(2), [1.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn dropout_keeps_the_expected_share_and_scales_it() {
    let inputs =
        [Tensor::new([100, 100], vec![1.0f64; 10_000]).unwrap(), Tensor::new([2], vec![3, 4]).unwrap()];
    let y = evaluate(&inputs, |_, x| op::dropout(x[0], x[1], 0.2)).unwrap().data;
    let kept = y.iter().filter(|&&v| v != 0.0).count();
    assert!((7_850..8_150).contains(&kept), "{kept} of 10000 kept");
    assert!(y.iter().all(|&v| v == 0.0 || v == 1.25));
    // Two calls drop different places; the gradient of a call, the same places.
    let twice = evaluate(&inputs, |b, x| {
        let (first, second) = (op::dropout(x[0], x[1], 0.5), op::dropout(x[0], x[1], 0.5));
        let own = grad(first.sum_all(), &[x[0]]).unwrap()[0];
        b.concat(
            &[(first - second).abs().sum_all().reshape([1]), (first - own).abs().sum_all().reshape([1])],
            0,
        )
    });
    let [apart, same] = twice.unwrap().data[..] else { panic!("two numbers") };
    assert!(apart > 8_000.0 && same == 0.0, "{apart} {same}");
}

/// The statistics of batch normalization depend on its first operand: gradients must not be counted twice.
#[test]
fn gradients_of_operands_that_depend_on_each_other() {
    let mut random = Random::new(5);
    let inputs =
        [random.floats([4, 3], -2.0, 2.0), random.floats([3], 0.5, 1.5), random.floats([3], -1.0, 1.0)];
    check_gradient("batch_norm of its own statistics", &inputs, |_, x| {
        let mean = x[0].mean(&[0]);
        let variance = (x[0] - mean).square().mean(&[0]);
        op::batch_norm(x[0], mean, variance, x[1], x[2], 1e-3)
    });
    check_gradient("squared error of dependent values", &inputs[..1], |_, x| {
        op::squared_error(x[0], x[0] * x[0])
    });
    check_gradient("squared error of a value with itself", &inputs[..1], |_, x| {
        op::squared_error(x[0], x[0]) + x[0]
    });
}

#[test]
fn mistakes_name_what_was_expected() {
    let message = |build: &dyn for<'g> Fn(&'g Builder, Value<'g>) -> Value<'g>| {
        let b = Builder::new();
        build(&b, b.input("x", Role::Batch, [4, 3], DType::F32));
        b.check().unwrap_err().to_string()
    };
    let e = message(&|b, x| op::layer_norm(x, b.fill(1.0, [4]), b.fill(0.0, [3]), 1e-3));
    assert_eq!(e, "layer_norm: beside f32 [4, 3]: expected f32 [3], found f32 [4]");
    let e = message(&|b, x| op::sparse_cross_entropy(x, b.iota(0, [3], DType::I32), 0.0));
    assert_eq!(e, "sparse_cross_entropy: beside logits [4, 3]: expected labels i32 [4], found i32 [3]");
    let e = message(&|b, x| op::sparse_cross_entropy(x, b.iota(0, [4], DType::I32), 1.5));
    assert_eq!(e, "sparse_cross_entropy: expected label_smoothing between 0 and 1, found 1.5");
    let e = message(&|b, x| op::dropout(x, b.iota(0, [2], DType::I32), 1.0));
    assert_eq!(e, "dropout: expected a rate of at least 0 and below 1, found 1");
    let e = message(&|b, x| op::huber(x, b.fill(0.0, [4]), 1.0));
    assert_eq!(e, "huber: expected operands of one type and shape, found f32 [4, 3] and f32 [4]");
    let e = message(&|_, x| op::upsample(x, [2, 2], op::Interpolation::Nearest));
    assert_eq!(e, "upsample: expected maps [n, h, w, c], found [4, 3]");
}

/// `docs/ops.md` is made from the table: `UPDATE=1 cargo test -p brisk-graph` writes it anew.
#[test]
fn the_documentation_is_that_of_the_table() {
    let mut text = String::from(
        "# Named operations\n\n\
         Made from `brisk_graph::op::OPS` by `UPDATE=1 cargo test -p brisk-graph`; do not edit.\n\n\
         Every operation decomposes into primitives; that gives it its gradient and a place on every device. *Closed* \
         gradients have a form of their own, *kernels* compute f32 on a CPU in one go.\n\n\
         | operation | attributes | what it computes | gradient | kernel |\n|---|---|---|---|---|\n",
    );
    for op in OPS {
        let attrs = (op.samples)().first().map(|s| s.attrs.to_string()).unwrap_or_default();
        let attrs = attrs.trim_matches(['[', ']']).split(", ").filter_map(|a| a.split(' ').next());
        let attrs: Vec<_> = attrs.filter(|a| a.starts_with(|c: char| c.is_ascii_alphabetic())).collect();
        let gradient = match op.gradient {
            Gradient::FromDecomposition => "decomposition",
            Gradient::Closed(_) => "closed",
        };
        let kernel = if op.kernel.is_some() { "yes" } else { "" };
        let doc = op.doc.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} | {doc} | {gradient} | {kernel} |", op.name, attrs.join(", "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ops.md");
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found != text && std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    } else {
        assert!(found == text, "docs/ops.md is behind the table: run `UPDATE=1 cargo test -p brisk-graph`");
    }
}
