//! Whole training steps against Keras, and ready-made models.

use std::collections::HashMap;

use brisk_graph::{DType, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{LayerSpec, Shapes, zoo};
use brisk_testkit::{Golden, assert_close, goldens};
use serde_json::json;

use crate::layers::layer;
use crate::optimizers::{f32, part};
use crate::run::RUNNERS;

fn task(case: &Golden) -> Task {
    let layers = case.about["layers"].as_array().expect("layers");
    let layers =
        layers.iter().map(|l| LayerSpec::new(layer(l[0].as_str().expect("a class"), &l[1]))).collect();
    let model = Model::from_layers(&case.tensor("input").shape()[1..], layers).expect("fits");
    Task::new(model, Loss::sparse_categorical_crossentropy())
}

#[test]
fn three_training_steps_agree_with_keras() {
    for case in goldens("models") {
        let task = task(&case);
        let name = case.text("optimizer").to_lowercase();
        let optimizer: Optimizer =
            serde_json::from_value(json!({ name: case.about["config"] })).expect("known");
        let batch = case.tensor("labels").elements();
        let graph = task.train_graph(&optimizer, batch).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        // `conv2d_1.kernel` is `2.kernel` there.
        let role = |name: &str| {
            let (layer, weight) = name.split_once('.').expect("a path");
            let number = task.model.layers().iter().position(|l| l.name == layer).expect("a layer");
            format!("{number}.{weight}")
        };
        let specs = task.model.param_specs().expect("sound");
        let start = task.init_state(&optimizer, 0).expect("fits");
        for (runner, run, rtol, atol) in RUNNERS {
            let mut given: HashMap<String, Tensor> =
                start.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
            given.insert("x".into(), case.tensor("input").clone());
            given.insert("y".into(), case.tensor("labels").clone());
            given.insert("key".into(), Tensor::new([2], vec![0, 0]).expect("a key"));
            given.extend(specs.iter().map(|s| (s.name.clone(), case.tensor(&role(&s.name)).clone())));
            for step in 0..3 {
                let scalars = optimizer.scalars(optimizer.learning_rate(), step as u64 + 1);
                given.extend(scalars.into_iter().map(|(n, t)| (n.to_string(), t)));
                let results = run(&graph, &given);
                let loss = part(case.tensor("loss"), step).to_f64s();
                let name = |what: &str| format!("{} {what} of step {step} by {runner}", case.name);
                assert_close(&name("loss"), &results["loss"].to_f64s(), &loss, rtol, atol);
                for spec in &specs {
                    let want = part(case.tensor(&format!("{}_after", role(&spec.name))), step);
                    // Adam divides by the size of the gradient: where that is rounding, so is the step.
                    let atol = if optimizer.name() == "adam" { 3e-5 } else { atol };
                    assert_close(
                        &name(&spec.name),
                        &results[&spec.name].to_f64s(),
                        &want.to_f64s(),
                        rtol,
                        atol,
                    );
                }
                given.extend(results.iter().map(|(n, t)| (n.clone(), f32(t))));
            }
        }
    }
}

#[test]
fn evaluation_and_prediction_say_the_same() {
    let model = zoo::cifar10_cnn([12, 12, 1], 4).expect("fits");
    let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
    task.outputs[0].metrics.push(Metric::TopKAccuracy { k: 4 });
    let mut given: HashMap<String, Tensor> =
        task.model.init_state(9).expect("fits").iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
    given.insert("x".into(), Initializer::HeUniform.tensor(1, "x", [3, 12, 12, 1]).expect("small"));
    let predict = task.predict_graph(3).expect("fits");
    for (runner, run, ..) in RUNNERS {
        let p = run(&predict, &given)["probabilities"].to_f64s();
        assert!(p.chunks(4).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-5), "{runner}: {p:?}");
        let best = |row: &[f64]| (0..4).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("four") as i32;
        let y: Vec<i32> = p.chunks(4).map(best).collect();
        given.insert("y".into(), Tensor::new([3], y).expect("three"));
        let results = run(&task.eval_graph(3).expect("fits"), &given);
        assert!((results["accuracy"].to_f64s()[0] - 1.0).abs() < 1e-6);
        assert!((results["top_4_accuracy"].to_f64s()[0] - 1.0).abs() < 1e-6);
        assert_close("probabilities", &results["probabilities"].to_f64s(), &p, 1e-6, 1e-6);
        given.remove("y");
    }
}

#[test]
fn every_preset_makes_its_graphs() {
    for preset in zoo::PRESETS {
        let model = (preset.build)(preset.input_shape.into(), 10).expect(preset.name);
        assert_eq!(model.output_shape().dims(), [10], "{}", preset.name);
        let task = Task::new(model, Loss::sparse_categorical_crossentropy());
        // Two samples, or one text of three tokens.
        let packed = zoo::is_text_encoder(preset.name);
        let ints = |name: &str, shape: &[usize]| (name.to_string(), Tensor::zeros(DType::I32, shape));
        let mut tensors: Vec<_> =
            ["ids", "positions", "types"].map(|n| ints(&format!("text.{n}"), &[3])).into();
        tensors.extend([ints("text.segments", &[1, 2]), ints("y", &[1])]);
        let shapes = if packed { Shapes::from(&tensors[..]) } else { Shapes::from(2) };
        let graph = task.train_graph(&Optimizer::adam(1e-3), shapes).expect(preset.name);
        graph.verify().expect(preset.name);
        assert!((preset.build)([1, 1, 1].into(), 10).is_ok() || preset.name != "mlp");
    }
}

#[test]
fn a_model_used_twice_shares_its_parameters() {
    use brisk_graph::{Builder, Role};
    let model = Sequential::new([4]).add(Dense::new(2)).build().expect("fits");
    let b = Builder::new();
    let [x, y] = ["real", "fake"].map(|n| b.input(n, Role::Batch, [3, 4], DType::F32));
    let mut cx = Context::new(&b);
    let real = model.forward(&mut cx, x).expect("fits");
    let fake = model.forward(&mut cx, y).expect("fits");
    assert_eq!(cx.params().len(), 2);
    let graph = b.finish(&[("real", real), ("fake", fake)], &[]).expect("a graph");
    assert_eq!(graph.inputs.len(), 4);
}
