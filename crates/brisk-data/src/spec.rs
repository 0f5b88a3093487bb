//! Where data comes from, as a configuration says it.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A data source: a known name, a path, or a path with details.
///
/// ```
/// use brisk_data::{Kind, SourceSpec};
/// let spec: SourceSpec = serde_json::from_str(r#""cifar10""#)?;
/// assert_eq!(spec, SourceSpec::from("cifar10"));
/// let spec: SourceSpec = serde_json::from_str(r#"{"kind": "csv", "path": "photos.csv"}"#)?;
/// assert!(matches!(&spec, SourceSpec::Files(f) if f.kind == Some(Kind::Csv)));
/// assert_eq!(spec.to_string(), "photos.csv");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SourceSpec {
    /// The name of a known data set (see [`known`](crate::known)), or a path whose kind is detected.
    Name(String),
    /// A path with details.
    Files(FileSpec),
}

/// A path with details.
///
/// ```
/// use brisk_data::{FileSpec, Kind};
/// let spec = FileSpec { kind: Some(Kind::Folder), ..FileSpec::at("photos") };
/// assert_eq!(spec.path.to_str(), Some("photos"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// The kind of data; detected if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The folder, or for CSV the file.
    pub path: PathBuf,
    /// Another path of the same kind, whose samples are the test part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// The classes, in the order of their numbers; found in the data if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// CSV: the column of image paths (default `path`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_column: Option<String>,
    /// CSV: the column of labels (default `label`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// CSV: the column that says `train`, `val` or `test` (default `split`, if there is one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_column: Option<String>,
    /// CIFAR-100: use the 20 coarse classes instead of the 100 fine ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub coarse: bool,
}

/// A kind of data source.
///
/// ```
/// assert_eq!(serde_json::to_string(&brisk_data::Kind::Cifar10).unwrap(), r#""cifar10""#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A folder for each class, or `train/`, `test/`, `val/` with a folder for each class.
    Folder,
    /// A CSV file of image paths and labels.
    Csv,
    /// IDX files, plain or gz, as of the MNIST family.
    Idx,
    /// CIFAR-10, binary version.
    Cifar10,
    /// CIFAR-100, binary version.
    Cifar100,
}

impl FileSpec {
    /// A path, with everything else detected.
    pub fn at(path: impl Into<PathBuf>) -> FileSpec {
        FileSpec { path: path.into(), ..FileSpec::default() }
    }
}

impl Default for SourceSpec {
    fn default() -> SourceSpec {
        SourceSpec::Name("fashion-mnist-sample".into())
    }
}

impl From<&str> for SourceSpec {
    fn from(name: &str) -> SourceSpec {
        SourceSpec::Name(name.into())
    }
}

impl From<&Path> for SourceSpec {
    fn from(path: &Path) -> SourceSpec {
        SourceSpec::Files(FileSpec::at(path))
    }
}

impl From<FileSpec> for SourceSpec {
    fn from(spec: FileSpec) -> SourceSpec {
        SourceSpec::Files(spec)
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSpec::Name(name) => f.write_str(name),
            SourceSpec::Files(spec) => write!(f, "{}", spec.path.display()),
        }
    }
}

/// By hand, because an untagged enum cannot say which key is wrong.
impl<'de> Deserialize<'de> for SourceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SourceSpec, D::Error> {
        struct NameOrFiles;
        impl<'de> Visitor<'de> for NameOrFiles {
            type Value = SourceSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a data set, a path, or `{kind: ..., path: ...}`")
            }

            fn visit_str<E>(self, name: &str) -> Result<SourceSpec, E> {
                Ok(SourceSpec::from(name))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SourceSpec, A::Error> {
                FileSpec::deserialize(MapAccessDeserializer::new(map)).map(SourceSpec::Files)
            }
        }
        deserializer.deserialize_any(NameOrFiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let specs = [
            SourceSpec::from("mnist"),
            FileSpec { kind: Some(Kind::Cifar100), coarse: true, ..FileSpec::at("x") }.into(),
        ];
        for spec in specs {
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<SourceSpec>(&text).unwrap(), spec, "{text}");
        }
    }

    #[test]
    fn names_the_wrong_key() {
        let error = serde_json::from_str::<SourceSpec>(r#"{"path": "x", "knid": "csv"}"#).unwrap_err();
        assert!(error.to_string().contains("knid"), "{error}");
        let error = serde_json::from_str::<SourceSpec>("3").unwrap_err();
        assert!(error.to_string().contains("name of a data set"), "{error}");
    }
}
