//! Models that are made of others' folders, or of parts of one's own.

use brisk_data::{Features, Layouts, PairMode, Scaling, Target, TextFeature, Tokenizer, Truncation};
use brisk_format::{Head, HfFolder, SavedModel};
use brisk_nn::{
    Dense, LayerConfig, LayerSpec, Loss, Model, ModelInput, Pooling, SequencePooling, Source, Task,
    TaskOutput,
};
use indexmap::IndexMap;

use crate::assemble::pooling;
use crate::table::record_features;
use crate::{Error, Result};

/// What the input of an imported model is called.
const TEXT: &str = "text";
/// The file that its tokenizer is written to.
const TOKENIZER: &str = "tokenizer.json";

/// A model with what it needs to read rows.
pub type Readable = (SavedModel, Features, Layouts);

/// A Hugging Face folder as a model of Brisk's, with its tokenizer. The input is the column `text`; the output follows from the
/// folder's head: `label` (a class, `[n, classes]`), `labels` (a set), `value` (a number), or `tags` (a tag for each word).
///
/// Of a folder without such a head the output is `embedding` `[n, size]`: pooled and scaled as sentence-transformers' files say,
/// and if there are none, the mean over the tokens, as sentence-transformers does it. The pooler of such a folder is left out.
///
/// An error if there is no tokenizer, if it has more tokens than the encoder, or if tensors of the head are missing.
///
/// ```no_run
/// let folder = brisk_format::HfFolder::open("all-MiniLM-L6-v2".as_ref())?;
/// let (model, features, _) = brisk_train::import_folder(&folder)?;
/// brisk_format::save_model("minilm".as_ref(), &model)?;
/// assert!(features.targets.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn import_folder(folder: &HfFolder) -> Result<Readable> {
    let fault = |message: String| Error::Run { path: folder.path().into(), message };
    let tokenizer = Tokenizer::open(&folder.tokenizer().unwrap_or_else(|| folder.path().into()))?;
    tokenizer.check_size(folder.encoder().vocab_size)?;
    let head = match folder.head() {
        Head::None | Head::Pooler | Head::MaskedLanguageModel => Head::None,
        Head::Regression { outputs } if *outputs != 1 => {
            return Err(fault(format!("expected a head for one number, found one for {outputs}")));
        }
        head => *head,
    };
    let text = TextFeature {
        column: TEXT.into(),
        pair: None,
        pair_mode: PairMode::default(),
        max_length: folder.max_length(),
        truncation: Truncation::default(),
        tag_separator: None,
        words: matches!(head, Head::Tags { .. }),
        tokenizer_file: TOKENIZER.into(),
        tokenizer: Some(tokenizer),
    };
    let inputs = [(TEXT.to_string(), brisk_data::Feature::Text(text))].into();
    let features = Features { inputs, targets: targets(folder, &head) };

    let sentences = folder.sentences();
    let pooled = match (&head, sentences) {
        (Head::None, Some(s)) => SequencePooling { mode: pooling(s.pooling), normalize: s.normalize },
        (Head::None, None) => SequencePooling { mode: Pooling::Mean, normalize: false },
        _ => SequencePooling::default(),
    };
    let mut layers = vec![LayerSpec::new(folder.encoder().clone()).name("encoder").inputs([TEXT])];
    if !matches!(head, Head::Tags { .. }) {
        let segments = format!("{TEXT}.segments");
        layers.push(LayerSpec::new(pooled).name("pooling").inputs(["encoder".to_string(), segments]));
    }
    let loss = match head {
        Head::Classification { .. } => Loss::sparse_categorical_crossentropy(),
        Head::MultiLabel { .. } => Loss::binary_crossentropy(),
        Head::Regression { .. } => Loss::MeanSquaredError,
        Head::Tags { .. } => Loss::tags(),
        // What a vector is for: that near ones belong together.
        _ => embedding_loss(),
    };
    if let Some(units) = head.outputs() {
        if !matches!(head, Head::Tags { .. }) {
            let hidden = Dense::new(folder.encoder().hidden_size);
            let hidden = hidden.activation(folder.config().head_activation(&head));
            layers.push(LayerSpec::new(hidden).name("pooler"));
        }
        layers.push(LayerSpec::new(Dense::new(units)).name("classifier"));
    }
    let model = Model::new(ModelInput::packed_text(TEXT), layers, &[])?;
    let (state, report) = folder.load_state(&head)?;
    if let Some((name, _)) = report.fresh.first() {
        return Err(fault(format!(
            "{name} is missing; train the head first, as a project with `pretrained`"
        )));
    }
    let name = features.targets.keys().next().map_or("embedding", String::as_str);
    let task = Task::with_outputs(model, vec![TaskOutput::new(name, loss)])?;
    let mut saved = SavedModel::new(&task, &state);
    saved.labels = folder.labels().to_vec();
    saved.card =
        format!("# {}\n\nImported from a Hugging Face folder.\n", folder.config().family.model_type());
    let layouts = Layouts::packed();
    record_features(&mut saved, &features, &layouts)?;
    Ok((saved, features, layouts))
}

fn embedding_loss() -> Loss {
    Loss::MultipleNegativesRanking { scale: 20.0 }
}

fn targets(folder: &HfFolder, head: &Head) -> IndexMap<String, Target> {
    let labels = folder.labels().iter().cloned().collect();
    let column = |name: &str| name.to_string();
    let target = match head {
        Head::Classification { .. } => Target::Category { column: column("label"), labels },
        Head::MultiLabel { .. } => Target::Labels { column: column("labels"), labels, separator: ",".into() },
        Head::Regression { .. } => {
            Target::Number { column: column("value"), scaling: Scaling { offset: 0.0, factor: 1.0 } }
        }
        Head::Tags { .. } => {
            Target::Tags { input: TEXT.into(), column: column("tags"), labels, separator: None }
        }
        Head::None | Head::Pooler | Head::MaskedLanguageModel => return IndexMap::new(),
    };
    [(target.column().to_string(), target)].into()
}

/// The part of a model that makes a vector `[n, size]` of a text. A model that was trained to give vectors is taken whole; of any other
/// the encoder of its text with the pooling on it (a tagger has none: the mean over the tokens), without what comes after.
///
/// An error if the model has no encoder of texts of BERT's kind, or several.
pub fn embedder((saved, features, layouts): Readable) -> Result<Readable> {
    let fault = |message: String| Error::Project { place: "model".into(), message };
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
        return Ok((saved, features, layouts));
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
    Ok((SavedModel::new(&task, &saved.state), features, layouts))
}
