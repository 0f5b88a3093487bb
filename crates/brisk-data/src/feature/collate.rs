//! Samples to the tensors of a batch.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use brisk_graph::Tensor;

use super::{Encoded, EncodedValue, Feature, Features, Target, config, rounded_length, rounded_tokens};
use crate::{Result, TextTokens};

/// How the texts of a batch lie in memory; the model decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One after another, without gaps: for encoders of BERT's kind.
    #[default]
    Packed,
    /// Side by side, zeros after the shorter ones: for layers of Keras's kind.
    Padded,
}

/// The layout of each text.
///
/// ```
/// use brisk_data::{Layout, Layouts};
/// let layouts = Layouts::packed().with("title", Layout::Padded);
/// assert_eq!((layouts.of("title"), layouts.of("body")), (Layout::Padded, Layout::Packed));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layouts {
    others: Layout,
    named: BTreeMap<String, Layout>,
}

impl Layouts {
    /// All packed.
    pub fn packed() -> Layouts {
        Layouts::default()
    }

    /// All padded.
    pub fn padded() -> Layouts {
        Layouts { others: Layout::Padded, ..Layouts::default() }
    }

    /// One in another layout.
    pub fn with(mut self, name: impl Into<String>, layout: Layout) -> Layouts {
        self.named.insert(name.into(), layout);
        self
    }

    /// The layout of a text.
    pub fn of(&self, name: &str) -> Layout {
        self.named.get(name).copied().unwrap_or(self.others)
    }
}

impl Features {
    /// The tensors of a batch, by name. NAME is that of the feature, n the number of samples:
    ///
    /// | feature | tensors |
    /// |---|---|
    /// | text, packed | `NAME.ids`, `NAME.positions`, `NAME.types` i32 `[tokens]`, `NAME.segments` i32 `[n, 2]` (start, length), or `[2n, 2]` for a separate pair: first all first texts, then all second ones. Tokens are [rounded up](rounded_tokens) |
    /// | text, padded | `NAME` i32 `[n, length]`, or `[2n, length]`; the length is [rounded up](rounded_length), but not beyond `max_length` |
    /// | number | f32 `[n, 1]` |
    /// | category | i32 `[n]` |
    /// | vector | f32 `[n, size]` |
    /// | image | u8 `[n, height, width, channels]` |
    /// | output: category | i32 `[n]` |
    /// | output: labels | f32 `[n, labels]`, 0 or 1 |
    /// | output: number | f32 `[n, 1]` |
    /// | output: tags | i32 `[tokens]` or `[n, length]`, as the text; -1 where there is none |
    ///
    /// An error if samples are not of these features.
    pub fn collate(
        &self,
        samples: &[impl Borrow<Encoded>],
        layouts: &Layouts,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        for (i, (name, feature)) in self.inputs.iter().enumerate() {
            let values = samples.iter().map(|s| s.borrow().inputs.get(i));
            match feature {
                Feature::Text(f) => {
                    let texts = texts(name, values, f.is_separate_pair())?;
                    match layouts.of(name) {
                        Layout::Packed => tensors.extend(packed(name, &texts)?),
                        Layout::Padded => tensors.push((name.clone(), padded(&texts, f.max_length)?)),
                    }
                }
                Feature::Number(_) => tensors.push((name.clone(), numbers(name, values)?)),
                Feature::Category(_) => tensors.push((name.clone(), categories(name, values)?)),
                Feature::Vector(f) => {
                    let mut all = Vec::with_capacity(samples.len() * f.size());
                    for value in values {
                        match value {
                            Some(EncodedValue::Vector(v)) => all.extend_from_slice(v),
                            _ => return Err(other(name)),
                        }
                    }
                    tensors.push((name.clone(), Tensor::new([samples.len(), f.size()], all)?));
                }
                Feature::Image(f) => {
                    let mut all = Vec::with_capacity(samples.len() * f.image.elements());
                    for value in values {
                        match value {
                            Some(EncodedValue::Image(pixels)) => all.extend_from_slice(pixels),
                            _ => return Err(other(name)),
                        }
                    }
                    let dims = [samples.len(), f.image.height, f.image.width, f.image.channels];
                    tensors.push((name.clone(), Tensor::new(dims, all)?));
                }
            }
        }
        if samples.iter().all(|s| s.borrow().targets.is_empty()) {
            return Ok(tensors);
        }
        for (i, (name, target)) in self.targets.iter().enumerate() {
            let values = samples.iter().map(|s| s.borrow().targets.get(i));
            let tensor = match target {
                Target::Category { .. } => categories(name, values)?,
                Target::Number { .. } => numbers(name, values)?,
                Target::Labels { labels, .. } => {
                    let mut all = vec![0.0f32; samples.len() * labels.len()];
                    for (value, row) in values.zip(all.chunks_mut(labels.len().max(1))) {
                        let Some(EncodedValue::Labels(numbers)) = value else { return Err(other(name)) };
                        for &n in numbers {
                            if let Some(x) = row.get_mut(n as usize) {
                                *x = 1.0;
                            }
                        }
                    }
                    Tensor::new([samples.len(), labels.len()], all)?
                }
                Target::Tags { input, .. } => {
                    let tags: Vec<&[i32]> = values
                        .map(|v| match v {
                            Some(EncodedValue::Tags(tags)) => Ok(tags.as_slice()),
                            _ => Err(other(name)),
                        })
                        .collect::<Result<_>>()?;
                    match layouts.of(input) {
                        Layout::Packed => pack(&tags, -1)?,
                        Layout::Padded => {
                            let max =
                                self.inputs.get(input).and_then(Feature::as_text).map_or(0, |f| f.max_length);
                            pad(&tags, -1, max)?
                        }
                    }
                }
            };
            tensors.push((name.clone(), tensor));
        }
        Ok(tensors)
    }
}

