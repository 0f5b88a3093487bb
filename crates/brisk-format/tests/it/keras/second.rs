//! Files as Keras 2 writes them, made here: nodes are lists, axes are counted, names of weights end with `:0`.

use std::path::Path;

use brisk_format::load_keras;
use brisk_graph::Tensor;
use brisk_nn::{Loss, Metric, Optimizer};
use brisk_runtime::State;
use brisk_testkit::assert_close;
use hdf5_pure::{AttrValue, FileBuilder};
use serde_json::{Value as Json, json};

use super::predict;

/// A weight: its name, shape and numbers.
type Weight = (&'static str, &'static [u64], &'static [f32]);
/// A layer and its weights.
type Layer = (&'static str, &'static [Weight]);

/// Writes a whole-model `.h5` file: by layer its weights.
fn write(path: &Path, config: &Json, training: &Json, layers: &[Layer]) {
    let mut file = FileBuilder::new();
    file.set_attr("model_config", AttrValue::VarLenString(config.to_string()));
    file.set_attr("training_config", AttrValue::VarLenString(training.to_string()));
    file.set_attr("keras_version", AttrValue::String("2.15.0".into()));
    let mut weights = file.create_group("model_weights");
    weights.set_attr("layer_names", AttrValue::AsciiStringArray(layers.iter().map(|l| l.0.into()).collect()));
    for (layer, own) in layers {
        let mut group = weights.create_group(layer);
        if !own.is_empty() {
            let names = own.iter().map(|(name, ..)| format!("{layer}/{name}:0")).collect();
            group.set_attr("weight_names", AttrValue::AsciiStringArray(names));
        }
        let mut inner = group.create_group(layer);
        for (name, shape, values) in *own {
            inner.create_dataset(&format!("{name}:0")).with_f32_data(values).with_shape(shape);
        }
        let inner = inner.finish();
        group.add_group(inner);
        let group = group.finish();
        weights.add_group(group);
    }
    let weights = weights.finish();
    file.add_group(weights);
    file.write(path).unwrap();
}

fn functional(axis: u64) -> Json {
    let input = json!({"class_name": "InputLayer", "name": "input_1", "inbound_nodes": [],
        "config": {"batch_input_shape": [null, 2], "dtype": "float32", "sparse": false, "ragged": false, "name": "input_1"}});
    let initializer = json!({"class_name": "GlorotUniform", "config": {"seed": null}});
    let dense = json!({"class_name": "Dense", "name": "twice", "inbound_nodes": [[["input_1", 0, 0, {}]], [["twice", 0, 0, {}]]],
        "config": {"name": "twice", "trainable": true, "dtype": "float32", "units": 2, "activation": "relu", "use_bias": true,
            "kernel_initializer": initializer, "bias_initializer": {"class_name": "Zeros", "config": {}}, "kernel_regularizer":
            {"class_name": "L2", "config": {"l2": 0.01}}, "bias_regularizer": null, "activity_regularizer": null,
            "kernel_constraint": null, "bias_constraint": null}});
    let norm = json!({"class_name": "BatchNormalization", "name": "norm", "inbound_nodes": [[["twice", 1, 0, {}]]],
        "config": {"name": "norm", "axis": [axis], "momentum": 0.9, "epsilon": 0.0001, "center": true, "scale": false}});
    let add = json!({"class_name": "Add", "name": "add", "config": {"name": "add"},
        "inbound_nodes": [[["norm", 0, 0, {}], ["twice", 0, 0, {}]]]});
    let end = json!({"class_name": "Activation", "name": "end", "config": {"name": "end", "activation": "sigmoid"},
        "inbound_nodes": [[["add", 0, 0, {}]]]});
    json!({"class_name": "Functional", "config": {"name": "model", "layers": [input, dense, norm, add, end],
        "input_layers": [["input_1", 0, 0]], "output_layers": [["end", 0, 0]]}})
}

const WEIGHTS: &[Layer] = &[
    ("twice", &[("kernel", &[2, 2], &[1.0, -0.5, 0.25, 2.0]), ("bias", &[2], &[0.5, 0.1])]),
    (
        "norm",
        &[
            ("beta", &[2], &[0.3, -0.2]),
            ("moving_mean", &[2], &[1.0, 2.0]),
            ("moving_variance", &[2], &[0.25, 4.0]),
        ],
    ),
    ("add", &[]),
    ("end", &[]),
];

#[test]
fn keras_2_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("second.h5");
    let training = json!({"loss": {"class_name": "BinaryCrossentropy", "config": {"from_logits": false}}, "metrics": [["accuracy"]],
        "loss_weights": null, "optimizer_config": {"class_name": "RMSprop", "config": {"name": "RMSprop", "learning_rate": 0.02, "rho": 0.8}}});
    write(&path, &functional(1), &training, WEIGHTS);
    let model = load_keras(&path).unwrap_or_else(|e| panic!("{e}"));
    let (x, batch) = ([0.4f64, -1.5], [0.4f32, -1.5]);
    let dense =
        |x: [f64; 2]| [(x[0] + 0.25 * x[1] + 0.5).max(0.0), (-0.5 * x[0] + 2.0 * x[1] + 0.1).max(0.0)];
    let (once, twice) = (dense(x), dense(dense(x)));
    let norm = [(twice[0] - 1.0) / 0.2501f64.sqrt() + 0.3, (twice[1] - 2.0) / 4.0001f64.sqrt() - 0.2];
    let want = [0, 1].map(|i| 1.0 / (1.0 + (-norm[i] - once[i]).exp()));
    let given: State = [("input_0", Tensor::new([1, 2], batch.to_vec()).unwrap())].into_iter().collect();
    assert_close("prediction", &predict(&model.saved, &given)[0].to_f64s(), &want, 1e-5, 1e-6);
    let output = &model.saved.outputs[0];
    assert_eq!((&output.loss, &output.metrics[..]), (&Loss::binary_crossentropy(), &[Metric::Accuracy][..]));
    assert!(
        matches!(model.training.unwrap().optimizer, Optimizer::RmsProp(o) if o.learning_rate == 0.02 && o.rho == 0.8)
    );
    assert!(
        model.report.ignored.iter().any(|i| i == "layer \"twice\": kernel_regularizer L2"),
        "{}",
        model.report
    );
}

#[test]
fn what_keras_2_means_otherwise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("second.h5");
    write(&path, &functional(2), &Json::Null, WEIGHTS);
    let error = load_keras(&path).unwrap_err().to_string();
    assert!(error.contains("expected normalizations along the last axis, found norm (axis 2)"), "{error}");
    let mut config = functional(1);
    config["config"]["layers"][4]["config"]["activation"] = json!("hard_sigmoid");
    write(&path, &config, &Json::Null, WEIGHTS);
    let error = load_keras(&path).unwrap_err().to_string();
    assert!(error.contains("hard_sigmoid of Keras 2 is not that of Keras 3"), "{error}");
    write(&path, &functional(1), &Json::Null, &WEIGHTS[..1]);
    let error = load_keras(&path).unwrap_err().to_string();
    assert!(
        error.contains("expected 3 weights of the layer \"norm\" (BatchNormalization), found 0"),
        "{error}"
    );
    let mut weights = WEIGHTS.to_vec();
    weights[0] = ("twice", &[("kernel", &[2, 2], &[0.0; 4]), ("bias", &[3], &[0.0; 3])]);
    write(&path, &functional(1), &Json::Null, &weights);
    let error = load_keras(&path).unwrap_err().to_string();
    assert!(error.contains("\"twice.bias\" should be f32 [2], found f32 [3]"), "{error}");
}
