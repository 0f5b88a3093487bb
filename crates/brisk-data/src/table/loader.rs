//! Batches of the rows of a table.

use std::sync::{Arc, Mutex, PoisonError};

use super::plan::Plan;
use crate::batch::{Batch, BatchIter, Batches};
use crate::prefetch::Prefetch;
use crate::{Encoder, Error, Layout, Layouts, Notes, Result};

/// How many samples a batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// So many.
    Samples(usize),
    /// As many as have so many tokens together (padded: with their padding), but at least one.
    Tokens(usize),
}

/// How to make batches of a table.
///
/// ```
/// use brisk_data::{BatchSize, TableLoaderOptions};
/// let options = TableLoaderOptions { batch: BatchSize::Tokens(4096), ..Default::default() };
/// assert!(options.shuffle && options.bucket);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TableLoaderOptions {
    /// Samples in a batch.
    pub batch: BatchSize,
    /// A new order for each epoch; otherwise the order of the rows (of batches of like length, with `bucket`).
    pub shuffle: bool,
    /// Texts of like length meet in a batch.
    pub bucket: bool,
    /// What the order follows from.
    pub seed: u64,
    /// Leave out the last batch if it has fewer samples than the others.
    pub drop_last: bool,
    /// Threads that read and encode; 0 does it in the thread that takes the batches. The batches are the same for any number.
    pub workers: usize,
    /// Batches that each worker makes ahead.
    pub prefetch: usize,
    /// How texts lie in memory.
    pub layouts: Layouts,
}

impl Default for TableLoaderOptions {
    fn default() -> TableLoaderOptions {
        TableLoaderOptions {
            batch: BatchSize::Samples(32),
            shuffle: true,
            bucket: true,
            seed: 0,
            drop_last: false,
            workers: 1,
            prefetch: 4,
            layouts: Layouts::packed(),
        }
    }
}

/// Yields the rows of a table in batches, epoch by epoch; see [`Features::collate`](crate::Features::collate) for their tensors.
///
/// ```
/// use brisk_data::*;
/// let rows = Rows::new(MemoryTable::texts("text", ["a b", "c", "a b c d", "b"]))?;
/// let inputs = [("text".to_string(), FeatureSpec::Text(TextSpec::default()))].into();
/// let features = Features::fit(&inputs, &Default::default(), &rows, FitOptions::default())?;
/// let options = TableLoaderOptions { batch: BatchSize::Samples(2), ..Default::default() };
/// let loader = TableLoader::new(Encoder::new(features.into(), rows, false)?, options)?;
/// let all: Vec<_> = loader.epoch_from(0, 0).collect::<Result<_>>()?;
/// assert_eq!((all.len(), all[0].tensors[3].0.as_str()), (2, "text.segments"));
/// assert_eq!(loader.epoch_from(0, 1).collect::<Result<Vec<_>>>()?, all[1..]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub struct TableLoader {
    encoder: Encoder,
    options: TableLoaderOptions,
    lengths: Option<Arc<[u32]>>,
    notes: Option<Notes>,
    /// True if a text is padded, so that a budget of tokens counts padding too.
    padded: bool,
    /// The plan of the epoch that was asked for last.
    plan: Mutex<Option<(u64, Arc<Plan>)>>,
}

impl TableLoader {
    /// A loader. If batches depend on the lengths of texts, reads all rows once to find them, on the workers' threads.
    /// An error if there are no rows, if one cannot be encoded, or if an option makes no sense.
    pub fn new(encoder: Encoder, options: TableLoaderOptions) -> Result<TableLoader> {
        let error = |key: &str, found: usize, expected: String| {
            Err(Error::Config { key: key.into(), found: found.to_string(), expected })
        };
        if encoder.is_empty() {
            return Err(Error::Empty { place: encoder.rows().name(), remedy: "Add rows".into() });
        }
        match options.batch {
            BatchSize::Samples(0) => return error("batch_size", 0, "at least 1 is needed".into()),
            BatchSize::Tokens(0) => return error("batch_tokens", 0, "at least 1 is needed".into()),
            BatchSize::Samples(n) if options.drop_last && n > encoder.len() => {
                return error("batch_size", n, format!("there are only {} samples", encoder.len()));
            }
            _ => {}
        }
        if options.workers > 1024 {
            return error("workers", options.workers, "at most 1024".into());
        }
        for (name, text) in encoder.features().texts() {
            let tokenizer = text.tokenizer()?;
            if options.layouts.of(name) == Layout::Padded
                && tokenizer.special().padding.is_some_and(|p| p != 0)
            {
                let reason = format!(
                    "its padding token has the number {}, but padded batches are filled with 0. Use the packed layout, or train a tokenizer",
                    tokenizer.special().padding.unwrap_or(0)
                );
                return Err(Error::Tokenizer { place: format!("input `{name}`"), reason });
            }
        }
        let has_text = encoder.features().texts().next().is_some();
        let by_length = has_text && (options.bucket || matches!(options.batch, BatchSize::Tokens(_)));
        let (lengths, notes) = match by_length {
            true => {
                let (lengths, notes) = survey(&encoder, options.workers)?;
                (Some(lengths.into()), Some(notes))
            }
            false => (None, None),
        };
        let padded = encoder.features().texts().any(|(name, _)| options.layouts.of(name) == Layout::Padded);
        Ok(TableLoader { encoder, options, lengths, notes, padded, plan: Mutex::default() })
    }