fn other(name: &str) -> crate::Error {
    config(name, "a sample of other features", "samples that these features have encoded")
}

/// The texts of a batch; of separate pairs first all first ones.
fn texts<'a>(
    name: &str,
    values: impl Iterator<Item = Option<&'a EncodedValue>>,
    separate: bool,
) -> Result<Vec<&'a TextTokens>> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Some(EncodedValue::Text(a, None)) if !separate => first.push(a),
            Some(EncodedValue::Text(a, Some(b))) if separate => {
                first.push(a);
                second.push(b);
            }
            _ => return Err(other(name)),
        }
    }
    first.append(&mut second);
    Ok(first)
}

fn packed(name: &str, texts: &[&TextTokens]) -> Result<Vec<(String, Tensor)>> {
    let mut segments = Vec::with_capacity(texts.len() * 2);
    let mut start = 0i32;
    let positions: Vec<Vec<i32>> = texts.iter().map(|t| (0..t.ids.len() as i32).collect()).collect();
    for t in texts {
        segments.extend([start, t.ids.len() as i32]);
        start += t.ids.len() as i32;
    }
    let of = |what: &dyn Fn(&TextTokens) -> Vec<i32>| {
        let parts: Vec<Vec<i32>> = texts.iter().map(|t| what(t)).collect();
        pack(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0)
    };
    Ok(vec![
        (format!("{name}.ids"), of(&|t| t.ids.clone())?),
        (format!("{name}.positions"), pack(&positions.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0)?),
        (format!("{name}.types"), of(&|t| t.types.clone())?),
        (format!("{name}.segments"), Tensor::new([texts.len(), 2], segments)?),
    ])
}

/// One after another, and something in the rows that are left over.
fn pack(parts: &[&[i32]], rest: i32) -> Result<Tensor> {
    let mut all: Vec<i32> = parts.concat();
    let size = rounded_tokens(all.len());
    all.resize(size, rest);
    Ok(Tensor::new([size], all)?)
}

fn padded(texts: &[&TextTokens], max_length: usize) -> Result<Tensor> {
    pad(&texts.iter().map(|t| t.ids.as_slice()).collect::<Vec<_>>(), 0, max_length)
}

fn pad(parts: &[&[i32]], rest: i32, max_length: usize) -> Result<Tensor> {
    let longest = parts.iter().map(|p| p.len()).max().unwrap_or(0);
    let length = rounded_length(longest).min(max_length.max(longest));
    let mut all = Vec::with_capacity(parts.len() * length);
    for part in parts {
        all.extend_from_slice(part);
        all.resize(all.len() + length - part.len(), rest);
    }
    Ok(Tensor::new([parts.len(), length], all)?)
}

fn numbers<'a>(name: &str, values: impl Iterator<Item = Option<&'a EncodedValue>>) -> Result<Tensor> {
    let all: Vec<f32> = values
        .map(|v| match v {
            Some(EncodedValue::Number(x)) => Ok(*x),
            _ => Err(other(name)),
        })
        .collect::<Result<_>>()?;
    Ok(Tensor::new([all.len(), 1], all)?)
}

fn categories<'a>(name: &str, values: impl Iterator<Item = Option<&'a EncodedValue>>) -> Result<Tensor> {
    let all: Vec<i32> = values
        .map(|v| match v {
            Some(EncodedValue::Category(c)) => Ok(*c),
            _ => Err(other(name)),
        })
        .collect::<Result<_>>()?;
    Ok(Tensor::new([all.len()], all)?)
}
