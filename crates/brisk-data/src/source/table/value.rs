//! What stands in a field of a table.

use std::borrow::Cow;

/// Up to here f64 holds every whole number.
const EXACT: u128 = 1 << 53;

/// One field.
///
/// ```
/// use brisk_data::Value;
/// assert_eq!(Value::from("3.5").number(), Some(3.5));
/// assert_eq!(Value::from(3.0).text(), Some("3".into()));
/// assert!(Value::from("NA").is_no_number() && Value::Missing.text().is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: an empty field, `null`, or a column that the row lacks.
    #[default]
    Missing,
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// Several values.
    List(Vec<Value>),
}

impl Value {
    /// True for [`Value::Missing`].
    pub fn is_missing(&self) -> bool {
        matches!(self, Value::Missing)
    }

    /// Text as it is, numbers and truth values written out; nothing for missing values and lists.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Text(s) => Some(Cow::Borrowed(s)),
            Value::Number(n) => Some(Cow::Owned(n.to_string())),
            Value::Bool(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
            Value::Missing | Value::List(_) => None,
        }
    }

    /// Numbers as they are, text that reads as a finite number, truth values as 0 and 1.
    pub fn number(&self) -> Option<f64> {
        let n = match self {
            Value::Number(n) => *n,
            Value::Text(s) => s.trim().parse().ok()?,
            Value::Bool(b) => f64::from(u8::from(*b)),
            Value::Missing | Value::List(_) => return None,
        };
        n.is_finite().then_some(n)
    }

    /// True if the value is missing, or one of the words that tables write in place of a number: nothing but blanks, `NA`,
    /// `N/A`, `NaN`, `null`, `none`, `?`, `-`.
    pub fn is_no_number(&self) -> bool {
        const WORDS: [&str; 8] = ["", "na", "n/a", "nan", "null", "none", "?", "-"];
        match self {
            Value::Missing => true,
            Value::Text(s) => WORDS.contains(&s.trim().to_ascii_lowercase().as_str()),
            Value::Number(n) => n.is_nan(),
            Value::Bool(_) | Value::List(_) => false,
        }
    }

    /// The values of a list, where `separator` divides text (without one: white space). Text in brackets is read as JSON.
    pub fn items(&self, separator: Option<&str>) -> Cow<'_, [Value]> {
        let s = match self {
            Value::List(items) => return Cow::Borrowed(items),
            Value::Missing => return Cow::Borrowed(&[]),
            Value::Text(s) => s.trim(),
            Value::Number(_) | Value::Bool(_) => return Cow::Owned(vec![self.clone()]),
        };
        if s.starts_with('[')
            && let Ok(list @ serde_json::Value::Array(_)) = serde_json::from_str(s)
            && let Value::List(items) = Value::from(list)
        {
            return Cow::Owned(items);
        }
        let value = |s: &str| Value::Text(s.trim().to_string());
        Cow::Owned(match separator {
            Some(separator) if !separator.is_empty() => {
                s.split(separator).filter(|s| !s.trim().is_empty()).map(value).collect()
            }
            _ => s.split_whitespace().map(value).collect(),
        })
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Value {
        Value::Text(s.into())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Value {
        Value::Text(s)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Value {
        Value::Number(n)
    }
}

impl From<serde_json::Value> for Value {
    /// Objects become their JSON text, and so do whole numbers beyond 2^53.
    fn from(value: serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::Missing,
            serde_json::Value::Bool(b) => Value::Bool(b),
            // Numbers of rows and people may be longer than an f64 is exact.
            serde_json::Value::Number(n) if n.as_i128().is_some_and(|n| n.unsigned_abs() > EXACT) => {
                Value::Text(n.to_string())
            }
            serde_json::Value::Number(n) => n.as_f64().map_or(Value::Missing, Value::Number),
            serde_json::Value::String(s) => Value::Text(s),
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(Value::from).collect()),
            object @ serde_json::Value::Object(_) => Value::Text(object.to_string()),
        }
    }
}

/// A row: a value for each column of its table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The values, in the order of the columns.
    pub values: Vec<Value>,
}

impl Row {
    /// The value of a column by its number; missing if there is none.
    pub fn get(&self, column: usize) -> &Value {
        const MISSING: &Value = &Value::Missing;
        self.values.get(column).unwrap_or(MISSING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_whole_numbers_keep_their_digits() {
        let of = |text: &str| Value::from(serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(of("9007199254740992"), Value::Number(9007199254740992.0));
        for text in ["9007199254740993", "-9223372036854775807", "18446744073709551615"] {
            assert_eq!(of(text), Value::Text(text.into()));
        }
        assert_eq!(of("1e300"), Value::Number(1e300));
    }
}
