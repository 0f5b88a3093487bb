//! `metrics.json`: what was measured of the finished model of a run, under names that say on which data.

use std::collections::BTreeMap;
use std::path::Path;

use brisk_eval::{EpochRecord, Report};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Measured, Result};

const FILE: &str = "metrics.json";

/// What was measured of the finished model of a run: `test_accuracy`, `test_loss`, `test_macro_f1`, ... on the test data, if
/// there were any; `val_accuracy`, `val_loss`, ... on the validation data; `accuracy`, `loss`, ... in training.
///
/// ```
/// use brisk_train::RunMetrics;
/// let dir = tempfile::tempdir()?;
/// assert_eq!(RunMetrics::read(dir.path())?, None); // not finished, or by a Brisk that did not write it yet
/// let text = r#"{"model": "af1349", "epoch": 7, "values": {"test_accuracy": 0.91}}"#;
/// std::fs::write(dir.path().join("metrics.json"), text)?;
/// let metrics = RunMetrics::read(dir.path())?.unwrap();
/// assert_eq!((metrics.epoch, metrics.values["test_accuracy"]), (7, 0.91));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// The checksum of the tensors that were measured (BLAKE3, in hexadecimal digits), as the model's `brisk.json` has it.
    pub model: String,
    /// The epoch that they are of.
    pub epoch: usize,
    /// The values, by name; what was no number is left out.
    pub values: BTreeMap<String, f64>,
}

impl RunMetrics {
    /// Of a model that was kept from an epoch, and measured on the test data or else on the validation data.
    pub(crate) fn new(
        folder: &Path,
        epoch: usize,
        history: &[EpochRecord],
        measured: Option<&Measured>,
        tested: bool,
    ) -> Result<RunMetrics> {
        let mut values = BTreeMap::new();
        let record = history.iter().find(|r| r.epoch == epoch);
        for (name, value) in record.map_or(&[][..], |r| &r.values) {
            if !["learning_rate", "seconds"].contains(&name.as_str()) {
                values.insert(name.clone(), *value);
            }
        }
        let prefix = if tested { "test_" } else { "val_" };
        for (name, value) in measured.map(all).unwrap_or_default() {
            values.insert(format!("{prefix}{name}"), value);
        }
        values.retain(|_, value| value.is_finite());
        Ok(RunMetrics { model: RunMetrics::model(folder)?, epoch, values })
    }

    /// Of a run's folder; nothing if there are none.
    pub fn read(dir: &Path) -> Result<Option<RunMetrics>> {
        let path = dir.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path)(e)),
        };
        let message = |e| format!("{e}; `brisk train --resume {}` writes it again", dir.display());
        serde_json::from_slice(&text).map(Some).map_err(|e| Error::Run { message: message(e), path })
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        Ok(brisk_format::write_text(&dir.join(FILE), &text)?)
    }

    /// The checksum of a model's tensors: metrics that have another one are of another model.
    pub fn model(folder: &Path) -> Result<String> {
        let files = brisk_format::model_files(folder)?;
        let tensors = files.into_iter().find(|f| f.0 == brisk_format::TENSORS);
        Ok(tensors.and_then(|f| f.1).unwrap_or_default())
    }
}

/// Everything that was measured, by name.
fn all(measured: &Measured) -> Vec<(String, f64)> {
    let mut values = Vec::new();
    let report: Option<&Report> = measured.report.as_ref();
    match (report, &measured.outputs[..]) {
        (Some(report), _) => add(&mut values, "", &serde_json::to_value(report).unwrap_or_default()),
        (None, [(_, one)]) => add(&mut values, "", &serde_json::to_value(one).unwrap_or_default()),
        (None, several) => several.iter().for_each(|(name, report)| {
            add(&mut values, &format!("{name}_"), &serde_json::to_value(report).unwrap_or_default());
        }),
    }
    // Last, so that the loss is the one that the model was trained with.
    values.extend(measured.values.iter().cloned());
    values
}

/// The numbers of a report, but not its counts and what it says of single classes.
fn add(values: &mut Vec<(String, f64)>, prefix: &str, report: &Value) {
    for (key, value) in report.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("samples" | "support" | "pairs", _) => {}
            ("average", averages) => add(values, prefix, averages),
            ("top_k", top) => {
                let accuracy = top["accuracy"].as_f64();
                values.extend(accuracy.map(|a| (format!("{prefix}top_{}_accuracy", top["k"]), a)));
            }
            (key, Value::Object(_)) => add(values, &format!("{prefix}{key}_"), value),
            (key, Value::Number(number)) => {
                values.extend(number.as_f64().map(|n| (format!("{prefix}{key}"), n)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use brisk_eval::metrics::TopK;
    use brisk_eval::{Classification, OutputReport, Regression};

    use super::*;

    fn report() -> Report {
        let mut metrics = Classification::new(3);
        metrics.update(&[0.7, 0.2, 0.1, 0.1, 0.3, 0.6], &[0, 1]).unwrap();
        metrics.report()
    }

    fn names(measured: &Measured) -> Vec<String> {
        all(measured).into_iter().map(|v| v.0).collect()
    }

    #[test]
    fn a_report_of_classes_gives_its_averages() {
        let values = vec![("loss".into(), 0.25), ("accuracy".into(), 0.5)];
        let top_k = Some(TopK { k: 2, accuracy: 0.75 });
        let report = Report { top_k, ..report() };
        let measured = Measured { values, report: Some(report), outputs: Vec::new() };
        let found: BTreeMap<String, f64> = all(&measured).into_iter().collect();
        assert_eq!((found["loss"], found["accuracy"], found["micro_f1"]), (0.25, 0.5, 0.5));
        assert!(found.contains_key("macro_recall") && found["top_2_accuracy"] == 0.75, "{found:?}");
        assert!(!found.keys().any(|k| k.contains("support") || k.contains("samples")), "{found:?}");
    }

    #[test]
    fn several_outputs_are_told_apart() {
        let mut numbers = Regression::new(1);
        numbers.update(&[1.0, 2.0], &[1.5, 2.0]).unwrap();
        let outputs = vec![
            ("price".to_string(), OutputReport::Numbers(numbers.report())),
            ("kind".to_string(), OutputReport::Classes(Box::new(report()))),
        ];
        let names = names(&Measured { values: vec![("loss".into(), 1.0)], report: None, outputs });
        for name in ["price_mae", "price_r2", "kind_accuracy", "kind_weighted_f1", "loss"] {
            assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
        }
    }
}
