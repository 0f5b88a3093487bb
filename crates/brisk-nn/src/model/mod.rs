//! Models: layers with names, and the way from one to the next.

mod build;
mod sequential;
mod summary;

use std::collections::HashMap;

use brisk_graph::{Builder, DType, Role, Shape, Value};
use brisk_runtime::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Context, Error, LayerConfig, LayerSpec, ParamSpec, Result};

pub use sequential::Sequential;

/// The name that stands for what comes into a model.
pub const INPUT: &str = "input";

/// A network: the shape of a sample, and layers in the order in which they are computed. The last one's result is the
/// model's.
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
    input: Shape,
    layers: Vec<ModelLayer>,
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
    /// The shape of what it yields for one sample.
    pub output: Shape,
}

/// Where a layer's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What comes into the model.
    Input,
    /// The layer of this number.
    Layer(usize),
}

/// A model as it is written down.
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
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The shape of one sample: `[height, width, channels]`.
    pub input_shape: Vec<usize>,
    /// The layers.
    pub layers: Vec<LayerSpec>,
}

impl TryFrom<ModelConfig> for Model {
    type Error = Error;

    fn try_from(config: ModelConfig) -> Result<Model> {
        Model::from_layers(config.input_shape, config.layers)
    }
}

impl From<Model> for ModelConfig {
    fn from(model: Model) -> ModelConfig {
        ModelConfig { input_shape: model.input.to_vec(), layers: model.specs() }
    }
}

impl Model {
    /// Checks names, connections and shapes.
    pub fn from_layers(input_shape: impl Into<Shape>, layers: Vec<LayerSpec>) -> Result<Model> {
        let mut model = Model { input: input_shape.into(), layers: build::place(layers)? };
        if model.input.contains(&0) || model.input.elements() > 1 << 32 {
            let message = format!(
                "expected sizes of at least 1 and fewer than 2^32 values a sample, found {}",
                model.input
            );
            return Err(Error::layer(INPUT, message));
        }
        let builder = Builder::new();
        let mut cx = Context::new(&builder);
        let x = model.input_value(&builder);
        let values = model.record(&mut cx, x)?;
        for (layer, value) in model.layers.iter_mut().zip(values) {
            layer.output = crate::layer::sample(value);
        }
        Ok(model)
    }

    /// The shape of one sample.
    pub fn input_shape(&self) -> &Shape {
        &self.input
    }

    /// The shape of the result for one sample.
    pub fn output_shape(&self) -> &Shape {
        self.layers.last().map_or(&self.input, |l| &l.output)
    }

    /// The layers, in the order in which they are computed.
    pub fn layers(&self) -> &[ModelLayer] {
        &self.layers
    }

    /// The layers as configuration, with all names written out, and connections where they are not to the layer before.
    pub fn specs(&self) -> Vec<LayerSpec> {
        let spec = |(i, layer): (usize, &ModelLayer)| {
            let before = i.checked_sub(1).map_or(Source::Input, Source::Layer);
            let inputs = match layer.inputs[..] == [before] {
                true => Vec::new(),
                false => layer.inputs.iter().map(|&s| self.source_name(s).to_string()).collect(),
            };
            LayerSpec { name: Some(layer.name.clone()), inputs, layer: layer.layer.clone() }
        };
        self.layers.iter().enumerate().map(spec).collect()
    }

    /// Records the forward pass: from a batch to the result of the last layer.
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
        let found = crate::layer::sample(x);
        if found != self.input || x.rank() == 0 {
            let message = format!(
                "expected samples of {}, found {found}; resize them, or change the model's input",
                self.input
            );
            return Err(Error::layer(INPUT, message));
        }
        Ok(self.record(cx, x)?.pop().unwrap_or(x))
    }

    /// Records the forward pass and gives every layer's result.
    pub fn record<'g>(&self, cx: &mut Context<'g>, x: Value<'g>) -> Result<Vec<Value<'g>>> {
        let mut values: Vec<Value<'g>> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let value_of = |s: &Source| match *s {
                Source::Input => x,
                Source::Layer(i) => values[i],
            };
            let inputs: Vec<_> = layer.inputs.iter().map(value_of).collect();
            values.push(cx.layer(&layer.name, layer.layer.as_layer(), &inputs)?);
        }
        Ok(values)
    }

    /// Its parameters and other state, in the order of the layers.
    pub fn param_specs(&self) -> Result<Vec<ParamSpec>> {
        let builder = Builder::new();
        let mut cx = Context::new(&builder);
        self.record(&mut cx, self.input_value(&builder))?;
        Ok(cx.params().iter().map(|p| p.0.clone()).collect())
    }

    /// The starting values of all parameters and other state.
    pub fn init_state(&self, seed: u64) -> Result<State> {
        let start = |p: ParamSpec| Ok((p.name.clone(), p.initializer.tensor(seed, &p.name, &p.shape)?));
        self.param_specs()?.into_iter().map(start).collect()
    }

    /// What a layer's input is called.
    pub fn source_name(&self, source: Source) -> &str {
        match source {
            Source::Input => INPUT,
            Source::Layer(i) => &self.layers[i].name,
        }
    }

    fn input_value<'g>(&self, builder: &'g Builder) -> Value<'g> {
        builder.input(INPUT, Role::Batch, [&[1], &self.input[..]].concat(), DType::F32)
    }

    /// Number of parameters by layer: of those that training changes, and of others.
    pub(crate) fn counts(&self) -> Result<HashMap<String, (usize, usize)>> {
        let mut counts = HashMap::new();
        for spec in self.param_specs()? {
            let layer = spec.name.rsplit_once('.').map_or("", |n| n.0).to_string();
            let (trainable, fixed) = counts.entry(layer).or_insert((0usize, 0usize));
            let count = if spec.trainable { trainable } else { fixed };
            *count = count.saturating_add(spec.shape.elements());
        }
        Ok(counts)
    }
}
