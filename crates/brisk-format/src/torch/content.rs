//! From the values of a pickle to tensors and plain values by name.

use std::collections::HashSet;

use super::pickle::{Global, Id, Parsed, Value, Values, View, unsound};
use crate::budget::Budget;
use crate::error::quoted;
use crate::tensors::Fault;

/// The deepest nesting of containers.
const DEEPEST: usize = 64;
/// How many bytes the values of all containers may take with their names, as one may stand in several: for each byte of the pickle, beyond
/// that, and at most.
const BYTES: u64 = 64;
const MORE_BYTES: u64 = 16 << 20;
const MOST_BYTES: u64 = 128 << 20;
/// What a value counts beside its name.
const VALUE: usize = 16;

/// A plain value beside the tensors of a checkpoint.
///
/// ```
/// use brisk_format::TorchValue;
/// assert_eq!(TorchValue::Int(3), TorchValue::Int(3));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum TorchValue {
    /// Python's `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number.
    Float(f64),
    /// A text, or the name of an element type such as `torch.float32`.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Where a value stands: the keys on the way to it, joined by dots.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    pub name: String,
    /// Where the keys of the containers end in the name.
    pub containers: Vec<usize>,
}

impl Path {
    /// The name of its container, with `levels` keys.
    pub fn container(&self, levels: usize) -> Option<&str> {
        match levels.checked_sub(1) {
            None => Some(""),
            Some(last) => self.name.get(..*self.containers.get(last)?),
        }
    }

    fn join(&self, key: &str) -> Path {
        let mut next = self.clone();
        if !next.containers.is_empty() || !next.name.is_empty() {
            next.containers.push(next.name.len());
            next.name.push('.');
        }
        next.name.push_str(key);
        next
    }
}

/// Everything in a pickle that is no container.
pub(super) struct Content {
    pub tensors: Vec<(Path, View)>,
    pub values: Vec<(String, TorchValue)>,
    /// The whole is an object of TorchScript.
    pub is_script: bool,
}

/// Walks through all containers of a pickle that is no longer than so many bytes, in order.
pub(super) fn content(values: &Values, root: Id, length: u64) -> Parsed<Content> {
    let is_script = matches!(values.get(root), Value::Object(_));
    let most = length.saturating_mul(BYTES).saturating_add(MORE_BYTES).min(MOST_BYTES);
    let mut walk = Walk { next: vec![(root, Path::default())], budget: Budget::new(most) };
    let mut content = Content { tensors: Vec::new(), values: Vec::new(), is_script };
    let mut names = HashSet::new();
    while let Some((id, path)) = walk.next.pop() {
        match values.get(id) {
            Value::Dict(pairs) => {
                walk.enter(&path, pairs.iter().copied(), |i, key| key_name(values, key, i))?
            }
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                walk.enter(&path, items.iter().map(|&item| (item, item)), |i, _| i.to_string())?;
            }
            // The attributes of an object stand in its own place.
            &Value::Object(Some(attributes)) => {
                walk.spend(VALUE)?;
                walk.next.push((attributes, path));
            }
            Value::Tensor(view) => {
                walk.spend(path.name.len() + 16 * view.shape.len())?;
                claim(&mut names, &path)?;
                content.tensors.push((path, View::clone(view)));
            }
            plain => {
                if let Some(value) = plain_value(plain, |bytes| walk.spend(bytes))? {
                    walk.spend(path.name.len())?;
                    claim(&mut names, &path)?;
                    content.values.push((path.name, value));
                }
            }
        }
    }
    Ok(content)
}

/// What is still to be visited, and how much has been.
struct Walk {
    next: Vec<(Id, Path)>,
    budget: Budget,
}

impl Walk {
    /// Puts what is in a container before all others.
    fn enter(
        &mut self,
        path: &Path,
        items: impl ExactSizeIterator<Item = (Id, Id)>,
        name: impl Fn(usize, Id) -> String,
    ) -> Parsed<()> {
        if path.containers.len() > DEEPEST {
            return unsound(format!(
                "{} is nested in more than {DEEPEST} containers; save the state dict alone",
                quoted(&path.name)
            ));
        }
        let before = self.next.len();
        for (i, (key, item)) in items.enumerate() {
            let key = name(i, key);
            self.spend(VALUE + path.name.len() + key.len() + 8 * path.containers.len())?;
            self.next.push((item, path.join(&key)));
        }
        if let Some(added) = self.next.get_mut(before..) {
            added.reverse();
        }
        Ok(())
    }

    /// Counts what is kept.
    fn spend(&mut self, bytes: usize) -> Parsed<()> {
        self.budget.take(bytes).map_err(|most| {
            Fault::Unsound(format!(
                "its containers hold one another so often that their values take more than {most} bytes with names and texts; save the \
                 state dict alone"
            ))
        })
    }
}

/// An error if something of this name was there before.
fn claim(names: &mut HashSet<String>, path: &Path) -> Parsed<()> {
    match names.insert(path.name.clone()) {
        true => Ok(()),
        false => {
            unsound(format!("two of its values are called {}; save the state dict alone", quoted(&path.name)))
        }
    }
}

/// What the key of a dictionary is called; one that is no name, by its place.
fn key_name(values: &Values, key: Id, place: usize) -> String {
    match values.get(key) {
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        _ => format!("#{place}"),
    }
}

/// A plain value; `spend` counts the bytes that it takes.
fn plain_value(value: &Value, spend: impl FnOnce(usize) -> Parsed<()>) -> Parsed<Option<TorchValue>> {
    Ok(Some(match value {
        Value::None => TorchValue::None,
        &Value::Bool(b) => TorchValue::Bool(b),
        &Value::Int(n) => TorchValue::Int(n),
        &Value::Float(x) => TorchValue::Float(x),
        Value::Text(text) => {
            spend(text.len())?;
            TorchValue::Text(text.to_string())
        }
        Value::Bytes(bytes) => {
            spend(bytes.len())?;
            TorchValue::Bytes(bytes.to_vec())
        }
        Value::Global(Global::Type(element)) => TorchValue::Text(format!("torch.{}", element.name())),
        _ => return Ok(None),
    }))
}
