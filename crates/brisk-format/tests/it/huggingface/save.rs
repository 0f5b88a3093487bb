use std::collections::BTreeMap;
use std::fs;

use brisk_format::{
    Family, Head, HfConfig, HfExport, HfFolder, MappedTensors, SavedModel, SentencePooling, Sentences,
    save_huggingface,
};
use brisk_nn::{Activation, Dense, LayerSpec, Loss, Model, ModelInput, Task};
use serde_json::Value;

use super::golden;

/// All tensors of a file by name.
fn tensors(path: &std::path::Path) -> BTreeMap<String, brisk_graph::Tensor> {
    let file = MappedTensors::open(path).unwrap();
    file.names().map(|n| (n.to_string(), file.tensor(n).unwrap())).collect()
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "bert",
        "roberta",
        "xlm-roberta",
        "camembert",
        "distilbert",
        "electra",
        "bert-tokens",
        "bert-masked",
        "roberta-masked",
        "distilbert-masked",
        "electra-masked",
        "roberta-pooler",
    ] {
        let folder = HfFolder::open(&golden(name)).unwrap();
        let (state, _) = folder.load_state(folder.head()).unwrap();
        let path = dir.path().join(name);
        let tokenizer = folder.tokenizer_files();
        let export = HfExport {
            config: folder.config(),
            state: &state,
            tokenizer: &tokenizer,
            sentences: folder.sentences(),
        };
        save_huggingface(&path, &export).unwrap();
        // The very tensors, by the very names.
        assert_eq!(
            tensors(&path.join("model.safetensors")),
            tensors(&golden(name).join("model.safetensors")),
            "{name}"
        );
        let bytes = fs::read(path.join("model.safetensors")).unwrap();
        let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
        let again = HfFolder::open(&path).unwrap();
        assert_eq!(again.load_state(again.head()).unwrap().0, state, "{name}");
        assert_eq!((again.encoder(), again.head()), (folder.encoder(), folder.head()), "{name}");
        assert_eq!(again.labels(), folder.labels(), "{name}");
        // The configuration says what it said, as far as it said it.
        let json = |p: &std::path::Path| -> Value { serde_json::from_slice(&fs::read(p).unwrap()).unwrap() };
        let (was, is) = (json(&golden(name).join("config.json")), json(&path.join("config.json")));
        for (key, value) in was.as_object().unwrap() {
            // Labels that say nothing are not written; dropout that followed from another is.
            if !["id2label", "label2id", "classifier_dropout"].contains(&key.as_str()) {
                assert_eq!(value, &is[key], "{name}: {key}");
            }
        }
        if !folder.labels().is_empty() {
            assert_eq!((&was["id2label"], &was["label2id"]), (&is["id2label"], &is["label2id"]), "{name}");
        }
    }
    let mut names = crate::names(&dir.path().join("bert"));
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]);
    // Again, over what is there.
    let folder = HfFolder::open(&golden("bert")).unwrap();
    let (state, _) = folder.load_state(folder.head()).unwrap();
    let export = HfExport { config: folder.config(), state: &state, tokenizer: &[], sentences: None };
    save_huggingface(&dir.path().join("bert"), &export).unwrap();
    assert_eq!(crate::names(&dir.path().join("bert")), ["config.json", "model.safetensors"]);
}

#[test]
fn sentences_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = HfFolder::open(&golden("bert-shards")).unwrap();
    let (state, _) = folder.load_state(folder.head()).unwrap();
    for pooling in [SentencePooling::Mean, SentencePooling::Cls, SentencePooling::Max] {
        let sentences =
            Sentences { pooling, normalize: pooling != SentencePooling::Max, max_length: Some(16) };
        let export =
            HfExport { config: folder.config(), state: &state, tokenizer: &[], sentences: Some(&sentences) };
        let path = dir.path().join("model");
        save_huggingface(&path, &export).unwrap();
        let again = HfFolder::open(&path).unwrap();
        assert_eq!((again.sentences(), again.max_length()), (Some(&sentences), 16));
        assert_eq!(again.load_state(again.head()).unwrap().0, state);
    }
}

