//! Tokenizers made from the user's own text.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value as Json, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::models::wordlevel::WordLevelTrainer;
use tokenizers::models::wordpiece::WordPieceTrainer;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Trainer,
};

use super::Tokenizer;
use super::special::NAMES;
use super::tokenizer::{bad, guarded, template};
use crate::{Error, Result};

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Training {
    /// Words: what stands between white space and punctuation; each Chinese character is a word.
    #[default]
    Word,
    /// Characters.
    Character,
    /// Words, Chinese ones by the dictionary of jieba.
    Jieba,
    /// Byte-pair encoding (Sennrich and others, 2016).
    Bpe,
    /// WordPiece (Schuster and Nakajima, 2012), as BERT has it.
    Wordpiece,
    /// Unigram language model (Kudo, 2018). Its numbers may differ from one training to the next, where pieces are equally good; all
    /// other kinds are the same each time.
    Unigram,
}

/// A tokenizer to be made from the training texts.
///
/// ```
/// let kind: brisk_data::TokenizerKind = serde_json::from_str(r#"{"type": "bpe", "vocab_size": 4000}"#)?;
/// assert!(kind.lowercase && kind.special_tokens.is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizerKind {
    /// What tokens are.
    #[serde(rename = "type")]
    pub training: Training,
    /// The most tokens that there may be, special ones among them. Left out: 20,000, for sub-words 8,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<usize>,
    /// How often a token must stand in the texts.
    #[serde(default = "one")]
    pub min_count: u64,
    /// Large and small letters are the same.
    #[serde(default = "yes")]
    pub lowercase: bool,
    /// `[CLS]` before and `[SEP]` after each text. Left out: only for sub-words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_tokens: Option<bool>,
}

fn one() -> u64 {
    1
}
fn yes() -> bool {
    true
}

impl TokenizerKind {
    /// A kind with its defaults.
    pub fn new(training: Training) -> TokenizerKind {
        TokenizerKind { training, vocab_size: None, min_count: 1, lowercase: true, special_tokens: None }
    }

    /// Words.
    pub fn word() -> TokenizerKind {
        TokenizerKind::new(Training::Word)
    }

    /// Characters.
    pub fn character() -> TokenizerKind {
        TokenizerKind::new(Training::Character)
    }
}

/// Where a tokenizer comes from: a kind to be trained, by its name or with details, or the path of one.
///
/// ```
/// use brisk_data::{TokenizerKind, TokenizerSpec};
/// let read = |s| serde_json::from_str::<TokenizerSpec>(s).unwrap();
/// assert_eq!(read(r#""character""#).kind(), Some(TokenizerKind::character()));
/// assert_eq!(read(r#""models/bert/vocab.txt""#).kind(), None);
/// assert!(serde_json::from_str::<TokenizerSpec>(r#"{"type": "bpe", "size": 4}"#).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TokenizerSpec {
    /// `word`, `character`, `jieba`, `bpe`, `wordpiece` or `unigram`; or the path of a `tokenizer.json`, a `vocab.txt`, or a
    /// folder with one.
    Name(String),
    /// A kind with details.
    Kind(TokenizerKind),
}

impl TokenizerSpec {
    /// The kind to be trained; none if it is a path.
    pub fn kind(&self) -> Option<TokenizerKind> {
        match self {
            TokenizerSpec::Kind(kind) => Some(kind.clone()),
            TokenizerSpec::Name(name) => {
                serde_json::from_value(Json::String(name.clone())).ok().map(TokenizerKind::new)
            }
        }
    }
}

impl<'de> Deserialize<'de> for TokenizerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TokenizerSpec, D::Error> {
        struct NameOrKind;
        impl<'de> Visitor<'de> for NameOrKind {
            type Value = TokenizerSpec;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a kind of tokenizer, a path, or `{type: ..., vocab_size: ...}`")
            }

