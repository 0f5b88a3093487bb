//! Text to token numbers and back, through the crate `tokenizers`.

use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use tokenizers::{Encoding, InputSequence, PostProcessor};

use super::{SpecialTokens, Truncation};
use crate::{Error, Result};

/// The key in `tokenizer.json` that says how text is cut into words before anything else; ours alone.
const SEGMENTER: &str = "brisk_segmenter";

/// A text to encode.
#[derive(Clone, Copy, Debug)]
pub enum TextInput<'a> {
    /// As it is written.
    Plain(&'a str),
    /// Already in words.
    Words(&'a [String]),
}

/// A text, or a pair of texts, as tokens.
///
/// ```
/// let tokens = brisk_data::TextTokens { ids: vec![2, 7, 3], ..Default::default() };
/// assert_eq!(tokens.ids.len(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextTokens {
    /// The numbers of the tokens, special ones among them. Never empty.
    pub ids: Vec<i32>,
    /// For each token the type: 0, or 1 in the second text of a pair.
    pub types: Vec<i32>,
    /// For each token the number of the word of the first text that it belongs to; -1 for special tokens and the second text.
    pub words: Vec<i32>,
    /// Tokens that were cut off.
    pub cut: usize,
    /// True if the text had no tokens of its own.
    pub is_empty: bool,
}

/// A tokenizer. Cloning is cheap.
///
/// ```
/// use brisk_data::{TextInput, Tokenizer, Truncation};
/// let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n##ing\n好\n";
/// let tokenizer = Tokenizer::from_vocabulary(vocabulary, &Default::default())?;
/// let tokens = tokenizer.encode(TextInput::Plain("Playing 好!"), None, 512, Truncation::End)?;
/// assert_eq!(tokens.ids, [2, 5, 6, 7, 1, 3]);
/// assert_eq!(tokenizer.decode(&tokens.ids)?, "playing 好");
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    special: SpecialTokens,
    size: usize,
    words: bool,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.size)
    }
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Tokenizer) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.to_json().ok() == other.to_json().ok()
    }
}

/// The code of others must not bring the program down.
pub(super) fn guarded<T>(place: &str, f: impl FnOnce() -> Result<T, String>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err("the tokenizer failed".into()));
    result.map_err(|reason| Error::Tokenizer { place: place.into(), reason })
}

impl Tokenizer {
    /// Opens a `tokenizer.json`, a `vocab.txt` (of BERT's kind, with the `tokenizer_config.json` beside it, if there is one),
    /// or a folder that holds one of them, or `vocab.json` with `merges.txt` (of RoBERTa's kind).
    pub fn open(path: &Path) -> Result<Tokenizer> {
        let read = |path: &Path| fs::read_to_string(path).map_err(Error::io(path));
        let vocabulary = |path: &Path| {
            let config = match read(&path.with_file_name("tokenizer_config.json")) {
                Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
                Err(_) => Map::new(),
            };
            Tokenizer::from_vocabulary(&read(path)?, &config).map_err(at(path))
        };
        if path.is_dir() {
            let [json, txt, vocab, merges] =
                ["tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"].map(|n| path.join(n));
            return match () {
                () if json.is_file() => Tokenizer::open(&json),
                () if txt.is_file() => vocabulary(&txt),
                () if vocab.is_file() && merges.is_file() => {
                    Tokenizer::from_merges(&read(&vocab)?, &read(&merges)?).map_err(at(path))
                }
                () => Err(Error::Missing {
                    path: json,
                    remedy: "A tokenizer is a file tokenizer.json, or vocab.txt, or vocab.json and merges.txt. Of a folder with \
                             another kind, write one with `AutoTokenizer.from_pretrained(...).save_pretrained(...)`"
                        .into(),
                }),
            };
        }
        match path.extension().is_some_and(|e| e == "txt") {
            true => vocabulary(path),
            false => Tokenizer::from_json(&read(path)?).map_err(at(path)),
        }
    }

