//! Rows to samples.

use std::ops::AddAssign;
use std::sync::Arc;

use super::target::{names, tags};
use super::vector::ImageFeature;
use super::{Feature, Features, Target, category, number};
use crate::error::nearest;
use crate::{Error, Result, Row, Rows, TextTokens, Value, decode};

/// One value of a sample, as its feature has read it.
#[derive(Clone, Debug, PartialEq)]
pub enum EncodedValue {
    /// A text or a joined pair; with a second one, a separate pair.
    Text(TextTokens, Option<TextTokens>),
    /// A number.
    Number(f32),
    /// A category, or a class.
    Category(i32),
    /// Several numbers.
    Vector(Vec<f32>),
    /// Pixels, `[height, width, channels]`.
    Image(Vec<u8>),
    /// The numbers of labels.
    Labels(Vec<u32>),
    /// For each token its tag, -1 for none.
    Tags(Vec<i32>),
}

/// What happened to samples that somebody may want to know.
///
/// ```
/// let mut sum = brisk_data::Notes::default();
/// sum += brisk_data::Notes { truncated: 1, ..Default::default() };
/// assert_eq!(sum.truncated, 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Texts that were too long.
    pub truncated: u64,
    /// Tokens that were cut off.
    pub cut_tokens: u64,
    /// Texts without a token.
    pub empty_texts: u64,
    /// Categories that were rare or never seen in training.
    pub unknown_categories: u64,
    /// Values that were missing.
    pub missing: u64,
}

impl Notes {
    /// A sentence for each thing that happened.
    ///
    /// ```
    /// let notes = brisk_data::Notes { truncated: 2, cut_tokens: 30, ..Default::default() };
    /// assert_eq!(notes.messages(), ["2 texts were too long: 30 of their tokens were cut off; raise max_length if the model takes more"]);
    /// ```
    pub fn messages(&self) -> Vec<String> {
        let several = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        let mut messages = Vec::new();
        if self.truncated > 0 {
            messages.push(format!(
                "{} too long: {} of their tokens were cut off; raise max_length if the model takes more",
                several(self.truncated, "text was", "texts were"),
                self.cut_tokens
            ));
        }
        if self.empty_texts > 0 {
            messages.push(format!("{} empty", several(self.empty_texts, "text is", "texts are")));
        }
        if self.unknown_categories > 0 {
            messages.push(format!(
                "{} rare or not known from training, and became the unknown one",
                several(self.unknown_categories, "category was", "categories were")
            ));
        }
        if self.missing > 0 {
            messages.push(format!(
                "{} missing, and filled in",
                several(self.missing, "value was", "values were")
            ));
        }
        messages
    }
}

impl AddAssign for Notes {
    fn add_assign(&mut self, other: Notes) {
        self.truncated += other.truncated;
        self.cut_tokens += other.cut_tokens;
        self.empty_texts += other.empty_texts;
        self.unknown_categories += other.unknown_categories;
        self.missing += other.missing;
    }
}

/// A sample: its values in the order of the features.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Inputs.
    pub inputs: Vec<EncodedValue>,
    /// Outputs; none if they were not asked for.
    pub targets: Vec<EncodedValue>,
    /// What happened to it.
    pub notes: Notes,
}

impl Encoded {
    /// The tokens of all its texts.
    pub fn tokens(&self) -> usize {
        let texts = self.inputs.iter().map(|v| match v {
            EncodedValue::Text(a, b) => a.ids.len() + b.as_ref().map_or(0, |b| b.ids.len()),
            _ => 0,
        });
        texts.sum()
    }
}

