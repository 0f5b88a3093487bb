//! A Hugging Face folder as a model that is ready to be asked.

use brisk_data::{Features, Layouts, PairMode, Scaling, Target, TextFeature, Tokenizer, Truncation};
use brisk_format::{Head, HfFolder, SavedModel, SentencePooling};
use brisk_nn::{Dense, LayerSpec, Loss, Model, ModelInput, Pooling, SequencePooling, Task, TaskOutput};
use indexmap::IndexMap;

use super::{Ready, Takes, record_features};
use crate::{Error, Result};

/// What the input of an imported model is called.
const TEXT: &str = "text";
/// The file that its tokenizer is written to.
const TOKENIZER: &str = "tokenizer.json";

impl Ready {
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
    /// let ready = brisk_eval::Ready::import(&folder)?;
    /// brisk_format::save_model("minilm".as_ref(), &ready.model)?;
    /// assert!(ready.features.targets.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import(folder: &HfFolder) -> Result<Ready> {
        let fault = |message: String| Error::NotReady { place: folder.path().display().to_string(), message };
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
        Ok(Ready { model: saved, features, layouts, takes: Takes::Rows, run: None })
    }
}

/// The same in Brisk's layers.
fn pooling(of: SentencePooling) -> Pooling {
    match of {
        SentencePooling::Mean => Pooling::Mean,
        SentencePooling::Cls => Pooling::Cls,
        SentencePooling::Max => Pooling::Max,
    }
}

pub(super) fn embedding_loss() -> Loss {
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
