//! What a model takes and gives, as a configuration says it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{TokenizerSpec, Truncation};

/// A kind of input. Its column is the one with the input's name, unless it says otherwise.
///
/// ```
/// use brisk_data::FeatureSpec;
/// let spec: FeatureSpec = serde_json::from_str(r#"{"type": "text", "column": "review", "max_length": 80}"#)?;
/// assert!(matches!(spec, FeatureSpec::Text(t) if t.max_length == Some(80)));
/// assert!(serde_json::from_str::<FeatureSpec>(r#"{"type": "number", "colunm": "x"}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeatureSpec {
    /// A text, or a pair of texts.
    Text(TextSpec),
    /// A number.
    Number(NumberSpec),
    /// One of several categories.
    Category(CategorySpec),
    /// Several numbers.
    Vector(VectorSpec),
    /// The path of a picture, relative to the table's file.
    Image(ImageColumnSpec),
}

/// A text, or a pair of texts.
///
/// ```
/// let spec = brisk_data::TextSpec { max_length: Some(128), ..Default::default() };
/// assert!(spec.tokenizer.is_none() && spec.pair.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextSpec {
    /// The column; left out: the input's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The column of the second text of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// What becomes of a pair.
    #[serde(skip_serializing_if = "is_default")]
    pub pair_mode: PairMode,
    /// How text is cut into tokens; left out: as the pretrained model does, otherwise by words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerSpec>,
    /// The most tokens of a text, special ones among them; left out: as many as the pretrained model takes, otherwise 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// What is cut off a text that is longer.
    #[serde(skip_serializing_if = "is_default")]
    pub truncation: Truncation,
    /// The column holds words with tags, as `Paris/LOC is/O`: what stands between a word and its tag (the last one counts).
    /// The words are the text; an output of type `tags` reads the tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_separator: Option<String>,
}

/// What becomes of a pair of texts.
///
/// ```
/// assert_eq!(serde_json::to_string(&brisk_data::PairMode::Separate).unwrap(), r#""separate""#);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PairMode {
    /// One text, with the tokenizer's separator between the two: the model sees them together.
    #[default]
    Joined,
    /// Two texts: the model sees each alone, as for sentence similarity. A batch holds all first texts, then all second ones.
    Separate,
}

/// A number.
///
/// ```
/// let spec: brisk_data::NumberSpec = serde_json::from_str(r#"{"missing": -1, "normalization": "min_max"}"#)?;
/// assert_eq!(spec.missing, brisk_data::MissingNumber::Value(-1.0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NumberSpec {
    /// The column; left out: the input's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What a missing number becomes.
    #[serde(skip_serializing_if = "is_default")]
    pub missing: MissingNumber,
    /// What numbers become.
    #[serde(skip_serializing_if = "is_default")]
    pub normalization: NumberNormalization,
}

/// What a missing number becomes, before normalization.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum MissingNumber {
    /// The mean of the training rows.
    #[default]
    Mean,
    /// The median of the training rows (of the first million and a sample of the others, if there are more).
    Median,
    /// 0.
    Zero,
    /// Nothing: it is an error.
    Error,
    /// A number.
    Value(f64),
}

impl Serialize for MissingNumber {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            MissingNumber::Mean => s.serialize_str("mean"),
            MissingNumber::Median => s.serialize_str("median"),
            MissingNumber::Zero => s.serialize_str("zero"),
            MissingNumber::Error => s.serialize_str("error"),
            MissingNumber::Value(v) => s.serialize_f64(*v),
        }
    }
}

impl<'de> Deserialize<'de> for MissingNumber {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<MissingNumber, D::Error> {
        struct NameOrNumber;
        impl serde::de::Visitor<'_> for NameOrNumber {
            type Value = MissingNumber;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`mean`, `median`, `zero`, `error` or a number")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<MissingNumber, E> {
                match name {
                    "mean" => Ok(MissingNumber::Mean),
                    "median" => Ok(MissingNumber::Median),
                    "zero" => Ok(MissingNumber::Zero),
                    "error" => Ok(MissingNumber::Error),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<MissingNumber, E> {
                match v.is_finite() {
                    true => Ok(MissingNumber::Value(v)),
                    false => Err(E::invalid_value(serde::de::Unexpected::Float(v), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<MissingNumber, E> {
                self.visit_f64(v as f64)
            }

            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<MissingNumber, E> {
                self.visit_f64(v as f64)
            }
        }
        d.deserialize_any(NameOrNumber)
    }
}

impl JsonSchema for MissingNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MissingNumber".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "What a missing number becomes, before normalization.",
            "anyOf": [{"enum": ["mean", "median", "zero", "error"]}, {"type": "number"}],
        })
    }
}

/// What numbers become.
///
/// ```
/// assert_eq!(serde_json::to_string(&brisk_data::NumberNormalization::MinMax).unwrap(), r#""min_max""#);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberNormalization {
    /// Mean 0 and standard deviation 1 over the training rows.
    #[default]
    Standardize,
    /// 0 to 1 over the training rows.
    MinMax,
    /// What they are.
    None,
}

