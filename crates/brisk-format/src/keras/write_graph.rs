//! `config.json`: the layers of a model and what connects them, as Keras writes them.

use std::collections::{HashMap, HashSet};

use brisk_graph::DType;
use brisk_nn::{Activation, LayerConfig, ModelInput, ModelLayer, Rows, Scaling, Source};
use serde_json::{Map, Value as Json, json};

use super::args::snake;
use super::write_layer::{self, Layer};
use super::write_weights::Place;
use crate::SavedModel;

/// A result in Keras: a layer, the number of its call, and what of it.
#[derive(Clone)]
struct Tensor {
    layer: String,
    call: usize,
    number: usize,
    shape: Vec<Option<usize>>,
}

/// The layers of Keras, and where their weights are.
pub(super) struct Written {
    layers: Vec<Json>,
    /// The place of each layer in the list, by its name.
    places: HashMap<String, usize>,
    inputs: Vec<String>,
    outputs: Vec<(String, Tensor)>,
    pub weights: Vec<Place>,
    counts: HashMap<String, usize>,
    names: HashSet<String>,
}

impl Written {
    pub fn new(saved: &SavedModel) -> Result<Written, String> {
        let model = &saved.model;
        let names = model
            .layers()
            .iter()
            .map(|l| l.name.clone())
            .chain(model.inputs().iter().map(|i| i.name.clone()));
        let mut written = Written {
            layers: Vec::new(),
            places: HashMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            weights: Vec::new(),
            counts: HashMap::new(),
            names: names.collect(),
        };
        let inputs = model.inputs().iter().map(|i| written.input(i)).collect::<Result<Vec<_>, _>>()?;
        let problems: Vec<String> = model
            .layers()
            .iter()
            .filter_map(|l| {
                write_layer::layer(&l.layer)
                    .err()
                    .map(|e| format!("layer {:?} ({}): {e}", l.name, l.layer.kind()))
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let mut results: Vec<Tensor> = Vec::new();
        for layer in model.layers() {
            let result = written
                .layer(saved, layer, &inputs, &results)
                .map_err(|e| format!("layer {:?} ({}): {e}", layer.name, layer.layer.kind()))?;
            results.push(result);
        }
        for (output, name) in saved.outputs.iter().zip(model.outputs()) {
            let Some(place) = model.layers().iter().position(|l| l.name == name) else { continue };
            let own = match &output.loss {
                loss if loss.is_binary() => "sigmoid",
                loss if loss.is_classification() => "softmax",
                _ => {
                    written.outputs.push((output.name.clone(), results[place].clone()));
                    continue;
                }
            };
            let result = written.say(&model.layers()[place], results[place].clone(), own, model.layers());
            written.outputs.push((output.name.clone(), result));
        }
        Ok(written)
    }

    /// The configuration of the functional model.
    pub fn config(&self) -> Json {
        let tensor = |t: &Tensor| json!([t.layer, t.call, t.number]);
        let outputs = match &self.outputs[..] {
            [(_, one)] => json!([tensor(one)]),
            several => Json::Object(several.iter().map(|(name, t)| (name.clone(), tensor(t))).collect()),
        };
        let inputs: Vec<Json> = self.inputs.iter().map(|i| json!([i, 0, 0])).collect();
        json!({"name": "functional", "trainable": true, "layers": self.layers, "input_layers": inputs, "output_layers": outputs})
    }

    /// A name that no layer has.
    fn free(&mut self, wish: &str) -> String {
        let mut name = wish.to_string();
        let mut number = 0;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wish}_{number}");
        }
        name
    }