impl Feature {
    /// Reads the fields of its [`columns`](Feature::columns), in their order; or says which of them is wrong, and why. A picture is no
    /// field: [`Encoder`] reads its file, and others have its pixels.
    ///
    /// ```
    /// use brisk_data::{EncodedValue, Feature, Notes, NumberFeature, Scaling};
    /// let scaling = Scaling { offset: 10.0, factor: 0.5 };
    /// let size = Feature::Number(NumberFeature { column: "size".into(), fill: None, scaling });
    /// let mut notes = Notes::default();
    /// assert_eq!(size.encode(&[&14.0.into()], &mut notes), Ok(EncodedValue::Number(2.0)));
    /// assert!(size.encode(&[&"large".into()], &mut notes).is_err());
    /// ```
    pub fn encode(&self, fields: &[&Value], notes: &mut Notes) -> Result<EncodedValue, (usize, String)> {
        let Some(&first) = fields.first() else { return Err((0, "no column".into())) };
        notes.missing += fields.iter().filter(|f| f.is_missing()).count() as u64;
        Ok(match self {
            Feature::Text(f) => {
                let (a, b) = f.encode(first, fields.get(1).copied()).map_err(|e| (0, e.to_string()))?;
                for t in [Some(&a), b.as_ref()].into_iter().flatten() {
                    notes.truncated += u64::from(t.cut > 0);
                    notes.cut_tokens += t.cut as u64;
                    notes.empty_texts += u64::from(t.is_empty);
                }
                EncodedValue::Text(a, b)
            }
            Feature::Number(f) => {
                let x = number::filled(first, f.fill).map_err(|e| (0, e))?;
                EncodedValue::Number(f.scaling.apply(x))
            }
            Feature::Category(f) => {
                let number = f.number(first);
                notes.unknown_categories += u64::from(number == 0);
                EncodedValue::Category(number)
            }
            Feature::Vector(f) => EncodedValue::Vector(f.encode(fields)?),
            Feature::Image(_) => return Err((0, "expected a picture".into())),
        })
    }
}

/// Reads the rows of a table as samples.
#[derive(Clone, Debug)]
pub struct Encoder {
    features: Arc<Features>,
    rows: Rows,
    /// For each input, and then for each target that is wanted, the numbers of its columns.
    inputs: Arc<[Vec<usize>]>,
    targets: Arc<[usize]>,
}

impl Encoder {
    /// Finds the columns of all features; of targets only if they are wanted. An error names a column that is missing.
    pub fn new(features: Arc<Features>, rows: Rows, targets: bool) -> Result<Encoder> {
        let inputs = features
            .inputs
            .values()
            .map(|f| f.columns().into_iter().map(|c| rows.column(c)).collect::<Result<Vec<_>>>())
            .collect::<Result<_>>()?;
        let targets = match targets {
            true => features.targets.values().map(|t| rows.column(t.column())).collect::<Result<_>>()?,
            false => Arc::from([]),
        };
        for (_, text) in features.texts() {
            text.tokenizer()?;
        }
        Ok(Encoder { features, rows, inputs, targets })
    }

    /// The features.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A sample. Errors name the row and the column.
    pub fn encode(&self, index: usize) -> Result<Encoded> {
        let row = self.rows.row(index)?;
        let mut encoded = Encoded { inputs: Vec::new(), targets: Vec::new(), notes: Notes::default() };
        for (feature, columns) in self.features.inputs.values().zip(self.inputs.iter()) {
            let value = self.input(index, &row, feature, columns, &mut encoded.notes)?;
            encoded.inputs.push(value);
        }
        for (target, &column) in self.features.targets.values().zip(self.targets.iter()) {
            let value = self.target(index, &row, target, column, &encoded)?;
            encoded.targets.push(value);
        }
        Ok(encoded)
    }

    fn input(
        &self,
        index: usize,
        row: &Row,
        feature: &Feature,
        columns: &[usize],
        notes: &mut Notes,
    ) -> Result<EncodedValue> {
        let fields: Vec<_> = columns.iter().map(|&c| row.get(c)).collect();
        let names = feature.columns();
        let error = |i: usize, reason: String| self.rows.error(index, names.get(i).unwrap_or(&""), reason);
        match feature {
            Feature::Image(f) => match fields.first().and_then(|v| category::name(v)) {
                Some(path) => self.image(index, f, &path),
                None => Err(error(0, "the path of the picture is missing".into())),
            },
            _ => feature.encode(&fields, notes).map_err(|(i, reason)| error(i, reason)),
        }
    }

