use std::fs;

use brisk_format::{Error, Family, Head, HfFolder, LoadReport, MappedTensors, SentencePooling};
use brisk_graph::Tensor;
use brisk_nn::Activation;
use brisk_runtime::State;
use serde_json::{Value, json};

use super::{copy, edit, golden};

fn open(name: &str) -> HfFolder {
    HfFolder::open(&golden(name)).unwrap()
}

fn load(name: &str) -> (State, LoadReport) {
    let folder = open(name);
    folder.load_state(folder.head()).unwrap()
}

const CLASSES: Head = Head::Classification { labels: 3 };

#[test]
fn every_family_is_understood() {
    let cases = [
        ("bert", Family::Bert, CLASSES, 0),
        ("roberta", Family::Roberta, CLASSES, 2),
        ("xlm-roberta", Family::XlmRoberta, CLASSES, 2),
        ("camembert", Family::Camembert, CLASSES, 2),
        ("distilbert", Family::DistilBert, CLASSES, 0),
        ("electra", Family::Electra, CLASSES, 0),
        ("bert-tokens", Family::Bert, Head::Tags { labels: 3 }, 0),
        ("bert-masked", Family::Bert, Head::MaskedLanguageModel, 0),
        ("roberta-masked", Family::Roberta, Head::MaskedLanguageModel, 2),
        ("distilbert-masked", Family::DistilBert, Head::MaskedLanguageModel, 0),
        ("electra-masked", Family::Electra, Head::MaskedLanguageModel, 0),
        ("bert-pretraining", Family::Bert, Head::MaskedLanguageModel, 0),
        ("bert-shards", Family::Bert, Head::Pooler, 0),
        ("roberta-pooler", Family::Roberta, Head::Pooler, 2),
    ];
    for (name, family, head, offset) in cases {
        let folder = open(name);
        assert_eq!((folder.config().family, *folder.head()), (family, head), "{name}");
        let encoder = folder.encoder();
        assert_eq!((encoder.vocab_size, encoder.hidden_size, encoder.num_layers), (60, 16, 2), "{name}");
        assert_eq!((encoder.num_heads, encoder.intermediate_size), (2, 24), "{name}");
        assert_eq!((encoder.position_offset, folder.max_length()), (offset, 20), "{name}");
        assert_eq!(encoder.embedding_size, (family == Family::Electra).then_some(8), "{name}");
        let labels: &[&str] = if head.outputs().is_some() { &["负面", "neutral", "positive"] } else { &[] };
        assert_eq!(folder.labels(), labels, "{name}");
        let (state, report) = load(name);
        assert_eq!((report.unexpected.len(), report.fresh.len()), (0, 0), "{name}: {report}");
        assert_eq!(state.len(), report.loaded.len());
        let layers = 2 * 16;
        let head_tensors = match (head, family) {
            (CLASSES, _) => 4,
            (Head::MaskedLanguageModel, _) => 5,
            _ => 2,
        };
        let embeddings = match family {
            Family::DistilBert => 4,
            Family::Electra => 7,
            _ => 5,
        };
        assert_eq!(state.len(), layers + head_tensors + embeddings, "{name}");
        if name != "bert-pretraining" {
            assert_eq!(report.ignored, [], "{name}");
        }
    }
    let activation = |name: &str| open(name).encoder().activation;
    assert_eq!(activation("bert"), Activation::Gelu { approximate: false });
    assert_eq!(activation("bert-tokens"), Activation::Gelu { approximate: true });
    assert_eq!(activation("bert-masked"), Activation::Relu);
    assert_eq!(activation("bert-shards"), Activation::Silu);
}