    /// What reads the rows.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// How batches are made.
    pub fn options(&self) -> &TableLoaderOptions {
        &self.options
    }

    /// The tokens of each sample, if batches depend on them.
    pub fn lengths(&self) -> Option<&[u32]> {
        self.lengths.as_deref()
    }

    /// What happened to the samples (texts cut off, categories unknown, ...): to be told to the user. Reads all rows, if that was not
    /// done already.
    pub fn notes(&self) -> Result<Notes> {
        match self.notes {
            Some(notes) => Ok(notes),
            None => Ok(survey(&self.encoder, self.options.workers)?.1),
        }
    }

    fn plan(&self, epoch: u64) -> Arc<Plan> {
        let mut cached = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((e, plan)) if *e == epoch => plan.clone(),
            _ => {
                let plan =
                    Plan::new(self.encoder.len(), self.lengths.as_deref(), self.padded, &self.options, epoch);
                let plan = Arc::new(plan);
                *cached = Some((epoch, plan.clone()));
                plan
            }
        }
    }
}

impl Batches for TableLoader {
    fn samples(&self) -> usize {
        self.encoder.len()
    }

    fn steps(&self, epoch: u64) -> usize {
        self.plan(epoch).batches.len()
    }

    fn epoch_from(&self, epoch: u64, step: usize) -> BatchIter<'_> {
        let plan = self.plan(epoch);
        let steps = plan.batches.len();
        let (encoder, layouts) = (self.encoder.clone(), self.options.layouts.clone());
        let make = move |step: usize| {
            let indices = plan.samples(step).to_vec();
            let samples = indices.iter().map(|&i| encoder.encode(i as usize)).collect::<Result<Vec<_>>>()?;
            Ok(Batch { tensors: encoder.features().collate(&samples, &layouts)?, indices })
        };
        Box::new(Prefetch::new(make, step, steps, self.options.workers, self.options.prefetch))
    }
}

