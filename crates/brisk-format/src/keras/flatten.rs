//! From layers, models inside of models and calls to the one list of layers of a Brisk model.

use std::collections::{BTreeSet, HashMap, HashSet};

use brisk_nn::{Activation, ActivationLayer, Concatenate, LayerConfig, LayerSpec};
use serde_json::Value as Json;

use super::args::{brief, dtype, snake};
use super::classes::Placed;
use super::graph::{Call, Graph, Input, Layer, Tensor};
use super::layer::{Converted, convert};
use super::masks::{self, Expected, MASK};
use super::operation::{is_operation, operation};

/// A model has so many layers at most, each use of one counted.
const MOST_LAYERS: usize = 10_000;
/// So many entries and inputs of layers are looked at, however often models stand in one another.
const MOST_WORK: usize = 400_000;
/// So many bytes of a layer's arguments count as an entry.
const ENTRY: usize = 256;
/// The longest name of a layer, in bytes: names of models and of what is in them are joined.
const LONGEST: usize = 200;

/// A layer of Keras that has weights, or may have them.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Its path in a `.keras` file: `layers/sequential/layers/dense`.
    pub path: String,
    /// The layer of the outermost model that it is, or is inside of.
    pub top: String,
    pub class: String,
    pub weights: Vec<Placed>,
    /// Whether training leaves it as it is.
    pub frozen: bool,
}

/// A result of a layer, as layers of Brisk name it.
#[derive(Clone, Debug)]
struct Out {
    name: String,
    /// The number of the state, from 1, that it is of a recurrent layer with so many.
    state: Option<(usize, usize)>,
}

impl Out {
    fn whole(name: impl Into<String>) -> Out {
        Out { name: name.into(), state: None }
    }
}

/// The list of layers, and what was seen on the way.
#[derive(Default)]
pub(super) struct Flat {
    pub layers: Vec<LayerSpec>,
    /// The layers of Keras in the order of its weights.
    pub leaves: Vec<Leaf>,
    /// By path the layers that each use of one became; the first has the weights.
    pub uses: HashMap<String, Vec<String>>,
    /// What is not followed.
    pub ignored: Vec<String>,
    /// What is not possible.
    pub problems: Vec<String>,
    /// Where Keras has masks.
    pub masks: Expected,
    /// Layers whose axis has to be the last one.
    pub axes: Vec<(String, i64)>,
    /// What the layers became, and how many entries that counts.
    converted: HashMap<String, (Converted, usize)>,
    taken: HashSet<String>,
    /// The last number that was put behind a name.
    numbers: HashMap<String, usize>,
    work: usize,
    second: bool,
}

impl Flat {
    /// Of a model whose inputs are called so. Gives also the names of the layers that are its outputs.
    pub fn new(graph: &Graph, inputs: &[String], second: bool) -> Result<(Flat, Vec<String>), String> {
        let mut flat = Flat { second, taken: inputs.iter().cloned().collect(), ..Flat::default() };
        flat.taken.insert(brisk_nn::INPUT.into());
        flat.declare(graph, "", None, false);
        if !flat.problems.is_empty() {
            return Ok((flat, Vec::new()));
        }
        let given: Vec<Out> = inputs.iter().map(Out::whole).collect();
        let results = flat.call(graph, "", "", &given)?;
        let mut outputs: Vec<String> = Vec::new();
        let mut seen: HashSet<String> = inputs.iter().cloned().collect();
        for out in results {
            if out.state.is_none() && seen.insert(out.name.clone()) {
                outputs.push(out.name);
                continue;
            }
            let source = source(&[out])?;
            let same = LayerSpec::new(ActivationLayer::new(Activation::Linear));
            outputs.push(flat.push("output", same.inputs(source))?);
        }
        Ok((flat, outputs))
    }

