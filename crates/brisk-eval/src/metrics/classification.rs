use super::{ClassReport, ConfusionMatrix, Report, TopK, report::Averages, roc_auc};
use crate::{Error, Result};

/// Scores are kept for ROC AUC up to this many values (64 MiB); beyond, ROC AUC is left out.
const MAX_KEPT_SCORES: usize = 1 << 24;

/// Accumulates classification metrics over batches.
///
/// Takes probabilities ([`new`](Self::new)) or raw scores ([`from_logits`](Self::from_logits)): one row of `classes` values a sample,
/// or, for two classes, a single value a sample (the sigmoid output of class 1).
///
/// ```
/// use brisk_eval::Classification;
///
/// let mut metrics = Classification::from_logits(3).with_labels(["cat", "dog", "猫头鹰"]).with_top_k(2);
/// metrics.update(&[2.0, 1.0, 0.0], &[1])?;
/// let report = metrics.report();
/// assert_eq!(report.accuracy, 0.0);
/// assert_eq!(report.top_k.unwrap().accuracy, 1.0);
/// assert!((report.loss - 1.4076).abs() < 1e-4);
/// # Ok::<(), brisk_eval::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Classification {
    labels: Vec<String>,
    logits: bool,
    top_k: usize,
    confusion: ConfusionMatrix,
    top_k_hits: u64,
    loss: f64,
    truth: Vec<u32>,
    /// One row a sample, rising with the class's probability; one column for two classes. `None` once there are too many.
    scores: Option<Vec<f32>>,
}

impl Classification {
    /// Over outputs that are probabilities.
    pub fn new(classes: usize) -> Self {
        Classification {
            labels: (0..classes).map(|c| c.to_string()).collect(),
            logits: false,
            top_k: 5,
            confusion: ConfusionMatrix::new(classes),
            top_k_hits: 0,
            loss: 0.0,
            truth: Vec::new(),
            scores: Some(Vec::new()),
        }
    }

    /// Over outputs before softmax (or sigmoid, for a single output).
    pub fn from_logits(classes: usize) -> Self {
        Classification { logits: true, ..Self::new(classes) }
    }

