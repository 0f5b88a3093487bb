//! What a model of a table says about each row.

use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{Encoded, EncodedValue, Features, Notes, Rows, Target, TextFeature, Value};
use brisk_nn::Task;
use serde_json::{Map, Value as Json, json};

use super::ask::{Asker, Said};
use super::texts::Samples;
use super::{Patient, Predict, guesses, ranked, shown};
use crate::exit::bad_input;
use crate::printer::Printer;
use crate::saved::Saved;

/// A label of a set is there if it is at least so probable.
const THERE: f32 = 0.5;
/// Characters of a text that are shown before the answer.
const SHOWN: usize = 60;

pub fn run(args: &Predict, saved: Saved) -> Result<ExitCode> {
    let (model, features, layouts) = saved.into_readable()?;
    let task = model.task();
    if let Some(output) = task.outputs.iter().find(|o| !features.targets.contains_key(&o.name)) {
        let name = &output.name;
        return Err(bad_input(format!(
            "{}: this model has no answers (its output is `{name}`): write the vectors of texts with --embed --output FILE.npy",
            args.run.display()
        )));
    }
    let samples = Samples::open(args, &features)?;
    let features = std::sync::Arc::new(features);
    let device = args.threads.device();
    let mut asker = Asker::new(&device, &task, model.state, features.clone(), layouts);
    let (printer, mut answers) = (Printer::new(args.json), Vec::new());
    let mut progress = Patient::new(samples.total);
    let answerer = Answerer { features: &features, task: &task, top: args.top as usize };
    for rows in samples.chunks {
        let rows = rows?;
        for (i, said) in asker.ask(&rows)?.iter().enumerate() {
            let input = answerer.input(&rows, i)?;
            let outputs = answerer.outputs(&rows, i, said)?;
            match args.json {
                true => answers.push(record(input, outputs)),
                false => printer.line(line(&input, &outputs))?,
            }
        }
        progress.add(rows.len());
    }
    progress.finish();
    warn(&asker.notes);
    if args.json {
        printer.json(&answers)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on stderr what happened to the rows.
pub fn warn(notes: &Notes) {
    notes.messages().iter().for_each(|message| eprintln!("warning: {message}"));
}

struct Answerer<'a> {
    features: &'a Features,
    task: &'a Task,
    top: usize,
}

/// What an output says about a sample: for machines, and for people.
struct Output {
    name: String,
    fields: Map<String, Json>,
    text: String,
}

impl Answerer<'_> {
    /// The fields that the model has read: of one column what stands in it, of several all by name.
    fn input(&self, rows: &Rows, index: usize) -> Result<Json> {
        let row = rows.row(index)?;
        let mut fields = Map::new();
        for column in self.features.inputs.values().flat_map(|f| f.columns()) {
            fields.insert(column.into(), json_of(row.get(rows.column(column)?)));
        }
        Ok(match fields.len() {
            1 => fields.into_iter().next().map_or(Json::Null, |f| f.1),
            _ => fields.into(),
        })
    }

    fn outputs(&self, rows: &Rows, index: usize, said: &Said) -> Result<Vec<Output>> {
        let mut outputs = Vec::new();
        for (output, row) in self.task.outputs.iter().zip(&said.outputs) {
            let Some(target) = self.features.targets.get(&output.name) else { continue };
            let labels: Vec<String> = target.labels().into_iter().flatten().cloned().collect();
            let (fields, text) = match target {
                Target::Category { .. } => {
                    let guesses = guesses(row, &labels, self.top);
                    let best = guesses.first();
                    let (label, probability) = (best.map(|b| &b.label), best.map(|b| b.probability));
                    let text = shown(&guesses);
                    (json!({"label": label, "probability": probability, "probabilities": guesses}), text)
                }
                Target::Labels { .. } => {
                    let all = ranked(row, &labels);
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
                    let words = self.words(rows, index, input)?;
                    let tags = self.tags(input, &said.sample, row, &labels, words.len());
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
            };
            let Json::Object(fields) = fields else { continue };
            outputs.push(Output { name: output.name.clone(), fields, text });
        }
        Ok(outputs)
    }

    fn text(&self, input: &str) -> Option<&TextFeature> {
        self.features.inputs.get(input)?.as_text()
    }

    fn words(&self, rows: &Rows, index: usize, input: &str) -> Result<Vec<String>> {
        let Some(text) = self.text(input) else { return Ok(Vec::new()) };
        Ok(text.words_of(rows.row(index)?.get(rows.column(&text.column)?)))
    }

    /// The tag of each word, by its first token; none for words that were cut off.
    fn tags<'l>(
        &self,
        input: &str,
        sample: &Encoded,
        row: &[f32],
        labels: &'l [String],
        words: usize,
    ) -> Vec<Option<(&'l String, f32)>> {
        let mut tags = vec![None; words];
        let place = self.features.inputs.get_index_of(input).unwrap_or(0);
        let Some(EncodedValue::Text(tokens, _)) = sample.inputs.get(place) else { return tags };
        for (&word, row) in tokens.words.iter().zip(row.chunks(labels.len().max(1))) {
            let slot = usize::try_from(word).ok().and_then(|w| tags.get_mut(w));
            if let Some(slot @ None) = slot {
                let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
                *slot = best.and_then(|(i, &p)| Some((labels.get(i)?, p)));
            }
        }
        tags
    }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Missing => Json::Null,
        Value::Text(s) => s.as_str().into(),
        Value::Number(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::List(items) => items.iter().map(json_of).collect(),
    }
}

/// One output stands beside the input, several by their names.
fn record(input: Json, outputs: Vec<Output>) -> Json {
    let mut record = Map::new();
    record.insert("input".into(), input);
    match <[Output; 1]>::try_from(outputs) {
        Ok([one]) => record.extend(one.fields),
        Err(several) => record.extend(several.into_iter().map(|o| (o.name, Json::Object(o.fields)))),
    }
    record.into()
}

fn line(input: &Json, outputs: &[Output]) -> String {
    let input = match input {
        Json::Object(fields) => fields.values().map(short).collect::<Vec<_>>().join(" | "),
        one => short(one),
    };
    match outputs {
        [one] => format!("{input}  {}", one.text),
        several => {
            let all: Vec<_> = several.iter().map(|o| format!("{}: {}", o.name, o.text)).collect();
            format!("{input}  {}", all.join("; "))
        }
    }
}

/// The beginning of a text, on one line.
fn short(value: &Json) -> String {
    let text = match value {
        Json::String(text) => text.replace(['\n', '\r', '\t'], " "),
        Json::Null => String::new(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
