//! What exported graphs look like, and what cannot be exported.

use brisk_format::{Error, OnnxFile, OnnxOptions, SavedModel, export_onnx};
use brisk_graph::DType;
use brisk_nn::prelude::*;
use brisk_nn::{Lora, ModelInput, Padding1D};
use brisk_onnx::Attribute;
use expect_test::{Expect, expect};

use super::{alike, batch, check, exported, saved};

/// The graph as text, a line each.
fn text(file: &OnnxFile) -> String {
    let graph = &file.model.graph;
    let mut lines: Vec<String> = graph.inputs.iter().map(|p| format!("input {}: {}", p.name, p.ty)).collect();
    lines.extend(
        graph.parameters.iter().map(|(name, p)| format!("parameter {name}: {} {:?}", p.elem, p.shape)),
    );
    let value = |a: &Attribute| match a {
        Attribute::Int(v) => v.to_string(),
        Attribute::Float(v) => v.to_string(),
        Attribute::String(v) => format!("{v:?}"),
        Attribute::Ints(v) => format!("{v:?}"),
        other => format!("{other:?}"),
    };
    lines.extend(graph.nodes.iter().map(|n| {
        let attributes: Vec<String> =
            n.attributes.iter().map(|(k, v)| format!(", {k}={}", value(v))).collect();
        format!("{} = {}({}{})", n.outputs.join(", "), n.op, n.inputs.join(", "), attributes.concat())
    }));
    lines.extend(graph.outputs.iter().map(|p| format!("output {}: {}", p.name, p.ty)));
    lines.join("\n") + "\n"
}

fn is(saved: &SavedModel, expected: &Expect) {
    expected.assert_eq(&text(&exported(saved, &OnnxOptions::default())));
}

