//! What became of each tensor of others.

use std::fmt;

use brisk_graph::Shape;

use crate::error::listed;

/// What became of each tensor of a folder or file of others, and what a model needs beyond them. Every tensor of theirs is in one of
/// `loaded`, `ignored` and `unexpected`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Brisk's name and theirs, of each tensor that was read; where several of theirs make one of Brisk's, or one makes several, each pair.
    pub loaded: Vec<(String, String)>,
    /// Their name, and why it is not needed.
    pub ignored: Vec<(String, String)>,
    /// Their names that have no place in the model.
    pub unexpected: Vec<String>,
    /// Brisk's name and shape of each tensor that they do not have: it starts fresh.
    pub fresh: Vec<(String, Shape)>,
    /// Brisk's name, and why its numbers stand in another order, beyond what kernels of its kind always do.
    pub reordered: Vec<(String, String)>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        if !self.ignored.is_empty() {
            let items: Vec<String> = self.ignored.iter().map(|(n, why)| format!("{n} ({why})")).collect();
            write!(f, "\n{} not needed: {}", items.len(), listed(&items))?;
        }
        if !self.unexpected.is_empty() {
            write!(f, "\n{} unexpected, and not used: {}", self.unexpected.len(), listed(&self.unexpected))?;
        }
        if !self.reordered.is_empty() {
            let items: Vec<String> = self.reordered.iter().map(|(n, why)| format!("{n} ({why})")).collect();
            write!(f, "\n{} in another order: {}", items.len(), listed(&items))?;
        }
        if !self.fresh.is_empty() {
            let items: Vec<String> = self.fresh.iter().map(|(n, shape)| format!("{n} {shape}")).collect();
            write!(f, "\n{} missing, and started fresh: {}", items.len(), listed(&items))?;
        }
        Ok(())
    }
}
