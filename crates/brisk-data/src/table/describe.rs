//! What a table is like: rows, missing values, duplicates, label balance, lengths of texts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::split::fingerprint;
use crate::Result;
use crate::feature::category_name;
use crate::source::table::{TableSet, Value};

/// Values of a column that are told apart.
const DISTINCT: usize = 1000;
/// Values of a column that are shown.
const SHOWN: usize = 10;

/// What a table is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TableDescription {
    /// The file.
    pub name: String,
    /// The parts, with the number of their rows.
    pub parts: Vec<(String, usize)>,
    /// Rows that are the same in every column as a row before, in the same part.
    pub duplicates: usize,
    /// Rows that are the same as one of another part: the test part then measures memory.
    pub in_two_parts: usize,
    /// The columns.
    pub columns: Vec<ColumnDescription>,
}

/// What a column is like, over all parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Rows without a value.
    pub missing: usize,
    /// Rows with a number, if all values are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Percentiles>,
    /// Characters of texts (items of lists), if not all values are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Percentiles>,
    /// The values with their counts, the most frequent first, if there are few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<LabelCount>,
}

/// How often a value stands in a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelCount {
    /// The value.
    pub value: String,
    /// How often.
    pub count: usize,
}

/// How numbers are spread.
///
/// ```
/// let p = brisk_data::Percentiles::of((1..=100).map(f64::from).collect()).unwrap();
/// assert_eq!((p.min, p.p50, p.p95, p.max), (1.0, 50.0, 95.0, 100.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// The smallest.
    pub min: f64,
    /// Half are at most so large.
    pub p50: f64,
    /// 95 % are at most so large.
    pub p95: f64,
    /// 99 % are at most so large.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

impl Percentiles {
    /// Of some numbers; none of no numbers.
    pub fn of(mut numbers: Vec<f64>) -> Option<Percentiles> {
        numbers.sort_by(f64::total_cmp);
        let (&min, &max) = (numbers.first()?, numbers.last()?);
        let at = |share: f64| {
            let rank = (numbers.len() as f64 * share).ceil() as usize;
            numbers.get(rank.saturating_sub(1)).copied().unwrap_or(max)
        };
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        Some(Percentiles { min, p50: at(0.5), p95: at(0.95), p99: at(0.99), max, mean })
    }
}

/// Describes a table: one pass over all its rows.
///
/// ```
/// use brisk_data::{MemoryTable, Rows, TableSet, describe_table};
/// let train = Rows::new(MemoryTable::texts("text", ["good", "bad", "good", ""]))?;
/// let d = describe_table(&TableSet { train, validation: None, test: None })?;
/// assert_eq!((d.duplicates, d.columns[0].missing), (1, 1));
/// assert!(d.to_string().contains("4 train"));
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub fn describe_table(set: &TableSet) -> Result<TableDescription> {
    let names = set.train.columns().to_vec();
    let mut columns: Vec<Gathered> = names.iter().map(|_| Gathered::default()).collect();
    let mut seen: HashMap<[u8; 16], usize> = HashMap::new();
    let (mut duplicates, mut in_two_parts) = (0, 0);
    for (p, (_, rows)) in set.parts().into_iter().enumerate() {
        let at: Vec<Option<usize>> = names.iter().map(|n| rows.column(n).ok()).collect();
        for row in rows.iter() {
            let row = row?;
            let values = || at.iter().map(|c| c.map_or(&Value::Missing, |c| row.get(c)));
            match *seen.entry(fingerprint(values())).or_insert(usize::MAX) {
                usize::MAX => drop(seen.insert(fingerprint(values()), p)),
                q if q == p => duplicates += 1,
                _ => in_two_parts += 1,
            }
            for (value, column) in values().zip(&mut columns) {
                column.add(value);
            }
        }
    }
    Ok(TableDescription {
        name: set.train.name(),
        parts: set.parts().iter().map(|(name, rows)| (name.to_string(), rows.len())).collect(),
        duplicates,
        in_two_parts,
        columns: names.into_iter().zip(columns).map(|(name, c)| c.finish(name)).collect(),
    })
}

