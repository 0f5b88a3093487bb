//! `config.json`: which encoder, and what stands on it.

use std::path::Path;

use brisk_nn::{Activation, TextEncoder};
use serde_json::{Map, Value};

use super::Head;
use super::family::Family;
use crate::{Error, Result};

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// The family of the encoder.
    pub family: Family,
    /// The encoder; its parameters stand under `encoder`.
    pub encoder: TextEncoder,
    /// What stands on it, by the first of `architectures`.
    pub head: Head,
    /// The names of what the head tells apart, in order. Empty if it tells nothing apart.
    pub labels: Vec<String>,
    /// The number of the token for padding.
    pub pad_token_id: usize,
    /// Share of values that training drops before the last layer of a head.
    pub classifier_dropout: f64,
    /// All entries as they stand in the file.
    pub entries: Map<String, Value>,
}

/// No size of an encoder is larger.
const MOST: u64 = 1 << 31;
/// Nobody has made more layers, and a lie should cost no time.
const MOST_LAYERS: u64 = 4096;

impl HfConfig {
    /// Reads the text of a `config.json`. `path` is for messages.
    ///
    /// ```
    /// use brisk_format::{Family, Head, HfConfig};
    /// let text = r#"{"model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "vocab_size": 60, "hidden_size": 16,
    ///     "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 22}"#;
    /// let config = HfConfig::parse(text, "config.json".as_ref())?;
    /// assert_eq!((config.family, config.head), (Family::Roberta, Head::MaskedLanguageModel));
    /// assert_eq!(config.encoder.position_offset, 2);
    /// let error = HfConfig::parse(r#"{"model_type": "gpt2"}"#, "config.json".as_ref()).unwrap_err();
    /// assert!(error.to_string().contains("expected bert, roberta"));
    /// # Ok::<(), brisk_format::Error>(())
    /// ```
    pub fn parse(text: &str, path: &Path) -> Result<HfConfig> {
        parse(text).map_err(|message| Error::content(path, message))
    }

    /// What an entry says about an activation, if it says it so that it is understood.
    pub(super) fn parse_activation(entries: &Map<String, Value>, key: &str) -> Option<Activation> {
        Entries(entries).activation(key).ok()
    }

    /// The activation behind the head's first dense layer: the pooler's, or that of the head for masked tokens.
    pub fn head_activation(&self, head: &Head) -> Activation {
        match (head, self.family) {
            (Head::MaskedLanguageModel, Family::Bert | Family::DistilBert) => self.encoder.activation,
            (Head::MaskedLanguageModel, _) => Activation::Gelu { approximate: false },
            (Head::Pooler, _) => Activation::Tanh,
            _ => self.family.pooler_activation(),
        }
    }
}

fn parse(text: &str) -> Result<HfConfig, String> {
    let entries: Map<String, Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let config = Entries(&entries);
    let family = config.family()?;
    config.refuse_unsupported()?;
    let names = family.names();
    let keys = names.keys;
    let hidden_size = config.size(keys.hidden_size, MOST)?;
    let num_heads = config.size(keys.num_heads, MOST)?;
    if hidden_size % num_heads != 0 {
        return Err(format!(
            "{}: expected a divisor of {} ({hidden_size}), found {num_heads}",
            keys.num_heads, keys.hidden_size
        ));
    }
    let pad_token_id = config.size_or("pad_token_id", names.pad_token_id)?;
    let embedding_size = match family {
        Family::Electra => Some(config.size_or("embedding_size", 128)?).filter(|&e| e != hidden_size),
        _ => None,
    };
    let encoder = TextEncoder {
        vocab_size: config.size("vocab_size", MOST)?,
        hidden_size,
        num_layers: config.size(keys.num_layers, MOST_LAYERS)?,
        num_heads,
        intermediate_size: config.size(keys.intermediate_size, MOST)?,
        max_positions: config.size("max_position_embeddings", MOST)?,
        type_vocab_size: match family {
            Family::DistilBert => 0,
            _ => config.size_or("type_vocab_size", 2)?,
        },
        embedding_size,
        position_offset: if names.positions_after_padding { pad_token_id + 1 } else { 0 },
        activation: config.activation(keys.activation)?,
        epsilon: match family {
            Family::DistilBert => 1e-12,
            _ => config.number("layer_norm_eps", 1e-12, f64::MIN_POSITIVE..1.0)?,
        },
        dropout: config.number(keys.dropout, 0.1, 0.0..1.0)?,
        attention_dropout: config.number(keys.attention_dropout, 0.1, 0.0..1.0)?,
        initializer_range: config.number("initializer_range", 0.02, 0.0..f64::MAX)?,
    };
    if encoder.max_positions <= encoder.position_offset {
        return Err(format!(
            "max_position_embeddings: expected more than pad_token_id + 1 ({}), found {}",
            encoder.position_offset, encoder.max_positions
        ));
    }
    let labels = config.labels()?;
    let head = config.head(family, labels.len())?;
    let usual_dropout = if family == Family::DistilBert { 0.2 } else { encoder.dropout };
    Ok(HfConfig {
        family,
        head,
        labels: if head.outputs().is_some() { labels } else { Vec::new() },
        pad_token_id,
        classifier_dropout: config.number(keys.classifier_dropout, usual_dropout, 0.0..1.0)?,
        encoder,
        entries,
    })
}

/// The entries of `config.json`, with messages that name them.
struct Entries<'a>(&'a Map<String, Value>);