/// The tokens of each sample, and what happened to all: one pass.
fn survey(encoder: &Encoder, workers: usize) -> Result<(Vec<u32>, Notes)> {
    const CHUNK: usize = 256;
    let reader = encoder.clone();
    let make = move |chunk: usize| {
        let rows = chunk * CHUNK..((chunk + 1) * CHUNK).min(reader.len());
        let mut notes = Notes::default();
        let mut lengths = Vec::with_capacity(CHUNK);
        for i in rows {
            let sample = reader.encode(i)?;
            lengths.push(sample.tokens() as u32);
            notes += sample.notes;
        }
        Ok((lengths, notes))
    };
    let (mut lengths, mut notes) = (Vec::with_capacity(encoder.len()), Notes::default());
    for chunk in Prefetch::new(make, 0, encoder.len().div_ceil(CHUNK), workers, 4) {
        let (l, n) = chunk?;
        lengths.extend(l);
        notes += n;
    }
    Ok((lengths, notes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        FeatureSpec, Features, FitOptions, MemoryTable, Rows, TargetSpec, TextSpec, TokenizerKind,
        TokenizerSpec,
    };

    /// Texts of 1 to 20 words, some of them with a rare one.
    fn encoder(n: usize) -> Encoder {
        let text = |i: usize| {
            (0..1 + i * 7 % 20).map(|j| format!("w{}", (i + j) % 30)).collect::<Vec<_>>().join(" ")
        };
        let rows =
            (0..n).map(|i| vec![text(i).into(), if i % 3 == 0 { "no" } else { "yes" }.into()]).collect();
        let rows = Rows::new(MemoryTable::new(["text", "label"], rows).unwrap()).unwrap();
        let text =
            TextSpec { tokenizer: Some(TokenizerSpec::Kind(TokenizerKind::word())), ..TextSpec::default() };
        let inputs = [("text".to_string(), FeatureSpec::Text(text))].into();
        let targets = [("label".to_string(), TargetSpec::Category(Default::default()))].into();
        let features = Features::fit(&inputs, &targets, &rows, FitOptions::default()).unwrap();
        Encoder::new(features.into(), rows, true).unwrap()
    }

    fn loader(options: TableLoaderOptions) -> TableLoader {
        TableLoader::new(encoder(300), options).unwrap()
    }

    fn all(options: TableLoaderOptions, epoch: u64, step: usize) -> Vec<Batch> {
        loader(options).epoch_from(epoch, step).collect::<Result<_>>().unwrap()
    }

    fn kinds() -> Vec<TableLoaderOptions> {
        let base = TableLoaderOptions { seed: 5, workers: 0, ..TableLoaderOptions::default() };
        [BatchSize::Samples(32), BatchSize::Tokens(200)]
            .into_iter()
            .flat_map(|batch| {
                [Layouts::packed(), Layouts::padded()].map(|layouts| TableLoaderOptions {
                    batch,
                    layouts,
                    ..base.clone()
                })
            })
            .collect()
    }

    #[test]
    fn the_same_for_any_number_of_workers_and_from_any_step() {
        for options in kinds() {
            let expected = all(options.clone(), 3, 0);
            assert_eq!(loader(options.clone()).steps(3), expected.len());
            for workers in [1, 3] {
                for step in [0, 1, expected.len() - 1, expected.len()] {
                    let other = TableLoaderOptions { workers, ..options.clone() };
                    assert_eq!(all(other, 3, step), expected[step..], "{workers} {step}");
                }
            }
            assert_ne!(all(options.clone(), 4, 0), expected);
            assert_ne!(all(TableLoaderOptions { seed: 6, ..options }, 3, 0), expected);
        }
    }

    #[test]
    fn each_sample_once_and_within_the_budget() {
        for options in kinds() {
            let padded = options.layouts.of("text") == Layout::Padded;
            let batches = all(options.clone(), 0, 0);
            let mut seen: Vec<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..300).collect::<Vec<_>>());
            for b in &batches {
                let tokens = match padded {
                    true => b.get("text").unwrap().elements(),
                    false => {
                        b.get("text.segments").unwrap().i32s().unwrap().chunks(2).map(|s| s[1] as usize).sum()
                    }
                };
                match options.batch {
                    BatchSize::Tokens(budget) => assert!(tokens <= budget, "{tokens}"),
                    BatchSize::Samples(n) => assert!(b.indices.len() <= n),
                }
            }
        }
    }

    #[test]
    fn buckets_save_padding() {
        let padding = |bucket| -> usize {
            let options =
                TableLoaderOptions { bucket, layouts: Layouts::padded(), workers: 0, ..Default::default() };
            let batches = all(options, 0, 0);
            batches
                .iter()
                .map(|b| b.get("text").unwrap().i32s().unwrap().iter().filter(|&&i| i == 0).count())
                .sum()
        };
        assert!(padding(true) * 2 < padding(false), "{} {}", padding(true), padding(false));
    }

    #[test]
    fn packed_and_padded_hold_the_same_tokens() {
        let options = TableLoaderOptions { workers: 0, ..TableLoaderOptions::default() };
        let packed = all(options.clone(), 1, 0);
        let padded = all(TableLoaderOptions { layouts: Layouts::padded(), ..options }, 1, 0);
        assert_eq!(packed.len(), padded.len());
        for (a, b) in packed.iter().zip(&padded) {
            assert_eq!(a.indices, b.indices);
            let ids = a.get("text.ids").unwrap().i32s().unwrap();
            let text = b.get("text").unwrap();
            let length = text.shape().dims()[1];
            let segments = a.get("text.segments").unwrap();
            for (s, row) in segments.i32s().unwrap().chunks(2).zip(text.i32s().unwrap().chunks(length)) {
                let (from, n) = (s[0] as usize, s[1] as usize);
                assert_eq!(ids[from..from + n], row[..n]);
                assert!(row[n..].iter().all(|&i| i == 0));
            }
        }
    }

    #[test]
    fn refuses_nonsense() {
        let error = |batch| {
            let options = TableLoaderOptions { batch, ..TableLoaderOptions::default() };
            TableLoader::new(encoder(4), options).map(|_| ()).unwrap_err().to_string()
        };
        assert!(error(BatchSize::Samples(0)).contains("batch_size"));
        assert!(error(BatchSize::Tokens(0)).contains("batch_tokens"));
    }
}
