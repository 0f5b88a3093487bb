//! Every layer against PyTorch: forward and gradients, by the interpreter and by the CPU.

use std::collections::{BTreeSet, HashMap};

use brisk_graph::{Builder, DType, Role, Tensor, Value, grad};
use brisk_nn::{Context, LayerConfig, LayerSpec};
use brisk_testkit::{Golden, assert_close, goldens};
use serde_json::{Value as Json, json};

use crate::run::RUNNERS;

/// The layer of a case. Activations carry their own argument beside their name.
pub fn layer(kind: &str, config: &Json) -> LayerConfig {
    let mut config = config.clone();
    if kind == "Activation" {
        let mut own = config.as_object().expect("arguments").clone();
        let name = own.remove("activation").expect("a name");
        config = json!({"activation": if own.is_empty() { name } else { json!({name.as_str().expect("text"): own}) }});
    }
    let text = json!({ kind: config }).to_string();
    let spec: LayerSpec = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    spec.layer
}

fn check_layer(case: &Golden) {
    let layer = layer(case.text("layer"), &case.about["config"]);
    let b = Builder::new();
    let inputs: Vec<(String, Value<'_>)> = case
        .tensors()
        .filter(|(role, _)| *role == "input" || role.starts_with("input_"))
        .map(|(role, t)| (role.to_string(), b.input(role, Role::Batch, t.shape(), t.dtype())))
        .collect();
    let key = b.input("key", Role::Scalar, [2], DType::I32);
    let mut cx = match case.about["training"] == json!(false) {
        true => Context::new(&b),
        false => Context::training(&b, key),
    };
    let values: Vec<_> = inputs.iter().map(|i| i.1).collect();
    for (role, value) in ["mask", "mask_1"].iter().zip(&values) {
        if let Some((_, mask)) = case.tensors().find(|t| t.0 == *role) {
            let mask = b.input(role, Role::Batch, mask.shape(), mask.dtype());
            cx.set_mask(*value, b.fill_as(0.0, mask.shape(), mask.dtype()).less(mask));
        }
    }
    let y = cx.layer("layer", layer.as_layer(), &values).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let cotangent = b.input("cotangent", Role::Batch, y.shape(), DType::F32);
    let mut by: Vec<_> = inputs.iter().filter(|i| i.1.dtype().is_float()).cloned().collect();
    by.extend(cx.trainable().map(|(name, v)| (name.to_string(), v)));
    let gradients =
        grad((y * cotangent).sum_all(), &by.iter().map(|b| b.1).collect::<Vec<_>>()).expect("gradients");
    let role = |name: &str| name.trim_start_matches("layer.").to_string();
    let names: Vec<String> = by.iter().map(|b| format!("grad_{}", role(&b.0))).collect();
    let mut outputs = vec![("output", y)];
    outputs.extend(names.iter().map(String::as_str).zip(gradients));
    let graph = b.finish(&outputs, cx.updates()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let mut given: HashMap<String, Tensor> = HashMap::new();
    given.insert("key".into(), Tensor::new([2], vec![1, 2]).expect("a key"));
    for input in &graph.inputs {
        if input.name != "key" {
            given.insert(input.name.clone(), case.tensor(&role(&input.name)).clone());
        }
    }
    for (runner, run, rtol, atol) in RUNNERS {
        let results = run(&graph, &given);
        let mut seen = BTreeSet::new();
        for (name, got) in results {
            let name = match name.strip_prefix("layer.") {
                Some(state) => format!("{state}_after"),
                None => name,
            };
            let want = case.tensor(&name);
            assert_eq!(got.shape(), want.shape(), "{} {name} by {runner}", case.name);
            assert_close(
                &format!("{} {name} by {runner}", case.name),
                &got.to_f64s(),
                &want.to_f64s(),
                rtol,
                atol,
            );
            seen.insert(name);
        }
        let checked = |role: &str| role == "output" || role.starts_with("grad_") || role.ends_with("_after");
        let wanted: BTreeSet<String> =
            case.tensors().map(|t| t.0.to_string()).filter(|r| checked(r)).collect();
        assert_eq!(seen, wanted, "{} by {runner}", case.name);
    }
}

#[test]
fn every_layer_agrees_with_pytorch() {
    let mut seen = BTreeSet::new();
    for case in goldens("layers") {
        check_layer(&case);
        seen.insert(case.text("layer").to_string());
    }
    let kinds = LayerConfig::KINDS.iter().map(|k| k.to_string());
    let missing: Vec<_> = kinds.filter(|k| !seen.contains(k)).collect();
    assert_eq!(
        missing,
        [
            "Dropout",
            "AttentionPooling",
            "MaskedLanguageHead",
            "SequencePooling",
            "TextEncoder",
            "Onnx",
            "OnnxOutput",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "GaussianNoise",
            "GaussianDropout",
        ],
        "layers without a golden"
    );
}

#[test]
fn dropout_drops_its_share_and_keeps_the_sum() {
    let layer = layer("Dropout", &json!({"rate": 0.25}));
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [100, 100], DType::F32);
    let key = b.input("key", Role::Scalar, [2], DType::I32);
    let y = Context::training(&b, key).layer("dropout", layer.as_layer(), &[x]).expect("fits");
    let same = Context::new(&b).layer("dropout", layer.as_layer(), &[x]).expect("fits");
    assert_eq!(same.id(), x.id(), "in inference nothing happens");
    let graph = b.finish(&[("y", y)], &[]).expect("a graph");
    let given = HashMap::from([
        ("x".to_string(), Tensor::new([100, 100], vec![1.0f32; 10_000]).expect("ones")),
        ("key".to_string(), Tensor::new([2], vec![3, 4]).expect("a key")),
    ]);
    for (runner, run, ..) in RUNNERS {
        let y = run(&graph, &given)["y"].to_f64s();
        let dropped = y.iter().filter(|v| **v == 0.0).count();
        assert!((2_300..2_700).contains(&dropped), "{runner} drops {dropped} of 10,000");
        assert!(
            y.iter().all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6),
            "{runner} scales the others by 4/3"
        );
    }
}

