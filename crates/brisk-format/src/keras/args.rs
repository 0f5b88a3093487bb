//! The arguments of a layer of Keras, each to be taken, or known not to matter.

use std::cell::RefCell;
use std::collections::BTreeSet;

use brisk_nn::{Activation, Initializer};
use serde_json::{Map, Value as Json, json};

use super::classes::Form;
use crate::error::quoted;

/// Arguments that change no result.
const HARMLESS: &[&str] = &[
    "name",
    "trainable",
    "dtype",
    "batch_input_shape",
    "batch_shape",
    "input_shape",
    "input_length",
    "seed",
    "unroll",
    "implementation",
    "autocast",
    "flash_attention",
    "synchronized",
    "renorm_clipping",
    "renorm_momentum",
];

/// Arguments that training follows and Brisk does not have.
const TRAINING: &[&str] = &["recurrent_dropout", "activity_regularizer", "noise_shape"];

/// The arguments of a layer.
pub(super) struct Args<'a> {
    config: &'a Map<String, Json>,
    taken: RefCell<BTreeSet<String>>,
    ignored: RefCell<Vec<String>>,
    /// Whether Keras 2 wrote it, whose hard_sigmoid is another.
    pub second: bool,
}

impl<'a> Args<'a> {
    pub fn new(config: &'a Map<String, Json>, second: bool) -> Args<'a> {
        Args { config, taken: RefCell::default(), ignored: RefCell::default(), second }
    }

    /// All of them.
    pub fn all(&self) -> &'a Map<String, Json> {
        self.config
    }

    /// An argument that is there and not null.
    pub fn get(&self, key: &str) -> Option<&'a Json> {
        self.taken.borrow_mut().insert(key.into());
        self.config.get(key).filter(|v| !v.is_null())
    }

    /// Whether an argument is true; one that is not there is.
    pub fn is_on(&self, key: &str) -> bool {
        self.config.get(key) != Some(&Json::Bool(false))
    }

    /// Remembers what is not followed.
    pub fn ignore(&self, what: impl Into<String>) {
        self.ignored.borrow_mut().push(what.into());
    }

    /// An error unless an argument is missing or has one value; numbers may stand in lists.
    pub fn fixed(&self, key: &str, expected: &Json) -> Result<(), String> {
        let Some(found) = self.get(key) else { return Ok(()) };
        let found = match key {
            "activation" | "recurrent_activation" => &self.activation(found)?,
            _ => found,
        };
        match found == expected || only(found).is_some_and(|n| Some(n) == only(expected)) {
            true => Ok(()),
            false => Err(format!("{key}: expected {expected}, found {}", brief(found))),
        }
    }

    /// An argument as Brisk writes it, if it is there.
    pub fn translated(&self, key: &str, form: Form) -> Result<Option<Json>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        Ok(Some(match (form, value) {
            (Form::First, Json::Array(list)) => match &list[..] {
                [one] => one.clone(),
                _ => return Err(format!("{key}: expected one number, found {}", brief(value))),
            },
            (Form::Activation, value) => self.activation(value)?,
            (Form::Initializer, value) => match initializer(value) {
                Some(known) => known,
                None => {
                    self.ignore(format!("{key} {}", brief(value)));
                    return Ok(None);
                }
            },
            (Form::Plain | Form::First | Form::Ends, value) => value.clone(),
        }))
    }

    /// An activation as Brisk writes it.
    pub fn activation(&self, value: &Json) -> Result<Json, String> {
        let name = match value {
            Json::String(name) => name.as_str(),
            Json::Object(map) => match (map.get("config"), map.get("class_name").and_then(Json::as_str)) {
                (Some(Json::String(name)), Some("function")) => name,
                (_, Some("__lambda__")) => {
                    return Err("its activation is code of Python, which is never run; use an activation that has a name".into());
                }
                (_, Some(class)) => class,
                _ => return Err(format!("expected the name of an activation, found {}", brief(value))),
            },
            _ => return Err(format!("expected the name of an activation, found {}", brief(value))),
        };
        if name == "hard_sigmoid" && self.second {
            return Err(
                "its activation hard_sigmoid of Keras 2 is not that of Keras 3; save the model with Keras 3"
                    .into(),
            );
        }
        let json = json!(name);
        match serde_json::from_value::<Activation>(json.clone()) {
            Ok(_) => Ok(json),
            Err(e) => Err(format!("{e}; use one of these")),
        }
    }

    /// What was not followed, or an error for what would change results.
    pub fn finish(self) -> Result<Vec<String>, String> {
        let taken = self.taken.into_inner();
        let mut ignored = self.ignored.into_inner();
        for (key, value) in self.config {
            let nothing = matches!(value, Json::Null | Json::Bool(false))
                || value.as_f64() == Some(0.0)
                || value.as_array().is_some_and(Vec::is_empty);
            // How weights started does not matter once they are there.
            let started = key.ends_with("_initializer");
            if nothing || started || taken.contains(key) || HARMLESS.contains(&key.as_str()) {
                continue;
            }
            let of_training = key.ends_with("_regularizer") || key.ends_with("_constraint");
            match of_training || TRAINING.contains(&key.as_str()) {
                true => ignored.push(format!("{key} {}", brief(value))),
                false => return Err(format!("its argument {key}: {} is not supported", brief(value))),
            }
        }
        Ok(ignored)
    }
}

/// The number that a value, or each entry of a list, is.
fn only(value: &Json) -> Option<f64> {
    match value {
        Json::Array(list) => {
            let first = list.first()?.as_f64()?;
            list.iter().all(|v| v.as_f64() == Some(first)).then_some(first)
        }
        other => other.as_f64(),
    }
}

