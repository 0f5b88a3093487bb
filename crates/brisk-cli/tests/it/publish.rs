//! `brisk publish` and `brisk models`: through the gate into the repository, and what becomes of it there.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Place, tiny};

/// A trained run, whose project requires this.
fn trained(require: &str) -> Place {
    let place = Place::new();
    place.write("tiny.yaml", tiny("idx", "") + &format!("publish: {{require: {{{require}}}}}\n"));
    place.train("runs/one", &[]);
    place
}

/// Requires something else of the run that is there.
fn require(place: &Place, require: &str) {
    let config = place.text("runs/one/config.yaml");
    let config = config.split("publish:").next().unwrap().to_string();
    place.write("runs/one/config.yaml", config + &format!("publish: {{require: {{{require}}}}}\n"));
}

#[test]
fn a_run_goes_through_its_gate() {
    let place = trained("test_accuracy: \">= 0\", val_loss: \"< 1e9\"");
    let publish = ["publish", "runs/one", "--name", "bars", "--alias", "production", "--note", "好"];
    let said = place.brisk(&publish).good().out;
    assert!(said.starts_with("bars 1 -> models/bars/1\n"), "{said}");
    assert!(said.contains("as required: >= 0\n") && said.contains("production: nothing -> 1"), "{said}");
    let said = place.brisk(&[&publish[..], &["--json"]].concat()).good().json();
    assert_eq!(
        (&said["name"], &said["version"], &said["source"]),
        (&json!("bars"), &json!(2), &json!("one"))
    );
    assert_eq!(said["aliases"]["production"], json!({"from": 1, "to": 2}));
    assert_eq!(said["gate"][0]["metric"], "test_accuracy");

    // Measured on the test data, and in the epoch that the weights are of.
    let written: serde_json::Value = serde_json::from_str(&place.text("runs/one/evaluation.json")).unwrap();
    assert_eq!(said["metrics"]["test_accuracy"], written["accuracy"]);
    assert_eq!(said["metrics"]["test_macro_f1"], written["average"]["macro"]["f1"]);
    let metrics: serde_json::Value = serde_json::from_str(&place.text("runs/one/metrics.json")).unwrap();
    let history = place.text("runs/one/history.csv");
    let column = history.lines().next().unwrap().split(',').position(|c| c == "val_loss").unwrap();
    let epoch = history.lines().nth(metrics["epoch"].as_u64().unwrap() as usize).unwrap();
    let val_loss: f64 = epoch.split(',').nth(column).unwrap().parse().unwrap();
    assert_eq!(said["metrics"]["val_loss"], json!(val_loss));
    assert_eq!(metrics["values"], said["metrics"]);

    // What is published is the model.
    let ask = |model: &str| place.brisk(&["evaluate", model, "--data", "idx", "--json"]).good().json();
    assert_eq!(ask("runs/one/model"), ask("models/bars/2"));
    let said = place.brisk(&["models", "show", "bars", "production"]).good().out;
    for part in ["bars 2\n", "source    one", "note      好", "test_accuracy", "model.safetensors"] {
        assert!(said.contains(part), "{said}\ndoes not say {part:?}");
    }
}

#[test]
fn what_is_required_is_required() {
    let place = trained("test_accuracy: \"> 1\", val_loss: \"< 0\", test_acuracy: \">= 0\"");
    for what in ["runs/one", "runs/one/model"] {
        let publish = ["publish", what, "--name", "bars"];
        let accuracy = "test_accuracy: expected > 1, found 0.";
        let typo = "test_acuracy: expected >= 0, but it was not measured; did you mean `test_accuracy`?";
        let says =
            ["runs/one: not published", accuracy, "val_loss: expected < 0, found", typo, "config.yaml"];
        place.brisk(&publish).fails(2, &says);
    }
    assert!(!place.at("models").exists());

    // Metrics of another model do not count, and neither do none.
    require(&place, "test_accuracy: \">= 0\"");
    let publish = ["publish", "runs/one", "--name", "bars"];
    let metrics = place.text("runs/one/metrics.json");
    let model = metrics.split('"').nth(3).unwrap().to_string();
    place.write("runs/one/metrics.json", metrics.replace(&model, &"0".repeat(64)));
    place.brisk(&publish).fails(2, &["metrics.json: it is of another model", "--resume runs/one"]);
    place.write("runs/one/metrics.json", "{");
    place.brisk(&publish).fails(2, &["metrics.json", "--resume runs/one"]);
    std::fs::remove_file(place.at("runs/one/metrics.json")).unwrap();
    place.brisk(&publish).fails(2, &["it has no metrics.json", "brisk train --resume runs/one"]);
    place.brisk(&["train", "--resume", "runs/one"]).good();
    assert_eq!(place.text("runs/one/metrics.json"), metrics, "the remedy works");
    place.brisk(&publish).good();

    require(&place, "test_accuracy: high");
    place.brisk(&publish).fails(2, &["config.yaml", "expected a comparison", "\">= 0.9\"", "\"high\""]);
}

