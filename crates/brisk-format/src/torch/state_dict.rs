//! Which part of a checkpoint holds a model's weights.

use brisk_graph::{Shape, Tensor};

use super::{Stored, TorchFile};
use crate::error::listed;
use crate::{Error, Result};

/// What the part with the weights is usually called; the first that is there is it.
const USUAL: [&str; 8] =
    ["state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"];
/// What stands in the names of parts that hold no weights.
const OTHERS: [&str; 5] = ["optim", "sched", "scaler", "rng", "ema"];

/// The names and tensors of one model in a [`TorchFile`].
///
/// ```no_run
/// use brisk_format::TorchFile;
/// let file = TorchFile::open("checkpoint.pt".as_ref())?;
/// let weights = file.state_dict(Some("generator"))?;
/// for name in weights.names() {
///     println!("{name} {}", weights.shape(name).unwrap());
/// }
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Debug)]
pub struct StateDict<'a> {
    file: &'a TorchFile,
    key: &'a str,
    tensors: Vec<&'a Stored>,
}

impl<'a> StateDict<'a> {
    pub(super) fn new(file: &'a TorchFile, key: Option<&str>) -> Result<StateDict<'a>> {
        let all: Vec<&Stored> = file.tensors.iter().collect();
        let (key, tensors) = match key {
            None if file.is_script => ("", all),
            None => find(file, all)?,
            Some("") => ("", all),
            Some(key) => within(&all, key).ok_or_else(|| {
                let known = containers(&all, 1);
                Error::content(
                    file.path(),
                    format!("nothing with tensors is called {key:?} in it; there are: {}", listed(&known)),
                )
            })?,
        };
        Ok(StateDict { file, key, tensors })
    }

    /// The file.
    pub fn file(&self) -> &'a TorchFile {
        self.file
    }

    /// The name of the part of the file; empty if it is the whole.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The names of its tensors without the key, in their order in the file.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.tensors.iter().map(|t| self.own(t))
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&'a Shape> {
        self.file.shape(&self.full(name))
    }

    /// Reads a tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.file.tensor(&self.full(name))
    }

    /// Reads a tensor of floats as f32.
    pub(super) fn floats(&self, name: &str) -> Result<Tensor> {
        self.file.floats(&self.full(name))
    }

    fn full(&self, name: &str) -> String {
        if self.key.is_empty() { name.into() } else { format!("{}.{name}", self.key) }
    }

    fn own(&self, stored: &'a Stored) -> &'a str {
        let rest = stored.path.name.strip_prefix(self.key).unwrap_or(&stored.path.name);
        rest.strip_prefix('.').filter(|_| !self.key.is_empty()).unwrap_or(rest)
    }
}

/// The tensors under a key, and the key.
fn within<'a>(all: &[&'a Stored], key: &str) -> Option<(&'a str, Vec<&'a Stored>)> {
    let under = |t: &&Stored| t.path.name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    let tensors: Vec<&Stored> = all.iter().copied().filter(under).collect();
    let key = tensors.first()?.path.name.get(..key.len())?;
    Some((key, tensors))
}

/// The different containers that tensors stand in at a level, in order.
fn containers<'a>(all: &[&'a Stored], level: usize) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for name in all.iter().filter_map(|t| t.path.container(level)) {
        if found.last() != Some(&name) {
            found.push(name);
        }
    }
    found
}

/// Goes down, into what is usually called so and else until tensors stand where it is.
fn find<'a>(file: &'a TorchFile, all: Vec<&'a Stored>) -> Result<(&'a str, Vec<&'a Stored>)> {
    let (mut key, mut tensors, mut level) = ("", all, 0);
    if tensors.is_empty() {
        return Err(Error::content(
            file.path(),
            "there are no tensors in it; expected the weights of a model",
        ));
    }
    loop {
        let parts = containers(&tensors, level + 1);
        let last = |part: &str| part.get(key.len()..).unwrap_or(part).trim_start_matches('.').to_lowercase();
        let usual = USUAL.iter().find_map(|usual| parts.iter().copied().find(|part| last(part) == *usual));
        let direct = tensors.iter().any(|t| t.path.containers.len() == level);
        let weights: Vec<&str> = parts
            .iter()
            .copied()
            .filter(|part| !OTHERS.iter().any(|other| last(part).contains(other)))
            .collect();
        let part = match (usual, direct, &weights[..]) {
            (Some(part), ..) => part,
            (None, true, _) => return Ok((key, tensors)),
            (None, false, &[part]) => part,
            _ => {
                let parts = listed(&parts);
                let message =
                    format!("expected the weights of one model, found {parts}; say which of them is meant");
                return Err(Error::content(file.path(), message));
            }
        };
        level += 1;
        tensors.retain(|t| t.path.container(level) == Some(part));
        key = part;
    }
}
