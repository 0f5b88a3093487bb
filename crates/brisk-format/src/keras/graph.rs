//! `config.json`: layers, and the calls that connect them, as Keras 2 and 3 write them.

use serde_json::{Map, Value as Json};

use super::args::brief;
use crate::error::quoted;

/// A model as its configuration says it.
#[derive(Debug)]
pub(super) struct Graph {
    pub layers: Vec<Layer>,
    /// What comes in, by the number of its layer.
    pub inputs: Vec<usize>,
    /// What goes out, and what it is called if it has a name of its own.
    pub outputs: Vec<(Option<String>, Tensor)>,
}

/// A layer of a configuration.
#[derive(Debug)]
pub(super) struct Layer {
    pub class: String,
    /// Where Keras has it; empty in Keras 2.
    pub module: String,
    pub name: String,
    pub config: Map<String, Json>,
    pub calls: Vec<Call>,
    /// The layers of a model that is a layer.
    pub inner: Option<Graph>,
}

/// One use of a layer.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub inputs: Vec<Input>,
    /// Arguments by name that are tensors.
    pub named: Vec<(String, Vec<Tensor>)>,
    /// Arguments by name that are not.
    pub options: Map<String, Json>,
}

impl Graph {
    /// How much there is to look at in it, without the models inside.
    pub fn entries(&self) -> usize {
        let calls = self.layers.iter().flat_map(|layer| &layer.calls).map(Call::entries);
        self.layers.len() + self.inputs.len() + self.outputs.len() + calls.sum::<usize>()
    }
}

impl Call {
    /// How much there is to look at in it.
    pub fn entries(&self) -> usize {
        let named = self.named.iter().map(|(_, tensors)| 1 + tensors.len());
        1 + self.inputs.len() + self.options.len() + named.sum::<usize>()
    }
}

/// What goes into a call.
#[derive(Debug)]
pub(super) enum Input {
    Tensor(Tensor),
    Number(f64),
}

/// A result of a call, by the numbers of its layer, its call and itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tensor {
    pub layer: usize,
    pub call: usize,
    pub number: usize,
}

/// Reads `{"class_name": ..., "config": ...}` of a whole model.
pub(super) fn parse(model: &Json) -> Result<Graph, String> {
    let class = text(model, "class_name").ok_or("expected class_name and config of a model")?;
    let config = model.get("config").ok_or("expected the config of a model, found none")?;
    match class {
        "Sequential" => sequential(config),
        "Functional" | "Model" if config.get("layers").is_some() => functional(config),
        other => Err(format!(
            "the model is of the class {other}, whose code is not in the file; expected Sequential or Functional: build it with \
             keras.Sequential or keras.Model(inputs, outputs)"
        )),
    }
}

/// Whether a class is a model of layers.
fn is_model(class: &str, config: &Json) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
        && (config.is_array() || config.get("layers").is_some())
}

fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get(key).and_then(Json::as_str)
}

/// The longest name of a layer, in bytes.
const LONGEST: usize = 1 << 10;

/// A layer without its calls.
fn layer(json: &Json, number: usize) -> Result<Layer, String> {
    let class = text(json, "class_name")
        .ok_or_else(|| format!("layer {number}: expected its class_name, found none"))?;
    let config = json
        .get("config")
        .ok_or_else(|| format!("layer {number} ({class}): expected its config, found none"))?;
    let name = text(json, "name").or(text(config, "name")).map_or(format!("layer_{number}"), str::to_string);
    if name.len() > LONGEST {
        let name = quoted(&name);
        return Err(format!(
            "layer {number} ({class}): expected a name of {LONGEST} bytes at most, found {name}"
        ));
    }
    let inner = match is_model(class, config) {
        true => Some(parse(json).map_err(|e| format!("layer {name:?}: {e}"))?),
        false => None,
    };
    Ok(Layer {
        class: class.into(),
        module: text(json, "module").unwrap_or_default().into(),
        name,
        // The layers of a model were read already.
        config: if inner.is_some() {
            model_config(config)
        } else {
            config.as_object().cloned().unwrap_or_default()
        },
        calls: Vec::new(),
        inner,
    })
}

/// What a model that is a layer says of itself.
fn model_config(config: &Json) -> Map<String, Json> {
    config.get("trainable").map(|t| ("trainable".to_string(), t.clone())).into_iter().collect()
}

fn list(config: &Json) -> Result<&Vec<Json>, String> {
    let layers = if config.is_array() { Some(config) } else { config.get("layers") };
    layers.and_then(Json::as_array).ok_or_else(|| "expected a list of layers, found none".into())
}

fn sequential(config: &Json) -> Result<Graph, String> {
    let list = list(config)?;
    let mut layers = Vec::with_capacity(list.len() + 1);
    if list.first().is_none_or(|l| text(l, "class_name") != Some("InputLayer")) {
        let own = list.first().and_then(|l| l.get("config")).and_then(|c| c.get("batch_input_shape"));
        let shape = own.or(config.get("build_input_shape")).filter(|s| s.is_array());
        let shape = shape
            .ok_or("the shape of what comes in is not said; build the model with an Input before saving")?;
        let config = [("batch_shape".to_string(), shape.clone())].into_iter().collect();
        layers.push(Layer {
            class: "InputLayer".into(),
            module: String::new(),
            name: "input".into(),
            config,
            calls: Vec::new(),
            inner: None,
        });
    }
    for (i, json) in list.iter().enumerate() {
        let mut next = layer(json, i)?;
        if !layers.is_empty() {
            let before = Tensor { layer: layers.len() - 1, call: 0, number: 0 };
            next.calls.push(Call { inputs: vec![Input::Tensor(before)], ..Call::default() });
        }
        layers.push(next);
    }
    let last = Tensor { layer: layers.len() - 1, call: 0, number: 0 };
    Ok(Graph { layers, inputs: vec![0], outputs: vec![(None, last)] })
}

