//! Models: layers with names, and the way from one to the next.

mod build;
mod input;
mod sequential;
mod summary;

use std::collections::HashMap;

use brisk_graph::{Builder, DType, Role, Shape, Value};
use brisk_runtime::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Context, Error, LayerConfig, LayerSpec, ParamSpec, Result};

pub use input::{INPUT, ModelInput, Rows, Scaling, X};
pub use sequential::Sequential;

/// A network: what comes in, layers in the order in which they are computed, and which of their results are the model's:
/// the last one's, or those that are named.
///
/// ```
/// use brisk_nn::{Dense, Flatten, LayerSpec, Model};
/// let model = Model::from_layers([28, 28, 1], vec![Flatten {}.into(), Dense::new(10).into()])?;
/// assert_eq!(model.layers()[1].name, "dense");
/// let state = model.init_state(42)?;
/// assert_eq!(state.get("dense.kernel").unwrap().shape().dims(), [784, 10]);
/// let text = serde_json::to_string(&model)?;
/// assert_eq!(serde_json::from_str::<Model>(&text)?, model);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModelConfig", into = "ModelConfig")]
pub struct Model {
    inputs: Vec<ModelInput>,
    layers: Vec<ModelLayer>,
    /// The numbers of the layers whose results are the model's.
    outputs: Vec<usize>,
    /// One row of the first input, and of the first output, at the example length.
    input: Shape,
    output: Shape,
    /// What stands for lengths that differ from batch to batch where a graph is only made to be looked at.
    length: usize,
}

/// A layer in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelLayer {
    /// Its name, unique in the model.
    pub name: String,
    /// The layer.
    pub layer: LayerConfig,
    /// Where its inputs come from.
    pub inputs: Vec<Source>,
    /// The number of the earlier layer whose parameters it uses; `None` if it has its own.
    pub shares: Option<usize>,
    /// The sizes of one row of what it yields; `None` for a length that differs from batch to batch.
    pub output: Vec<Option<usize>>,
}

/// What stands behind a recurrent layer's name where its last state is meant: `encoder.state`.
const STATE: &str = ".state";

/// Where a layer's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What comes into the model: the input of this number.
    Input(usize),
    /// The layer of this number.
    Layer(usize),
    /// The last state of the recurrent layer of this number, `NAME.state`.
    State(usize),
}

/// A model as it is written down: in short with an `input_shape`, or with `inputs` by name.
///
/// ```
/// use brisk_nn::{Model, ModelConfig};
/// let config: ModelConfig = serde_saphyr::from_str("
/// input_shape: [28, 28, 1]
/// layers:
/// - Flatten
/// - Dense: {units: 10}
/// ")?;
/// assert_eq!(Model::try_from(config)?.output_shape().dims(), [10]);
/// let config: ModelConfig = serde_saphyr::from_str("
/// inputs:
/// - {name: size, shape: [1]}
/// - {name: picture, shape: [8, 8, 1], dtype: u8, scaling: {scale: 0.004}}
/// outputs: [kind, price]
/// layers:
/// - Flatten: {inputs: [picture]}
/// - Concatenate: {name: both, inputs: [flatten, size]}
/// - Dense: {name: kind, units: 3}
/// - Dense: {name: price, units: 1, inputs: [both]}
/// ")?;
/// assert_eq!(Model::try_from(config)?.outputs(), ["kind", "price"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The shape of one sample, of a model with one input called `input`: `[height, width, channels]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_shape: Option<Vec<usize>>,
    /// What comes in, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<ModelInput>,
    /// The layers.
    pub layers: Vec<LayerSpec>,
    /// The layers whose results are the model's; left out: the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
}

impl TryFrom<ModelConfig> for Model {
    type Error = Error;

    fn try_from(config: ModelConfig) -> Result<Model> {
        let inputs = match (config.input_shape, config.inputs) {
            (Some(shape), inputs) if inputs.is_empty() => vec![ModelInput::new(INPUT, shape)],
            (None, inputs) if !inputs.is_empty() => inputs,
            _ => return Err(Error::layer("model", "expected either `input_shape` or `inputs`")),
        };
        Model::new(inputs, config.layers, &config.outputs)
    }
}

