//! Exported models give what Brisk gives: read back, at other sizes than they were recorded for.

use std::collections::BTreeSet;

use brisk_format::{OnnxFile, OnnxOptions, SavedModel, export_onnx, read_onnx};
use brisk_graph::{DType, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{LayerConfig, LayerSpec, ModelInput, Pooling, Rows, Shapes, TextEncoder, zoo};
use brisk_onnx::{Constant, Elem, Output, Session};
use brisk_runtime::{Cpu, Device, Options, State};
use brisk_testkit::{assert_close, goldens};
use serde_json::{Value as Json, json};

type Batch = Vec<(String, Tensor)>;

/// The layer of a golden. Activations carry their own argument beside their name.
fn layer(kind: &str, config: &Json) -> LayerConfig {
    let mut config = config.clone();
    if kind == "Activation" {
        let mut own = config.as_object().unwrap().clone();
        let name = own.remove("activation").unwrap();
        config =
            json!({"activation": if own.is_empty() { name } else { json!({name.as_str().unwrap(): own}) }});
    }
    serde_json::from_value::<LayerSpec>(json!({ kind: config })).unwrap().layer
}

/// Numbers between -1 and 1 that follow from a seed.
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let uniform = Initializer::RandomUniform { minval: -1.0, maxval: 1.0 };
    uniform.tensor(seed, "numbers", &brisk_graph::Shape::from(shape)).unwrap()
}

/// The model with parameters and statistics that are neither zero nor one.
fn saved(model: Model, loss: Loss) -> SavedModel {
    let task = Task::new(model, loss);
    let mut state = State::new();
    for (i, spec) in task.param_specs().unwrap().iter().enumerate() {
        let numbers = random(100 + i as u64, &spec.shape).to_f64s();
        let fitted = |v: f64| if spec.name.ends_with("variance") { v.abs() + 0.5 } else { v * 0.5 };
        let numbers: Vec<f64> = numbers.into_iter().map(fitted).collect();
        state.insert(&spec.name, Tensor::from_f64s(DType::F32, spec.shape.clone(), &numbers).unwrap());
    }
    SavedModel::new(&task, &state)
}

fn exported(saved: &SavedModel, options: &OnnxOptions) -> OnnxFile {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    export_onnx(&path, saved, options).unwrap();
    read_onnx(&path).unwrap()
}

fn ours(saved: &SavedModel, batch: &Batch) -> Vec<Tensor> {
    let device = Cpu::new(1);
    let graph = saved.task().predict_graph(Shapes::from(&batch[..])).unwrap();
    let mut program = device.compile(&graph, &Options::default()).unwrap();
    let given: Vec<_> = batch.iter().map(|(n, t)| (n.as_str(), t)).collect();
    program.run(&given, &mut saved.state.clone()).unwrap()
}

fn theirs(file: &OnnxFile, batch: &[Tensor]) -> Vec<Tensor> {
    let device = Cpu::new(1);
    let mut session = Session::new(&device, &file.model, file.parameters.clone());
    let elem = |t: &Tensor| match t.dtype() {
        DType::F32 => Elem::Float,
        DType::F64 => Elem::Double,
        DType::I32 => Elem::Int32,
        DType::I64 => Elem::Int64,
        DType::U8 => Elem::Uint8,
    };
    // Whole numbers are carried as i64 there.
    let carried = |t: &Tensor| match t.dtype() {
        DType::I32 => Tensor::from_f64s(DType::I64, t.shape(), &t.to_f64s()).unwrap(),
        _ => t.clone(),
    };
    let given = batch.iter().map(|t| Some(Output::Tensor(Constant::Numbers(elem(t), carried(t))))).collect();
    let outputs = session.run(given).unwrap();
    let tensor = |output| match output {
        Output::Tensor(Constant::Numbers(_, tensor)) => tensor,
        other => panic!("{other:?}"),
    };
    outputs.into_iter().map(tensor).collect()
}

