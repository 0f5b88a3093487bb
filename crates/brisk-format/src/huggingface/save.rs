//! Writing a folder that `transformers` loads.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use brisk_graph::{DType, Shape, Tensor};
use brisk_nn::{Activation, TextEncoder};
use brisk_runtime::State;
use serde_json::{Map, Value, json};

use super::names::{Named, tensors};
use super::sentences::{LENGTHS, MODULES, POOLING};
use super::shards::SINGLE;
use super::{CONFIG, Family, Head, HfConfig, Sentences, TOKENIZER_FILES};
use crate::atomic::write_folder;
use crate::error::listed;
use crate::manifest::{pretty, write_new};
use crate::tensors::transposed;
use crate::{Error, Result, TensorProblem, header};

/// What a Hugging Face folder is made of.
#[derive(Clone, Debug)]
pub struct HfExport<'a> {
    /// The encoder, its head and labels. `entries` that Brisk does not use are written as they are.
    pub config: &'a HfConfig,
    /// Parameters by Brisk's names. Others than those of the encoder and the head are not written.
    pub state: &'a State,
    /// The tokenizer's files, which are copied under their names.
    pub tokenizer: &'a [PathBuf],
    /// How a text's vector is made, for `sentence-transformers`.
    pub sentences: Option<&'a Sentences>,
}