impl From<Model> for ModelConfig {
    fn from(model: Model) -> ModelConfig {
        let layers = model.specs();
        let outputs = match model.outputs[..] == [model.layers.len() - 1] {
            true => Vec::new(),
            false => model.outputs().iter().map(|o| o.to_string()).collect(),
        };
        match model.inputs == [ModelInput::new(INPUT, model.input.to_vec())] {
            true => {
                ModelConfig { input_shape: Some(model.input.to_vec()), layers, outputs, ..Self::default() }
            }
            false => ModelConfig { inputs: model.inputs, layers, outputs, ..Self::default() },
        }
    }
}

/// What stands for lengths that differ from batch to batch while shapes are checked: two each time, to see which sizes
/// follow from them. The smaller ones are for models that take short texts only.
const LENGTHS: [[usize; 2]; 3] = [[64, 96], [16, 24], [4, 6]];

impl Model {
    /// A model with one input, [`INPUT`], and one output: the last layer's. Checks names, connections and shapes.
    pub fn from_layers(input_shape: impl Into<Shape>, layers: Vec<LayerSpec>) -> Result<Model> {
        Model::new(vec![ModelInput::new(INPUT, input_shape.into().to_vec())], layers, &[])
    }

    /// A model with inputs by name, and outputs that are the results of the named layers; none: the last layer's. Checks
    /// names, connections and shapes.
    ///
    /// ```
    /// use brisk_nn::prelude::*;
    /// use brisk_nn::{LayerSpec, ModelInput};
    /// let layers = vec![
    ///     LayerSpec::new(Concatenate::new()).inputs(["size", "weight"]),
    ///     LayerSpec::new(Dense::new(3)).name("kind"),
    ///     LayerSpec::new(Dense::new(1)).name("price").inputs(["concatenate"]),
    /// ];
    /// let inputs = vec![ModelInput::new("size", [2]), ModelInput::new("weight", [1])];
    /// let model = Model::new(inputs, layers, &["kind".into(), "price".into()])?;
    /// assert_eq!(model.outputs(), ["kind", "price"]);
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn new(inputs: Vec<ModelInput>, layers: Vec<LayerSpec>, outputs: &[String]) -> Result<Model> {
        let (layers, outputs) = build::place(&inputs, layers, outputs)?;
        let (input, output) = Default::default();
        let mut model = Model { inputs, layers, outputs, input, output, length: LENGTHS[0][0] };
        let differs = |i: &ModelInput| i.rows != Rows::Samples || i.shape.contains(&None);
        let lengths = if model.inputs.iter().any(differs) { &LENGTHS[..] } else { &LENGTHS[..1] };
        let mut tried = model.rows(lengths[0]);
        for &lengths in &lengths[1..] {
            if tried.is_err()
                && let Ok(rows) = model.rows(lengths)
            {
                (tried, model.length) = (Ok(rows), lengths[0]);
            }
        }
        let rows = tried?;
        for (layer, [a, b]) in model.layers.iter_mut().zip(&rows) {
            layer.output = a.iter().zip(b.iter()).map(|(a, b)| (a == b).then_some(*a)).collect();
        }
        model.input =
            model.inputs[0].shape.iter().map(|d| d.unwrap_or(model.length)).collect::<Vec<_>>().into();
        model.output = rows[model.outputs[0]][0].clone();
        Ok(model)
    }

    /// One row of each layer's result, at two example lengths.
    fn rows(&self, lengths: [usize; 2]) -> Result<Vec<[Shape; 2]>> {
        let rows = |length| {
            let builder = Builder::new();
            let mut cx = Context::new(&builder);
            let values = self.record(&mut cx, &self.examples(&builder, length, 1))?;
            Ok::<Vec<Shape>, Error>(values.into_iter().map(crate::layer::sample).collect())
        };
        Ok(rows(lengths[0])?.into_iter().zip(rows(lengths[1])?).map(|(a, b)| [a, b]).collect())
    }

