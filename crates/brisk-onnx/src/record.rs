//! From a model to a graph.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{Deref, RangeInclusive};

use brisk_graph::DType;
use indexmap::IndexMap;

use crate::call::{Call, Host};
use crate::item::round;
use crate::ops::{Run, operator};
use crate::room::{Budget, Room};
use crate::{Attribute, Constant, Elem, Error, Function, Graph, Item, Model, Node, Result, Unknown, Var};

/// How deep graphs and functions may stand in one another.
const DEEPEST: usize = 24;

/// The versions of ONNX's operators that Brisk is tested with. Older ones are tried.
pub const OPSETS: RangeInclusive<i64> = 7..=28;

/// The operators that a model brings itself, by domain and name.
type Functions<'m> = HashMap<(&'m str, &'m str), &'m Function>;

fn functions(model: &Model) -> Functions<'_> {
    // Of two with the same name the first counts.
    model.functions.iter().rev().map(|f| ((f.domain.as_str(), f.name.as_str()), f)).collect()
}

/// The names that a node can see.
pub struct Scope<'s, 'g> {
    functions: &'s Functions<'s>,
    opsets: &'s BTreeMap<String, i64>,
    values: HashMap<&'s str, Item<'g>>,
    /// What the call of the function around leaves out.
    missing: HashSet<&'s str>,
    /// The graph around, whose names are seen too.
    parent: Option<&'s Scope<'s, 'g>>,
    /// The call of the function around.
    called: Option<&'s Called<'s>>,
    depth: usize,
    /// What is left for recording.
    pub budget: &'s Budget,
}

/// A call of a function, to whose attributes those inside may refer.
pub struct Called<'s> {
    node: &'s Node,
    defaults: &'s IndexMap<String, Attribute>,
    /// The call around that.
    outer: Option<&'s Called<'s>>,
}

/// A graph among the attributes of a node.
#[derive(Clone, Copy)]
pub struct Body<'s> {
    pub graph: &'s Graph,
    /// The call of the function that it stands in.
    pub called: Option<&'s Called<'s>>,
}

impl Deref for Body<'_> {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        self.graph
    }
}

impl<'s, 'g> Scope<'s, 'g> {
    /// What a name stands for.
    pub fn find(&self, name: &str) -> Option<&Item<'g>> {
        self.values.get(name).or_else(|| self.parent.and_then(|p| p.find(name)))
    }

    /// Whether the call of the function around leaves a name out.
    fn misses(&self, name: &str) -> bool {
        self.missing.contains(name) || self.parent.is_some_and(|p| p.misses(name))
    }

    fn opset(&self, domain: &str) -> i64 {
        let own = if domain == "ai.onnx" { "" } else { domain };
        self.opsets.get(own).copied().unwrap_or(1)
    }

    /// An attribute of a node that stands here, and the call that what is in it may refer to. `None` too where a call leaves it out.
    pub fn attribute(&self, node: &'s Node, name: &str) -> Option<(&'s Attribute, Option<&'s Called<'s>>)> {
        let (mut found, mut called) = (node.attributes.get(name)?, self.called);
        while let (Attribute::Of(from), Some(call)) = (found, called) {
            (found, called) = match call.node.attributes.get(from) {
                Some(given) => (given, call.outer),
                None => (call.defaults.get(from)?, None),
            };
        }
        Some((found, called))
    }

    /// Takes the steps of a node: for its names, which are looked up, the longer the slower and through all graphs around, and for its
    /// attributes, which are copied.
    fn spend_node(&self, node: &'s Node) -> Result<(), String> {
        let sizes = node.attributes.keys().filter_map(|name| self.attribute(node, name)).map(|a| size(a.0));
        let sizes = sizes.fold(0, usize::saturating_add) / BYTES_PER_STEP;
        self.budget.spend(1 + self.depth + sizes + name_steps(node.inputs.iter().chain(&node.outputs)))
    }
}