    /// Names the classes; missing names stay numbers, surplus names are ignored.
    pub fn with_labels<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.labels.iter_mut().zip(names).for_each(|(label, name)| *label = name.into());
        self
    }

    /// Which top-k accuracy to report (default 5). It is reported only where `k` is less than the number of classes.
    pub fn with_top_k(mut self, k: usize) -> Self {
        self.top_k = k;
        self
    }

    /// Adds a batch; the loss is the cross-entropy.
    ///
    /// On an error nothing has been added.
    pub fn update(&mut self, outputs: &[f32], labels: &[u32]) -> Result<()> {
        let columns = self.check(outputs, labels)?;
        let rows = outputs.chunks(columns.max(1)).zip(labels);
        self.loss += rows.map(|(row, &label)| cross_entropy(row, label as usize, self.logits)).sum::<f64>();
        self.add(outputs, labels, columns);
        Ok(())
    }

    /// Adds a batch whose mean loss is known, as when the model was trained with label smoothing or another loss.
    pub fn update_with_loss(&mut self, outputs: &[f32], labels: &[u32], mean_loss: f64) -> Result<()> {
        let columns = self.check(outputs, labels)?;
        if !labels.is_empty() {
            self.loss += mean_loss * labels.len() as f64;
        }
        self.add(outputs, labels, columns);
        Ok(())
    }

    /// Adds all that another accumulator has seen, as if its batches came after this one's.
    pub fn merge(&mut self, other: &Classification) -> Result<()> {
        let (left, right) = (self.classes(), other.classes());
        if left != right || self.logits != other.logits || self.top_k != other.top_k {
            return Err(Error::Merge { left, right });
        }
        self.confusion.merge(&other.confusion);
        self.top_k_hits += other.top_k_hits;
        self.loss += other.loss;
        self.truth.extend(&other.truth);
        match (&mut self.scores, &other.scores) {
            (Some(mine), Some(theirs)) if mine.len() + theirs.len() <= MAX_KEPT_SCORES => mine.extend(theirs),
            _ => self.scores = None,
        }
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.confusion.classes()
    }

    /// Number of samples seen.
    pub fn samples(&self) -> u64 {
        self.confusion.total()
    }

    /// Mean loss over all samples.
    pub fn loss(&self) -> f64 {
        self.loss / self.samples() as f64
    }

    /// Share of samples whose most probable class was right.
    pub fn accuracy(&self) -> f64 {
        self.confusion.accuracy()
    }

    /// Share of samples whose class was among the `k` most probable.
    ///
    /// Of equal probabilities the lower class number ranks first, as in [`argmax`], so that top-1 accuracy is the accuracy.
    pub fn top_k_accuracy(&self) -> f64 {
        self.top_k_hits as f64 / self.samples() as f64
    }

    /// Counts of (truth, prediction).
    pub fn confusion(&self) -> &ConfusionMatrix {
        &self.confusion
    }

    /// Area under the ROC curve: of class 1 for two classes, otherwise the macro average of one class against the rest.
    ///
    /// Classes that lack positive or negative samples are left out; `None` if that leaves none, if an output was NaN, or if
    /// there were too many samples to keep their scores (2^24 values).
    pub fn roc_auc(&self) -> Option<f64> {
        let aucs = self.class_aucs();
        if self.classes() == 2 {
            return aucs[1];
        }
        let known: Vec<f64> = aucs.into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// All metrics so far.
    pub fn report(&self) -> Report {
        let aucs = self.class_aucs();
        let classes = self.labels.iter().zip(aucs).enumerate();
        Report {
            samples: self.samples(),
            loss: self.loss(),
            accuracy: self.accuracy(),
            top_k: (self.top_k < self.classes())
                .then(|| TopK { k: self.top_k, accuracy: self.top_k_accuracy() }),
            roc_auc: self.roc_auc(),
            average: Averages::of(&self.confusion),
            classes: classes
                .map(|(c, (label, roc_auc))| ClassReport {
                    label: label.clone(),
                    scores: self.confusion.class(c),
                    roc_auc,
                })
                .collect(),
            confusion: self.confusion.clone(),
        }
    }

    /// Values a sample: `classes`, or 1 for a sigmoid output.
    fn check(&self, outputs: &[f32], labels: &[u32]) -> Result<usize> {
        let classes = self.classes();
        let columns = if classes == 2 && outputs.len() == labels.len() { 1 } else { classes };
        if outputs.len() != labels.len() * columns {
            return Err(Error::Shape { outputs: outputs.len(), labels: labels.len(), columns });
        }
        match labels.iter().position(|&l| l as usize >= classes) {
            Some(i) => {
                Err(Error::LabelOutOfRange { label: labels[i], sample: self.samples() + i as u64, classes })
            }
            None => Ok(columns),
        }
    }

    fn add(&mut self, outputs: &[f32], labels: &[u32], columns: usize) {
        for (row, &label) in outputs.chunks(columns.max(1)).zip(labels) {
            let truth = label as usize;
            let predicted = match row {
                [z] => usize::from(*z > if self.logits { 0.0 } else { 0.5 }),
                row => argmax(row),
            };
            self.confusion.add(truth, predicted);
            self.top_k_hits += u64::from(match row {
                [_] => self.top_k >= 2 || (self.top_k == 1 && predicted == truth),
                row => rank(row, truth) < self.top_k,
            });
            self.keep_scores(row);
        }
        self.truth.extend(labels);
    }

    fn keep_scores(&mut self, row: &[f32]) {
        let Some(scores) = &mut self.scores else { return };
        let kept = if self.confusion.classes() == 2 { 1 } else { row.len() };
        if scores.len() + kept > MAX_KEPT_SCORES {
            self.scores = None;
            return;
        }
        match row {
            [z] => scores.push(*z),
            // Monotone in the probability of class 1, without the ties that rounding it to 1 would make.
            [z0, z1] if self.logits => scores.push(z1 - z0),
            [_, p1] => scores.push(*p1),
            row if self.logits => {
                let log_sum = log_sum_exp(row);
                scores.extend(row.iter().map(|&z| (f64::from(z) - log_sum) as f32));
            }
            row => scores.extend(row),
        }
    }

    fn class_aucs(&self) -> Vec<Option<f64>> {
        let classes = self.classes();
        let Some(scores) = &self.scores else { return vec![None; classes] };
        let columns = if classes == 2 { 1 } else { classes };
        (0..classes)
            .map(|class| {
                let column = if classes == 2 { 0 } else { class };
                let of_class = scores.iter().skip(column).step_by(columns.max(1)).copied();
                let flip = if classes == 2 && class == 0 { -1.0 } else { 1.0 };
                let of_class: Vec<f32> = of_class.map(|s| flip * s).collect();
                let positive: Vec<bool> = self.truth.iter().map(|&t| t as usize == class).collect();
                roc_auc(&of_class, &positive)
            })
            .collect()
    }
}

/// Position of the largest value, the first of equals; NaN never wins. 0 for an empty row.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &v) in row.iter().enumerate() {
        if v > row[best] || (row[best].is_nan() && !v.is_nan()) {
            best = i;
        }
    }
    best
}

/// Probabilities of a row of raw scores.
///
/// ```
/// assert_eq!(brisk_eval::metrics::softmax(&[1.0, 1.0]), [0.5, 0.5]);
/// ```
pub fn softmax(row: &[f32]) -> Vec<f32> {
    let log_sum = log_sum_exp(row);
    row.iter().map(|&z| (f64::from(z) - log_sum).exp() as f32).collect()
}

/// How many classes rank before `class`.
fn rank(row: &[f32], class: usize) -> usize {
    let own = row[class];
    let before = |(i, &v): (usize, &f32)| v > own || (v == own && i < class) || (own.is_nan() && !v.is_nan());
    row.iter().enumerate().filter(|&(i, v)| i != class && before((i, v))).count()
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !max.is_finite() {
        return f64::from(max); // nothing finite to scale by
    }
    let sum: f64 = row.iter().map(|&z| f64::from(z - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// `-ln p(label)`, from logits or from probabilities held above 1e-7, Keras's epsilon.
fn cross_entropy(row: &[f32], label: usize, logits: bool) -> f64 {
    let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
    match (row, logits) {
        ([z], true) => softplus(if label == 1 { -f64::from(*z) } else { f64::from(*z) }),
        (row, true) => log_sum_exp(row) - f64::from(row[label]),
        (row, false) => {
            let p = match row {
                [p] if label == 0 => 1.0 - f64::from(*p),
                [p] => f64::from(*p),
                row => f64::from(row[label]),
            };
            if p.is_nan() { p } else { -p.clamp(1e-7, 1.0).ln() }
        }
    }
}
