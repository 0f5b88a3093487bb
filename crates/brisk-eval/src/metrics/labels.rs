use std::fmt;

use serde::{Deserialize, Serialize};

use super::report::nan_from_null;
use super::{ClassReport, Scores};
use crate::{Error, Result};

/// Accumulates over batches how well sets of labels are told: each label is there or is not.
///
/// ```
/// use brisk_eval::MultiLabel;
/// let mut metrics = MultiLabel::new(["red", "round"]);
/// metrics.update(&[0.9, 0.2, 0.6, 0.7, 0.1, 0.1], &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0])?;
/// let report = metrics.report();
/// assert_eq!((report.samples, report.exact_match), (3, 1.0 / 3.0)); // only the first is right in both
/// assert_eq!(report.labels[0].scores.precision, 0.5);
/// assert!((report.micro.f1 - 2.0 / 3.0).abs() < 1e-12); // 2 found, 1 too many, 1 missed
/// # Ok::<(), brisk_eval::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MultiLabel {
    labels: Vec<String>,
    /// For each label: found, said, there.
    counts: Vec<[u64; 3]>,
    samples: u64,
    exact: u64,
    hits: u64,
}

/// How well sets of labels are told. A label is said to be there from a probability above 0.5 on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelReport {
    /// Number of samples.
    pub samples: u64,
    /// Share of samples of which every label is right.
    #[serde(deserialize_with = "nan_from_null")]
    pub exact_match: f64,
    /// Share of labels that are right, over all samples.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy: f64,
    /// Every label counts the same.
    pub r#macro: Scores,
    /// Every place where a label is there or is said to be counts the same.
    pub micro: Scores,
    /// Scores of each label.
    pub labels: Vec<ClassReport>,
}

impl MultiLabel {
    /// Over labels of these names.
    pub fn new<S: Into<String>>(labels: impl IntoIterator<Item = S>) -> MultiLabel {
        let labels: Vec<String> = labels.into_iter().map(Into::into).collect();
        MultiLabel { counts: vec![[0; 3]; labels.len()], labels, samples: 0, exact: 0, hits: 0 }
    }

    /// Adds a batch of whole rows: probabilities, and 0 or 1.
    pub fn update(&mut self, probabilities: &[f32], truth: &[f32]) -> Result<()> {
        let columns = self.labels.len();
        if probabilities.len() != truth.len() || columns == 0 || !truth.len().is_multiple_of(columns) {
            let labels = truth.len() / columns.max(1);
            return Err(Error::Shape { outputs: probabilities.len(), labels, columns });
        }
        for (said, truth) in probabilities.chunks(columns).zip(truth.chunks(columns)) {
            let mut right = 0;
            for ((p, t), counts) in said.iter().zip(truth).zip(&mut self.counts) {
                let (said, there) = (*p > 0.5, *t > 0.5);
                counts[0] += u64::from(said && there);
                counts[1] += u64::from(said);
                counts[2] += u64::from(there);
                right += usize::from(said == there);
            }
            self.samples += 1;
            self.hits += right as u64;
            self.exact += u64::from(right == columns);
        }
        Ok(())
    }

    /// All metrics so far.
    pub fn report(&self) -> MultiLabelReport {
        let scores: Vec<Scores> = self.counts.iter().map(|&[f, s, t]| Scores::from_counts(f, s, t)).collect();
        let sum = |i: usize| self.counts.iter().map(|c| c[i]).sum::<u64>();
        let mean = |of: &dyn Fn(&Scores) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        let r#macro = Scores {
            precision: mean(&|s| s.precision),
            recall: mean(&|s| s.recall),
            f1: mean(&|s| s.f1),
            support: sum(2),
        };
        let samples = self.samples as f64;
        MultiLabelReport {
            samples: self.samples,
            exact_match: self.exact as f64 / samples,
            accuracy: self.hits as f64 / (samples * self.labels.len() as f64),
            r#macro,
            micro: Scores::from_counts(sum(0), sum(1), sum(2)),
            labels: self
                .labels
                .iter()
                .zip(scores)
                .map(|(label, scores)| ClassReport { label: label.clone(), scores, roc_auc: None })
                .collect(),
        }
    }
}

impl fmt::Display for MultiLabelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12}{:>12}", "samples", self.samples)?;
        let rows = [
            ("exact match", self.exact_match),
            ("accuracy", self.accuracy),
            ("macro f1", self.r#macro.f1),
            ("micro f1", self.micro.f1),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<12}{value:>12.4}"))?;
        self.labels
            .iter()
            .try_for_each(|l| writeln!(f, "{}  f1 {:.4}  of {}", l.label, l.scores.f1, l.scores.support))
    }
}
