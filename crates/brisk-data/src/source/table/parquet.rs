//! Apache Parquet. Its columns lie compressed in groups of rows, so that a row alone cannot be read; the file is therefore read once, group by
//! group, into JSON Lines in memory or, if they are many, in a temporary file.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use serde_json::{Map, Value as Json};

use super::jsonl::JsonLines;
use crate::bytes::{Bytes, Spool};
use crate::{Error, Result};

/// Opens a file and reads it once.
pub(super) fn open(path: &Path) -> Result<JsonLines> {
    let file = File::open(path).map_err(Error::io(path))?;
    // Readers are meant not to panic; if one does, it is this file that cannot be read, and nothing worse.
    let bytes = catch_unwind(AssertUnwindSafe(|| spool(path, file)))
        .unwrap_or_else(|_| Err(bad(path, "the reader failed")))?;
    JsonLines::over(path, bytes)
}

fn bad(path: &Path, reason: impl ToString) -> Error {
    Error::Row {
        place: path.display().to_string(),
        column: None,
        reason: format!(
            "not a readable Parquet file: {}. Supported are files without compression, or with Snappy, gzip or LZ4",
            reason.to_string()
        ),
    }
}

fn spool(path: &Path, file: File) -> Result<Bytes> {
    let reader = SerializedFileReader::new(file).map_err(|e| bad(path, e))?;
    let mut spool = Spool::new();
    let rows = reader.get_row_iter(None).map_err(|e| bad(path, e))?;
    for row in rows {
        let row = row.map_err(|e| bad(path, e))?;
        let object: Map<String, Json> =
            row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect();
        let mut line = Json::Object(object).to_string();
        line.push('\n');
        spool.write_all(line.as_bytes()).map_err(Error::io(std::env::temp_dir()))?;
    }
    spool.finish()
}

/// Numbers that JSON cannot hold are missing; what has no JSON type is text.
fn json(field: &Field) -> Json {
    match field {
        Field::Null => Json::Null,
        Field::Bool(b) => Json::from(*b),
        Field::Byte(n) => Json::from(*n),
        Field::Short(n) => Json::from(*n),
        Field::Int(n) => Json::from(*n),
        Field::Long(n) => Json::from(*n),
        Field::UByte(n) => Json::from(*n),
        Field::UShort(n) => Json::from(*n),
        Field::UInt(n) => Json::from(*n),
        Field::ULong(n) => Json::from(*n),
        Field::Float16(x) => Json::from(x.to_f32()),
        Field::Float(x) => Json::from(*x),
        Field::Double(x) => Json::from(*x),
        Field::Str(s) => Json::from(s.as_str()),
        // Text that its writer did not mark as such.
        Field::Bytes(b) => std::str::from_utf8(b.data()).map_or(Json::Null, Json::from),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        other => Json::from(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Table, Value};
    use super::*;

    /// A table of two columns, text and a list of numbers, in three groups of rows; see its script.
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/table.parquet");

    #[test]
    fn reads_what_pyarrow_wrote() {
        let table = open(Path::new(FILE)).unwrap();
        assert_eq!(table.columns(), ["text", "stars", "vector"]);
        assert_eq!(table.len(), 5);
        let list = Value::List(vec![1.5.into(), 2.0.into()]);
        assert_eq!(table.row(0).unwrap().values, ["好 text".into(), 5.0.into(), list]);
        assert_eq!(table.row(4).unwrap().values, [Value::Missing, Value::Missing, Value::List(vec![])]);
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors(at in 0usize..2000, byte: u8, cut in 0usize..2000) {
            let mut bytes = std::fs::read(FILE).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t.parquet");
            let n = bytes.len();
            bytes[at % n] = byte;
            bytes.truncate(n - if cut % 2 == 0 { 0 } else { cut % n });
            std::fs::write(&path, bytes).unwrap();
            let _ = open(&path);
        }
    }
}
