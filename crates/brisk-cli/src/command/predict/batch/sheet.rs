//! What a row of the output consists of, and how it is written: its number, the fields of the input, and the answers.
//!
//! A row is one line of text, also where the output becomes a Parquet file: then it is CSV without a header, in which an empty field is
//! missing and one of two quotation marks is empty text.

use std::borrow::Cow;
use std::io::Write;

use anyhow::Result;
use brisk_data::{Row, TableFormat, Target};
use brisk_eval::{Answer, Ready, record};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::super::answer::json_of;

/// The number of the row in the input, from 1.
const ROW: &str = "row";

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing so far.
    Empty,
    /// True or false.
    Bool,
    /// Numbers.
    Number,
    /// Texts, lists as JSON, or a mixture.
    Text,
    /// A list of f32 in each row.
    Vector,
}

/// The columns of the output.
pub struct Sheet {
    format: TableFormat,
    /// The columns of the input, as they are called in the output.
    inputs: Vec<String>,
    /// The fields of each output of the model.
    outputs: Vec<(String, &'static [(&'static str, Kind)])>,
}

impl Kind {
    fn of(value: &Json) -> Kind {
        match value {
            Json::Null => Kind::Empty,
            Json::Bool(_) => Kind::Bool,
            Json::Number(_) => Kind::Number,
            _ => Kind::Text,
        }
    }

    fn and(self, other: Kind) -> Kind {
        match (self, other) {
            (kind, Kind::Empty) | (Kind::Empty, kind) => kind,
            (a, b) if a == b => a,
            _ => Kind::Text,
        }
    }
}

impl Sheet {
    /// The columns for a model and a table. A column of the table that is called like one of the others becomes `input.NAME`.
    pub fn new(format: TableFormat, ready: &Ready, columns: &[String]) -> Sheet {
        let outputs = ready.model.outputs.iter().map(|output| {
            let target = ready.features.targets.get(&output.name);
            (output.name.clone(), fields(target, output.loss.group().is_some()))
        });
        let mut sheet = Sheet { format, inputs: Vec::new(), outputs: outputs.collect() };
        let mut taken = match format {
            TableFormat::Jsonl if sheet.outputs.len() > 1 => {
                sheet.outputs.iter().map(|o| o.0.clone()).collect()
            }
            _ => sheet.answer_names(),
        };
        taken.push(ROW.into());
        for column in columns {
            let mut name = column.clone();
            while taken.contains(&name) || name != *column && columns.contains(&name) {
                name = format!("input.{name}");
            }
            taken.push(name.clone());
            sheet.inputs.push(name);
        }
        sheet
    }

    /// `label`, or `OUTPUT.label` where there are several outputs.
    fn answer_names(&self) -> Vec<String> {
        let is_one = self.outputs.len() == 1;
        let name = |output: &str, field: &str| {
            if is_one { field.to_string() } else { format!("{output}.{field}") }
        };
        self.outputs.iter().flat_map(|(o, fields)| fields.iter().map(move |f| name(o, f.0))).collect()
    }

    /// The names of all columns, of formats that have columns.
    pub fn names(&self) -> Vec<String> {
        [&[ROW.to_string()][..], &self.inputs, &self.answer_names()].concat()
    }

    /// What stands in all columns, as far as it is known before the first row.
    pub fn kinds(&self) -> Vec<Kind> {
        let answers = self.outputs.iter().flat_map(|(_, fields)| fields.iter().map(|f| f.1));
        let inputs = self.inputs.iter().map(|_| Kind::Empty);
        std::iter::once(Kind::Number).chain(inputs).chain(answers).collect()
    }

    /// What stands before the first row.
    pub fn header(&self) -> String {
        match self.format {
            TableFormat::Csv | TableFormat::Tsv => {
                let names = self.names();
                let names: Vec<_> = names.iter().map(|n| quoted(n, self.delimiter())).collect();
                names.join(self.delimiter()) + "\n"
            }
            TableFormat::Jsonl | TableFormat::Parquet => String::new(),
        }
    }

