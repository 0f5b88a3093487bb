//! Counts of short sequences of words.

use std::collections::HashMap;
use std::hash::Hash;

use brisk_graph::Shape;

use super::text::texts;
use super::{Operator, one};
use crate::Var;
use crate::call::Call;
use crate::{Elem, Item};

pub(super) const OPS: &[Operator] = &[one("TfIdfVectorizer", tf_idf)];

/// How many counts there may be, and how many sequences are looked at.
const MOST: usize = 1 << 27;

/// What is counted.
struct Ngrams {
    lengths: std::ops::RangeInclusive<usize>,
    skips: usize,
    /// Where the sequences of each length start in the pool.
    starts: Vec<usize>,
    /// The column of each sequence.
    columns: Vec<usize>,
    width: usize,
}

impl Ngrams {
    fn of(c: &Call<'_, '_>) -> Result<Ngrams, String> {
        let number = |name: &str, least: i64| match c.int(name, -1)? {
            v if v >= least => Ok(v as usize),
            v => Err(format!("attribute {name}: expected at least {least}, found {v}")),
        };
        let starts = c.sizes("ngram_counts")?.ok_or("attribute ngram_counts: expected whole numbers")?;
        let columns = c.sizes("ngram_indexes")?.ok_or("attribute ngram_indexes: expected whole numbers")?;
        let width = columns.iter().max().map_or(0, |&c| c.saturating_add(1));
        if width > MOST {
            return Err(format!("attribute ngram_indexes: {width} columns are too many"));
        }
        // Longer ones are not in the pool.
        let longest = number("max_gram_length", 1)?.min(starts.len());
        let lengths = number("min_gram_length", 1)?..=longest;
        Ok(Ngrams { lengths, skips: number("max_skip_count", 0)?, starts, columns, width })
    }

    /// The columns of the sequences of a pool.
    fn known<'p, T: Hash + Eq + Clone>(&self, pool: &'p [T]) -> Result<HashMap<&'p [T], usize>, String> {
        let mut known = HashMap::new();
        let mut number = 0;
        for (i, &start) in self.starts.iter().enumerate() {
            let end = self.starts.get(i + 1).copied().unwrap_or(pool.len());
            let part = pool
                .get(start..end)
                .ok_or_else(|| format!("attribute ngram_counts: {start}..{end} is outside of the pool"))?;
            for ngram in part.chunks_exact(i + 1) {
                let column =
                    self.columns.get(number).ok_or("attribute ngram_indexes: it has too few numbers")?;
                if self.lengths.contains(&ngram.len()) {
                    known.insert(ngram, *column);
                }
                number += 1;
            }
        }
        Ok(known)
    }

    /// Adds up what is found in a row of words.
    fn count<T: Hash + Eq + Clone>(&self, known: &HashMap<&[T], usize>, row: &[T], counts: &mut [f32]) {
        let mut ngram = Vec::new();
        for length in self.lengths.clone() {
            // Single words have nothing to skip.
            let skips = if length == 1 { 0 } else { self.skips.min(row.len()) };
            for step in 1..=skips + 1 {
                let reach = step * (length - 1);
                for start in 0..row.len().saturating_sub(reach) {
                    ngram.clear();
                    ngram.extend(row[start..=start + reach].iter().step_by(step).cloned());
                    if let Some(count) = known.get(&ngram[..]).and_then(|&column| counts.get_mut(column)) {
                        *count += 1.0;
                    }
                }
            }
        }
    }

    fn table<T: Hash + Eq + Clone>(
        &self,
        c: &Call<'_, '_>,
        pool: &[T],
        words: &[T],
        rows: usize,
        row: usize,
    ) -> Result<Vec<f32>, String> {
        let longest = *self.lengths.end();
        let steps = self.skips.min(row).saturating_add(1);
        let looks = words.len().saturating_mul(steps).saturating_mul(longest.saturating_mul(longest));
        let size = rows.saturating_mul(self.width);
        if looks > MOST || size > MOST {
            return Err(format!("{rows} rows of {row} words with {} columns are too many", self.width));
        }
        // Some sequences are looked at in a step.
        const PER_STEP: usize = 64;
        c.spend(looks / PER_STEP)?;
        c.room_for(size)?;
        let known = self.known(pool)?;
        let mut counts = vec![0.0; size];
        for i in 0..rows {
            let own = counts.get_mut(i * self.width..(i + 1) * self.width).unwrap_or_default();
            self.count(&known, words.get(i * row..(i + 1) * row).unwrap_or_default(), own);
        }
        Ok(counts)
    }
}

fn tf_idf<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let ngrams = Ngrams::of(c)?;
    let words = match c.item(0)? {
        Item::Texts(..) => None,
        _ => Some(c.known_ints(0)?),
    };
    let shape: Shape = match &words {
        None => texts(c, 0)?.0.clone(),
        Some(_) => c.var(0)?.shape(),
    };
    let (rows, row, lead) = match shape[..] {
        [row] => (1, row, Vec::new()),
        [rows, row] => (rows, row, vec![rows]),
        _ => return Err(format!("expected words [n] or [rows, n], found {shape}")),
    };
    let mut counts = match words {
        None => {
            let pool = c.texts("pool_strings")?.ok_or("attribute pool_strings: expected texts")?;
            ngrams.table(c, &pool, texts(c, 0)?.1, rows, row)?
        }
        Some(words) => {
            let pool = c.ints("pool_int64s")?.ok_or("attribute pool_int64s: expected whole numbers")?;
            ngrams.table(c, &pool, &words, rows, row)?
        }
    };
    let (once, weighted) = match c.text("mode", "")? {
        "TF" => (false, false),
        "IDF" => (true, true),
        "TFIDF" => (false, true),
        other => return Err(format!("attribute mode: expected TF, IDF or TFIDF, found {other:?}")),
    };
    // The weight of each column is that of its sequence.
    let mut weights = vec![1.0; ngrams.width];
    let given = c.float_list("weights")?.filter(|_| weighted).unwrap_or_default();
    ngrams.columns.iter().zip(given).for_each(|(&column, weight)| weights[column] = weight);
    for (i, count) in counts.iter_mut().enumerate() {
        *count = if once { count.min(1.0) } else { *count } * weights[i % ngrams.width];
    }
    let dims = [&lead[..], &[ngrams.width]].concat();
    Ok(Var::new(Elem::Float, c.make_floats(dims, counts)?))
}
