//! CSV and TSV: a header, then a record a row; fields in quotation marks may hold anything, a mark in them is doubled (RFC 4180).

use std::path::Path;

use super::scan::{BOM, End, Records, trim_line_end, utf8};
use super::{Row, Table, TableSpec, Value};
use crate::bytes::Input;
use crate::{Error, Result};

/// What divides fields.
#[derive(Clone, Copy)]
struct Dialect {
    delimiter: u8,
    quotes: bool,
}

/// A CSV or TSV file, indexed by the offsets of its rows.
pub(super) struct Delimited {
    dialect: Dialect,
    columns: Vec<String>,
    records: Records,
}

impl Dialect {
    /// Where the first record ends.
    fn end(self, bytes: &[u8], last: bool) -> End {
        let (mut quoted, mut start, mut closed) = (false, true, false);
        for (i, &b) in bytes.iter().enumerate() {
            let is_mark = b == b'"' && self.quotes;
            if b == b'\n' && !quoted {
                return End::At(i + 1);
            }
            // A mark right after the one that closed was doubled.
            let opens = is_mark && !quoted && (start || closed);
            closed = is_mark && quoted;
            quoted = opens || quoted && !closed;
            start = b == self.delimiter && !quoted;
        }
        if last { End::At(bytes.len()) } else { End::Later }
    }

    /// The fields of a record, and if the last one's quotation mark was closed. An empty field is missing; one of two quotation
    /// marks is empty text.
    fn fields(self, record: &str) -> (Vec<Value>, bool) {
        let (mut fields, mut rest, mut closed) = (Vec::new(), record, true);
        let delimiter = char::from(self.delimiter);
        loop {
            let mut field = String::new();
            let mut is_quoted = false;
            if self.quotes
                && let Some(mut inside) = rest.strip_prefix('"')
            {
                is_quoted = true;
                closed = false;
                while let Some((part, after)) = inside.split_once('"') {
                    field.push_str(part);
                    match after.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            inside = more;
                        }
                        None => {
                            closed = true;
                            inside = after;
                            break;
                        }
                    }
                }
                if !closed {
                    field.push_str(inside);
                    inside = "";
                }
                rest = inside;
            }
            let (part, next) = match rest.split_once(delimiter) {
                Some((part, next)) => (part, Some(next)),
                None => (rest, None),
            };
            field.push_str(part);
            fields.push(if field.is_empty() && !is_quoted { Value::Missing } else { Value::Text(field) });
            match next {
                Some(next) => rest = next,
                None => return (fields, closed),
            }
        }
    }
}

impl Delimited {
    /// Opens a file and checks all its rows.
    pub fn open(path: &Path, delimiter: u8, spec: &TableSpec) -> Result<Delimited> {
        let dialect = Dialect { delimiter, quotes: spec.quotes };
        let mut columns = spec.columns.clone();
        let bytes = Input::Path(path.into()).read_whole()?;
        let error = |line: u64, reason: String| Error::Row {
            place: format!("{}: line {line}", path.display()),
            column: None,
            reason,
        };
        let records = Records::scan(
            path,
            bytes,
            |b, last| dialect.end(b, last),
            |line, record| {
                let text = utf8(path, line, record)?;
                let text = if line == 1 { text.trim_start_matches(BOM) } else { text };
                if text.trim_matches(|c: char| c == ' ' || c == '\r').is_empty() {
                    return Ok(false);
                }
                let (fields, closed) = dialect.fields(text);
                if !closed {
                    let reason = "a quotation mark is not closed. Close it, double marks inside of fields, or set `quotes: false`";
                    return Err(error(line, reason.into()));
                }
                let Some(columns) = &columns else {
                    let names = header(fields).map_err(|reason| error(line, reason))?;
                    columns = Some(names);
                    return Ok(false);
                };
                match fields.len() {
                    n if n == columns.len() => Ok(true),
                    n => {
                        let fix = if n < columns.len() {
                            format!("the first column without a value is `{}`", columns[n])
                        } else {
                            "a delimiter inside of text needs quotation marks around the text".into()
                        };
                        Err(error(
                            line,
                            format!("{n} values where there are {} columns: {fix}", columns.len()),
                        ))
                    }
                }
            },
        )?;
        Ok(Delimited { dialect, columns: columns.unwrap_or_default(), records })
    }
}