    /// The tokenizer that a `tokenizer.json` describes. Truncation and padding that it sets are not used.
    pub fn from_json(text: &str) -> Result<Tokenizer> {
        let place = "tokenizer";
        let mut json: Map<String, Json> =
            serde_json::from_str(text).map_err(|e| bad(format!("not a JSON object: {e}")))?;
        let words = match json.remove(SEGMENTER) {
            None => false,
            Some(Json::String(name)) if name == "jieba" => true,
            Some(other) => return Err(bad(format!("unknown {SEGMENTER} {other}: expected \"jieba\""))),
        };
        if words && cfg!(not(feature = "jieba")) {
            return Err(bad("this program was built without the feature `jieba`"));
        }
        json.insert("truncation".into(), Json::Null);
        json.insert("padding".into(), Json::Null);
        let bytes = Json::Object(json).to_string();
        let inner = guarded(place, || tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| e.to_string()))?;
        Tokenizer::wrap(inner, words)
    }

    pub(super) fn wrap(inner: tokenizers::Tokenizer, words: bool) -> Result<Tokenizer> {
        let vocabulary = inner.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |&n| n as usize + 1);
        if size == 0 {
            return Err(bad("the vocabulary is empty"));
        }
        if i32::try_from(size).is_err() {
            return Err(bad(format!("a token has the number {}", size - 1)));
        }
        let special = SpecialTokens::find(|name| vocabulary.get(name).copied());
        Ok(Tokenizer { inner: Arc::new(inner), special, size, words })
    }

    /// BERT's tokenizer over a vocabulary, a token a line, its number that of the line from 0.
    /// `config` is what `tokenizer_config.json` says: `do_lower_case` (true if left out), `strip_accents`,
    /// `tokenize_chinese_chars` and the names of special tokens.
    pub fn from_vocabulary(text: &str, config: &Map<String, Json>) -> Result<Tokenizer> {
        let vocabulary: Map<String, Json> = text
            .lines()
            .enumerate()
            .map(|(i, l)| (l.trim_end_matches(['\r', '\n']).to_string(), json!(i)))
            .collect();
        let name = |key: &str, default: &str| match config.get(key) {
            Some(Json::String(name)) => name.clone(),
            Some(Json::Object(token)) => {
                token.get("content").and_then(Json::as_str).unwrap_or(default).into()
            }
            _ => default.to_string(),
        };
        let names = [
            ("pad_token", "[PAD]"),
            ("unk_token", "[UNK]"),
            ("cls_token", "[CLS]"),
            ("sep_token", "[SEP]"),
            ("mask_token", "[MASK]"),
        ]
        .map(|(key, default)| name(key, default));
        let [_, unknown, start, end, _] = &names;
        let number = |name: &str| {
            vocabulary
                .get(name)
                .and_then(Json::as_u64)
                .ok_or_else(|| bad(format!("no token `{name}` in the vocabulary")))
        };
        number(unknown)?;
        let added: Vec<Json> =
            names.iter().filter_map(|n| Some(added_token(n, vocabulary.get(n)?.as_u64()?))).collect();
        let flag = |key: &str, default: bool| config.get(key).and_then(Json::as_bool).unwrap_or(default);
        let lowercase = flag("do_lower_case", true);
        let json = json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "lowercase": lowercase,
                "handle_chinese_chars": flag("tokenize_chinese_chars", true),
                "strip_accents": config.get("strip_accents").cloned().unwrap_or(Json::Null),
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": template(start, number(start)?, end, number(end)?),
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {
                "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocabulary,
            },
        });
        Tokenizer::from_json(&json.to_string())
    }

    /// RoBERTa's tokenizer over `vocab.json` and `merges.txt`.
    fn from_merges(vocabulary: &str, merges: &str) -> Result<Tokenizer> {
        let vocabulary: Map<String, Json> =
            serde_json::from_str(vocabulary).map_err(|e| bad(format!("vocab.json: {e}")))?;
        let number = |name: &str| {
            vocabulary
                .get(name)
                .and_then(Json::as_u64)
                .ok_or_else(|| bad(format!("no token `{name}` in vocab.json")))
        };
        let merges: Vec<&str> =
            merges.lines().filter(|l| !l.starts_with("#version") && !l.trim().is_empty()).collect();
        let added: Vec<Json> = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
            .iter()
            .filter_map(|n| Some(added_token(n, vocabulary.get(*n)?.as_u64()?)))
            .collect();
        let json = json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": {
                "type": "RobertaProcessing", "sep": ["</s>", number("</s>")?], "cls": ["<s>", number("<s>")?],
                "trim_offsets": true, "add_prefix_space": false,
            },
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
        });
        Tokenizer::from_json(&json.to_string())
    }

    /// The tokenizer as a `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        let text = self.inner.to_string(false).map_err(|e| bad(e.to_string()))?;
        if !self.words {
            return Ok(text);
        }
        let mut json: Map<String, Json> = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        json.insert(SEGMENTER.into(), "jieba".into());
        Ok(Json::Object(json).to_string())
    }

    /// Rows that an embedding of its tokens needs: the highest number plus one.
    pub fn size(&self) -> usize {
        self.size
    }

    /// An error if the tokenizer has numbers that an embedding of so many rows has not.
    ///
    /// ```
    /// use brisk_data::Tokenizer;
    /// let tokenizer = Tokenizer::from_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\nx\n", &Default::default())?;
    /// assert!(tokenizer.check_size(8).is_ok());
    /// assert!(tokenizer.check_size(4).unwrap_err().to_string().contains("5 tokens"));
    /// # Ok::<(), brisk_data::Error>(())
    /// ```
    pub fn check_size(&self, rows: usize) -> Result<()> {
        match self.size <= rows {
            true => Ok(()),
            false => Err(Error::VocabularySize { tokenizer: self.size, model: rows }),
        }
    }

    /// Its special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// The number of a token.
    pub fn number(&self, token: &str) -> Option<i32> {
        self.inner.token_to_id(token).map(|n| n as i32)
    }

    /// The token of a number.
    pub fn token(&self, number: i32) -> Option<String> {
        self.inner.id_to_token(u32::try_from(number).ok()?)
    }

    /// Text from token numbers, without special tokens.
    pub fn decode(&self, ids: &[i32]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().filter_map(|&i| u32::try_from(i).ok()).collect();
        guarded("tokenizer", || self.inner.decode(&ids, true).map_err(|e| e.to_string()))
    }

    /// For each token, if it goes on a word that another token began (as `##ing`): so that words can be hidden as a whole.
    pub fn continuations(&self) -> Vec<bool> {
        let tokens: Vec<String> = (0..self.size as i32).map(|i| self.token(i).unwrap_or_default()).collect();
        let marks = |mark: &str| tokens.iter().any(|t| t.starts_with(mark));
        if marks("##") {
            return tokens.iter().map(|t| t.starts_with("##") && t.len() > 2).collect();
        }
        // Where a mark begins words, what does not have it goes on.
        let Some(mark) = ["\u{2581}", "\u{120}"].into_iter().find(|m| marks(m)) else {
            return vec![false; self.size];
        };
        (0..).zip(&tokens).map(|(i, t)| !t.starts_with(mark) && !self.special.contains(i)).collect()
    }

    /// The tokens of a text, or of a pair joined by what the tokenizer puts between them; at most `max_length`, special ones
    /// among them. Of a pair the longer text is cut first. A text without tokens becomes one unknown token, so that
    /// no text is empty.
    pub fn encode(
        &self,
        first: TextInput<'_>,
        second: Option<TextInput<'_>>,
        max_length: usize,
        truncation: Truncation,
    ) -> Result<TextTokens> {
        let a = self.pieces(first)?;
        let b = second.map(|s| self.pieces(s)).transpose()?;
        let special = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(b.is_some()));
        let room = max_length.saturating_sub(special);
        let (n, m) = (a.len(), b.as_ref().map_or(0, Encoding::len));
        if room == 0 {
            return Err(Error::Config {
                key: "max_length".into(),
                found: max_length.to_string(),
                expected: format!("more than {special}, the number of special tokens"),
            });
        }
        let too_long = || Error::Config {
            key: "max_length".into(),
            found: max_length.to_string(),
            expected: format!(
                "the text has {} tokens. Choose a `truncation`, or a larger max_length",
                n + m + special
            ),
        };
        let (to_n, to_m) = share(n, m, room);
        let a = cut(a, to_n, truncation).ok_or_else(too_long)?;
        let b = b.map(|b| kept(&b, to_m, truncation).ok_or_else(too_long)).transpose()?;
        let encoding =
            guarded("tokenizer", || self.inner.post_process(a, b, true).map_err(|e| e.to_string()))?;
        let sequences = encoding.get_sequence_ids();
        let mut tokens = TextTokens {
            ids: encoding.get_ids().iter().map(|&i| i as i32).collect(),
            types: encoding.get_type_ids().iter().map(|&i| i as i32).collect(),
            words: encoding
                .get_word_ids()
                .iter()
                .zip(&sequences)
                .map(|(w, s)| w.filter(|_| *s == Some(0)).map_or(-1, |w| w as i32))
                .collect(),
            cut: (n + m).saturating_sub(to_n + to_m),
            is_empty: n + m == 0,
        };
        if tokens.ids.is_empty() {
            tokens.ids.push(self.special.unknown.or(self.special.padding).unwrap_or(0));
            tokens.types.push(0);
            tokens.words.push(-1);
        }
        Ok(tokens)
    }

    /// The tokens of one text, without special ones.
    fn pieces(&self, text: TextInput<'_>) -> Result<Encoding> {
        let encode = |input: InputSequence<'_>| {
            guarded("tokenizer", || self.inner.encode_fast(input, false).map_err(|e| e.to_string()))
        };
        match text {
            #[cfg(feature = "jieba")]
            TextInput::Plain(text) if self.words => encode(super::words::spaced(text).into()),
            TextInput::Plain(text) => encode(text.into()),
            // The faster way does not say which word a token belongs to.
            TextInput::Words(words) => guarded("tokenizer", || {
                self.inner.encode(InputSequence::from(words), false).map_err(|e| e.to_string())
            }),
        }
    }
}