/// The class of a serialized object, or the value in short.
pub(super) fn brief(value: &Json) -> String {
    const MOST: usize = 60;
    /// Adds the beginning of a value, however long that is.
    fn add(value: &Json, text: &mut String) {
        let entry = |(i, (key, value)): (usize, (Option<&String>, &Json)), text: &mut String| {
            if text.len() > 4 * MOST {
                return;
            }
            text.push_str(if i > 0 { "," } else { "" });
            text.extend(key.map(|key| quoted(key) + ":"));
            add(value, text);
        };
        match value {
            Json::String(word) => text.push_str(&quoted(word)),
            Json::Array(list) => {
                text.push('[');
                let entries = list.iter().take(MOST).map(|v| (None, v)).enumerate();
                entries.for_each(|e| entry(e, text));
                text.push(']');
            }
            Json::Object(map) => {
                text.push('{');
                let entries = map.iter().take(MOST).map(|(k, v)| (Some(k), v)).enumerate();
                entries.for_each(|e| entry(e, text));
                text.push('}');
            }
            other => text.push_str(&other.to_string()),
        }
    }
    if let Some(class) = value.get("class_name").and_then(Json::as_str) {
        return class.chars().take(MOST).collect();
    }
    let mut text = String::new();
    add(value, &mut text);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The name of the type that a layer computes in, if it says one; an error if that is one of quantized numbers.
pub(super) fn dtype(dtype: &Json) -> Result<Option<&str>, String> {
    let quantized = || {
        let name = brief(dtype);
        Err(format!("its dtype {name} is that of a quantized model; save the model before it is quantized"))
    };
    let own = |key: &str| dtype.get("config").and_then(|config| config.get(key));
    match dtype {
        Json::String(name) if name.contains("_from_") => quantized(),
        Json::String(name) => Ok(Some(name)),
        _ if own("mode").is_some() => quantized(),
        _ => {
            // Parts of a layer may have dtypes of their own.
            let parts = own("policy_map").and_then(Json::as_object).into_iter().flat_map(Map::values);
            parts.map(self::dtype).collect::<Result<Vec<_>, _>>()?;
            own("name").or(own("default_policy")).map_or(Ok(None), self::dtype)
        }
    }
}

/// An initializer as Brisk writes it, if it has it.
fn initializer(value: &Json) -> Option<Json> {
    let (class, config) = match value {
        Json::String(name) => (name.as_str(), None),
        Json::Object(map) => (map.get("class_name")?.as_str()?, map.get("config").and_then(Json::as_object)),
        _ => return None,
    };
    let name = snake(class);
    let number = |key: &str| config.and_then(|c| c.get(key)).filter(|v| v.is_number()).cloned();
    if name == "variance_scaling" {
        let text = |key: &str| config.and_then(|c| c.get(key)).and_then(Json::as_str);
        let distribution = text("distribution").unwrap_or("truncated_normal");
        let scale = number("scale").and_then(|v| v.as_f64()).unwrap_or(1.0);
        let mode = text("mode").unwrap_or("fan_in");
        let uniform = distribution == "uniform";
        return Some(json!(match (scale, mode, uniform) {
            (1.0, "fan_avg", true) => "glorot_uniform",
            (1.0, "fan_avg", false) => "glorot_normal",
            (2.0, "fan_in", true) => "he_uniform",
            (2.0, "fan_in", false) => "he_normal",
            (1.0, "fan_in", true) => "lecun_uniform",
            (1.0, "fan_in", false) => "lecun_normal",
            _ => return None,
        }));
    }
    let mut arguments = Map::new();
    for key in ["value", "gain", "mean", "stddev", "minval", "maxval"] {
        arguments.extend(number(key).map(|v| (key.to_string(), v)));
    }
    let json = if arguments.is_empty() { json!(name) } else { json!({ name: arguments }) };
    serde_json::from_value::<Initializer>(json.clone()).ok().map(|_| json)
}

/// `SeparableConv2D` as `separable_conv2d`, as Keras does it: a capital with small letters behind it begins a word, and one behind a small
/// letter too.
pub(super) fn snake(class: &str) -> String {
    let chars: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut words = String::new();
    let mut i = 0;
    // The first rule needs a character before the capital that is not part of its last word.
    let mut free = 0;
    while i < chars.len() {
        let small = |at: usize| chars.get(at).is_some_and(|c| c.is_ascii_lowercase());
        let word = chars[i].is_ascii_uppercase() && small(i + 1) && i > free;
        let after_small = i > 0 && chars[i].is_ascii_uppercase() && small(i - 1);
        if word || after_small {
            words.push('_');
        }
        if word {
            let end = (i + 1..).find(|&at| !small(at)).unwrap_or(chars.len());
            words.extend(&chars[i..end]);
            (i, free) = (end, end);
            continue;
        }
        words.push(chars[i]);
        i += 1;
    }
    words.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::snake;

    #[test]
    fn classes_become_words_as_in_keras() {
        let pairs = [
            ("Conv2D", "conv2d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("Conv1DTranspose", "conv1d_transpose"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("LSTM", "lstm"),
            ("SimpleRNN", "simple_rnn"),
            ("ELU", "elu"),
            ("RMSNormalization", "rms_normalization"),
            ("MultiHeadAttention", "multi_head_attention"),
        ];
        for (class, word) in pairs {
            assert_eq!(snake(class), word);
        }
    }
}
