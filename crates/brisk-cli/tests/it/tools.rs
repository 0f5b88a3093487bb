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
    assert!(
        plan.err.contains(" GFLOP/s, ")
            && plan.err.contains("in all at least: ")
            && plan.err.contains(" ms)")
    );
    let args = ["bench", "train", "mlp", "--steps", "2", "--profile", "--profile-trace", "trace.json"];
    let table = place.brisk(&args).good().err;
    assert!(table.contains("GFLOP/s") && table.contains("GB/s") && table.contains("matmul"), "{table}");
    let trace: serde_json::Value = serde_json::from_str(&place.text("trace.json")).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().iter().any(|e| e["dur"].as_f64() > Some(0.0)));
}

#[test]
fn encoders_are_measured_on_texts_of_real_lengths() {
    let place = Place::empty();
    place.write("lengths.txt", "# tokens\n5\n\n12\n7\n");
    let args = |preset| {
        ["bench", "infer", preset, "--batch-size", "2", "--steps", "3", "--lengths", "lengths.txt", "--json"]
    };
    let done = place.brisk(&args("minilm")).good().json();
    assert!(done["examples_per_second"].as_f64() > Some(0.0) && done["seq_len"].is_null(), "{done}");
    place.brisk(&args("mlp")).fails(2, &["minilm, bert-base", "inputs of mlp have one shape"]);
    place.write("lengths.txt", "5\n0\n");
    place
        .brisk(&args("minilm"))
        .fails(2, &["lengths.txt, line 2: expected a number of tokens from 1 to 512"]);
    place.write("lengths.txt", "# none\n");
    place.brisk(&args("minilm")).fails(2, &["lengths.txt: expected a number of tokens on each line"]);
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
