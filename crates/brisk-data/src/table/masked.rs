//! Masked language modelling: tokens are hidden, and the model is to say which they were (Devlin and others, 2018).

use brisk_graph::Tensor;

use crate::batch::{Batch, BatchIter, Batches};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result, SpecialTokens, Tokenizer};

/// How tokens are hidden.
///
/// ```
/// let options = brisk_data::MaskOptions { whole_words: true, ..brisk_data::MaskOptions::new("text", "hidden") };
/// assert_eq!(options.share, 0.15);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MaskOptions {
    /// The text; its batches must be packed.
    pub input: String,
    /// What to call the tensor of what is to be found.
    pub target: String,
    /// Share of a text's tokens to be found, special ones not counted; at least one.
    pub share: f64,
    /// Words are hidden as a whole.
    pub whole_words: bool,
    /// What the choice follows from, with the epoch and the sample.
    pub seed: u64,
}

impl MaskOptions {
    /// 15 % of single tokens.
    pub fn new(input: impl Into<String>, target: impl Into<String>) -> MaskOptions {
        MaskOptions { input: input.into(), target: target.into(), share: 0.15, whole_words: false, seed: 0 }
    }
}

/// Batches whose tokens are hidden in part. Of the tokens to be found, 80 % become the mask token, 10 % another token, 10 % stay. A further
/// tensor, i32 `[tokens]`, holds what they were, and -1 elsewhere.
pub struct MaskedLanguage<B> {
    batches: B,
    options: MaskOptions,
    special: SpecialTokens,
    mask: i32,
    size: usize,
    continuations: Vec<bool>,
}

impl<B: Batches> MaskedLanguage<B> {
    /// Hides tokens in the batches of a loader. An error if the tokenizer has no mask token, or if the share is not above 0 and below 1.
    pub fn new(batches: B, tokenizer: &Tokenizer, options: MaskOptions) -> Result<MaskedLanguage<B>> {
        let special = tokenizer.special();
        let Some(mask) = special.mask else {
            let reason = "it has no mask token ([MASK] or <mask>), which masked language modelling needs";
            return Err(Error::Tokenizer {
                place: format!("input `{}`", options.input),
                reason: reason.into(),
            });
        };
        if !(options.share > 0.0 && options.share < 1.0) {
            return Err(Error::Config {
                key: "mask.share".into(),
                found: options.share.to_string(),
                expected: "a share above 0 and below 1".into(),
            });
        }
        let (size, continuations) = (tokenizer.size(), tokenizer.continuations());
        Ok(MaskedLanguage { batches, options, special, mask, size, continuations })
    }

    fn hide(&self, mut batch: Batch, epoch: u64) -> Result<Batch> {
        let name = &self.options.input;
        let place = batch.tensors.iter().position(|t| t.0 == format!("{name}.ids"));
        let (Some(place), Some(segments)) = (place, batch.get(&format!("{name}.segments"))) else {
            return Err(Error::Config {
                key: "mask.input".into(),
                found: name.clone(),
                expected: "the name of a text in packed layout".into(),
            });
        };
        let segments = segments.i32s()?.to_vec();
        let ids = batch.tensors[place].1.i32s_mut()?;
        let mut targets = vec![-1; ids.len()];
        let n = batch.indices.len().max(1);
        for (k, segment) in segments.chunks_exact(2).enumerate() {
            let range = segment[0] as usize..(segment[0] + segment[1]) as usize;
            let (Some(ids), Some(targets)) = (ids.get_mut(range.clone()), targets.get_mut(range)) else {
                continue;
            };
            let sample = u64::from(batch.indices.get(k % n).copied().unwrap_or(0));
            // Both texts of a separate pair have numbers of their own.
            let key = sample * 2 + (k / n) as u64;
            self.hide_text(ids, targets, &mut Stream::new(self.options.seed, Purpose::Mask, epoch, key));
        }
        let dims = [targets.len()];
        batch.tensors.push((self.options.target.clone(), Tensor::new(dims, targets)?));
        Ok(batch)
    }

    fn hide_text(&self, ids: &mut [i32], targets: &mut [i32], random: &mut Stream) {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut tokens = 0;
        for (i, &id) in ids.iter().enumerate().filter(|(_, id)| !self.special.contains(**id)) {
            tokens += 1;
            let goes_on = self.options.whole_words && self.continuations.get(id as usize) == Some(&true);
            match groups.last_mut() {
                Some(group) if goes_on && group.last().is_some_and(|&last| last + 1 == i) => group.push(i),
                _ => groups.push(vec![i]),
            }
        }
        random.shuffle(&mut groups);
        let mut left = ((tokens as f64 * self.options.share).round() as usize).max(1);
        for group in groups {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(group.len());
            for i in group {
                targets[i] = ids[i];
                match random.unit() {
                    u if u < 0.8 => ids[i] = self.mask,
                    u if u < 0.9 => ids[i] = self.any_token(random),
                    _ => {}
                }
            }
        }
    }