impl Entries<'_> {
    /// An entry that is there, and not null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    fn family(&self) -> Result<Family, String> {
        let known = Family::ALL.map(Family::model_type).join(", ");
        let remedy = "use an encoder of one of these families";
        match self.get("model_type") {
            Some(Value::String(found)) => Family::named(found)
                .ok_or_else(|| format!("model_type: expected {known}, found {found:?}; {remedy}")),
            Some(found) => Err(format!("model_type: expected {known}, found {found}; {remedy}")),
            None => Err(format!(
                "there is no model_type; expected {known}; is this a Hugging Face folder of a model?"
            )),
        }
    }

    /// Settings that change what is computed, and that Brisk does not have.
    fn refuse_unsupported(&self) -> Result<(), String> {
        if let Some(found) = self.get("position_embedding_type")
            && found != "absolute"
        {
            return Err(format!(
                "position_embedding_type: expected \"absolute\", found {found}; relative positions are not supported: use a model with \
                 absolute ones"
            ));
        }
        for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
            if self.get(key).is_some_and(|v| v != false) {
                return Err(format!("{key}: expected false; decoders are not supported: use an encoder"));
            }
        }
        if let Some(found) = self.get("quantization_config") {
            return Err(format!(
                "quantization_config: expected none, found {found}; use the model with float32, float16 or bfloat16 weights"
            ));
        }
        Ok(())
    }

    fn size(&self, key: &str, most: u64) -> Result<usize, String> {
        let found = self.get(key);
        let size = found.and_then(Value::as_u64).filter(|n| (1..=most).contains(n));
        size.and_then(|n| n.try_into().ok()).ok_or_else(|| {
            let found = found.map_or("nothing".into(), Value::to_string);
            format!("{key}: expected a number from 1 to {most}, found {found}")
        })
    }

    /// A number that may be missing, and may be 0.
    fn size_or(&self, key: &str, usual: usize) -> Result<usize, String> {
        match self.get(key) {
            None => Ok(usual),
            Some(found) if found.as_u64() == Some(0) => Ok(0),
            Some(_) => self.size(key, MOST),
        }
    }

    fn number(&self, key: &str, usual: f64, range: std::ops::Range<f64>) -> Result<f64, String> {
        let Some(found) = self.get(key) else { return Ok(usual) };
        found.as_f64().filter(|x| range.contains(x)).ok_or_else(|| {
            format!("{key}: expected a number from {} up to {}, found {found}", range.start, range.end)
        })
    }

    fn activation(&self, key: &str) -> Result<Activation, String> {
        match self.get(key).map_or(Some("gelu"), Value::as_str) {
            Some("gelu" | "gelu_python") => Ok(Activation::Gelu { approximate: false }),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => {
                Ok(Activation::Gelu { approximate: true })
            }
            Some("relu") => Ok(Activation::Relu),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("tanh") => Ok(Activation::Tanh),
            other => Err(format!(
                "{key}: expected gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish or tanh, found {}; use a model with one of these",
                other.map_or_else(
                    || self.get(key).map_or(String::new(), Value::to_string),
                    |o| format!("{o:?}")
                )
            )),
        }
    }

    /// `id2label`, or as many names as `num_labels` says.
    fn labels(&self) -> Result<Vec<String>, String> {
        let number = match self.get("num_labels") {
            None => None,
            Some(_) => Some(self.size("num_labels", 1 << 20)?),
        };
        let labels = match self.get("id2label") {
            None => (0..number.unwrap_or(2)).map(|i| format!("LABEL_{i}")).collect(),
            Some(Value::Object(map)) => {
                let label = |i: usize| map.get(&i.to_string()).and_then(Value::as_str).map(str::to_string);
                let labels: Option<Vec<String>> = (0..map.len()).map(label).collect();
                labels.ok_or_else(|| {
                    format!(
                        "id2label: expected names for the numbers from 0 to {}",
                        map.len().saturating_sub(1)
                    )
                })?
            }
            Some(found) => return Err(format!("id2label: expected names by number, found {found}")),
        };
        match number {
            Some(n) if n != labels.len() => {
                Err(format!("num_labels is {n}, but id2label has {} names; remove one of them", labels.len()))
            }
            _ => Ok(labels),
        }
    }

    /// What the first architecture stands for.
    fn head(&self, family: Family, outputs: usize) -> Result<Head, String> {
        let base = if family.names().pooler.is_some() { Head::Pooler } else { Head::None };
        let architecture = self.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
        let Some((_, task)) = architecture.and_then(|a| a.split_once("For")) else { return Ok(base) };
        Ok(match task {
            "SequenceClassification" => match self.get("problem_type").map(|p| (p.as_str(), p)) {
                Some((Some("regression"), _)) => Head::Regression { outputs },
                Some((Some("multi_label_classification"), _)) => Head::MultiLabel { labels: outputs },
                Some((Some("single_label_classification"), _)) => Head::Classification { labels: outputs },
                None if outputs == 1 => Head::Regression { outputs },
                None => Head::Classification { labels: outputs },
                Some((_, found)) => {
                    return Err(format!(
                        "problem_type: expected single_label_classification, multi_label_classification or regression, found {found}"
                    ));
                }
            },
            "TokenClassification" => Head::Tags { labels: outputs },
            "MaskedLM" => Head::MaskedLanguageModel,
            "PreTraining" if family != Family::Electra => Head::MaskedLanguageModel,
            _ => base,
        })
    }
}
