//! What leaves Brisk and comes back says the same, and goes on learning in the same way.

use std::path::Path;

use brisk_format::{
    HfConfig, HfExport, HfFolder, OnnxOptions, SavedModel, export_onnx, import_onnx, load_keras, read_onnx,
    save_huggingface, save_keras,
};
use brisk_graph::{DType, Tensor};
use brisk_nn::optimizer::Sgd;
use brisk_nn::prelude::*;
use brisk_nn::{INPUT, LayerSpec, ModelInput, Rows, Scaling, Shapes, zoo};
use brisk_runtime::{Cpu, Device, Options, State};
use brisk_testkit::assert_close;

use crate::onnx_export::{Batch, batch, narrow, random, texts};

/// A model before it leaves.
struct Case {
    name: String,
    saved: SavedModel,
    /// Samples for the model, and the same as tensors for one that takes texts padded.
    batches: Vec<[Batch; 2]>,
}

/// Both models are given the same.
fn alike(name: &str, task: &Task, bound: i32) -> Case {
    let inputs = task.model.inputs();
    let batches = [3, 5].map(|rows| batch(inputs, rows, 7, bound)).map(|b| [b.clone(), b]).to_vec();
    Case { name: name.into(), saved: SavedModel::new(task, &task.model.init_state(3).unwrap()), batches }
}

/// A model over packed texts.
fn of_texts(name: &str, task: &Task) -> Case {
    let both = |lengths: &[usize]| {
        let (packed, padded) = texts("text", lengths, 40, 5);
        let small = |t: Tensor| Tensor::from_f64s(DType::I32, t.shape(), &t.to_f64s()).unwrap();
        let names = ["input_ids", "attention_mask", "token_type_ids"];
        [packed, names.into_iter().zip(padded).map(|(n, t)| (n.to_string(), small(t))).collect()]
    };
    let batches = vec![both(&[5, 2, 7]), both(&[1, 9, 3, 6, 4])];
    Case { name: name.into(), saved: SavedModel::new(task, &task.model.init_state(3).unwrap()), batches }
}

fn presets() -> Vec<Case> {
    let case = |preset: &zoo::Preset| {
        let task = Task::new(narrow(preset), Loss::sparse_categorical_crossentropy());
        match task.model.inputs()[0].rows {
            Rows::Tokens => of_texts(preset.name, &task),
            _ => alike(preset.name, &task, 30),
        }
    };
    zoo::PRESETS.iter().map(case).collect()
}

/// Scaled bytes, a single number at the end, sines of places, statistics of a data set, and recurrences: what stands in these graphs is
/// not all to be trained.
fn others() -> Vec<Case> {
    let picture = Sequential::new([6, 6, 3]).add(Conv2D::new(4, 3).activation(Relu));
    let mut picture = picture.add(Flatten {}).add(Dense::new(1)).build().unwrap();
    let scaling = Scaling { scale: 1.0 / 255.0, mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.3, 0.4] };
    picture.set_stored(INPUT, DType::U8, scaling).unwrap();
    let sequence = |layers: Vec<LayerSpec>| {
        let layers = layers.into_iter().chain([GlobalAveragePooling1D {}.into(), Dense::new(1).into()]);
        Model::new(vec![ModelInput::new(INPUT, [None, Some(6)])], layers.collect(), &[]).unwrap()
    };
    let places = sequence(vec![
        SinePositionEncoding::default().into(),
        TransformerEncoder { dropout: 0.0, ..TransformerEncoder::new(12, 2) }.into(),
    ]);
    let recurrent = sequence(vec![
        GRU::new(4).reset_after(false).return_sequences(true).into(),
        GRU::new(4).return_sequences(true).into(),
        Bidirectional::new(SimpleRNN::new(4).return_sequences(true)).into(),
        LSTM::new(4).return_sequences(true).into(),
    ]);
    // Both have twelve gates, and products that are not their own.
    let without_biases = sequence(vec![
        GRU::new(4).use_bias(false).return_sequences(true).into(),
        LSTM::new(3).return_sequences(true).into(),
        SimpleRNN::new(12).return_sequences(true).into(),
        GRU::new(4).use_bias(false).reset_after(false).return_sequences(true).into(),
        LSTM::new(3).use_bias(false).return_sequences(true).into(),
    ]);
    let strided = sequence(vec![
        Normalization::default().into(),
        Conv1D::new(4, 3).strides(2).padding(Padding1D::Same).into(),
        PReLU::new().shared_axes(vec![1]).into(),
    ]);
    vec![
        alike("picture", &Task::new(picture, Loss::binary_crossentropy()), 256),
        alike("places", &Task::new(places, Loss::MeanSquaredError), 5),
        alike("recurrent", &Task::new(recurrent, Loss::MeanSquaredError), 5),
        alike("without biases", &Task::new(without_biases, Loss::MeanSquaredError), 5),
        alike("strided", &Task::new(strided, Loss::MeanSquaredError), 5),
    ]
}

