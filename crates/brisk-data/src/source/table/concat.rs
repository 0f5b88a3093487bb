//! Several tables one after another.

use std::path::Path;

use super::{Row, Table};
use crate::error::nearest;
use crate::{Error, Result};

/// Tables with the columns of the first one, in any order.
pub(super) struct Concat {
    tables: Vec<Box<dyn Table>>,
    /// For each table, where in it the columns of the first one are.
    columns: Vec<Vec<usize>>,
    /// The number of the first row of each table, and the number of all rows.
    starts: Vec<usize>,
}

impl Concat {
    /// An error if there is no table, or if one lacks a column of the first.
    pub fn new(tables: Vec<Box<dyn Table>>) -> Result<Concat> {
        let names = tables.first().map(|t| t.columns().to_vec()).unwrap_or_default();
        let mut columns = Vec::new();
        let mut starts = vec![0];
        for table in &tables {
            let find = |name: &String| {
                table.columns().iter().position(|c| c == name).ok_or_else(|| Error::NoColumn {
                    place: table.name(),
                    column: name.clone(),
                    suggestion: nearest(name, table.columns().iter().map(String::as_str)),
                    found: table.columns().to_vec(),
                })
            };
            columns.push(names.iter().map(find).collect::<Result<_>>()?);
            starts.push(starts.last().copied().unwrap_or(0) + table.len());
        }
        Ok(Concat { tables, columns, starts })
    }

    /// The number of a row's table, and its number in that.
    fn find(&self, index: usize) -> Result<(usize, usize)> {
        if index >= self.len() {
            return Err(super::rows::no_row(index, self.len()));
        }
        let table = self.starts.partition_point(|&s| s <= index) - 1;
        Ok((table, index - self.starts[table]))
    }
}

impl Table for Concat {
    fn columns(&self) -> &[String] {
        self.tables.first().map_or(&[], |t| t.columns())
    }

    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn row(&self, index: usize) -> Result<Row> {
        let (table, row) = self.find(index)?;
        let row = self.tables[table].row(row)?;
        Ok(Row { values: self.columns[table].iter().map(|&c| row.get(c).clone()).collect() })
    }

    fn place(&self, index: usize) -> String {
        self.find(index).map_or_else(|e| e.to_string(), |(t, row)| self.tables[t].place(row))
    }

    fn name(&self) -> String {
        let first = self.tables.first().map(|t| t.name()).unwrap_or_default();
        format!("{first} and {} more", self.tables.len().saturating_sub(1))
    }

    fn folder(&self, index: usize) -> &Path {
        self.find(index).map_or(Path::new(""), |(t, row)| self.tables[t].folder(row))
    }
}
