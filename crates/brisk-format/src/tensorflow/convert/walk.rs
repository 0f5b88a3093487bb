//! From node to node, into the functions that they call.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use brisk_graph::{Data, Tensor as Numbers};
use brisk_onnx::{Constant, Elem};

use super::super::{TfAttribute, TfConstant, TfFunction, TfGraph, TfInput, TfNode, TfType};
use super::call::{Call, operator};
use super::elem;
use super::value::{Ints, Tensor, Value};
use super::variables::Variables;
use crate::onnx::emit::{Emitter, translatable};

/// How deep functions may call one another.
const DEEPEST: usize = 24;
/// The most whole numbers of a constant that are kept in mind.
const FEW: usize = 64;
/// The most bytes of texts that are left out of a constant.
const MOST_REPEATED: usize = 1 << 12;

/// A graph that is being translated.
pub(super) struct Walk<'m> {
    graph: &'m TfGraph,
    pub functions: &'m BTreeMap<String, TfFunction>,
    pub variables: Variables<'m>,
    pub emit: Emitter,
    /// Whether constants are weights, as in a frozen graph.
    pub frozen: bool,
    given: HashMap<String, String>,
    /// The nodes of functions that lead to their results, in order.
    orders: HashMap<&'m str, Rc<[&'m TfNode]>>,
    /// What constants have become, by the place of their node in memory: however often a function is called, they are written once.
    constants: HashMap<*const TfNode, Value>,
    parameters: HashMap<usize, Tensor>,
    depth: usize,
}