fn functional(config: &Json) -> Result<Graph, String> {
    let list = list(config)?;
    let mut layers: Vec<Layer> =
        list.iter().enumerate().map(|(i, l)| layer(l, i)).collect::<Result<_, _>>()?;
    let mut names = std::collections::HashMap::new();
    for (i, layer) in layers.iter().enumerate() {
        if names.insert(layer.name.clone(), i).is_some() {
            return Err(format!("two layers are called {:?}; names must be unique", layer.name));
        }
    }
    let find = |name: &str| names.get(name).copied().ok_or_else(|| format!("there is no layer {name:?}"));
    for (layer, json) in layers.iter_mut().zip(list) {
        let nodes = json.get("inbound_nodes").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        layer.calls = nodes
            .iter()
            .map(|node| call(node, &find))
            .collect::<Result<_, _>>()
            .map_err(|e| format!("inputs of layer {:?}: {e}", layer.name))?;
    }
    let ends = |key: &str| {
        let mut found = Vec::new();
        let json = config.get(key).ok_or_else(|| format!("expected {key}, found none"))?;
        tensors(json, None, &find, &mut found)?;
        if found.is_empty() {
            return Err(format!("expected at least one of {key}, found {}", brief(json)));
        }
        Ok(found)
    };
    let inputs = ends("input_layers")?.into_iter().map(|(_, t)| t.layer).collect();
    let outputs = ends("output_layers")?;
    Ok(Graph { layers, inputs, outputs })
}

type Find<'a> = &'a dyn Fn(&str) -> Result<usize, String>;

/// One entry of `inbound_nodes`.
fn call(node: &Json, find: Find<'_>) -> Result<Call, String> {
    let mut call = Call::default();
    let entries = match node {
        Json::Object(_) => {
            node.get("args").map_or(Ok(()), |args| positional(args, find, &mut call))?;
            let named = node.get("kwargs").and_then(Json::as_object);
            named.map_or(Ok(()), |named| keywords(named, find, &mut call))?;
            return Ok(call);
        }
        Json::Array(_) if reference(node, find)?.is_some() => std::slice::from_ref(node),
        Json::Array(entries) => &entries[..],
        other => return Err(format!("expected a list, found {}", brief(other))),
    };
    for entry in entries {
        match reference(entry, find)? {
            Some(tensor) => call.inputs.push(Input::Tensor(tensor)),
            None => positional(entry, find, &mut call)?,
        }
        if let Some(named) = entry.get(3).and_then(Json::as_object) {
            keywords(named, find, &mut call)?;
        }
    }
    Ok(call)
}

fn positional(json: &Json, find: Find<'_>, call: &mut Call) -> Result<(), String> {
    if let Some(tensor) = reference(json, find)? {
        call.inputs.push(Input::Tensor(tensor));
        return Ok(());
    }
    match json {
        Json::Array(list) => list.iter().try_for_each(|v| positional(v, find, call)),
        Json::Null => Ok(()),
        other => match other.as_f64() {
            Some(number) => {
                call.inputs.push(Input::Number(number));
                Ok(())
            }
            None => Err(format!("expected results of layers, found {}", brief(other))),
        },
    }
}

fn keywords(named: &Map<String, Json>, find: Find<'_>, call: &mut Call) -> Result<(), String> {
    for (key, value) in named.iter().filter(|(_, v)| !v.is_null()) {
        let mut found = Vec::new();
        // Other lists and objects are no tensors, and are answered where their key is.
        let _ = tensors(value, None, find, &mut found);
        match found.is_empty() {
            true => {
                call.options.insert(key.clone(), value.clone());
            }
            false => call.named.push((key.clone(), found.into_iter().map(|f| f.1).collect())),
        }
    }
    Ok(())
}

/// All references in a list, or in an object of them by name.
fn tensors(
    json: &Json,
    name: Option<&str>,
    find: Find<'_>,
    found: &mut Vec<(Option<String>, Tensor)>,
) -> Result<(), String> {
    if let Some(tensor) = reference(json, find)? {
        found.push((name.map(str::to_string), tensor));
        return Ok(());
    }
    match json {
        Json::Array(list) => list.iter().try_for_each(|v| tensors(v, None, find, found)),
        Json::Object(map) => map.iter().try_for_each(|(k, v)| tensors(v, Some(k), find, found)),
        other => Err(format!("expected results of layers, found {}", brief(other))),
    }
}

/// `["dense", 0, 0]`, or Keras 3's object of that.
fn reference(json: &Json, find: Find<'_>) -> Result<Option<Tensor>, String> {
    let history = match json {
        Json::Object(map) if map.get("class_name").and_then(Json::as_str) == Some("__keras_tensor__") => {
            json.pointer("/config/keras_history").and_then(Json::as_array)
        }
        Json::Array(list) if list.first().is_some_and(Json::is_string) => Some(list),
        _ => return Ok(None),
    };
    let number = |i: usize| {
        let at = history.and_then(|h| h.get(i)).and_then(Json::as_u64);
        at.and_then(|n| usize::try_from(n).ok())
    };
    match (history.and_then(|h| h.first()).and_then(Json::as_str), number(1), number(2)) {
        (Some(name), Some(call), Some(number)) => Ok(Some(Tensor { layer: find(name)?, call, number })),
        _ => Err(format!("expected [layer, number, number], found {}", brief(json))),
    }
}