fn same(what: &str, found: &[Tensor], expected: &[Tensor]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.shape(), expected.shape(), "{what}");
        assert_close(what, &found.to_f64s(), &expected.to_f64s(), 1e-5, 1e-5);
    }
}

/// Exports the model once, and asks it for all batches.
fn check(what: &str, saved: &SavedModel, batches: &[Batch]) {
    let file = exported(saved, &OnnxOptions::default());
    for batch in batches {
        let tensors: Vec<Tensor> = batch.iter().map(|b| b.1.clone()).collect();
        same(what, &theirs(&file, &tensors), &ours(saved, batch));
    }
}

/// Samples of some inputs: numbers, or whole ones below a bound.
fn batch(inputs: &[ModelInput], rows: usize, length: usize, bound: i32) -> Batch {
    let tensor = |(i, input): (usize, &ModelInput)| {
        let mut shape = vec![rows];
        shape.extend(input.shape.iter().map(|d| d.unwrap_or(length)));
        let numbers = random((rows * 31 + length + i) as u64, &shape);
        let tensor = match input.dtype {
            DType::F32 => numbers,
            dtype => {
                let below = |v: f64| ((v + 1.0) / 2.0 * f64::from(bound)).floor().min(f64::from(bound - 1));
                Tensor::from_f64s(
                    dtype,
                    &shape[..],
                    &numbers.to_f64s().into_iter().map(below).collect::<Vec<_>>(),
                )
                .unwrap()
            }
        };
        (input.tensor().to_string(), tensor)
    };
    inputs.iter().enumerate().map(tensor).collect()
}

/// Inputs as a golden has them; with `free`, sequences have any length.
fn inputs(case: &brisk_testkit::Golden, free: bool) -> Vec<ModelInput> {
    let own = case.tensors().filter(|(role, _)| *role == "input" || role.starts_with("input_"));
    let input = |(role, tensor): (&str, &Tensor)| {
        let mut shape: Vec<Option<usize>> = tensor.shape()[1..].iter().map(|&d| Some(d)).collect();
        if free {
            shape[0] = None;
        }
        ModelInput::new(role, shape).dtype(tensor.dtype())
    };
    own.map(input).collect()
}

fn model(inputs: &[ModelInput], layers: Vec<LayerSpec>) -> Result<Model, brisk_nn::Error> {
    Model::new(inputs.to_vec(), layers, &[])
}

#[test]
fn every_layer_gives_the_same() {
    let mut seen = BTreeSet::new();
    for case in goldens("layers") {
        let kind = case.text("layer");
        let inputs = inputs(&case, false);
        let names: Vec<String> = inputs.iter().map(|i| i.name.clone()).collect();
        let layer = LayerSpec::new(layer(kind, &case.about["config"])).name("layer").inputs(names);
        let saved = saved(model(&inputs, vec![layer]).unwrap(), Loss::MeanSquaredError);
        let batches = [2, 5].map(|rows| batch(&inputs, rows, 0, 5));
        check(&case.name, &saved, &batches);
        seen.insert(kind.to_string());
    }
    let missing: Vec<_> = LayerConfig::KINDS.iter().filter(|k| !seen.contains(**k)).collect();
    assert_eq!(
        missing,
        [&"Dropout", &"AttentionPooling", &"MaskedLanguageHead", &"SequencePooling", &"TextEncoder"],
        "layers that stand in no golden, and have tests of their own"
    );
}

/// Convolutions and pooling whose padding follows from the length, and tables that are no longer.
const FIXED: [&str; 5] = [
    "conv1d_strides2_same",
    "max_pooling1d_overlapping_same",
    "average_pooling1d_overlapping_same",
    "position_embedding",
    "flatten",
];

