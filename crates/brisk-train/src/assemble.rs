//! The model of a project over typed features: an encoder for each input, a combiner, layers, and a head for each output.

use std::path::Path;

use brisk_data::{Feature, Features, Layout, Layouts, Target};
use brisk_format::{Head, HfFolder, LoadReport, SentencePooling};
use brisk_graph::DType;
use brisk_nn::{
    Activation, AttentionPooling, Concatenate, Dense, Dropout, INPUT, LayerConfig, LayerSpec, Loss,
    MaskedLanguageHead, Model, ModelInput, Pooling, Scaling, SequencePooling, TaskOutput, TextEncoder, zoo,
};
use brisk_runtime::State;

use crate::project::{Combiner, HeadSpec, ModelSpec, TrainSpec};
use crate::table::MASKED;
use crate::{Error, Result};

/// Share of values dropped before a head on a pretrained encoder, where its folder does not say.
const HEAD_DROPOUT: f64 = 0.1;

/// What the output is called where there is nothing to be told.
const EMBEDDING: &str = "embedding";

/// A model made for features.
pub struct Assembly {
    /// The model.
    pub model: Model,
    /// What its outputs are for.
    pub outputs: Vec<TaskOutput>,
    /// How the batches must lay texts.
    pub layouts: Layouts,
}

/// The pretrained encoder that a project starts from.
pub struct Pretrained {
    folder: HfFolder,
}

impl Pretrained {
    /// Opens the folder that a project names, if it names one.
    pub fn open(path: &Path) -> Result<Pretrained> {
        Ok(Pretrained { folder: HfFolder::open(path)? })
    }

    /// The folder.
    pub fn folder(&self) -> &HfFolder {
        &self.folder
    }

    /// Its values for the parameters of a model that has its encoder. What the model has beside stays as it is.
    pub fn load_into(&self, model: &Model, state: &mut State) -> Result<LoadReport> {
        let masked = model.layers().iter().any(|l| matches!(l.layer, LayerConfig::MaskedLanguageHead(_)));
        let head = if masked { &Head::MaskedLanguageModel } else { self.folder.head() };
        let (loaded, report) = self.folder.load_state(head)?;
        for spec in model.param_specs()? {
            if let Some(tensor) = loaded.get(&spec.name).filter(|t| *t.shape() == spec.shape) {
                state.insert(spec.name, tensor.clone());
            }
        }
        Ok(report)
    }

    /// The kind of head that an output asks for.
    fn head(target: &Target) -> Head {
        match target {
            Target::Category { labels, .. } => Head::Classification { labels: labels.len() },
            Target::Labels { labels, .. } => Head::MultiLabel { labels: labels.len() },
            Target::Number { .. } => Head::Regression { outputs: 1 },
            Target::Tags { labels, .. } => Head::Tags { labels: labels.len() },
        }
    }
}

/// Builds the model of a project.
pub fn assemble(
    spec: &ModelSpec,
    train: &TrainSpec,
    features: &Features,
    pretrained: Option<&Pretrained>,
) -> Result<Assembly> {
    let mut builder =
        Builder { spec, features, pretrained, inputs: vec![], layers: vec![], layouts: Layouts::padded() };
    builder.build(train)
}

struct Builder<'a> {
    spec: &'a ModelSpec,
    features: &'a Features,
    pretrained: Option<&'a Pretrained>,
    inputs: Vec<ModelInput>,
    layers: Vec<LayerSpec>,
    layouts: Layouts,
}

/// What an input's encoder yields.
struct Encoded {
    /// The layer or input with one vector a sample.
    vector: String,
    /// The layer with a vector for each token, and the name of the text.
    tokens: Option<String>,
}

/// The same in Brisk's layers.
pub(crate) fn pooling(of: SentencePooling) -> Pooling {
    match of {
        SentencePooling::Mean => Pooling::Mean,
        SentencePooling::Cls => Pooling::Cls,
        SentencePooling::Max => Pooling::Max,
    }
}

fn fault(message: impl Into<String>) -> Error {
    Error::Project { place: "model".into(), message: message.into() }
}

