use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use brisk_format::{Error, load_checkpoint, save_checkpoint};
use brisk_runtime::State;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{bits, state};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meta {
    epoch: usize,
    best: Option<f64>,
    rates: Vec<f64>,
}

fn meta() -> Meta {
    // The second is read back with another last bit by a JSON reader that hurries.
    Meta { epoch: 3, best: None, rates: vec![0.1 + 0.2, 1.0 / 255.0 * 0.3, 1e-300] }
}

#[test]
fn comes_back_bit_for_bit_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/last.ckpt");
    for _ in 0..2 {
        save_checkpoint(&path, &meta(), &state()).unwrap();
    }
    let loaded = load_checkpoint::<Meta>(&path).unwrap();
    assert_eq!(loaded.meta, meta());
    assert_eq!(bits(&loaded.state), bits(&state()));
    assert_eq!(crate::names(path.parent().unwrap()), ["last.ckpt"]);
    save_checkpoint(&path, &(), &State::new()).unwrap();
    assert!(load_checkpoint::<()>(&path).unwrap().state.is_empty());
}

#[test]
fn the_same_state_gives_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    save_checkpoint(&a, &meta(), &state()).unwrap();
    save_checkpoint(&b, &meta(), &state()).unwrap();
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[cfg(unix)]
#[test]
fn has_the_permissions_of_other_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (plain, ours) = (dir.path().join("plain"), dir.path().join("ours"));
    fs::write(&plain, "").unwrap();
    save_checkpoint(&ours, &(), &State::new()).unwrap();
    let mode = |p| fs::metadata(p).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&plain));
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    save_checkpoint(&file, &1, &State::new()).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    save_checkpoint(&link, &2, &State::new()).unwrap();
    assert!(link.is_symlink());
    assert_eq!(load_checkpoint::<i32>(&file).unwrap().meta, 2);
}

fn error(path: &Path) -> Error {
    load_checkpoint::<Value>(path).unwrap_err()
}

#[test]
fn says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("last.ckpt");
    let says = |what: &str| {
        let error = error(&path);
        assert!(!error.is_io(), "{error}");
        assert!(error.to_string().contains(what), "{error} does not say {what:?}");
    };
    says("there is no such file; expected a checkpoint");
    fs::create_dir(&path).unwrap();
    says("this is a folder");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "").unwrap();
    says("it is empty");
    fs::write(&path, "PK\x03\x04 something else").unwrap();
    says("its first bytes are not those of one");

    save_checkpoint(&path, &meta(), &state()).unwrap();
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..40]).unwrap();
    says("expected at least 52 bytes, found 40");
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    says("damaged: the checksum of its");
    says("use an earlier checkpoint of this run");
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    says("damaged: the checksum of its");

    fs::write(&path, seal(&good, |b| b[8] = 3)).unwrap();
    says("written by a newer Brisk (format 3, this one reads 1): update Brisk");
    let mut newer = good.clone();
    newer[8] = 3; // not sealed: a damaged byte, and not a newer file
    fs::write(&path, newer).unwrap();
    says("damaged: the checksum");
    fs::write(&path, seal(&good, |b| b[8] = 0)).unwrap();
    says("there is no format version 0");

    fs::write(&path, &good).unwrap();
    let other = load_checkpoint::<Vec<u8>>(&path).unwrap_err();
    assert!(matches!(other, Error::Content { .. }), "{other}");
    assert!(other.to_string().contains("resume with the Brisk that wrote it"), "{other}");
}

/// The file with changes that its checksum knows of.
pub fn seal(file: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = file.to_vec();
    change(&mut bytes);
    if bytes.len() >= 44 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..12]).update(&bytes[44..]);
        let hash = hasher.finalize();
        bytes[12..44].copy_from_slice(hash.as_bytes());
    }
    bytes
}

fn good() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    save_checkpoint(&path, &meta(), &state()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let good = good();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        assert!(!error(&path).is_io(), "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(!error(&path).is_io(), "cut at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Even if the checksum is right, no bytes make it panic.
    #[test]
    fn no_sealed_bytes_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(good);
        let bad = seal(&GOOD, |b| {
            for (at, byte) in &changes {
                let at = at.index(b.len());
                b[at] = *byte;
            }
            if let Some(cut) = cut {
                b.truncate(cut.index(b.len()));
            }
        });
        fs::write(&path, bad).unwrap();
        if let Err(error) = load_checkpoint::<Value>(&path) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }
}