/// How many tokens of each text of a pair may stay: the longer one is cut until both are as long.
fn share(n: usize, m: usize, room: usize) -> (usize, usize) {
    if n + m <= room {
        return (n, m);
    }
    let (short, long) = (n.min(m), room.saturating_sub(n.min(m)));
    let (short, long) = if short > long { (room / 2, room - room / 2) } else { (short, long) };
    if n <= m { (short, long) } else { (long, short) }
}

/// The tokens that a truncation keeps.
fn cut(encoding: Encoding, max: usize, truncation: Truncation) -> Option<Encoding> {
    if encoding.len() <= max { Some(encoding) } else { kept(&encoding, max, truncation) }
}

/// The same anew, not marked as the first text, which the second one of a pair must not be.
fn kept(encoding: &Encoding, max: usize, truncation: Truncation) -> Option<Encoding> {
    let (head, tail) = truncation.kept(encoding.len(), max)?;
    fn both<T: Clone>(v: &[T], head: &std::ops::Range<usize>, tail: &std::ops::Range<usize>) -> Vec<T> {
        let part = |r: &std::ops::Range<usize>| v.get(r.clone()).unwrap_or_default().to_vec();
        [part(head), part(tail)].concat()
    }
    Some(Encoding::new(
        both(encoding.get_ids(), &head, &tail),
        both(encoding.get_type_ids(), &head, &tail),
        both(encoding.get_tokens(), &head, &tail),
        both(encoding.get_word_ids(), &head, &tail),
        both(encoding.get_offsets(), &head, &tail),
        both(encoding.get_special_tokens_mask(), &head, &tail),
        both(encoding.get_attention_mask(), &head, &tail),
        Vec::new(),
        Default::default(),
    ))
}

