//! Texts as their feature has learned to read them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::PairMode;
use crate::{Error, Result, TextInput, TextTokens, Tokenizer, Truncation, Value};

/// A text, or a pair of texts, with its tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextFeature {
    /// The column.
    pub column: String,
    /// The column of the second text of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// What becomes of a pair.
    #[serde(default)]
    pub pair_mode: PairMode,
    /// The most tokens of a text.
    pub max_length: usize,
    /// What is cut off a longer one.
    #[serde(default)]
    pub truncation: Truncation,
    /// What stands between a word and its tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_separator: Option<String>,
    /// True if the words of the text have tags: it is then cut into words at white space, before it is cut into tokens.
    #[serde(default)]
    pub words: bool,
    /// The file of the tokenizer, beside the one that holds this.
    pub tokenizer_file: String,
    /// The tokenizer; nothing until it is loaded.
    #[serde(skip)]
    pub tokenizer: Option<Tokenizer>,
}

impl TextFeature {
    /// The tokenizer. An error if it has not been loaded.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| Error::Tokenizer {
            place: self.tokenizer_file.clone(),
            reason: "the tokenizer has not been loaded".into(),
        })
    }

    /// True if a sample is two texts.
    pub fn is_separate_pair(&self) -> bool {
        self.pair.is_some() && self.pair_mode == PairMode::Separate
    }

    /// The words of a field, without their tags.
    pub fn words_of(&self, value: &Value) -> Vec<String> {
        let words = value.items(None);
        let words = words.iter().map(|w| w.text().unwrap_or_default());
        match &self.tag_separator {
            None => words.map(|w| w.into_owned()).collect(),
            Some(s) => words
                .map(|w| {
                    w.rsplit_once(s.as_str()).map_or_else(|| w.to_string(), |(word, _)| word.to_string())
                })
                .collect(),
        }
    }

    /// The tokens of a sample: of one text or a joined pair; or of both texts of a separate pair.
    pub(super) fn encode(
        &self,
        first: &Value,
        second: Option<&Value>,
    ) -> Result<(TextTokens, Option<TextTokens>)> {
        let tokenizer = self.tokenizer()?;
        let a = Text::of(self, first);
        let b = second.map(|v| Text::of(self, v));
        let one = |t: &Text, pair: Option<&Text>| {
            tokenizer.encode(t.input(), pair.map(Text::input), self.max_length, self.truncation)
        };
        match &b {
            Some(b) if self.pair_mode == PairMode::Separate => Ok((one(&a, None)?, Some(one(b, None)?))),
            b => Ok((one(&a, b.as_ref())?, None)),
        }
    }
}

/// What a field holds: text, or words.
enum Text {
    Plain(String),
    Words(Vec<String>),
}

impl Text {
    fn of(feature: &TextFeature, value: &Value) -> Text {
        match value {
            Value::List(_) => Text::Words(feature.words_of(value)),
            _ if feature.words || feature.tag_separator.is_some() => Text::Words(feature.words_of(value)),
            other => Text::Plain(other.text().unwrap_or_default().into_owned()),
        }
    }

    fn input(&self) -> TextInput<'_> {
        match self {
            Text::Plain(s) => TextInput::Plain(s),
            Text::Words(w) => TextInput::Words(w),
        }
    }
}

/// The text of a field for a tokenizer's training.
pub(super) fn plain(value: &Value, tag_separator: Option<&str>) -> String {
    let without_tag = |w: &str| match tag_separator.and_then(|s| w.rsplit_once(s)) {
        Some((word, _)) => word.to_string(),
        None => w.to_string(),
    };
    match value {
        Value::List(_) => join(value.items(None).iter().map(|v| without_tag(&v.text().unwrap_or_default()))),
        Value::Text(s) if tag_separator.is_some() => join(s.split_whitespace().map(without_tag)),
        other => other.text().unwrap_or_default().into_owned(),
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}
