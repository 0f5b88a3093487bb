//! Checks with Keras itself, run by hand:
//! `BRISK_KERAS_OUTPUT=FOLDER cargo nextest run -p brisk-format --run-ignored only keras::outside`, and then
//! `python crates/brisk-testkit/goldens/check_keras.py FOLDER`.

use std::path::Path;

use brisk_format::{SavedModel, load_keras, save_keras, save_tensors};
use brisk_graph::Tensor;
use brisk_nn::Optimizer;
use brisk_runtime::State;

use super::export::models;
use super::{batch, files, golden, load, predict, run};

/// Writes a model with what Brisk makes of a batch.
fn write(folder: &Path, name: &str, saved: &SavedModel, optimizer: &Optimizer, given: &State) {
    let path = folder.join(format!("{name}.keras"));
    let left_out = save_keras(&path, saved, Some(optimizer)).unwrap_or_else(|e| panic!("{e}"));
    println!("{name}: left out {left_out:?}");
    let mut golden: State = given
        .iter()
        .filter(|(n, _)| n.starts_with("input_") || n.starts_with("target_"))
        .map(|(n, t)| (n.to_string(), t.clone()))
        .collect();
    for (i, said) in predict(saved, given).into_iter().enumerate() {
        golden.insert(format!("output_{i}"), said);
    }
    if golden.get("target_0").is_some() {
        let batch = batch(saved, given, true);
        let graph = saved.task().eval_graph(&batch[..]).unwrap();
        let loss: Tensor = run(&graph, &batch, &mut saved.state.clone()).remove(0);
        golden.insert("loss".to_string(), loss);
    }
    save_tensors(&path.with_extension("safetensors"), &golden).unwrap();
}

/// Writes every golden again, and models of Brisk's own, into `BRISK_KERAS_OUTPUT`, for `goldens/check_keras.py` to compare.
#[test]
#[ignore = "writes files into BRISK_KERAS_OUTPUT"]
fn models_are_written_for_keras() {
    let folder = std::env::var_os("BRISK_KERAS_OUTPUT").expect("BRISK_KERAS_OUTPUT is not set");
    let folder = Path::new(&folder);
    for path in files() {
        let name = format!("{}_again", path.file_name().unwrap().display()).replace('.', "_");
        let model = load(&path);
        let optimizer = model.training.map_or(Optimizer::sgd(0.1), |t| t.optimizer);
        write(folder, &name, &model.saved, &optimizer, &golden(&path));
    }
    for (name, saved, given) in models() {
        write(folder, name, &saved, &Optimizer::adam(0.01), &given);
    }
}

/// Reads each model in `BRISK_KERAS_FOLDER`, and compares what it says with the `NAME.safetensors` beside it, where there is one.
#[test]
#[ignore = "needs a folder in BRISK_KERAS_FOLDER"]
fn models_of_others_are_read() {
    let folder = std::env::var_os("BRISK_KERAS_FOLDER").expect("BRISK_KERAS_FOLDER is not set");
    let mut failed = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|e| e == "keras" || e == "h5") {
            continue;
        }
        let begin = std::time::Instant::now();
        let model = match load_keras(&path) {
            Ok(model) => model,
            Err(error) => {
                failed.push(error.to_string());
                continue;
            }
        };
        let layers = model.report.layers.len();
        println!("{}: {layers} layers in {:?}", path.display(), begin.elapsed());
        model.report.ignored.iter().for_each(|what| println!("  {what}"));
        if path.with_extension("safetensors").exists() {
            let golden = golden(&path);
            for (i, said) in predict(&model.saved, &golden).iter().enumerate() {
                let want = super::tensor(&golden, &format!("output_{i}")).to_f64s();
                let worst = said.to_f64s().iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                println!("  output {i}: worst difference {worst:.2e}");
                if worst.is_nan() || worst > 1e-4 {
                    failed.push(format!("{}: output {i} differs by {worst:.2e}", path.display()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