#[derive(Default)]
struct Gathered {
    missing: usize,
    numbers: Vec<f64>,
    others: usize,
    lengths: Vec<f64>,
    /// None once there are too many.
    values: BTreeMap<String, usize>,
    many: bool,
}

impl Gathered {
    fn add(&mut self, value: &Value) {
        let Some(name) = category_name(value) else {
            self.missing += 1;
            return;
        };
        match value.number() {
            Some(x) => self.numbers.push(x),
            None => self.others += 1,
        }
        self.lengths.push(match value {
            Value::List(items) => items.len() as f64,
            _ => name.chars().count() as f64,
        });
        if !self.many {
            *self.values.entry(name).or_default() += 1;
            if self.values.len() > DISTINCT {
                self.many = true;
                self.values.clear();
            }
        }
    }

    fn finish(self, name: String) -> ColumnDescription {
        let mut values: Vec<LabelCount> =
            self.values.into_iter().map(|(value, count)| LabelCount { value, count }).collect();
        let rows = self.lengths.len();
        // Texts and measurements are no labels, even if there are few of them.
        if values.len() > 20 && values.len() * 2 > rows || values.len() == rows && rows > 2 {
            values.clear();
        }
        values.sort_by_key(|v| std::cmp::Reverse(v.count));
        let all_numbers = self.others == 0 && !self.numbers.is_empty();
        ColumnDescription {
            name,
            missing: self.missing,
            numbers: if all_numbers { Percentiles::of(self.numbers) } else { None },
            lengths: if all_numbers { None } else { Percentiles::of(self.lengths) },
            values,
        }
    }
}

impl fmt::Display for TableDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        writeln!(f, "{}: rows: {}", self.name, parts.join(", "))?;
        if self.duplicates > 0 {
            writeln!(f, "{} rows stand there more than once", self.duplicates)?;
        }
        if self.in_two_parts > 0 {
            writeln!(
                f,
                "{} rows of one part stand in another too: results on them measure memory",
                self.in_two_parts
            )?;
        }
        for c in &self.columns {
            write!(f, "\n{}", c.name)?;
            if c.missing > 0 {
                write!(f, "  ({} missing)", c.missing)?;
            }
            writeln!(f)?;
            for (what, p) in [("numbers", &c.numbers), ("characters", &c.lengths)] {
                if let Some(p) = p {
                    writeln!(
                        f,
                        "  {what}: {:.4} to {:.4}, mean {:.4}, half up to {:.4}, 95 % up to {:.4}, 99 % up to {:.4}",
                        p.min, p.max, p.mean, p.p50, p.p95, p.p99
                    )?;
                }
            }
            for v in c.values.iter().take(SHOWN) {
                let value: String = v.value.chars().take(40).collect();
                writeln!(f, "  {:>9}  {value}", v.count)?;
            }
            if c.values.len() > SHOWN {
                writeln!(f, "  ... and {} more", c.values.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryTable, Rows};

    #[test]
    fn counts_what_is_there() {
        let rows = |texts: &[(&str, f64)]| {
            let rows = texts.iter().map(|(t, n)| vec![(*t).into(), (*n).into()]).collect();
            Rows::new(MemoryTable::new(["text", "label"], rows).unwrap()).unwrap()
        };
        let train = rows(&[("很好", 1.0), ("bad", 0.0), ("bad", 0.0), ("fine", 1.0), ("", 1.0)]);
        let set = TableSet { train, validation: None, test: Some(rows(&[("bad", 0.0), ("new", 1.0)])) };
        let d = describe_table(&set).unwrap();
        assert_eq!((d.duplicates, d.in_two_parts), (1, 1));
        assert_eq!(d.columns[0].missing, 1);
        assert_eq!(d.columns[0].lengths.unwrap().min, 2.0);
        assert_eq!(d.columns[1].numbers.unwrap().max, 1.0);
        assert_eq!(d.columns[1].values[0], LabelCount { value: "1".into(), count: 4 });
        let text = d.to_string();
        assert!(text.contains("5 train, 2 test") && text.contains("(1 missing)"), "{text}");
    }
}
