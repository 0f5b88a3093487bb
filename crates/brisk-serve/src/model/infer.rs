//! KServe's inference, without its protocols.

use brisk_data::{Encoded, Target};
use brisk_eval::{Said, guesses};
use bytes::Bytes;
use indexmap::IndexMap;

use super::tensor::{Tensor, Typed};
use super::{Field, Row, Served};
use crate::app::Asked;
use crate::fault::{Answered, Fault};

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferRequest {
    /// The client's word for it.
    pub id: String,
    /// What goes in.
    pub inputs: Vec<Tensor>,
    /// What should come out; all if empty.
    pub outputs: Vec<Requested>,
    /// If none is named: all as raw bytes.
    pub binary: bool,
}

/// An output that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requested {
    /// Its name.
    pub name: String,
    /// Instead of numbers the most probable classes, so many, as `probability:number:label`.
    pub classification: usize,
    /// As raw bytes rather than JSON.
    pub binary: bool,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub struct InferResponse {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// The client's word for the request.
    pub id: String,
    /// Names, sizes and elements of the outputs, and whether they are to be raw.
    pub outputs: Vec<(Requested, Vec<i64>, Typed)>,
}

impl Served {
    /// The outputs that are asked for, with their places among the model's.
    pub fn requested(&self, asked: Vec<Requested>, binary: bool) -> Answered<Vec<(usize, Requested)>> {
        let ports = &self.signature.outputs;
        if asked.is_empty() {
            let all = ports.iter().map(|p| Requested { name: p.name.clone(), classification: 0, binary });
            return Ok(all.enumerate().collect());
        }
        let mut seen = vec![false; ports.len()];
        let mut find = |r: Requested| {
            let place = ports.iter().position(|p| p.name == r.name).ok_or_else(|| {
                let known: Vec<_> = ports.iter().map(|p| p.name.as_str()).collect();
                Fault::bad(format!("there is no output `{}`; the model gives {}", r.name, known.join(", ")))
            })?;
            if std::mem::replace(&mut seen[place], true) {
                return Err(Fault::bad(format!("output `{}` is asked for twice", r.name)));
            }
            let classes = self.ready.model.outputs[place].loss.is_classification();
            match r.classification > 0 && (!classes || ports[place].datatype != "FP32") {
                true => Err(Fault::bad(format!("output `{}`: it has no classes to ask for", r.name))),
                false => Ok((place, r)),
            }
        };
        asked.into_iter().map(&mut find).collect()
    }

    /// What the model has said about rows, as tensors.
    pub fn respond(
        &self,
        id: String,
        requested: Vec<(usize, Requested)>,
        rows: &[Row],
        asked: &Asked,
    ) -> InferResponse {
        let outputs = requested.into_iter().map(|(place, requested)| {
            let (shape, typed) = self.output(place, &requested, rows, &asked.samples, &asked.said);
            (requested, shape, typed)
        });
        InferResponse { model: self.name.clone(), version: self.version, id, outputs: outputs.collect() }
    }

    fn output(
        &self,
        place: usize,
        requested: &Requested,
        rows: &[Row],
        samples: &[Encoded],
        said: &[Said],
    ) -> (Vec<i64>, Typed) {
        let output = &self.ready.model.outputs[place];
        let values = said.iter().filter_map(|s| s.get(place));
        let n = said.len() as i64;
        if requested.classification > 0 {
            let labels = self.labels(&output.name).unwrap_or_default();
            let numbers: IndexMap<&str, usize> =
                labels.iter().enumerate().map(|(i, l)| (l.as_str(), i)).collect();
            let one = |row: &Vec<f32>| {
                let best = guesses(row, &labels, requested.classification);
                let text = |g: brisk_eval::Guess| {
                    let number = numbers.get(g.label.as_str()).copied().unwrap_or_default();
                    Bytes::from(format!("{:.6}:{number}:{}", g.probability, g.label))
                };
                best.into_iter().map(text).collect::<Vec<_>>()
            };
            let all: Vec<Vec<Bytes>> = values.map(one).collect();
            let k = all.first().map_or(0, Vec::len) as i64;
            return (vec![n, k], Typed::Bytes(all.into_iter().flatten().collect()));
        }
        match self.ready.features.targets.get(&output.name) {
            Some(Target::Number { scaling, .. }) => {
                let all = values.map(|row| row.first().map_or(f64::NAN, |&y| scaling.invert(y)));
                (vec![n, 1], Typed::F64(all.collect()))
            }
            Some(Target::Tags { .. }) => {
                let all = rows.iter().zip(samples).zip(said).map(|((row, sample), said)| {
                    let answers = self.ready.answers(sample, said, 1, &|column| value(row, column));
                    let own = answers.into_iter().find(|a| a.name == output.name).map(|a| a.fields);
                    Bytes::from(serde_json::Value::Object(own.unwrap_or_default()).to_string())
                });
                (vec![n], Typed::Bytes(all.collect()))
            }
            _ => {
                let all: Vec<f32> = values.flatten().copied().collect();
                (vec![n, all.len() as i64 / n.max(1)], Typed::F32(all))
            }
        }
    }
}

/// What stands in a column of a row, if it is a value.
pub fn value(row: &Row, column: &str) -> Option<brisk_data::Value> {
    match row.get(column) {
        Some(Field::Value(value)) => Some(value.clone()),
        _ => None,
    }
}
