//! Opening tables: one file, several files, or a folder with files for training, validation and testing.

use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::concat::Concat;
use super::delimited::Delimited;
use super::jsonl::JsonLines;
use super::{Rows, Table};
use crate::{Error, Result};

/// A format of tables.
///
/// ```
/// use std::path::Path;
/// use brisk_data::TableFormat;
/// assert_eq!(TableFormat::of(Path::new("reviews.CSV.gz")), Some(TableFormat::Csv));
/// assert_eq!(TableFormat::of(Path::new("cat.png")), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Fields between commas, a header first.
    Csv,
    /// Fields between tabs, a header first.
    Tsv,
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl TableFormat {
    /// The format of a file, by the ending of its name, before which `.gz` does not count.
    pub fn of(path: &Path) -> Option<TableFormat> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        match name.trim_end_matches(".gz").rsplit_once('.')?.1 {
            "csv" => Some(TableFormat::Csv),
            "tsv" | "tab" => Some(TableFormat::Tsv),
            "jsonl" | "ndjson" => Some(TableFormat::Jsonl),
            "parquet" | "pq" => Some(TableFormat::Parquet),
            _ => None,
        }
    }
}

/// A path or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TablePaths {
    /// A file or a folder.
    One(PathBuf),
    /// Files with the same columns, one after another.
    Several(Vec<PathBuf>),
}

impl std::fmt::Display for TablePaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TablePaths::One(path) => write!(f, "{}", path.display()),
            TablePaths::Several(paths) => {
                let all: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
                f.write_str(&all.join(", "))
            }
        }
    }
}

/// Where tables are, and how to read them.
///
/// ```
/// use brisk_data::{TablePaths, TableSpec};
/// let spec: TableSpec = serde_json::from_str(r#"{"path": ["a.csv", "b.csv"], "test": "c.csv"}"#)?;
/// assert!(matches!(&spec.path, TablePaths::Several(files) if files.len() == 2) && spec.quotes);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// A file, several files, or a folder with `train`, `validation` and `test` files (or with files that belong together).
    pub path: TablePaths,
    /// The file or files to validate on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<TablePaths>,
    /// The file or files to test on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TablePaths>,
    /// The format; by the ending of the name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TableFormat>,
    /// CSV and TSV: fields may stand in quotation marks. False if marks in the text mean nothing.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub quotes: bool,
    /// CSV and TSV: the names of the columns, for files whose first line is not a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}
fn is_yes(v: &bool) -> bool {
    *v
}

impl TableSpec {
    /// A path, with everything else detected.
    pub fn at(path: impl Into<PathBuf>) -> TableSpec {
        TableSpec {
            path: TablePaths::One(path.into()),
            validation: None,
            test: None,
            format: None,
            quotes: true,
            columns: None,
        }
    }
}

/// The rows to train, validate and test on, as far as there are files for them.
#[derive(Clone, Debug)]
pub struct TableSet {
    /// What to train on.
    pub train: Rows,
    /// What to choose the best epoch by.
    pub validation: Option<Rows>,
    /// What to measure the result on.
    pub test: Option<Rows>,
}

impl TableSet {
    /// The parts that there are, with their names.
    pub fn parts(&self) -> Vec<(&'static str, &Rows)> {
        let mut parts = vec![("train", &self.train)];
        parts.extend(self.validation.as_ref().map(|p| ("validation", p)));
        parts.extend(self.test.as_ref().map(|p| ("test", p)));
        parts
    }

    /// What to evaluate a model on: the test rows, or all if there are no others.
    pub fn for_evaluation(&self) -> &Rows {
        self.test.as_ref().unwrap_or(&self.train)
    }
}

/// Opens tables. All text is checked: that it is UTF-8, that its fields are as many as its columns, that its JSON is whole.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("reviews.csv");
/// std::fs::write(&path, "text,label\n\"good, really\",1\n不好,0\n").unwrap();
/// let tables = brisk_data::open_tables(&brisk_data::TableSpec::at(&path))?;
/// assert_eq!(tables.train.columns(), ["text", "label"]);
/// assert_eq!(tables.train.row(1)?.values[0], "不好".into());
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub fn open_tables(spec: &TableSpec) -> Result<TableSet> {
    let of = |paths: &TablePaths| match paths {
        TablePaths::One(path) => open_several(std::slice::from_ref(path), spec),
        TablePaths::Several(paths) => open_several(paths, spec),
    };
    let mut set = match &spec.path {
        TablePaths::One(dir) if dir.is_dir() => open_folder(dir, spec)?,
        paths => TableSet { train: of(paths)?, validation: None, test: None },
    };
    if let Some(paths) = &spec.validation {
        set.validation = Some(of(paths)?);
    }
    if let Some(paths) = &spec.test {
        set.test = Some(of(paths)?);
    }
    Ok(set)
}

fn open_several(paths: &[PathBuf], spec: &TableSpec) -> Result<Rows> {
    match paths {
        [] => Err(Error::Empty { place: "data".into(), remedy: "Name at least one file".into() }),
        [path] => Rows::new(open_file(path, spec)?),
        paths => Rows::new(Concat::new(paths.iter().map(|p| open_file(p, spec)).collect::<Result<_>>()?)?),
    }
}

