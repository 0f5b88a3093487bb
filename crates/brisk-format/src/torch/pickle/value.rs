//! What a pickle builds: values in one list, which refer to each other by number, so that nothing that walks or frees them recurses.

use super::global::Global;
use super::source::Parsed;
use crate::budget::Budget;
use crate::elements::Element;
use crate::tensors::Fault;

/// The most values of one pickle. A checkpoint has some tens for a tensor.
const MOST_VALUES: u64 = 1 << 22;
/// The most values for each byte of a pickle, and beyond that: what is short builds little, however often it repeats it.
const VALUES: u64 = 4;
const MORE_VALUES: u64 = 1 << 16;

/// The most axes of a tensor, as in PyTorch.
pub(super) const MOST_AXES: usize = 64;

/// The number of a value.
pub(in crate::torch) type Id = u32;

/// A value, as far as tensors and containers need it.
#[derive(Clone, Debug)]
pub(in crate::torch) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Sets too are lists of what is in them.
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An object of TorchScript: its attributes, once they are known.
    Object(Option<Id>),
    Global(Global),
    /// A storage of the list, and the element at which a view of it begins.
    Storage(Element, u32, usize),
    Tensor(Box<View>),
    /// NumPy's element type, and whether its bytes are the other way round.
    NumpyType(Element, bool),
    /// NumPy's array that has no content yet.
    NumpyArray,
}

/// Where the elements of a tensor lie.
#[derive(Clone, Debug)]
pub(in crate::torch) struct View {
    /// The number of its storage.
    pub storage: u32,
    pub element: Element,
    /// The first element.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// Elements between neighbours along each axis; 0 where one element stands for all.
    pub strides: Vec<usize>,
}

impl View {
    /// A view of a whole storage, row by row.
    pub fn rows(storage: u32, element: Element, shape: Vec<usize>) -> View {
        let mut strides = vec![1usize; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i].saturating_mul(shape[i].max(1));
        }
        View { storage, element, offset: 0, shape, strides }
    }
}

/// A storage that tensors are views of.
#[derive(Debug)]
pub(in crate::torch) struct Storage {
    /// Its name in the file.
    pub key: String,
    /// How many bytes the pickle says that it has, and of which elements.
    pub bytes: u64,
    pub element: Element,
    /// Bytes that stand in the pickle itself, as those of NumPy's arrays do, and whether they are the other way round.
    pub own: Option<(Box<[u8]>, bool)>,
}

/// All values of a pickle.
#[derive(Debug)]
pub(in crate::torch) struct Values {
    all: Vec<Value>,
    budget: Budget,
}

impl Values {
    /// Of a pickle that is no longer than so many bytes.
    pub fn new(length: u64) -> Values {
        let most = length.saturating_mul(VALUES).saturating_add(MORE_VALUES).min(MOST_VALUES);
        Values { all: Vec::new(), budget: Budget::new(most) }
    }

    /// Adds a value.
    pub fn add(&mut self, value: Value) -> Parsed<Id> {
        self.charge(1)?;
        self.all.push(value);
        Ok(self.all.len() as Id - 1)
    }

    /// Counts what takes as much memory as so many values.
    pub fn charge(&mut self, values: usize) -> Parsed<()> {
        self.budget.take(values).map_err(|most| {
            Fault::Unsound(format!("it builds more than {most} values; save tensors, not lists of numbers"))
        })
    }

    pub fn get(&self, id: Id) -> &Value {
        self.all.get(id as usize).unwrap_or(&Value::None)
    }

    /// Changes a value.
    pub fn get_mut(&mut self, id: Id) -> Parsed<&mut Value> {
        self.all
            .get_mut(id as usize)
            .ok_or_else(|| Fault::Unsound("it names a value that is not there".into()))
    }

    /// The parts of a tuple or list.
    pub fn parts(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(parts) | Value::List(parts) => Some(parts),
            _ => None,
        }
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn size(&self, id: Id) -> Option<usize> {
        match *self.get(id) {
            Value::Int(n) => usize::try_from(n).ok(),
            _ => None,
        }
    }

    /// A tuple of sizes or strides.
    pub fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let parts = self.parts(id).filter(|parts| parts.len() <= MOST_AXES)?;
        parts.iter().map(|&part| self.size(part)).collect()
    }
}
