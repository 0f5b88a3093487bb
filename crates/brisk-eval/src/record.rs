use serde::{Deserialize, Serialize};

/// What was measured in one epoch: named values in the order in which they were added.
///
/// The usual names are Keras's: `loss`, `accuracy`, `val_loss`, `val_accuracy`, and `learning_rate`, `seconds`.
///
/// ```
/// use brisk_eval::EpochRecord;
///
/// let record = EpochRecord::new(1).with("loss", 0.52).with("val_loss", 0.48);
/// assert_eq!(record.get("val_loss"), Some(0.48));
/// assert_eq!(record.get("accuracy"), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Names and values.
    pub values: Vec<(String, f64)>,
}

impl EpochRecord {
    /// An epoch without values.
    pub fn new(epoch: usize) -> Self {
        EpochRecord { epoch, values: Vec::new() }
    }

    /// Adds a value; the same name again replaces the former value.
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.set(name, value);
        self
    }

    /// Like [`with`](Self::with), in place.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.values.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => self.values.push((name, value)),
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(n, _)| n == name).map(|&(_, v)| v)
    }
}