/// One of several categories.
///
/// ```
/// let spec: brisk_data::CategorySpec = serde_json::from_str(r#"{"min_count": 5}"#)?;
/// assert_eq!((spec.min_count, spec.max_categories), (5, 10_000));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CategorySpec {
    /// The column; left out: the input's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// How often a category must stand in the training rows; rarer ones are 0, as are those never seen.
    pub min_count: u64,
    /// The most categories; the most frequent ones stay.
    pub max_categories: usize,
}

impl Default for CategorySpec {
    fn default() -> CategorySpec {
        CategorySpec { column: None, min_count: 1, max_categories: 10_000 }
    }
}

/// Several numbers: from a list in one column, or from several columns.
///
/// ```
/// let spec: brisk_data::VectorSpec = serde_json::from_str(r#"{"columns": ["width", "height"]}"#)?;
/// assert_eq!(spec.columns.map(|c| c.len()), Some(2));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VectorSpec {
    /// The column of lists; left out: the input's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Columns of numbers, instead of one of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Numbers in a list; left out: as many as the first training row has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// What a missing number becomes.
    #[serde(skip_serializing_if = "is_default")]
    pub missing: MissingNumber,
    /// What numbers become, each place by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub normalization: NumberNormalization,
}

/// The path of a picture, relative to the table's file.
///
/// ```
/// let spec: brisk_data::ImageColumnSpec = serde_json::from_str(r#"{"size": [32, 32]}"#)?;
/// assert_eq!(spec.channels, 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageColumnSpec {
    /// The column; left out: the input's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Height and width to which every picture is resized.
    pub size: [usize; 2],
    /// 1 for grey, 3 for colour.
    #[serde(default = "three")]
    pub channels: usize,
}

fn three() -> usize {
    3
}

/// A kind of output. Its column is the one with the output's name, unless it says otherwise.
///
/// ```
/// use brisk_data::TargetSpec;
/// let spec: TargetSpec = serde_json::from_str(r#"{"type": "category", "labels": ["no", "yes"]}"#)?;
/// assert!(matches!(spec, TargetSpec::Category(c) if c.labels.as_ref().unwrap().len() == 2));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TargetSpec {
    /// One of several classes.
    Category(CategoryTargetSpec),
    /// Any number of labels.
    Labels(LabelsSpec),
    /// A number.
    Number(NumberTargetSpec),
    /// A tag for each word of a text.
    Tags(TagsSpec),
}

/// One of several classes.
///
/// ```
/// assert!(brisk_data::CategoryTargetSpec::default().labels.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CategoryTargetSpec {
    /// The column; left out: the output's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The classes, in the order of their numbers; left out: those of the training rows, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

/// Any number of labels: a list, or text with something between the labels.
///
/// ```
/// assert_eq!(brisk_data::LabelsSpec::default().separator, ",");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelsSpec {
    /// The column; left out: the output's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The labels, in the order of their numbers; left out: those of the training rows, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// What stands between labels in text.
    pub separator: String,
}

impl Default for LabelsSpec {
    fn default() -> LabelsSpec {
        LabelsSpec { column: None, labels: None, separator: ",".into() }
    }
}

/// A number to be predicted.
///
/// ```
/// assert!(brisk_data::NumberTargetSpec::default().column.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NumberTargetSpec {
    /// The column; left out: the output's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What the model is trained to give; predictions are turned back.
    #[serde(skip_serializing_if = "is_default")]
    pub normalization: NumberNormalization,
}

/// A tag for each word of a text. Of a word in several tokens, the first has the tag.
///
/// ```
/// assert!(brisk_data::TagsSpec::default().input.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TagsSpec {
    /// The text whose words have the tags; left out: the only text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The column of tags: a list, or text with white space between the tags. Left out: the output's name, or the text's own
    /// column if that has a `tag_separator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The tags, in the order of their numbers; left out: those of the training rows, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_allows_the_tag_and_nothing_unknown() {
        let schema = serde_json::to_value(schemars::schema_for!(FeatureSpec)).unwrap();
        let text = &schema["oneOf"][0];
        assert_eq!(text["properties"]["type"]["const"], "text", "{schema:#}");
        assert_eq!(text["additionalProperties"], false, "{text:#}");
        assert!(text["properties"]["max_length"].is_object());
    }

    #[test]
    fn round_trips_and_names_the_wrong_key() {
        for json in [
            r#"{"type":"text","pair":"b","pair_mode":"separate","tokenizer":{"type":"bpe","vocab_size":300,"min_count":1,"lowercase":true}}"#,
            r#"{"type":"number","missing":"median","normalization":"none"}"#,
            r#"{"type":"number","missing":3.5}"#,
        ] {
            let spec: FeatureSpec = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&spec).unwrap(), json);
        }
        let e = serde_json::from_str::<FeatureSpec>(r#"{"type":"text","tokeniser":"word"}"#).unwrap_err();
        assert!(e.to_string().contains("tokeniser"), "{e}");
        assert!(serde_json::from_str::<NumberSpec>(r#"{"missing":"median?"}"#).is_err());
    }
}
