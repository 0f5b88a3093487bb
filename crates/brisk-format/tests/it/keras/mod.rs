//! Models of Keras.

mod export;
mod hostile;
mod import;
mod outside;
mod second;

use std::path::{Path, PathBuf};

use brisk_format::{KerasModel, SavedModel, load_keras, load_tensors};
use brisk_graph::{DType, Graph, Tensor};
use brisk_nn::Optimizer;
use brisk_runtime::{Cpu, Device, Options, State};

/// The files that Keras wrote.
fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens/keras_models")
}

/// Every file of models.
fn files() -> Vec<PathBuf> {
    let all = std::fs::read_dir(goldens()).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> =
        all.filter(|p| p.extension().is_some_and(|e| e == "keras" || e == "h5")).collect();
    files.sort();
    assert!(files.len() >= 24, "only {} files", files.len());
    files
}

/// Checks every file, and names all that fail.
fn each(check: impl Fn(&Path) + std::panic::RefUnwindSafe) {
    let files = files();
    let failed: Vec<_> =
        files.iter().filter(|path| std::panic::catch_unwind(|| check(path)).is_err()).collect();
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

fn load(path: &Path) -> KerasModel {
    load_keras(path).unwrap_or_else(|e| panic!("{e}"))
}

/// What Keras makes of the model of a file.
fn golden(path: &Path) -> State {
    load_tensors(&path.with_extension("safetensors")).unwrap()
}

fn tensor<'a>(golden: &'a State, role: &str) -> &'a Tensor {
    golden.get(role).unwrap_or_else(|| panic!("no {role}"))
}

/// The batch of a golden, by Brisk's names.
fn batch(saved: &SavedModel, golden: &State, targets: bool) -> Vec<(String, Tensor)> {
    let mut batch = Vec::new();
    for (i, input) in saved.model.inputs().iter().enumerate() {
        batch.push((input.tensor().to_string(), tensor(golden, &format!("input_{i}")).clone()));
    }
    for (i, output) in saved.outputs.iter().enumerate().filter(|_| targets) {
        batch.push((output.name.clone(), tensor(golden, &format!("target_{i}")).clone()));
    }
    batch
}

/// Runs a graph once: its outputs; the state becomes the next one.
fn run(graph: &Graph, given: &[(String, Tensor)], state: &mut State) -> Vec<Tensor> {
    let mut program = Cpu::new(2).compile(graph, &Options::default()).unwrap();
    let given: Vec<(&str, &Tensor)> = given.iter().map(|(n, t)| (n.as_str(), t)).collect();
    program.run(&given, state).unwrap()
}

/// What a model says of the inputs of a golden.
fn predict(saved: &SavedModel, golden: &State) -> Vec<Tensor> {
    let batch = batch(saved, golden, false);
    let graph = saved.task().predict_graph(&batch[..]).unwrap();
    run(&graph, &batch, &mut saved.state.clone())
}

/// Takes a step, and gives the loss before it.
fn step(saved: &SavedModel, optimizer: &Optimizer, t: u64, golden: &State, state: &mut State) -> f64 {
    let mut given = batch(saved, golden, true);
    let graph = saved.task().train_graph(optimizer, &given[..]).unwrap();
    let scalars = optimizer.scalars(optimizer.learning_rate(), t);
    given.extend(scalars.into_iter().map(|(n, t)| (n.to_string(), t)));
    given.push(("key".into(), Tensor::new([2], vec![1, 2]).unwrap()));
    let loss = &run(&graph, &given, state)[0];
    assert_eq!(loss.dtype(), DType::F32);
    loss.item().unwrap()
}
