//! Optimizers against Keras, and gradients gathered over several steps.

use std::collections::HashMap;

use brisk_graph::{Builder, DType, Role, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{Accumulation, ParamSpec};
use brisk_testkit::{assert_close, goldens};
use serde_json::json;

use crate::run::{RUNNERS, Results, interpreted};

/// Part `i` along the leading axis.
pub fn part(t: &Tensor, i: usize) -> Tensor {
    let shape = &t.shape()[1..];
    let each: usize = shape.iter().product();
    Tensor::from_f64s(DType::F32, shape, &t.to_f64s()[i * each..][..each]).expect("a part")
}

/// To f32, as state is kept.
pub fn f32(t: &Tensor) -> Tensor {
    Tensor::from_f64s(DType::F32, t.shape(), &t.to_f64s()).expect("as many elements")
}

#[test]
fn every_optimizer_agrees_with_keras() {
    for case in goldens("optimizers") {
        let name = case.text("optimizer").to_lowercase();
        let optimizer: Optimizer =
            serde_json::from_value(json!({ name: case.about["config"] })).expect("known");
        let b = Builder::new();
        let mut cx = Context::new(&b);
        let params = ["a", "b"].map(|n| {
            let value = cx.param(n, case.tensor(n).shape(), &Initializer::Zeros).expect("small");
            (n.to_string(), value)
        });
        let gradients =
            params.clone().map(|(n, v)| b.input(&format!("grad_{n}"), Role::Batch, v.shape(), DType::F32));
        optimizer.record(&mut cx, &params, &gradients).expect("sound");
        let specs: Vec<ParamSpec> = cx.params().iter().map(|p| p.0.clone()).collect();
        let graph = b.finish(&[], cx.updates()).expect("a graph");
        for (runner, run, rtol, atol) in RUNNERS {
            let mut given: HashMap<String, Tensor> =
                params.iter().map(|(n, _)| (n.clone(), case.tensor(n).clone())).collect();
            for slot in optimizer.slot_specs(&specs) {
                given.insert(slot.name, Tensor::zeros(DType::F32, slot.shape));
            }
            for step in 0..5 {
                for (n, _) in &params {
                    given.insert(format!("grad_{n}"), part(case.tensor(&format!("grad_{n}")), step));
                }
                let scalars = optimizer.scalars(optimizer.learning_rate(), step as u64 + 1);
                given.extend(scalars.into_iter().map(|(n, t)| (n.to_string(), t)));
                let results = run(&graph, &given);
                for (n, _) in &params {
                    let want = part(case.tensor(&format!("{n}_after")), step);
                    let name = format!("{} {n} after step {step} by {runner}", case.name);
                    assert_close(&name, &results[n].to_f64s(), &want.to_f64s(), rtol, atol);
                }
                given.extend(results.iter().map(|(n, t)| (n.clone(), f32(t))));
            }
        }
    }
}

#[test]
fn two_half_batches_together_are_one_batch() {
    let model = Sequential::new([3]).add(Dense::new(2)).build().expect("fits");
    let task = Task::new(model, Loss::sparse_categorical_crossentropy());
    let optimizer = Optimizer::adam(0.1);
    let mut state: HashMap<String, Tensor> = task
        .init_state(&optimizer, 5)
        .expect("fits")
        .iter()
        .map(|(n, t)| (n.to_string(), t.clone()))
        .collect();
    for spec in task.accumulator_specs().expect("sound") {
        state.insert(spec.name, Tensor::zeros(DType::F32, spec.shape));
    }
    state.insert("key".into(), Tensor::zeros(DType::I32, [2]));
    state.extend(optimizer.scalars(0.1, 1).into_iter().map(|(n, t)| (n.to_string(), t)));
    let x: Vec<f32> = (0..12).map(|i| i as f32 / 7.0 - 0.5).collect();
    let y = [0, 1, 1, 0];
    let step = |accumulation, rows: std::ops::Range<usize>, state: &HashMap<String, Tensor>| -> Results {
        let mut given = state.clone();
        let n = rows.len();
        given
            .insert("x".into(), Tensor::new([n, 3], x[rows.start * 3..rows.end * 3].to_vec()).expect("rows"));
        given.insert("y".into(), Tensor::new([n], y[rows].to_vec()).expect("labels"));
        interpreted(&task.train_graph_with(&optimizer, n, accumulation).expect("fits"), &given)
    };
    let whole = step(Accumulation::Off, 0..4, &state);
    let first = step(Accumulation::Add, 0..2, &state);
    assert!(!first.contains_key("dense.kernel"), "parameters stay");
    let mut between = state.clone();
    between.extend(first.iter().map(|(n, t)| (n.clone(), f32(t))));
    let second = step(Accumulation::Apply(2), 2..4, &between);
    for name in ["dense.kernel", "dense.bias", "optimizer/dense.kernel/v"] {
        assert_close(name, &second[name].to_f64s(), &whole[name].to_f64s(), 1e-5, 1e-6);
    }
    assert!(second["optimizer/dense.kernel/accumulated"].to_f64s().iter().all(|v| *v == 0.0));
}