#[test]
fn a_model_that_cannot_be_said_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = HfFolder::open(&golden("bert")).unwrap();
    let (mut state, _) = folder.load_state(folder.head()).unwrap();
    let says = |config: &HfConfig, state: &brisk_runtime::State, tokenizer: &[std::path::PathBuf]| {
        let export = HfExport { config, state, tokenizer, sentences: None };
        let error = save_huggingface(&dir.path().join("model"), &export).unwrap_err();
        assert!(!error.is_io(), "{error}");
        assert!(crate::names(dir.path()).is_empty());
        error.to_string()
    };
    let with = |change: &dyn Fn(&mut HfConfig)| {
        let mut config = folder.config().clone();
        change(&mut config);
        config
    };
    let said = says(&with(&|c| c.encoder.position_offset = 2), &state, &[]);
    assert!(
        said.contains("the family bert cannot say position_offset: 2, it has 0; choose another family"),
        "{said}"
    );
    let said = says(&with(&|c| c.family = Family::DistilBert), &state, &[]);
    assert!(said.contains("cannot say type_vocab_size"), "{said}");
    let said = says(&with(&|c| c.encoder.activation = Activation::Softplus), &state, &[]);
    assert!(said.contains("knows no activation Softplus; use gelu"), "{said}");
    let said = says(&with(&|c| c.labels.truncate(2)), &state, &[]);
    assert!(said.contains("expected 3 labels, one for each output, found 2"), "{said}");
    let said = says(folder.config(), &state, &["notes.txt".into()]);
    assert!(said.contains("expected the files of a tokenizer, found notes.txt"), "{said}");
    let said = says(&with(&|c| c.head = Head::MaskedLanguageModel), &state, &[]);
    assert!(said.contains("\"mlm.dense.kernel\" (f32 [16, 16]) is missing"), "{said}");
    state.insert("classifier.bias", brisk_graph::Tensor::scalar(0.0));
    let said = says(folder.config(), &state, &[]);
    assert!(said.contains("\"classifier.bias\" should be f32 [3], found f32 []"), "{said}");

    let path = dir.path().join("mine");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("notes.txt"), "").unwrap();
    let export = HfExport { config: folder.config(), state: &state, tokenizer: &[], sentences: None };
    let said = save_huggingface(&path, &export).unwrap_err().to_string();
    assert!(said.contains("the folder holds something else: notes.txt; choose a new one"), "{said}");
}

/// A model of Brisk's layers with the weights of a folder.
fn model(folder: &HfFolder, extra: Option<LayerSpec>, loss: Loss) -> SavedModel {
    let mut layers = vec![LayerSpec::new(folder.encoder().clone()).name("encoder").inputs(["text"])];
    layers.extend(extra);
    layers.push(LayerSpec::new(Dense::new(3)).name("classifier"));
    let model = Model::new(ModelInput::packed_text("text"), layers, &[]).unwrap();
    let (mut state, _) = folder.load_state(folder.head()).unwrap();
    for spec in model.param_specs().unwrap() {
        if state.get(&spec.name).is_none() {
            state.insert(spec.name, brisk_graph::Tensor::zeros(brisk_graph::DType::F32, spec.shape));
        }
    }
    let task = Task::new(model, loss);
    let mut saved = SavedModel::new(&task, &state);
    saved.labels = folder.labels().to_vec();
    saved
}

#[test]
fn a_model_of_layers_becomes_a_folder() {
    let folder = HfFolder::open(&golden("bert-tokens")).unwrap();
    let saved = model(&folder, None, Loss::tags());
    let dir = tempfile::tempdir().unwrap();
    for like in [None, Some(folder.config())] {
        let config = HfConfig::of_model(&saved, like).unwrap();
        assert_eq!((config.family, config.head), (Family::Bert, Head::Tags { labels: 3 }));
        assert_eq!(config.entries.contains_key("transformers_version"), like.is_some());
        let export = HfExport { config: &config, state: &saved.state, tokenizer: &[], sentences: None };
        let path = dir.path().join("model");
        save_huggingface(&path, &export).unwrap();
        let file = "model.safetensors";
        assert_eq!(tensors(&path.join(file)), tensors(&golden("bert-tokens").join(file)));
        let again = HfFolder::open(&path).unwrap();
        assert_eq!((again.encoder(), again.labels()), (folder.encoder(), folder.labels()));
    }
    // A part that no such model has.
    let strange = LayerSpec::new(Dense::new(16)).name("between");
    let error =
        HfConfig::of_model(&model(&folder, Some(strange), Loss::tags()), None).unwrap_err().to_string();
    assert!(
        error.contains("BertForTokenClassification has no place for between.kernel, between.bias"),
        "{error}"
    );
    let error = HfConfig::of_model(&crate::saved(1), None).unwrap_err().to_string();
    assert!(error.contains("expected a model with a TextEncoder called \"encoder\", found none"), "{error}");
}
