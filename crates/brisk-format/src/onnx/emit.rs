//! Making a graph in ONNX's vocabulary, node by node.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use brisk_graph::Tensor;
use brisk_onnx::{Attribute, Constant, Elem, Graph, Model, Node, Port, Type, Unknown};
use brisk_runtime::State;

use super::OnnxFile;
use super::read::{Learned, add};
use crate::budget::Budget;

/// The version of ONNX's operators that is written.
const OPSET: i64 = 21;
/// The most steps that a translation may take: each node, and each value that it reads or makes, is one.
pub(crate) const MOST_STEPS: u64 = 1 << 20;
/// The longest name, in bytes.
pub(crate) const LONGEST: usize = 200;

/// A graph that is being made. Names are made unique.
pub(crate) struct Emitter {
    graph: Graph,
    parameters: State,
    /// The nodes of the graphs that are being made, the outermost first.
    open: Vec<Vec<Node>>,
    names: HashSet<String>,
    /// How often a name has been asked for.
    asked: HashMap<String, usize>,
    ints: HashMap<(Vec<usize>, Vec<i64>), String>,
    ones: HashMap<Vec<usize>, String>,
    steps: Budget,
}

impl Emitter {
    /// Without nodes; the names are kept for inputs and outputs.
    pub fn new(kept: impl IntoIterator<Item = String>) -> Emitter {
        Emitter {
            graph: Graph::default(),
            parameters: State::new(),
            open: vec![Vec::new()],
            names: kept.into_iter().collect(),
            asked: HashMap::new(),
            ints: HashMap::new(),
            ones: HashMap::new(),
            steps: Budget::new(MOST_STEPS),
        }
    }

