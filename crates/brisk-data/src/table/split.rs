//! Tables divided into rows to train, validate and test on.

use std::collections::{BTreeMap, HashMap};

use crate::feature::category_name;
use crate::rng::{Purpose, Stream};
use crate::source::table::{Rows, TableSet, Value};
use crate::{Error, Result, SplitSpec};

/// How to divide a table.
///
/// ```
/// let split = brisk_data::TableSplit { stratify: Some("label".into()), ..Default::default() };
/// assert!(split.deduplicate.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableSplit {
    /// The shares, and the seed.
    pub shares: SplitSpec,
    /// The column whose values are divided in the same proportion.
    pub stratify: Option<String>,
    /// Columns by which rows are the same: of those, only the first stays, before anything is divided. None: all rows stay.
    pub deduplicate: Vec<String>,
}

impl TableSet {
    /// Divides the rows to train on, as far as there are no files for validation and testing. Also says how many rows were
    /// left out as duplicates, in all parts. Rows of the validation and test files that the training file has too are left out of the training rows.
    ///
    /// ```
    /// use brisk_data::*;
    /// let rows = Rows::new(MemoryTable::texts("text", (0..20).map(|i| format!("text {}", i % 10))))?;
    /// let set = TableSet { train: rows, validation: None, test: None };
    /// let shares = SplitSpec { validation: Some(0.2), ..Default::default() };
    /// let split = TableSplit { shares, deduplicate: vec!["text".into()], ..Default::default() };
    /// let (set, duplicates) = set.split(&split)?;
    /// assert_eq!((set.train.len(), set.validation.unwrap().len(), duplicates), (8, 2, 10));
    /// # Ok::<(), brisk_data::Error>(())
    /// ```
    pub fn split(&self, split: &TableSplit) -> Result<(TableSet, usize)> {
        let spec = &split.shares;
        for (key, share) in [("validation_split", spec.validation), ("test_split", spec.test)] {
            if share.is_some_and(|s| !(0.0..1.0).contains(&s)) {
                return Err(Error::Config {
                    key: key.into(),
                    found: share.unwrap_or_default().to_string(),
                    expected: "a share of at least 0 and less than 1".into(),
                });
            }
        }
        let (mut set, mut left_out) = (self.clone(), 0);
        if !split.deduplicate.is_empty() {
            // What is tested on comes first: so it is the training rows that lose what both have.
            let mut seen = HashMap::new();
            for part in
                [set.test.as_mut(), set.validation.as_mut(), Some(&mut set.train)].into_iter().flatten()
            {
                let (rows, n) = distinct(part, &split.deduplicate, &mut seen)?;
                *part = rows;
                left_out += n;
            }
        }
        let stratify = split.stratify.as_deref();
        if let (None, Some(share)) = (&set.test, spec.test.filter(|&s| s > 0.0)) {
            let (rest, taken) = take_share(&set.train, share, stratify, spec.seed, 1)?;
            (set.train, set.test) = (rest, Some(taken));
        }
        if let (None, Some(share)) = (&set.validation, spec.validation.filter(|&s| s > 0.0)) {
            let (rest, taken) = take_share(&set.train, share, stratify, spec.seed, 2)?;
            (set.train, set.validation) = (rest, Some(taken));
        }
        Ok((set, left_out))
    }
}

/// The rows without those whose values in some columns stood in a row before; and how many are left out.
///
/// ```
/// use brisk_data::{MemoryTable, Rows, deduplicate};
/// let rows = Rows::new(MemoryTable::texts("text", ["a", "b", "a "]))?;
/// let (rows, left_out) = deduplicate(&rows, &["text".into()])?;
/// assert_eq!((rows.len(), left_out), (2, 1)); // blanks around a text do not count
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub fn deduplicate(rows: &Rows, columns: &[String]) -> Result<(Rows, usize)> {
    distinct(rows, columns, &mut HashMap::new())
}

fn distinct(rows: &Rows, columns: &[String], seen: &mut HashMap<Fingerprint, ()>) -> Result<(Rows, usize)> {
    let columns: Vec<usize> = columns.iter().map(|c| rows.column(c)).collect::<Result<_>>()?;
    let mut kept = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let row = row?;
        if seen.insert(fingerprint(columns.iter().map(|&c| row.get(c))), ()).is_none() {
            kept.push(i as u32);
        }
    }
    let left_out = rows.len() - kept.len();
    Ok((rows.select(kept)?, left_out))
}

/// What is the same for rows that are the same.
pub(super) type Fingerprint = [u8; 16];

pub(super) fn fingerprint<'a>(values: impl Iterator<Item = &'a Value>) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        let text = match value {
            Value::List(items) => format!("{items:?}"),
            other => other.text().unwrap_or_default().trim().to_string(),
        };
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

/// Divides into (rest, taken): of each group the share, rounded, but never all of it.
fn take_share(
    rows: &Rows,
    share: f64,
    stratify: Option<&str>,
    seed: u64,
    round: u64,
) -> Result<(Rows, Rows)> {
    let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    match stratify.map(|c| rows.column(c)).transpose()? {
        None => drop(groups.insert(String::new(), (0..rows.len() as u32).collect())),
        Some(column) => {
            for (i, row) in rows.iter().enumerate() {
                let name = category_name(row?.get(column)).unwrap_or_default();
                groups.entry(name).or_default().push(i as u32);
            }
        }
    }
    let (mut rest, mut taken) = (Vec::new(), Vec::new());
    for (group, mut members) in groups.into_values().enumerate() {
        Stream::new(seed, Purpose::Split, round, group as u64).shuffle(&mut members);
        let n = ((members.len() as f64 * share).round() as usize).min(members.len().saturating_sub(1));
        taken.extend_from_slice(&members[..n]);
        rest.extend_from_slice(&members[n..]);
    }
    if taken.is_empty() {
        return Err(Error::Empty {
            place: format!("a share of {share} of {} rows", rows.len()),
            remedy: "Take a larger share, or add rows".into(),
        });
    }
    rest.sort_unstable();
    taken.sort_unstable();
    Ok((rows.select(rest)?, rows.select(taken)?))
}
