//! Folders that were changed by chance or by malice.

use std::fs;

use brisk_format::{HfFolder, save_tensors};
use brisk_graph::{DType, Tensor};
use proptest::prelude::*;

use super::{copy, edit, golden};

/// The tensors of a layer of size 1.
const LAYER: [(&str, &[usize]); 16] = [
    ("attention.self.query.weight", &[1, 1]),
    ("attention.self.query.bias", &[1]),
    ("attention.self.key.weight", &[1, 1]),
    ("attention.self.key.bias", &[1]),
    ("attention.self.value.weight", &[1, 1]),
    ("attention.self.value.bias", &[1]),
    ("attention.output.dense.weight", &[1, 1]),
    ("attention.output.dense.bias", &[1]),
    ("attention.output.LayerNorm.weight", &[1]),
    ("attention.output.LayerNorm.bias", &[1]),
    ("intermediate.dense.weight", &[1, 1]),
    ("intermediate.dense.bias", &[1]),
    ("output.dense.weight", &[1, 1]),
    ("output.dense.bias", &[1]),
    ("output.LayerNorm.weight", &[1]),
    ("output.LayerNorm.bias", &[1]),
];

/// Each strange name against each of a model's, for a head that is not there, would take minutes.
#[test]
fn many_strange_names_beside_many_layers_are_listed() {
    const LAYERS: usize = 1000;
    const STRANGE: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let path = copy("bert", dir.path());
    edit(
        &path.join("config.json"),
        serde_json::json!({"num_hidden_layers": LAYERS, "hidden_size": 1, "num_attention_heads": 1, "intermediate_size": 1,
            "vocab_size": 1, "max_position_embeddings": 1, "type_vocab_size": 1}),
    );
    let embeddings = [
        ("word_embeddings.weight", &[1, 1][..]),
        ("position_embeddings.weight", &[1, 1]),
        ("token_type_embeddings.weight", &[1, 1]),
        ("LayerNorm.weight", &[1]),
        ("LayerNorm.bias", &[1]),
    ];
    let embeddings = embeddings.map(|(name, shape)| (format!("bert.embeddings.{name}"), shape));
    let layers = (0..LAYERS)
        .flat_map(|i| LAYER.map(|(name, shape)| (format!("bert.encoder.layer.{i}.{name}"), shape)));
    let strange = (0..STRANGE).map(|i| (format!("strange.{i}"), &[0][..]));
    let tensors = embeddings.into_iter().chain(layers).chain(strange);
    let state = tensors.map(|(name, shape)| (name, Tensor::zeros(DType::F32, shape))).collect();
    save_tensors(&path.join("model.safetensors"), &state).unwrap();
    let folder = HfFolder::open(&path).unwrap();
    let (_, report) = folder.load_state(folder.head()).unwrap();
    assert_eq!((report.unexpected.len(), report.loaded.len()), (STRANGE, 5 + 16 * LAYERS));
    assert_eq!(report.fresh.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_folder_makes_it_panic(
        name in prop::sample::select(&[
            "config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "modules.json",
            "1_Pooling/config.json",
        ][..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = copy("bert-shards", dir.path());
        let good = fs::read(golden("bert-shards").join(name)).unwrap();
        fs::write(path.join(name), crate::hostile::mutate(&good, &changes, cut)).unwrap();
        let result = HfFolder::open(&path).and_then(|f| f.load_state(f.head()));
        if let Err(error) = result {
            prop_assert!(!error.is_io(), "{error}");
        }
    }

    /// Any number or text in the place of any entry.
    #[test]
    fn no_configuration_makes_it_panic(
        key in any::<prop::sample::Index>(),
        value in prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            (0u64..5000).prop_map(serde_json::Value::from),
            Just(serde_json::json!([])), Just(serde_json::json!({"0": []})), Just(serde_json::json!("x")),
        ],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = copy("electra", dir.path());
        let file = path.join("config.json");
        let mut json: serde_json::Map<_, _> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let keys: Vec<String> = json.keys().cloned().collect();
        json[key.get(&keys)] = value;
        fs::write(&file, serde_json::to_vec(&json).unwrap()).unwrap();
        let result = HfFolder::open(&path).and_then(|f| f.load_state(f.head()));
        if let Err(error) = result {
            prop_assert!(!error.is_io(), "{error}");
        }
    }
}