/// So many bytes of a name or an attribute are one step.
const BYTES_PER_STEP: usize = 256;

fn name_steps<'n>(names: impl Iterator<Item = &'n String>) -> usize {
    names.map(|name| 1 + name.len() / BYTES_PER_STEP).fold(0, usize::saturating_add)
}

/// How many bytes are copied where an attribute is read.
fn size(attribute: &Attribute) -> usize {
    match attribute {
        Attribute::Ints(v) => size_of_val(&v[..]),
        Attribute::Floats(v) => size_of_val(&v[..]),
        Attribute::String(v) => v.len(),
        Attribute::Strings(v) => size_of_val(&v[..]) + v.iter().map(String::len).sum::<usize>(),
        Attribute::Tensor(Constant::Texts(_, v)) => size_of_val(&v[..]),
        // Their elements are shared.
        Attribute::Tensor(Constant::Numbers(..)) | Attribute::Graph(_) => 0,
        Attribute::Int(_) | Attribute::Float(_) | Attribute::Type(_) | Attribute::Of(_) => 0,
    }
}

/// The name under which a node is told of: the start of its own, or of that of its first result.
fn name_of(node: &Node) -> String {
    const LONGEST: usize = 100;
    let result = || node.outputs.iter().find(|o| !o.is_empty());
    let name = if node.name.is_empty() { result() } else { Some(&node.name) };
    name.map_or("", String::as_str).chars().take(LONGEST).collect()
}

/// Whether Brisk has every operator that a model uses; the error names all that it has not.
///
/// ```
/// use brisk_onnx::{Error, Model, Node, check};
/// let mut model = Model::default();
/// model.graph.nodes.push(Node { op: "Frobnicate".into(), outputs: vec!["y".into()], ..Node::default() });
/// assert!(check(&model).unwrap_err().to_string().contains("Frobnicate (nodes y)"));
/// ```
pub fn check(model: &Model) -> Result<()> {
    let opsets = model.functions.iter().map(|f| &f.opsets).chain([&model.opsets]);
    if let Some(version) = opsets.filter_map(|o| o.get("")).find(|v| !(1..=*OPSETS.end()).contains(v)) {
        let (first, last) = (OPSETS.start(), OPSETS.end());
        return Err(Error::Model(format!(
            "it uses version {version} of ONNX's operators; Brisk has versions {first} to {last}: convert it, as with \
             onnx.version_converter"
        )));
    }
    let functions = functions(model);
    let mut unknown: IndexMap<String, Vec<String>> = IndexMap::new();
    let mut open: Vec<(&[Node], usize)> = vec![(&model.graph.nodes, 0)];
    open.extend(model.functions.iter().map(|f| (&f.nodes[..], 0)));
    while let Some((nodes, depth)) = open.pop() {
        if depth > DEEPEST {
            return Err(Error::Model(format!("its graphs stand in one another more than {DEEPEST} deep")));
        }
        for node in nodes {
            let known = functions.contains_key(&(node.domain.as_str(), node.op.as_str()));
            if !known && operator(&node.domain, &node.op).is_none() {
                let op = match node.domain.is_empty() {
                    true => node.op.clone(),
                    false => format!("{}.{}", node.domain, node.op),
                };
                unknown.entry(op).or_default().push(name_of(node));
            }
            for attribute in node.attributes.values() {
                if let Attribute::Graph(graph) = attribute {
                    open.push((&graph.nodes, depth + 1));
                }
            }
        }
    }
    match unknown.is_empty() {
        true => Ok(()),
        false => {
            Err(Error::Operators(unknown.into_iter().map(|(op, nodes)| Unknown { op, nodes }).collect()))
        }
    }
}