            fn visit_str<E>(self, name: &str) -> Result<TokenizerSpec, E> {
                Ok(TokenizerSpec::Name(name.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TokenizerSpec, A::Error> {
                TokenizerKind::deserialize(MapAccessDeserializer::new(map)).map(TokenizerSpec::Kind)
            }
        }
        deserializer.deserialize_any(NameOrKind)
    }
}

impl Tokenizer {
    /// Makes a tokenizer from texts, which are read once. `progress` is told from time to time how many have been read.
    /// The first tokens are `[PAD] [UNK] [CLS] [SEP] [MASK]`, so that padding is 0. An error if there is no text.
    ///
    /// ```
    /// use brisk_data::{TextInput, Tokenizer, TokenizerKind, Truncation};
    /// let texts = ["很 好", "很 坏", "good"];
    /// let t = Tokenizer::train(&TokenizerKind::word(), texts.map(|t| Ok(t.to_string())), |_| ())?;
    /// let tokens = t.encode(TextInput::Plain("很 new"), None, 10, Truncation::End)?;
    /// assert_eq!(tokens.ids, [5, 1]); // the most frequent word, and one that is unknown
    /// # Ok::<(), brisk_data::Error>(())
    /// ```
    pub fn train<I>(kind: &TokenizerKind, texts: I, mut progress: impl FnMut(u64) + Send) -> Result<Tokenizer>
    where
        I: IntoIterator<Item = Result<String>, IntoIter: Send>,
    {
        let words = kind.training == Training::Jieba;
        if words && cfg!(not(feature = "jieba")) {
            return Err(bad(
                "type: jieba is not possible: this program was built without the feature `jieba`. Take `character`",
            ));
        }
        let default = if kind.is_subword() { 8_000 } else { 20_000 };
        let size = kind.vocab_size.unwrap_or(default);
        if size <= NAMES.len() || size > i32::MAX as usize {
            return Err(Error::Config {
                key: "tokenizer.vocab_size".into(),
                found: size.to_string(),
                expected: format!("more than {}, the number of special tokens", NAMES.len()),
            });
        }
        let blank = kind.blank().to_string();
        let mut inner = tokenizers::Tokenizer::from_bytes(blank).map_err(|e| bad(e.to_string()))?;
        let failure = Mutex::new(None);
        let mut read = 0;
        let texts = texts.into_iter().map_while(|text| match text {
            Ok(text) => {
                read += 1;
                if read % 1000 == 0 {
                    progress(read);
                }
                #[cfg(feature = "jieba")]
                let text = if words { super::words::spaced(&text) } else { text };
                Some(text)
            }
            Err(e) => {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                None
            }
        });
        let result = guarded("tokenizer", || kind.learn(&mut inner, size, texts).map_err(|e| e.to_string()));
        if let Some(e) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(e);
        }
        progress(read);
        let hint = |e: Error| match e {
            Error::Tokenizer { reason, .. } => bad(format!(
                "training failed: {reason}. There may be too little text for {size} tokens: take a smaller vocab_size, or `word`"
            )),
            other => other,
        };
        result.map_err(hint)?;
        if inner.get_vocab_size(true) <= NAMES.len() {
            return Err(Error::Empty {
                place: "texts of the tokenizer".into(),
                remedy: "Check the text column".into(),
            });
        }
        Tokenizer::wrap(inner, words)
    }
}

impl TokenizerKind {
    fn is_subword(&self) -> bool {
        matches!(self.training, Training::Bpe | Training::Wordpiece | Training::Unigram)
    }

    /// The tokenizer before it has seen any text.
    fn blank(&self) -> Json {
        let normalizer = |chinese: bool| {
            json!({
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": chinese,
                "strip_accents": false, "lowercase": self.lowercase,
            })
        };
        let empty = json!({"[UNK]": 1});
        let level = json!({"type": "WordLevel", "vocab": empty, "unk_token": "[UNK]"});
        let words = json!({"type": "BertPreTokenizer"});
        let (normalizer, split, decoder, model) = match self.training {
            Training::Word => (normalizer(true), words, Json::Null, level),
            Training::Jieba => (normalizer(false), json!({"type": "WhitespaceSplit"}), Json::Null, level),
            Training::Character => {
                let split = json!({"type": "Split", "pattern": {"Regex": "(?s)."}, "behavior": "Isolated", "invert": false});
                (normalizer(false), split, json!({"type": "Fuse"}), level)
            }
            Training::Wordpiece => {
                let model = json!({
                    "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100, "vocab": empty,
                });
                (
                    normalizer(true),
                    words,
                    json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
                    model,
                )
            }
            Training::Bpe | Training::Unigram => {
                let space = json!({
                    "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true,
                });
                let model = match self.training {
                    Training::Bpe => json!({
                        "type": "BPE", "dropout": null, "unk_token": "[UNK]", "continuing_subword_prefix": null,
                        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": empty, "merges": [],
                    }),
                    _ => json!({"type": "Unigram", "unk_id": 0, "vocab": [["[UNK]", 0.0]]}),
                };
                (normalizer(false), space.clone(), space, model)
            }
        };
        let post = match self.special_tokens.unwrap_or(self.is_subword()) {
            true => template("[CLS]", 2, "[SEP]", 3),
            false => separated(),
        };
        json!({
            "version": "1.0", "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": split,
            "post_processor": post, "decoder": decoder, "model": model,
        })
    }