    /// Converts all layers, and finds out where their weights are.
    fn declare(&mut self, graph: &Graph, path: &str, top: Option<&str>, frozen: bool) {
        let paths = Flat::paths(graph, path);
        for (layer, path) in graph.layers.iter().zip(paths).filter(|(l, _)| l.class != "InputLayer") {
            let top = top.unwrap_or(&layer.name);
            let frozen = frozen || layer.config.get("trainable") == Some(&Json::Bool(false));
            if let Some(inner) = &layer.inner {
                self.declare(inner, &format!("{path}/"), Some(top), frozen);
                continue;
            }
            if is_operation(layer) {
                continue;
            }
            if self.leaves.len() >= MOST_LAYERS {
                self.problems.push(format!("expected {MOST_LAYERS} layers at most, found more"));
                return;
            }
            self.note_type(layer);
            match convert(&layer.class, &layer.module, &layer.config, self.second) {
                Ok(converted) => {
                    let ignored =
                        converted.ignored.iter().map(|what| format!("layer {:?}: {what}", layer.name));
                    self.ignored.extend(ignored);
                    let (class, weights) = (layer.class.clone(), converted.weights.clone());
                    if frozen && !weights.is_empty() {
                        self.ignored.push(format!(
                            "layer {:?}: trainable false; freeze it where you train",
                            layer.name
                        ));
                    }
                    self.leaves.push(Leaf { path: path.clone(), top: top.into(), class, weights, frozen });
                    let entries = layer.config.values().map(bytes).sum::<usize>().div_ceil(ENTRY);
                    self.converted.insert(path, (converted, entries));
                }
                Err(problem) => {
                    self.problems.push(format!("layer {:?} ({}): {problem}", layer.name, layer.class))
                }
            }
        }
    }

    /// Remembers that a layer computes in other numbers than f32.
    fn note_type(&mut self, layer: &Layer) {
        if let Some(Ok(Some(other))) = layer.config.get("dtype").map(dtype)
            && other != "float32"
        {
            self.ignored.push(format!("layer {:?}: dtype {other}; it computes in float32", layer.name));
        }
    }

    /// The paths of a graph's layers in a `.keras` file: by their classes, counted.
    fn paths(graph: &Graph, path: &str) -> Vec<String> {
        let mut counts: HashMap<String, usize> = HashMap::new();
        let path = |layer: &Layer| {
            if layer.class == "InputLayer" {
                return String::new();
            }
            let word = if layer.class == "Model" { "functional".into() } else { snake(&layer.class) };
            let count = counts.entry(word.clone()).or_default();
            let own = if *count == 0 {
                format!("{path}layers/{word}")
            } else {
                format!("{path}layers/{word}_{count}")
            };
            *count += 1;
            own
        };
        graph.layers.iter().map(path).collect()
    }

    /// Calls a model: each of its layers once what goes into it is there.
    fn call(&mut self, graph: &Graph, path: &str, prefix: &str, inputs: &[Out]) -> Result<Vec<Out>, String> {
        if inputs.len() != graph.inputs.len() {
            return Err(format!(
                "a model that takes {} inputs is given {}",
                graph.inputs.len(),
                inputs.len()
            ));
        }
        self.work(graph.entries())?;
        let paths = Flat::paths(graph, path);
        let masks = masks::operations(graph)?;
        let is_mask =
            |key: &str, tensors: &[Tensor]| key == MASK && tensors.iter().all(|t| masks.contains(&t.layer));
        let mut results: HashMap<(usize, usize), Vec<Out>> = HashMap::new();
        for (&layer, out) in graph.inputs.iter().zip(inputs) {
            results.insert((layer, 0), vec![out.clone()]);
        }
        let calls =
            || graph.layers.iter().enumerate().flat_map(|(i, l)| (0..l.calls.len()).map(move |c| (i, c)));
        let mut readers: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
        let mut open: HashMap<(usize, usize), usize> = HashMap::new();
        let mut ready: BTreeSet<(usize, usize)> = BTreeSet::new();
        for place in calls().filter(|p| !results.contains_key(p) && !masks.contains(&p.0)) {
            let call = &graph.layers[place.0].calls[place.1];
            let needed: HashSet<_> = needs(call, is_mask).map(|t| (t.layer, t.call)).collect();
            let waiting = needed.iter().filter(|n| !results.contains_key(n)).count();
            needed.into_iter().for_each(|n| readers.entry(n).or_default().push(place));
            match waiting {
                0 => drop(ready.insert(place)),
                _ => drop(open.insert(place, waiting)),
            }
        }
        while let Some(place) = ready.pop_first() {
            let (layer, own) = (&graph.layers[place.0], &paths[place.0]);
            let name =
                if prefix.is_empty() { layer.name.clone() } else { format!("{prefix}_{}", layer.name) };
            let outs = self.one(layer, &layer.calls[place.1], own, &name, &results).map_err(|e| {
                if e.starts_with("layer ") {
                    e
                } else {
                    format!("layer {:?} ({}): {e}", layer.name, layer.class)
                }
            })?;
            results.insert(place, outs);
            for reader in readers.remove(&place).unwrap_or_default() {
                if let Some(waiting) = open.get_mut(&reader) {
                    *waiting -= 1;
                    if *waiting == 0 {
                        open.remove(&reader);
                        ready.insert(reader);
                    }
                }
            }
        }
        if let Some(place) = open.keys().min() {
            return Err(format!(
                "layer {:?} waits for a result that is never there: its inputs go in a circle, or name a call that is not made; save \
                 the model again",
                graph.layers[place.0].name
            ));
        }
        graph.outputs.iter().map(|(_, t)| result(&results, *t)).collect()
    }

