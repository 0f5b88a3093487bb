//! Folders that were changed by chance or by malice.

use std::fs;

use brisk_format::HfFolder;
use proptest::prelude::*;

use super::{copy, golden};

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
