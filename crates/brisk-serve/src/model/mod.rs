//! A version of a model that is being served.

mod column;
mod infer;
mod row;
mod signature;
mod tensor;

use std::sync::Arc;
use std::time::SystemTime;

use brisk_data::{Encoded, EncodedValue, Feature, Notes, Target, Value};
use brisk_eval::Ready;
use indexmap::IndexMap;

pub use column::too_many;
pub use infer::{InferRequest, InferResponse, Requested, value as plain_value};
pub use row::kind;
pub use signature::{Port, Signature};
pub use tensor::{Elements, Tensor, Typed};

use crate::engine::Lane;
use crate::fault::{Answered, Fault, FaultKind};
use crate::metrics::Counted;

/// The most pixels of a picture: decoded, they take three bytes each, or more.
const PIXELS: usize = 32 << 20;

/// A version of a model that is being served.
pub struct Served {
    /// What clients call it.
    pub name: String,
    /// Its number; 1 for a model that is in no repository.
    pub version: u64,
    /// The model.
    pub ready: Ready,
    /// Its inputs and outputs as tensors.
    pub signature: Signature,
    /// Where it is computed.
    pub lane: Arc<Lane>,
    /// Where its texts become vectors, if it has an encoder of texts.
    pub embedder: Option<Embedder>,
    /// Since when it is there.
    pub loaded: SystemTime,
    /// What is known of it: metrics, the run it comes from, a note.
    pub about: serde_json::Value,
    /// The report of its run, in HTML.
    pub report: Option<String>,
    /// What is counted of it, until nobody asks it any more.
    pub counted: Arc<Counted>,
}

/// The part of a model that makes vectors of texts.
pub struct Embedder {
    /// The encoder as a model of its own.
    pub ready: Ready,
    /// Where it is computed.
    pub lane: Arc<Lane>,
}

/// What a client gives for a column in one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A value of a table.
    Value(Value),
    /// The pixels of a picture, in the size that the model takes.
    Pixels(Vec<u8>),
    /// A picture as a file would hold it: PNG, JPEG, WebP, BMP.
    Picture(Vec<u8>),
    /// A vector, as the model's own numbers.
    Numbers(Vec<f32>),
}

/// A row of a request: fields by column.
pub type Row = IndexMap<String, Field>;

impl Served {
    /// Whether its answers need the samples that they are about: those of tags do.
    pub fn answers_need_samples(&self) -> bool {
        self.ready.features.targets.values().any(|t| matches!(t, Target::Tags { .. }))
    }

    /// The names of the classes of an output, if it has such.
    pub fn labels(&self, output: &str) -> Option<Vec<String>> {
        let labels = self.ready.features.targets.get(output).and_then(Target::labels)?;
        Some(labels.iter().cloned().collect())
    }
}

/// Reads a row as a sample of a model. Nothing of it is taken as a path.
pub fn encode(ready: &Ready, row: &Row) -> Answered<Encoded> {
    let columns = || ready.features.inputs.values().flat_map(Feature::columns);
    if let Some(strange) = row.keys().find(|name| !columns().any(|c| c == *name)) {
        let known: Vec<_> = columns().collect();
        return Err(Fault::bad(format!(
            "there is no input `{strange}`; the model reads {}",
            known.join(", ")
        )));
    }
    let mut encoded = Encoded { inputs: Vec::new(), targets: Vec::new(), notes: Notes::default() };
    for feature in ready.features.inputs.values() {
        let value = feature_value(feature, row, &mut encoded.notes)?;
        let finite = match &value {
            EncodedValue::Number(x) => x.is_finite(),
            EncodedValue::Vector(all) => all.iter().all(|x| x.is_finite()),
            _ => true,
        };
        if !finite {
            let name = feature.columns().join(", ");
            return Err(Fault::bad(format!(
                "input `{name}`: expected numbers that f32 can hold, found others"
            )));
        }
        encoded.inputs.push(value);
    }
    Ok(encoded)
}

fn feature_value(feature: &Feature, row: &Row, notes: &mut Notes) -> Answered<EncodedValue> {
    let names = feature.columns();
    let bad = |column: &str, message: String| Fault::bad(format!("input `{column}`: {message}"));
    let given = |name: &&str| row.get(*name).ok_or_else(|| bad(name, "it is missing".into()));
    let fields = names.iter().map(given).collect::<Answered<Vec<&Field>>>()?;
    let first = names.first().copied().unwrap_or_default();
    match (feature, fields.first()) {
        (Feature::Image(f), Some(Field::Pixels(pixels))) => match pixels.len() == f.image.elements() {
            true => Ok(EncodedValue::Image(pixels.clone())),
            false => Err(bad(first, format!("expected the pixels of {}, found {}", f.image, pixels.len()))),
        },
        (Feature::Image(f), Some(Field::Picture(bytes))) => {
            let size = brisk_data::image_size(bytes, first).map_err(|e| bad(first, e.to_string()))?;
            if size.height * size.width > PIXELS {
                let message = format!(
                    "input `{first}`: the picture is {size}, more than {PIXELS} pixels; make it smaller"
                );
                return Err(Fault::new(FaultKind::TooLarge, message));
            }
            let picture = brisk_data::decode_image(bytes, first).and_then(|p| p.convert(f.image));
            Ok(EncodedValue::Image(picture.map_err(|e| bad(first, e.to_string()))?.into_pixels()))
        }
        (Feature::Image(_), _) => Err(bad(first, "expected a picture".into())),
        (Feature::Vector(f), Some(Field::Numbers(numbers))) => {
            if numbers.len() != f.size() {
                return Err(bad(first, format!("expected {} numbers, found {}", f.size(), numbers.len())));
            }
            let scaled = numbers.iter().zip(&f.scaling).map(|(&x, s)| s.apply(x.into()));
            Ok(EncodedValue::Vector(scaled.collect()))
        }
        _ => {
            let plain = |field: &&Field| match field {
                Field::Value(value) => Some(value.clone()),
                _ => None,
            };
            let values: Option<Vec<Value>> = fields.iter().map(plain).collect();
            let values = values.ok_or_else(|| bad(first, "expected a value, found a tensor".into()))?;
            let values: Vec<&Value> = values.iter().collect();
            let at = |i: usize| names.get(i).copied().unwrap_or_default();
            feature.encode(&values, notes).map_err(|(i, reason)| bad(at(i), reason))
        }
    }
}

/// A request for a model that is not there.
pub fn unknown_model(name: &str, known: &[String]) -> Fault {
    let known = match known.is_empty() {
        true => "no model is served".to_string(),
        false => format!("there are {}", known.join(", ")),
    };
    Fault::new(FaultKind::NotFound, format!("there is no model `{name}`; {known}"))
}
