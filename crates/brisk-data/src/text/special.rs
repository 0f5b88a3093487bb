//! The tokens that mean something other than text.

/// The numbers of a tokenizer's special tokens, as far as it has them.
///
/// ```
/// use brisk_data::{TokenizerKind, Tokenizer};
/// let kind = TokenizerKind::word();
/// let tokenizer = Tokenizer::train(&kind, ["good", "bad"].map(|t| Ok(t.to_string())), |_| ())?;
/// assert_eq!((tokenizer.special().padding, tokenizer.special().unknown), (Some(0), Some(1)));
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Padding: `[PAD]`, `<pad>`.
    pub padding: Option<i32>,
    /// What is not in the vocabulary: `[UNK]`, `<unk>`.
    pub unknown: Option<i32>,
    /// Start of a text: `[CLS]`, `<s>`.
    pub start: Option<i32>,
    /// End of a text, or what stands between two: `[SEP]`, `</s>`.
    pub separator: Option<i32>,
    /// What hides a token in masked language modelling: `[MASK]`, `<mask>`.
    pub mask: Option<i32>,
}

/// The names of special tokens in the vocabularies that we train, in the order of their numbers.
pub(super) const NAMES: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

impl SpecialTokens {
    /// By the names that vocabularies use.
    pub(super) fn find(number: impl Fn(&str) -> Option<u32>) -> SpecialTokens {
        let first = |names: &[&str]| names.iter().find_map(|n| number(n)).map(|n| n as i32);
        SpecialTokens {
            padding: first(&["[PAD]", "<pad>", "<|pad|>"]),
            unknown: first(&["[UNK]", "<unk>"]),
            start: first(&["[CLS]", "<s>"]),
            separator: first(&["[SEP]", "</s>"]),
            mask: first(&["[MASK]", "<mask>"]),
        }
    }

    /// True for any of them.
    pub fn contains(&self, token: i32) -> bool {
        [self.padding, self.unknown, self.start, self.separator, self.mask].contains(&Some(token))
    }
}