#[test]
fn a_model_alone_has_no_gate() {
    let place = trained("test_accuracy: \"> 1\"");
    std::fs::rename(place.at("runs/one/model"), place.at("alone")).unwrap();
    place.brisk(&["publish", "runs/one", "--name", "x"]).fails(2, &["run that has not finished"]);
    place.brisk(&["publish", "none", "--name", "x"]).fails(2, &["none: there is no such folder"]);
    let at = place.at("shelf").display().to_string();
    let mut publish = place.command(&["publish", "alone", "--name", "bars", "--json"]);
    let output = publish.env("BRISK_REPOSITORY", &at).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["metrics"], &said["source"]), (&json!({}), &json!("alone")));
    assert!(place.at("shelf/bars/1/version.json").is_file() && !place.at("models").exists());
    for (name, what) in [("../x", "a model"), ("", "a model")] {
        place.brisk(&["publish", "alone", "--name", name]).fails(2, &["cannot be the name of", what]);
    }
    let publish = ["publish", "alone", "--name", "x", "--alias", "3"];
    place.brisk(&publish).fails(2, &["\"3\" cannot be the name of an alias"]);
    let publish = ["publish", "alone", "--name", "x", "--to", "runs/one"];
    place.brisk(&publish).fails(2, &["runs/one: this folder is no repository", "choose a new one"]);
}

#[test]
fn models_are_listed_moved_and_removed() {
    let place = trained("");
    for _ in 0..3 {
        place.brisk(&["publish", "runs/one", "--name", "bars", "--alias", "production"]).good();
    }
    place.brisk(&["publish", "runs/one", "--name", "a"]).good();
    let said = place.brisk(&["models", "list"]).good().out;
    let expected =
        "MODEL  VERSIONS  LATEST  ALIASES\na      1         1\nbars   3         3       production=3\n";
    assert_eq!(said, expected);
    let models = |args: &[&str]| place.brisk(&[&["models"], args].concat());
    let said = models(&["list", "--json"]).good().json();
    assert_eq!(said[1]["versions"], json!([1, 2, 3]));
    assert_eq!(models(&["alias", "bars", "canary", "latest"]).good().out, "bars: canary: nothing -> 3\n");
    assert_eq!(models(&["rollback", "bars"]).good().out, "bars: production: 3 -> 2\n");
    let said = models(&["rollback", "bars", "--json"]).good().json();
    assert_eq!(said, json!({"name": "bars", "alias": "production", "from": 2, "to": 1}));
    models(&["rollback", "bars"]).fails(2, &["no version before \"1\""]);
    models(&["remove", "bars", "3"]).fails(2, &["version 3 stays: the alias canary points to it"]);
    assert_eq!(models(&["alias", "bars", "canary", "--remove"]).good().out, "bars: canary: 3 -> nothing\n");
    assert_eq!(models(&["remove", "bars", "3"]).good().out, "bars 3 is removed\n");
    models(&["show", "bars", "3"]).fails(2, &["no version \"3\"; there are 1, 2"]);
    models(&["show", "brs"]).fails(2, &["models: there is no model \"brs\"; did you mean \"bars\"?"]);
    models(&["alias", "bars", "canary"]).fails(2, &[]);
    models(&["list", "--repository", "none"]).fails(2, &["none: there is no such folder"]);
    place.write("models/bars/9/claim.json", "{}");
    let said = models(&["show", "bars"]).good().out;
    assert!(said.contains("VERSION  CREATED") && said.contains("9 is not finished"), "{said}");
    models(&["remove", "bars", "9"]).good();
    let said = models(&["show", "bars", "--json"]).good().json();
    assert_eq!(said["versions"].as_array().unwrap().len(), 2);
    assert_eq!((&said["unfinished"], &said["aliases"]), (&json!([]), &json!({"production": 1})));
}

#[test]
fn a_killed_publisher_leaves_a_whole_version_or_none() {
    let place = trained("");
    let start = Instant::now();
    place.brisk(&["publish", "runs/one", "--name", "bars"]).good();
    let whole = start.elapsed();
    let rounds = std::env::var("BRISK_KILL_ROUNDS").map_or(12, |n| n.parse().unwrap());
    for round in 1..=rounds {
        let mut publish = place.command(&["publish", "runs/one", "--name", "bars"]);
        let mut child = publish.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::mul_f64(whole, f64::from(round) / f64::from(rounds)));
        let _ = child.kill();
        child.wait().unwrap();
    }
    place.brisk(&["publish", "runs/one", "--name", "bars"]).good();
    let said = place.brisk(&["models", "show", "bars", "--json"]).good().json();
    let expected = place.read("runs/one/model/model.safetensors");
    for version in said["versions"].as_array().unwrap() {
        let folder = format!("models/bars/{}", version["version"]);
        assert!(place.read(&format!("{folder}/model.safetensors")) == expected);
        place.brisk(&["summary", &folder]).good();
    }
    for number in said["unfinished"].as_array().unwrap() {
        place.brisk(&["models", "remove", "bars", &number.to_string()]).good();
    }
    let said = place.brisk(&["models", "show", "bars", "--json"]).good().json();
    assert_eq!(said["unfinished"], json!([]));
}
