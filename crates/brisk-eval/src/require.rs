//! What must have been measured before a model may be published.

use std::collections::BTreeMap;
use std::fmt;

use brisk_nn::config::closest;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a model must reach, by the name of what is measured: `{test_accuracy: ">= 0.9", test_loss: "< 0.5"}`.
///
/// ```
/// use brisk_eval::Requirements;
/// let requirements: Requirements = serde_json::from_str(r#"{"test_accuracy": ">= 0.9"}"#)?;
/// let measured = [("test_accuracy".to_string(), 0.87)].into();
/// let unmet = requirements.check(&measured).unwrap_err();
/// assert_eq!(unmet[0].to_string(), "test_accuracy: expected >= 0.9, found 0.87");
/// let unmet = requirements.check(&[("test_acuracy".to_string(), 1.0)].into()).unwrap_err();
/// assert_eq!(
///     unmet[0].to_string(),
///     "test_accuracy: expected >= 0.9, but it was not measured; did you mean `test_acuracy`?"
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Requirements(pub IndexMap<String, Condition>);

/// A comparison with a number: `>= 0.9`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: f64,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `>`
    MoreThan,
    /// `<=`
    AtMost,
    /// `<`
    LessThan,
    /// `==`
    Equal,
}

/// All of them; those of two characters first.
const COMPARISONS: [(&str, Comparison); 5] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    (">", Comparison::MoreThan),
    ("<", Comparison::LessThan),
];

/// A requirement that is not met.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmet {
    /// What should have been measured.
    pub metric: String,
    /// What was expected.
    pub required: Condition,
    /// What was found; nothing if it was not measured.
    pub found: Option<f64>,
    /// What was measured instead.
    pub known: Vec<String>,
}

impl Requirements {
    /// True if nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error with each requirement that is not met. What was not measured, or is no number, meets none.
    pub fn check(&self, measured: &BTreeMap<String, f64>) -> Result<(), Vec<Unmet>> {
        let unmet = self.0.iter().filter_map(|(metric, required)| {
            let found = measured.get(metric).copied();
            let met = found.is_some_and(|value| required.is_met(value));
            (!met).then(|| Unmet {
                metric: metric.clone(),
                required: *required,
                found,
                known: measured.keys().cloned().collect(),
            })
        });
        let unmet: Vec<Unmet> = unmet.collect();
        if unmet.is_empty() { Ok(()) } else { Err(unmet) }
    }
}

impl Condition {
    /// Whether a value is as it should be; what is no number never is.
    pub fn is_met(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => value >= self.value,
            Comparison::MoreThan => value > self.value,
            Comparison::AtMost => value <= self.value,
            Comparison::LessThan => value < self.value,
            Comparison::Equal => value == self.value,
        }
    }
}

impl TryFrom<String> for Condition {
    type Error = String;

    fn try_from(text: String) -> Result<Condition, String> {
        let trimmed = text.trim();
        let found = COMPARISONS.iter().find_map(|(sign, c)| Some((*c, trimmed.strip_prefix(sign)?)));
        let number = found.and_then(|(c, rest)| Some((c, rest.trim().parse::<f64>().ok()?)));
        match number.filter(|n| n.1.is_finite()) {
            Some((comparison, value)) => Ok(Condition { comparison, value }),
            None => Err(format!("expected a comparison with a number, such as \">= 0.9\", found {text:?}")),
        }
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> String {
        condition.to_string()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = COMPARISONS.iter().find(|c| c.1 == self.comparison).map_or("", |c| c.0);
        write!(f, "{sign} {}", self.value)
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, ", self.metric, self.required)?;
        if let Some(found) = self.found {
            return write!(f, "found {found}");
        }
        f.write_str("but it was not measured; ")?;
        match closest(&self.metric, self.known.iter().map(String::as_str)) {
            Some(near) => write!(f, "did you mean `{near}`?"),
            None if self.known.is_empty() => f.write_str("nothing was"),
            None => write!(f, "measured were {}", self.known.join(", ")),
        }
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A comparison with a number: `>= 0.9`.",
            "type": "string",
            "pattern": r"^\s*(>=|<=|==|>|<)\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$",
            "examples": [">= 0.9", "< 0.5"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> Result<Condition, String> {
        text.to_string().try_into()
    }

    #[test]
    fn comparisons_compare() {
        for (text, met, unmet) in [
            (">= 0.9", &[0.9, 1.0][..], &[0.89, f64::NAN][..]),
            (">0.9", &[0.91], &[0.9, f64::NAN]),
            ("<= -1e-3", &[-1e-3, -2.0], &[0.0, f64::NAN]),
            (" < 5 ", &[4.9, f64::NEG_INFINITY], &[5.0, f64::INFINITY]),
            ("== 1", &[1.0], &[0.999, f64::NAN]),
        ] {
            let parsed = condition(text).unwrap();
            assert!(met.iter().all(|v| parsed.is_met(*v)), "{text}");
            assert!(!unmet.iter().any(|v| parsed.is_met(*v)), "{text}");
            assert_eq!(condition(&parsed.to_string()), Ok(parsed));
        }
        for text in ["", ">=", "0.9", "=> 0.9", ">= high", ">= nan", "< inf", "!= 1", ">>= 1", ">= 0.9 0.8"] {
            assert!(condition(text).unwrap_err().contains("such as \">= 0.9\""), "{text}");
        }
    }

    #[test]
    fn each_unmet_requirement_is_named() {
        let text = r#"{"test_accuracy": ">= 0.9", "test_loss": "< 0.5", "test_bleu": "> 1"}"#;
        let requirements: Requirements = serde_json::from_str(text).unwrap();
        let measured = [("test_accuracy".to_string(), 0.9), ("test_loss".into(), f64::NAN)].into();
        let unmet = requirements.check(&measured).unwrap_err();
        let messages: Vec<_> = unmet.iter().map(Unmet::to_string).collect();
        assert_eq!(
            messages,
            [
                "test_loss: expected < 0.5, found NaN",
                "test_bleu: expected > 1, but it was not measured; measured were test_accuracy, test_loss",
            ]
        );
        assert!(Requirements::default().check(&BTreeMap::new()).is_ok());
        let nothing = requirements.check(&BTreeMap::new()).unwrap_err();
        assert!(nothing[0].to_string().ends_with("it was not measured; nothing was"));
    }
}