    fn image(&self, index: usize, f: &ImageFeature, path: &str) -> Result<EncodedValue> {
        let image = decode::read_file(&self.rows.folder(index).join(path))
            .and_then(|i| i.convert(f.image))
            .map_err(|e| self.rows.error(index, &f.column, e.to_string()))?;
        Ok(EncodedValue::Image(image.into_pixels()))
    }

    fn target(
        &self,
        index: usize,
        row: &Row,
        target: &Target,
        column: usize,
        encoded: &Encoded,
    ) -> Result<EncodedValue> {
        let value = row.get(column);
        let error = |reason: String| self.rows.error(index, target.column(), reason);
        let number_of = |labels: &indexmap::IndexSet<String>, name: &str| {
            labels.get_index_of(name).ok_or_else(|| Error::UnknownClass {
                place: format!("{}, column `{}`", self.rows.place(index), target.column()),
                label: name.into(),
                suggestion: nearest(name, labels.iter().map(String::as_str)),
                known: labels.iter().cloned().collect(),
            })
        };
        Ok(match target {
            Target::Category { labels, .. } => match category::name(value) {
                Some(name) => EncodedValue::Category(number_of(labels, &name)? as i32),
                None => return Err(error("the class is missing. Write it, or remove the row".into())),
            },
            Target::Labels { labels, separator, .. } => {
                let names = names(value, separator);
                let numbers =
                    names.iter().map(|n| Ok(number_of(labels, n)? as u32)).collect::<Result<_>>()?;
                EncodedValue::Labels(numbers)
            }
            Target::Number { scaling, .. } => {
                let missing = || error("the number is missing. Write it, or remove the row".into());
                let x = number::read(value).map_err(&error)?.ok_or_else(missing)?;
                EncodedValue::Number(scaling.apply(x))
            }
            Target::Tags { input, labels, separator, .. } => {
                let tags = tags(value, separator.as_deref())
                    .map_err(|word| error(super::fit::untagged(&word, separator)))?;
                let mut numbers = Vec::with_capacity(tags.len());
                for tag in &tags {
                    numbers.push(number_of(labels, tag)? as i32);
                }
                let place = self.features.inputs.get_index_of(input);
                let text = place.and_then(|i| Some((self.features.inputs.get_index(i)?.1.as_text()?, i)));
                let Some((text, i)) = text else { return Err(error(format!("no text `{input}`"))) };
                let field = self.inputs.get(i).and_then(|c| c.first()).map(|&c| row.get(c));
                let words = field.map_or(0, |f| text.words_of(f).len());
                if words != tags.len() {
                    return Err(error(format!("{} tags for {words} words of `{input}`", tags.len())));
                }
                match encoded.inputs.get(i) {
                    Some(EncodedValue::Text(tokens, _)) => {
                        EncodedValue::Tags(by_token(&tokens.words, &numbers))
                    }
                    _ => return Err(error(format!("`{input}` is no text"))),
                }
            }
        })
    }
}

/// The tag of each word at its first token, -1 elsewhere.
fn by_token(words: &[i32], tags: &[i32]) -> Vec<i32> {
    let mut last = -1;
    let tag = |&word: &i32| {
        let is_first = word >= 0 && word != last;
        last = word;
        if is_first { tags.get(word as usize).copied().unwrap_or(-1) } else { -1 }
    };
    words.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_token_has_the_tag() {
        assert_eq!(super::by_token(&[-1, 0, 0, 1, 2, -1], &[7, 8, 9]), [-1, 7, -1, 8, 9, -1]);
    }
}
