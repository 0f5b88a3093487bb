//! Values while a graph is translated.

use std::rc::Rc;

/// What a value of a graph of TensorFlow has become.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A tensor, or a list of tensors.
    Tensor(Tensor),
    /// A variable, by its number among those that are known.
    Variable(usize),
}

/// Whole numbers in a row; `None` for one that is not known.
pub(super) type Ints = Rc<[Option<i64>]>;

/// A tensor, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// Its name in ONNX's graph.
    pub name: String,
    /// Its elements, if they are a few whole numbers.
    pub ints: Option<Ints>,
    /// Its shape.
    pub dims: Option<Rc<[usize]>>,
}

impl Value {
    /// A tensor of which nothing is known.
    pub fn of(name: String) -> Value {
        Value::Tensor(Tensor { name, ints: None, dims: None })
    }

    /// The name of a tensor.
    pub fn name(&self) -> Result<&str, String> {
        self.tensor().map(|t| t.name.as_str())
    }

    /// A tensor, with what is known of it.
    pub fn tensor(&self) -> Result<&Tensor, String> {
        match self {
            Value::Tensor(tensor) => Ok(tensor),
            Value::Variable(_) => Err("expected a tensor, found a variable that was not read".into()),
        }
    }
}

impl Tensor {
    /// All elements.
    pub fn known(&self) -> Option<Vec<i64>> {
        self.ints.as_ref()?.iter().copied().collect()
    }
}