    /// Any token that is not special.
    fn any_token(&self, random: &mut Stream) -> i32 {
        let draws = std::iter::repeat_with(|| random.below(self.size as u64) as i32).take(100);
        draws.into_iter().find(|&t| !self.special.contains(t)).unwrap_or(self.mask)
    }
}

impl<B: Batches> Batches for MaskedLanguage<B> {
    fn samples(&self) -> usize {
        self.batches.samples()
    }

    fn steps(&self, epoch: u64) -> usize {
        self.batches.steps(epoch)
    }

    fn epoch_from(&self, epoch: u64, step: usize) -> BatchIter<'_> {
        Box::new(self.batches.epoch_from(epoch, step).map(move |batch| self.hide(batch?, epoch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Encoder, FeatureSpec, Features, FitOptions, MemoryTable, Rows, TableLoader, TableLoaderOptions,
        TextSpec, TokenizerKind, TokenizerSpec, Training,
    };

    fn loader(workers: usize) -> (TableLoader, Tokenizer) {
        let text = |i: usize| (0..100).map(|j| format!("word{}", (i * j) % 97)).collect::<Vec<_>>().join(" ");
        let rows = Rows::new(MemoryTable::texts("text", (0..64).map(text))).unwrap();
        let kind = TokenizerKind { vocab_size: Some(60), ..TokenizerKind::new(Training::Wordpiece) };
        let spec = TextSpec { tokenizer: Some(TokenizerSpec::Kind(kind)), ..TextSpec::default() };
        let inputs = [("text".to_string(), FeatureSpec::Text(spec))].into();
        let features = Features::fit(&inputs, &Default::default(), &rows, FitOptions::default()).unwrap();
        let tokenizer = features.texts().next().unwrap().1.tokenizer().unwrap().clone();
        let options = TableLoaderOptions { workers, ..TableLoaderOptions::default() };
        (TableLoader::new(Encoder::new(features.into(), rows, false).unwrap(), options).unwrap(), tokenizer)
    }

    fn masked(workers: usize, whole_words: bool, epoch: u64) -> Vec<Batch> {
        let (loader, tokenizer) = loader(workers);
        let options = MaskOptions { whole_words, ..MaskOptions::new("text", "hidden") };
        MaskedLanguage::new(loader, &tokenizer, options)
            .unwrap()
            .epoch_from(epoch, 0)
            .collect::<Result<_>>()
            .unwrap()
    }

    #[test]
    fn hides_the_right_shares_and_nothing_special() {
        let plain: Vec<Batch> = loader(0).0.epoch_from(2, 0).collect::<Result<_>>().unwrap();
        let (mut all, mut hidden, mut masks, mut kept) = (0.0, 0.0, 0.0, 0.0);
        for (p, m) in plain.iter().zip(masked(0, false, 2)) {
            let ids = |b: &Batch, n: &str| b.get(n).unwrap().i32s().unwrap().to_vec();
            let (before, after, target) = (ids(p, "text.ids"), ids(&m, "text.ids"), ids(&m, "hidden"));
            for ((&b, &a), &t) in before.iter().zip(&after).zip(&target) {
                all += f64::from(u8::from(b > 4));
                if t < 0 {
                    assert_eq!(a, b);
                    continue;
                }
                assert!(t == b && b > 4);
                hidden += 1.0;
                masks += f64::from(u8::from(a == 4));
                kept += f64::from(u8::from(a == b));
            }
        }
        assert!((hidden / all - 0.15f64).abs() < 0.01, "{}", hidden / all);
        assert!((masks / hidden - 0.8f64).abs() < 0.05, "{}", masks / hidden);
        assert!((kept / hidden - 0.1f64).abs() < 0.05, "{}", kept / hidden);
    }

    #[test]
    fn follows_from_seed_epoch_and_sample() {
        assert!(masked(0, false, 1) == masked(3, false, 1));
        assert!(masked(0, false, 1) != masked(0, false, 2));
    }

    #[test]
    fn whole_words_are_hidden_together() {
        let continuations = loader(0).1.continuations();
        assert!(continuations.iter().any(|&c| c));
        for (b, p) in masked(0, true, 0).iter().zip(loader(0).0.epoch_from(0, 0)) {
            let target = b.get("hidden").unwrap().i32s().unwrap();
            let p = p.unwrap();
            let ids = p.get("text.ids").unwrap().i32s().unwrap();
            for i in 1..ids.len() {
                if continuations[ids[i] as usize] {
                    assert_eq!(target[i] >= 0, target[i - 1] >= 0, "{i}");
                }
            }
        }
    }

    #[test]
    fn needs_a_mask_token() {
        let (loader, _) = loader(0);
        let bare =
            Tokenizer::from_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", &Default::default()).unwrap();
        let e = MaskedLanguage::new(loader, &bare, MaskOptions::new("text", "t")).map(|_| ()).unwrap_err();
        assert!(e.to_string().contains("no mask token"), "{e}");
    }
}