pub fn says(saved: &SavedModel, batch: &Batch) -> Tensor {
    let graph = saved.task().predict_graph(Shapes::from(&batch[..])).unwrap();
    let mut program = Cpu::new(1).compile(&graph, &Options::default()).unwrap();
    let given: Vec<_> = batch.iter().map(|(n, t)| (n.as_str(), t)).collect();
    program.run(&given, &mut saved.state.clone()).unwrap().remove(0)
}

/// The targets of a batch.
fn targets(saved: &SavedModel, rows: usize) -> Tensor {
    match saved.outputs[0].loss {
        Loss::SparseCategoricalCrossentropy { .. } => {
            Tensor::new([rows], (0..rows).map(|i| (i * 7 % 10) as i32).collect::<Vec<_>>()).unwrap()
        }
        Loss::BinaryCrossentropy { .. } => {
            Tensor::new([rows, 1], (0..rows).map(|i| (i % 2) as f32).collect::<Vec<_>>()).unwrap()
        }
        _ => random(9, &[rows, 1]),
    }
}

/// The losses of a handful of steps on one batch, and the state after them.
fn learns(saved: &SavedModel, optimizer: &Optimizer, batch: &Batch) -> (Vec<f64>, State) {
    let task = saved.task();
    let mut given = batch.clone();
    let rows = says(saved, batch).shape()[0];
    given.push((task.outputs[0].name.clone(), targets(saved, rows)));
    let graph = task.train_graph(optimizer, Shapes::from(&given[..])).unwrap();
    let mut program = Cpu::new(1).compile(&graph, &Options::default()).unwrap();
    let mut state = saved.state.clone();
    optimizer.init_state(&task.param_specs().unwrap(), &mut state);
    given.push(("key".into(), Tensor::new([2], vec![1, 2]).unwrap()));
    let step = |t: u64| {
        let scalars = optimizer.scalars(optimizer.learning_rate(), t);
        let all = given.iter().map(|(n, t)| (n.as_str(), t)).chain(scalars.iter().map(|(n, t)| (*n, t)));
        program.run(&all.collect::<Vec<_>>(), &mut state).unwrap()[0].item().unwrap()
    };
    let losses = (1..=6).map(step).collect();
    (losses, state)
}

/// The model that came back says what the one that left does, and learns as it does.
fn same(case: &Case, returned: &SavedModel) {
    for [here, there] in &case.batches {
        let (found, expected) = (says(returned, there), says(&case.saved, here));
        assert_eq!(found.shape(), expected.shape(), "{}", case.name);
        assert_close(&case.name, &found.to_f64s(), &expected.to_f64s(), 1e-5, 1e-5);
    }
    let momentum = Optimizer::Sgd(Sgd { learning_rate: 0.01, momentum: 0.9, ..Sgd::default() });
    for optimizer in [momentum, Optimizer::adam(1e-3)] {
        let [here, there] = &case.batches[0];
        let expected = learns(&case.saved, &optimizer, here).0;
        let found = learns(returned, &optimizer, there).0;
        assert!(expected[5] < expected[0] * 0.999, "{}: nothing is learned: {expected:?}", case.name);
        assert_close(&format!("losses of {}", case.name), &found, &expected, 1e-4, 1e-7);
    }
}