/// `[CLS] A [SEP]`, and `[CLS] A [SEP] B [SEP]` with type 1 from B on.
pub(super) fn template(start: &str, start_number: u64, end: &str, end_number: u64) -> Json {
    let special = |name: &str, kind: u64| json!({"SpecialToken": {"id": name, "type_id": kind}});
    let text = |id: &str, kind: u64| json!({"Sequence": {"id": id, "type_id": kind}});
    let token = |name: &str, number: u64| json!({"id": name, "ids": [number], "tokens": [name]});
    json!({
        "type": "TemplateProcessing",
        "single": [special(start, 0), text("A", 0), special(end, 0)],
        "pair": [special(start, 0), text("A", 0), special(end, 0), text("B", 1), special(end, 1)],
        "special_tokens": {start: token(start, start_number), end: token(end, end_number)},
    })
}

pub(super) fn added_token(name: &str, number: u64) -> Json {
    json!({
        "id": number, "content": name, "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

pub(super) fn bad(reason: impl Into<String>) -> Error {
    Error::Tokenizer { place: "tokenizer".into(), reason: reason.into() }
}

/// Names the file in an error.
fn at(path: &Path) -> impl Fn(Error) -> Error {
    let place = path.display().to_string();
    move |e| match e {
        Error::Tokenizer { reason, .. } => Error::Tokenizer { place: place.clone(), reason },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokenizer() -> Tokenizer {
        let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\n##f\n中\n";
        Tokenizer::from_vocabulary(words, &Map::new()).unwrap()
    }

    fn ids(text: &str, pair: Option<&str>, max: usize, truncation: Truncation) -> Vec<i32> {
        tokenizer().encode(TextInput::Plain(text), pair.map(TextInput::Plain), max, truncation).unwrap().ids
    }

    #[test]
    fn cuts_what_is_too_long() {
        let cut = |max, t| ids("a b c d e", None, max, t);
        assert_eq!(cut(5, Truncation::End), [2, 5, 6, 7, 3]);
        assert_eq!(cut(5, Truncation::Start), [2, 7, 8, 9, 3]);
        assert_eq!(cut(5, Truncation::Middle), [2, 5, 6, 9, 3]);
        assert_eq!(cut(6, Truncation::HeadTail), [2, 5, 7, 8, 9, 3]);
        assert_eq!(cut(7, Truncation::Error).len(), 7);
        let e = tokenizer().encode(TextInput::Plain("a b c"), None, 4, Truncation::Error).unwrap_err();
        assert!(e.to_string().contains("the text has 5 tokens"), "{e}");
        assert_eq!(ids("a b c d e", Some("a b"), 8, Truncation::End), [2, 5, 6, 7, 3, 5, 6, 3]);
    }

    #[test]
    fn words_and_types() {
        let words = ["af", "中b", "zzz"].map(String::from);
        let t = tokenizer()
            .encode(TextInput::Words(&words), Some(TextInput::Plain("c")), 20, Truncation::End)
            .unwrap();
        assert_eq!(t.ids, [2, 5, 10, 11, 6, 1, 3, 7, 3]);
        assert_eq!(t.words, [-1, 0, 0, 1, 1, 2, -1, -1, -1]);
        assert_eq!(t.types, [0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(tokenizer().continuations().iter().position(|&c| c), Some(10));
    }

    #[test]
    fn an_empty_text_has_its_special_tokens() {
        let t = tokenizer().encode(TextInput::Plain(" "), None, 8, Truncation::End).unwrap();
        assert_eq!((t.ids, t.is_empty), (vec![2, 3], true));
        assert!(tokenizer().encode(TextInput::Plain("a"), None, 2, Truncation::End).is_err());
    }

    #[test]
    fn saves_and_loads() {
        let t = tokenizer();
        let again = Tokenizer::from_json(&t.to_json().unwrap()).unwrap();
        assert_eq!(again, t);
        assert_eq!(again.decode(&[2, 5, 10, 11, 3]).unwrap(), "af 中");
        for text in
            ["", "{}", "[]", "{\"model\": {\"type\": \"WordPiece\"}}", "{\"version\":\"1.0\",\"model\":3}"]
        {
            assert!(Tokenizer::from_json(text).is_err(), "{text}");
        }
        let e = Tokenizer::from_vocabulary("a\nb\n", &Map::new()).unwrap_err();
        assert!(e.to_string().contains("no token `[UNK]`"), "{e}");
    }

    proptest! {
        #[test]
        fn any_text_keeps_to_the_length(text in "\\PC{0,60}", pair in proptest::option::of("[a-f 中]{0,30}"), max in 4usize..20) {
            for t in [Truncation::End, Truncation::Start, Truncation::Middle, Truncation::HeadTail] {
                let n = ids(&text, pair.as_deref(), max, t);
                prop_assert!(!n.is_empty() && n.len() <= max);
            }
        }

        #[test]
        fn a_pair_shares_the_room(n in 0usize..20, m in 0usize..20, room in 1usize..30) {
            let (a, b) = share(n, m, room);
            prop_assert!(a <= n && b <= m);
            prop_assert_eq!(a + b, room.min(n + m));
        }
    }
}
