//! Folders and files that were changed by chance or by malice.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

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

pub fn mutate(
    good: &[u8],
    changes: &[(prop::sample::Index, u8)],
    cut: Option<prop::sample::Index>,
) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.truncate(cut.map_or(bytes.len(), |c| c.index(bytes.len())));
    bytes
}

/// A copy of a good model folder, without waiting for the disk each time.
fn model(dir: &Path) -> PathBuf {
    static GOOD: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        save_model(&dir.path().join("model"), &crate::saved(1)).unwrap();
        dir
    });
    let copy = dir.join("model");
    fs::create_dir(&copy).unwrap();
    for name in FILES.into_iter().chain(["brisk.json"]) {
        fs::copy(GOOD.path().join("model").join(name), copy.join(name)).unwrap();
    }
    copy
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
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let file = tempfile::NamedTempFile::new().unwrap();
            save_tensors(file.path(), &crate::state()).unwrap();
            fs::read(file.path()).unwrap()
        });
        fs::write(&path, mutate(&GOOD, &changes, cut)).unwrap();
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
        let path = model(dir.path());
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
        let path = model(dir.path());
        let manifest = path.join("brisk.json");
        fs::write(&manifest, mutate(&fs::read(&manifest).unwrap(), &changes, cut)).unwrap();
        if let Err(error) = load_model(&path) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }
}
