//! Losses and metrics against Keras.

use std::collections::HashMap;

use brisk_graph::{Builder, Role, Tensor, grad};
use brisk_nn::{Loss, Metric};
use brisk_testkit::{Golden, assert_close, goldens};
use serde_json::json;

use crate::run::RUNNERS;

/// `SparseCategoricalCrossentropy` as `sparse_categorical_crossentropy`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

fn loss(case: &Golden) -> Loss {
    let mut config = case.about["config"].as_object().expect("arguments").clone();
    assert_ne!(config.remove("from_logits"), Some(json!(false)));
    if let Some(weights) = case.find("class_weight") {
        config.insert("class_weights".into(), json!(weights.to_f64s()));
    }
    let name = snake(case.text("loss"));
    let config = if config.is_empty() { json!(name) } else { json!({ name: config }) };
    serde_json::from_value(config.clone()).unwrap_or_else(|e| panic!("{config}: {e}"))
}

#[test]
fn every_loss_agrees_with_keras() {
    for case in goldens("losses") {
        let b = Builder::new();
        let [p, y] = ["y_pred", "y_true"].map(|role| {
            let t = case.tensor(role);
            b.input(role, Role::Batch, t.shape(), t.dtype())
        });
        let loss = loss(&case).mean(p, y).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let gradient = grad(loss, &[p]).expect("a gradient")[0];
        let graph = b.finish(&[("loss", loss), ("grad_y_pred", gradient)], &[]).expect("a graph");
        let given = ["y_pred", "y_true"].map(|r| (r.to_string(), case.tensor(r).clone()));
        for (runner, run, rtol, atol) in RUNNERS {
            let results = run(&graph, &HashMap::from(given.clone()));
            for role in ["loss", "grad_y_pred"] {
                let name = format!("{} {role} by {runner}", case.name);
                assert_close(&name, &results[role].to_f64s(), &case.tensor(role).to_f64s(), rtol, atol);
            }
        }
    }
}

fn metric(metric: &Metric, loss: &Loss, p: Tensor, y: Tensor) -> f64 {
    let b = Builder::new();
    let pv = b.input("p", Role::Batch, p.shape(), p.dtype());
    let yv = b.input("y", Role::Batch, y.shape(), y.dtype());
    let sum = metric.sum(loss, pv, yv).expect("fits");
    let graph = b.finish(&[("sum", sum)], &[]).expect("a graph");
    let given = HashMap::from([("p".to_string(), p), ("y".to_string(), y)]);
    let [reference, cpu] = RUNNERS.map(|r| r.1(&graph, &given)["sum"].item().expect("a scalar"));
    assert_eq!(reference, cpu);
    cpu
}

#[test]
fn metrics_count_hits() {
    let p = Tensor::new([3, 3], vec![0.1f32, 0.7, 0.2, 0.5, 0.3, 0.4, 0.0, 1.0, 2.0]).expect("nine");
    let y = Tensor::new([3], vec![1, 2, 0]).expect("three");
    let loss = Loss::sparse_categorical_crossentropy();
    assert_eq!(metric(&Metric::Accuracy, &loss, p.clone(), y.clone()), 1.0);
    assert_eq!(metric(&Metric::TopKAccuracy { k: 2 }, &loss, p.clone(), y), 2.0);
    let soft = Tensor::new([3, 3], vec![0.0f32, 0.6, 0.4, 1.0, 0.0, 0.0, 0.1, 0.2, 0.7]).expect("nine");
    assert_eq!(metric(&Metric::Accuracy, &loss.soft(), p, soft), 3.0);
    let p = Tensor::new([4, 1], vec![-1.0f32, 2.0, 3.0, -4.0]).expect("four");
    let y = Tensor::new([4], vec![0, 1, 0, 0]).expect("four");
    assert_eq!(metric(&Metric::Accuracy, &Loss::binary_crossentropy(), p.clone(), y), 3.0);
    let y = Tensor::new([4, 1], vec![0.0f32, 2.0, 0.0, 0.0]).expect("four");
    assert_eq!(metric(&Metric::MeanAbsoluteError, &Loss::MeanSquaredError, p, y), 8.0);
}
