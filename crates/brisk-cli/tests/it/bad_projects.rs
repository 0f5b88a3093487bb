//! Projects with faults: each message names the place and the remedy.

use crate::support::{Place, tiny};

/// Trains the tiny project after a change of its text.
#[track_caller]
fn fails(from: &str, to: &str, says: &[&str]) {
    let place = Place::new();
    let text = tiny("idx", "");
    assert!(text.contains(from), "{from}");
    place.write("tiny.yaml", text.replace(from, to));
    place.brisk(&["train", "tiny.yaml", "--out", "run"]).fails(2, says);
    assert!(!place.at("run").exists(), "a run was left behind");
}

#[test]
fn misspelt_keys_get_the_nearest() {
    fails("epochs: 2", "epoch: 2", &["tiny.yaml:9:", "did you mean `epochs`"]);
    fails("model:", "modle:", &["tiny.yaml:2:", "did you mean `model`"]);
    fails("kernel_size", "kernal_size", &["tiny.yaml:4:", "did you mean \"kernel_size\""]);
    fails("Conv2D:", "Conv2d:", &["tiny.yaml:4:", "Conv2D"]);
    fails("adam:", "adan:", &["tiny.yaml:9:", "adam"]);
}

#[test]
fn wrong_types_are_named_with_their_line() {
    fails(
        "epochs: 2",
        "epochs: many",
        &["tiny.yaml:9:", "train.epochs: ", "\"many\", expected a whole number"],
    );
    fails("units: 3", "units: [3]", &["tiny.yaml:8:"]);
    fails("epochs: 2", "epochs: 0", &["train.epochs", "at least 1"]);
    fails("model:", "model: [", &["tiny.yaml:"]);
}

#[test]
fn layers_that_do_not_fit_are_named() {
    fails("kernel_size: 3", "kernel_size: 9", &["conv2d", "9", "8"]);
    fails("    - Flatten\n", "", &["dense: expected a vector per sample", "put Flatten before it"]);
    fails("units: 3", "units: 4", &["dense", "3 classes", "Dense: {units: 3}"]);
}

#[test]
fn overrides_are_checked_as_the_file_is() {
    let place = Place::new();
    let train = |set: &str| place.brisk(&["train", "tiny.yaml", "--out", "run", "--set", set]);
    train("train.epoch=3").fails(2, &["--set train.epoch=3", "did you mean `epochs`?"]);
    train("train.epochs=x").fails(2, &["--set train.epochs=x", "train.epochs"]);
    train("train.epochs").fails(2, &["expected key=value"]);
    train("train.monitor=val_los").fails(2, &["val_los", "did you mean `val_loss`?"]);
}

#[test]
fn usage_is_explained() {
    let place = Place::new();
    place.brisk(&["trian"]).fails(2, &["'train'"]);
    place.brisk(&["train", "--sed", "3"]).fails(2, &["--seed"]);
    place.brisk(&["train", "--threads", "0"]).fails(2, &["--threads"]);
    place.brisk(&["train", "none.yaml"]).fails(2, &["none.yaml: there is no such file", "brisk new"]);
    place.brisk(&["train", "--resume", "idx"]).fails(2, &["idx: this is no run folder"]);
    place.brisk(&["evaluate", "idx"]).fails(2, &["idx: there is no "]);
    place.brisk(&["summary", "lenett"]).fails(2, &["lenet"]);
}

#[test]
fn a_loss_that_is_no_number_names_step_and_tensor() {
    let place = Place::new();
    let rate = "train.optimizer.adam.learning_rate=1e38";
    let done = place.brisk(&["train", "tiny.yaml", "--set", rate]);
    done.fails(1, &["epoch 1, step ", "first bad value", "lower learning_rate"]);
}