/// Records a model for inputs of certain shapes; gives its outputs, in order.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, Shape, Tensor, Value};
/// use brisk_onnx::{Elem, Host, Item, Model, Parameter, Var, record};
///
/// struct Plain<'g>(&'g Builder);
/// impl<'g> Host<'g> for Plain<'g> {
///     fn builder(&self) -> &'g Builder { self.0 }
///     fn parameter(&mut self, name: &str, p: &Parameter) -> Result<Value<'g>, String> {
///         Ok(self.0.input(name, Role::State, &p.shape[..], DType::F32))
///     }
///     fn look(&mut self, _: Value<'g>) -> Result<Option<Tensor>, String> { Ok(None) }
///     fn random(&mut self, _: &Shape) -> Result<Value<'g>, String> { Err("no random numbers here".into()) }
/// }
///
/// let text = r#"{"opsets": {"": 13}, "graph": {"inputs": [{"name": "x", "type": "unknown"}],
///     "outputs": [{"name": "y", "type": "unknown"}],
///     "nodes": [{"op": "Relu", "inputs": ["x"], "outputs": ["y"]}]}}"#;
/// let model: Model = serde_json::from_str(text)?;
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [2, 3], DType::F32);
/// let outputs = record(&model, &mut Plain(&b), vec![Some(Var::new(Elem::Float, x).into())])?;
/// let Item::Tensor(y) = &outputs[0] else { panic!("a tensor") };
/// assert_eq!(y.shape().dims(), [2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn record<'g>(
    model: &Model,
    host: &mut dyn Host<'g>,
    inputs: Vec<Option<Item<'g>>>,
) -> Result<Vec<Item<'g>>> {
    let budget = Budget::new(room(model, inputs.iter().flatten()));
    record_within(model, host, inputs, &budget)
}

fn record_within<'g>(
    model: &Model,
    host: &mut dyn Host<'g>,
    inputs: Vec<Option<Item<'g>>>,
    budget: &Budget,
) -> Result<Vec<Item<'g>>> {
    check(model)?;
    budget.begin(&inputs);
    let scope = Scope {
        functions: &functions(model),
        opsets: &model.opsets,
        values: HashMap::new(),
        missing: HashSet::new(),
        parent: None,
        called: None,
        depth: 0,
        budget,
    };
    let mut recorder = Recorder { host };
    let outputs = recorder.graph(&model.graph, scope, inputs)?;
    recorder.host.builder().check()?;
    Ok(outputs)
}

/// How much room a model has for what comes in.
pub fn room<'a, 'g: 'a>(model: &Model, inputs: impl Iterator<Item = &'a Item<'g>>) -> Room {
    let sizes = |p: &crate::Parameter| p.shape.iter().copied().fold(1, usize::saturating_mul);
    let learned = model.graph.parameters.values().map(sizes).fold(0, usize::saturating_add);
    Room::of(inputs.map(elements).fold(learned, usize::saturating_add))
}

/// Records a graph among the attributes of a call.
pub fn record_inner<'g>(
    call: &mut Call<'_, 'g>,
    body: Body<'_>,
    inputs: Vec<Option<Item<'g>>>,
) -> Result<Vec<Item<'g>>, String> {
    let parent = call.scope;
    let scope = Scope {
        functions: parent.functions,
        opsets: parent.opsets,
        values: HashMap::new(),
        missing: HashSet::new(),
        parent: Some(parent),
        called: body.called,
        depth: parent.depth + 1,
        budget: parent.budget,
    };
    if scope.depth > DEEPEST {
        return Err(format!("graphs stand in one another more than {DEEPEST} deep"));
    }
    Recorder { host: call.host }.graph(body.graph, scope, inputs).map_err(|e| e.to_string())
}

struct Recorder<'h, 'g> {
    host: &'h mut dyn Host<'g>,
}

