//! The ONNX graph while it is written, and the values in it.

use std::collections::{HashMap, HashSet};

use brisk_graph::{DType, Data, Shape, Tensor};
use brisk_runtime::State;
use indexmap::IndexMap;

use super::size::Size;
use crate::{Attribute, Constant, Elem, Graph, Node, Parameter};

/// A value of Brisk's graph in ONNX's.
#[derive(Clone, Debug)]
pub(super) struct Val {
    pub body: Body,
    /// The sizes of its axes, in Brisk's order. There may be fewer than Brisk's value has, or ones in the place of sizes: what ONNX's
    /// operators stretch by themselves is not stretched before.
    pub dims: Vec<Size>,
    /// Truth values are numbers in Brisk.
    pub elem: Elem,
    /// The last axis stands second, as ONNX's operators on maps have it.
    pub turned: bool,
}

/// Where the elements of a value are.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// Computed under this name.
    Made(String),
    /// Known; it takes this name once it is used.
    Known(String, Tensor),
}

impl Val {
    pub fn made(name: impl Into<String>, dims: Vec<Size>, elem: Elem) -> Val {
        Val { body: Body::Made(name.into()), dims, elem, turned: false }
    }

    pub fn known(name: impl Into<String>, tensor: Tensor) -> Val {
        let dims = tensor.shape().iter().map(|&d| d.into()).collect();
        let elem = elem(tensor.dtype());
        Val { body: Body::Known(name.into(), tensor), dims, elem, turned: false }
    }

    pub fn tensor(&self) -> Option<&Tensor> {
        match &self.body {
            Body::Known(_, tensor) => Some(tensor),
            Body::Made(_) => None,
        }
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }
}

/// ONNX's name for an element type.
pub(super) fn elem(dtype: DType) -> Elem {
    match dtype {
        DType::F32 => Elem::Float,
        DType::F64 => Elem::Double,
        DType::I32 => Elem::Int32,
        DType::I64 => Elem::Int64,
        DType::U8 => Elem::Uint8,
    }
}

/// Where the size of a symbol is read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub value: String,
    pub axis: usize,
}

/// The graph so far.
#[derive(Default)]
pub(super) struct Emitter {
    pub graph: Graph,
    pub parameters: State,
    /// The lowest operator set that has all operators so far.
    pub opset: i64,
    /// Who asks for the nodes that are written.
    pub scope: String,
    /// For each symbol where its size is read.
    pub sources: Vec<Source>,
    names: HashSet<String>,
    /// For the name of each tensor of the state whether training changes it.
    state: HashMap<String, bool>,
    /// Nodes by what they compute, with their place.
    twins: HashMap<String, usize>,
}

/// What has an operator in ONNX's first version of it that Brisk writes.
pub(super) const OPSET: i64 = 20;