    fn delimiter(&self) -> &'static str {
        if self.format == TableFormat::Tsv { "\t" } else { "," }
    }

    /// Adds a row with its number, and learns what stands in the columns of the input.
    pub fn line(
        &self,
        out: &mut Vec<u8>,
        number: usize,
        row: &Row,
        answers: Vec<Answer>,
        kinds: &mut [Kind],
    ) -> Result<()> {
        let inputs = self.inputs.iter().enumerate().map(|(i, name)| (name, json_of(row.get(i))));
        if self.format == TableFormat::Jsonl {
            let mut object = Map::from_iter([(ROW.to_string(), number.into())]);
            object.extend(inputs.map(|(name, value)| (name.clone(), value)));
            object.extend(record(answers));
            serde_json::to_writer(&mut *out, &object)?;
        } else {
            write!(out, "{number}")?;
            // The first one is the number of the row.
            for ((_, value), kind) in inputs.zip(&mut kinds[1..]) {
                *kind = kind.and(Kind::of(&value));
                self.cell(out, &value);
            }
            for (answer, (_, fields)) in answers.iter().zip(&self.outputs) {
                for (field, _) in *fields {
                    self.cell(out, answer.fields.get(*field).unwrap_or(&Json::Null));
                }
            }
        }
        out.push(b'\n');
        Ok(())
    }

    fn cell(&self, out: &mut Vec<u8>, value: &Json) {
        let delimiter = self.delimiter();
        out.extend(delimiter.bytes());
        match value {
            Json::Null => {}
            Json::String(text) => out.extend(quoted(text, delimiter).bytes()),
            other => out.extend(quoted(&other.to_string(), delimiter).bytes()),
        }
    }
}

/// The fields that [`Ready::answers`] has for an output.
fn fields(target: Option<&Target>, is_vector: bool) -> &'static [(&'static str, Kind)] {
    match target {
        Some(Target::Category { .. }) => {
            &[("label", Kind::Text), ("probability", Kind::Number), ("probabilities", Kind::Text)]
        }
        Some(Target::Labels { .. }) => &[("labels", Kind::Text), ("probabilities", Kind::Text)],
        Some(Target::Number { .. }) => &[("value", Kind::Number)],
        Some(Target::Tags { .. }) => {
            &[("words", Kind::Text), ("tags", Kind::Text), ("probabilities", Kind::Text)]
        }
        None if is_vector => &[("embedding", Kind::Vector)],
        None => &[("values", Kind::Vector)],
    }
}

/// A field, in quotation marks if it needs them.
fn quoted<'a>(text: &'a str, delimiter: &str) -> Cow<'a, str> {
    match text.is_empty() || text.contains(['"', '\n', '\r']) || text.contains(delimiter) {
        true => Cow::Owned(format!("\"{}\"", text.replace('"', "\"\""))),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_it_must_be() {
        let plain = ["a b", "1.5", "好", "a;b"];
        assert_eq!(plain.map(|t| quoted(t, ",")), plain);
        let marked = ["", "a,b", "say \"x\"", "a\nb"].map(|t| quoted(t, ",").into_owned());
        assert_eq!(marked, ["\"\"", "\"a,b\"", "\"say \"\"x\"\"\"", "\"a\nb\""]);
        assert_eq!(quoted("a,b\tc", "\t"), "\"a,b\tc\"");
    }

    #[test]
    fn mixtures_are_text() {
        use Kind::*;
        let cases =
            [(Empty, Number, Number), (Bool, Empty, Bool), (Number, Text, Text), (Bool, Number, Text)];
        for (a, b, both) in cases {
            assert_eq!(a.and(b), both);
        }
    }

    #[test]
    fn names_that_are_taken_are_changed() {
        let sheet = |columns: &[&str], outputs: &[&str]| {
            let mut all = Sheet { format: TableFormat::Csv, inputs: vec![], outputs: vec![] };
            let fields: &[_] = &[("value", Kind::Number)];
            all.outputs = outputs.iter().map(|o| (o.to_string(), fields)).collect();
            all.inputs = columns.iter().map(|c| c.to_string()).collect();
            all.header()
        };
        assert_eq!(sheet(&["a,b"], &["y"]), "row,\"a,b\",value\n");
        assert_eq!(sheet(&["a"], &["y", "z"]), "row,a,y.value,z.value\n");
    }
}
