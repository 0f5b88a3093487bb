//! Folders and files that were changed by chance or by malice.

use std::fs;
use std::path::Path;

use brisk_format::{load_model, load_tensors, save_model, save_tensors};
use proptest::prelude::*;

const FILES: [&str; 4] = ["config.json", "model.safetensors", "preprocessing.json", "labels.txt"];

/// Writes a file of a model folder, with a manifest that agrees.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).unwrap();
    let manifest = dir.join("brisk.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    json["files"][name] = blake3::hash(bytes).to_hex().as_str().into();
    fs::write(manifest, json.to_string()).unwrap();
}

fn mutate(good: &[u8], changes: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.truncate(cut.map_or(bytes.len(), |c| c.index(bytes.len())));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_safetensors_file_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        save_tensors(&path, &crate::state()).unwrap();
        fs::write(&path, mutate(&fs::read(&path).unwrap(), &changes, cut)).unwrap();
        if let Err(error) = load_tensors(&path) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }

    #[test]
    fn no_header_makes_it_panic(header in "[\\[\\]{}:,\"a0-9DFIU ]{0,60}", data in 0usize..20) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        fs::write(&path, crate::safetensors::file(&header, data)).unwrap();
        if let Err(error) = load_tensors(&path) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }

    /// Even if the manifest agrees.
    #[test]
    fn no_model_folder_makes_it_panic(
        name in prop::sample::select(&FILES[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        save_model(&path, &crate::saved(1)).unwrap();
        let bad = mutate(&fs::read(path.join(name)).unwrap(), &changes, cut);
        replace(&path, name, &bad);
        if let Err(error) = load_model(&path) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }

    #[test]
    fn no_manifest_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        save_model(&path, &crate::saved(1)).unwrap();
        let manifest = path.join("brisk.json");
        fs::write(&manifest, mutate(&fs::read(&manifest).unwrap(), &changes, cut)).unwrap();
        if let Err(error) = load_model(&path) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }
}
