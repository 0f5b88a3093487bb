//! Rows of JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use brisk_data::{Feature, Value};
use serde_json::Value as Json;

use super::tensor::whole;
use super::{Elements, Field, Row, Served};
use crate::fault::{Answered, Fault};

impl Served {
    /// A row of JSON: an object with a key for each column, or what stands in the only column. Pictures are files in base64
    /// (`"..."` or `{"b64": "..."}`) or pixels (lists of lists).
    pub fn row_of(&self, json: Json) -> Answered<Row> {
        let columns: Vec<&str> = self.signature.inputs.iter().map(|p| p.name.as_str()).collect();
        let object = match (json, &columns[..]) {
            (Json::Object(object), [only]) if !object.contains_key(*only) && is_file(&object) => {
                [(only.to_string(), Json::Object(object))].into_iter().collect()
            }
            (Json::Object(object), _) => object,
            (other, [only]) => [(only.to_string(), other)].into_iter().collect(),
            (other, _) => {
                return Err(Fault::bad(format!(
                    "expected an object with the keys {}, found {}",
                    columns.join(", "),
                    kind(&other)
                )));
            }
        };
        object.into_iter().map(|(name, json)| Ok((name.clone(), self.field(&name, json)?))).collect()
    }

    fn field(&self, column: &str, json: Json) -> Answered<Field> {
        let bad = |message: String| Fault::bad(format!("input `{column}`: {message}"));
        let feature = self.ready.features.inputs.values().find(|f| f.columns().contains(&column));
        let wide = self.signature.input(column).is_some_and(|p| p.row().len() > 1);
        match (feature, json) {
            (Some(Feature::Image(_)), json @ Json::Array(_)) => {
                let elements: Elements = serde_json::from_value(json).map_err(|e| bad(e.to_string()))?;
                let Elements::Numbers(pixels) = elements else { return Err(bad("expected pixels".into())) };
                whole(&pixels).map(Field::Pixels).map_err(bad)
            }
            (Some(Feature::Image(_)), json) => {
                let text = match &json {
                    Json::String(text) => Some(text.as_str()),
                    Json::Object(object) => object.get("b64").and_then(Json::as_str),
                    _ => None,
                };
                let text =
                    text.ok_or_else(|| bad(format!("expected a picture in base64, found {}", kind(&json))))?;
                // As pages write it: data:image/png;base64,...
                let text = text.split_once(";base64,").map_or(text, |(_, rest)| rest);
                let file = STANDARD.decode(text).map_err(|e| bad(format!("this is no base64: {e}")))?;
                Ok(Field::Picture(file))
            }
            (Some(Feature::Vector(_)), json @ Json::Array(_)) if wide => {
                let elements: Elements = serde_json::from_value(json).map_err(|e| bad(e.to_string()))?;
                let Elements::Numbers(numbers) = elements else { return Err(bad("expected numbers".into())) };
                Ok(Field::Numbers(numbers.into_iter().map(|x| x as f32).collect()))
            }
            (
                Some(Feature::Text(_)),
                json @ (Json::Object(_) | Json::Number(_) | Json::Bool(_) | Json::Null),
            ) => Err(bad(format!("expected a text, found {}", kind(&json)))),
            // The words of a text that is tagged.
            (Some(Feature::Text(_)), Json::Array(words)) if !words.iter().all(Json::is_string) => {
                Err(bad("expected a text, or a list of words".into()))
            }
            (_, json) => Ok(Field::Value(Value::from(json))),
        }
    }
}

/// What TensorFlow Serving's clients make of bytes.
fn is_file(object: &serde_json::Map<String, Json>) -> bool {
    object.len() == 1 && object.contains_key("b64")
}

/// What a value is, for messages.
pub fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
