//! What a model says, in words: labels, numbers, tags.

use brisk_data::{Encoded, EncodedValue, Target, Value};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::{Ready, Said};

/// A label of a set is there if it is at least so probable.
const THERE: f32 = 0.5;

/// A class with its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// Its name.
    pub label: String,
    /// 0 to 1.
    pub probability: f32,
}

/// The most probable classes, the most probable first. A single output is the probability of the second of two classes.
///
/// ```
/// let labels = ["cat".to_string(), "dog".to_string()];
/// let best = brisk_eval::guesses(&[0.25], &labels, 1);
/// assert_eq!((best[0].label.as_str(), best[0].probability), ("cat", 0.75));
/// ```
pub fn guesses(row: &[f32], labels: &[impl AsRef<str>], top: usize) -> Vec<Guess> {
    let two;
    let row = match row {
        [p] => {
            two = [1.0 - p, *p];
            &two
        }
        row => row,
    };
    ranked(row, labels).take(top).collect()
}

/// All labels, the most probable first.
fn ranked<L: AsRef<str>>(row: &[f32], labels: &[L]) -> impl Iterator<Item = Guess> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    let label = |i: usize| labels.get(i).map_or_else(|| i.to_string(), |l| l.as_ref().to_string());
    order.into_iter().map(move |i| Guess { label: label(i), probability: row[i] })
}

/// For people.
///
/// ```
/// let cat = brisk_eval::Guess { label: "cat".into(), probability: 0.7 };
/// assert_eq!(brisk_eval::shown(&[cat]), "cat 70.0 %");
/// ```
pub fn shown(guesses: &[Guess]) -> String {
    let all: Vec<_> = guesses.iter().map(|g| format!("{} {:.1} %", g.label, g.probability * 100.0)).collect();
    all.join("  ")
}

/// What an output says about a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The output.
    pub name: String,
    /// For machines: `label`, `probability` and `probabilities` of a class; `labels` and `probabilities` of a set; `value` of a
    /// number; `words`, `tags` and `probabilities` of tags; `values` or `embedding` where nobody has said what they are.
    pub fields: Map<String, Json>,
    /// For people.
    pub text: String,
}

/// Answers as one object for machines: the fields of one output by themselves, those of several under their names.
///
/// ```
/// use brisk_eval::{Answer, record};
/// let fields = [("value".to_string(), 2.into())].into_iter().collect();
/// let answer = |name: &str| Answer { name: name.into(), fields: Clone::clone(&fields), text: String::new() };
/// assert_eq!(record(vec![answer("a")])["value"], 2);
/// assert_eq!(record(vec![answer("a"), answer("b")])["b"]["value"], 2);
/// ```
pub fn record(answers: Vec<Answer>) -> Map<String, Json> {
    match <[Answer; 1]>::try_from(answers) {
        Ok([one]) => one.fields,
        Err(several) => several.into_iter().map(|a| (a.name, Json::Object(a.fields))).collect(),
    }
}

impl Ready {
    /// What each output says about a sample, in words, with so many of the most probable classes. `field` gives what stands in a
    /// column of the sample's row; only the words of texts that are tagged are asked for.
    pub fn answers(
        &self,
        sample: &Encoded,
        said: &Said,
        top: usize,
        field: &dyn Fn(&str) -> Option<Value>,
    ) -> Vec<Answer> {
        let outputs = self.model.outputs.iter().zip(said);
        let answer = |(output, row): (&brisk_nn::TaskOutput, &Vec<f32>)| {
            let (fields, text) = match self.features.targets.get(&output.name) {
                Some(target) => self.answer(target, sample, row, top, field),
                None if output.loss.group().is_some() => (json!({ "embedding": row }), numbers(row)),
                None => (json!({ "values": row }), numbers(row)),
            };
            let Json::Object(fields) = fields else { return None };
            Some(Answer { name: output.name.clone(), fields, text })
        };
        outputs.filter_map(answer).collect()
    }

    fn answer(
        &self,
        target: &Target,
        sample: &Encoded,
        row: &[f32],
        top: usize,
        field: &dyn Fn(&str) -> Option<Value>,
    ) -> (Json, String) {
        let labels: Vec<&String> = target.labels().into_iter().flatten().collect();
        match target {
            Target::Category { .. } => {
                let guesses = guesses(row, &labels, top);
                let best = guesses.first();
                let (label, probability) = (best.map(|b| &b.label), best.map(|b| b.probability));
                let text = shown(&guesses);
                (json!({"label": label, "probability": probability, "probabilities": guesses}), text)
            }
            Target::Labels { .. } => {
                let all: Vec<Guess> = ranked(row, &labels).collect();
                let there: Vec<_> = all.iter().take_while(|g| g.probability > THERE).cloned().collect();
                let names: Vec<_> = there.iter().map(|g| &g.label).collect();
                let text = if there.is_empty() { "none".into() } else { shown(&there) };
                (json!({"labels": names, "probabilities": all}), text)
            }
            Target::Number { scaling, .. } => {
                let value = row.first().map(|&y| scaling.invert(y));
                (json!({ "value": value }), value.map_or(String::new(), |v| format!("{v:.4}")))
            }
            Target::Tags { input, .. } => {
                let text = self.features.inputs.get(input).and_then(|f| f.as_text());
                let words = text.and_then(|t| Some(t.words_of(&field(&t.column)?))).unwrap_or_default();
                let tags = self.tags(input, sample, row, &labels, words.len());
                let name = |t: &Option<(&String, f32)>| t.map(|t| t.0.clone());
                let text: Vec<_> = words
                    .iter()
                    .zip(&tags)
                    .map(|(word, tag)| format!("{word}/{}", name(tag).unwrap_or_else(|| "?".into())))
                    .collect();
                let names: Vec<_> = tags.iter().map(name).collect();
                let sure: Vec<_> = tags.iter().map(|t| t.map(|t| t.1)).collect();
                (json!({"words": words, "tags": names, "probabilities": sure}), text.join(" "))
            }
        }
    }

    /// The tag of each word, by its first token; none for words that were cut off.
    fn tags<'l>(
        &self,
        input: &str,
        sample: &Encoded,
        row: &[f32],
        labels: &[&'l String],
        words: usize,
    ) -> Vec<Option<(&'l String, f32)>> {
        let mut tags = vec![None; words];
        let place = self.features.inputs.get_index_of(input).unwrap_or(0);
        let Some(EncodedValue::Text(tokens, _)) = sample.inputs.get(place) else { return tags };
        for (&word, row) in tokens.words.iter().zip(row.chunks(labels.len().max(1))) {
            let slot = usize::try_from(word).ok().and_then(|w| tags.get_mut(w));
            if let Some(slot @ None) = slot {
                let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
                *slot = best.and_then(|(i, &p)| Some((*labels.get(i)?, p)));
            }
        }
        tags
    }
}

/// The first of some numbers.
fn numbers(row: &[f32]) -> String {
    const SHOWN: usize = 8;
    let first: Vec<_> = row.iter().take(SHOWN).map(|v| format!("{v:.4}")).collect();
    first.join(" ") + if row.len() > SHOWN { " ..." } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_first() {
        let labels = ["cat", "dog", "emu"].map(String::from);
        assert_eq!(shown(&guesses(&[0.2, 0.1, 0.7], &labels, 2)), "emu 70.0 %  cat 20.0 %");
        assert_eq!(shown(&guesses(&[0.25], &labels[..2], 5)), "cat 75.0 %  dog 25.0 %");
    }
}
