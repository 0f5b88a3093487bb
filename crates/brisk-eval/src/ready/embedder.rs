//! The part of a model that makes vectors.

use brisk_data::{Features, PairMode};
use brisk_format::SavedModel;
use brisk_nn::{
    LayerConfig, LayerSpec, Model, ModelInput, Pooling, SequencePooling, Source, Task, TaskOutput,
};
use indexmap::IndexMap;

use super::import::embedding_loss;
use super::{Ready, Takes};
use crate::{Error, Result};

impl Ready {
    /// The part of a model that makes a vector `[n, size]` of a text. A model that was trained to give vectors is taken whole; of any other
    /// the encoder of its text with the pooling on it (a tagger has none: the mean over the tokens), without what comes after.
    ///
    /// An error if the model has no encoder of texts of BERT's kind, or several.
    pub fn embedder(&self) -> Result<Ready> {
        let Ready { model: saved, features, layouts, .. } = self;
        let fault = |message: String| Error::NotReady { place: "model".into(), message };
        let ready = |model: SavedModel, features: Features| Ready {
            model,
            features,
            layouts: layouts.clone(),
            takes: Takes::Rows,
            run: None,
        };
        let alone = |name: &str| -> Option<Features> {
            let mut feature = features.inputs.get(name)?.clone();
            if let brisk_data::Feature::Text(text) = &mut feature {
                (text.pair, text.pair_mode) = (None, PairMode::default());
            }
            Some(Features { inputs: [(name.to_string(), feature)].into(), targets: IndexMap::new() })
        };
        if let ([output], [name]) = (&saved.outputs[..], &features.inputs.keys().collect::<Vec<_>>()[..])
            && output.loss.group().is_some()
            && let Some(features) = alone(name)
        {
            return Ok(ready(saved.clone(), features));
        }
        let layers = saved.model.layers();
        let is_encoder = |l: &LayerConfig| matches!(l, LayerConfig::TextEncoder(_));
        let mut encoders = layers.iter().enumerate().filter(|(_, l)| is_encoder(&l.layer));
        let (index, encoder) = match (encoders.next(), encoders.next()) {
            (Some(one), None) => one,
            (None, _) => {
                let message = "it has no encoder of texts that gives vectors; use a Hugging Face folder, or a run with `pretrained`";
                return Err(fault(message.into()));
            }
            _ => {
                return Err(fault(
                    "it has several encoders of texts; vectors are made by models with one".into(),
                ));
            }
        };
        let text = match encoder.inputs.first() {
            Some(Source::Input(i)) => saved.model.inputs().get(*i).and_then(|i| i.name.strip_suffix(".ids")),
            _ => None,
        };
        let text = text.filter(|name| features.inputs.contains_key(*name));
        let (Some(text), Some(features)) = (text, text.and_then(alone)) else {
            return Err(fault(format!("`{}` reads no text of its own", encoder.name)));
        };
        let on_it = layers.iter().filter(|l| l.inputs.first() == Some(&Source::Layer(index)));
        let mut pooling = on_it.filter_map(|l| match &l.layer {
            LayerConfig::SequencePooling(pooling) => Some(pooling.clone()),
            _ => None,
        });
        let mean = SequencePooling { mode: Pooling::Mean, normalize: false };
        let pooling = pooling.next().unwrap_or(mean);
        let segments = format!("{text}.segments");
        let layers = vec![
            LayerSpec::new(encoder.layer.clone()).name(&encoder.name).inputs([text]),
            LayerSpec::new(pooling).name("pooling").inputs([encoder.name.clone(), segments]),
        ];
        let model = Model::new(ModelInput::packed_text(text), layers, &[])?;
        let task = Task::with_outputs(model, vec![TaskOutput::new("embedding", embedding_loss())])?;
        Ok(ready(SavedModel::new(&task, &saved.state), features))
    }
}