pub(super) type Attrs = Vec<(&'static str, Attribute)>;

pub(super) fn ints(values: impl IntoIterator<Item = usize>) -> Attribute {
    Attribute::Ints(values.into_iter().map(|v| v as i64).collect())
}

impl Emitter {
    /// With the name of each tensor of the state, and whether training changes it.
    pub fn new(state: HashMap<String, bool>) -> Emitter {
        Emitter { opset: OPSET, state, ..Emitter::default() }
    }

    /// Whether training changes what has this name: state, or something made of it, whose name begins with that of the state.
    pub fn learned(&self, name: &str) -> bool {
        let mut beginnings = std::iter::successors(Some(name), |n| Some(n.rsplit_once('/')?.0));
        beginnings.find_map(|n| self.state.get(n).copied()).unwrap_or(false)
    }

    /// The name, or one like it that nothing has.
    pub fn unique(&mut self, name: &str) -> String {
        let mut own = name.to_string();
        let mut number = 1;
        while !self.names.insert(own.clone()) {
            own = format!("{name}_{number}");
            number += 1;
        }
        own
    }

    /// A node with so many results; the one that computes the same already, if there is one.
    pub fn node(&mut self, op: &str, inputs: Vec<String>, attrs: Attrs, outputs: usize) -> Vec<String> {
        let key = format!("{op} {inputs:?} {attrs:?}");
        if let Some(&place) = self.twins.get(&key)
            && let Some(node) = self.graph.nodes.get(place)
            && node.outputs.len() == outputs
        {
            return node.outputs.clone();
        }
        let name = match self.scope.is_empty() {
            true => op.to_string(),
            false => format!("{}/{op}", self.scope),
        };
        let name = self.unique(&name);
        let outputs: Vec<String> = (0..outputs)
            .map(|i| if i == 0 { name.clone() } else { self.unique(&format!("{name}.{i}")) })
            .collect();
        self.twins.insert(key, self.graph.nodes.len());
        let attributes: IndexMap<String, Attribute> =
            attrs.into_iter().map(|(n, a)| (n.to_string(), a)).collect();
        let node =
            Node { op: op.into(), name, inputs, outputs: outputs.clone(), attributes, ..Node::default() };
        self.graph.nodes.push(node);
        outputs
    }

    /// A node with one result.
    pub fn one(&mut self, op: &str, inputs: Vec<String>, attrs: Attrs) -> String {
        self.node(op, inputs, attrs, 1).swap_remove(0)
    }

    /// The place of the node that makes a value, if that is all that it makes.
    pub fn maker(&self, name: &str) -> Option<usize> {
        self.graph.nodes.iter().rposition(|n| n.outputs == [name])
    }

    /// Gives a node one input more.
    pub fn add_input(&mut self, place: usize, input: String) {
        self.twins.retain(|_, at| *at != place);
        if let Some(node) = self.graph.nodes.get_mut(place) {
            node.inputs.push(input);
        }
    }

    /// The name under which an operator reads a value.
    pub fn name(&mut self, val: &Val) -> String {
        match &val.body {
            Body::Made(name) => name.clone(),
            Body::Known(name, tensor) => self.place(name, tensor),
        }
    }

    /// Puts a tensor among what the model brings, once. A name stands for one tensor.
    fn place(&mut self, name: &str, tensor: &Tensor) -> String {
        if self.graph.parameters.contains_key(name) || self.graph.constants.contains_key(name) {
            return name.into();
        }
        self.names.insert(name.into());
        let elem = elem(tensor.dtype());
        // As a model that is read has them: many floats stand beside the graph, as does what is learned.
        let trainable = self.learned(name);
        if elem == Elem::Float && (trainable || tensor.elements() > 1) {
            let shape = tensor.shape().to_vec();
            self.graph.parameters.insert(name.into(), Parameter { elem, shape, trainable });
            self.parameters.insert(name, tensor.clone());
        } else {
            self.graph.constants.insert(name.into(), Constant::Numbers(elem, tensor.clone()));
        }
        name.into()
    }

    /// One number.
    pub fn scalar(&mut self, value: f64, dtype: DType) -> Result<Val, String> {
        let tensor = Tensor::from_f64s(dtype, Shape::scalar(), &[value]).map_err(|e| e.to_string())?;
        Ok(Val::known(format!("{dtype}/{value}"), tensor))
    }

    /// The name of a list of whole numbers (i64).
    pub fn list(&mut self, values: impl IntoIterator<Item = i64>) -> Result<String, String> {
        let values: Vec<i64> = values.into_iter().collect();
        let text: Vec<_> = values.iter().map(i64::to_string).collect();
        let tensor = Tensor::new([values.len()], Data::from(values)).map_err(|e| e.to_string())?;
        Ok(self.place(&format!("ints/{}", text.join(",")), &tensor))
    }

    /// The name of a size when the model runs: i64 `[1]`.
    pub fn size(&mut self, size: &Size) -> Result<String, String> {
        if let Some(fixed) = size.fixed() {
            return self.list([fixed]);
        }
        let scope = std::mem::replace(&mut self.scope, "sizes".into());
        let mut sum: Option<String> = None;
        for (product, factor) in size.terms() {
            let mut term = if factor == 1 && !product.is_empty() { None } else { Some(self.list([factor])?) };
            for &symbol in product {
                let source = self.sources.get(symbol).cloned().ok_or("a size that nothing has")?;
                let range = vec![
                    ("start", Attribute::Int(source.axis as i64)),
                    ("end", Attribute::Int(source.axis as i64 + 1)),
                ];
                let own = self.one("Shape", vec![source.value], range);
                term = Some(match term {
                    Some(term) => self.one("Mul", vec![term, own], vec![]),
                    None => own,
                });
            }
            sum = match (sum, term) {
                (Some(a), Some(b)) => Some(self.one("Add", vec![a, b], vec![])),
                (a, b) => a.or(b),
            };
        }
        self.scope = scope;
        sum.ok_or_else(|| "a size of nothing".into())
    }

    /// The name of a size when the model runs, as one number (i64).
    pub fn scalar_size(&mut self, size: &Size) -> Result<String, String> {
        if let Some(fixed) = size.fixed() {
            let scalar = self.scalar(fixed as f64, DType::I64)?;
            return Ok(self.name(&scalar));
        }
        let (size, none) = (self.size(size)?, self.list([])?);
        let scope = std::mem::replace(&mut self.scope, "sizes".into());
        let scalar = self.one("Reshape", vec![size, none], vec![]);
        self.scope = scope;
        Ok(scalar)
    }

    /// The name of several sizes when the model runs: i64 `[count]`.
    pub fn sizes(&mut self, sizes: &[Size]) -> Result<String, String> {
        if let Some(fixed) = sizes.iter().map(Size::fixed).collect::<Option<Vec<_>>>() {
            return self.list(fixed);
        }
        let parts = sizes.iter().map(|s| self.size(s)).collect::<Result<Vec<_>, _>>()?;
        let scope = std::mem::replace(&mut self.scope, "sizes".into());
        let whole = self.one("Concat", parts, vec![("axis", Attribute::Int(0))]);
        self.scope = scope;
        Ok(whole)
    }

    /// Gives a value the name of an output: the node that makes it does, or one more does if it is made otherwise, or is an output already.
    pub fn call(&mut self, value: &str, name: &str) {
        let taken = self.graph.outputs.iter().any(|o| o.name == value);
        let makes =
            |n: &mut Node| n.outputs.iter_mut().find(|o| *o == value).map(|o| *o = name.into()).is_some();
        if taken || !self.graph.nodes.iter_mut().any(makes) {
            let outputs = vec![name.to_string()];
            let inputs = vec![value.to_string()];
            let own = self.unique(&format!("{name}/Identity"));
            self.graph.nodes.push(Node {
                op: "Identity".into(),
                name: own,
                inputs,
                outputs,
                ..Node::default()
            });
            return;
        }
        let read = self.graph.nodes.iter_mut().flat_map(|n| &mut n.inputs);
        let sources = self.sources.iter_mut().map(|s| &mut s.value);
        read.chain(sources).filter(|i| *i == value).for_each(|i| *i = name.into());
    }

    /// Removes what nobody reads.
    pub fn prune(&mut self) {
        let mut read: HashSet<String> = self.graph.outputs.iter().map(|p| p.name.clone()).collect();
        let nodes = std::mem::take(&mut self.graph.nodes);
        let mut kept = Vec::with_capacity(nodes.len());
        for node in nodes.into_iter().rev() {
            if node.outputs.iter().any(|o| read.contains(o)) {
                read.extend(node.inputs.iter().cloned());
                kept.push(node);
            }
        }
        kept.reverse();
        for node in &mut kept {
            // What comes last and is not read is left out.
            while node.outputs.len() > 1 && node.outputs.last().is_some_and(|o| !read.contains(o)) {
                node.outputs.pop();
            }
        }
        self.graph.nodes = kept;
        self.graph.constants.retain(|name, _| read.contains(name));
        self.graph.parameters.retain(|name, _| read.contains(name));
        let unread: Vec<String> =
            self.parameters.iter().map(|p| p.0.to_string()).filter(|n| !read.contains(n)).collect();
        unread.iter().for_each(|name| {
            self.parameters.remove(name);
        });
    }
}
