//! Measuring each output of a task as its kind asks for.

use std::fmt;

use brisk_data::Batch;
use brisk_graph::{DType, Tensor};
use brisk_nn::{Loss, Task};
use serde::{Deserialize, Serialize};

use crate::metrics::{MultiLabel, MultiLabelReport, pearson, spearman};
use crate::{Classification, Regression, RegressionReport, Report, Result};

/// How well one output does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutputReport {
    /// One of several classes, for each sample or each token: those whose target is ignored do not count. Of token tags, `accuracy` is
    /// the share of right tokens, and `average` has their F1.
    Classes(Box<Report>),
    /// A set of labels.
    Labels(MultiLabelReport),
    /// Numbers.
    Numbers(RegressionReport),
    /// The similarity of pairs of texts, against numbers.
    Similarity {
        /// How many pairs.
        pairs: usize,
        /// Correlation of the numbers with the cosine similarities.
        pearson: f64,
        /// The same of their ranks.
        spearman: f64,
    },
    /// Embeddings without targets: the loss says it all.
    None {},
}

impl fmt::Display for OutputReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputReport::Classes(report) => report.fmt(f),
            OutputReport::Labels(report) => report.fmt(f),
            OutputReport::Numbers(report) => report.fmt(f),
            OutputReport::Similarity { pairs, pearson, spearman } => {
                writeln!(f, "pairs {pairs}, pearson {pearson:.4}, spearman {spearman:.4}")
            }
            OutputReport::None {} => Ok(()),
        }
    }
}

/// Accumulates over batches what each output of a task says: give its [`Outputs::update`] to [`crate::Evaluator::run`].
///
/// ```
/// use brisk_data::Batch;
/// use brisk_eval::{OutputReport, Outputs};
/// use brisk_graph::Tensor;
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([4]).add(Dense::new(2)).build()?;
/// let task = Task { outputs: vec![TaskOutput::new("tag", Loss::tags())], ..Task::new(model, Loss::tags()) };
/// let mut outputs = Outputs::new(&task, |_| vec!["noun".into(), "verb".into()]);
/// let tags = Tensor::new([3], vec![1, -1, 0])?;
/// let said = Tensor::new([3, 2], vec![0.2f32, 0.8, 0.5, 0.5, 0.4, 0.6])?;
/// outputs.update(&Batch { tensors: vec![("tag".into(), tags)], indices: vec![0] }, &[said])?;
/// let (name, OutputReport::Classes(report)) = &outputs.reports()[0] else { panic!("tags are classes") };
/// assert_eq!((name.as_str(), report.samples, report.accuracy), ("tag", 2, 0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Outputs {
    outputs: Vec<(String, Kind)>,
}

enum Kind {
    Classes { metrics: Box<Classification>, ignored: Option<i32> },
    Labels(MultiLabel),
    Numbers(Regression),
    Similarity { said: Vec<f64>, truth: Vec<f64> },
    None,
}

impl Outputs {
    /// For the outputs of a task; `labels` gives the names of the classes of an output, or nothing.
    pub fn new(task: &Task, labels: impl Fn(&str) -> Vec<String>) -> Outputs {
        let sizes = task.model.output_sizes();
        let of = |(output, sizes): (&brisk_nn::TaskOutput, &[Option<usize>])| {
            let width = sizes.last().copied().flatten().unwrap_or(1);
            let names = labels(&output.name);
            let named = |i: usize| names.get(i).cloned().unwrap_or_else(|| i.to_string());
            let kind = match &output.loss {
                Loss::CosineSimilarity => Kind::Similarity { said: vec![], truth: vec![] },
                loss if loss.group().is_some() => Kind::None,
                loss if loss.is_binary() && width > 1 => Kind::Labels(MultiLabel::new((0..width).map(named))),
                loss if loss.is_classification() => {
                    let ignored = match loss {
                        Loss::SparseCategoricalCrossentropy { ignore_class, .. } => *ignore_class,
                        _ => None,
                    };
                    let classes = width.max(2);
                    let metrics = Classification::new(classes).with_labels((0..classes).map(named));
                    Kind::Classes { metrics: Box::new(metrics), ignored }
                }
                _ => Kind::Numbers(Regression::new(width)),
            };
            (output.name.clone(), kind)
        };
        Outputs { outputs: task.outputs.iter().zip(sizes).map(of).collect() }
    }