fn open_file(path: &Path, spec: &TableSpec) -> Result<Box<dyn Table>> {
    let Some(format) = spec.format.or_else(|| TableFormat::of(path)) else {
        fs::metadata(path).map_err(Error::io(path))?;
        return Err(Error::UnknownKind {
            path: path.into(),
            expected: ".csv, .tsv, .jsonl or .parquet, plain or .gz".into(),
            found: "another ending".into(),
        });
    };
    Ok(match format {
        TableFormat::Csv => Box::new(Delimited::open(path, b',', spec)?),
        TableFormat::Tsv => Box::new(Delimited::open(path, b'\t', spec)?),
        TableFormat::Jsonl => Box::new(JsonLines::open(path)?),
        #[cfg(feature = "parquet")]
        TableFormat::Parquet => Box::new(super::parquet::open(path)?),
        #[cfg(not(feature = "parquet"))]
        TableFormat::Parquet => {
            return Err(Error::UnknownKind {
                path: path.into(),
                expected: "CSV, TSV or JSONL: this program was built without the feature `parquet`".into(),
                found: "a Parquet file".into(),
            });
        }
    })
}

/// Files called `train`, `validation` and `test`; otherwise all tables of the folder, which then belong together.
fn open_folder(dir: &Path, spec: &TableSpec) -> Result<TableSet> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        if path.is_file() && TableFormat::of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    let stem = |p: &Path| {
        p.file_name()
            .and_then(|n| n.to_string_lossy().split('.').next().map(str::to_lowercase))
            .unwrap_or_default()
    };
    let find = |names: &[&str]| -> Result<Option<Rows>> {
        // Also `train-00000-of-00002`.
        let is = |p: &&PathBuf| {
            let stem = stem(p);
            names.iter().any(|n| stem == *n || stem.strip_prefix(n).is_some_and(|r| r.starts_with('-')))
        };
        let found: Vec<PathBuf> = files.iter().filter(is).cloned().collect();
        if found.is_empty() { Ok(None) } else { open_several(&found, spec).map(Some) }
    };
    let (train, validation, test) =
        (find(&["train", "training"])?, find(&["validation", "valid", "val", "dev"])?, find(&["test"])?);
    match train {
        Some(train) => Ok(TableSet { train, validation, test }),
        None if !files.is_empty() && validation.is_none() && test.is_none() => {
            Ok(TableSet { train: open_several(&files, spec)?, validation, test })
        }
        None => Err(Error::Missing {
            path: dir.join("train.csv"),
            remedy:
                "A folder of tables needs a file train.csv (or .tsv, .jsonl, .parquet); or name the files"
                    .into(),
        }),
    }
}

impl Table for Box<dyn Table> {
    fn columns(&self) -> &[String] {
        (**self).columns()
    }
    fn len(&self) -> usize {
        (**self).len()
    }
    fn row(&self, index: usize) -> Result<super::Row> {
        (**self).row(index)
    }
    fn place(&self, index: usize) -> String {
        (**self).place(index)
    }
    fn name(&self) -> String {
        (**self).name()
    }
    fn folder(&self, index: usize) -> &Path {
        (**self).folder(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::testing::write;

    #[test]
    fn a_folder_and_several_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |n: &str| dir.path().join(n);
        write(&at("d/train.csv"), b"text,label\na,1\n");
        write(&at("d/dev.jsonl"), b"{\"label\": 0, \"text\": \"b\"}\n");
        write(&at("d/README.md"), b"no table");
        let set = open_tables(&TableSpec::at(at("d"))).unwrap();
        assert_eq!((set.train.len(), set.validation.unwrap().len(), set.test.is_none()), (1, 1, true));

        let paths = TablePaths::Several(vec![at("d/train.csv"), at("d/dev.jsonl")]);
        let both = open_tables(&TableSpec { path: paths, ..TableSpec::at("") }).unwrap().train;
        assert_eq!(both.row(1).unwrap().values, [Value::from("b"), Value::from(0.0)]);
        assert!(both.place(1).contains("dev.jsonl: row 1"));
    }

    #[test]
    fn says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let message = |name: &str, bytes: &[u8]| {
            write(&dir.path().join(name), bytes);
            open_tables(&TableSpec::at(dir.path().join(name))).unwrap_err().to_string()
        };
        assert!(message("x.docx", b"").contains(".csv, .tsv"));
        let e = open_tables(&TableSpec::at(dir.path().join("gone.csv"))).unwrap_err().to_string();
        assert!(e.contains("gone.csv: not found"), "{e}");
        write(&dir.path().join("e/readme.txt"), b"");
        assert!(
            open_tables(&TableSpec::at(dir.path().join("e"))).unwrap_err().to_string().contains("train.csv")
        );
        write(&dir.path().join("a.csv"), b"text\nx\n");
        write(&dir.path().join("b.csv"), b"txt\nx\n");
        let paths = TablePaths::Several(vec![dir.path().join("a.csv"), dir.path().join("b.csv")]);
        let e = open_tables(&TableSpec { path: paths, ..TableSpec::at("") }).unwrap_err().to_string();
        assert!(e.contains("b.csv: no column `text` (did you mean `txt`?)"), "{e}");
    }
}
