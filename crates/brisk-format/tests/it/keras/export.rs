//! What is written for Keras is what was there.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use brisk_format::{SavedModel, load_keras, save_keras};
use brisk_graph::{DType, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{INPUT, LayerSpec, ModelInput, PositionEmbedding, Scaling};
use brisk_runtime::State;
use brisk_testkit::assert_close;
use serde_json::{Value as Json, json};

use super::{each, golden, load, predict};

fn numbers(seed: u32, shape: &[usize]) -> Tensor {
    let at = |i: usize| (((i as u32 + 1) * (seed + 3) * 2_654_435 % 1000) as f32 - 500.0) / 400.0;
    Tensor::new(shape, (0..shape.iter().product()).map(at).collect::<Vec<f32>>()).unwrap()
}

/// Models of Brisk's own, with a batch each: a scaled picture, an activation of a number of its own, two outputs of a layer that others
/// read, and parameters that are shared.
pub fn models() -> Vec<(&'static str, SavedModel, State)> {
    let mut picture = Sequential::new([5, 5, 3])
        .add(Conv2D::new(4, 3).activation(Activation::LeakyRelu { negative_slope: 0.1 }))
        .add(Flatten {})
        .add(Dense::new(3))
        .build()
        .unwrap();
    let scaling = Scaling { scale: 1.0 / 255.0, mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.3, 0.4] };
    picture.set_stored(INPUT, DType::U8, scaling).unwrap();
    let task = Task::new(picture, Loss::sparse_categorical_crossentropy());
    let mut saved = SavedModel::new(&task, &task.model.init_state(7).unwrap());
    saved.labels = vec!["a".into(), "b".into(), "größe".into()];
    let bytes: Vec<u8> = (0..150).map(|i| (i * 37 % 256) as u8).collect();
    let given: State = [
        ("input_0", Tensor::new([2, 5, 5, 3], bytes).unwrap()),
        ("target_0", Tensor::new([2], vec![0, 2]).unwrap()),
    ]
    .into_iter()
    .collect();
    let mut all = vec![("picture", saved, given)];

    let layers = vec![
        LayerSpec::new(Dense::new(4).activation(Tanh)).name("one").inputs(["left"]),
        LayerSpec::new(Dense::new(4).activation(Tanh)).name("other").inputs(["right"]).shares("one"),
        LayerSpec::new(Add {}).name("sum").inputs(["one", "other"]),
        LayerSpec::new(Dense::new(3)).name("kind").inputs(["sum"]),
        LayerSpec::new(Concatenate::new()).name("both").inputs(["kind", "sum"]),
        LayerSpec::new(Dense::new(1)).name("price").inputs(["both"]),
    ];
    let inputs = vec![ModelInput::new("left", [4]), ModelInput::new("right", [4])];
    let model = Model::new(inputs, layers, &["kind".into(), "price".into()]).unwrap();
    let outputs = vec![
        TaskOutput::new("kind", Loss::sparse_categorical_crossentropy()),
        TaskOutput { weight: 0.5, ..TaskOutput::new("price", Loss::MeanSquaredError) },
    ];
    let task = Task::with_outputs(model, outputs).unwrap();
    let saved = SavedModel::new(&task, &task.model.init_state(8).unwrap());
    let given: State = [
        ("input_0", numbers(1, &[3, 4])),
        ("input_1", numbers(2, &[3, 4])),
        ("target_0", Tensor::new([3], vec![0, 1, 2]).unwrap()),
        ("target_1", numbers(3, &[3, 1])),
    ]
    .into_iter()
    .collect();
    all.push(("two_outputs", saved, given));
    all
}

fn part(path: &Path, name: &str) -> Json {
    let mut zip = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut text = String::new();
    zip.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_was_read_is_written_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    each(|path| {
        let (model, golden) = (load(path), golden(path));
        let name = path.file_name().unwrap().display().to_string().replace('.', "_");
        let again = dir.path().join(format!("{name}.keras"));
        let optimizer = model.training.as_ref().map(|t| &t.optimizer);
        save_keras(&again, &model.saved, optimizer).unwrap_or_else(|e| panic!("{e}"));
        let read = load(&again);
        assert_eq!(read.training.map(|t| t.optimizer), model.training.map(|t| t.optimizer));
        if golden.get("losses").is_some() {
            assert_eq!(read.saved.outputs, model.saved.outputs);
        }
        for (got, want) in predict(&read.saved, &golden).iter().zip(predict(&model.saved, &golden)) {
            assert_close(&name, &got.to_f64s(), &want.to_f64s(), 1e-6, 1e-6);
        }
    });
}

#[test]
fn scaling_labels_and_compile_settings_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for (name, saved, given) in models() {
        let path = dir.path().join(format!("{name}.keras"));
        let left_out = save_keras(&path, &saved, Some(&Optimizer::adam(0.01))).unwrap();
        assert_eq!(left_out, [""; 0]);
        let read = load(&path);
        assert_eq!(read.saved.labels, saved.labels);
        assert_eq!(read.saved.outputs, saved.outputs);
        assert_eq!(read.training.unwrap().optimizer, Optimizer::adam(0.01));
        for (got, want) in predict(&read.saved, &given).iter().zip(predict(&saved, &given)) {
            assert_close(name, &got.to_f64s(), &want.to_f64s(), 1e-5, 1e-6);
        }
    }
    let config = part(&dir.path().join("picture.keras"), "config.json");
    let classes: Vec<_> = config["config"]["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["class_name"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["InputLayer", "Rescaling", "Conv2D", "LeakyReLU", "Flatten", "Dense"]);
    assert_eq!(config["config"]["layers"][0]["config"]["dtype"], "uint8");
    assert_eq!(config["config"]["layers"][5]["config"]["activation"], "softmax");
    assert_eq!(config["compile_config"]["loss"]["config"]["from_logits"], false);
    let config = part(&dir.path().join("two_outputs.keras"), "config.json");
    assert_eq!(
        config["config"]["output_layers"],
        json!({"kind": ["kind_softmax", 0, 0], "price": ["price", 0, 0]})
    );
    assert_eq!(config["compile_config"]["loss_weights"], json!({"kind": 1.0, "price": 0.5}));
    let one = &config["config"]["layers"][2];
    assert_eq!((one["name"].as_str(), one["inbound_nodes"].as_array().map(Vec::len)), (Some("one"), Some(2)));
}

#[test]
fn layers_that_keras_does_not_have_are_refused_by_name() {
    let model = Sequential::new([6, 4])
        .add(PositionEmbedding::new(6))
        .add(TransformerEncoder::new(8, 2))
        .add(GlobalAveragePooling1D {})
        .add(Dense::new(1).activation(Activation::Gelu { approximate: true }))
        .build()
        .unwrap();
    let task = Task::new(model, Loss::MeanSquaredError);
    let saved = SavedModel::new(&task, &task.model.init_state(1).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.keras");
    let error = save_keras(&path, &saved, None).unwrap_err().to_string();
    for name in
        ["\"position_embedding\"", "\"transformer_encoder\"", "\"dense\" (Dense): Keras has gelu by tanh"]
    {
        assert!(error.contains(name), "{error}");
    }
    assert!(!path.exists() && load_keras(&path).is_err());
}