    /// Adds a batch: its targets, and what the model says, a tensor for each output.
    pub fn update(&mut self, batch: &Batch, said: &[Tensor]) -> Result<()> {
        for ((name, kind), said) in self.outputs.iter_mut().zip(said) {
            let Some(truth) = batch.get(name) else { continue };
            let values = said.f32s()?;
            match kind {
                Kind::Classes { metrics, ignored } => {
                    let (rows, labels) = counted(values, truth, *ignored)?;
                    metrics.update(&rows, &labels)?;
                }
                Kind::Labels(metrics) => metrics.update(values, &floats(truth)?)?,
                Kind::Numbers(metrics) => metrics.update(values, &floats(truth)?)?,
                Kind::Similarity { said: all, truth: numbers } => {
                    let (a, b) = values.split_at(values.len() / 2);
                    let width = said.shape().last().max(1);
                    all.extend(a.chunks(width).zip(b.chunks(width)).map(|(a, b)| cosine(a, b)));
                    numbers.extend(floats(truth)?.iter().map(|&x| f64::from(x)));
                }
                Kind::None => {}
            }
        }
        Ok(())
    }

    /// The report of each output so far, by its name.
    pub fn reports(&self) -> Vec<(String, OutputReport)> {
        let report = |kind: &Kind| match kind {
            Kind::Classes { metrics, .. } => OutputReport::Classes(Box::new(metrics.report())),
            Kind::Labels(metrics) => OutputReport::Labels(metrics.report()),
            Kind::Numbers(metrics) => OutputReport::Numbers(metrics.report()),
            Kind::Similarity { said, truth } => OutputReport::Similarity {
                pairs: said.len(),
                pearson: pearson(said, truth),
                spearman: spearman(said, truth),
            },
            Kind::None => OutputReport::None {},
        };
        self.outputs.iter().map(|(name, kind)| (name.clone(), report(kind))).collect()
    }
}

/// The rows whose label counts, and those labels.
fn counted(values: &[f32], truth: &Tensor, ignored: Option<i32>) -> Result<(Vec<f32>, Vec<u32>)> {
    let labels: Vec<i32> = match truth.dtype() {
        DType::I32 => truth.i32s()?.to_vec(),
        // Distributions: the most probable class.
        _ => {
            let width = truth.shape().last().max(1);
            let rows = truth.f32s()?.chunks(width);
            rows.map(
                |row| if width == 1 { i32::from(row[0] > 0.5) } else { crate::metrics::argmax(row) as i32 },
            )
            .collect()
        }
    };
    let width = values.len() / labels.len().max(1);
    let counts = |label: &i32| Some(*label) != ignored;
    let rows = values.chunks(width.max(1)).zip(&labels).filter(|(_, l)| counts(l));
    let rows = rows.flat_map(|(row, _)| row.iter().copied()).collect();
    // A negative label that counts is no class: the metrics will say so.
    let labels = labels.iter().filter(|l| counts(l)).map(|&l| u32::try_from(l).unwrap_or(u32::MAX)).collect();
    Ok((rows, labels))
}

fn floats(t: &Tensor) -> Result<Vec<f32>> {
    Ok(match t.dtype() {
        DType::I32 => t.i32s()?.iter().map(|&x| x as f32).collect(),
        _ => t.f32s()?.to_vec(),
    })
}

/// The cosine of the angle between two vectors, 0 if either is zero.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if length > 0.0 { dot(a, b) / length } else { 0.0 }
}
