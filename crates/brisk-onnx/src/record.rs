//! From a model to a graph.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;

use brisk_graph::DType;

use crate::call::{Call, Host};
use crate::item::round;
use crate::ops::{Run, operator};
use crate::room::Room;
use crate::{Attribute, Elem, Error, Function, Graph, Item, Model, Node, Result, Unknown, Var};

/// How deep graphs and functions may stand in one another.
const DEEPEST: usize = 24;
/// How many nodes may be recorded in all, loops unrolled.
const MOST_NODES: usize = 1 << 18;
/// What looking at a value costs of them: all that was recorded is gone through.
pub const LOOK: usize = 64;

/// The versions of ONNX's operators that Brisk is tested with. Older ones are tried.
pub const OPSETS: RangeInclusive<i64> = 7..=28;

/// The names that a node can see.
pub struct Scope<'s, 'g> {
    model: &'s Model,
    opsets: &'s BTreeMap<String, i64>,
    values: HashMap<String, Item<'g>>,
    /// The graph around, whose names are seen too.
    parent: Option<&'s Scope<'s, 'g>>,
    depth: usize,
    /// How many nodes may still be recorded.
    budget: &'s Cell<usize>,
    /// How large values may become.
    pub room: Room,
}

impl<'g> Scope<'_, 'g> {
    /// What a name stands for.
    pub fn find(&self, name: &str) -> Option<&Item<'g>> {
        self.values.get(name).or_else(|| self.parent.and_then(|p| p.find(name)))
    }

    fn opset(&self, domain: &str) -> i64 {
        let own = if domain == "ai.onnx" { "" } else { domain };
        self.opsets.get(own).copied().unwrap_or(1)
    }

    /// Takes so many nodes of those that may be recorded.
    pub fn spend(&self, nodes: usize) -> Result<(), String> {
        let left = self.budget.get().checked_sub(nodes).ok_or_else(|| {
            format!("with its loops unrolled the model has more than {MOST_NODES} operations")
        })?;
        self.budget.set(left);
        Ok(())
    }
}

/// The name under which a node is told of.
fn name_of(node: &Node) -> String {
    match node.name.is_empty() {
        false => node.name.clone(),
        true => node.outputs.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default(),
    }
}