    /// Counts what is looked at.
    fn work(&mut self, entries: usize) -> Result<(), String> {
        self.work = self.work.saturating_add(entries);
        match self.work <= MOST_WORK {
            true => Ok(()),
            false => Err(format!(
                "the model has more than {MOST_WORK} entries, each use of one counted; expected fewer"
            )),
        }
    }

    /// One use of a layer.
    fn one(
        &mut self,
        layer: &Layer,
        call: &Call,
        path: &str,
        name: &str,
        results: &HashMap<(usize, usize), Vec<Out>>,
    ) -> Result<Vec<Out>, String> {
        let outs =
            |tensors: &[Tensor]| tensors.iter().map(|t| result(results, *t)).collect::<Result<Vec<_>, _>>();
        self.work(call.entries())?;
        let mut inputs = Vec::new();
        let mut numbers = Vec::new();
        for input in &call.inputs {
            match input {
                Input::Tensor(t) => inputs.push(result(results, *t)?),
                Input::Number(n) => numbers.push((inputs.len(), *n)),
            }
        }
        let (mut states, mut is_masked) = (Vec::new(), false);
        for (key, tensors) in &call.named {
            match key.as_str() {
                "initial_state" => states = outs(tensors)?,
                "inputs" | "query" | "value" | "key" => inputs.extend(outs(tensors)?),
                MASK if tensors.iter().all(|t| !results.contains_key(&(t.layer, t.call))) => is_masked = true,
                other => {
                    return Err(format!(
                        "its argument {other} is a result of a layer, which is not supported"
                    ));
                }
            }
        }
        if let Some(inner) = &layer.inner {
            return self.call(inner, &format!("{path}/"), name, &inputs);
        }
        if is_operation(layer) {
            let spec = operation(layer, inputs.len(), &numbers)?;
            let own = self.push(name, spec.inputs(source(&inputs)?))?;
            self.masks.operations.push(own.clone());
            return Ok(vec![Out::whole(own)]);
        }
        if !numbers.is_empty() {
            return Err("one of its inputs is a number; expected results of layers".into());
        }
        self.work(self.converted.get(path).map_or(0, |converted| converted.1))?;
        let Some((mut converted, _)) = self.converted.get(path).cloned() else {
            return Err("it was not read".into());
        };
        for (key, value) in &call.options {
            match (key.as_str(), value, converted.layers.first_mut()) {
                ("training", Json::Bool(false), _) | (_, Json::Bool(false), _) => {}
                (
                    "use_causal_mask",
                    Json::Bool(true),
                    Some((_, LayerConfig::MultiHeadAttention(attention))),
                ) => {
                    attention.use_causal_mask = true;
                }
                _ => return Err(format!("its argument {key}: {} is not supported", brief(value))),
            }
        }
        self.recurrent_states(&mut inputs, states, &converted, name)?;
        let outs = self.emit(path, name, &converted, &inputs)?;
        if is_masked {
            self.masks.masked.extend(self.uses.get(path).and_then(|u| u.last()).cloned());
        }
        Ok(outs)
    }

    /// Puts the initial state of a recurrent layer behind its input.
    fn recurrent_states(
        &mut self,
        inputs: &mut Vec<Out>,
        mut states: Vec<Out>,
        converted: &Converted,
        name: &str,
    ) -> Result<(), String> {
        let kind = converted.layers.first().map(|l| l.1.kind());
        if !matches!(kind, Some("LSTM" | "GRU" | "SimpleRNN")) {
            return if states.is_empty() { Ok(()) } else { Err("it takes no initial_state".into()) };
        }
        states.splice(0..0, inputs.drain(1.min(inputs.len())..));
        match (kind, &states[..]) {
            (_, []) => Ok(()),
            (Some("LSTM"), [h, c]) => {
                if let (Some((1, 2)), Some((2, 2)), true) = (h.state, c.state, h.name == c.name) {
                    inputs.push(Out::whole(format!("{}.state", h.name)));
                    return Ok(());
                }
                let both = LayerSpec::new(Concatenate::new()).inputs(source(&states)?);
                inputs.push(Out::whole(self.push(&format!("{name}_initial_state"), both)?));
                Ok(())
            }
            (Some("GRU" | "SimpleRNN"), [state]) => {
                inputs.push(state.clone());
                Ok(())
            }
            (_, other) => Err(format!("it is given {} initial states", other.len())),
        }
    }

