//! Metrics that are cheap enough to be computed at every step, inside the graph.

use brisk_graph::{DType, Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tagged;
use crate::loss::flags;
use crate::{Error, Loss, Result};

/// What is measured beside the loss, as a sum over samples: the mean over any number of batches is the sum of the sums
/// by the number of samples.
///
/// ```
/// use brisk_nn::Metric;
/// assert_eq!(serde_json::from_str::<Metric>("\"accuracy\"")?, Metric::Accuracy);
/// let top: Metric = serde_json::from_str(r#"{"top_k_accuracy": {"k": 3}}"#)?;
/// assert_eq!(top.name(), "top_3_accuracy");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(remote = "Metric", transform = crate::schema::allow_bare_names)]
pub enum Metric {
    /// The share of samples whose class is recognized.
    Accuracy,
    /// The share of samples whose class is among the `k` most probable.
    TopKAccuracy {
        /// How many count.
        #[serde(default = "default_k")]
        k: usize,
    },
    /// The share of samples of which every label is right: those that are there and those that are not.
    ExactMatch,
    /// The mean of `|y - p|`.
    MeanAbsoluteError,
}
tagged!(Metric, "metric");

fn default_k() -> usize {
    5
}

impl Metric {
    /// What it is called among the outputs of a graph, and in logs.
    pub fn name(&self) -> String {
        match self {
            Metric::Accuracy => "accuracy".into(),
            Metric::TopKAccuracy { k } => format!("top_{k}_accuracy"),
            Metric::ExactMatch => "exact_match".into(),
            Metric::MeanAbsoluteError => "mean_absolute_error".into(),
        }
    }

    /// The usual ones for a loss.
    pub fn of(loss: &Loss) -> Vec<Metric> {
        match loss.is_classification() {
            _ if loss.group().is_some() => vec![],
            true => vec![Metric::Accuracy],
            false => vec![Metric::MeanAbsoluteError],
        }
    }

    /// Its sum over the samples of a batch, or over the targets that count where some are ignored: predictions and targets
    /// as [`Loss::per_sample`] takes them.
    pub fn sum<'g>(&self, loss: &Loss, p: Value<'g>, y: Value<'g>) -> Result<Value<'g>> {
        let last = p.rank() - 1;
        let hits = |truth: Value<'g>| truth.cast(DType::F32);
        let is_binary = loss.is_binary();
        let label = || if y.dtype() == DType::I32 { y } else { y.argmax(last) };
        let by_place = match self {
            Metric::MeanAbsoluteError if !loss.is_classification() && loss.group().is_none() => {
                op::absolute_error(p, y).mean(&[last])
            }
            Metric::Accuracy if is_binary => {
                hits(p.greater(0.0).equal(flags(p, y).greater(0.5))).mean(&[last])
            }
            Metric::ExactMatch if is_binary => {
                hits(p.greater(0.0).equal(flags(p, y).greater(0.5))).reduce_min(&[last])
            }
            Metric::Accuracy if loss.is_classification() => hits(p.argmax(last).equal(label())),
            Metric::TopKAccuracy { k } if loss.is_classification() && !is_binary => {
                op::in_top_k(p, label(), *k)
            }
            _ => {
                let message = format!("does not go with the loss {}", loss.name());
                return Err(Error::config(format!("metric {}", self.name()), message));
            }
        };
        if let Some(counted) = loss.counted(y) {
            return Ok((by_place * counted).sum_all());
        }
        let axes: Vec<usize> = (1..last).collect();
        let by_sample = if axes.is_empty() { by_place } else { by_place.mean(&axes) };
        Ok(by_sample.sum(&[0]))
    }
}
