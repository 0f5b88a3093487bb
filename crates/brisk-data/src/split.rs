//! Splits: each class is divided in the same proportion, by a seed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rng::{Purpose, Stream};
use crate::{Dataset, Error, Part, Result};

/// How to divide a data set.
///
/// ```
/// let spec: brisk_data::SplitSpec = serde_json::from_str(r#"{"validation": 0.1}"#)?;
/// assert_eq!((spec.validation, spec.test, spec.seed), (Some(0.1), None, 0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SplitSpec {
    /// Share of the training samples that becomes the validation part (0 to below 1).
    /// Left out: the source's own validation part, or none.
    pub validation: Option<f64>,
    /// Share of the samples that becomes the test part, if the source has none of its own.
    pub test: Option<f64>,
    /// What the choice follows from.
    pub seed: u64,
}

/// The parts to train, validate and test on; see [`Dataset::split`]. They share no sample, unless the source itself
/// has the same image twice, which [`check`](crate::check()) finds.
#[derive(Clone, Debug)]
pub struct Splits {
    /// What to train on.
    pub train: Part,
    /// What to choose the best epoch by.
    pub validation: Option<Part>,
    /// What to measure the result on.
    pub test: Option<Part>,
}

impl Dataset {
    /// Divides the data set: stratified, and the same for the same seed.
    ///
    /// ```
    /// use brisk_data::{Dataset, ImageSpec, Memory, Part, SplitSpec};
    /// let image = ImageSpec { height: 1, width: 1, channels: 1 };
    /// let labels = (0..100).map(|i| i % 2).collect();
    /// let data = Dataset::new(Part::new(Memory::new(image, vec![0; 100], labels)?, ["a", "b"], image)?);
    /// let parts = data.split(&SplitSpec { validation: Some(0.1), test: Some(0.2), seed: 1 })?;
    /// assert_eq!((parts.train.len(), parts.validation.unwrap().len()), (72, 8));
    /// assert_eq!(parts.test.unwrap().counts(), [10, 10]);
    /// # Ok::<(), brisk_data::Error>(())
    /// ```
    pub fn split(&self, spec: &SplitSpec) -> Result<Splits> {
        for (key, share) in [("validation_split", spec.validation), ("test_split", spec.test)] {
            if share.is_some_and(|s| !(0.0..1.0).contains(&s)) {
                return Err(Error::Config {
                    key: key.into(),
                    found: share.unwrap_or_default().to_string(),
                    expected: "a share of at least 0 and less than 1".into(),
                });
            }
        }
        let mut train = self.train().clone();
        let mut test = self.test().cloned();
        if let (None, Some(share)) = (&test, spec.test.filter(|&s| s > 0.0)) {
            let (rest, taken) = train.take_share(share, spec.seed, 1)?;
            (train, test) = (rest, Some(taken));
        }
        let mut validation = self.validation().cloned();
        if let (None, Some(share)) = (&validation, spec.validation.filter(|&s| s > 0.0)) {
            let (rest, taken) = train.take_share(share, spec.seed, 2)?;
            (train, validation) = (rest, Some(taken));
        }
        Ok(Splits { train, validation, test })
    }
}

impl Part {
    /// Divides into (rest, taken): of each class the share, rounded, but never all of it.
    fn take_share(&self, share: f64, seed: u64, round: u64) -> Result<(Part, Part)> {
        let mut by_class = vec![Vec::new(); self.classes().len()];
        for i in 0..self.len() {
            let label = self.label(i) as usize;
            let Some(class) = by_class.get_mut(label) else {
                return Err(Error::LabelRange {
                    place: self.label_place(i),
                    label: label.to_string(),
                    classes: self.classes().len(),
                });
            };
            class.push(i as u32);
        }
        let (mut rest, mut taken) = (Vec::new(), Vec::new());
        for (class, mut members) in by_class.into_iter().enumerate() {
            Stream::new(seed, Purpose::Split, round, class as u64).shuffle(&mut members);
            let n = (members.len() as f64 * share).round() as usize;
            let n = n.min(members.len().saturating_sub(1));
            taken.extend_from_slice(&members[..n]);
            rest.extend_from_slice(&members[n..]);
        }
        if taken.is_empty() {
            return Err(Error::Empty {
                place: format!("a share of {share} of {} samples", self.len()),
                remedy: "Take a larger share, or add samples".into(),
            });
        }
        rest.sort_unstable();
        taken.sort_unstable();
        Ok((self.select(rest)?, self.select(taken)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{ImageSpec, Memory};

    fn data(labels: Vec<u32>) -> Dataset {
        let image = ImageSpec { height: 1, width: 1, channels: 1 };
        let source = Memory::new(image, vec![0; labels.len()], labels).unwrap();
        Dataset::new(Part::new(source, ["a", "b", "c"], image).unwrap())
    }

    fn members(p: &Part) -> Vec<usize> {
        (0..p.len()).map(|i| p.source_index(i)).collect()
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_complete_and_stratified(
            labels in proptest::collection::vec(0u32..3, 1..200), v in 0.0..0.9f64, t in 0.0..0.9f64, seed: u64,
        ) {
            let d = data(labels);
            let spec = SplitSpec { validation: Some(v), test: Some(t), seed };
            let Ok(s) = d.split(&spec) else { return Ok(()) };
            let mut all = members(&s.train);
            for p in [&s.validation, &s.test].into_iter().flatten() {
                all.extend(members(p));
            }
            prop_assert_eq!(all.len(), d.train().len());
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            if let Some(test) = &s.test {
                for (n, whole) in test.counts().iter().zip(d.train().counts()) {
                    prop_assert!((*n as f64 - whole as f64 * t).abs() <= 1.0);
                }
            }
            prop_assert_eq!(members(&s.train), members(&d.split(&spec).unwrap().train));
        }
    }

    #[test]
    fn another_seed_another_split() {
        let d = data((0..90).map(|i| i % 3).collect());
        let split =
            |seed| members(&d.split(&SplitSpec { validation: Some(0.2), test: None, seed }).unwrap().train);
        assert_ne!(split(1), split(2));
    }

    #[test]
    fn refuses_bad_shares() {
        let d = data(vec![0, 1, 2]);
        for share in [-0.1, 1.0, f64::NAN] {
            let e = d.split(&SplitSpec { validation: Some(share), ..SplitSpec::default() }).unwrap_err();
            assert!(e.to_string().contains("validation_split"), "{e}");
        }
    }
}