    /// What comes in.
    pub fn inputs(&self) -> &[ModelInput] {
        &self.inputs
    }

    /// Says how an input is stored, and what happens to its values first.
    ///
    /// ```
    /// use brisk_graph::DType;
    /// use brisk_nn::prelude::*;
    /// use brisk_nn::{INPUT, Scaling};
    /// let mut model = Sequential::new([28, 28, 1]).add(Flatten {}).add(Dense::new(10)).build()?;
    /// model.set_stored(INPUT, DType::U8, Scaling::bytes())?;
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn set_stored(&mut self, input: &str, dtype: DType, scaling: Scaling) -> Result<()> {
        let known = self.inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
        match self.inputs.iter_mut().find(|i| i.name == input) {
            Some(own) if (own.dtype == DType::I32) == (dtype == DType::I32) => {
                (own.dtype, own.scaling) = (dtype, scaling);
                Ok(())
            }
            Some(own) => Err(Error::layer(input, format!("expected values of {}, found {dtype}", own.dtype))),
            None => Err(Error::layer("model", format!("there is no input \"{input}\"; there are: {known}"))),
        }
    }

    /// The names of the layers whose results are the model's.
    pub fn outputs(&self) -> Vec<&str> {
        self.outputs.iter().map(|&o| self.layers[o].name.as_str()).collect()
    }

    /// The shape of one row of the first input. For a length that differs from batch to batch, an example stands in it.
    pub fn input_shape(&self) -> &Shape {
        &self.input
    }

    /// The shape of one row of the first output. For a length that differs from batch to batch, an example stands in it.
    pub fn output_shape(&self) -> &Shape {
        &self.output
    }

    /// The sizes of one row of each output.
    pub fn output_sizes(&self) -> Vec<&[Option<usize>]> {
        self.outputs.iter().map(|&o| &self.layers[o].output[..]).collect()
    }

    /// The layers, in the order in which they are computed.
    pub fn layers(&self) -> &[ModelLayer] {
        &self.layers
    }

    /// The layers as configuration, with all names written out, and connections where they are not to the layer before.
    pub fn specs(&self) -> Vec<LayerSpec> {
        let spec = |(i, layer): (usize, &ModelLayer)| {
            let inputs = match layer.inputs == build::before(i, self.inputs.len()) {
                true => Vec::new(),
                false => layer.inputs.iter().map(|&s| self.source_name(s)).collect(),
            };
            let shares = layer.shares.map(|s| self.layers[s].name.clone());
            LayerSpec { name: Some(layer.name.clone()), inputs, shares, layer: layer.layer.clone() }
        };
        self.layers.iter().enumerate().map(spec).collect()
    }

