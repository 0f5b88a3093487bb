//! The way that most users go.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{CLASSES, Place, tiny};

#[test]
fn train_evaluate_predict_resume() {
    let place = Place::new();
    let done = place.train("runs/one", &[]);
    assert!(done.err.contains("idx: 48 training, 12 validation, 12 test images\n"), "{}", done.err);
    assert!(done.err.contains("8x8x1 to 3 classes in 5 layers"), "{}", done.err);
    assert!(
        done.out.contains("Test data (12 samples): loss ")
            && done.out.contains("brisk predict runs/one FILE...")
    );
    for file in ["config.yaml", "history.csv", "report.html", "evaluation.json", "checkpoints/last.ckpt"] {
        assert!(!place.read(&format!("runs/one/{file}")).is_empty());
    }

    let table = place.brisk(&["evaluate", "runs/one"]).good();
    assert!(table.out.contains("accuracy") && table.out.contains("middle"), "{}", table.out);
    let measured = place.brisk(&["evaluate", "runs/one/model", "--json"]).good().json();
    assert!(measured["loss"].as_f64().unwrap() > 0.0 && measured["accuracy"].as_f64().unwrap() <= 1.0);
    let written: serde_json::Value = serde_json::from_str(&place.text("runs/one/evaluation.json")).unwrap();
    assert_eq!(measured["loss"], written["loss"]);

    place.folders("pictures", 2);
    let said = place.brisk(&["predict", "runs/one", "pictures/left/0.png", "pictures/right"]).good();
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    let said = place.brisk(&["predict", "runs/one", "pictures/left", "--json", "--top", "2"]).good().json();
    assert_eq!(said[1]["probabilities"].as_array().unwrap().len(), 2);
    assert!(CLASSES.contains(&said[1]["label"].as_str().unwrap()));
    let folder = place.brisk(&["evaluate", "runs/one", "--data", "pictures", "--json"]).good().json();
    assert_eq!(folder["samples"], 6);

    let resumed =
        place.brisk(&["train", "--resume", "runs/one", "--set", "train.epochs=3", "--threads", "1"]).good();
    assert!(resumed.err.contains("going on after epoch 2"), "{}", resumed.err);
    assert_eq!(place.text("runs/one/history.csv").lines().count(), 4);
}

#[test]
fn without_a_terminal_there_are_plain_lines() {
    let place = Place::new();
    let done = place.train("run", &[]);
    assert!(!done.err.contains(['\r', '\x1b']) && !done.out.contains(['\r', '\x1b']), "{}", done.err);
    let epochs: Vec<&str> = done.err.lines().filter(|l| l.starts_with("Epoch ")).collect();
    assert_eq!(epochs.len(), 2, "{}", done.err);
    assert!(
        epochs[1].starts_with("Epoch 2/2 - 6/6 - ") && epochs[1].contains(" - val_loss: "),
        "{}",
        epochs[1]
    );
    let machine = place.train("run2", &["--json"]).json();
    assert_eq!((&machine["run"], &machine["epochs"]), (&"run2".into(), &2.into()));
}

#[test]
fn runs_are_named_after_their_projects_and_kept_apart() {
    let place = Place::new();
    place.brisk(&["train", "tiny.yaml", "--set", "train.epochs=1"]).good();
    place.brisk(&["train", "tiny.yaml", "--set", "train.epochs=1"]).good();
    assert!(place.at("runs/tiny/model").is_dir() && place.at("runs/tiny-2/model").is_dir());
    place.brisk(&["train", "tiny.yaml", "--out", "runs/tiny"]).fails(2, &["runs/tiny", "--resume"]);
}

#[test]
fn a_new_project_runs_as_it_is() {
    let place = Place::empty();
    place.folders("pictures", 4);
    let done = place.brisk(&["new", "mine", "--preset", "mlp", "--data", "pictures"]).good();
    assert!(done.out.contains("cd mine"), "{}", done.out);
    assert!(place.text("mine/brisk.yaml").contains("preset: mlp"));
    let sets = ["train.epochs=1", "data.test_split=0.25", "data.validation_split=0.3"];
    let mut train = place.command(&["train"]);
    train.args(sets.iter().flat_map(|set| ["--set", set]));
    assert!(train.current_dir(place.at("mine")).output().unwrap().status.success());
    assert!(place.at("mine/runs/mine/model").is_dir());
    place.brisk(&["new", "mine"]).fails(2, &["mine/brisk.yaml", "not overwritten"]);
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let place = Place::new();
    place.train("run", &["--set", "train.epochs=1"]);
    place.png("good.png", 0, 0);
    place.write("torn.png", &place.read("good.png")[..40]);
    let done = place.brisk(&["predict", "run", "torn.png", "good.png"]);
    let done = done.fails(2, &["torn.png: not a readable image"]);
    assert!(done.out.starts_with("good.png"), "{}", done.out);
    let done =
        place.brisk(&["predict", "run", "good.png", "missing.png", "--json"]).fails(2, &["missing.png"]);
    let said = done.json();
    assert!(said[0]["label"].is_string() && said[1]["error"].as_str().unwrap().contains("missing.png"));
    std::fs::create_dir(place.at("nothing")).unwrap();
    place.brisk(&["predict", "run", "nothing"]).fails(2, &["nothing: no images in this folder"]);
}

#[test]
fn threads_do_not_matter_to_the_bits() {
    let place = Place::new();
    let weights = |threads: &str| {
        let run = format!("run{threads}");
        place.train(&run, &["--threads", threads, "--seed", "7"]);
        place.read(&format!("{run}/model/model.safetensors"))
    };
    let one = weights("1");
    assert!(one == weights("2") && one == weights("4"));
    place.train("other", &["--seed", "8"]);
    assert!(one != place.read("other/model/model.safetensors"));
}

#[test]
#[cfg(unix)]
fn a_request_to_stop_is_followed_and_says_how_to_go_on() {
    let place = Place::new();
    place.write("tiny.yaml", tiny("idx", "").replace("epochs: 2", "epochs: 100000"));
    let child =
        place.command(&["train", "tiny.yaml", "--out", "run"]).stderr(Stdio::piped()).spawn().unwrap();
    while !place.at("run/checkpoints/last.ckpt").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("  brisk train --resume run\n"), "{err}");
    place.brisk(&["evaluate", "run"]).fails(2, &["run", "--resume"]);
    let resumed = place.brisk(&["train", "--resume", "run", "--set", "train.epochs=1"]).good();
    assert!(resumed.err.contains("going on"), "{}", resumed.err);
    place.brisk(&["evaluate", "run"]).good();
}
