//! Folders as `transformers` writes them: `config.json`, `model.safetensors` or `pytorch_model.bin` or their shards, and the tokenizer's files.

mod config;
mod family;
mod load;
mod names;
mod of_model;
mod save;
mod sentences;
mod shards;
mod weights;

use std::path::{Path, PathBuf};

use brisk_nn::TextEncoder;
use brisk_runtime::State;
use serde::{Deserialize, Serialize};

use crate::hashed::read_whole;
use crate::{Error, LoadReport, Result};
use shards::Shards;

pub use config::HfConfig;
pub use family::Family;
pub use save::{HfExport, save_huggingface};
pub use sentences::{SentencePooling, Sentences};

const CONFIG: &str = "config.json";

/// The files that tokenizers consist of.
const TOKENIZER_FILES: [&str; 9] = [
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// What stands on an encoder, and what its parameters are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Nothing: a vector for each token.
    None,
    /// A dense layer with tanh over the first token of a text: `pooler.{kernel,bias}`.
    Pooler,
    /// One class of several: `pooler`, and `classifier.{kernel,bias}` on it.
    Classification {
        /// Number of classes.
        labels: usize,
    },
    /// Any number of labels at once; parameters as for a classification.
    MultiLabel {
        /// Number of labels.
        labels: usize,
    },
    /// Numbers; parameters as for a classification.
    Regression {
        /// How many.
        outputs: usize,
    },
    /// A label for each token: `classifier.{kernel,bias}`.
    Tags {
        /// Number of labels.
        labels: usize,
    },
    /// The token that was masked: `mlm.dense.{kernel,bias}`, an activation, `mlm.norm.{gamma,beta}`, the product with the
    /// transposed `encoder.embeddings.word`, and `mlm.bias`.
    MaskedLanguageModel,
}

impl Head {
    /// How many numbers it gives, if the task decides that.
    pub fn outputs(&self) -> Option<usize> {
        match *self {
            Head::None | Head::Pooler | Head::MaskedLanguageModel => None,
            Head::Classification { labels } | Head::MultiLabel { labels } | Head::Tags { labels } => {
                Some(labels)
            }
            Head::Regression { outputs } => Some(outputs),
        }
    }
}

/// A Hugging Face folder that is open: its configuration is read and understood, its tensors are found but not read yet.
///
/// ```no_run
/// use brisk_format::HfFolder;
/// let folder = HfFolder::open("all-MiniLM-L6-v2".as_ref())?;
/// println!("{} with {} layers", folder.config().family.model_type(), folder.encoder().num_layers);
/// let (state, report) = folder.load_state(folder.head())?;
/// println!("{report}");
/// assert!(state.get("encoder.embeddings.word").is_some());
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Debug)]
pub struct HfFolder {
    path: PathBuf,
    config: HfConfig,
    sentences: Option<Sentences>,
    shards: Shards,
}

impl HfFolder {
    /// True if a folder looks like one of these, and not like a model that Brisk wrote.
    pub fn is_one(path: &Path) -> bool {
        path.join(CONFIG).is_file() && !crate::is_model(path)
    }

    /// Opens a folder. An error if it is of a family or has settings that Brisk does not support.
    pub fn open(path: &Path) -> Result<HfFolder> {
        let file = path.join(CONFIG);
        let (bytes, _) = read_whole(&file, "the configuration of a Hugging Face folder")?;
        let text = String::from_utf8(bytes).map_err(|e| Error::content(&file, e))?;
        let mut config = HfConfig::parse(&text, &file)?;
        let sentences = Sentences::read(path)?;
        let shards = Shards::open(path)?;
        if config.head == Head::Pooler && !load::has_pooler(&config, &shards) {
            config.head = Head::None;
        }
        Ok(HfFolder { path: path.into(), config, sentences, shards })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its `config.json` says.
    pub fn config(&self) -> &HfConfig {
        &self.config
    }

    /// Its encoder.
    pub fn encoder(&self) -> &TextEncoder {
        &self.config.encoder
    }

    /// What stands on the encoder.
    pub fn head(&self) -> &Head {
        &self.config.head
    }

    /// The names of what the head tells apart.
    pub fn labels(&self) -> &[String] {
        &self.config.labels
    }

    /// How a text's vector is made, if `sentence-transformers` wrote the folder.
    pub fn sentences(&self) -> Option<&Sentences> {
        self.sentences.as_ref()
    }

    /// The most tokens of a text, with the special ones.
    pub fn max_length(&self) -> usize {
        let rows = self.config.encoder.max_positions - self.config.encoder.position_offset;
        self.sentences.as_ref().and_then(|s| s.max_length).map_or(rows, |n| n.min(rows))
    }

    /// The file to make the tokenizer of: `tokenizer.json`, or `vocab.txt`.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        let files = ["tokenizer.json", "vocab.txt"].map(|name| self.path.join(name));
        files.into_iter().find(|f| f.is_file())
    }

    /// All files that belong to its tokenizer.
    pub fn tokenizer_files(&self) -> Vec<PathBuf> {
        TOKENIZER_FILES.map(|name| self.path.join(name)).into_iter().filter(|f| f.is_file()).collect()
    }

    /// Reads the tensors of the encoder and of a head, by Brisk's names and in its layouts. A tensor of the encoder that is missing or
    /// has another shape is an error; those of a head that the folder does not have are listed in the report as fresh, and are
    /// not in the state.
    pub fn load_state(&self, head: &Head) -> Result<(State, LoadReport)> {
        load::load(&self.config, &self.shards, head)
    }
}