#[test]
fn kernels_are_transposed_and_the_rest_is_as_it_was() {
    let (state, _) = load("bert");
    let file = MappedTensors::open(&golden("bert/model.safetensors")).unwrap();
    let theirs = file.tensor("bert.encoder.layer.1.intermediate.dense.weight").unwrap();
    let ours = state.get("encoder.layer_1.feed_forward.inner.kernel").unwrap();
    assert_eq!((theirs.shape().dims(), ours.shape().dims()), (&[24, 16][..], &[16, 24][..]));
    assert_eq!(theirs.f32s().unwrap()[5 * 16 + 3], ours.f32s().unwrap()[3 * 24 + 5]);
    let pairs = [
        ("bert.embeddings.word_embeddings.weight", "encoder.embeddings.word"),
        ("bert.embeddings.LayerNorm.weight", "encoder.embeddings.norm.gamma"),
        ("bert.encoder.layer.0.output.LayerNorm.bias", "encoder.layer_0.norm.beta"),
        ("bert.pooler.dense.bias", "pooler.bias"),
        ("classifier.bias", "classifier.bias"),
    ];
    for (theirs, ours) in pairs {
        assert_eq!(&file.tensor(theirs).unwrap(), state.get(ours).unwrap());
    }
}

#[test]
fn old_names_are_understood_and_every_tensor_is_accounted_for() {
    let folder = open("bert-pretraining");
    let (state, report) = folder.load_state(folder.head()).unwrap();
    assert!(state.get("encoder.layer_1.norm.gamma").is_some() && state.get("mlm.norm.beta").is_some());
    let reason = |name: &str| report.ignored.iter().find(|(n, _)| n == name).map(|(_, why)| why.as_str());
    assert_eq!(reason("bert.embeddings.position_ids"), Some("numbers that follow from the positions"));
    assert_eq!(reason("cls.predictions.decoder.weight"), Some("the same as the embeddings"));
    assert_eq!(reason("cls.seq_relationship.weight"), Some("the head for the next sentence is not used"));
    assert_eq!(reason("bert.pooler.dense.weight"), Some("the pooler is not used"));
    let file = MappedTensors::open(&golden("bert-pretraining/model.safetensors")).unwrap();
    assert_eq!(report.loaded.len() + report.ignored.len(), file.names().count());

    let (_, report) = folder.load_state(&Head::Pooler).unwrap();
    let reason = |name: &str| report.ignored.iter().find(|(n, _)| n == name).map(|(_, why)| why.as_str());
    assert_eq!(reason("cls.predictions.bias"), Some("the head for masked tokens is not used"));
    assert_eq!(
        reason("cls.predictions.transform.LayerNorm.gamma"),
        Some("the head for masked tokens is not used")
    );
    assert_eq!(report.loaded.len() + report.ignored.len(), file.names().count());
}

#[test]
fn a_new_head_is_fresh() {
    let (state, report) = open("roberta-masked").load_state(&Head::Classification { labels: 5 }).unwrap();
    let fresh: Vec<_> = report.fresh.iter().map(|(n, s)| format!("{n} {s}")).collect();
    assert_eq!(
        fresh,
        ["pooler.kernel [16, 16]", "pooler.bias [16]", "classifier.kernel [16, 5]", "classifier.bias [5]"]
    );
    assert!(state.get("classifier.kernel").is_none());
    assert_eq!(report.unexpected, [""; 0]);
    // One of another size is not taken, but the rest of the head is.
    let (state, report) = open("bert").load_state(&Head::Classification { labels: 5 }).unwrap();
    assert_eq!(report.fresh.len(), 2);
    assert!(state.get("pooler.kernel").is_some() && state.get("classifier.kernel").is_none());
    assert_eq!(report.ignored.len(), 2);
    assert!(report.ignored.iter().all(|(_, why)| why == "of another size than the task needs"), "{report}");
    let said = report.to_string();
    assert!(
        said.contains("2 missing, and started fresh: classifier.kernel [16, 5], classifier.bias [5]"),
        "{said}"
    );
    let error = open("distilbert").load_state(&Head::Pooler).unwrap_err().to_string();
    assert!(error.contains("distilbert has no pooler of its own"), "{error}");
}

