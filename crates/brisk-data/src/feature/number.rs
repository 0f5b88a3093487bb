//! Numbers: missing ones filled in, all brought to a common scale.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{MissingNumber, NumberNormalization};
use crate::Value;
use crate::rng::{Purpose, Stream};

/// Numbers kept for the median.
const KEPT: usize = 1_000_000;

/// A linear change of numbers, `(x - offset) * factor`.
///
/// ```
/// let scaling = brisk_data::Scaling { offset: 10.0, factor: 0.5 };
/// assert_eq!(scaling.apply(14.0), 2.0);
/// assert_eq!(scaling.invert(2.0), 14.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// What is subtracted.
    pub offset: f64,
    /// What the rest is multiplied with; not 0.
    pub factor: f64,
}

impl Scaling {
    /// What the model sees of a number.
    pub fn apply(&self, x: f64) -> f32 {
        ((x - self.offset) * self.factor) as f32
    }

    /// The number behind what the model gives.
    pub fn invert(&self, y: f32) -> f64 {
        f64::from(y) / self.factor + self.offset
    }

    pub(super) fn is_valid(&self) -> bool {
        self.offset.is_finite() && self.factor.is_finite() && self.factor != 0.0
    }
}

/// Running statistics of numbers, in one pass (Welford, 1962).
#[derive(Default)]
pub(super) struct Statistics {
    count: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
    kept: Vec<f64>,
    keep: bool,
}

impl Statistics {
    /// `median`: keep numbers for it.
    pub fn new(median: bool) -> Statistics {
        Statistics { min: f64::INFINITY, max: f64::NEG_INFINITY, keep: median, ..Statistics::default() }
    }

    pub fn add(&mut self, x: f64) {
        self.count += 1;
        let d = x - self.mean;
        self.mean += d / self.count as f64;
        self.squares += d * (x - self.mean);
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        if self.keep && self.kept.len() < KEPT {
            self.kept.push(x);
        } else if self.keep {
            // Each number so far stays with the same probability.
            let place = Stream::new(0, Purpose::Median, 0, self.count).below(self.count) as usize;
            if let Some(k) = self.kept.get_mut(place) {
                *k = x;
            }
        }
    }

    fn median(&self) -> f64 {
        let mut kept = self.kept.clone();
        kept.sort_by(f64::total_cmp);
        match kept.len() {
            0 => 0.0,
            n if n % 2 == 1 => kept[n / 2],
            n => (kept[n / 2 - 1] + kept[n / 2]) / 2.0,
        }
    }

    /// What a missing number becomes; nothing if that is an error.
    pub fn fill(&self, missing: MissingNumber) -> Option<f64> {
        match missing {
            MissingNumber::Mean => Some(self.mean),
            MissingNumber::Median => Some(self.median()),
            MissingNumber::Zero => Some(0.0),
            MissingNumber::Error => None,
            MissingNumber::Value(v) => Some(v),
        }
    }

    /// A column of equal numbers is only moved.
    pub fn scaling(&self, normalization: NumberNormalization) -> Scaling {
        let inverse = |spread: f64| {
            let factor = 1.0 / spread;
            if factor.is_finite() && spread > 0.0 { factor } else { 1.0 }
        };
        match normalization {
            _ if self.count == 0 => Scaling { offset: 0.0, factor: 1.0 },
            NumberNormalization::None => Scaling { offset: 0.0, factor: 1.0 },
            NumberNormalization::Standardize => {
                Scaling { offset: self.mean, factor: inverse((self.squares / self.count as f64).sqrt()) }
            }
            NumberNormalization::MinMax => Scaling { offset: self.min, factor: inverse(self.max - self.min) },
        }
    }
}

/// A number as its feature has learned to read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NumberFeature {
    /// The column.
    pub column: String,
    /// What a missing number becomes; nothing if that is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<f64>,
    /// What numbers become.
    pub scaling: Scaling,
}

/// The number in a field: `Ok(None)` if it is missing, an error that says what stands there instead.
pub(super) fn read(value: &Value) -> Result<Option<f64>, String> {
    match value.number() {
        Some(x) => Ok(Some(x)),
        None if value.is_no_number() => Ok(None),
        None => {
            let found = value.text().map_or("a list".into(), |t| format!("`{}`", super::short(&t)));
            Err(format!("{found} is not a finite number"))
        }
    }
}

/// The number, or what stands in for it.
pub(super) fn filled(value: &Value, fill: Option<f64>) -> Result<f64, String> {
    read(value)?.or(fill).ok_or_else(|| {
        "the number is missing. Write one, or say with `missing` what takes its place (mean, median, zero or a number)".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_and_scales() {
        let mut s = Statistics::new(true);
        [1.0, 2.0, 3.0, 10.0].into_iter().for_each(|x| s.add(x));
        assert_eq!(s.fill(MissingNumber::Mean), Some(4.0));
        assert_eq!(s.fill(MissingNumber::Median), Some(2.5));
        assert_eq!(s.fill(MissingNumber::Error), None);
        let x = s.scaling(NumberNormalization::Standardize);
        assert!((x.factor - 1.0 / 12.5f64.sqrt()).abs() < 1e-12 && x.offset == 4.0);
        let x = s.scaling(NumberNormalization::MinMax);
        assert_eq!((x.apply(1.0), x.apply(10.0)), (0.0, 1.0));
    }

    #[test]
    fn equal_numbers_do_not_divide_by_zero() {
        let mut s = Statistics::new(false);
        [7.0, 7.0].into_iter().for_each(|x| s.add(x));
        assert_eq!(s.scaling(NumberNormalization::Standardize).apply(7.0), 0.0);
        assert_eq!(s.scaling(NumberNormalization::MinMax).apply(8.0), 1.0);
    }

    #[test]
    fn reads_what_tables_write() {
        assert_eq!(read(&"1e3".into()), Ok(Some(1000.0)));
        assert_eq!(read(&"N/A".into()), Ok(None));
        assert!(read(&"twelve".into()).unwrap_err().contains("`twelve`"));
        assert!(read(&"inf".into()).is_err());
    }
}
