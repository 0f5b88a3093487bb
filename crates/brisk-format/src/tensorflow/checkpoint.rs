//! Checkpoints, and the names of what is in them.

use std::fs;
use std::path::{Path, PathBuf};

use brisk_graph::Tensor;
use brisk_runtime::State;

use super::bundle::Bundle;
use super::names::{Objects, variables};
use super::types::TfType;
use crate::tensors::Fault;
use crate::{Error, Result};

/// Where a checkpoint keeps what its objects are called.
const OBJECTS: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// A checkpoint of TensorFlow, or the variables of a SavedModel: its index is read, its tensors are read when they are asked for.
///
/// f16, bf16 and f64 become f32; i8, i16 and u16 become i32; u32 and u64 become i64; bool becomes u8. A value that does not fit is
/// an error. The checksum of each tensor is checked when it is read.
///
/// ```no_run
/// use brisk_format::TfCheckpoint;
/// let checkpoint = TfCheckpoint::open("saved_model".as_ref())?;
/// for variable in checkpoint.variables() {
///     println!("{} {} {:?}", variable.name, variable.dtype, variable.shape);
/// }
/// let state = checkpoint.load()?;
/// assert!(state.get("model/dense/kernel").is_some());
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Debug)]
pub struct TfCheckpoint {
    bundle: Bundle,
    variables: Vec<TfVariable>,
    pub(super) objects: Objects,
}

/// A variable in a checkpoint of TensorFlow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TfVariable {
    /// What its maker called it, such as `model/dense/kernel`. Where several variables have the same name, it is the path
    /// through the objects that hold it, such as `layers/0/kernel`; copies of a variable have such a path too. No two
    /// variables of a checkpoint have the same name.
    pub name: String,
    /// What the checkpoint calls it, such as `layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE`.
    pub key: String,
    /// Its element type in the file.
    pub dtype: TfType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// True if it belongs to an optimizer: a slot, a step counter, a learning rate.
    pub of_optimizer: bool,
}

impl TfCheckpoint {
    /// Opens a checkpoint: the folder of a SavedModel, a folder with one checkpoint or with a file `checkpoint` that says which
    /// is the latest, the path of an `.index` file, or that path without its ending.
    pub fn open(path: &Path) -> Result<TfCheckpoint> {
        let bundle = Bundle::open(&prefix(path)?)?;
        let objects = match bundle.entry(OBJECTS) {
            Some(_) => Objects::read(&bundle.text(OBJECTS)?)
                .map_err(|found| Fault::Unsound(found).malformed(&bundle.index, "TensorFlow checkpoint"))?,
            None => Objects::default(),
        };
        let variables = variables(&bundle, &objects);
        Ok(TfCheckpoint { bundle, variables, objects })
    }

    /// The path of its index.
    pub fn path(&self) -> &Path {
        &self.bundle.index
    }

    /// What it holds, in the order of keys. Texts, such as the configurations of layers, are left out.
    pub fn variables(&self) -> &[TfVariable] {
        &self.variables
    }

    /// Reads a variable by its key.
    pub fn tensor(&self, key: &str) -> Result<Tensor> {
        self.bundle.tensor(key)
    }

    /// Reads all variables by their names, without those of optimizers.
    pub fn load(&self) -> Result<State> {
        let of_model = self.variables.iter().filter(|v| !v.of_optimizer);
        of_model
            .map(|v| Ok((v.name.clone(), self.tensor(&v.key)?)))
            .collect::<Result<Vec<_>>>()
            .map(State::from_iter)
    }
}

/// The path of a checkpoint without the endings of its files.
fn prefix(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        let is_index = path.extension().is_some_and(|e| e == "index");
        return Ok(if is_index { path.with_extension("") } else { path.into() });
    }
    let saved_model = path.join("variables");
    let folder = if saved_model.is_dir() { &saved_model } else { path };
    if let Some(latest) = latest(&folder.join("checkpoint"))? {
        return Ok(folder.join(latest));
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::read(folder))? {
        let file = entry.map_err(Error::read(folder))?.path();
        if file.extension().is_some_and(|e| e == "index") {
            found.push(file.with_extension(""));
        }
    }
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        none_or_many => Err(Error::NotFound {
            path: folder.into(),
            expected: "a checkpoint of TensorFlow (NAME.index and NAME.data-00000-of-00001)",
            found: format!("{} files ending in .index are there", none_or_many.len()),
            hint: if found.is_empty() { String::new() } else { "give the path of one of them".into() },
        }),
    }
}

/// The name of the latest checkpoint, from the file that TensorFlow writes beside it. Only the last part of a path counts: the
/// folder may have been moved.
fn latest(path: &Path) -> Result<Option<PathBuf>> {
    /// Longer than any path.
    const MOST: u64 = 1 << 16;
    if !fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= MOST) {
        return Ok(None);
    }
    let text = fs::read(path).map_err(Error::read(path))?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|l| l.trim().strip_prefix("model_checkpoint_path:"));
    let name = line.and_then(|l| l.trim().strip_prefix('"')?.strip_suffix('"'));
    Ok(name.and_then(|n| Path::new(n).file_name()).map(PathBuf::from))
}
