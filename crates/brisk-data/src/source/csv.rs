//! CSV files of image paths and labels: a header, paths relative to the file, optionally a column that divides.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::folder::{Files, sort_classes};
use crate::error::nearest;
use crate::{Error, FileSpec, Result};

/// The three parts of a CSV file, and its classes.
pub(crate) struct Table {
    pub classes: Vec<String>,
    pub train: Files,
    pub validation: Files,
    pub test: Files,
}

struct Row {
    line: u64,
    path: String,
    label: String,
    split: Option<String>,
}

/// Reads a CSV file. `classes`: the classes, if they are known. An unknown class is an error,
/// or with `lenient` a label that is out of range.
pub(crate) fn read(spec: &FileSpec, path: &Path, classes: Option<&[String]>, lenient: bool) -> Result<Table> {
    let rows = rows(spec, path)?;
    let classes = match classes {
        Some(classes) => classes.to_vec(),
        None => {
            let distinct: BTreeSet<_> = rows.iter().map(|r| r.label.clone()).collect();
            let mut classes: Vec<_> = distinct.into_iter().collect();
            sort_classes(&mut classes);
            classes
        }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut table =
        Table { train: Files::default(), validation: Files::default(), test: Files::default(), classes };
    for row in rows {
        let label = match table.classes.iter().position(|c| *c == row.label) {
            Some(label) => label as u32,
            None if lenient => u32::MAX,
            None => {
                return Err(Error::UnknownClass {
                    place: format!("{}: line {}", path.display(), row.line),
                    suggestion: nearest(&row.label, table.classes.iter().map(String::as_str)),
                    label: row.label,
                    known: table.classes,
                });
            }
        };
        let part = match row.split.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("train" | "training") => &mut table.train,
            Some("val" | "valid" | "validation") => &mut table.validation,
            Some("test" | "testing") => &mut table.test,
            Some(other) => {
                let reason = format!("split `{other}`: expected train, val or test");
                return Err(Error::Csv { path: path.into(), line: row.line, reason });
            }
        };
        part.paths.push(folder.join(row.path));
        part.labels.push(label);
        part.lines.get_or_insert_with(|| (path.into(), Vec::new())).1.push(row.line);
    }
    Ok(table)
}

fn rows(spec: &FileSpec, path: &Path) -> Result<Vec<Row>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let headers = reader.headers().map_err(|e| csv_error(path, e))?.clone();
    let headers: Vec<String> = headers.iter().map(|h| h.trim_start_matches('\u{feff}').to_string()).collect();
    let find = |name: &str| headers.iter().position(|h| h.eq_ignore_ascii_case(name));
    let need = |name: &str| {
        find(name).ok_or_else(|| Error::Column {
            path: path.into(),
            column: name.into(),
            suggestion: nearest(name, headers.iter().map(String::as_str)),
            found: headers.clone(),
        })
    };
    let path_column = need(spec.path_column.as_deref().unwrap_or("path"))?;
    let label_column = need(spec.label_column.as_deref().unwrap_or("label"))?;
    let split_column = match &spec.split_column {
        Some(name) => Some(need(name)?),
        None => find("split"),
    };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| csv_error(path, e))?;
        let line = record.position().map_or(0, |p| p.line());
        let field = |column: usize, name: &str| match record.get(column) {
            Some("") | None => {
                Err(Error::Csv { path: path.into(), line, reason: format!("the {name} is missing") })
            }
            Some(value) => Ok(value.to_string()),
        };
        rows.push(Row {
            line,
            path: field(path_column, "path")?,
            label: field(label_column, "label")?,
            split: split_column.map(|c| field(c, "split")).transpose()?,
        });
    }
    Ok(rows)
}

fn csv_error(path: &Path, e: csv::Error) -> Error {
    let line = e.position().map_or(1, |p| p.line());
    let reason = match e.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} values where the header has {expected_len} columns")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text: save the file as UTF-8".into(),
        _ => e.to_string(),
    };
    Error::Csv { path: path.into(), line, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Source;
    use crate::testing::write;

    fn table_of(bytes: &[u8], classes: Option<&[String]>) -> Result<Table> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.csv");
        write(&path, bytes);
        read(&FileSpec::at(&path), &path, classes, false)
    }

    fn message(text: &str) -> String {
        table_of(text.as_bytes(), None).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn reads_paths_labels_and_splits() {
        let t =
            table_of(b"Label, path, split\ndog, a.png, train\ncat, b.png, test\ncat,\"c,d.png\",val\n", None)
                .unwrap();
        assert_eq!(t.classes, ["cat", "dog"]);
        assert_eq!((t.train.labels, t.test.labels), (vec![1], vec![0]));
        assert!(t.validation.paths[0].ends_with("c,d.png"));
        assert!(t.validation.label_place(0).ends_with("list.csv, line 4"));
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(message("file,label\n").contains("no column `path`"));
        let e = message("path,lable\na,b\n");
        assert!(
            e.contains("line 1: no column `label` (did you mean `lable`?). Columns found: path, lable"),
            "{e}"
        );
        assert!(
            message("path,label\na.png,cat\nb.png\n").contains("line 3: 1 values where the header has 2")
        );
        assert!(message("path,label\na.png,\n").contains("line 2: the label is missing"));
        assert!(message("path,label,split\na.png,cat,dev\n").contains("line 2: split `dev`"));
        let e =
            table_of(b"path,label\na.png,catt\n", Some(&["cat".into()])).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("line 2: unknown class `catt` (did you mean `cat`?)"), "{e}");
        let e = table_of(b"path,label\na.png,\xff\xfe\n", None).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("UTF-8"), "{e}");
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "[a-z,\"\n\r ]{0,80}") {
            let _ = table_of(format!("path,label\n{text}").as_bytes(), None);
            let _ = table_of(text.as_bytes(), None);
        }
    }
}