/// What a layer makes of ones in training, by each runner.
fn of_ones(kind: &str, config: &Json, shape: &[usize]) -> Vec<Vec<f64>> {
    let layer = layer(kind, config);
    let b = Builder::new();
    let x = b.input("x", Role::Batch, shape, DType::F32);
    let key = b.input("key", Role::Scalar, [2], DType::I32);
    let y = Context::training(&b, key).layer("layer", layer.as_layer(), &[x]).expect("fits");
    let same = Context::new(&b).layer("layer", layer.as_layer(), &[x]).expect("fits");
    assert_eq!(same.id(), x.id(), "in inference nothing happens");
    let graph = b.finish(&[("y", y)], &[]).expect("a graph");
    let ones = vec![1.0f32; shape.iter().product()];
    let given = HashMap::from([
        ("x".to_string(), Tensor::new(shape, ones).expect("ones")),
        ("key".to_string(), Tensor::new([2], vec![3, 4]).expect("a key")),
    ]);
    RUNNERS.iter().map(|(_, run, ..)| run(&graph, &given)["y"].to_f64s()).collect()
}

#[test]
fn spatial_dropout_drops_whole_channels_of_samples() {
    for (kind, shape) in [("SpatialDropout1D", &[40, 6, 50][..]), ("SpatialDropout2D", &[40, 2, 3, 50])] {
        for y in of_ones(kind, &json!({"rate": 0.25}), shape) {
            let mut dropped = 0;
            for sample in y.chunks(6 * 50) {
                let first = &sample[..50];
                assert!(
                    sample.chunks(50).all(|place| place == first),
                    "{kind}: all places lose the same channels"
                );
                assert!(
                    first.iter().all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6),
                    "{kind} scales the others"
                );
                dropped += first.iter().filter(|v| **v == 0.0).count();
            }
            assert!((400..600).contains(&dropped), "{kind} drops {dropped} of 2,000 channels");
            assert!(y[..50] != y[300..350], "{kind}: samples lose different channels");
        }
    }
}

#[test]
fn gaussian_noise_has_its_mean_and_deviation() {
    for (kind, config) in
        [("GaussianNoise", json!({"stddev": 0.5})), ("GaussianDropout", json!({"rate": 0.2}))]
    {
        for y in of_ones(kind, &config, &[100, 100]) {
            let mean = y.iter().sum::<f64>() / y.len() as f64;
            let deviation = (y.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / y.len() as f64).sqrt();
            assert!((mean - 1.0).abs() < 0.02, "{kind}: mean {mean}");
            assert!((deviation - 0.5).abs() < 0.02, "{kind}: deviation {deviation}");
            assert!(
                y.iter().any(|v| *v > 2.2) && y.iter().any(|v| *v < -0.2),
                "{kind} has the tails of a normal"
            );
        }
    }
}
