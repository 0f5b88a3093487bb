//! JSON Lines: an object a line. Columns are all keys, in the order in which they come first.

use std::path::Path;

use indexmap::IndexSet;
use serde_json::{Map, Value as Json};

use super::scan::{BOM, Records, line_end, utf8};
use super::{Row, Table, Value};
use crate::bytes::{Bytes, Input};
use crate::{Error, Result};

/// A file of JSON objects, indexed by the offsets of its lines.
pub(super) struct JsonLines {
    columns: Vec<String>,
    records: Records,
}

impl JsonLines {
    /// Opens a file and checks all its lines.
    pub fn open(path: &Path) -> Result<JsonLines> {
        JsonLines::over(path, Input::Path(path.into()).read_whole()?)
    }

    /// The same over bytes that are already at hand.
    pub fn over(path: &Path, bytes: Bytes) -> Result<JsonLines> {
        let mut columns = IndexSet::new();
        let records = Records::scan(path, bytes, line_end, |line, record| {
            let text = utf8(path, line, record)?.trim_start_matches(BOM);
            if text.trim().is_empty() {
                return Ok(false);
            }
            let object: Map<String, Json> = serde_json::from_str(text).map_err(|e| {
                // serde_json counts lines from 1 in what it was given.
                let reason = e.to_string().replace(" at line 1 column", " at column");
                Error::Row {
                    place: format!("{}: line {line}", path.display()),
                    column: None,
                    reason: format!("not a JSON object: {reason}. Write one object, as {{\"text\": \"...\"}}, in each line"),
                }
            })?;
            for key in object.keys().filter(|k| !columns.contains(k.as_str())).collect::<Vec<_>>() {
                columns.insert(key.clone());
            }
            Ok(true)
        })?;
        Ok(JsonLines { columns: columns.into_iter().collect(), records })
    }
}

impl Table for JsonLines {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn len(&self) -> usize {
        self.records.len()
    }

    fn row(&self, index: usize) -> Result<Row> {
        let bytes = self.records.read(index)?;
        // Blank lines may follow; they were skipped, and JSON may end with white space.
        let text = bytes.strip_prefix(BOM.as_bytes()).unwrap_or(&bytes);
        let changed = |e: serde_json::Error| Error::Row {
            place: self.place(index),
            column: None,
            reason: format!("not a JSON object any more: {e}. The file was changed while it was read"),
        };
        let mut object: Map<String, Json> = serde_json::from_slice(text).map_err(changed)?;
        let values = self.columns.iter().map(|c| object.remove(c).map_or(Value::Missing, Value::from));
        Ok(Row { values: values.collect() })
    }

    fn place(&self, index: usize) -> String {
        self.records.place(index)
    }

    fn name(&self) -> String {
        self.records.path.display().to_string()
    }

    fn folder(&self, _: usize) -> &Path {
        self.records.path.parent().unwrap_or(Path::new(""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::write;

    fn open(bytes: &[u8]) -> Result<JsonLines> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        write(&path, bytes);
        JsonLines::open(&path)
    }

    #[test]
    fn reads_what_stands_there() {
        let table =
            open("{\"a\": \"中\", \"n\": 2}\n\n{\"b\": [\"x\", 1], \"a\": null}\r\n".as_bytes()).unwrap();
        assert_eq!(table.columns(), ["a", "n", "b"]);
        assert_eq!(table.row(0).unwrap().values, [Value::from("中"), Value::from(2.0), Value::Missing]);
        let list = Value::List(vec![Value::from("x"), Value::from(1.0)]);
        assert_eq!(table.row(1).unwrap().values, [Value::Missing, Value::Missing, list]);
        assert!(table.place(1).ends_with("row 2 (line 3)"));
    }

    #[test]
    fn says_what_is_wrong() {
        let message = |b: &[u8]| open(b).map(|_| ()).unwrap_err().to_string();
        let e = message(b"{\"a\": 1}\n{\"a\": \n");
        assert!(e.contains("t.jsonl: line 2: not a JSON object: EOF"), "{e}");
        assert!(message(b"[1]\n").contains("line 1: not a JSON object"));
        assert!(message(b"{\"a\": \"\xff\"}").contains("not UTF-8"));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[{}\\[\\]:,\"a1\n]{0,60}") {
            let _ = open(&bytes);
            if let Ok(t) = open(text.as_bytes()) {
                for i in 0..t.len() { t.row(i).unwrap(); }
            }
        }
    }
}
