//! What a model of a table says about each row.

use std::process::ExitCode;

use std::sync::Arc;

use anyhow::Result;
use brisk_data::{Encoded, Encoder, Features, Notes, Rows, Value};
use brisk_eval::{Answer, Asker, Ready, record};
use serde_json::{Map, Value as Json};

use super::texts::Samples;
use super::{Patient, Predict};
use crate::exit::bad_input;
use crate::printer::Printer;

/// Characters of a text that are shown before the answer.
const SHOWN: usize = 60;
/// Below, each whole number has an f64 of its own.
const EXACT: f64 = (1u64 << 53) as f64;

pub fn run(args: &Predict, ready: &Ready) -> Result<ExitCode> {
    refuse_vectors(args, ready)?;
    let samples = Samples::open(args, &ready.features)?;
    let features = Arc::new(ready.features.clone());
    let device = args.compute.device();
    let mut asker = Asker::new(&device, ready);
    let (printer, mut answers, mut notes) = (Printer::new(args.json), Vec::new(), Notes::default());
    let mut progress = Patient::new(samples.total);
    for rows in samples.chunks {
        let rows = rows?;
        let encoded = encode(&features, &rows, &mut notes)?;
        let said = asker.ask(&encoded)?;
        for (i, (sample, said)) in encoded.iter().zip(&said).enumerate() {
            let row = rows.row(i)?;
            let field = |column: &str| rows.column(column).ok().map(|c| row.get(c).clone());
            let input = input(&features, &field);
            let outputs = ready.answers(sample, said, args.top as usize, &field);
            match args.json {
                true => {
                    let mut answer = Map::from_iter([("input".to_string(), input)]);
                    answer.extend(record(outputs));
                    answers.push(answer);
                }
                false => printer.line(line(&input, &outputs))?,
            }
        }
        progress.add(rows.len());
    }
    progress.finish();
    warn(&notes);
    if args.json {
        printer.json(&answers)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An error if the model gives vectors and nothing else.
pub fn refuse_vectors(args: &Predict, ready: &Ready) -> Result<()> {
    match ready.model.outputs.iter().find(|o| o.loss.group().is_some()) {
        Some(output) => Err(bad_input(format!(
            "{}: this model has no answers (its output is `{}`): write the vectors of texts with --embed --output FILE.npy",
            args.run.display(),
            output.name
        ))),
        None => Ok(()),
    }
}

/// Rows as samples, and what happened to them.
pub fn encode(features: &Arc<Features>, rows: &Rows, notes: &mut Notes) -> Result<Vec<Encoded>> {
    let encoder = Encoder::new(features.clone(), rows.clone(), false)?;
    let samples = (0..encoder.len()).map(|i| encoder.encode(i)).collect::<brisk_data::Result<Vec<_>>>()?;
    samples.iter().for_each(|s| *notes += s.notes);
    Ok(samples)
}

/// Says on stderr what happened to the rows.
pub fn warn(notes: &Notes) {
    notes.messages().iter().for_each(|message| eprintln!("warning: {message}"));
}

/// The fields that the model has read: of one column what stands in it, of several all by name.
fn input(features: &Features, field: &dyn Fn(&str) -> Option<Value>) -> Json {
    let columns = features.inputs.values().flat_map(|f| f.columns());
    let fields: Map<String, Json> =
        columns.map(|c| (c.into(), field(c).map_or(Json::Null, |v| json_of(&v)))).collect();
    match fields.len() {
        1 => fields.into_iter().next().map_or(Json::Null, |f| f.1),
        _ => fields.into(),
    }
}

/// A field as JSON. Whole numbers are written without a point.
pub fn json_of(value: &Value) -> Json {
    match value {
        Value::Number(n) if n.fract() == 0.0 && n.abs() < EXACT && (*n != 0.0 || n.is_sign_positive()) => {
            (*n as i64).into()
        }
        Value::Missing => Json::Null,
        Value::Text(s) => s.as_str().into(),
        Value::Number(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::List(items) => items.iter().map(json_of).collect(),
    }
}

fn line(input: &Json, outputs: &[Answer]) -> String {
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
