//! A table in memory: for tests, for predictions, and for data that a program has made.

use super::{Row, Table, Value};
use crate::{Error, Result};

/// Rows in memory.
///
/// ```
/// use brisk_data::{MemoryTable, Table};
/// let table = MemoryTable::texts("text", ["good", "bad"]);
/// assert_eq!((table.len(), table.place(1)), (2, "row 2".to_string()));
/// assert!(MemoryTable::new(["a", "b"], vec![vec!["too few".into()]]).is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryTable {
    columns: Vec<String>,
    rows: Vec<Row>,
}

impl MemoryTable {
    /// A table of rows with a value for each column. An error if a row has another number of values.
    pub fn new<C: Into<String>>(
        columns: impl IntoIterator<Item = C>,
        rows: Vec<Vec<Value>>,
    ) -> Result<MemoryTable> {
        let columns: Vec<String> = columns.into_iter().map(Into::into).collect();
        if let Some(i) = rows.iter().position(|r| r.len() != columns.len()) {
            return Err(Error::Row {
                place: format!("row {}", i + 1),
                column: None,
                reason: format!("{} values, but there are {} columns", rows[i].len(), columns.len()),
            });
        }
        Ok(MemoryTable { columns, rows: rows.into_iter().map(|values| Row { values }).collect() })
    }

    /// A table with one column of texts.
    pub fn texts<T: Into<String>>(
        column: impl Into<String>,
        texts: impl IntoIterator<Item = T>,
    ) -> MemoryTable {
        let rows = texts.into_iter().map(|t| Row { values: vec![Value::Text(t.into())] }).collect();
        MemoryTable { columns: vec![column.into()], rows }
    }
}

impl Table for MemoryTable {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize) -> Result<Row> {
        self.rows.get(index).cloned().ok_or_else(|| super::rows::no_row(index, self.len()))
    }

    fn place(&self, index: usize) -> String {
        format!("row {}", index + 1)
    }

    fn name(&self) -> String {
        "table in memory".into()
    }
}