    fn emit(
        &mut self,
        path: &str,
        name: &str,
        converted: &Converted,
        inputs: &[Out],
    ) -> Result<Vec<Out>, String> {
        let first = self.uses.get(path).and_then(|u| u.first()).cloned();
        let (mut before, mut main) = (source(inputs)?, None);
        for (suffix, layer) in &converted.layers {
            let mut spec = LayerSpec::new(layer.clone()).inputs(before);
            // Only what has weights can share them.
            spec.shares = first.clone().filter(|_| main.is_none() && !converted.weights.is_empty());
            let given = self.push(&format!("{name}{suffix}"), spec)?;
            before = vec![given.clone()];
            main.get_or_insert(given);
        }
        let (Some(main), Some(last)) = (main, before.pop()) else { return Err("it became nothing".into()) };
        self.axes.extend(converted.axis.map(|axis| (main.clone(), axis)));
        self.uses.entry(path.into()).or_default().push(main);
        let states = match converted.layers.first().map(|l| &l.1) {
            Some(LayerConfig::LSTM(l)) if l.return_state => 2,
            Some(LayerConfig::GRU(l)) if l.return_state => 1,
            Some(LayerConfig::SimpleRNN(l)) if l.return_state => 1,
            _ => 0,
        };
        let state = |i| Out { name: last.clone(), state: Some((i, states)) };
        Ok(std::iter::once(Out::whole(&last)).chain((1..=states).map(state)).collect())
    }

    /// Takes a name of letters, digits, _ and - that is free, like the one wished for.
    pub fn free(&mut self, wish: &str) -> String {
        let sound = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
        let plain: String =
            if wish.is_empty() { "layer".into() } else { wish.chars().take(LONGEST).map(sound).collect() };
        let mut name = plain.clone();
        let number = self.numbers.entry(plain.clone()).or_default();
        while !self.taken.insert(name.clone()) {
            *number += 1;
            name = format!("{plain}_{number}");
        }
        name
    }

    /// Adds a layer under a name that is free, and gives that.
    fn push(&mut self, wish: &str, spec: LayerSpec) -> Result<String, String> {
        if self.layers.len() >= MOST_LAYERS {
            return Err(format!(
                "the model has more than {MOST_LAYERS} layers, each use of one counted; expected fewer"
            ));
        }
        let name = self.free(wish);
        self.layers.push(spec.name(&name));
        Ok(name)
    }
}

/// How much memory arguments take, in bytes.
fn bytes(json: &Json) -> usize {
    const VALUE: usize = 16;
    VALUE
        + match json {
            Json::String(text) => text.len(),
            Json::Array(list) => list.iter().map(bytes).sum(),
            Json::Object(map) => map.iter().map(|(key, value)| key.len() + bytes(value)).sum(),
            _ => 0,
        }
}

/// The tensors that a call reads, but for masks.
fn needs(call: &Call, is_mask: impl Fn(&str, &[Tensor]) -> bool) -> impl Iterator<Item = Tensor> {
    let positional = call.inputs.iter().filter_map(|i| match i {
        Input::Tensor(t) => Some(*t),
        Input::Number(_) => None,
    });
    let named = call.named.iter().filter(move |(key, tensors)| !is_mask(key, tensors));
    positional.chain(named.flat_map(|(_, tensors)| tensors.iter().copied()))
}

fn result(results: &HashMap<(usize, usize), Vec<Out>>, t: Tensor) -> Result<Out, String> {
    let of_call =
        results.get(&(t.layer, t.call)).ok_or("one of its inputs is never computed; save the model again")?;
    of_call
        .get(t.number)
        .cloned()
        .ok_or_else(|| format!("one of its inputs is result {} of a layer with {}", t.number, of_call.len()))
}

/// What layers call the results of others.
fn source(outs: &[Out]) -> Result<Vec<String>, String> {
    let name = |out: &Out| match out.state {
        None => Ok(out.name.clone()),
        Some((1, 1)) => Ok(format!("{}.state", out.name)),
        Some(_) => Err(format!(
            "it uses one part of the state of {:?}; expected both parts, as the initial_state of an LSTM",
            out.name
        )),
    };
    outs.iter().map(name).collect()
}
