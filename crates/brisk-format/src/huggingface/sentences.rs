//! What `sentence-transformers` adds to a folder: how one vector is made of a text's tokens.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::hashed::read_whole;
use crate::manifest::pretty;
use crate::{Error, Result};

pub(super) const MODULES: &str = "modules.json";
pub(super) const LENGTHS: &str = "sentence_bert_config.json";
pub(super) const POOLING: &str = "1_Pooling";

/// How the vectors of tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentencePooling {
    /// Their mean.
    Mean,
    /// The first.
    Cls,
    /// The largest number of each place.
    Max,
}

impl fmt::Display for SentencePooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SentencePooling::Mean => "mean",
            SentencePooling::Cls => "cls",
            SentencePooling::Max => "max",
        })
    }
}

/// How a text's vector is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentences {
    /// How the vectors of tokens become one.
    pub pooling: SentencePooling,
    /// The vector is scaled to length 1.
    pub normalize: bool,
    /// The most tokens of a text, if that is said.
    pub max_length: Option<usize>,
}

impl Sentences {
    /// Reads `modules.json` and what it names; `None` if there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Sentences>> {
        let path = folder.join(MODULES);
        if !path.exists() {
            return Ok(None);
        }
        let modules: Value = read_json(&path)?;
        let Value::Array(modules) = &modules else {
            return Err(Error::content(&path, "expected a list of modules"));
        };
        let (mut pooled, mut normalize) = (None, false);
        for module in modules {
            let text = |key: &str| module.get(key).and_then(Value::as_str);
            let kind = text("type").map(|t| t.rsplit('.').next().unwrap_or(t));
            let place = text("path").unwrap_or_default();
            match kind {
                Some("Transformer") if place.is_empty() => {}
                Some("Transformer") => {
                    let hint =
                        format!("the encoder is in {}: give that folder", folder.join(place).display());
                    return Err(Error::content(&path, hint));
                }
                Some("Pooling") => {
                    if Path::new(place).file_name().is_none_or(|name| name != place) {
                        let message = format!("expected the name of a folder beside it, found {place:?}");
                        return Err(Error::content(&path, message));
                    }
                    let path = folder.join(place).join(super::CONFIG);
                    pooled = Some(pooling(&read_json(&path)?).map_err(|m| Error::content(&path, m))?);
                }
                Some("Normalize") => normalize = true,
                _ => {
                    let found = module.get("type").unwrap_or(&Value::Null);
                    return Err(Error::content(
                        &path,
                        format!(
                            "expected modules Transformer, Pooling and Normalize, found {found}; use a model without it"
                        ),
                    ));
                }
            }
        }
        let Some(pooling) = pooled else {
            return Err(Error::content(
                &path,
                "expected a module Pooling, found none: without it texts have no vectors; add one, or remove the file",
            ));
        };
        let path = folder.join(LENGTHS);
        let lengths: Value = if path.exists() { read_json(&path)? } else { Value::Null };
        if lengths.get("do_lower_case") == Some(&Value::Bool(true)) && !lowers(folder)? {
            return Err(Error::content(
                &path,
                "do_lower_case: expected false, or a tokenizer that does it itself, found true; let the normalizer in tokenizer.json do it",
            ));
        }
        let length = lengths.get("max_seq_length").and_then(Value::as_u64);
        let max_length = length.and_then(|n| n.try_into().ok()).filter(|&n: &usize| n > 0);
        Ok(Some(Sentences { pooling, normalize, max_length }))
    }

    /// The files to write: names and contents.
    pub(super) fn files(&self, hidden_size: usize) -> serde_json::Result<Vec<(String, String)>> {
        let module = |i: usize, path: &str, kind: &str| json!({"idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
        let mut modules = vec![module(0, "", "Transformer"), module(1, POOLING, "Pooling")];
        if self.normalize {
            modules.push(module(2, "2_Normalize", "Normalize"));
        }
        let pooling = json!({
            "word_embedding_dimension": hidden_size,
            "pooling_mode_cls_token": self.pooling == SentencePooling::Cls,
            "pooling_mode_mean_tokens": self.pooling == SentencePooling::Mean,
            "pooling_mode_max_tokens": self.pooling == SentencePooling::Max,
            "pooling_mode_mean_sqrt_len_tokens": false,
        });
        let mut files = vec![
            (MODULES.to_string(), pretty(&modules)?),
            (format!("{POOLING}/{}", super::CONFIG), pretty(&pooling)?),
        ];
        if let Some(length) = self.max_length {
            files.push((LENGTHS.into(), pretty(&json!({"max_seq_length": length, "do_lower_case": false}))?));
        }
        Ok(files)
    }
}

/// Whether the tokenizer of a folder makes capital letters small.
fn lowers(folder: &Path) -> Result<bool> {
    #[derive(Deserialize)]
    struct Tokenizer {
        normalizer: Option<Value>,
    }
    fn does(normalizer: &Value) -> bool {
        match normalizer.get("type").and_then(Value::as_str) {
            Some("Lowercase") => true,
            Some("BertNormalizer") => normalizer.get("lowercase") == Some(&Value::Bool(true)),
            Some("Sequence") => {
                let all = normalizer.get("normalizers").and_then(Value::as_array);
                all.is_some_and(|all| all.iter().any(does))
            }
            _ => false,
        }
    }
    let [whole, config] = ["tokenizer.json", "tokenizer_config.json"].map(|name| folder.join(name));
    if whole.is_file() {
        let Tokenizer { normalizer } = read_json(&whole)?;
        return Ok(normalizer.is_some_and(|n| does(&n)));
    }
    // Of what only has a list of words, this is so unless it is switched off.
    let config: Value = if config.is_file() { read_json(&config)? } else { Value::Null };
    Ok(config.get("do_lower_case") != Some(&Value::Bool(false)))
}

/// The one mode that is switched on.
fn pooling(config: &Value) -> std::result::Result<SentencePooling, String> {
    const MODES: [(&str, &str, SentencePooling); 3] = [
        ("pooling_mode_cls_token", "cls", SentencePooling::Cls),
        ("pooling_mode_mean_tokens", "mean", SentencePooling::Mean),
        ("pooling_mode_max_tokens", "max", SentencePooling::Max),
    ];
    if let Some(found) = config.get("pooling_mode").filter(|v| !v.is_null()) {
        let mode = MODES.iter().find(|(_, name, _)| found == name);
        return mode
            .map(|m| m.2)
            .ok_or_else(|| format!("pooling_mode: expected mean, cls or max, found {found}"));
    }
    let on: Vec<&str> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| key.starts_with("pooling_mode_") && **value == true)
        .map(|(key, _)| key.as_str())
        .collect();
    match on[..] {
        [one] => MODES.iter().find(|m| m.0 == one).map(|m| m.2),
        _ => None,
    }
    .ok_or_else(|| {
        format!(
            "expected one of pooling_mode_mean_tokens, pooling_mode_cls_token and pooling_mode_max_tokens to be true, found {}",
            if on.is_empty() { "none".into() } else { on.join(", ") }
        )
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let (bytes, _) = read_whole(path, "a file that sentence-transformers wrote")?;
    serde_json::from_slice(&bytes).map_err(|e| Error::content(path, e))
}
