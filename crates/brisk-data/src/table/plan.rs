//! Which samples meet in which batch of an epoch.

use super::loader::{BatchSize, TableLoaderOptions};
use crate::feature::{fewer_samples, rounded_length};
use crate::rng::{Purpose, Stream};

/// Samples are sorted by length within so many batches: enough for texts of like length to meet, few enough for an epoch to stay mixed.
const WINDOW: usize = 64;

/// The batches of an epoch: the order of its samples, and where each batch ends.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub order: Vec<u32>,
    pub batches: Vec<(u32, u32)>,
}

impl Plan {
    /// A function of its arguments alone. `lengths`: the tokens of each sample, if they are needed. `padded`: a budget of tokens
    /// counts padding.
    pub fn new(
        samples: usize,
        lengths: Option<&[u32]>,
        padded: bool,
        options: &TableLoaderOptions,
        epoch: u64,
    ) -> Plan {
        let mut order: Vec<u32> = (0..samples as u32).collect();
        if options.shuffle {
            Stream::new(options.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        }
        let length = |i: u32| lengths.and_then(|l| l.get(i as usize)).map_or(1, |&l| l.max(1) as usize);
        if options.bucket && lengths.is_some() {
            for window in windows(&order, options.batch, length) {
                if let Some(w) = order.get_mut(window) {
                    w.sort_by_key(|&i| length(i));
                }
            }
        }
        let mut batches = Vec::new();
        match options.batch {
            BatchSize::Samples(n) => {
                let n = n.max(1);
                for from in (0..samples).step_by(n) {
                    let to = (from + n).min(samples);
                    if to - from == n || !options.drop_last {
                        batches.push((from as u32, to as u32));
                    }
                }
            }
            BatchSize::Tokens(budget) => {
                let mut from = 0;
                while from < order.len() {
                    let n = fitting(&order[from..], budget, padded, length);
                    let left = order.len() - from;
                    let n = if n < left { fewer_samples(n) } else { n };
                    batches.push((from as u32, (from + n) as u32));
                    from += n;
                }
            }
        }
        if options.shuffle && options.bucket {
            // A last batch that is smaller stays the last.
            let whole = match options.batch {
                BatchSize::Samples(n) if !samples.is_multiple_of(n.max(1)) && !options.drop_last => {
                    batches.len() - 1
                }
                _ => batches.len(),
            };
            Stream::new(options.seed, Purpose::Batches, epoch, 0).shuffle(&mut batches[..whole]);
        }
        Plan { order, batches }
    }

    /// The samples of a batch.
    pub fn samples(&self, step: usize) -> &[u32] {
        let range = self.batches.get(step).map_or(0..0, |&(from, to)| from as usize..to as usize);
        self.order.get(range).unwrap_or(&[])
    }
}

/// The parts of the order that are sorted by length.
fn windows(order: &[u32], batch: BatchSize, length: impl Fn(u32) -> usize) -> Vec<std::ops::Range<usize>> {
    let n = order.len();
    match batch {
        BatchSize::Samples(size) => {
            let size = size.max(1).saturating_mul(WINDOW);
            (0..n).step_by(size).map(|from| from..(from + size).min(n)).collect()
        }
        BatchSize::Tokens(budget) => {
            let (mut windows, mut from, mut sum) = (Vec::new(), 0, 0);
            for (i, &sample) in order.iter().enumerate() {
                sum += length(sample);
                if sum >= budget.saturating_mul(WINDOW) || i + 1 == n {
                    windows.push(from..i + 1);
                    (from, sum) = (i + 1, 0);
                }
            }
            windows
        }
    }
}

/// How many samples from the front the budget has room for; at least one.
fn fitting(order: &[u32], budget: usize, padded: bool, length: impl Fn(u32) -> usize) -> usize {
    let (mut sum, mut longest) = (0, 0);
    for (n, &sample) in order.iter().enumerate() {
        sum += length(sample);
        longest = longest.max(length(sample));
        let cost = if padded { rounded_length(longest) * (n + 1) } else { sum };
        if cost > budget {
            return n.max(1);
        }
    }
    order.len()
}
