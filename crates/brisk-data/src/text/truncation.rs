//! Which tokens of a text that is too long are kept.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is cut off a text that has more tokens than its feature allows.
///
/// ```
/// use brisk_data::Truncation;
/// assert_eq!(Truncation::End.kept(10, 4), Some((0..4, 10..10)));
/// assert_eq!(Truncation::Middle.kept(10, 5), Some((0..3, 8..10)));
/// assert_eq!(Truncation::Error.kept(10, 5), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// The end.
    #[default]
    End,
    /// The start.
    Start,
    /// The middle: head and tail stay in equal parts.
    Middle,
    /// The middle, but the tail stays three times as long as the head (Sun and others, 2019: 128 and 382 of 510 tokens).
    HeadTail,
    /// Nothing: such a text is an error.
    Error,
}

impl Truncation {
    /// The tokens that are kept when `max` of `len` may stay: a head and a tail. `None` if it is an error to cut.
    pub fn kept(self, len: usize, max: usize) -> Option<(Range<usize>, Range<usize>)> {
        if len <= max {
            return Some((0..len, len..len));
        }
        let head = match self {
            Truncation::End => max,
            Truncation::Start => 0,
            Truncation::Middle => max.div_ceil(2),
            Truncation::HeadTail => max.div_ceil(4),
            Truncation::Error => return None,
        };
        Some((0..head, len - (max - head)..len))
    }
}
