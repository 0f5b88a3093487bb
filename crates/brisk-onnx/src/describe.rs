//! A model as a table: what each node makes.

use std::collections::{HashMap, HashSet};

use brisk_graph::{Builder, DType, Role, Shape, Tensor, Value};

use crate::call::Host;
use crate::{Dim, Elem, Error, Item, Model, Node, Parameter, Result, Type, Var, record};

/// What stands for sizes that a file leaves open while its shapes are found: a pair for each, to see which sizes follow from it.
const EXAMPLES: [[usize; 2]; 6] = [[2, 3], [64, 96], [32, 48], [16, 24], [10, 14], [7, 11]];

/// A node and what it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The node's name, or that of its first result.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// Its results, with their types and shapes: `float [n, 64, 56, 56]`; `?` for sizes that follow from several others.
    pub results: Vec<(String, Type)>,
    /// How many learned numbers it reads that no node before it reads.
    pub parameters: usize,
}

/// Every node of a model's graph, in order, with the shapes of what it makes.
///
/// ```
/// use brisk_onnx::{Model, describe};
/// let text = r#"{"opsets": {"": 13}, "graph": {
///     "inputs": [{"name": "x", "type": {"tensor": ["float", [{"name": "n"}, {"size": 3}]]}}],
///     "outputs": [{"name": "y", "type": "unknown"}],
///     "nodes": [{"op": "Transpose", "inputs": ["x"], "outputs": ["y"]}]}}"#;
/// let model: Model = serde_json::from_str(text)?;
/// assert_eq!(describe(&model)?[0].results[0].1.to_string(), "float [3, n]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn describe(model: &Model) -> Result<Vec<Row>> {
    // The sizes that are left open, with their numbers in order.
    let mut open: HashMap<String, usize> = HashMap::new();
    for port in &model.graph.inputs {
        if let Type::Tensor(_, Some(dims)) = &port.ty {
            for (axis, dim) in dims.iter().enumerate() {
                if let Some(name) = symbol(&port.name, axis, dim) {
                    let next = open.len();
                    open.entry(name).or_insert(next);
                }
            }
        }
    }
    let [one, other] = [0, 1].map(|which| trace(model, &open, which));
    let (one, other) = (one?, other?);
    let mut names = vec![""; open.len().min(EXAMPLES.len())];
    for (name, &number) in &open {
        if let Some(place) = names.get_mut(number) {
            *place = name;
        }
    }
    let mut read: HashSet<&str> = HashSet::new();
    let mut rows = Vec::new();
    for ((node, first), (_, second)) in one.into_iter().zip(other) {
        let mut parameters = 0;
        for input in &node.inputs {
            if let Some((name, parameter)) = model.graph.parameters.get_key_value(input)
                && read.insert(name)
            {
                parameters += Shape::from(&parameter.shape[..]).elements();
            }
        }
        let ty = |(a, b): (Made, Made)| match (a, b) {
            (Some((elem, a)), Some((_, b))) if a.rank() == b.rank() => {
                let dims = a.iter().zip(b.iter()).map(|(&a, &b)| size([a, b], &names)).collect();
                Type::Tensor(elem, Some(dims))
            }
            (Some((elem, _)), _) => Type::Tensor(elem, None),
            _ => Type::Unknown,
        };
        let types = first.into_iter().zip(second).map(ty);
        let results = node.outputs.iter().cloned().zip(types).filter(|r| !r.0.is_empty()).collect();
        let name = if node.name.is_empty() { node.outputs.first().cloned() } else { Some(node.name.clone()) };
        rows.push(Row { name: name.unwrap_or_default(), op: node.op.clone(), results, parameters });
    }
    Ok(rows)
}

/// What a size that is left open is called.
fn symbol(input: &str, axis: usize, dim: &Dim) -> Option<String> {
    match dim {
        Dim::Size(_) => None,
        Dim::Name(name) => Some(name.clone()),
        Dim::Unknown => Some(format!("{input}.{axis}")),
    }
}

/// A size by its values in two recordings.
fn size(pair: [usize; 2], names: &[&str]) -> Dim {
    if pair[0] == pair[1] {
        return Dim::Size(pair[0]);
    }
    let name = EXAMPLES.iter().zip(names).find(|(example, _)| **example == pair);
    name.map_or(Dim::Unknown, |(_, name)| Dim::Name(name.to_string()))
}

/// The type and shape of a result that is a tensor.
type Made = Option<(Elem, Shape)>;
type Traced = Vec<(Node, Vec<Made>)>;

fn trace(model: &Model, open: &HashMap<String, usize>, which: usize) -> Result<Traced> {
    let b = Builder::new();
    let mut items = Vec::new();
    let prefix = model.input_prefix();
    for (number, port) in model.graph.inputs.iter().enumerate() {
        let Type::Tensor(elem, Some(dims)) = &port.ty else {
            return Err(Error::Model(format!(
                "input {:?} is {}: its shape is not known before the model runs",
                port.name, port.ty
            )));
        };
        let length = |(axis, dim): (usize, &Dim)| match (dim, symbol(&port.name, axis, dim)) {
            (Dim::Size(n), _) => *n,
            (_, name) => {
                let place = name.and_then(|name| open.get(&name).copied()).unwrap_or(0);
                EXAMPLES[place.min(EXAMPLES.len() - 1)][which]
            }
        };
        let shape: Vec<usize> = dims.iter().enumerate().map(length).collect();
        let value = b.input(&format!("{prefix}{number}"), Role::Batch, shape, elem.dtype());
        items.push(Some(Var::new(*elem, value).into()));
    }
    let mut tracer = Tracer { b: &b, nodes: Vec::new() };
    record(model, &mut tracer, items)?;
    Ok(tracer.nodes)
}

struct Tracer<'g> {
    b: &'g Builder,
    nodes: Traced,
}

impl<'g> Host<'g> for Tracer<'g> {
    fn builder(&self) -> &'g Builder {
        self.b
    }

    fn parameter(&mut self, name: &str, parameter: &Parameter) -> Result<Value<'g>, String> {
        let known = self.b.find_input(name);
        Ok(known.unwrap_or_else(|| self.b.input(name, Role::State, &parameter.shape[..], DType::F32)))
    }

    fn look(&mut self, _: Value<'g>) -> Result<Option<Tensor>, String> {
        Ok(None)
    }

    fn random(&mut self, shape: &Shape) -> Result<Value<'g>, String> {
        Ok(self.b.fill(0.5, shape))
    }

    fn recorded(&mut self, node: &Node, results: &[Item<'g>]) {
        let kind = |item: &Item<'g>| match item {
            Item::Tensor(var) => Some((var.elem, var.shape())),
            Item::Texts(shape, _) => Some((Elem::String, shape.clone())),
            Item::Sequence(_) | Item::Nothing => None,
        };
        self.nodes.push((node.clone(), results.iter().map(kind).collect()));
    }
}