#[test]
fn sequences_have_any_length() {
    let mut count = 0;
    for case in goldens("layers") {
        let inputs = inputs(&case, true);
        let sequences =
            inputs.iter().all(|i| i.shape.len() == 2 || (i.dtype == DType::I32 && i.shape.len() == 1));
        let names: Vec<String> = inputs.iter().map(|i| i.name.clone()).collect();
        let layer =
            LayerSpec::new(layer(case.text("layer"), &case.about["config"])).name("layer").inputs(names);
        let (true, Ok(model)) = (sequences && !FIXED.contains(&&*case.name), model(&inputs, vec![layer]))
        else {
            continue;
        };
        let saved = saved(model, Loss::MeanSquaredError);
        let batches = [(2, 7), (3, 12)].map(|(rows, length)| batch(&inputs, rows, length, 5));
        check(&case.name, &saved, &batches);
        count += 1;
    }
    assert!(count > 60, "{count}");
}

/// Steps in the middle, at the ends, and whole sequences may be left out.
#[test]
fn masked_steps_are_left_out() {
    let mut count = 0;
    for case in goldens("layers") {
        let kind = case.text("layer");
        let masked = [
            "LSTM",
            "GRU",
            "SimpleRNN",
            "Bidirectional",
            "MultiHeadAttention",
            "GlobalAveragePooling1D",
            "TransformerEncoder",
            "TransformerDecoder",
        ];
        let inputs = inputs(&case, true);
        if !masked.contains(&kind) || inputs.len() != 1 {
            continue;
        }
        let layers = vec![LayerSpec::new(Masking::new(0.0)), layer(kind, &case.about["config"]).into()];
        let saved = saved(model(&inputs, layers).unwrap(), Loss::MeanSquaredError);
        let features = inputs[0].shape[1].unwrap();
        let batches = [(4, 6), (5, 9)].map(|(rows, length)| {
            let (name, tensor) = batch(&inputs, rows, length, 5).remove(0);
            let gone =
                |row: usize, step: usize| row == 0 || (row == 1 && step > 3) || (row == 2 && step % 3 == 0);
            let values = tensor.to_f64s().into_iter().enumerate();
            let values =
                values.map(|(i, v)| if gone(i / features / length, i / features % length) { 0.0 } else { v });
            vec![(name, Tensor::from_f64s(DType::F32, tensor.shape(), &values.collect::<Vec<_>>()).unwrap())]
        });
        check(&case.name, &saved, &batches);
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn layers_without_goldens_give_the_same() {
    let inputs = [ModelInput::new("a", [6]), ModelInput::new("b", [6])];
    let layers = vec![
        LayerSpec::new(Dropout::new(0.5)).inputs(["a"]),
        LayerSpec::new(AttentionPooling {}).inputs(["dropout", "b"]),
    ];
    let saved = saved(model(&inputs, layers).unwrap(), Loss::MeanSquaredError);
    check("pooling by attention", &saved, &[2, 5].map(|rows| batch(&inputs, rows, 0, 5)));
}

/// Texts of these lengths, packed as Brisk has them, and padded to one length as others have them.
fn texts(name: &str, lengths: &[usize], vocabulary: i32, seed: u64) -> (Batch, [Tensor; 3]) {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let all = random(seed, &[lengths.len() * longest]).to_f64s();
    let id = |v: f64| ((v + 1.0) / 2.0 * f64::from(vocabulary - 1)).floor();
    let (mut packed, mut segments): ([Vec<i32>; 3], _) = (Default::default(), Vec::new());
    let mut padded: [Vec<i64>; 3] = Default::default();
    for (row, &length) in lengths.iter().enumerate() {
        segments.extend([packed[0].len() as i32, length as i32]);
        for place in 0..longest {
            let there = place < length;
            let (token, kind) = (id(all[row * longest + place]) as i32, i32::from(place > length / 2));
            if there {
                [token, place as i32, kind].into_iter().zip(&mut packed).for_each(|(v, to)| to.push(v));
            }
            let values =
                [if there { token.into() } else { 0 }, i64::from(there), if there { kind.into() } else { 0 }];
            values.into_iter().zip(&mut padded).for_each(|(v, to)| to.push(v));
        }
    }
    let tokens = packed[0].len();
    let [ids, positions, types] = packed.map(|v| Tensor::new([tokens], v).unwrap());
    let segments = Tensor::new([lengths.len(), 2], segments).unwrap();
    let parts = [("ids", ids), ("positions", positions), ("types", types), ("segments", segments)];
    let batch = parts.into_iter().map(|(part, t)| (format!("{name}.{part}"), t)).collect();
    (batch, padded.map(|v| Tensor::new([lengths.len(), longest], v).unwrap()))
}

fn encoder() -> TextEncoder {
    TextEncoder {
        vocab_size: 40,
        hidden_size: 12,
        num_layers: 2,
        num_heads: 3,
        intermediate_size: 10,
        max_positions: 64,
        ..Default::default()
    }
}

const LENGTHS: [&[usize]; 3] = [&[5, 2, 7], &[4, 4], &[1, 9, 3, 6]];

#[test]
fn texts_are_padded() {
    for mode in [Pooling::Cls, Pooling::Mean, Pooling::Max] {
        for normalize in [false, true] {
            let layers = vec![
                LayerSpec::new(encoder()).inputs(["text"]),
                LayerSpec::new(SequencePooling { mode, normalize }).inputs(["encoder", "text.segments"]),
            ];
            let saved =
                saved(model(&ModelInput::packed_text("text"), layers).unwrap(), Loss::MeanSquaredError);
            let file = exported(&saved, &OnnxOptions::default());
            let names: Vec<&str> = file.model.graph.inputs.iter().map(|p| p.name.as_str()).collect();
            assert_eq!(names, ["input_ids", "attention_mask", "token_type_ids"]);
            for (i, lengths) in LENGTHS.iter().enumerate() {
                let (packed, padded) = texts("text", lengths, 40, i as u64);
                same(&format!("{mode:?} {lengths:?}"), &theirs(&file, &padded), &ours(&saved, &packed));
            }
        }
    }
}

#[test]
fn rows_of_tokens_stand_in_their_texts() {
    let encoder = TextEncoder { type_vocab_size: 0, ..encoder() };
    let layers = vec![
        LayerSpec::new(encoder).inputs(["text"]),
        LayerSpec::new(MaskedLanguageHead { encoder: "encoder".into(), ..Default::default() }),
    ];
    let saved = saved(model(&ModelInput::packed_text("text"), layers).unwrap(), Loss::MeanSquaredError);
    let file = exported(&saved, &OnnxOptions::default());
    assert_eq!(file.model.graph.inputs.len(), 2, "types are not read");
    assert_eq!(file.model.graph.outputs[0].ty.to_string(), "float [batch, length, 40]");
    for (i, lengths) in LENGTHS.iter().enumerate() {
        let (packed, [ids, mask, _]) = texts("text", lengths, 40, i as u64);
        let found = theirs(&file, &[ids, mask.clone()]).remove(0).to_f64s();
        let there = mask.to_f64s();
        let rows = found.chunks(40).zip(there).filter(|(_, there)| *there == 1.0);
        let found: Vec<f64> = rows.flat_map(|(row, _)| row.to_vec()).collect();
        assert_close("tokens", &found, &ours(&saved, &packed)[0].to_f64s(), 1e-5, 1e-5);
    }
}

#[test]
fn two_texts_have_lengths_of_their_own() {
    let mut inputs = ModelInput::packed_text("question");
    inputs.extend(ModelInput::packed_text("answer"));
    let side = |name: &str| {
        [
            LayerSpec::new(encoder()).name(format!("{name}_encoder")).inputs([name]),
            LayerSpec::new(SequencePooling::default())
                .name(format!("{name}_pooling"))
                .inputs([format!("{name}_encoder"), format!("{name}.segments")]),
        ]
    };
    let mut layers: Vec<LayerSpec> = side("question").into_iter().chain(side("answer")).collect();
    layers.push(LayerSpec::new(Concatenate::new()).inputs(["question_pooling", "answer_pooling"]));
    layers.push(Dense::new(3).into());
    let saved = saved(model(&inputs, layers).unwrap(), Loss::sparse_categorical_crossentropy());
    let file = exported(&saved, &OnnxOptions::default());
    let shapes: Vec<String> =
        file.model.graph.inputs.iter().map(|p| format!("{} {}", p.name, p.ty)).collect();
    assert_eq!(shapes[0], "question.input_ids int64 [batch, question_length]");
    assert_eq!(shapes[4], "answer.attention_mask int64 [batch, answer_length]");
    let ((mut packed, a), (more, b)) = (texts("question", &[3, 5], 40, 1), texts("answer", &[8, 2], 40, 2));
    packed.extend(more);
    same("two texts", &theirs(&file, &[a, b].concat()), &ours(&saved, &packed));
}

#[test]
fn every_preset_gives_the_same() {
    for preset in zoo::PRESETS {
        let mut model = (preset.build)(preset.input_shape.into(), 10).unwrap();
        let mut specs = model.specs();
        for spec in &mut specs {
            // As deep, but not as wide.
            match &mut spec.layer {
                LayerConfig::TextEncoder(own) => {
                    let narrow = TextEncoder { hidden_size: 24, intermediate_size: 20, ..encoder() };
                    *own = TextEncoder { num_layers: own.num_layers, num_heads: own.num_heads, ..narrow };
                }
                LayerConfig::Embedding(own) => own.input_dim = 30,
                _ => {}
            }
        }
        model = Model::new(model.inputs().to_vec(), specs, &[]).unwrap();
        let inputs = model.inputs().to_vec();
        let saved = saved(model, Loss::sparse_categorical_crossentropy());
        if inputs[0].rows == Rows::Tokens {
            let file = exported(&saved, &OnnxOptions::default());
            for (i, lengths) in LENGTHS.iter().enumerate() {
                let (packed, padded) = texts("text", lengths, 40, i as u64);
                same(preset.name, &theirs(&file, &padded), &ours(&saved, &packed));
            }
            continue;
        }
        check(preset.name, &saved, &[2, 3].map(|rows| batch(&inputs, rows, 0, 30)));
    }
}

#[test]
fn scaling_stands_inside_or_not() {
    let saved = crate::saved(3);
    let batch = batch(saved.model.inputs(), 4, 0, 256);
    let expected = ours(&saved, &batch);
    let inside = exported(&saved, &OnnxOptions::default());
    assert_eq!(inside.model.graph.inputs[0].ty.to_string(), "uint8 [batch, 6, 6, 1]");
    same("bytes", &theirs(&inside, &[batch[0].1.clone()]), &expected);
    let outside = exported(&saved, &OnnxOptions { scaling: false, ..Default::default() });
    assert_eq!(outside.model.graph.inputs[0].ty.to_string(), "float [batch, 6, 6, 1]");
    let scaled: Vec<f64> =
        batch[0].1.to_f64s().iter().map(|v| (v / 255.0 - 0.2860406) / 0.35302424).collect();
    let scaled = Tensor::from_f64s(DType::F32, batch[0].1.shape(), &scaled).unwrap();
    same("scaled", &theirs(&outside, &[scaled]), &expected);
}

#[test]
fn logits_are_what_probabilities_are_made_of() {
    let saved = crate::saved(3);
    let batch = batch(saved.model.inputs(), 4, 0, 256);
    let file = exported(&saved, &OnnxOptions { logits: true, ..Default::default() });
    assert_eq!(file.model.graph.outputs[0].name, "logits");
    let logits = theirs(&file, &[batch[0].1.clone()]).remove(0).to_f64s();
    let softmax = |row: &[f64]| {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(|v| v.exp() / sum).collect::<Vec<_>>()
    };
    let found: Vec<f64> = logits.chunks(2).flat_map(softmax).collect();
    assert_close("probabilities", &found, &ours(&saved, &batch)[0].to_f64s(), 1e-5, 1e-5);
    assert_eq!(file.model.metadata["labels"], r#"["T-shirt/top","a \\ b\r\n"]"#);
    assert_eq!(file.model.metadata["outputs"], "probabilities: classification");
}