/// The names of columns.
fn header(fields: Vec<Value>) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for (i, field) in fields.into_iter().enumerate() {
        let name = match field {
            Value::Text(name) if !name.trim().is_empty() => name.trim().to_string(),
            // As the index that some programs write in front.
            _ => format!("column_{}", i + 1),
        };
        if names.contains(&name) {
            return Err(format!("two columns are called `{name}`: rename one"));
        }
        names.push(name);
    }
    Ok(names)
}

impl Table for Delimited {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn len(&self) -> usize {
        self.records.len()
    }

    fn row(&self, index: usize) -> Result<Row> {
        let bytes = self.records.read(index)?;
        let size = match self.dialect.end(&bytes, true) {
            End::At(size) => size.min(bytes.len()),
            End::Later => bytes.len(),
        };
        let text = String::from_utf8_lossy(trim_line_end(&bytes[..size]));
        Ok(Row { values: self.dialect.fields(text.trim_start_matches(BOM)).0 })
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
    use crate::testing::{gzip, write};

    fn open(bytes: &[u8], delimiter: u8, spec: &TableSpec) -> Result<Delimited> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        write(&path, bytes);
        Delimited::open(&path, delimiter, spec)
    }

    fn rows(bytes: &[u8]) -> Vec<Vec<Value>> {
        let table = open(bytes, b',', &TableSpec::at("t.csv")).unwrap();
        (0..table.len()).map(|i| table.row(i).unwrap().values).collect()
    }

    fn message(text: &[u8]) -> String {
        open(text, b',', &TableSpec::at("t.csv")).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn quotes_line_ends_and_gaps() {
        let text = "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n,\"\"\n中文,好";
        let t = |s: &str| Value::from(s);
        assert_eq!(
            rows(text.as_bytes()),
            [vec![t("1"), t("x, \"y\"\nz")], vec![Value::Missing, t("")], vec![t("中文"), t("好")]]
        );
        assert_eq!(rows(&gzip(text.as_bytes())), rows(text.as_bytes()));
        let table = open(text.as_bytes(), b',', &TableSpec::at("t.csv")).unwrap();
        assert!(table.place(0).ends_with("t.csv: row 1 (line 2)"), "{}", table.place(0));
        assert!(table.place(2).ends_with("t.csv: row 3 (line 6)"), "{}", table.place(2));
        assert!(table.row(3).is_err());
    }

    #[test]
    fn tabs_raw_quotes_and_no_header() {
        let spec = TableSpec {
            quotes: false,
            columns: Some(vec!["s".into(), "n".into()]),
            ..TableSpec::at("t.tsv")
        };
        let table = open(b"\"open\t1\nb\t2\n", b'\t', &spec).unwrap();
        assert_eq!(table.row(0).unwrap().values, [Value::from("\"open"), Value::from("1")]);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn says_what_is_wrong() {
        let e = message(b"a,b\n1,2\n3\n");
        assert!(e.contains("t.csv: line 3: 1 values where there are 2 columns") && e.contains("`b`"), "{e}");
        assert!(message(b"a,b\n1,2,3\n").contains("3 values"), "{e}");
        let e = message(b"a,b\n1,2\n3,\"4\n5,6\n");
        assert!(e.contains("line 3: a quotation mark is not closed"), "{e}");
        let e = message(b"a,b\n1,\xff\n");
        assert!(e.contains("line 2, byte 3: not UTF-8"), "{e}");
        assert!(message(b"a,a\n").contains("two columns are called `a`"));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(t) = open(&bytes, b',', &TableSpec::at("t.csv")) {
                for i in 0..t.len() { t.row(i).unwrap(); t.place(i); }
            }
        }

        #[test]
        fn what_the_csv_crate_writes_is_read(rows_in in proptest::collection::vec(
            proptest::collection::vec("[a-z中\",\n\r ]{0,6}", 3), 1..8)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["x", "y", "z"]).unwrap();
            for r in &rows_in { writer.write_record(r).unwrap(); }
            let read = rows(&writer.into_inner().unwrap());
            // A row of nothing but blanks would be a blank line in a table of one column; here there are delimiters.
            prop_assert_eq!(read.len(), rows_in.len());
            for (r, expected) in read.iter().zip(&rows_in) {
                for (v, e) in r.iter().zip(expected) {
                    prop_assert_eq!(v.text().unwrap_or_default(), e.as_str());
                }
            }
        }
    }
}