    /// Keeps names for inputs and outputs.
    pub fn keep<'n>(&mut self, names: impl IntoIterator<Item = &'n String>) {
        self.names.extend(names.into_iter().cloned());
    }

    /// Counts steps of the translation, which are bounded however often functions are called.
    pub fn step(&mut self, count: usize) -> Result<(), String> {
        self.steps.take(count).map_err(|most| {
            format!("with its functions written out the graph takes more than {most} steps to translate; export a smaller part of it")
        })
    }

    /// A name like this one that no other value has.
    pub fn unique(&mut self, like: &str) -> String {
        let mut end = like.len().min(LONGEST);
        while !like.is_char_boundary(end) {
            end -= 1;
        }
        let like = like.get(..end).filter(|l| !l.is_empty()).unwrap_or("value");
        if self.names.insert(like.into()) {
            return like.into();
        }
        let asked = self.asked.entry(like.into()).or_default();
        loop {
            *asked += 1;
            let name = format!("{like}_{asked}");
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Adds a call of an operator; gives the names of its results.
    pub fn call(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
        outputs: usize,
    ) -> Result<Vec<String>, String> {
        self.step(1 + inputs.len() + outputs)?;
        let outputs: Vec<String> = (0..outputs).map(|_| self.unique(name)).collect();
        self.push(op, inputs, attributes, outputs.clone());
        Ok(outputs)
    }

    /// Adds a call of an operator with one result; gives its name.
    pub fn one(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> Result<String, String> {
        self.call(name, op, inputs, attributes, 1)?.pop().ok_or_else(|| "it has no result".into())
    }

    /// Gives a value another name, one that was kept.
    pub fn alias(&mut self, value: &str, name: &str) {
        self.push("Identity", &[value], Vec::new(), vec![name.into()]);
    }

    fn push(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attribute)>, outputs: Vec<String>) {
        let node = Node {
            op: op.into(),
            name: outputs.first().cloned().unwrap_or_default(),
            inputs: inputs.iter().map(|i| i.to_string()).collect(),
            outputs,
            attributes: attributes.into_iter().map(|(n, a)| (n.into(), a)).collect(),
            ..Node::default()
        };
        if let Some(nodes) = self.open.last_mut() {
            nodes.push(node);
        }
    }

    /// Adds numbers of the model: a parameter, or a constant of the graph if they are few or no floats.
    pub fn weights(&mut self, name: &str, constant: Constant, trainable: bool) -> String {
        self.tensor(name, constant, if trainable { Learned::Many } else { Learned::No })
    }

    /// Adds a variable of the model: the same, but that few floats are a parameter too if training changes them.
    pub fn variable(&mut self, name: &str, constant: Constant, trainable: bool) -> String {
        self.tensor(name, constant, if trainable { Learned::Yes } else { Learned::No })
    }

    fn tensor(&mut self, name: &str, constant: Constant, learned: Learned) -> String {
        let name = self.unique(name);
        add(&mut self.graph, &mut self.parameters, &name, constant, learned);
        name
    }

    /// Whole numbers, for shapes and axes.
    pub fn ints(&mut self, shape: &[usize], values: &[i64]) -> Result<String, String> {
        let key = (shape.to_vec(), values.to_vec());
        if let Some(name) = self.ints.get(&key) {
            return Ok(name.clone());
        }
        let constant = Constant::ints(Elem::Int64, shape, values.to_vec()).map_err(|e| e.to_string())?;
        let name = self.unique("ints");
        self.graph.constants.insert(name.clone(), constant);
        self.ints.insert(key, name.clone());
        Ok(name)
    }

    /// Ones in a shape, the same for all who ask for them.
    pub fn ones(&mut self, shape: Vec<usize>) -> Result<String, String> {
        if let Some(name) = self.ones.get(&shape) {
            return Ok(name.clone());
        }
        let elements = shape.iter().product();
        let ones = Tensor::new(&shape[..], vec![1.0f32; elements]).map_err(|e| e.to_string())?;
        let name = self.weights("ones", Constant::Numbers(Elem::Float, ones), false);
        self.ones.insert(shape, name.clone());
        Ok(name)
    }

    /// Floats that the graph itself needs.
    pub fn floats(&mut self, values: Vec<f32>) -> Result<String, String> {
        let tensor = Tensor::new([values.len()], values).map_err(|e| e.to_string())?;
        let name = self.unique("numbers");
        self.graph.constants.insert(name.clone(), Constant::Numbers(Elem::Float, tensor));
        Ok(name)
    }

    /// One number of a type.
    pub fn scalar(&mut self, elem: Elem, value: f64) -> Result<String, String> {
        let constant = match elem.is_float() {
            true => Constant::Numbers(elem, Tensor::scalar(value as f32)),
            false => Constant::ints(elem, [0; 0], vec![value as i64]).map_err(|e| e.to_string())?,
        };
        let name = self.unique("number");
        self.graph.constants.insert(name.clone(), constant);
        Ok(name)
    }

    /// Begins a graph within the graph, which sees the names around it.
    pub fn open(&mut self) {
        self.open.push(Vec::new());
    }

    /// Ends the graph that was begun last.
    pub fn close(&mut self, inputs: Vec<String>, outputs: Vec<String>) -> Graph {
        let ports =
            |names: Vec<String>| names.into_iter().map(|name| Port { name, ty: Type::Unknown }).collect();
        let nodes = if self.open.len() > 1 { self.open.pop() } else { None };
        let (inputs, outputs, nodes) = (ports(inputs), ports(outputs), nodes.unwrap_or_default());
        Graph { inputs, outputs, nodes, ..Graph::default() }
    }

    /// The model.
    pub fn finish(self, inputs: Vec<Port>, outputs: Vec<Port>) -> OnnxFile {
        let nodes = self.open.into_iter().next().unwrap_or_default();
        let graph = Graph { inputs, outputs, nodes, ..self.graph };
        let model = Model { opsets: [(String::new(), OPSET)].into(), graph, ..Model::default() };
        OnnxFile { model, parameters: self.parameters }
    }
}

/// A word as an attribute.
pub(crate) fn text(word: &str) -> Attribute {
    Attribute::String(word.into())
}

/// Says which operators of a framework have no translation, with the nodes that call them; nothing if there are none.
pub(crate) fn translatable(framework: &str, unknown: BTreeMap<&str, BTreeSet<&str>>) -> Result<(), String> {
    if unknown.is_empty() {
        return Ok(());
    }
    let list = unknown.into_iter().map(|(op, nodes)| {
        let nodes = nodes.into_iter().map(String::from).collect();
        Unknown { op: op.into(), nodes }.to_string()
    });
    let list: Vec<String> = list.collect();
    Err(format!(
        "the model uses operators of {framework} that have no translation: {}; export it to ONNX, or without them",
        list.join("; ")
    ))
}
