//! `model.safetensors` or `pytorch_model.bin`, or several files and the index that says which tensor is where.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use brisk_graph::{Shape, Tensor};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::weights::Weights;
use crate::error::listed;
use crate::hashed::read_whole;
use crate::{Error, Result};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const TORCH_SINGLE: &str = "pytorch_model.bin";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";

/// The tensors of a folder, in one file or in several.
#[derive(Debug)]
pub(super) struct Shards {
    /// The file that speaks for all, for messages.
    path: PathBuf,
    files: Vec<Weights>,
    /// Which file a tensor is in.
    place: HashMap<String, usize>,
}

impl Shards {
    pub fn open(folder: &Path) -> Result<Shards> {
        for (single, index) in [(SINGLE, INDEX), (TORCH_SINGLE, TORCH_INDEX)] {
            let (single, index) = (folder.join(single), folder.join(index));
            if single.exists() {
                return Shards::new(single.clone(), vec![Weights::open(&single)?]);
            }
            if index.exists() {
                return Shards::of_index(folder, index);
            }
        }
        let other = ["tf_model.h5", "flax_model.msgpack"].iter().any(|n| folder.join(n).exists());
        let hint = match other {
            true => "load it with `transformers` as a PyTorch model and save it again with save_pretrained",
            false => "",
        };
        Err(Error::NotFound {
            path: folder.into(),
            expected: "model.safetensors or pytorch_model.bin, or an index of either with the files that it names",
            found: "there are no tensors in this folder".into(),
            hint: hint.into(),
        })
    }

    fn of_index(folder: &Path, path: PathBuf) -> Result<Shards> {
        let (bytes, _) = read_whole(&path, "an index of tensors")?;
        let index = path.file_name().unwrap_or_default().display();
        let content = |message: String| Error::content(&path, message);
        let Index(map) = serde_json::from_slice(&bytes).map_err(|e| content(e.to_string()))?;
        let names: BTreeSet<&str> = map.iter().map(|(_, file)| file.as_str()).collect();
        let mut files = Vec::with_capacity(names.len());
        for name in &names {
            if Path::new(name).file_name().is_none_or(|n| n != *name) || name.contains(['/', '\\']) {
                return Err(content(format!("expected the name of a file in this folder, found {name:?}")));
            }
            files.push(Weights::open(&folder.join(name)).map_err(|error| match error {
                Error::NotFound { path: shard, expected, found, .. } => Error::NotFound {
                    path: shard,
                    expected,
                    found,
                    hint: format!("{index} says that tensors are there: download it again"),
                },
                other => other,
            })?);
        }
        let numbers: HashMap<&str, usize> = names.into_iter().enumerate().map(|(i, n)| (n, i)).collect();
        let lacks = |(name, file): &&(String, String)| {
            let shard = numbers.get(file.as_str()).and_then(|&i| files.get(i));
            shard.is_none_or(|s| s.shape(name).is_none())
        };
        let missing: Vec<String> = map.iter().filter(lacks).map(|(n, f)| format!("{n:?} in {f}")).collect();
        if !missing.is_empty() {
            return Err(content(format!(
                "it names tensors that are not there: {}; download the folder again",
                listed(&missing)
            )));
        }
        Shards::new(path.clone(), files)
    }

    fn new(path: PathBuf, files: Vec<Weights>) -> Result<Shards> {
        let mut place = HashMap::new();
        for (i, file) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(other) = place.insert(name.to_string(), i) {
                    let other = files.get(other).map_or(path.as_path(), Weights::path);
                    let message =
                        format!("tensor {name:?} is in {} too; remove one of them", other.display());
                    return Err(Error::content(file.path(), message));
                }
            }
        }
        Ok(Shards { path, files, place })
    }

    /// The file that speaks for all.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All names, sorted.
    pub fn names(&self) -> BTreeSet<&str> {
        self.place.keys().map(String::as_str).collect()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.file(name)?.shape(name)
    }

    pub fn dtype(&self, name: &str) -> Option<String> {
        self.file(name)?.dtype(name)
    }

    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.file(name) {
            Some(file) => file.tensor(name),
            None => Err(Error::content(&self.path, format!("there is no tensor {name:?}"))),
        }
    }

    fn file(&self, name: &str) -> Option<&Weights> {
        self.place.get(name).and_then(|&i| self.files.get(i))
    }
}

/// The pairs of `weight_map`.
struct Index(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Index, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a weight_map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "weight_map" {
                        map.next_value::<IgnoredAny>()?;
                    } else if found.replace(map.next_value::<Pairs>()?).is_some() {
                        return Err(A::Error::custom("there are two weight_maps"));
                    }
                }
                found.map(|Pairs(p)| Index(p)).ok_or_else(|| A::Error::missing_field("weight_map"))
            }
        }
        deserializer.deserialize_map(Top)
    }
}

/// Names and files; a name that comes twice is an error.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from the names of tensors to the files that they are in")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let (mut seen, mut pairs) = (HashSet::new(), Vec::new());
                while let Some((name, file)) = map.next_entry::<String, String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!(
                            "tensor {name:?} stands twice in the weight_map"
                        )));
                    }
                    pairs.push((name, file));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Names)
    }
}