impl<'m> Walk<'m> {
    pub fn new(
        graph: &'m TfGraph,
        functions: &'m BTreeMap<String, TfFunction>,
        variables: Variables<'m>,
    ) -> Walk<'m> {
        Walk {
            graph,
            functions,
            variables,
            emit: Emitter::new([]),
            frozen: false,
            given: HashMap::new(),
            orders: HashMap::new(),
            constants: HashMap::new(),
            parameters: HashMap::new(),
            depth: 0,
        }
    }

    /// Says that a node of the outermost graph is an input of a name.
    pub fn given(&mut self, node: &str, name: &str) {
        self.given.insert(node.into(), name.into());
    }

    /// Translates what leads to values of the outermost graph.
    pub fn outermost(&mut self, wanted: &[&'m TfInput]) -> Result<Vec<Value>, String> {
        let graph = self.graph;
        let order = order(graph, wanted, &|name| self.given.contains_key(name))?;
        self.check(&order)?;
        let mut values: HashMap<&str, Vec<Value>> = HashMap::new();
        for node in &graph.nodes {
            if let Some(name) = self.given.get(&node.name) {
                values.insert(&node.name, vec![Value::of(name.clone())]);
            }
        }
        self.nodes(graph, &order, &mut values)?;
        wanted.iter().map(|input| read(graph, &values, input)).collect()
    }

    /// Translates a function for its arguments.
    pub fn function(&mut self, name: &str, arguments: Vec<Value>) -> Result<Vec<Value>, String> {
        let (name, function) = self.find(name)?;
        if arguments.len() != function.inputs.len() {
            let expected = function.inputs.len();
            return Err(format!("function {name:?} takes {expected} arguments, found {}", arguments.len()));
        }
        if self.depth >= DEEPEST {
            return Err(format!("functions call one another more than {DEEPEST} deep, at {name:?}"));
        }
        let order = match self.orders.get(name) {
            Some(order) => order.clone(),
            None => {
                let wanted: Vec<&TfInput> = function.outputs.iter().map(|o| &o.1).collect();
                let order: Rc<[_]> = order(&function.graph, &wanted, &|_| false)?.into();
                self.orders.insert(name, order.clone());
                order
            }
        };
        let names = function.inputs.iter().map(|(name, _)| name.as_str());
        let mut values: HashMap<&str, Vec<Value>> =
            names.zip(arguments).map(|(name, value)| (name, vec![value])).collect();
        self.emit.step(function.outputs.len())?;
        self.depth += 1;
        self.nodes(&function.graph, &order, &mut values).map_err(|m| format!("function {name:?}: {m}"))?;
        self.depth -= 1;
        function.outputs.iter().map(|(_, input)| read(&function.graph, &values, input)).collect()
    }

    /// A function of the model.
    pub fn find(&self, name: &str) -> Result<(&'m str, &'m TfFunction), String> {
        let found = self.functions.get_key_value(name);
        found.map(|(n, f)| (n.as_str(), f)).ok_or_else(|| format!("the model has no function {name:?}"))
    }

    fn nodes(
        &mut self,
        graph: &TfGraph,
        order: &[&'m TfNode],
        values: &mut HashMap<&'m str, Vec<Value>>,
    ) -> Result<(), String> {
        for &node in order {
            if values.contains_key(node.name.as_str()) {
                continue;
            }
            self.emit.step(1 + node.inputs.len())?;
            let within = |m: String| format!("node {:?} ({}): {m}", node.name, node.op);
            let inputs = node.inputs.iter().map(|i| read(graph, values, i)).collect::<Result<_, _>>();
            let made = inputs.and_then(|inputs| self.node(node, inputs)).map_err(within)?;
            values.insert(&node.name, made);
        }
        Ok(())
    }

    fn node(&mut self, node: &'m TfNode, inputs: Vec<Value>) -> Result<Vec<Value>, String> {
        match operator(&node.op) {
            Some(run) => run(&mut Call { node, inputs, walk: self }),
            // In old graphs a function is called as if it were an operator.
            None => self.function(&node.op, inputs),
        }
    }

    /// What a node with a constant is.
    pub fn constant(&mut self, node: &'m TfNode) -> Result<Value, String> {
        if let Some(value) = self.constants.get(&std::ptr::from_ref(node)) {
            return Ok(value.clone());
        }
        let constant = node.constant().ok_or("it has no tensor")?;
        let (constant, ints) = numbers(constant)?;
        let dims = constant.shape().to_vec().into();
        let name = self.emit.weights(&node.name, constant, self.frozen);
        let value = Value::Tensor(Tensor { name, ints, dims: Some(dims) });
        self.constants.insert(node, value.clone());
        Ok(value)
    }

    /// A variable as a parameter.
    pub fn parameter(&mut self, number: usize) -> Result<Value, String> {
        if let Some(known) = self.parameters.get(&number) {
            return Ok(Value::Tensor(known.clone()));
        }
        let variable = self.variables.get(number).ok_or("there is no such variable")?;
        let constant = of_type(variable.dtype, self.variables.tensor(variable)?)?;
        let trainable = self.variables.is_trainable(variable);
        let name = self.emit.variable(&variable.name, constant, trainable);
        let dims: Rc<[usize]> = variable.shape.clone().into();
        let tensor = Tensor { name, ints: None, dims: Some(dims) };
        self.parameters.insert(number, tensor.clone());
        Ok(Value::Tensor(tensor))
    }

    /// An error that lists all operators without a translation.
    fn check(&self, order: &[&'m TfNode]) -> Result<(), String> {
        let mut unknown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut open: Vec<&TfNode> = order.to_vec();
        while let Some(node) = open.pop() {
            let known = operator(&node.op).is_some() || self.functions.contains_key(&node.op);
            if !known {
                unknown.entry(&node.op).or_default().insert(&node.name);
            }
            let mut called: Vec<&str> = Vec::new();
            if self.functions.contains_key(&node.op) {
                called.push(&node.op);
            }
            for attribute in node.attributes.values() {
                match attribute {
                    TfAttribute::Function(name, _) => called.push(name),
                    TfAttribute::Functions(list) => called.extend(list.iter().map(|(n, _)| n.as_str())),
                    _ => {}
                }
            }
            for name in called {
                if let Some((name, function)) = self.functions.get_key_value(name)
                    && seen.insert(name)
                {
                    let wanted: Vec<&TfInput> = function.outputs.iter().map(|o| &o.1).collect();
                    let inner = self::order(&function.graph, &wanted, &|_| false);
                    open.extend(inner.map_err(|m| format!("function {name:?}: {m}"))?);
                }
            }
        }
        translatable("TensorFlow", unknown)
    }
}

/// A constant in ONNX, and its elements if they are a few whole numbers.
fn numbers(constant: &TfConstant) -> Result<(Constant, Option<Ints>), String> {
    if let Some(texts) = constant.texts() {
        let mut texts: Vec<String> = texts.iter().map(|t| String::from_utf8_lossy(t).into_owned()).collect();
        let elements: usize = constant.shape().iter().product();
        let last = texts.last().cloned().unwrap_or_default();
        // Where texts are left out, the last one stands for them, if that does not make much of little.
        let missing = elements.saturating_sub(texts.len());
        if missing > FEW || missing.saturating_mul(last.len()) > MOST_REPEATED {
            return Err(format!("a constant of {elements} texts leaves out all but {}", texts.len()));
        }
        texts.resize(elements, last);
        return Ok((Constant::Texts(constant.shape().into(), texts.into()), None));
    }
    let tensor = constant.tensor().map_err(|e| e.to_string())?;
    let constant = of_type(constant.dtype(), tensor)?;
    let ints = match &constant {
        Constant::Numbers(_, tensor) => match tensor.data() {
            Data::I64(v) if v.len() <= FEW => Some(v.iter().copied().map(Some).collect()),
            _ => None,
        },
        Constant::Texts(..) => None,
    };
    Ok((constant, ints))
}

/// Numbers as a constant of a type: whole ones are carried as i64.
fn of_type(dtype: TfType, tensor: Numbers) -> Result<Constant, String> {
    let elem = elem(dtype)?;
    let shape = tensor.shape().to_vec();
    let ints: Vec<i64> = match tensor.data() {
        Data::F32(_) | Data::F64(_) => return Ok(Constant::Numbers(elem, tensor)),
        Data::U8(_) if elem == Elem::Bool => return Ok(Constant::Numbers(elem, tensor)),
        Data::I64(v) => v.clone(),
        Data::I32(v) => v.iter().map(|&v| v.into()).collect(),
        Data::U8(v) => v.iter().map(|&v| v.into()).collect(),
    };
    Constant::ints(elem, shape, ints).map_err(|e| e.to_string())
}

/// The nodes that lead to values, each behind those that it reads; nothing leads to one that is given.
fn order<'m>(
    graph: &'m TfGraph,
    wanted: &[&TfInput],
    given: &dyn Fn(&str) -> bool,
) -> Result<Vec<&'m TfNode>, String> {
    let mut leading: HashSet<&str> = HashSet::new();
    let mut open: Vec<&TfNode> = wanted.iter().filter_map(|i| graph.node(&i.node)).collect();
    while let Some(node) = open.pop() {
        if !given(&node.name) && leading.insert(&node.name) {
            open.extend(node.inputs.iter().filter_map(|i| graph.node(&i.node)));
        }
    }
    let all = graph.order().ok_or(
        "its nodes read each other in a circle, as loops of TensorFlow 1 do; export it with TensorFlow 2, or with control flow v2",
    )?;
    Ok(all.into_iter().filter(|n| leading.contains(n.name.as_str())).collect())
}

/// A value that is read.
fn read(graph: &TfGraph, values: &HashMap<&str, Vec<Value>>, input: &TfInput) -> Result<Value, String> {
    let missing = || format!("there is no value {} of {:?}", input.index, input.node);
    let made = values.get(input.node.as_str()).ok_or_else(missing)?;
    let first = match (&input.output, graph.node(&input.node)) {
        (Some(output), Some(node)) => place(&node.op, output),
        _ => 0,
    };
    first.checked_add(input.index).and_then(|i| made.get(i)).cloned().ok_or_else(missing)
}

/// Where the results of a name begin among those of an operator; most have one name for all of them.
fn place(op: &str, output: &str) -> usize {
    match (op, output) {
        ("TopKV2" | "TopK", "indices") => 1,
        ("FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3", name) => {
            const NAMES: [&str; 6] = [
                "y",
                "batch_mean",
                "batch_variance",
                "reserve_space_1",
                "reserve_space_2",
                "reserve_space_3",
            ];
            NAMES.iter().position(|&n| n == name).unwrap_or(usize::MAX)
        }
        _ => 0,
    }
}
