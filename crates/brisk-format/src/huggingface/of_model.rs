//! From a model of Brisk's layers to what a Hugging Face folder can say.

use std::collections::HashSet;

use brisk_nn::{LayerConfig, Loss};

use super::names::tensors;
use super::{CONFIG, Family, Head, HfConfig};
use crate::error::listed;
use crate::{Error, Result, SavedModel};

impl HfConfig {
    /// The configuration of a model that consists of a TextEncoder called `encoder`, a Dense called `pooler` over the first tokens, and a
    /// Dense called `classifier`; the last two may be missing. `like` is the configuration of the folder that the encoder came from: its
    /// family and other settings are taken over.
    ///
    /// An error if the model has other parts with parameters, or if no family is built like it.
    pub fn of_model(saved: &SavedModel, like: Option<&HfConfig>) -> Result<HfConfig> {
        of_model(saved, like).map_err(|message| Error::unsaved(CONFIG.as_ref(), message))
    }
}

fn of_model(saved: &SavedModel, like: Option<&HfConfig>) -> std::result::Result<HfConfig, String> {
    let layers = saved.model.layers();
    let named = |name: &str| layers.iter().find(|l| l.name == name).map(|l| &l.layer);
    let Some(LayerConfig::TextEncoder(encoder)) = named("encoder") else {
        return Err("expected a model with a TextEncoder called \"encoder\", found none; only such models have a place in a Hugging Face \
                    folder"
            .into());
    };
    let specs = saved.model.param_specs().map_err(|e| e.to_string())?;
    let pooler = match named("pooler") {
        Some(LayerConfig::Dense(dense)) => Some(dense.activation),
        _ => None,
    };
    let head = match named("classifier") {
        Some(LayerConfig::Dense(dense)) => head(saved, dense.units)?,
        _ if specs.iter().any(|s| s.name.starts_with("mlm.")) => Head::MaskedLanguageModel,
        _ if pooler.is_some() => Head::Pooler,
        _ => Head::None,
    };
    let family = match like {
        Some(like) => like.family,
        None => Family::fitting(encoder, pooler).ok_or("no family of models is built like this one")?,
    };
    let labels = if head.outputs().is_some() { saved.labels.clone() } else { Vec::new() };
    let mut config = HfConfig::of(family, encoder.clone(), head, labels)?;
    if let Some(like) = like {
        config.pad_token_id = like.pad_token_id;
        config.classifier_dropout = like.classifier_dropout;
        config.entries = like.entries.clone();
        config.entries = config.written()?;
    }
    let known: HashSet<String> = tensors(&config, &head, "").into_iter().map(|n| n.ours).collect();
    let strange: Vec<String> = specs.into_iter().map(|s| s.name).filter(|n| !known.contains(n)).collect();
    if !strange.is_empty() {
        return Err(format!(
            "{} has no place for {}; it consists of {}",
            config.architecture(),
            listed(&strange),
            if known.contains("pooler.kernel") {
                "encoder, pooler and classifier"
            } else {
                "encoder and classifier"
            }
        ));
    }
    match pooler {
        Some(found) if found != config.head_activation(&head) => Err(format!(
            "the pooler of {} has the activation {:?}, this one {found:?}; choose another family",
            config.architecture(),
            config.head_activation(&head)
        )),
        _ => Ok(config),
    }
}

fn head(saved: &SavedModel, units: usize) -> std::result::Result<Head, String> {
    let [output] = &saved.outputs[..] else {
        return Err(format!("expected a model with one output, found {}", saved.outputs.len()));
    };
    Ok(match &output.loss {
        loss if loss.ignores() => Head::Tags { labels: units },
        Loss::SparseCategoricalCrossentropy { .. } | Loss::CategoricalCrossentropy { .. } => {
            Head::Classification { labels: units }
        }
        Loss::BinaryCrossentropy { .. } => Head::MultiLabel { labels: units },
        _ => Head::Regression { outputs: units },
    })
}