    /// Trains as `tokenizers::Tokenizer::train` does, but gives the characters their numbers first, by their counts: numbers by the order of a
    /// hash map would be others each time.
    fn learn(
        &self,
        inner: &mut tokenizers::Tokenizer,
        size: usize,
        texts: impl Iterator<Item = String> + Send,
    ) -> tokenizers::Result<()> {
        let mut trainer = self.trainer(size)?;
        let characters: Mutex<BTreeMap<char, Count>> = Mutex::default();
        let (normalizer, splitter) = (inner.get_normalizer().cloned(), inner.get_pre_tokenizer().cloned());
        trainer.feed(texts, |text| {
            let mut normalized = NormalizedString::from(text);
            normalizer.as_ref().map_or(Ok(()), |n| n.normalize(&mut normalized))?;
            let mut split = PreTokenizedString::from(normalized);
            splitter.as_ref().map_or(Ok(()), |s| s.pre_tokenize(&mut split))?;
            let words = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let words: Vec<String> = words.into_iter().map(|(word, ..)| word.to_owned()).collect();
            if self.is_subword() {
                let mut characters = characters.lock().unwrap_or_else(PoisonError::into_inner);
                for (i, c) in words.iter().flat_map(|w| w.chars().enumerate()) {
                    let count = characters.entry(c).or_default();
                    count.all += 1;
                    count.inside |= i > 0;
                }
            }
            Ok(words)
        })?;
        let mut alphabet: Vec<(char, Count)> =
            characters.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect();
        alphabet.sort_by_key(|(_, count)| std::cmp::Reverse(count.all));
        alphabet.truncate(size / 3);
        let kept = alphabet.iter().map(|a| a.0);
        match &mut trainer {
            TrainerWrapper::BpeTrainer(t) => {
                t.limit_alphabet = Some(alphabet.len());
                t.initial_alphabet = kept.collect();
            }
            TrainerWrapper::WordPieceTrainer(t) => {
                t.set_limit_alphabet(Some(alphabet.len()));
                t.set_initial_alphabet(kept.collect());
                let inside = alphabet
                    .iter()
                    .filter(|a| a.1.inside)
                    .map(|a| AddedToken::from(format!("##{}", a.0), false));
                t.set_special_tokens(special().into_iter().chain(inside).collect());
            }
            _ => {}
        }
        let mut model = inner.get_model().clone();
        trainer.train(&mut model)?;
        inner.with_model(model);
        inner.add_special_tokens(special())?;
        Ok(())
    }

    fn trainer(&self, size: usize) -> Result<TrainerWrapper, String> {
        let special = special();
        Ok(match self.training {
            Training::Word | Training::Character | Training::Jieba => WordLevelTrainer::builder()
                .vocab_size(size)
                .min_frequency(self.min_count)
                .show_progress(false)
                .special_tokens(special)
                .build()
                .map_err(|e| e.to_string())?
                .into(),
            Training::Bpe => BpeTrainer::builder()
                .vocab_size(size)
                .min_frequency(self.min_count)
                .show_progress(false)
                .special_tokens(special)
                .build()
                .into(),
            Training::Wordpiece => WordPieceTrainer::builder()
                .vocab_size(size)
                .min_frequency(self.min_count)
                .show_progress(false)
                .special_tokens(special)
                .build()
                .into(),
            Training::Unigram => UnigramTrainer::builder()
                .vocab_size(size as u32)
                .show_progress(false)
                .special_tokens(special)
                .unk_token(Some(NAMES[1].into()))
                .build()
                .map_err(|e| e.to_string())?
                .into(),
        })
    }
}

/// How often a character stands in the texts, and if it ever does not begin a word.
#[derive(Clone, Copy, Default)]
struct Count {
    all: u64,
    inside: bool,
}

