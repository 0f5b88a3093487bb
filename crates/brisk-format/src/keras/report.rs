//! What became of a model of Keras.

use std::fmt;

/// What was read of a model of Keras, and what of it is not followed.
///
/// ```
/// let report = brisk_format::KerasReport::default();
/// assert_eq!(report.to_string(), "0 layers read");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KerasReport {
    /// Brisk's name, Brisk's kind, and the sizes of a sample of what it yields, of each layer.
    pub layers: Vec<(String, &'static str, Vec<Option<usize>>)>,
    /// The outputs that are logits in Keras, of which Brisk says the probabilities.
    pub logits: Vec<String>,
    /// What is not followed: it changes training, not predictions.
    pub ignored: Vec<String>,
    /// The tensors of the file that the model does not need.
    pub unused: Vec<String>,
}

impl fmt::Display for KerasReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} layers read", self.layers.len())?;
        for (name, kind, sizes) in &self.layers {
            let sizes: Vec<String> =
                sizes.iter().map(|d| d.map_or("None".into(), |d| d.to_string())).collect();
            write!(f, "\n  {name} ({kind}): [{}]", sizes.join(", "))?;
        }
        if !self.logits.is_empty() {
            let names = crate::error::listed(&self.logits);
            write!(f, "\nlogits in Keras, of which Brisk says the probabilities: {names}")?;
        }
        if !self.ignored.is_empty() {
            write!(f, "\nnot followed, which changes training and not predictions:")?;
            self.ignored.iter().try_for_each(|what| write!(f, "\n  {what}"))?;
        }
        if !self.unused.is_empty() {
            write!(f, "\n{} tensors not needed: {}", self.unused.len(), crate::error::listed(&self.unused))?;
        }
        Ok(())
    }
}
