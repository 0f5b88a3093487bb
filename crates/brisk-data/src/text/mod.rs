//! Text as token numbers.

mod special;
mod tokenizer;
mod train;
mod truncation;
#[cfg(feature = "jieba")]
mod words;

pub use special::SpecialTokens;
pub use tokenizer::{TextInput, TextTokens, Tokenizer};
pub use train::{TokenizerKind, TokenizerSpec, Training};
pub use truncation::Truncation;