impl Builder<'_> {
    fn build(&mut self, train: &TrainSpec) -> Result<Assembly> {
        let whole = self.spec.is_whole_network()
            && self.features.inputs.len() == 1
            && self.features.targets.len() <= 1;
        if let Some(unknown) = self.spec.encoders.keys().find(|n| !self.features.inputs.contains_key(*n)) {
            let known: Vec<_> = self.features.inputs.keys().map(String::as_str).collect();
            return Err(fault(format!(
                "encoders: there is no input `{unknown}`; there are {}",
                known.join(", ")
            )));
        }
        let mut outputs = Vec::new();
        if whole {
            self.whole_network()?;
            for (name, target) in &self.features.targets {
                outputs.push(self.output(name, target, train)?);
            }
            outputs.extend(self.without_target(train));
            let model = Model::new(std::mem::take(&mut self.inputs), std::mem::take(&mut self.layers), &[])?;
            return Ok(Assembly { model, outputs, layouts: self.layouts.clone() });
        }
        if self.spec.head == HeadSpec::MaskedLanguageModel {
            return self.masked();
        }
        let mut encoded = Vec::new();
        for (name, feature) in &self.features.inputs {
            encoded.push((name.clone(), self.encode(name, feature)?));
        }
        let mut trunk = self.combine(&encoded)?;
        for layer in self.spec.layers.iter().flatten() {
            trunk = self.chain(layer.clone(), trunk);
        }
        let mut heads = Vec::new();
        for (name, target) in &self.features.targets {
            let output = self.output(name, target, train)?;
            heads.push(self.head(name, target, &output.loss, &trunk, &encoded)?);
            outputs.push(output);
        }
        if let Some(output) = self.without_target(train) {
            heads.push(trunk);
            outputs.push(output);
        }
        let model = Model::new(std::mem::take(&mut self.inputs), std::mem::take(&mut self.layers), &heads)?;
        Ok(Assembly { model, outputs, layouts: self.layouts.clone() })
    }

    /// An encoder that learns to find hidden tokens.
    fn masked(&mut self) -> Result<Assembly> {
        let Some((name, feature)) = self.features.inputs.first() else {
            return Err(fault("expected a text"));
        };
        let encoder = self.encoder(name, feature)?;
        let mut head = MaskedLanguageHead { epsilon: encoder.epsilon, ..MaskedLanguageHead::default() };
        if let Some(pretrained) = self.pretrained {
            head.activation = pretrained.folder.config().head_activation(&Head::MaskedLanguageModel);
        }
        self.declare(name, feature, true)?;
        let tokens = self.push(LayerSpec::new(encoder).name("encoder").inputs([name]));
        self.push(LayerSpec::new(head).name("mlm").inputs([tokens]));
        let model = Model::new(std::mem::take(&mut self.inputs), std::mem::take(&mut self.layers), &[])?;
        let outputs = vec![TaskOutput::new(MASKED, Loss::tags())];
        Ok(Assembly { model, outputs, layouts: self.layouts.clone() })
    }

    /// The layers that the project lists, from the one input to the one output.
    fn whole_network(&mut self) -> Result<()> {
        let Some((name, feature)) = self.features.inputs.first() else { return Ok(()) };
        self.declare(name, feature, false)?;
        let classes = self.features.targets.first().map_or(1, |t| t.1.size());
        let layers = match (&self.spec.layers, &self.spec.preset) {
            (Some(layers), _) => layers.clone(),
            (None, Some(preset)) => {
                let length = feature.as_text().map_or(1, |t| t.max_length);
                (zoo::preset(preset)?.build)([length].into(), classes)?.specs()
            }
            (None, None) => Vec::new(),
        };
        for (i, layer) in layers.into_iter().enumerate() {
            let layer = self.with_vocabulary(layer, feature)?;
            let mut layer =
                if i == 0 && layer.inputs.is_empty() { layer.inputs([name.clone()]) } else { layer };
            layer.inputs.iter_mut().filter(|i| *i == INPUT).for_each(|i| i.clone_from(name));
            self.layers.push(layer);
        }
        Ok(())
    }

    /// An embedding without a number of tokens, right after a text, knows as many as its tokenizer.
    fn with_vocabulary(&self, mut layer: LayerSpec, feature: &Feature) -> Result<LayerSpec> {
        let count = match feature {
            Feature::Text(text) => text.tokenizer()?.size(),
            Feature::Category(category) => category.size(),
            _ => return Ok(layer),
        };
        if let LayerConfig::Embedding(embedding) = &mut layer.layer {
            match embedding.input_dim {
                0 => embedding.input_dim = count,
                n if n < count => {
                    return Err(fault(format!(
                        "Embedding knows {n} tokens, but its input has {count}; leave input_dim out, or let the tokenizer have fewer"
                    )));
                }
                _ => {}
            }
        }
        Ok(layer)
    }

    /// Declares the tensors of an input.
    fn declare(&mut self, name: &str, feature: &Feature, packed: bool) -> Result<()> {
        let input = match feature {
            Feature::Text(_) if packed => {
                self.layouts = self.layouts.clone().with(name, Layout::Packed);
                self.inputs.extend(ModelInput::packed_text(name));
                return Ok(());
            }
            Feature::Text(_) => ModelInput::new(name, [None]).dtype(DType::I32),
            Feature::Number(_) => ModelInput::new(name, [1]),
            Feature::Category(_) => ModelInput::new(name, [0; 0]).dtype(DType::I32),
            Feature::Vector(v) => ModelInput::new(name, [v.size()]),
            Feature::Image(i) => ModelInput::new(name, [i.image.height, i.image.width, i.image.channels])
                .dtype(DType::U8)
                .scaling(Scaling::bytes()),
        };
        self.inputs.push(input);
        Ok(())
    }

    fn chain(&mut self, layer: LayerSpec, after: String) -> String {
        let layer = if layer.inputs.is_empty() { layer.inputs([after]) } else { layer };
        self.push(layer)
    }

    /// Adds a layer, and gives its name.
    fn push(&mut self, layer: LayerSpec) -> String {
        let name = layer.name.clone().unwrap_or_else(|| {
            let prefix = layer.layer.prefix();
            let taken = |n: &str| self.layers.iter().any(|l| l.name.as_deref() == Some(n));
            let numbered = (1..).map(|i| format!("{prefix}_{i}"));
            std::iter::once(prefix.to_string()).chain(numbered).find(|n| !taken(n)).unwrap_or_default()
        });
        self.layers.push(layer.name(&name));
        name
    }

    /// One vector a sample from an input.
    fn encode(&mut self, name: &str, feature: &Feature) -> Result<Encoded> {
        let own = self.spec.encoders.get(name);
        if let (Feature::Text(_), None) = (feature, own) {
            return self.encode_text(name, feature);
        }
        self.declare(name, feature, false)?;
        let mut last = name.to_string();
        for layer in own.into_iter().flatten() {
            let layer = self.with_vocabulary(layer.clone(), feature)?;
            last = self.chain(layer, last);
        }
        match feature {
            Feature::Category(c) if own.is_none() => {
                // As many numbers as a category can be told apart by, and then some.
                let size = ((c.size() as f64).powf(0.25) * 6.0).ceil() as usize;
                let layer = LayerSpec::new(brisk_nn::Embedding::new(c.size(), size));
                last = self.chain(layer.name(format!("{name}_embedding")), last);
            }
            Feature::Image(_) if own.is_none() => {
                return Err(fault(format!(
                    "encoders: the image `{name}` needs layers that make a vector of it"
                )));
            }
            _ => {}
        }
        Ok(Encoded { vector: last, tokens: None })
    }

    /// A text through the pretrained encoder, or one of the presets that begins from nothing.
    fn encode_text(&mut self, name: &str, feature: &Feature) -> Result<Encoded> {
        let encoder = self.encoder(name, feature)?;
        self.declare(name, feature, true)?;
        let only = self.features.texts().count() == 1;
        let of = |what: &str| if only { what.to_string() } else { format!("{name}_{what}") };
        let sentences = self.pretrained.and_then(|p| p.folder.sentences());
        let (mode, normalize) = match (self.spec.pooling, sentences) {
            (Some(mode), s) => (mode, s.is_some_and(|s| s.normalize)),
            (None, Some(s)) if self.embeds() => (pooling(s.pooling), s.normalize),
            (None, _) => (Pooling::Cls, false),
        };
        let tokens = self.push(LayerSpec::new(encoder).name(of("encoder")).inputs([name]));
        let pooling = SequencePooling { mode, normalize: normalize && self.embeds() };
        let segments = format!("{name}.segments");
        let pooled = LayerSpec::new(pooling).name(of("pooling")).inputs([tokens.clone(), segments]);
        // A tagger has no use for the pooled vector: nothing may be left over.
        let targets = &self.features.targets;
        if !targets.is_empty() && targets.values().all(|t| matches!(t, Target::Tags { .. })) {
            return Ok(Encoded { vector: tokens.clone(), tokens: Some(tokens) });
        }
        let mut vector = self.push(pooled);
        if !self.embeds() && mode == Pooling::Cls {
            let hidden = self.pretrained.map_or(Activation::Tanh, |p| {
                let target = self.features.targets.first().map_or(Head::Pooler, |t| Pretrained::head(t.1));
                p.folder.config().head_activation(&target)
            });
            let size = self.hidden_size(&tokens);
            vector =
                self.chain(LayerSpec::new(Dense::new(size).activation(hidden)).name(of("pooler")), vector);
        }
        Ok(Encoded { vector, tokens: Some(tokens) })
    }

    /// The encoder of a text, which must know all its tokens.
    fn encoder(&self, name: &str, feature: &Feature) -> Result<TextEncoder> {
        let vocabulary = feature.as_text().map_or(Ok(0), |t| t.tokenizer().map(|t| t.size()))?;
        let encoder = match (self.pretrained, &self.spec.preset) {
            (Some(pretrained), _) => pretrained.folder.encoder().clone(),
            (None, Some(preset)) => zoo::text_encoder(preset, vocabulary)?,
            (None, None) => {
                let message = format!(
                    "the text `{name}` needs an encoder: give `pretrained`, a preset such as transformer-encoder, or encoders: {{{name}: [layers]}}"
                );
                return Err(fault(message));
            }
        };
        if encoder.vocab_size < vocabulary {
            return Err(fault(format!(
                "the tokenizer of `{name}` has {vocabulary} tokens, but the encoder knows {}; use the tokenizer that it was trained with",
                encoder.vocab_size
            )));
        }
        Ok(encoder)
    }

    fn hidden_size(&self, layer: &str) -> usize {
        let found = self.layers.iter().find(|l| l.name.as_deref() == Some(layer)).map(|l| &l.layer);
        match found {
            Some(LayerConfig::TextEncoder(e)) => e.hidden_size,
            _ => 1,
        }
    }

    /// Whether the output is the texts' vectors themselves.
    fn embeds(&self) -> bool {
        self.spec.head == HeadSpec::Embedding || self.features.targets.is_empty()
    }

    fn combine(&mut self, encoded: &[(String, Encoded)]) -> Result<String> {
        let vectors: Vec<String> = encoded.iter().map(|e| e.1.vector.clone()).collect();
        if let [one] = &vectors[..] {
            return Ok(one.clone());
        }
        let layer: LayerConfig = match self.spec.combiner {
            Combiner::Concat => Concatenate::new().into(),
            Combiner::Sum => brisk_nn::Add {}.into(),
            Combiner::Attention => AttentionPooling {}.into(),
        };
        Ok(self.push(LayerSpec::new(layer).name("combiner").inputs(vectors)))
    }

    /// The head of an output, by name of its layer.
    fn head(
        &mut self,
        name: &str,
        target: &Target,
        loss: &Loss,
        trunk: &str,
        encoded: &[(String, Encoded)],
    ) -> Result<String> {
        if self.embeds() || !loss.has_target() {
            return Ok(trunk.to_string());
        }
        let from = match target {
            Target::Tags { input, .. } => {
                let text = encoded.iter().find(|e| e.0 == *input).and_then(|e| e.1.tokens.clone());
                text.ok_or_else(|| {
                    fault(format!(
                        "the tags `{name}` need an encoder that keeps a vector for each token of `{input}`"
                    ))
                })?
            }
            _ => trunk.to_string(),
        };
        let only = self.features.targets.len() == 1;
        let of = |what: &str| if only { what.to_string() } else { format!("{name}_{what}") };
        let rate =
            self.spec.dropout.or_else(|| self.pretrained.map(|p| p.folder.config().classifier_dropout));
        let rate = rate.unwrap_or(if self.pretrained.is_some() { HEAD_DROPOUT } else { 0.0 });
        let from = match rate > 0.0 {
            true => self.push(LayerSpec::new(Dropout::new(rate)).inputs([from])),
            false => from,
        };
        let mut dense = Dense::new(target.size());
        if let Some(range) = self.pretrained.map(|p| p.folder.encoder().initializer_range) {
            dense =
                dense.kernel_initializer(brisk_nn::Initializer::TruncatedNormal { mean: 0.0, stddev: range });
        }
        Ok(self.push(LayerSpec::new(dense).name(of("classifier")).inputs([from])))
    }

    /// The output of a project without targets: vectors, for a loss that compares them with each other.
    fn without_target(&self, train: &TrainSpec) -> Option<TaskOutput> {
        let mut output = TaskOutput::new(EMBEDDING, train.loss.clone());
        if let Some(metrics) = &train.metrics {
            output.metrics = metrics.clone();
        }
        self.features.targets.is_empty().then_some(output)
    }

    /// What an output is trained for.
    fn output(&self, name: &str, target: &Target, train: &TrainSpec) -> Result<TaskOutput> {
        let only = self.features.targets.len() == 1;
        let loss = match (target, train.loss == Loss::sparse_categorical_crossentropy(), only) {
            (_, false, true) => train.loss.clone(),
            (Target::Category { .. }, ..) => Loss::sparse_categorical_crossentropy(),
            (Target::Labels { .. }, ..) => Loss::binary_crossentropy(),
            (Target::Number { .. }, ..) => Loss::MeanSquaredError,
            (Target::Tags { .. }, ..) => Loss::tags(),
        };
        let mut output = TaskOutput::new(name, loss);
        if let (Some(metrics), true) = (&train.metrics, only) {
            output.metrics = metrics.clone();
        }
        output.weight = train.loss_weights.get(name).copied().unwrap_or(1.0);
        Ok(output)
    }
}