    /// Adds a layer with its first call, or a call to one that is there.
    fn add(&mut self, name: &str, layer: &Layer, args: Json, kwargs: Json) -> usize {
        let node = json!({"args": args, "kwargs": kwargs});
        if let Some(nodes) = self
            .places
            .get(name)
            .and_then(|&p| self.layers.get_mut(p)?.get_mut("inbound_nodes")?.as_array_mut())
        {
            nodes.push(node);
            return nodes.len() - 1;
        }
        let mut config = layer.config.clone();
        config.insert("name".into(), json!(name));
        config.insert("dtype".into(), json!("float32"));
        let word = snake(layer.class);
        let count = self.counts.entry(word.clone()).or_default();
        let path = if *count == 0 { format!("layers/{word}") } else { format!("layers/{word}_{count}") };
        *count += 1;
        let place = |w: &super::classes::Placed| Place {
            name: Some(format!("{name}.{}", w.name)),
            path: format!("{path}/{}", w.path),
            shape: None,
        };
        self.weights.extend(layer.weights.iter().map(place));
        if layer.class == "Normalization" {
            self.weights.push(Place { name: None, path: format!("{path}/vars/2"), shape: None });
        }
        self.places.insert(name.into(), self.layers.len());
        self.layers.push(json!({
            "module": "keras.layers",
            "class_name": layer.class,
            "config": config,
            "registered_name": null,
            "name": name,
            "inbound_nodes": [node],
        }));
        0
    }

    /// An input, scaled as Brisk scales it.
    fn input(&mut self, input: &ModelInput) -> Result<Tensor, String> {
        if input.rows != Rows::Samples {
            return Err(format!(
                "input {:?} has packed texts, which Keras does not have; export a model of padded ones",
                input.name
            ));
        }
        let dtype = match input.dtype {
            DType::I32 => "int32",
            DType::U8 => "uint8",
            _ => "float32",
        };
        let shape: Vec<Option<usize>> = std::iter::once(None).chain(input.shape.iter().copied()).collect();
        let config = json!({"batch_shape": shape, "dtype": dtype, "sparse": false, "ragged": false, "name": input.name});
        self.layers.push(json!({
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": config,
            "registered_name": null,
            "name": input.name,
            "inbound_nodes": [],
        }));
        self.inputs.push(input.name.clone());
        let result = Tensor { layer: input.name.clone(), call: 0, number: 0, shape };
        if input.scaling.is_none() && input.dtype != DType::U8 || input.dtype == DType::I32 {
            return Ok(result);
        }
        let name = self.free(&format!("{}_scaling", input.name));
        let call = self.add(&name, &rescaling(&input.scaling), json!([keras(&result)]), json!({}));
        Ok(Tensor { layer: name, call, ..result })
    }

    fn layer(
        &mut self,
        saved: &SavedModel,
        own: &ModelLayer,
        inputs: &[Tensor],
        results: &[Tensor],
    ) -> Result<Tensor, String> {
        let written = write_layer::layer(&own.layer)?;
        let mut kwargs = Map::new();
        let mut given = Vec::new();
        for source in &own.inputs {
            let found = match *source {
                Source::Input(i) => inputs.get(i),
                Source::Layer(i) => results.get(i),
                Source::State(i) => {
                    let Some(result) = results.get(i) else { continue };
                    let parts =
                        if matches!(saved.model.layers()[i].layer, LayerConfig::LSTM(_)) { 2 } else { 1 };
                    let state = |number| keras(&Tensor { number, ..result.clone() });
                    kwargs.insert("initial_state".into(), (1..=parts).map(state).collect());
                    continue;
                }
            };
            given.extend(found);
        }
        let is_recurrent =
            matches!(&own.layer, LayerConfig::LSTM(_) | LayerConfig::GRU(_) | LayerConfig::SimpleRNN(_));
        let tensors: Vec<Json> = given.iter().map(|t| keras(t)).collect();
        let args = match (&own.layer, &tensors[..]) {
            (LayerConfig::LSTM(_), [_, _]) => {
                return Err(
                    "its initial state is one tensor, where Keras has two; take it from another LSTM".into(),
                );
            }
            (_, [x, state]) if is_recurrent => {
                kwargs.insert("initial_state".into(), json!([state]));
                json!([x])
            }
            (_, _) if !kwargs.is_empty() && !is_recurrent => {
                return Err(
                    "it reads the state of a recurrent layer, which only recurrent layers do in Keras".into(),
                );
            }
            (LayerConfig::MultiHeadAttention(_), [query]) => json!([query, query]),
            (LayerConfig::MultiHeadAttention(_), several) => json!(several),
            (_, [one]) => json!([one]),
            (_, several) => json!([several]),
        };
        if let LayerConfig::MultiHeadAttention(attention) = &own.layer
            && attention.use_causal_mask
        {
            kwargs.insert("use_causal_mask".into(), json!(true));
        }
        let name = own.shares.map_or(&own.name, |s| &saved.model.layers()[s].name);
        let before = self.weights.len();
        let call = self.add(name, &written, args, Json::Object(kwargs));
        if let LayerConfig::MultiHeadAttention(attention) = &own.layer {
            let value_dim = attention.value_dim.unwrap_or(attention.key_dim);
            split_heads(
                &mut self.weights[before..],
                saved,
                [attention.num_heads, attention.key_dim, value_dim],
            );
        }
        let shape: Vec<Option<usize>> = std::iter::once(None).chain(own.output.iter().copied()).collect();
        let result = Tensor { layer: name.clone(), call, number: 0, shape };
        let Some((class, config)) = written.then else { return Ok(result) };
        let after = self.free(&format!("{}_activation", own.name));
        let then = Layer { class, config, weights: vec![], then: None };
        let call = self.add(&after, &then, json!([keras(&result)]), json!({}));
        Ok(Tensor { layer: after, call, ..result })
    }

