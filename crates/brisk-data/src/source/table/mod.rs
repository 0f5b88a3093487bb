//! Tables: rows of named columns, in any order. One file a format.

mod concat;
mod delimited;
mod jsonl;
mod memory;
mod open;
#[cfg(feature = "parquet")]
mod parquet;
mod rows;
mod scan;
mod value;

use std::path::Path;

pub use memory::MemoryTable;
pub use open::{TableFormat, TablePaths, TableSet, TableSpec, open_tables};
pub use rows::Rows;
pub use value::{Row, Value};

use crate::Result;

/// Rows by number, read when they are asked for; what all table formats have in common.
///
/// ```
/// use brisk_data::{MemoryTable, Table, Value};
/// let table = MemoryTable::new(["text", "stars"], vec![vec!["good".into(), 5.0.into()]])?;
/// assert_eq!(table.columns(), ["text", "stars"]);
/// assert_eq!(table.row(0)?.values, [Value::Text("good".into()), Value::Number(5.0)]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub trait Table: Send + Sync {
    /// The names of the columns.
    fn columns(&self) -> &[String];

    /// Number of rows.
    fn len(&self) -> usize;

    /// True if there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row, from 0. An error if it cannot be read, or if there is no such row.
    fn row(&self, index: usize) -> Result<Row>;

    /// Where a row stands, for messages: its file, its number from 1, and its line.
    fn place(&self, index: usize) -> String;

    /// What to call the whole table in messages.
    fn name(&self) -> String;

    /// The folder that paths in a row are relative to.
    fn folder(&self, index: usize) -> &Path {
        let _ = index;
        Path::new("")
    }
}
