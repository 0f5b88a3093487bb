//! What became of each tensor of a folder.

use std::fmt;

use brisk_graph::Shape;

use crate::error::listed;

/// What became of each tensor of a folder, and what a model needs beyond them. Every tensor of the folder is in one of `loaded`,
/// `ignored` and `unexpected`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Brisk's name and the folder's, of each tensor that was read.
    pub loaded: Vec<(String, String)>,
    /// The folder's name, and why it is not needed.
    pub ignored: Vec<(String, String)>,
    /// The folder's names that mean nothing to the family.
    pub unexpected: Vec<String>,
    /// Brisk's name and shape of each tensor of the head that the folder does not have: it starts fresh.
    pub fresh: Vec<(String, Shape)>,
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
        if !self.fresh.is_empty() {
            let items: Vec<String> = self.fresh.iter().map(|(n, shape)| format!("{n} {shape}")).collect();
            write!(f, "\n{} missing, and started fresh: {}", items.len(), listed(&items))?;
        }
        Ok(())
    }
}