fn function<'m>(model: &'m Model, node: &Node) -> Option<&'m Function> {
    model.functions.iter().find(|f| f.domain == node.domain && f.name == node.op)
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
    let mut unknown: Vec<Unknown> = Vec::new();
    let mut open: Vec<(&[Node], usize)> = vec![(&model.graph.nodes, 0)];
    open.extend(model.functions.iter().map(|f| (&f.nodes[..], 0)));
    while let Some((nodes, depth)) = open.pop() {
        if depth > DEEPEST {
            return Err(Error::Model(format!("its graphs stand in one another more than {DEEPEST} deep")));
        }
        for node in nodes {
            if operator(&node.domain, &node.op).is_none() && function(model, node).is_none() {
                let op = match node.domain.is_empty() {
                    true => node.op.clone(),
                    false => format!("{}.{}", node.domain, node.op),
                };
                match unknown.iter_mut().find(|u| u.op == op) {
                    Some(known) => known.nodes.push(name_of(node)),
                    None => unknown.push(Unknown { op, nodes: vec![name_of(node)] }),
                }
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
        false => Err(Error::Operators(unknown)),
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
    check(model)?;
    let budget = Cell::new(MOST_NODES);
    let (opsets, values) = (&model.opsets, HashMap::new());
    let room = room(model, inputs.iter().flatten());
    let scope = Scope { model, opsets, values, parent: None, depth: 0, budget: &budget, room };
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
    graph: &Graph,
    inputs: Vec<Option<Item<'g>>>,
) -> Result<Vec<Item<'g>>, String> {
    let parent = call.scope;
    let scope = Scope {
        model: parent.model,
        opsets: parent.opsets,
        values: HashMap::new(),
        parent: Some(parent),
        depth: parent.depth + 1,
        budget: parent.budget,
        room: parent.room,
    };
    if scope.depth > DEEPEST {
        return Err(format!("graphs stand in one another more than {DEEPEST} deep"));
    }
    Recorder { host: call.host }.graph(graph, scope, inputs).map_err(|e| e.to_string())
}

struct Recorder<'h, 'g> {
    host: &'h mut dyn Host<'g>,
}

impl<'g> Recorder<'_, 'g> {
    fn graph(
        &mut self,
        graph: &Graph,
        mut scope: Scope<'_, 'g>,
        inputs: Vec<Option<Item<'g>>>,
    ) -> Result<Vec<Item<'g>>> {
        let b = self.host.builder();
        let wrong = |message: String| Error::Model(format!("graph {:?}: {message}", graph.name));
        if inputs.len() > graph.inputs.len() {
            return Err(wrong(format!("it takes {} inputs, found {}", graph.inputs.len(), inputs.len())));
        }
        for (name, constant) in &graph.constants {
            let item = constant.item(b);
            fits(&item, scope.room).map_err(|e| wrong(format!("constant {name:?}: {e}")))?;
            scope.values.insert(name.clone(), item);
        }
        for (name, parameter) in &graph.parameters {
            let value = self.host.parameter(name, parameter).map_err(wrong)?;
            scope.values.insert(name.clone(), Var::new(parameter.elem, value).into());
        }
        for (port, item) in graph.inputs.iter().zip(inputs) {
            if let Some(item) = item {
                fits(&item, scope.room).map_err(|e| wrong(format!("input {:?}: {e}", port.name)))?;
                scope.values.insert(port.name.clone(), item);
            }
        }
        self.nodes(&graph.nodes, &mut scope)?;
        let output = |port: &crate::Port| {
            let found = scope.find(&port.name).cloned();
            found.ok_or_else(|| wrong(format!("nothing makes its output {:?}", port.name)))
        };
        graph.outputs.iter().map(output).collect()
    }

    fn nodes(&mut self, nodes: &[Node], scope: &mut Scope<'_, 'g>) -> Result<()> {
        for node in nodes {
            let outputs = self.node(node, scope).map_err(|message| {
                let op = node.op.clone();
                Error::Node { node: name_of(node), op, message }
            })?;
            if scope.depth == 0 {
                self.host.recorded(node, &outputs);
            }
            for (name, item) in node.outputs.iter().zip(outputs) {
                if !name.is_empty() && scope.values.insert(name.clone(), item).is_some() {
                    let message =
                        format!("its result {name:?} is made twice; give each value a name of its own");
                    return Err(Error::Node { node: name_of(node), op: node.op.clone(), message });
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, scope: &Scope<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
        scope.spend(1)?;
        let operand = |name: &String| match name.is_empty() {
            true => Ok(None),
            false => match scope.find(name) {
                Some(item) => Ok(Some(item.clone())),
                None => Err(format!("its operand {name:?} is made nowhere before it")),
            },
        };
        let inputs = node.inputs.iter().map(operand).collect::<Result<Vec<_>, String>>()?;
        if let Some(function) = function(scope.model, node) {
            return self.function(function, node, scope, inputs);
        }
        let Some(op) = operator(&node.domain, &node.op) else {
            return Err("is no operator that Brisk has".into());
        };
        let b = self.host.builder();
        let opset = scope.opset(&node.domain);
        let mut call = Call { node, opset, inputs, host: self.host, b, scope };
        let name = name_of(node);
        let outputs = b.scope(&name, || match op.run {
            Run::One(run) => run(&mut call).map(|var| vec![var.into()]),
            Run::Many(run) => run(&mut call),
        })?;
        b.check().map_err(|e| e.to_string())?;
        outputs.iter().try_for_each(|item| fits(item, scope.room))?;
        scope.spend(outputs.iter().map(listed).sum())?;
        let outputs: Vec<Item<'g>> = outputs.into_iter().map(narrowed).collect();
        match outputs.len() < node.outputs.iter().rposition(|o| !o.is_empty()).map_or(0, |p| p + 1) {
            true => Err(format!("it makes {} results, {} are named", outputs.len(), node.outputs.len())),
            false => Ok(outputs),
        }
    }

    fn function(
        &mut self,
        function: &Function,
        node: &Node,
        scope: &Scope<'_, 'g>,
        inputs: Vec<Option<Item<'g>>>,
    ) -> Result<Vec<Item<'g>>, String> {
        if scope.depth >= DEEPEST {
            return Err(format!("functions call one another more than {DEEPEST} deep"));
        }
        let opsets = if function.opsets.is_empty() { scope.opsets } else { &function.opsets };
        let mut inner =
            Scope { opsets, values: HashMap::new(), parent: None, depth: scope.depth + 1, ..*scope };
        for (name, item) in function.inputs.iter().zip(inputs) {
            if let Some(item) = item {
                inner.values.insert(name.clone(), item);
            }
        }
        let given = |name: &str| node.attributes.get(name).or_else(|| function.defaults.get(name));
        let missing: HashSet<&str> = function.inputs.iter().map(String::as_str).collect();
        for own in &function.nodes {
            let mut own = own.clone();
            bind(&mut own, &given);
            // What a call leaves out is left out inside.
            for input in &mut own.inputs {
                if missing.contains(input.as_str()) && inner.find(input).is_none() {
                    input.clear();
                }
            }
            self.nodes(std::slice::from_ref(&own), &mut inner).map_err(|e| e.to_string())?;
        }
        let output = |name: &String| {
            inner
                .find(name)
                .cloned()
                .ok_or_else(|| format!("nothing makes the output {name:?} of {:?}", node.op))
        };
        function.outputs.iter().map(output).collect()
    }
}

/// What a list costs of the nodes that may be recorded: it is copied whenever something is added.
fn listed(item: &Item<'_>) -> usize {
    const EACH: usize = 64;
    if let Item::Sequence(items) = item { items.len() / EACH } else { 0 }
}

/// Whether there is room for what a node made.
fn fits(item: &Item<'_>, room: Room) -> Result<(), String> {
    match item {
        Item::Tensor(var) => room.shape(&var.shape()),
        Item::Texts(shape, texts) => room.shape(shape).and_then(|()| room.texts(texts)),
        Item::Sequence(items) => items.iter().try_for_each(|i| fits(i, room)),
        Item::Nothing => Ok(()),
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

/// Puts the attributes of a function's call in the places of those that refer to them.
fn bind<'a>(node: &mut Node, given: &dyn Fn(&str) -> Option<&'a Attribute>) {
    let attributes = std::mem::take(&mut node.attributes);
    for (name, attribute) in attributes {
        match attribute {
            Attribute::Of(from) => {
                if let Some(value) = given(&from) {
                    node.attributes.insert(name, value.clone());
                }
            }
            Attribute::Graph(mut graph) => {
                graph.nodes.iter_mut().for_each(|n| bind(n, given));
                node.attributes.insert(name, Attribute::Graph(graph));
            }
            other => {
                node.attributes.insert(name, other);
            }
        }
    }
}