impl<'g> Recorder<'_, 'g> {
    fn graph<'s>(
        &mut self,
        graph: &'s Graph,
        mut scope: Scope<'s, 'g>,
        inputs: Vec<Option<Item<'g>>>,
    ) -> Result<Vec<Item<'g>>> {
        let b = self.host.builder();
        let wrong = |message: String| Error::Model(format!("graph {:?}: {message}", graph.name));
        if inputs.len() > graph.inputs.len() {
            return Err(wrong(format!("it takes {} inputs, found {}", graph.inputs.len(), inputs.len())));
        }
        if scope.depth > 0 && !graph.parameters.is_empty() {
            return Err(wrong("only the outermost graph has parameters".into()));
        }
        let budget = scope.budget;
        let ports = graph.inputs.iter().chain(&graph.outputs).map(|port| &port.name);
        let names = ports.chain(graph.constants.keys()).chain(graph.parameters.keys());
        budget.spend(1 + name_steps(names)).map_err(wrong)?;
        budget.settle(inputs.iter().flatten()).map_err(wrong)?;
        for (name, constant) in &graph.constants {
            let item = constant.item(b);
            fits(&item, budget.room()).map_err(|e| wrong(format!("constant {name:?}: {e}")))?;
            scope.values.insert(name, item);
        }
        for (name, parameter) in &graph.parameters {
            let value = self.host.parameter(name, parameter).map_err(wrong)?;
            scope.values.insert(name, Var::new(parameter.elem, value).into());
        }
        for (port, item) in graph.inputs.iter().zip(inputs) {
            if let Some(item) = item {
                fits(&item, budget.room()).map_err(|e| wrong(format!("input {:?}: {e}", port.name)))?;
                scope.values.insert(&port.name, item);
            }
        }
        self.nodes(&graph.nodes, &mut scope)?;
        let output = |port: &crate::Port| {
            let found = scope.find(&port.name).cloned();
            found.ok_or_else(|| wrong(format!("nothing makes its output {:?}", port.name)))
        };
        graph.outputs.iter().map(output).collect()
    }

    fn nodes<'s>(&mut self, nodes: &'s [Node], scope: &mut Scope<'s, 'g>) -> Result<()> {
        for node in nodes {
            let outputs = self.node(node, scope).map_err(|message| {
                let op = node.op.clone();
                Error::Node { node: name_of(node), op, message }
            })?;
            if scope.depth == 0 {
                self.host.recorded(node, &outputs);
            }
            for (name, item) in node.outputs.iter().zip(outputs) {
                if !name.is_empty() && scope.values.insert(name, item).is_some() {
                    let message =
                        format!("its result {name:?} is made twice; give each value a name of its own");
                    return Err(Error::Node { node: name_of(node), op: node.op.clone(), message });
                }
            }
        }
        Ok(())
    }

    fn node<'s>(&mut self, node: &'s Node, scope: &Scope<'s, 'g>) -> Result<Vec<Item<'g>>, String> {
        scope.spend_node(node)?;
        let operand = |name: &String| match name.is_empty() {
            true => Ok(None),
            false => match scope.find(name) {
                Some(item) => Ok(Some(item.clone())),
                // What a call leaves out is left out inside.
                None if scope.misses(name) => Ok(None),
                None => Err(format!("its operand {name:?} is made nowhere before it")),
            },
        };
        let inputs = node.inputs.iter().map(operand).collect::<Result<Vec<_>, String>>()?;
        if let Some(&function) = scope.functions.get(&(node.domain.as_str(), node.op.as_str())) {
            return self.function(function, node, scope, inputs);
        }
        let Some(op) = operator(&node.domain, &node.op) else {
            return Err("is no operator that Brisk has".into());
        };
        let b = self.host.builder();
        let opset = scope.opset(&node.domain);
        let budget = scope.budget;
        let constant = inputs.iter().flatten().map(constant_size).max().unwrap_or(0);
        let mut call = Call { node, opset, inputs, host: self.host, b, scope };
        let name = name_of(node);
        let outputs = b.scope(&name, || match op.run {
            Run::One(run) => run(&mut call).map(|var| vec![var.into()]),
            Run::Many(run) => run(&mut call),
        })?;
        b.check().map_err(|e| e.to_string())?;
        outputs.iter().try_for_each(|item| fits(item, budget.room()))?;
        // What follows from small constants is computed at once, and all steps of it are kept.
        let steps = budget.settle(outputs.iter())?;
        budget.take(steps.saturating_mul(constant))?;
        let outputs: Vec<Item<'g>> = outputs.into_iter().map(narrowed).collect();
        match outputs.len() < node.outputs.iter().rposition(|o| !o.is_empty()).map_or(0, |p| p + 1) {
            true => Err(format!("it makes {} results, {} are named", outputs.len(), node.outputs.len())),
            false => Ok(outputs),
        }
    }

    fn function<'s>(
        &mut self,
        function: &'s Function,
        node: &'s Node,
        scope: &Scope<'s, 'g>,
        inputs: Vec<Option<Item<'g>>>,
    ) -> Result<Vec<Item<'g>>, String> {
        if scope.depth >= DEEPEST {
            return Err(format!("functions call one another more than {DEEPEST} deep"));
        }
        let opsets = if function.opsets.is_empty() { scope.opsets } else { &function.opsets };
        scope.budget.spend(name_steps(function.inputs.iter().chain(&function.outputs)))?;
        let called = Called { node, defaults: &function.defaults, outer: scope.called };
        let mut inner = Scope {
            functions: scope.functions,
            opsets,
            values: HashMap::new(),
            missing: HashSet::new(),
            parent: None,
            called: Some(&called),
            depth: scope.depth + 1,
            budget: scope.budget,
        };
        let mut inputs = inputs.into_iter();
        for name in &function.inputs {
            match inputs.next().flatten() {
                Some(item) => {
                    inner.values.insert(name, item);
                }
                None => {
                    inner.missing.insert(name);
                }
            }
        }
        self.nodes(&function.nodes, &mut inner).map_err(|e| e.to_string())?;
        let output = |name: &String| {
            inner
                .find(name)
                .cloned()
                .ok_or_else(|| format!("nothing makes the output {name:?} of {:?}", node.op))
        };
        function.outputs.iter().map(output).collect()
    }
}