impl HfConfig {
    /// The configuration of an encoder that no folder was read for. An error if no model of the family is built like it.
    ///
    /// ```
    /// use brisk_format::{Family, Head, HfConfig};
    /// use brisk_nn::TextEncoder;
    /// let encoder: TextEncoder = serde_json::from_str(r#"{"vocab_size": 60, "hidden_size": 16, "num_layers": 2, "num_heads": 2,
    ///     "intermediate_size": 24, "max_positions": 20, "type_vocab_size": 2}"#)?;
    /// let labels = vec!["no".to_string(), "yes".to_string()];
    /// let config = HfConfig::new(Family::Bert, encoder.clone(), Head::Classification { labels: 2 }, labels.clone())?;
    /// assert_eq!(config.entries["architectures"][0], "BertForSequenceClassification");
    /// // DistilBERT knows no types.
    /// assert!(HfConfig::new(Family::DistilBert, encoder, Head::Classification { labels: 2 }, labels).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(family: Family, encoder: TextEncoder, head: Head, labels: Vec<String>) -> Result<HfConfig> {
        HfConfig::of(family, encoder, head, labels).map_err(|m| Error::unsaved(CONFIG.as_ref(), m))
    }

    pub(super) fn of(
        family: Family,
        encoder: TextEncoder,
        head: Head,
        labels: Vec<String>,
    ) -> Result<HfConfig, String> {
        let pad_token_id = match encoder.position_offset {
            0 => family.names().pad_token_id,
            offset => offset - 1,
        };
        let classifier_dropout = encoder.dropout;
        let mut config =
            HfConfig { family, encoder, head, labels, pad_token_id, classifier_dropout, entries: Map::new() };
        config.entries = config.written()?;
        Ok(config)
    }

    /// The entries to write: those that were read, with what has changed since. An error if they would not be read again as they are meant.
    pub(super) fn written(&self) -> Result<Map<String, Value>, String> {
        let (names, encoder) = (self.family.names(), &self.encoder);
        let keys = names.keys;
        let mut entries = self.entries.clone();
        let mut set = |key: &str, value: Value| {
            entries.insert(key.into(), value);
        };
        set("model_type", self.family.model_type().into());
        set("architectures", json!([self.architecture()]));
        set("vocab_size", encoder.vocab_size.into());
        set(keys.hidden_size, encoder.hidden_size.into());
        set(keys.num_layers, encoder.num_layers.into());
        set(keys.num_heads, encoder.num_heads.into());
        set(keys.intermediate_size, encoder.intermediate_size.into());
        set("max_position_embeddings", encoder.max_positions.into());
        set("pad_token_id", self.pad_token_id.into());
        set(keys.dropout, encoder.dropout.into());
        set(keys.attention_dropout, encoder.attention_dropout.into());
        set(keys.classifier_dropout, self.classifier_dropout.into());
        set("initializer_range", encoder.initializer_range.into());
        set("dtype", "float32".into());
        set("torch_dtype", "float32".into());
        if self.family != Family::DistilBert {
            set("type_vocab_size", encoder.type_vocab_size.into());
            set("layer_norm_eps", encoder.epsilon.into());
        }
        if self.family == Family::Electra {
            set("embedding_size", encoder.embedding_size.unwrap_or(encoder.hidden_size).into());
        }
        let same = HfConfig::parse_activation(&self.entries, keys.activation) == Some(encoder.activation);
        if !same || !self.entries.contains_key(keys.activation) {
            set(keys.activation, activation_name(encoder.activation)?.into());
        }
        if self.head == Head::MaskedLanguageModel {
            set("tie_word_embeddings", true.into());
        }
        for key in ["problem_type", "num_labels", "id2label", "label2id"] {
            entries.remove(key);
        }
        if let Some(outputs) = self.head.outputs() {
            let fallback = || (0..outputs).map(|i| format!("LABEL_{i}")).collect();
            let labels = if self.labels.is_empty() { fallback() } else { self.labels.clone() };
            if labels.len() != outputs {
                return Err(format!(
                    "expected {outputs} labels, one for each output, found {}",
                    labels.len()
                ));
            }
            let by_number = labels.iter().enumerate().map(|(i, l)| (i.to_string(), l.as_str().into()));
            entries.insert("id2label".into(), Value::Object(by_number.collect()));
            let by_name = labels.iter().enumerate().map(|(i, l)| (l.clone(), i.into()));
            entries.insert("label2id".into(), Value::Object(by_name.collect()));
        }
        let problem = match self.head {
            Head::Classification { .. } => Some("single_label_classification"),
            Head::MultiLabel { .. } => Some("multi_label_classification"),
            Head::Regression { .. } => Some("regression"),
            _ => None,
        };
        entries.extend(problem.map(|p| ("problem_type".to_string(), p.into())));
        self.check(&entries)?;
        Ok(entries)
    }

    pub(super) fn architecture(&self) -> String {
        let task = match self.head {
            Head::None | Head::Pooler => "Model",
            Head::Classification { .. } | Head::MultiLabel { .. } | Head::Regression { .. } => {
                "ForSequenceClassification"
            }
            Head::Tags { .. } => "ForTokenClassification",
            Head::MaskedLanguageModel => "ForMaskedLM",
        };
        format!("{}{task}", self.family.names().class)
    }

    /// What is written must mean what is meant.
    fn check(&self, entries: &Map<String, Value>) -> Result<(), String> {
        let text = serde_json::to_string(entries).map_err(|e| e.to_string())?;
        let read = HfConfig::parse(&text, CONFIG.as_ref()).map_err(|e| e.to_string())?;
        let same_head = read.head == self.head || (read.head, self.head) == (Head::Pooler, Head::None);
        if !same_head {
            let family = self.family.model_type();
            return Err(format!("a model of family {family} cannot say that its head is {:?}", self.head));
        }
        let fields = |encoder: &TextEncoder| serde_json::to_value(encoder).map_err(|e| e.to_string());
        let (meant, found) = (fields(&self.encoder)?, fields(&read.encoder)?);
        let differs = |key: &&String| meant.get(key.as_str()) != found.get(key.as_str());
        let all = [&meant, &found].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
        match all.into_iter().find(differs) {
            None => Ok(()),
            Some(key) => Err(format!(
                "the family {} cannot say {key}: {}, it has {}; choose another family",
                self.family.model_type(),
                meant.get(key).unwrap_or(&Value::Null),
                found.get(key).unwrap_or(&Value::Null)
            )),
        }
    }
}

fn activation_name(activation: Activation) -> Result<&'static str, String> {
    match activation {
        Activation::Gelu { approximate: false } => Ok("gelu"),
        Activation::Gelu { approximate: true } => Ok("gelu_new"),
        Activation::Relu => Ok("relu"),
        Activation::Silu => Ok("silu"),
        Activation::Tanh => Ok("tanh"),
        other => Err(format!("transformers knows no activation {other:?}; use gelu, relu, silu or tanh")),
    }
}