    /// What an output says: softmax or sigmoid of its layer's result, in that layer where nobody else reads it.
    fn say(&mut self, own: &ModelLayer, result: Tensor, activation: &str, all: &[ModelLayer]) -> Tensor {
        let place = self.places.get(&own.name).copied();
        let number = all.iter().position(|l| l.name == own.name);
        let is_read =
            all.iter().any(|l| l.inputs.iter().any(|s| matches!(s, Source::Layer(i) if Some(*i) == number)));
        let is_shared = own.shares.is_some() || all.iter().any(|l| l.shares.is_some() && l.shares == number);
        let is_plain = matches!(&own.layer, LayerConfig::Dense(d) if d.activation == Activation::Linear);
        if let (true, false, false, Some(place)) = (is_plain, is_read, is_shared, place)
            && let Some(config) = self.layers[place].get_mut("config").and_then(Json::as_object_mut)
        {
            config.insert("activation".into(), json!(activation));
            return result;
        }
        let name = self.free(&format!("{}_{activation}", own.name));
        let config = [("activation".to_string(), json!(activation))].into_iter().collect();
        let layer = Layer { class: "Activation", config, weights: vec![], then: None };
        let call = self.add(&name, &layer, json!([keras(&result)]), json!({}));
        Tensor { layer: name, call, number: 0, ..result }
    }
}

fn keras(t: &Tensor) -> Json {
    let history = json!([t.layer, t.call, t.number]);
    json!({"class_name": "__keras_tensor__", "config": {"shape": t.shape, "dtype": "float32", "keras_history": history}})
}

/// `(x * scale - mean) / std` as one product and one sum.
fn rescaling(scaling: &Scaling) -> Layer {
    let channels = scaling.mean.len().max(scaling.std.len()).max(1);
    let std = |i: usize| scaling.std.get(i).copied().unwrap_or(1.0);
    let mean = |i: usize| scaling.mean.get(i).copied().unwrap_or(0.0);
    let scale: Vec<f64> = (0..channels).map(|i| scaling.scale / std(i)).collect();
    let offset: Vec<f64> = (0..channels).map(|i| -mean(i) / std(i)).collect();
    let one = |values: Vec<f64>| if let [one] = values[..] { json!(one) } else { json!(values) };
    let config =
        [("scale".to_string(), one(scale)), ("offset".to_string(), one(offset))].into_iter().collect();
    Layer { class: "Rescaling", config, weights: vec![], then: None }
}

/// Keras has an axis of heads, and one of their size.
fn split_heads(places: &mut [Place], saved: &SavedModel, [heads, key, value]: [usize; 3]) {
    for place in places {
        let name = place.name.as_deref().unwrap_or_default();
        let Some(tensor) = saved.state.get(name) else { continue };
        let part = name.rsplit('.').nth(1).unwrap_or_default();
        let size = if matches!(part, "query" | "key") { key } else { value };
        place.shape = match (part, &tensor.shape()[..]) {
            ("output", &[_, out]) => Some(vec![heads, size, out]),
            ("output", _) => None,
            (_, &[features, _]) => Some(vec![features, heads, size]),
            _ => Some(vec![heads, size]),
        };
    }
}
