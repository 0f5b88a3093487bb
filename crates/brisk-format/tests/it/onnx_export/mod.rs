//! Exported models give what Brisk gives: read back, at other sizes than they were recorded for; and in ONNX Runtime, where there is one.

mod cases;
mod graph;
mod outside;
mod texts;

use std::collections::BTreeSet;

use brisk_format::{OnnxFile, OnnxOptions, SavedModel, export_onnx, import_onnx, read_onnx};
use brisk_graph::{DType, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{LayerConfig, ModelInput, Shapes};
use brisk_onnx::{Constant, Elem, Output, Session};
use brisk_runtime::{Cpu, Device, Options, State};
use brisk_testkit::assert_close;

pub use cases::narrow;
pub use texts::texts;

pub type Batch = Vec<(String, Tensor)>;

/// A model, and what it is asked.
struct Case {
    name: String,
    saved: SavedModel,
    questions: Vec<Question>,
}

/// What goes into the exported model, and what should come out; NaN where anything may.
#[derive(Clone)]
struct Question {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// Numbers between -1 and 1 that follow from a seed.
pub fn random(seed: u64, shape: &[usize]) -> Tensor {
    let uniform = Initializer::RandomUniform { minval: -1.0, maxval: 1.0 };
    uniform.tensor(seed, "numbers", brisk_graph::Shape::from(shape)).unwrap()
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
        let expected = expected.to_f64s();
        let found = found.to_f64s();
        let (found, expected): (Vec<f64>, Vec<f64>) =
            found.into_iter().zip(expected).filter(|(_, e)| !e.is_nan()).unzip();
        assert_close(what, &found, &expected, 1e-5, 1e-5);
    }
}

/// The same inputs for both.
fn alike(name: &str, saved: SavedModel, batches: impl IntoIterator<Item = Batch>) -> Case {
    let question = |batch: Batch| Question {
        outputs: ours(&saved, &batch),
        inputs: batch.into_iter().map(|b| b.1).collect(),
    };
    let questions = batches.into_iter().map(question).collect();
    Case { name: name.into(), saved, questions }
}

/// Exports the model once, and asks it all questions.
fn check(case: &Case) -> OnnxFile {
    let file = exported(&case.saved, &OnnxOptions::default());
    for question in &case.questions {
        same(&case.name, &theirs(&file, &question.inputs), &question.outputs);
    }
    file
}

/// Samples of some inputs: numbers, or whole ones below a bound.
pub fn batch(inputs: &[ModelInput], rows: usize, length: usize, bound: i32) -> Batch {
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

#[test]
fn every_layer_gives_the_same() {
    let mut seen = BTreeSet::new();
    for (kind, case) in cases::layers() {
        check(&case);
        seen.insert(kind);
    }
    let missing: Vec<_> = LayerConfig::KINDS.iter().filter(|k| !seen.contains(**k)).collect();
    // These stand in `texts`, and in the test of what was imported; the last ones do nothing in a model that answers.
    let texts = ["MaskedLanguageHead", "SequencePooling", "TextEncoder", "Onnx", "OnnxOutput"];
    let noise = ["SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"];
    assert!(missing.into_iter().eq(texts.iter().chain(&noise)));
}

#[test]
fn sequences_have_any_length() {
    let all = cases::sequences();
    assert!(all.len() > 60, "{}", all.len());
    all.iter().for_each(|case| drop(check(case)));
}

/// Steps in the middle, at the ends, and whole sequences may be left out.
#[test]
fn masked_steps_are_left_out() {
    let all = cases::masked();
    assert!(all.len() > 40, "{}", all.len());
    all.iter().for_each(|case| drop(check(case)));
}

#[test]
fn every_preset_gives_the_same() {
    cases::presets().iter().for_each(|case| drop(check(case)));
}

/// What was exported is imported as a layer, and exported once more.
#[test]
fn an_imported_graph_is_exported_again() {
    for case in cases::presets().iter().filter(|c| c.saved.model.inputs().len() == 1) {
        let first = exported(&case.saved, &OnnxOptions::default());
        let imported = import_onnx("model.onnx".as_ref(), first).unwrap();
        check(&Case { name: case.name.clone(), saved: imported, questions: case.questions.clone() });
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
    // What comes from a graph is what it yields, whatever it is.
    let graph = import_onnx("model.onnx".as_ref(), exported(&saved, &OnnxOptions::default())).unwrap();
    let again = exported(&graph, &OnnxOptions { logits: true, ..Default::default() });
    assert_eq!(again.model.graph.outputs[0].name, "probabilities");
}
