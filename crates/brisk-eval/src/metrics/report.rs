use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use unicode_width::UnicodeWidthStr;

use super::{Average, ConfusionMatrix, Scores};

/// Everything measured on a data set by a classifier.
///
/// Serializes to JSON with `loss` and `accuracy` at the top level (`null` for NaN); `Display` gives an aligned table.
///
/// ```
/// # let mut metrics = brisk_eval::Classification::new(2);
/// # metrics.update(&[0.9, 0.2], &[1, 0]).unwrap();
/// let report = metrics.report();
/// let json = serde_json::to_value(&report)?;
/// assert_eq!(json["accuracy"], 1.0);
/// assert_eq!(json["classes"][1]["support"], 1);
/// assert_eq!(json["confusion"], serde_json::json!([[1, 0], [0, 1]]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Number of samples.
    pub samples: u64,
    /// Mean loss.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f64,
    /// Share of samples whose most probable class was right.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy: f64,
    /// Top-k accuracy, where k is less than the number of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<TopK>,
    /// Area under the ROC curve; for more than two classes the macro average of one against the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// Scores averaged over the classes.
    pub average: Averages,
    /// Scores of each class.
    pub classes: Vec<ClassReport>,
    /// Counts of (truth, prediction).
    pub confusion: ConfusionMatrix,
}

/// Top-k accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// How many of the most probable classes count.
    pub k: usize,
    /// Share of samples whose class is among them.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy: f64,
}

/// Scores averaged in the three usual ways; see [`Average`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// Every class counts the same.
    #[serde(rename = "macro")]
    pub r#macro: Scores,
    /// Every sample counts the same.
    pub micro: Scores,
    /// Every class counts by its support.
    pub weighted: Scores,
}

impl Averages {
    pub(super) fn of(m: &ConfusionMatrix) -> Self {
        Averages {
            r#macro: m.average(Average::Macro),
            micro: m.average(Average::Micro),
            weighted: m.average(Average::Weighted),
        }
    }
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Name of the class.
    pub label: String,
    /// Precision, recall, F1, support.
    #[serde(flatten)]
    pub scores: Scores,
    /// Area under the ROC curve of this class against the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
}

/// JSON has no NaN and writes `null`; this reads it back.
pub(super) fn nan_from_null<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(f64::NAN))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |v: f64| if v.is_nan() { "-".to_owned() } else { format!("{v:.4}") };
        let mut head =
            vec![("samples".to_owned(), self.samples.to_string()), ("loss".into(), number(self.loss))];
        head.push(("accuracy".into(), number(self.accuracy)));
        head.extend(self.top_k.map(|t| (format!("top-{} accuracy", t.k), number(t.accuracy))));
        head.extend(self.roc_auc.map(|v| ("ROC AUC".to_owned(), number(v))));
        for (name, value) in head {
            writeln!(f, "{name:<16}{value:>10}")?;
        }

        let averages = [
            ("macro avg", self.average.r#macro),
            ("micro avg", self.average.micro),
            ("weighted avg", self.average.weighted),
        ];
        let labels = self.classes.iter().map(|c| c.label.as_str()).chain(averages.map(|a| a.0));
        let widest = labels.map(UnicodeWidthStr::width).max().unwrap_or(0);
        let pad = |label: &str| " ".repeat(widest.saturating_sub(label.width()));
        writeln!(
            f,
            "\n{}  {:>9}  {:>9}  {:>9}  {:>9}",
            pad(""),
            "precision",
            "recall",
            "f1-score",
            "support"
        )?;
        let mut row = |label: &str, s: &Scores| {
            writeln!(
                f,
                "{}{label}  {:>9.4}  {:>9.4}  {:>9.4}  {:>9}",
                pad(label),
                s.precision,
                s.recall,
                s.f1,
                s.support
            )
        };
        self.classes.iter().try_for_each(|c| row(&c.label, &c.scores))?;
        averages.iter().try_for_each(|(name, s)| row(name, s))
    }
}