fn special() -> Vec<AddedToken> {
    NAMES.iter().map(|n| AddedToken::from(*n, true)).collect()
}

/// No special tokens around a text, `[SEP]` between two.
fn separated() -> Json {
    let text = |id: &str, kind: u64| json!({"Sequence": {"id": id, "type_id": kind}});
    json!({
        "type": "TemplateProcessing",
        "single": [text("A", 0)],
        "pair": [text("A", 0), {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, text("B", 1)],
        "special_tokens": {"[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TextInput, Truncation};

    fn corpus() -> Vec<String> {
        let words = [
            "the film was good",
            "the film was bad",
            "a very good play",
            "playing and played",
            "电影很好看",
            "电影不好看",
        ];
        (0..40).map(|i| format!("{} {}", words[i % 6], words[(i * 5 + 1) % 6])).collect()
    }

    fn train(kind: &TokenizerKind) -> Tokenizer {
        let mut told = 0;
        let t = Tokenizer::train(kind, corpus().into_iter().map(Ok), |n| told = n).unwrap();
        assert_eq!(told, 40);
        t
    }

    fn kind(training: Training) -> TokenizerKind {
        TokenizerKind { vocab_size: Some(120), ..TokenizerKind::new(training) }
    }

    #[test]
    fn every_kind_encodes_decodes_saves_and_repeats() {
        for training in
            [Training::Word, Training::Character, Training::Bpe, Training::Wordpiece, Training::Unigram]
        {
            let t = train(&kind(training));
            assert!(t.size() <= 120 && t.size() > 10, "{training:?}: {}", t.size());
            assert_eq!(t.special().padding, Some(0));
            assert_eq!(t.special().mask, Some(4));
            let text = "the film was good 电影很好看";
            let tokens = t.encode(TextInput::Plain(text), None, 100, Truncation::End).unwrap();
            assert!(!tokens.ids.contains(&1), "{training:?} {:?}", tokens.ids);
            let back = t.decode(&tokens.ids).unwrap();
            assert_eq!(back.replace(' ', ""), text.replace(' ', ""), "{training:?}");
            assert_eq!(Tokenizer::from_json(&t.to_json().unwrap()).unwrap(), t, "{training:?}");
            if training != Training::Unigram {
                assert_eq!(train(&kind(training)), t, "{training:?} is not the same twice");
            }
        }
    }

    #[cfg(feature = "jieba")]
    #[test]
    fn chinese_words() {
        let t = train(&kind(Training::Jieba));
        assert!(t.number("好看").is_some() && t.number("film").is_some());
        let again = Tokenizer::from_json(&t.to_json().unwrap()).unwrap();
        let ids =
            |t: &Tokenizer| t.encode(TextInput::Plain("电影不好看"), None, 9, Truncation::End).unwrap().ids;
        assert_eq!(ids(&again), ids(&t));
        assert_eq!(again, t);
    }

    #[test]
    fn rare_tokens_pairs_and_special_ones() {
        let rare = TokenizerKind { min_count: 15, ..TokenizerKind::word() };
        assert!(train(&rare).size() < train(&TokenizerKind::word()).size());
        let around = TokenizerKind { special_tokens: Some(true), ..TokenizerKind::word() };
        let ids = |t: &Tokenizer| {
            t.encode(TextInput::Plain("film"), Some(TextInput::Plain("bad")), 9, Truncation::End).unwrap().ids
        };
        let (plain, around) = (ids(&train(&TokenizerKind::word())), ids(&train(&around)));
        assert_eq!((plain.len(), plain[1], around.len(), around[0]), (3, 3, 5, 2));
    }

    #[test]
    fn says_what_is_wrong() {
        let none = || std::iter::empty::<Result<String>>();
        for training in [Training::Word, Training::Bpe, Training::Unigram] {
            assert!(Tokenizer::train(&TokenizerKind::new(training), none(), |_| ()).is_err(), "{training:?}");
        }
        let broken = [Ok("a".to_string()), Err(bad("torn"))];
        let e = Tokenizer::train(&TokenizerKind::word(), broken, |_| ()).unwrap_err();
        assert!(e.to_string().contains("torn"));
        let tiny = TokenizerKind { vocab_size: Some(3), ..TokenizerKind::word() };
        assert!(Tokenizer::train(&tiny, none(), |_| ()).unwrap_err().to_string().contains("vocab_size"));
    }
}
