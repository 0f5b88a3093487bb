//! Files that were changed by chance or by malice.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use brisk_format::{OnnxFile, Result, import_onnx, import_tflite};
use proptest::prelude::*;
use proptest::sample::Index;

use super::unpacked;

/// The longest that a file may take to be refused or understood, in a build without optimizations.
const PATIENCE: Duration = Duration::from_secs(20);

fn import(path: &Path) -> Result<OnnxFile> {
    let start = Instant::now();
    let file = import_tflite(path);
    assert!(start.elapsed() < PATIENCE, "{} took {:?}", path.display(), start.elapsed());
    file
}

pub fn import_bytes(bytes: &[u8]) -> Result<OnnxFile> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.tflite");
    fs::write(&path, bytes).unwrap();
    let file = import(&path)?;
    // Whatever it has become is a model, or refused too.
    drop(import_onnx(&path, file.clone()));
    Ok(file)
}

static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let names =
        ["cnn", "control", "dense", "float16", "lstm", "long_lstm", "pictures", "whole_numbers", "zoo"];
    names.iter().map(|name| fs::read(unpacked(name).path().join("model.tflite")).unwrap()).collect()
});

#[test]
fn what_no_converter_writes_is_refused() {
    let dir = unpacked("hostile");
    for (name, expected) in [
        ("behind", "has a buffer outside of the file"),
        ("circle", "functions call one another more than 24 deep"),
        ("empty", "takes more bytes than any file has"),
        ("huge", "its shape [1000, 1000, 1000] takes 4000000000"),
        ("late", "is read, but nothing makes it"),
        ("nowhere", "there is no tensor 1000000000"),
        ("scales", "it has 7 scales"),
        ("shared", "too many tensors share their bytes"),
    ] {
        let error = import(&dir.path().join(format!("{name}.tflite"))).unwrap_err();
        let said = error.to_string();
        assert!(!error.is_io() && said.contains(expected), "{name}: {said}\ndoes not say {expected:?}");
    }
}

#[test]
fn all_unknown_operators_are_named() {
    let dir = unpacked("hostile");
    let said = import(&dir.path().join("unknown.tflite")).unwrap_err().to_string();
    assert!(
        said.contains("operators of TensorFlow Lite that have no translation: CUSTOM Frobnicate (nodes "),
        "{said}"
    );
    assert!(said.contains("; operator 300 (nodes "), "{said}");
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let good = &GOOD[3];
    for length in (0..good.len() - 4).step_by(17) {
        let error = import_bytes(&good[..length]).unwrap_err();
        assert!(!error.is_io(), "{length}: {error}");
    }
}

/// Offsets and lengths are numbers of four bytes at places that are multiples of four.
#[test]
fn no_offset_or_length_is_believed() {
    for (good, value) in [(&GOOD[1], u32::MAX), (&GOOD[1], 0), (&GOOD[4], 1 << 31), (&GOOD[4], 4)] {
        for at in (0..good.len() - 3).step_by(4) {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            if let Err(error) = import_bytes(&bad) {
                assert!(!error.is_io(), "{at}: {error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_changed_file_makes_it_panic(
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.1, any::<Index>()),
    ) {
        let good = &which.get::<Vec<u8>>(&GOOD)[..];
        if let Err(error) = import_bytes(&crate::hostile::mutate(good, &changes, cut)) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }
}