    /// Records the forward pass of a model with one input: from a batch, scaled, to the first output.
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role};
    /// use brisk_nn::{Context, Dense, Sequential};
    /// let model = Sequential::new([4]).add(Dense::new(3)).build()?;
    /// let b = Builder::new();
    /// let x = b.input("x", Role::Batch, [32, 4], DType::F32);
    /// let y = model.forward(&mut Context::new(&b), x)?;
    /// assert_eq!(y.shape().dims(), [32, 3]);
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn forward<'g>(&self, cx: &mut Context<'g>, x: Value<'g>) -> Result<Value<'g>> {
        Ok(self.forward_all(cx, &[x])?[0])
    }

    /// Records the forward pass: from a batch of each input, scaled, to the model's outputs.
    pub fn forward_all<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Vec<Value<'g>>> {
        if inputs.len() != self.inputs.len() {
            let message = format!("takes {} inputs, found {}", self.inputs.len(), inputs.len());
            return Err(Error::layer("model", message));
        }
        for (input, x) in self.inputs.iter().zip(inputs) {
            let found = crate::layer::sample(*x);
            if !input.fits(&found) || x.rank() == 0 {
                let message = format!(
                    "expected samples of {}, found {found}; resize them, or change the model's input",
                    input.describe()
                );
                return Err(Error::layer(&input.name, message));
            }
        }
        let values = self.record(cx, inputs)?;
        Ok(self.outputs.iter().map(|&o| values[o]).collect())
    }

    /// Whether it answers so many samples at a time, each by itself. A graph from elsewhere may have been made for another number.
    ///
    /// ```
    /// use brisk_nn::{Dense, Sequential};
    /// assert!(Sequential::new([4]).add(Dense::new(3)).build()?.answers(7));
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn answers(&self, samples: usize) -> bool {
        let builder = Builder::new();
        let found =
            self.forward_all(&mut Context::new(&builder), &self.examples(&builder, self.length, samples));
        let each = |outputs: Vec<Value<'_>>| outputs.iter().all(|y| y.shape().first() == Some(&samples));
        found.is_ok_and(each) && builder.check().is_ok()
    }

    /// Records the forward pass and gives every layer's result.
    pub fn record<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Vec<Value<'g>>> {
        let mut values: Vec<Value<'g>> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let value_of = |s: &Source| match *s {
                Source::Input(i) => Ok(inputs[i]),
                Source::Layer(i) => Ok(values[i]),
                Source::State(i) => cx.state_of(values[i]).ok_or_else(|| {
                    let name = &self.layers[i].name;
                    let message = format!(
                        "it leaves no state for \"{}\"; use a recurrent layer with return_state: true",
                        layer.name
                    );
                    Error::layer(name, message)
                }),
            };
            let inputs = layer.inputs.iter().map(value_of).collect::<Result<Vec<_>>>()?;
            let scope = layer.shares.map_or(&layer.name, |s| &self.layers[s].name);
            values.push(cx.layer(scope, layer.layer.as_layer(), &inputs)?);
        }
        Ok(values)
    }

    /// Its parameters and other state, in the order of the layers.
    pub fn param_specs(&self) -> Result<Vec<ParamSpec>> {
        let builder = Builder::new();
        self.specs_in(Context::new(&builder))
    }

    /// The same as a context hands them out.
    pub(crate) fn specs_in(&self, mut cx: Context<'_>) -> Result<Vec<ParamSpec>> {
        let builder = cx.builder();
        self.record(&mut cx, &self.examples(builder, self.length, 1))?;
        Ok(cx.params().iter().map(|p| p.0.clone()).collect())
    }

    /// The starting values of all parameters and other state.
    pub fn init_state(&self, seed: u64) -> Result<State> {
        start(&self.param_specs()?, seed)
    }

    /// What a layer's input is called.
    pub fn source_name(&self, source: Source) -> String {
        match source {
            Source::Input(i) => self.inputs[i].name.clone(),
            Source::Layer(i) => self.layers[i].name.clone(),
            Source::State(i) => format!("{}{STATE}", self.layers[i].name),
        }
    }

    /// Samples of each input, with an example for lengths that differ.
    fn examples<'g>(&self, builder: &'g Builder, length: usize, samples: usize) -> Vec<Value<'g>> {
        let example = |input: &ModelInput| {
            let rows = if input.rows == Rows::Tokens { length } else { samples };
            let sizes = input.shape.iter().map(|d| d.unwrap_or(length));
            let shape: Vec<usize> = std::iter::once(rows).chain(sizes).collect();
            builder.input(&input.name, Role::Batch, shape, input.layer_dtype())
        };
        self.inputs.iter().map(example).collect()
    }

    /// Number of parameters by layer: of those that training changes, and of others.
    pub(crate) fn counts(&self) -> Result<HashMap<String, (usize, usize)>> {
        let mut counts = HashMap::new();
        for spec in self.param_specs()? {
            let layer = spec.name.split_once('.').map_or("", |n| n.0).to_string();
            let (trainable, fixed) = counts.entry(layer).or_insert((0usize, 0usize));
            let count = if spec.trainable { trainable } else { fixed };
            *count = count.saturating_add(spec.shape.elements());
        }
        Ok(counts)
    }
}

/// The starting values of parameters and other state.
pub(crate) fn start(specs: &[ParamSpec], seed: u64) -> Result<State> {
    let start = |p: &ParamSpec| Ok((p.name.clone(), p.initializer.tensor(seed, &p.name, &p.shape)?));
    specs.iter().map(start).collect()
}