/// Writes a folder that `transformers` loads, as a whole or not at all: `config.json`, `model.safetensors`, the tokenizer's files, and what
/// `sentence-transformers` needs. The folder must be new, empty, or one that holds nothing else than such files.
pub fn save_huggingface(folder: &Path, export: &HfExport) -> Result<()> {
    let unsaved = |message: String| Error::unsaved(folder, message);
    check_place(folder)?;
    let config = export.config;
    let text = pretty(&config.written().map_err(unsaved)?).map_err(|e| unsaved(e.to_string()))?;
    let pieces = pieces(export).map_err(unsaved)?;
    let front = front(&pieces).map_err(unsaved)?;
    let extra = match export.sentences {
        Some(s) => s.files(config.encoder.hidden_size).map_err(|e| unsaved(e.to_string()))?,
        None => Vec::new(),
    };
    let mut copies = Vec::new();
    for path in export.tokenizer {
        match path.file_name().and_then(|n| n.to_str()).filter(|n| TOKENIZER_FILES.contains(n)) {
            Some(name) => copies.push((name, fs::read(path).map_err(Error::read(path))?)),
            None => {
                return Err(unsaved(format!("expected the files of a tokenizer, found {}", path.display())));
            }
        }
    }
    write_folder(folder, &OWN, |new| {
        write_new(&new.join(CONFIG), |f| f.write_all(text.as_bytes()))?;
        write_new(&new.join(SINGLE), |f| {
            f.write_all(&front)?;
            pieces.iter().try_for_each(|(named, tensor)| {
                let turned = if named.transposed { transposed(tensor) } else { Ok((*tensor).clone()) };
                let turned = turned.map_err(std::io::Error::other)?;
                f.write_all(bytemuck::cast_slice(turned.f32s().map_err(std::io::Error::other)?))
            })
        })?;
        for (name, bytes) in &copies {
            write_new(&new.join(name), |f| f.write_all(bytes))?;
        }
        for (name, text) in &extra {
            let path = new.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(Error::write(parent))?;
            }
            write_new(&path, |f| f.write_all(text.as_bytes()))?;
        }
        Ok(())
    })
}

/// The names that such a folder may hold.
const OWN: [&str; 14] = {
    let [a, b, c, d, e, f, g, h, i] = TOKENIZER_FILES;
    [CONFIG, SINGLE, MODULES, LENGTHS, POOLING, a, b, c, d, e, f, g, h, i]
};

fn check_place(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let entries = fs::read_dir(folder).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotADirectory => {
            Error::unsaved(folder, "there is a file of this name; choose another one")
        }
        _ => Error::write(folder)(e),
    })?;
    let names = entries.flatten().map(|e| e.file_name().display().to_string());
    let others: Vec<String> = names.filter(|n| !OWN.contains(&n.as_str())).collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(Error::unsaved(
            folder,
            format!("the folder holds something else: {}; choose a new one", listed(&others)),
        )),
    }
}

/// The tensors to write, all of which must be there.
fn pieces<'a>(export: &HfExport<'a>) -> Result<Vec<(Named, &'a Tensor)>, String> {
    let config = export.config;
    let names = config.family.names();
    if config.head == Head::Pooler && names.pooler.is_none() {
        return Err(format!("the family {} has no pooler; save it without one", names.model_type));
    }
    let prefix = if matches!(config.head, Head::None | Head::Pooler) { "" } else { names.prefix };
    let (mut pieces, mut problems) = (Vec::new(), Vec::new());
    for named in tensors(config, &config.head, prefix) {
        let kind = |dtype: DType, shape: &Shape| format!("{dtype} {shape}");
        let expected = kind(DType::F32, &named.shape);
        let tensor = export.state.get(&named.ours);
        let found = tensor.map(|t| kind(t.dtype(), t.shape()));
        match tensor.filter(|_| found.as_ref() == Some(&expected)) {
            Some(tensor) => pieces.push((named, tensor)),
            None => problems.push(TensorProblem { name: named.ours, expected: Some(expected), found }),
        }
    }
    match problems.is_empty() {
        true => Ok(pieces),
        false => Err(format!("its tensors do not fit the model: {}", listed(&problems))),
    }
}

/// The file's length of header, and header.
fn front(pieces: &[(Named, &Tensor)]) -> Result<Vec<u8>, String> {
    let notes = HashMap::from([("format".to_string(), "pt".to_string())]);
    let kinds = pieces.iter().map(|(named, _)| (named.theirs.as_str(), DType::F32, named.their_shape()));
    let json = header::write(kinds, Some(notes))?;
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}
