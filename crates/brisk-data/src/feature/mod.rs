//! Typed features: what is learned from the training rows (vocabularies, statistics, tokenizers), rows to samples, and samples
//! to the tensors of a batch.

mod category;
mod collate;
mod encode;
mod fit;
mod number;
mod sizes;
mod spec;
mod target;
mod text;
mod vector;

use std::path::Path;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use category::CategoryFeature;
pub use collate::{Layout, Layouts};
pub use encode::{Encoded, EncodedValue, Encoder, Notes};
pub use fit::{FitOptions, FitProgress};
pub use number::{NumberFeature, Scaling};
pub use sizes::{fewer_samples, rounded_length, rounded_tokens};
pub use spec::{
    CategorySpec, CategoryTargetSpec, FeatureSpec, ImageColumnSpec, LabelsSpec, MissingNumber,
    NumberNormalization, NumberSpec, NumberTargetSpec, PairMode, TagsSpec, TargetSpec, TextSpec, VectorSpec,
};
pub use target::Target;
pub use text::TextFeature;
pub use vector::{ImageFeature, VectorFeature};

use crate::{Error, Result, Tokenizer};

/// An input with what it has learned from the training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Feature {
    /// A text, or a pair of texts.
    Text(TextFeature),
    /// A number.
    Number(NumberFeature),
    /// One of several categories.
    Category(CategoryFeature),
    /// Several numbers.
    Vector(VectorFeature),
    /// A picture.
    Image(ImageFeature),
}

impl Feature {
    /// Its columns.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Feature::Text(f) => [Some(f.column.as_str()), f.pair.as_deref()].into_iter().flatten().collect(),
            Feature::Number(f) => vec![&f.column],
            Feature::Category(f) => vec![&f.column],
            Feature::Vector(f) => f.columns.iter().map(String::as_str).collect(),
            Feature::Image(f) => vec![&f.column],
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&TextFeature> {
        match self {
            Feature::Text(f) => Some(f),
            _ => None,
        }
    }
}

/// All inputs and outputs of a model, with what they have learned from the training rows. Saved with the model: this as JSON,
/// each tokenizer as a file beside it.
///
/// ```
/// use brisk_data::*;
/// let table = MemoryTable::new(["text", "stars"], vec![
///     vec!["very good".into(), 5.0.into()],
///     vec!["bad".into(), 1.0.into()],
/// ])?;
/// let rows = Rows::new(table)?;
/// let inputs = [("text".to_string(), FeatureSpec::Text(TextSpec::default()))].into();
/// let targets = [("stars".to_string(), TargetSpec::Category(Default::default()))].into();
/// let features = Features::fit(&inputs, &targets, &rows, FitOptions::default())?;
/// let encoder = Encoder::new(features.into(), rows, true)?;
/// let samples = [encoder.encode(0)?, encoder.encode(1)?];
/// let tensors = encoder.features().collate(&samples, &Layouts::packed())?;
/// let of = |name: &str| &tensors.iter().find(|t| t.0 == name).unwrap().1;
/// assert_eq!(of("text.segments").i32s()?, [0, 2, 2, 1]); // where each text starts, and its length
/// assert_eq!(of("text.ids").shape().dims(), [8]); // three tokens, rounded up
/// assert_eq!(of("stars").i32s()?, [1, 0]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Inputs by name.
    pub inputs: IndexMap<String, Feature>,
    /// Outputs by name.
    pub targets: IndexMap<String, Target>,
}

impl Features {
    /// The inputs that are texts.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &TextFeature)> {
        self.inputs.iter().filter_map(|(name, f)| Some((name.as_str(), f.as_text()?)))
    }

    /// The files of the tokenizers with their content, to be saved beside the JSON.
    pub fn tokenizer_files(&self) -> Result<Vec<(String, String)>> {
        let mut files: Vec<(String, String)> = Vec::new();
        for (_, text) in self.texts() {
            if !files.iter().any(|f| f.0 == text.tokenizer_file) {
                files.push((text.tokenizer_file.clone(), text.tokenizer()?.to_json()?));
            }
        }
        Ok(files)
    }

    /// Loads the tokenizers from the folder that the features were read from, and checks that all values make sense.
    pub fn load_tokenizers(&mut self, folder: &Path) -> Result<()> {
        let mut loaded: Vec<(String, Tokenizer)> = Vec::new();
        for feature in self.inputs.values_mut() {
            let Feature::Text(text) = feature else { continue };
            let file = &text.tokenizer_file;
            if file.contains(['/', '\\']) || file == ".." {
                return Err(config("tokenizer_file", file, "the name of a file beside this one"));
            }
            let tokenizer = match loaded.iter().find(|l| l.0 == *file) {
                Some((_, tokenizer)) => tokenizer.clone(),
                None => Tokenizer::open(&folder.join(file))?,
            };
            loaded.push((file.clone(), tokenizer.clone()));
            text.tokenizer = Some(tokenizer);
        }
        self.validate()
    }

    /// An error if values contradict each other, as those of a damaged file might.
    pub fn validate(&self) -> Result<()> {
        for (name, feature) in &self.inputs {
            match feature {
                Feature::Text(f) if f.max_length == 0 || f.max_length > MAX_LENGTH => {
                    return Err(config(&format!("{name}.max_length"), f.max_length, "1 to 1000000"));
                }
                Feature::Number(f) if !f.scaling.is_valid() => {
                    return Err(config(
                        &format!("{name}.scaling"),
                        format!("{:?}", f.scaling),
                        "finite numbers, and no factor 0",
                    ));
                }
                Feature::Vector(f)
                    if f.scaling.iter().any(|s| !s.is_valid())
                        || f.fill.len() != f.scaling.len()
                        || f.scaling.is_empty()
                        || f.columns.is_empty()
                        || !f.list && f.columns.len() != f.scaling.len()
                        || f.list && f.columns.len() != 1 =>
                {
                    return Err(config(
                        &format!("{name}.scaling"),
                        f.scaling.len(),
                        "a finite scaling for each number",
                    ));
                }
                Feature::Image(f) => f.image.validate()?,
                _ => {}
            }
        }
        for (name, target) in &self.targets {
            match target {
                Target::Number { scaling, .. } if !scaling.is_valid() => {
                    return Err(config(
                        &format!("{name}.scaling"),
                        format!("{scaling:?}"),
                        "finite numbers, and no factor 0",
                    ));
                }
                Target::Tags { input, .. } if self.inputs.get(input).and_then(Feature::as_text).is_none() => {
                    return Err(config(
                        &format!("{name}.input"),
                        input,
                        "the name of an input that is a text",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The longest text.
const MAX_LENGTH: usize = 1_000_000;

fn config(key: &str, found: impl ToString, expected: &str) -> Error {
    Error::Config { key: key.into(), found: found.to_string(), expected: expected.into() }
}

/// What a category is called.
pub(crate) fn category_name(value: &crate::Value) -> Option<String> {
    category::name(value).map(|n| n.into_owned())
}

/// The beginning of a text, for messages.
fn short(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((i, _)) => format!("{}...", &text[..i]),
        None => text.into(),
    }
}
