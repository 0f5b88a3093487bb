//! A call of an operator, as the functions that record operators see it.

use std::sync::Arc;

use brisk_graph::{Builder, DType, Data, Shape, Tensor, Value};

use crate::record::{Body, Scope};
use crate::{Attribute, Elem, Item, Node, Parameter, Var};

/// Who a model is recorded for: gives it its parameters, and shows it numbers that it must see.
pub trait Host<'g> {
    /// The graph that is made.
    fn builder(&self) -> &'g Builder;

    /// A parameter of the model, as f32.
    fn parameter(&mut self, name: &str, parameter: &Parameter) -> Result<Value<'g>, String>;

    /// The elements of a value that are not known while the graph is made, because they follow from what comes in. `None` if they
    /// cannot be had.
    fn look(&mut self, value: Value<'g>) -> Result<Option<Tensor>, String>;

    /// Uniform random numbers in `[0, 1)`, f32.
    fn random(&mut self, shape: &Shape) -> Result<Value<'g>, String>;

    /// Whether the model is trained.
    fn training(&self) -> bool {
        false
    }

    /// Is told of every node of the outermost graph once it is recorded.
    fn recorded(&mut self, _node: &Node, _results: &[Item<'g>]) {}
}

/// A call of an operator.
pub struct Call<'a, 'g> {
    /// The node.
    pub node: &'a Node,
    /// The version of its operator set.
    pub opset: i64,
    /// What goes in; `None` for what is left out.
    pub inputs: Vec<Option<Item<'g>>>,
    /// Who it is recorded for.
    pub host: &'a mut dyn Host<'g>,
    /// The graph that is made.
    pub b: &'g Builder,
    /// The names around it, for graphs among its attributes.
    pub scope: &'a Scope<'a, 'g>,
}

impl<'a, 'g> Call<'a, 'g> {
    /// An operand.
    pub fn item(&self, i: usize) -> Result<&Item<'g>, String> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| format!("operand {i} is left out"))
    }

    /// Whether an operand is there.
    pub fn has(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// An operand that is a tensor of numbers.
    pub fn var(&self, i: usize) -> Result<Var<'g>, String> {
        match self.item(i)? {
            Item::Tensor(var) => Ok(var.clone()),
            Item::Texts(..) => Err(format!("operand {i}: expected numbers, found texts")),
            Item::Sequence(_) => Err(format!("operand {i}: expected a tensor, found a sequence")),
            Item::Nothing => Err(format!("operand {i}: expected a tensor, found an empty optional")),
        }
    }

    /// A tensor that the node can see, by its name.
    pub fn named(&self, name: &str) -> Result<Var<'g>, String> {
        match self.scope.find(name) {
            Some(Item::Tensor(var)) => Ok(var.clone()),
            _ => Err(format!("{name:?} is no tensor that is made before it")),
        }
    }

    /// An operand that may be left out.
    pub fn optional(&self, i: usize) -> Result<Option<Var<'g>>, String> {
        if self.has(i) { self.var(i).map(Some) } else { Ok(None) }
    }

    /// All operands.
    pub fn vars(&self) -> Result<Vec<Var<'g>>, String> {
        (0..self.inputs.len()).map(|i| self.var(i)).collect()
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&'a Attribute> {
        self.scope.attribute(self.node, name).map(|found| found.0)
    }

    /// A whole number.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Int(v)) => Ok(*v),
            Some(_) => Err(format!("attribute {name}: expected a whole number")),
        }
    }

    /// A truth value.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.int(name, default.into())? != 0)
    }

    /// A float.
    pub fn float(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Float(v)) => Ok((*v).into()),
            Some(_) => Err(format!("attribute {name}: expected a float")),
        }
    }

    /// A word.
    pub fn text(&self, name: &str, default: &'static str) -> Result<&'a str, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::String(v)) => Ok(v),
            Some(_) => Err(format!("attribute {name}: expected a text")),
        }
    }

    /// One of some words, of which the first is the default.
    pub fn word(&self, name: &str, words: &[&'static str]) -> Result<&'static str, String> {
        let found = self.text(name, words.first().copied().unwrap_or_default())?;
        let known = words.iter().find(|word| **word == found).copied();
        known.ok_or_else(|| format!("attribute {name}: expected {}, found {found:?}", words.join(" or ")))
    }

    /// Several whole numbers.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v.clone())),
            // An empty list has no type in the file.
            Some(Attribute::Floats(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(Attribute::Strings(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(_) => Err(format!("attribute {name}: expected whole numbers")),
        }
    }

    /// Several floats.
    pub fn float_list(&self, name: &str) -> Result<Option<Vec<f32>>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Floats(v)) => Ok(Some(v.clone())),
            Some(Attribute::Ints(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(_) => Err(format!("attribute {name}: expected floats")),
        }
    }

    /// Several words.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Strings(v)) => Ok(Some(v.clone())),
            Some(Attribute::Ints(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(_) => Err(format!("attribute {name}: expected texts")),
        }
    }

    /// Several sizes or positions, each at least 0.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let Some(values) = self.ints(name)? else { return Ok(None) };
        values
            .into_iter()
            .map(|v| usize::try_from(v).map_err(|_| format!("attribute {name}: expected sizes, found {v}")))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A graph.
    pub fn graph(&self, name: &str) -> Result<Body<'a>, String> {
        match self.scope.attribute(self.node, name) {
            Some((Attribute::Graph(graph), called)) => Ok(Body { graph, called }),
            _ => Err(format!("attribute {name}: expected a graph")),
        }
    }

    /// The element type that an attribute names by its number.
    pub fn elem(&self, name: &str, default: Elem) -> Result<Elem, String> {
        let code = self.int(name, default as i64)?;
        Elem::of_code(code)
            .ok_or_else(|| format!("attribute {name}: {code} is no element type that Brisk has"))
    }

    /// The elements of a value that must be seen to know what to do.
    pub fn look(&mut self, value: Value<'g>) -> Result<Tensor, String> {
        match value.constant() {
            Some(tensor) => Ok(tensor),
            None => self.try_look(value)?.ok_or_else(|| {
                "what it makes depends on numbers that are only known when the model runs; only `predict` and \
                 `bench` run such a model"
                    .into()
            }),
        }
    }

    /// The elements of a value, if they can be had.
    pub fn try_look(&mut self, value: Value<'g>) -> Result<Option<Tensor>, String> {
        self.scope.budget.look()?;
        self.host.look(value)
    }

    /// Takes so many steps of those that recording may take, for what is neither recorded nor kept.
    pub fn spend(&self, steps: usize) -> Result<(), String> {
        self.scope.budget.spend(steps)
    }

    /// Whether so many operations may still be recorded, before one call makes many.
    pub fn afford(&self, operations: usize) -> Result<(), String> {
        self.scope.budget.afford(operations)
    }

    /// Whether there is room for so many numbers, before they are made.
    pub fn room_for(&self, numbers: usize) -> Result<(), String> {
        self.scope.budget.room_for(numbers)
    }

    /// Whether there is room for so many texts, with so many bytes, before they are made.
    pub fn room_for_texts(&self, count: usize, bytes: usize) -> Result<(), String> {
        self.scope.budget.room_for_texts(count, bytes)
    }

    /// The whole numbers of an operand that must be seen.
    pub fn known_ints(&mut self, i: usize) -> Result<Vec<i64>, String> {
        let value = self.var(i)?.value();
        let tensor = self.look(value)?;
        Ok(match tensor.data() {
            Data::I64(v) => v.clone(),
            _ => tensor.to_f64s().into_iter().map(|v| v as i64).collect(),
        })
    }

    /// The floats of an operand that must be seen.
    pub fn known_floats(&mut self, i: usize) -> Result<Vec<f64>, String> {
        let value = self.var(i)?.value();
        Ok(self.look(value)?.to_f64s())
    }

    /// Whole numbers that stand in an attribute in old versions, and in an operand in newer ones.
    pub fn ints_at(&mut self, name: &str, operand: usize) -> Result<Option<Vec<i64>>, String> {
        match self.ints(name)? {
            Some(values) => Ok(Some(values)),
            None if self.has(operand) => self.known_ints(operand).map(Some),
            None => Ok(None),
        }
    }

    /// A constant that was made here. It takes of the room that there is for all of them.
    pub fn constant(&self, tensor: brisk_graph::Result<Tensor>) -> Result<Value<'g>, String> {
        let tensor = tensor.map_err(|e| e.to_string())?;
        self.scope.budget.take(tensor.elements())?;
        Ok(self.b.constant(tensor))
    }

    /// A constant of whole numbers.
    pub fn make_ints(&self, shape: impl Into<Shape>, values: Vec<i64>) -> Result<Var<'g>, String> {
        Ok(Var::new(Elem::Int64, self.constant(Tensor::new(shape, values))?))
    }

    /// A constant of floats.
    pub fn make_floats(&self, shape: impl Into<Shape>, values: Vec<f32>) -> Result<Value<'g>, String> {
        self.constant(Tensor::new(shape, values))
    }

    /// Texts that were made here. They take of the same room.
    pub fn make_texts(&self, shape: impl Into<Shape>, texts: Vec<String>) -> Result<Item<'g>, String> {
        let shape = shape.into();
        if shape.elements() != texts.len() {
            return Err(format!("{} texts do not make up {shape}", texts.len()));
        }
        self.scope.budget.take_texts(&texts)?;
        Ok(Item::Texts(shape, Arc::new(texts)))
    }
}

/// A size or position: at least 0, and so small that two of them can be multiplied.
pub fn size(value: i64) -> Result<usize, String> {
    let fits = i32::try_from(value).ok().and_then(|v| usize::try_from(v).ok());
    fits.ok_or_else(|| format!("{value} is no size"))
}

/// Several of them.
pub fn sizes(values: Vec<i64>) -> Result<Vec<usize>, String> {
    values.into_iter().map(size).collect()
}

/// An axis that may be counted from the end.
pub fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_front) {
        Ok(a) if a < rank => Ok(a),
        _ => Err(format!("axis {axis} is outside of {rank} axes")),
    }
}

/// Several axes, in order, each once.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut found = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The common type of arithmetic on carried values.
pub fn widest(a: DType, b: DType) -> DType {
    let rank = |d: DType| match d {
        DType::F64 => 4,
        DType::F32 => 3,
        DType::I64 => 2,
        DType::I32 => 1,
        DType::U8 => 0,
    };
    if rank(a) >= rank(b) { a } else { b }
}
