//! Some of the rows of a table.

use std::path::Path;
use std::sync::Arc;

use super::{Row, Table};
use crate::error::nearest;
use crate::{Error, Result};

/// Rows of one part (training, validation or test). Cloning is cheap: parts share their table.
///
/// ```
/// use brisk_data::{MemoryTable, Rows, Value};
/// let rows = Rows::new(MemoryTable::texts("text", ["a", "b", "c"]))?;
/// let some = rows.select(vec![2, 0])?;
/// assert_eq!(some.row(0)?.values, [Value::from("c")]);
/// assert_eq!((some.len(), some.column("text")?), (2, 0));
/// assert!(some.column("txt").unwrap_err().to_string().contains("did you mean `text`?"));
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone)]
pub struct Rows {
    table: Arc<dyn Table>,
    /// The rows of the table that belong to this part; all if `None`.
    indices: Option<Arc<[u32]>>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({} of {})", self.len(), self.table.name())
    }
}

pub(crate) fn no_row(index: usize, len: usize) -> Error {
    Error::Config { key: "row".into(), found: index.to_string(), expected: format!("there are {len} rows") }
}

impl Rows {
    /// All rows of a table, of which there may be 2^32 - 1.
    pub fn new(table: impl Table + 'static) -> Result<Rows> {
        if u32::try_from(table.len()).is_err() {
            return Err(Error::TooLarge {
                place: table.name(),
                found: format!("{} rows", table.len()),
                limit: u32::MAX.to_string(),
            });
        }
        Ok(Rows { table: Arc::new(table), indices: None })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.indices.as_ref().map_or(self.table.len(), |i| i.len())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        self.table.columns()
    }

    /// The number of a column. An error names the nearest one.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns().iter().position(|c| c == name).ok_or_else(|| Error::NoColumn {
            place: self.table.name(),
            column: name.into(),
            suggestion: nearest(name, self.columns().iter().map(String::as_str)),
            found: self.columns().to_vec(),
        })
    }

    /// The number of a row in its table.
    pub fn table_index(&self, index: usize) -> Result<usize> {
        match &self.indices {
            None => Ok(index),
            Some(i) => i.get(index).map(|&i| i as usize).ok_or_else(|| no_row(index, i.len())),
        }
    }

    /// A row.
    pub fn row(&self, index: usize) -> Result<Row> {
        self.table.row(self.table_index(index)?)
    }

    /// All rows in their order, each read when it is its turn.
    pub fn iter(&self) -> impl Iterator<Item = Result<Row>> + '_ {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Where a row stands, for messages.
    pub fn place(&self, index: usize) -> String {
        self.table_index(index).map_or_else(|_| format!("row {}", index + 1), |i| self.table.place(i))
    }

    /// What to call the table in messages.
    pub fn name(&self) -> String {
        self.table.name()
    }

    /// The folder that paths in a row are relative to.
    pub fn folder(&self, index: usize) -> &Path {
        self.table_index(index).map_or(Path::new(""), |i| self.table.folder(i))
    }

    /// Some of the rows, in the order given. An error if there is no such row.
    pub fn select(&self, indices: Vec<u32>) -> Result<Rows> {
        let indices = indices
            .into_iter()
            .map(|i| match i as usize {
                i if i < self.len() => self.table_index(i).map(|i| i as u32),
                i => Err(no_row(i, self.len())),
            })
            .collect::<Result<_>>()?;
        Ok(Rows { table: self.table.clone(), indices: Some(indices) })
    }

    /// An error about a column of a row.
    pub(crate) fn error(&self, index: usize, column: &str, reason: impl Into<String>) -> Error {
        Error::Row { place: self.place(index), column: Some(column.into()), reason: reason.into() }
    }
}
