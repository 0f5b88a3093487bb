//! Outputs as they are learned from: classes, sets of labels, numbers, tags.

use indexmap::IndexSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number::Scaling;
use crate::Value;

/// An output with what it has learned from the training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One of several classes.
    Category {
        /// The column.
        column: String,
        /// The classes, in the order of their numbers.
        labels: IndexSet<String>,
    },
    /// Any number of labels.
    Labels {
        /// The column.
        column: String,
        /// The labels, in the order of their numbers.
        labels: IndexSet<String>,
        /// What stands between labels in text.
        separator: String,
    },
    /// A number.
    Number {
        /// The column.
        column: String,
        /// What the model is trained to give.
        scaling: Scaling,
    },
    /// A tag for each word of a text.
    Tags {
        /// The text.
        input: String,
        /// The column.
        column: String,
        /// The tags, in the order of their numbers.
        labels: IndexSet<String>,
        /// What stands between a word and its tag, if both are in the same column.
        separator: Option<String>,
    },
}

impl Target {
    /// The column.
    pub fn column(&self) -> &str {
        match self {
            Target::Category { column, .. }
            | Target::Labels { column, .. }
            | Target::Number { column, .. }
            | Target::Tags { column, .. } => column,
        }
    }

    /// The names of classes, labels or tags; none for a number.
    pub fn labels(&self) -> Option<&IndexSet<String>> {
        match self {
            Target::Category { labels, .. } | Target::Labels { labels, .. } | Target::Tags { labels, .. } => {
                Some(labels)
            }
            Target::Number { .. } => None,
        }
    }

    /// Numbers that a model gives for it: a score for each class, label or tag, or one number.
    pub fn size(&self) -> usize {
        self.labels().map_or(1, IndexSet::len)
    }
}

/// The names in a field.
pub(super) fn names(value: &Value, separator: &str) -> Vec<String> {
    value.items(Some(separator)).iter().filter_map(super::category::name).map(|n| n.into_owned()).collect()
}

/// The tags in a field: what stands behind the separator of each word, or each word. `Err` is a word without a tag.
pub(super) fn tags(value: &Value, separator: Option<&str>) -> Result<Vec<String>, String> {
    let tag = |v: &Value| {
        let word = v.text().unwrap_or_default().into_owned();
        match separator {
            None => Ok(word),
            Some(s) => match word.rsplit_once(s) {
                Some((_, tag)) if !tag.is_empty() => Ok(tag.to_string()),
                _ => Err(word),
            },
        }
    };
    value.items(None).iter().map(tag).collect()
}
