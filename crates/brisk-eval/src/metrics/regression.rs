use std::fmt;

use serde::{Deserialize, Serialize};

use super::report::nan_from_null;
use crate::{Error, Result};

/// Accumulates MSE, MAE and R2 over batches of `outputs` values a sample.
///
/// ```
/// use brisk_eval::Regression;
///
/// let mut metrics = Regression::new(1);
/// metrics.update(&[2.5, 0.0, 2.0, 8.0], &[3.0, -0.5, 2.0, 7.0])?;
/// let report = metrics.report();
/// assert_eq!((report.mse, report.mae), (0.375, 0.5));
/// assert!((report.r2 - 0.94861).abs() < 1e-5);
/// # Ok::<(), brisk_eval::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Regression {
    columns: Vec<Column>,
    samples: u64,
}

/// Running sums of one output; the spread of the truth by Welford's method, which survives a large mean.
#[derive(Debug, Clone, Copy, Default)]
struct Column {
    squared: f64,
    absolute: f64,
    mean: f64,
    spread: f64,
}

/// Regression metrics, averaged evenly over the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RegressionReport {
    /// Number of samples.
    pub samples: u64,
    /// The mean squared error again, so that every report has a `loss`.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f64,
    /// Mean squared error.
    #[serde(deserialize_with = "nan_from_null")]
    pub mse: f64,
    /// Root of the mean squared error.
    #[serde(deserialize_with = "nan_from_null")]
    pub rmse: f64,
    /// Mean absolute error.
    #[serde(deserialize_with = "nan_from_null")]
    pub mae: f64,
    /// Share of the variance that the model explains.
    #[serde(deserialize_with = "nan_from_null")]
    pub r2: f64,
}

impl Regression {
    /// Over `outputs` values a sample.
    pub fn new(outputs: usize) -> Self {
        Regression { columns: vec![Column::default(); outputs], samples: 0 }
    }

    /// Adds a batch of whole rows.
    pub fn update(&mut self, predicted: &[f32], truth: &[f32]) -> Result<()> {
        let width = self.columns.len();
        if predicted.len() != truth.len() || !truth.len().is_multiple_of(width.max(1)) {
            return Err(Error::Shape {
                outputs: predicted.len(),
                labels: truth.len() / width.max(1),
                columns: width,
            });
        }
        for (p_row, t_row) in predicted.chunks(width.max(1)).zip(truth.chunks(width.max(1))) {
            self.samples += 1;
            for (column, (&p, &t)) in self.columns.iter_mut().zip(p_row.iter().zip(t_row)) {
                let (error, t) = (f64::from(p) - f64::from(t), f64::from(t));
                column.squared += error * error;
                column.absolute += error.abs();
                let delta = t - column.mean;
                column.mean += delta / self.samples as f64;
                column.spread += delta * (t - column.mean);
            }
        }
        Ok(())
    }

    /// Adds all that another accumulator has seen.
    pub fn merge(&mut self, other: &Regression) -> Result<()> {
        let (left, right) = (self.columns.len(), other.columns.len());
        if left != right {
            return Err(Error::Merge { left, right });
        }
        let (n, m) = (self.samples as f64, other.samples as f64);
        for (a, b) in self.columns.iter_mut().zip(&other.columns) {
            if other.samples > 0 {
                let delta = b.mean - a.mean;
                a.spread += b.spread + delta * delta * n * m / (n + m);
                a.mean += delta * m / (n + m);
            }
            a.squared += b.squared;
            a.absolute += b.absolute;
        }
        self.samples += other.samples;
        Ok(())
    }

    /// All metrics so far.
    pub fn report(&self) -> RegressionReport {
        let n = self.samples as f64;
        let mean =
            |f: &dyn Fn(&Column) -> f64| self.columns.iter().map(f).sum::<f64>() / self.columns.len() as f64;
        let mse = mean(&|c| c.squared / n);
        let r2 = mean(&|c| match (self.samples, c.spread, c.squared) {
            (0 | 1, ..) => f64::NAN,
            (_, 0.0, 0.0) => 1.0,
            (_, 0.0, squared) if !squared.is_nan() => 0.0,
            (_, spread, squared) => 1.0 - squared / spread,
        });
        let rmse = mean(&|c| (c.squared / n).sqrt());
        RegressionReport { samples: self.samples, loss: mse, mse, rmse, mae: mean(&|c| c.absolute / n), r2 }
    }
}

impl fmt::Display for RegressionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows =
            [("loss", self.loss), ("mse", self.mse), ("rmse", self.rmse), ("mae", self.mae), ("r2", self.r2)];
        writeln!(f, "{:<8}{:>12}", "samples", self.samples)?;
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<8}{value:>12.4}"))
    }
}
