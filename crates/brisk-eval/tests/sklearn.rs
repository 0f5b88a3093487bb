//! The metrics give scikit-learn's numbers (`goldens/make.py`), whole or in batches.

use brisk_eval::{Classification, Regression, metrics::Scores};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../goldens/metrics.json")).unwrap()
}

fn floats(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[track_caller]
fn same(what: &str, ours: f64, theirs: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0), "{what}: {ours}, scikit-learn {theirs}");
}

fn same_scores(what: &str, ours: Scores, theirs: &Value) {
    same(&format!("{what} precision"), ours.precision, &theirs["precision"]);
    same(&format!("{what} recall"), ours.recall, &theirs["recall"]);
    same(&format!("{what} f1"), ours.f1, &theirs["f1"]);
}

#[test]
fn classification() {
    for case in golden()["classification"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let classes = case["classes"].as_u64().unwrap() as usize;
        let probabilities = floats(&case["probabilities"]);
        let labels: Vec<u32> =
            case["labels"].as_array().unwrap().iter().map(|l| l.as_u64().unwrap() as u32).collect();
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();

        for (way, outputs, empty) in [
            ("probabilities", &probabilities, Classification::new(classes)),
            ("logits", &logits, Classification::from_logits(classes)),
        ] {
            // Equal probabilities of different rows are no longer equal after the detour over logarithms.
            if way == "logits" && classes > 2 && name.ends_with("ties") {
                continue;
            }
            // In uneven batches, the second part in an accumulator of its own.
            let mut metrics = empty.with_top_k(2);
            let mut rest = metrics.clone();
            for (i, (rows, labels)) in outputs.chunks(7 * classes).zip(labels.chunks(7)).enumerate() {
                let part = if i < 3 { &mut metrics } else { &mut rest };
                part.update(rows, labels).unwrap();
            }
            metrics.merge(&rest).unwrap();

            let (report, what) = (metrics.report(), format!("{name}, {way}:"));
            assert_eq!(report.samples, labels.len() as u64);
            assert_eq!(serde_json::to_value(&report.confusion).unwrap(), case["confusion"], "{what}");
            same(&format!("{what} accuracy"), report.accuracy, &case["accuracy"]);
            same(&format!("{what} roc_auc"), report.roc_auc.unwrap(), &case["roc_auc"]);
            if !case["loss"].is_null() {
                same(&format!("{what} loss"), report.loss, &case["loss"]);
            }
            if !case["top_2"].is_null() {
                same(&format!("{what} top_2"), report.top_k.unwrap().accuracy, &case["top_2"]);
            }
            same_scores(&format!("{what} macro"), report.average.r#macro, &case["macro"]);
            same_scores(&format!("{what} micro"), report.average.micro, &case["micro"]);
            same_scores(&format!("{what} weighted"), report.average.weighted, &case["weighted"]);
            for (c, class) in report.classes.iter().enumerate() {
                same(&format!("{what} precision {c}"), class.scores.precision, &case["precision"][c]);
                same(&format!("{what} recall {c}"), class.scores.recall, &case["recall"][c]);
                same(&format!("{what} f1 {c}"), class.scores.f1, &case["f1"][c]);
                assert_eq!(class.scores.support, case["support"][c].as_u64().unwrap());
            }
        }
    }
}

#[test]
fn regression() {
    for case in golden()["regression"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let outputs = case["outputs"].as_u64().unwrap() as usize;
        let (truth, predicted) = (floats(&case["truth"]), floats(&case["predicted"]));
        let mut metrics = Regression::new(outputs);
        let mut rest = metrics.clone();
        let (a, b) = (truth.len() / outputs / 3 * outputs, truth.len());
        metrics.update(&predicted[..a], &truth[..a]).unwrap();
        rest.update(&predicted[a..b], &truth[a..b]).unwrap();
        metrics.merge(&rest).unwrap();
        metrics.merge(&Regression::new(outputs)).unwrap();

        let report = metrics.report();
        same(&format!("{name}: mse"), report.mse, &case["mse"]);
        same(&format!("{name}: rmse"), report.rmse, &case["rmse"]);
        same(&format!("{name}: mae"), report.mae, &case["mae"]);
        same(&format!("{name}: r2"), report.r2, &case["r2"]);
    }
}