/// How many elements a value has, if it is so small a constant that what follows from it is computed at once.
fn constant_size(item: &Item<'_>) -> usize {
    const MOST: usize = 4096;
    match item {
        Item::Tensor(var) => {
            let (value, _) = var.raw();
            let elements = value.shape().elements();
            let known = || if elements <= MOST { value.constant() } else { None };
            match (known(), known()) {
                // Of one number in every place no elements are kept: whoever asks for them has his own.
                (Some(a), Some(b)) if std::ptr::eq(a.data(), b.data()) => elements,
                _ => 0,
            }
        }
        _ => 0,
    }
}

/// Whether there is room for what a node made. What a list holds was made before.
fn fits(item: &Item<'_>, room: Room) -> Result<(), String> {
    match item {
        Item::Tensor(var) => room.shape(&var.shape()),
        Item::Texts(shape, _) => room.shape(shape),
        Item::Sequence(_) | Item::Nothing => Ok(()),
    }
}

/// How many elements there are in a value.
fn elements(item: &Item<'_>) -> usize {
    match item {
        Item::Tensor(var) => var.shape().elements(),
        Item::Texts(shape, _) => shape.elements(),
        Item::Sequence(items) => items.iter().map(elements).fold(0, usize::saturating_add),
        Item::Nothing => 0,
    }
}

/// Eight binary digits are so few that each step shows: a bfloat16 is rounded after each operator. Half floats are only rounded where they
/// leave the model, so that they are as fast as floats.
fn narrowed(item: Item<'_>) -> Item<'_> {
    match (item, Elem::Bfloat16.format()) {
        (Item::Tensor(var), Some(format)) if var.elem == Elem::Bfloat16 => {
            Item::Tensor(var.map(|v| round(v.cast(DType::F32), format)))
        }
        (item, _) => item,
    }
}

#[cfg(test)]
mod tests;