#[test]
fn sentences_are_understood() {
    let folder = open("bert-shards");
    let sentences = folder.sentences().unwrap();
    assert_eq!(
        (sentences.pooling, sentences.normalize, sentences.max_length),
        (SentencePooling::Mean, true, None)
    );
    let dir = tempfile::tempdir().unwrap();
    let path = copy("bert-shards", dir.path());
    fs::write(path.join("sentence_bert_config.json"), r#"{"max_seq_length": 12}"#).unwrap();
    let pooling = path.join("1_Pooling/config.json");
    edit(&pooling, json!({"pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true}));
    let folder = HfFolder::open(&path).unwrap();
    assert_eq!((folder.sentences().unwrap().pooling, folder.max_length()), (SentencePooling::Cls, 12));
    edit(&pooling, json!({"pooling_mode_max_tokens": true}));
    let said = HfFolder::open(&path).unwrap_err().to_string();
    assert!(said.contains("found pooling_mode_cls_token, pooling_mode_max_tokens"), "{said}");
    let modules = fs::read_to_string(path.join("modules.json")).unwrap();
    fs::write(path.join("modules.json"), modules.replace("models.Normalize", "models.Dense")).unwrap();
    let said = HfFolder::open(&path).unwrap_err().to_string();
    assert!(
        said.contains("found \"sentence_transformers.models.Dense\"") || said.contains("pooling_mode"),
        "{said}"
    );
}

#[test]
fn sentences_that_would_have_other_vectors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy("bert-shards", dir.path());
    let opened = || HfFolder::open(&path).map(drop).map_err(|e| e.to_string());
    let refused = || opened().unwrap_err();
    // What makes letters small before the tokenizer, which does not.
    fs::write(path.join("sentence_bert_config.json"), r#"{"do_lower_case": true}"#).unwrap();
    opened().unwrap();
    fs::write(path.join("tokenizer_config.json"), r#"{"do_lower_case": false}"#).unwrap();
    assert!(refused().contains("do_lower_case: expected false, or a tokenizer that does it itself"));
    for (normalizer, does) in [
        (json!(null), false),
        (json!({"type": "NFC"}), false),
        (json!({"type": "BertNormalizer", "lowercase": false}), false),
        (json!({"type": "BertNormalizer", "lowercase": true}), true),
        (json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}), true),
    ] {
        let tokenizer = json!({"normalizer": normalizer, "model": {"type": "WordPiece"}});
        fs::write(path.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        assert_eq!(opened().is_ok(), does, "{normalizer}");
    }
    let modules = json!([{"type": "sentence_transformers.models.Transformer", "path": ""}]);
    fs::write(path.join("modules.json"), modules.to_string()).unwrap();
    assert!(refused().contains("expected a module Pooling, found none"));
}

#[test]
fn heads_follow_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy("bert", dir.path());
    let head = |changes: Value| {
        edit(&path.join("config.json"), changes);
        HfFolder::open(&path).map(|f| *f.head())
    };
    assert_eq!(
        head(json!({"problem_type": "multi_label_classification"})).unwrap(),
        Head::MultiLabel { labels: 3 }
    );
    assert_eq!(head(json!({"problem_type": "regression"})).unwrap(), Head::Regression { outputs: 3 });
    let one = json!({"problem_type": null, "id2label": {"0": "score"}});
    assert_eq!(head(one).unwrap(), Head::Regression { outputs: 1 });
    assert_eq!(head(json!({"id2label": null})).unwrap(), Head::Classification { labels: 2 });
    assert_eq!(head(json!({"num_labels": 4})).unwrap(), Head::Classification { labels: 4 });
    assert_eq!(head(json!({"architectures": ["BertForQuestionAnswering"]})).unwrap(), Head::Pooler);
    assert_eq!(head(json!({"architectures": null})).unwrap(), Head::Pooler);
}

/// What is said of a folder with a changed configuration.
fn refused(changes: Value) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = copy("bert", dir.path());
    edit(&path.join("config.json"), changes);
    let error = HfFolder::open(&path).unwrap_err();
    assert!(!error.is_io(), "{error}");
    error.to_string()
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        (
            json!({"model_type": "gpt2"}),
            "model_type: expected bert, roberta, xlm-roberta, camembert, distilbert, electra, found \"gpt2\"",
        ),
        (json!({"model_type": null}), "there is no model_type"),
        (
            json!({"position_embedding_type": "relative_key"}),
            "position_embedding_type: expected \"absolute\"",
        ),
        (json!({"is_decoder": true}), "is_decoder: expected false"),
        (json!({"add_cross_attention": true}), "add_cross_attention: expected false"),
        (json!({"hidden_act": "quick_gelu"}), "found \"quick_gelu\""),
        (json!({"hidden_act": 3}), "found 3"),
        (json!({"hidden_size": -16}), "hidden_size: expected a number from 1"),
        (json!({"hidden_size": 17}), "num_attention_heads: expected a divisor of hidden_size (17), found 2"),
        (json!({"num_hidden_layers": 1_000_000_000}), "num_hidden_layers: expected a number from 1 to 4096"),
        (json!({"vocab_size": 1e300}), "vocab_size"),
        (json!({"layer_norm_eps": "tiny"}), "layer_norm_eps: expected a number"),
        (json!({"hidden_dropout_prob": 1.0}), "hidden_dropout_prob: expected a number from 0 up to 1"),
        (json!({"id2label": {"0": "a", "2": "b"}}), "id2label: expected names for the numbers from 0 to 1"),
        (json!({"num_labels": 4}), "num_labels is 4, but id2label has 3 names"),
        (json!({"problem_type": "ranking"}), "problem_type: expected single_label_classification"),
        (json!({"quantization_config": {"bits": 4}}), "quantization_config: expected none"),
    ];
    for (changes, expected) in cases {
        let said = refused(changes.clone());
        assert!(said.contains(expected), "{changes}\n{said}\ndoes not say {expected:?}");
        assert!(said.contains("config.json"), "{said}");
    }
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy("bert", dir.path());
    edit(&path.join("config.json"), json!({"num_hidden_layers": 3, "vocab_size": 61}));
    let folder = HfFolder::open(&path).unwrap();
    let error = folder.load_state(folder.head()).unwrap_err();
    let Error::Tensors { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 17, "{error}");
    let said = error.to_string();
    assert!(
        said.contains(
            "\"bert.embeddings.word_embeddings.weight\" should be f32 [61, 16], found f32 [60, 16]"
        ),
        "{said}"
    );
    assert!(
        said.contains("\"bert.encoder.layer.2.attention.self.query.weight\" (f32 [16, 16]) is missing"),
        "{said}"
    );
    // Fewer layers than the file has: they are named too.
    edit(&path.join("config.json"), json!({"num_hidden_layers": 1, "vocab_size": 60}));
    let folder = HfFolder::open(&path).unwrap();
    let (_, report) = folder.load_state(folder.head()).unwrap();
    assert_eq!(report.unexpected.len(), 16);
    assert!(report.unexpected.iter().all(|n| n.starts_with("bert.encoder.layer.1.")), "{report}");
}

#[test]
fn shards_are_one_model() {
    let (state, report) = load("bert-shards");
    assert_eq!(state.get("encoder.embeddings.word").unwrap().shape().dims(), [60, 16]);
    assert!(report.fresh.is_empty() && report.unexpected.is_empty());
    let dir = tempfile::tempdir().unwrap();
    let says = |change: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir_in(dir.path()).unwrap();
        let path = copy("bert-shards", folder.path());
        change(&path);
        let error = HfFolder::open(&path).unwrap_err();
        assert!(!error.is_io(), "{error}");
        error.to_string()
    };
    const INDEX: &str = "model.safetensors.index.json";
    const FIRST: &str = "model-00001-of-00002.safetensors";
    let said = says(&|p| fs::remove_file(p.join(FIRST)).unwrap());
    assert!(said.contains(FIRST) && said.contains("says that tensors are there"), "{said}");
    let said =
        says(&|p| fs::copy(p.join(FIRST), p.join("model-00002-of-00002.safetensors")).map(drop).unwrap());
    assert!(said.contains("names tensors that are not there"), "{said}");
    let said = says(&|p| {
        let both = ["model-00001-of-00002.safetensors", "again.safetensors"];
        fs::copy(p.join(both[0]), p.join(both[1])).unwrap();
        let mut index: Value = serde_json::from_slice(&fs::read(p.join(INDEX)).unwrap()).unwrap();
        let map = index["weight_map"].as_object_mut().unwrap();
        let name = map.iter().find(|(_, file)| **file == both[0]).unwrap().0.clone();
        map[&name] = both[1].into();
        fs::write(p.join(INDEX), index.to_string()).unwrap();
    });
    assert!(said.contains("too; remove one of them"), "{said}");
    for (index, expected) in [
        (r#"{"weight_map": {"a": "../x.safetensors"}}"#, "found \"../x.safetensors\""),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "found \"/etc/passwd\""),
        (r#"{"weight_map": {"a": "x", "a": "y"}}"#, "stands twice"),
        (r#"{"weight_map": {"a": 1}}"#, "expected a string"),
        (r#"{"metadata": {}}"#, "weight_map"),
        ("[", "expected an object with a weight_map"),
    ] {
        let said = says(&|p| fs::write(p.join(INDEX), index).unwrap());
        assert!(said.contains(expected), "{index}\n{said}\ndoes not say {expected:?}");
    }
}

#[test]
fn a_folder_without_what_is_needed_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &std::path::Path| HfFolder::open(path).unwrap_err().to_string();
    assert!(said(&dir.path().join("none")).contains("there is no such file; expected the configuration"));
    let path = copy("bert", dir.path());
    assert!(HfFolder::is_one(&path) && !HfFolder::is_one(dir.path()));
    fs::remove_file(path.join("model.safetensors")).unwrap();
    assert!(said(&path).contains("there are no tensors in this folder; expected model.safetensors"));
    fs::write(path.join("pytorch_model.bin"), "cos\nsystem\n.").unwrap();
    assert!(said(&path).contains("pytorch_model.bin: it is no file of PyTorch"));
    assert_eq!(open("bert").tokenizer(), Some(golden("bert").join("vocab.txt")));
    assert_eq!(open("bert").tokenizer_files().len(), 2);
    assert_eq!(open("electra").tokenizer(), None);
}

/// The tensors of a file, as PyTorch writes them.
fn as_torch(path: &std::path::Path) -> Vec<u8> {
    let file = MappedTensors::open(path).unwrap();
    let tensors: Vec<(&str, Tensor)> = file.names().map(|name| (name, file.tensor(name).unwrap())).collect();
    crate::torch::write::state_dict(&tensors)
}

#[test]
fn weights_of_pytorch_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy("bert", dir.path());
    let torch = as_torch(&path.join("model.safetensors"));
    fs::write(path.join("pytorch_model.bin"), torch).unwrap();
    fs::remove_file(path.join("model.safetensors")).unwrap();
    let (wanted, found) = (open("bert"), HfFolder::open(&path).unwrap());
    assert_eq!(found.load_state(found.head()).unwrap(), wanted.load_state(wanted.head()).unwrap());

    let path = copy("bert-shards", dir.path());
    let index = path.join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap().replace(".safetensors\"", ".bin\"");
    fs::write(path.join("pytorch_model.bin.index.json"), text).unwrap();
    fs::remove_file(index).unwrap();
    for shard in ["model-00001-of-00002", "model-00002-of-00002"] {
        let shard = path.join(format!("{shard}.safetensors"));
        fs::write(shard.with_extension("bin"), as_torch(&shard)).unwrap();
        fs::remove_file(shard).unwrap();
    }
    let (wanted, found) = (open("bert-shards"), HfFolder::open(&path).unwrap());
    assert_eq!(found.load_state(found.head()).unwrap(), wanted.load_state(wanted.head()).unwrap());
}
