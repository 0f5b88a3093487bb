use serde::{Deserialize, Serialize};

/// Counts of (true class, predicted class); rows are the truth, as in scikit-learn.
///
/// Serializes as a list of rows.
///
/// ```
/// use brisk_eval::metrics::{Average, ConfusionMatrix};
///
/// let mut m = ConfusionMatrix::new(2);
/// for (truth, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
///     m.add(truth, predicted);
/// }
/// assert_eq!(m.count(0, 1), 1);
/// assert_eq!(m.accuracy(), 0.75);
/// assert_eq!(m.class(1).recall, 1.0);
/// assert_eq!(m.average(Average::Macro).recall, 0.75);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Vec<u64>>", into = "Vec<Vec<u64>>")]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>, // (truth, predicted)
}

/// Precision, recall and F1 of a class or of an average over classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Of what was predicted as this class, the share that was right.
    pub precision: f64,
    /// Of what is of this class, the share that was found.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Number of samples of this class (of all classes, for an average).
    pub support: u64,
}

/// How to put the scores of the classes into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Every class counts the same.
    Macro,
    /// Every sample counts the same: equals the accuracy where each sample has one label.
    Micro,
    /// Every class counts by its support.
    Weighted,
}

impl ConfusionMatrix {
    /// All zero.
    pub fn new(classes: usize) -> Self {
        ConfusionMatrix { classes, counts: vec![0; classes * classes] }
    }

    /// Counts one sample.
    ///
    /// # Panics
    /// If either class is out of range; [`Classification`](super::Classification) checks its labels before.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        assert!(truth < self.classes && predicted < self.classes, "class out of range");
        self.counts[truth * self.classes + predicted] += 1;
    }

    /// Adds the counts of another matrix of the same size (a smaller or larger one is ignored where it does not overlap).
    pub fn merge(&mut self, other: &ConfusionMatrix) {
        for (mine, theirs) in self.counts.chunks_mut(self.classes.max(1)).zip(other.rows()) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Samples of class `truth` that were predicted as `predicted`; 0 for classes that do not exist.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        if truth < self.classes && predicted < self.classes {
            self.counts[truth * self.classes + predicted]
        } else {
            0
        }
    }

    /// The rows, one for each true class.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        self.counts.chunks(self.classes.max(1))
    }

    /// All samples counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Samples on the diagonal.
    pub fn correct(&self) -> u64 {
        self.counts.iter().step_by(self.classes + 1).sum()
    }

    /// Share of samples on the diagonal; NaN without samples.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.total() as f64
    }

    /// Scores of one class. All 0 for a class that does not exist.
    pub fn class(&self, class: usize) -> Scores {
        let truths: u64 = (0..self.classes).map(|p| self.count(class, p)).sum();
        let predictions: u64 = (0..self.classes).map(|t| self.count(t, class)).sum();
        Scores::from_counts(self.count(class, class), predictions, truths)
    }

    /// Scores over all classes.
    pub fn average(&self, average: Average) -> Scores {
        let total = self.total();
        if average == Average::Micro {
            return Scores::from_counts(self.correct(), total, total);
        }
        let mut sum = Scores { support: total, ..Scores::default() };
        let mut weights = 0.0;
        for class in 0..self.classes {
            let s = self.class(class);
            let w = if average == Average::Weighted { s.support as f64 } else { 1.0 };
            sum.precision += w * s.precision;
            sum.recall += w * s.recall;
            sum.f1 += w * s.f1;
            weights += w;
        }
        for value in [&mut sum.precision, &mut sum.recall, &mut sum.f1] {
            *value = if weights > 0.0 { *value / weights } else { 0.0 };
        }
        sum
    }

    /// The most frequent mistakes as (truth, predicted, count), most frequent first.
    pub fn top_confusions(&self, limit: usize) -> Vec<(usize, usize, u64)> {
        let cells =
            self.rows().enumerate().flat_map(|(t, row)| row.iter().enumerate().map(move |(p, &n)| (t, p, n)));
        let mut cells: Vec<_> = cells.filter(|&(t, p, n)| t != p && n > 0).collect();
        cells.sort_by_key(|&(.., n)| std::cmp::Reverse(n)); // stable: ties stay in reading order
        cells.truncate(limit);
        cells
    }
}

impl Scores {
    pub(super) fn from_counts(hits: u64, predictions: u64, truths: u64) -> Self {
        let share = |of: u64| if of == 0 { 0.0 } else { hits as f64 / of as f64 };
        let both = predictions + truths;
        let f1 = if both == 0 { 0.0 } else { 2.0 * hits as f64 / both as f64 };
        Scores { precision: share(predictions), recall: share(truths), f1, support: truths }
    }
}

impl From<ConfusionMatrix> for Vec<Vec<u64>> {
    fn from(m: ConfusionMatrix) -> Self {
        m.rows().map(<[u64]>::to_vec).collect()
    }
}

/// Ragged rows are cut or filled with zeros to a square.
impl From<Vec<Vec<u64>>> for ConfusionMatrix {
    fn from(rows: Vec<Vec<u64>>) -> Self {
        let mut m = ConfusionMatrix::new(rows.len());
        for (mine, row) in m.counts.chunks_mut(rows.len().max(1)).zip(&rows) {
            mine.iter_mut().zip(row).for_each(|(a, b)| *a = *b);
        }
        m
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_never_seen_or_never_predicted_score_zero() {
        let m = ConfusionMatrix::from(vec![vec![2, 0, 0], vec![1, 0, 0], vec![0, 0, 0]]);
        assert_eq!(m.class(1), Scores { precision: 0.0, recall: 0.0, f1: 0.0, support: 1 });
        assert_eq!(m.class(2), Scores::default());
        assert_eq!(m.class(9), Scores::default());
        assert_eq!(m.average(Average::Macro).recall, 1.0 / 3.0);
        assert_eq!(m.average(Average::Micro).f1, m.accuracy());
    }

    #[test]
    fn no_classes_and_no_samples() {
        for m in [ConfusionMatrix::new(0), ConfusionMatrix::new(2)] {
            assert!(m.accuracy().is_nan());
            for average in [Average::Macro, Average::Micro, Average::Weighted] {
                assert_eq!(m.average(average), Scores::default());
            }
            assert_eq!(m.top_confusions(5), []);
        }
        assert_eq!(ConfusionMatrix::new(0).rows().len(), 0);
    }

    #[test]
    fn ragged_json_becomes_square() {
        let m: ConfusionMatrix = serde_json::from_str("[[1,2,3],[4]]").unwrap();
        assert_eq!(serde_json::to_string(&m).unwrap(), "[[1,2],[4,0]]");
    }
}