#[test]
fn pictures_are_turned_once() {
    is(
        &crate::saved(1),
        &expect![[r#"
        input input: uint8 [batch, 6, 6, 1]
        parameter conv2d.kernel/axes3201: float [3, 1, 3, 3]
        parameter conv2d.bias: float [3]
        parameter dense.kernel: float [12, 2]
        parameter dense.bias: float [2]
        scaling/Cast = Cast(input, to=1)
        scaling/Mul = Mul(scaling/Cast, f32/0.00392156862745098)
        scaling/Sub = Sub(scaling/Mul, scaling/constant)
        scaling/Mul_1 = Mul(scaling/Sub, scaling/constant_1)
        conv2d/Transpose = Transpose(scaling/Mul_1, perm=[0, 3, 1, 2])
        conv2d/Conv = Conv(conv2d/Transpose, conv2d.kernel/axes3201, conv2d.bias, strides=[1, 1], dilations=[1, 1], pads=[0, 0, 0, 0], group=1)
        conv2d/Relu = Relu(conv2d/Conv)
        max_pooling2d/MaxPool = MaxPool(conv2d/Relu, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0])
        flatten/Transpose = Transpose(max_pooling2d/MaxPool, perm=[0, 2, 3, 1])
        flatten/Reshape = Reshape(flatten/Transpose, ints/0,12)
        dense/MatMul = MatMul(flatten/Reshape, dense.kernel)
        dense/Add = Add(dense/MatMul, dense.bias)
        probabilities = Softmax(dense/Add, axis=-1)
        output probabilities: float [batch, 2]
    "#]],
    );
}

#[test]
fn sequences_are_masked_and_gathered() {
    let model = Model::new(
        vec![ModelInput::new("review", [None]).dtype(DType::I32)],
        vec![Embedding::new(20, 4).mask_zero(true).into(), LSTM::new(3).into(), Dense::new(1).into()],
        &[],
    );
    is(
        &saved(model.unwrap(), Loss::binary_crossentropy()),
        &expect![[r#"
        input review: int32 [batch, length]
        parameter embedding.embeddings: float [20, 4]
        parameter lstm.kernel/gates: float [1, 12, 4]
        parameter lstm.recurrent_kernel/gates: float [1, 12, 3]
        parameter lstm.bias/gates: float [1, 12]
        parameter zeros/12/gates: float [1, 12]
        parameter dense.kernel: float [3, 1]
        parameter dense.bias: float [1]
        embedding/Gather = Gather(embedding.embeddings, review, axis=0)
        embedding/Less = Less(i32/0, review)
        lstm/Cast = Cast(embedding/Less, to=6)
        lstm/ReduceSum = ReduceSum(lstm/Cast, ints/1, keepdims=1)
        sizes/Shape = Shape(review, start=1, end=2)
        sizes/Reshape = Reshape(sizes/Shape, ints/)
        lstm/Range = Range(i64/0, sizes/Reshape, i64/1)
        lstm/Cast_1 = Cast(lstm/Range, to=6)
        lstm/Cast_2 = Cast(sizes/Reshape, to=6)
        lstm/Mul = Mul(lstm/Cast, lstm/Cast_2)
        lstm/Sub = Sub(lstm/Mul, lstm/Cast_1)
        lstm/TopK, lstm/TopK.1 = TopK(lstm/Sub, sizes/Shape, axis=1)
        lstm/Reshape_1 = Reshape(lstm/TopK.1, ints/0,0,1)
        lstm/GatherND = GatherND(embedding/Gather, lstm/Reshape_1, batch_dims=1)
        lstm/Transpose = Transpose(lstm/GatherND, perm=[1, 0, 2])
        lstm/Concat = Concat(lstm.bias/gates, zeros/12/gates, axis=1)
        lstm/Max = Max(lstm/ReduceSum, i32/1)
        lstm/Reshape_2 = Reshape(lstm/Max, ints/0)
        lstm/LSTM, lstm/LSTM.1 = LSTM(lstm/Transpose, lstm.kernel/gates, lstm.recurrent_kernel/gates, lstm/Concat, lstm/Reshape_2, hidden_size=3, direction="forward")
        lstm/Reshape_3 = Reshape(lstm/LSTM.1, ints/-1,3)
        lstm/Less = Less(i32/0, lstm/ReduceSum)
        lstm/Where = Where(lstm/Less, lstm/Reshape_3, f32/0)
        dense/MatMul = MatMul(lstm/Where, dense.kernel)
        dense/Add = Add(dense/MatMul, dense.bias)
        probabilities = Sigmoid(dense/Add)
        output probabilities: float [batch, 1]
    "#]],
    );
}

/// Sequences of any length through a convolution with padding that follows from the length.
fn strided(conv: Conv1D) -> SavedModel {
    let conv = conv.padding(Padding1D::Same);
    let model = Model::new(vec![ModelInput::new("x", [None, Some(2)])], vec![conv.into()], &[]).unwrap();
    saved(model, Loss::MeanSquaredError)
}

/// Whatever is left over when the window has gone over them.
#[test]
fn padding_follows_from_the_length() {
    for strides in [2, 3, 5] {
        let saved = strided(Conv1D::new(4, 5).strides(strides));
        let batches = (1..12).map(|length| batch(saved.model.inputs(), 2, length, 5)).collect::<Vec<_>>();
        let file = check(&alike("strided", saved, batches));
        let conv = file.model.graph.nodes.iter().find(|n| n.op == "Conv").unwrap();
        assert_eq!(conv.attributes["auto_pad"], Attribute::String("SAME_UPPER".into()));
        assert!(!conv.attributes.contains_key("pads"));
    }
}

#[test]
fn what_onnx_cannot_say_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let convolutions = [
        Conv1D::new(4, 5).strides(7),
        Conv1D::new(4, 5).strides(9),
        Conv1D::new(4, 5).strides(2).dilation_rate(2),
    ];
    for conv in convolutions {
        let error =
            export_onnx(&dir.path().join("model.onnx"), &strided(conv), &OnnxOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Unsaved { .. }));
        let text = error.to_string();
        assert!(text.contains("layer \"conv1d\" (conv) cannot be written as ONNX"), "{text}");
        assert!(text.ends_with("give the model's inputs a fixed length"), "{text}");
    }
    let slope_for_each_step = vec![PReLU::new().into()];
    let model = Model::new(vec![ModelInput::new("x", [None, Some(2)])], slope_for_each_step, &[]).unwrap();
    let saved = saved(model, Loss::MeanSquaredError);
    let error = export_onnx(&dir.path().join("model.onnx"), &saved, &OnnxOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the size of its parameter \"p_re_lu.alpha\" follows from a free size"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn additions_of_low_rank_are_part_of_their_matrices() {
    let model = Sequential::new([4]).add(Dense::new(6).activation(Relu)).add(Dense::new(2)).build().unwrap();
    let lora = Lora { rank: 2, alpha: None, parameters: vec!["kernel".into()], merge: false };
    let rules = ParamRules { lora: Some(lora), ..ParamRules::default() };
    let task = Task { rules, ..Task::new(model, Loss::MeanSquaredError) };
    let mut state = brisk_runtime::State::new();
    for (i, spec) in task.param_specs().unwrap().iter().enumerate() {
        state.insert(&spec.name, super::random(i as u64, &spec.shape));
    }
    let saved = SavedModel::new(&task, &state);
    let batches = [1, 5].map(|rows| batch(saved.model.inputs(), rows, 0, 5));
    let file = check(&alike("additions", saved, batches));
    let names: Vec<&String> = file.model.graph.parameters.keys().collect();
    assert_eq!(names, ["dense.kernel", "dense.bias", "dense_1.kernel", "dense_1.bias"]);
}
