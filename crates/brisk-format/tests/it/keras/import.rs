//! What is read computes what Keras computes, and learns as it does.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use brisk_graph::{Builder, Tensor, op};
use brisk_nn::Optimizer;
use brisk_runtime::State;
use brisk_testkit::assert_close;

use super::{each, golden, load, predict, run, step, tensor};

fn softmax(logits: &Tensor) -> Tensor {
    let b = Builder::new();
    let y = op::softmax(b.constant(logits.clone()));
    run(&b.finish(&[("y", y)], &[]).unwrap(), &[], &mut State::new()).remove(0)
}

#[test]
fn predictions_are_those_of_keras() {
    each(|path| {
        let (model, golden) = (load(path), golden(path));
        let says = predict(&model.saved, &golden);
        for (i, says) in says.iter().enumerate() {
            let want = tensor(&golden, &format!("output_{i}"));
            // Compiled for logits: Brisk gives their probabilities.
            let logits = !model.report.logits.is_empty();
            let want = if logits { softmax(want) } else { want.clone() };
            let name = format!("{} output {i}", path.display());
            assert_eq!(says.shape(), want.shape(), "{name}");
            assert_close(&name, &says.to_f64s(), &want.to_f64s(), 1e-5, 1e-5);
        }
    });
}

#[test]
fn gradients_are_those_of_keras() {
    let checked = AtomicUsize::new(0);
    each(|path| {
        let (model, golden) = (load(path), golden(path));
        if golden.get("losses").is_none() {
            return;
        }
        // A step of gradient descent at the rate 1 goes by the gradient.
        let mut state = model.saved.state.clone();
        step(&model.saved, &Optimizer::sgd(1.0), 1, &golden, &mut state);
        let trained = model.saved.model.param_specs().unwrap().into_iter().filter(|p| p.trainable);
        let mut names: Vec<String> = trained.map(|p| p.name).collect();
        for name in &names {
            let want = tensor(&golden, &format!("grad/{name}"));
            let (before, after) = (tensor(&model.saved.state, name), tensor(&state, name));
            let got: Vec<f64> = before.to_f64s().iter().zip(after.to_f64s()).map(|(b, a)| b - a).collect();
            assert_close(&format!("{} {name}", path.display()), &got, &want.to_f64s(), 1e-4, 1e-5);
            checked.fetch_add(1, Relaxed);
        }
        let mut wanted: Vec<String> =
            golden.iter().filter_map(|(n, _)| n.strip_prefix("grad/").map(String::from)).collect();
        names.sort();
        wanted.sort();
        assert_eq!(names, wanted, "{}", path.display());
    });
    let checked = checked.into_inner();
    assert!(checked > 150, "only {checked} gradients");
}

#[test]
fn training_goes_on_as_in_keras() {
    let (checked, with_slots) = (AtomicUsize::new(0), AtomicUsize::new(0));
    each(|path| {
        let (model, golden) = (load(path), golden(path));
        let Some(losses) = golden.get("losses") else { return };
        let training = model.training.as_ref().unwrap_or_else(|| panic!("{}: no optimizer", path.display()));
        let mut state = model.saved.state.clone();
        with_slots.fetch_add(training.slots.iter().count().min(1), Relaxed);
        for (name, slot) in training.slots.iter() {
            state.insert(name, slot.clone());
        }
        let specs = model.saved.task().param_specs().unwrap();
        training.optimizer.init_state(&specs, &mut state);
        let took: Vec<f64> = (1..=5)
            .map(|t| step(&model.saved, &training.optimizer, training.steps + t, &golden, &mut state))
            .collect();
        assert_close(&format!("losses of {}", path.display()), &took, &losses.to_f64s(), 1e-4, 1e-5);
        checked.fetch_add(1, Relaxed);
    });
    let (checked, with_slots) = (checked.into_inner(), with_slots.into_inner());
    assert!(checked > 20, "only {checked} models");
    assert!(with_slots >= 2, "only {with_slots} models with what their optimizer remembers");
}