/// With the last layer's own numbers, as losses take them.
fn through_onnx(saved: &SavedModel, dir: &Path) -> SavedModel {
    let path = dir.join("model.onnx");
    export_onnx(&path, saved, &OnnxOptions { logits: true, ..Default::default() }).unwrap();
    let imported = import_onnx(&path, read_onnx(&path).unwrap()).unwrap();
    let task = Task::new(imported.model, saved.outputs[0].loss.clone());
    SavedModel::new(&task, &imported.state)
}

#[test]
fn models_come_back_from_onnx() {
    let dir = tempfile::tempdir().unwrap();
    let all = presets().into_iter().chain(others());
    // Statistics of batches stay as they are in an imported graph.
    let all: Vec<Case> = all.filter(|case| case.name != "resnet18-cifar").collect();
    assert_eq!(all.len(), zoo::PRESETS.len() - 1 + 5);
    for case in all {
        let returned = through_onnx(&case.saved, dir.path());
        same(&case, &returned);
        // Each number that was trained still is, and no other.
        let trained = |saved: &SavedModel| {
            let specs = saved.model.param_specs().unwrap();
            specs.iter().filter(|s| s.trainable).map(|s| s.shape.elements()).sum::<usize>()
        };
        assert_eq!(trained(&returned), trained(&case.saved), "{}", case.name);
    }
}

/// An imported graph's batch normalization uses its running statistics in training too, and leaves them.
#[test]
fn statistics_of_batches_stay_in_an_imported_graph() {
    let dir = tempfile::tempdir().unwrap();
    let model = Sequential::new([6]).add(Dense::new(4)).add(BatchNormalization::new()).add(Dense::new(1));
    let case = alike("norm", &Task::new(model.build().unwrap(), Loss::MeanSquaredError), 5);
    let returned = through_onnx(&case.saved, dir.path());
    let [batch, _] = &case.batches[0];
    let (losses, after) = learns(&returned, &Optimizer::sgd(0.01), batch);
    assert!(losses[5] < losses[0]);
    let kept = ["moving_mean", "moving_variance"].map(|n| format!("graph.batch_normalization.{n}"));
    for name in kept {
        assert_eq!(after.get(&name).unwrap(), returned.state.get(&name).unwrap());
        assert!(returned.model.param_specs().unwrap().iter().any(|s| s.name == name && !s.trainable));
    }
    let gamma = "graph.batch_normalization.gamma";
    assert_ne!(after.get(gamma).unwrap(), returned.state.get(gamma).unwrap());
}

#[test]
fn models_come_back_from_keras() {
    let dir = tempfile::tempdir().unwrap();
    let all = presets().into_iter().chain(others());
    // Keras has no encoders of texts, and no sines of places.
    let all: Vec<Case> = all.filter(|c| !zoo::is_text_encoder(&c.name) && c.name != "places").collect();
    assert_eq!(all.len(), zoo::PRESETS.len() - 3 + 4);
    for case in all {
        let path = dir.path().join("model.keras");
        save_keras(&path, &case.saved, None).unwrap();
        same(&case, &load_keras(&path).unwrap().saved);
    }
}

#[test]
fn encoders_come_back_from_hugging_face() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<Case> = presets().into_iter().filter(|c| zoo::is_text_encoder(&c.name)).collect();
    assert_eq!(all.len(), 3);
    for case in all {
        let path = dir.path().join(&case.name);
        let config = HfConfig::of_model(&case.saved, None).unwrap();
        let export = HfExport { config: &config, state: &case.saved.state, tokenizer: &[], sentences: None };
        save_huggingface(&path, &export).unwrap();
        let folder = HfFolder::open(&path).unwrap();
        let mut layers = case.saved.model.specs();
        layers[0] = LayerSpec::new(folder.encoder().clone()).name("encoder").inputs(["text"]);
        let model = Model::new(ModelInput::packed_text("text"), layers, &[]).unwrap();
        let (state, report) = folder.load_state(folder.head()).unwrap();
        assert!(report.fresh.is_empty() && report.unexpected.is_empty(), "{report}");
        let returned = SavedModel::new(&Task::new(model, Loss::sparse_categorical_crossentropy()), &state);
        same(
            &Case { batches: case.batches.iter().map(|[b, _]| [b.clone(), b.clone()]).collect(), ..case },
            &returned,
        );
    }
}
