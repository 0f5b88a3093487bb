//! The smaller commands.

use crate::support::Place;

#[test]
fn summaries() {
    let place = Place::new();
    let table = place.brisk(&["summary"]).good().out;
    assert!(table.contains("conv2d_1 (Conv2D)") && table.contains("Total params: 34,826"), "{table}");
    assert!(place.brisk(&["summary", "tiny.yaml"]).good().out.contains("(None, 6, 6, 4)"));
    let data = place.brisk(&["summary", "resnet18-cifar", "--json"]).good().json();
    assert_eq!(data["parameters"]["trainable"], 11_173_962);
    place.train("run", &["--set", "train.epochs=1"]);
    let tables = ["run", "run/model", "tiny.yaml"].map(|what| place.brisk(&["summary", what]).good().out);
    assert!(tables[0] == tables[1] && tables[1] == tables[2]);
}

#[test]
fn data_commands() {
    let place = Place::new();
    let list = place.brisk(&["data", "list", "--json"]).good().json();
    assert!(list.as_array().unwrap().iter().any(|d| d["name"] == "cifar10" && d["present"] == false));
    let about = place.brisk(&["data", "describe", "idx"]).good().out;
    assert!(about.contains("images of 8x8x1, 3 classes") && about.contains("middle"), "{about}");
    let about = place.brisk(&["data", "describe", "idx", "--json"]).good().json();
    assert_eq!(about["classes"][0]["counts"], serde_json::json!([20, 4]));
    place.folders("pictures", 3);
    place.png("pictures/left/again.png", 0, 0);
    let report = place.brisk(&["data", "check", "pictures", "--output", "bad.csv"]).good();
    assert!(
        report.out.contains("duplicate") && place.text("bad.csv").contains("again.png"),
        "{}",
        report.out
    );
    let report = place.brisk(&["data", "check", "pictures", "--json"]).good().json();
    assert_eq!(report["problems"].as_array().unwrap().len(), 1);
    place.brisk(&["data", "get", "cifer10"]).fails(2, &["did you mean `cifar10`?"]);
    place.brisk(&["data", "get", "mnist", "--from", "idx"]).fails(2, &["idx/train-images"]);
}

#[test]
fn the_schema_describes_projects() {
    let schema = Place::empty().brisk(&["schema"]).good().json();
    assert_eq!(schema["title"], "Project");
    assert!(schema["properties"]["train"].is_object() && schema.to_string().contains("kernel_size"));
}

#[test]
fn benchmarks_print_one_object() {
    let place = Place::empty();
    for verb in ["train", "infer"] {
        let args = ["bench", verb, "mlp", "--batch-size", "4", "--steps", "3", "--threads", "2", "--json"];
        let done = place.brisk(&args).good();
        assert_eq!(done.out.lines().count(), 1);
        let keys: Vec<String> = done.json().as_object().unwrap().keys().cloned().collect();
        let expected =
            "preset batch_size threads dtype examples_per_second step_ms_median gflops peak_rss_mb plan_ms";
        assert_eq!(keys.join(" "), expected);
    }
    let plan = place.brisk(&["bench", "train", "mlp", "--steps", "1", "--explain"]).good();
    assert!(plan.err.contains("region") && plan.out.contains("examples_per_second"), "{}", plan.err);
}

#[test]
fn the_doctor_reports() {
    let found = Place::empty().brisk(&["doctor", "--json"]).good().json();
    assert!(found["speed"]["matmul_gflops"].as_f64().unwrap() > 0.0);
    assert!(found["machine"]["threads"].as_u64().unwrap() >= 1);
}

#[test]
fn help_version_and_completions() {
    let place = Place::empty();
    let help = place.brisk(&["--help"]).good().out;
    assert!(help.contains("Examples:") && help.contains("brisk train"), "{help}");
    assert!(place.brisk(&["--version"]).good().out.starts_with("brisk 0."));
    assert!(place.brisk(&["completions", "bash"]).good().out.contains("_brisk"));
    place.brisk(&[]).code.filter(|&c| c == 2).expect("usage");
}
