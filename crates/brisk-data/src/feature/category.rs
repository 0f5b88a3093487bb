//! Categories: a number for each that is frequent enough.

use std::collections::HashMap;

use indexmap::IndexSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Value;

/// How often each text stood there.
#[derive(Default)]
pub(super) struct Counts(HashMap<String, u64>);

impl Counts {
    pub fn add(&mut self, value: &str) {
        match self.0.get_mut(value) {
            Some(n) => *n += 1,
            None => {
                self.0.insert(value.into(), 1);
            }
        }
    }

    /// The most frequent ones first; of equally frequent ones the first in the alphabet.
    pub fn frequent(self, min_count: u64, max: usize) -> IndexSet<String> {
        let mut all: Vec<(String, u64)> = self.0.into_iter().filter(|(_, n)| *n >= min_count).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.into_iter().take(max).map(|(s, _)| s).collect()
    }

    /// All, sorted: as numbers if all are such.
    pub fn sorted(self) -> IndexSet<String> {
        let mut all: Vec<String> = self.0.into_keys().collect();
        crate::source::folder::sort_classes(&mut all);
        all.into_iter().collect()
    }
}

/// A category as its feature has learned to read it.
///
/// ```
/// use brisk_data::CategoryFeature;
/// let colour = CategoryFeature { column: "colour".into(), categories: ["red".to_string(), "blue".into()].into() };
/// assert_eq!([colour.number(&"blue".into()), colour.number(&"pink".into())], [2, 0]);
/// assert_eq!(colour.size(), 4); // 0, the two, and missing
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoryFeature {
    /// The column.
    pub column: String,
    /// The categories that have numbers, from 1 on.
    pub categories: IndexSet<String>,
}

impl CategoryFeature {
    /// Rows that an embedding of it needs.
    pub fn size(&self) -> usize {
        self.categories.len() + 2
    }

    /// The number of a category: 0 if it was rare or never seen, the last one if it is missing.
    pub fn number(&self, value: &Value) -> i32 {
        match name(value) {
            None => self.categories.len() as i32 + 1,
            Some(name) => self.categories.get_index_of(name.as_ref()).map_or(0, |i| i as i32 + 1),
        }
    }
}

/// A category's name, without blanks around it.
pub(super) fn name(value: &Value) -> Option<std::borrow::Cow<'_, str>> {
    use std::borrow::Cow;
    let text = match value {
        Value::List(_) => return Some(Cow::Owned(format!("{value:?}"))),
        other => other.text()?,
    };
    let text = match text {
        Cow::Borrowed(s) => Cow::Borrowed(s.trim()),
        Cow::Owned(s) => Cow::Owned(s),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_ones_have_no_number() {
        let mut counts = Counts::default();
        ["b", "a", "b", "c", "c", "d"].into_iter().for_each(|v| counts.add(v));
        let f = CategoryFeature { column: "x".into(), categories: counts.frequent(2, 10) };
        let numbers = ["b", " c ", "a", "?"].map(|v| f.number(&v.into()));
        assert_eq!(numbers, [1, 2, 0, 0]);
        assert_eq!((f.number(&Value::Missing), f.number(&"".into()), f.size()), (3, 3, 4));
    }

    #[test]
    fn classes_sort_as_numbers() {
        let mut counts = Counts::default();
        ["10", "9", "1"].into_iter().for_each(|v| counts.add(v));
        assert_eq!(counts.sorted().into_iter().collect::<Vec<_>>(), ["1", "9", "10"]);
    }
}
