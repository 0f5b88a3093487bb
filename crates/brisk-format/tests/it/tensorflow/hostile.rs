//! Files that were changed by chance or by malice.

use std::fs;
use std::path::Path;

use brisk_format::{TfCheckpoint, read_saved_model};
use proptest::prelude::*;

use super::{copy, golden};

fn read_all(path: &Path) -> brisk_format::Result<()> {
    let checkpoint = TfCheckpoint::open(path)?;
    checkpoint.variables().iter().try_for_each(|v| checkpoint.tensor(&v.key).map(drop))
}

#[test]
fn an_index_cut_short_anywhere_is_an_error() {
    let dir = copy("partitioned");
    let path = dir.path().join("model.ckpt.index");
    let good = fs::read(&path).unwrap();
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        let error = read_all(dir.path()).unwrap_err();
        assert!(!error.is_io(), "{length}: {error}");
    }
}

#[test]
fn data_cut_short_anywhere_is_an_error() {
    let dir = copy("training");
    let path = dir.path().join("ckpt-1.data-00000-of-00001");
    let good = fs::read(&path).unwrap();
    for length in (0..good.len()).step_by(7) {
        fs::write(&path, &good[..length]).unwrap();
        let said = read_all(dir.path()).unwrap_err().to_string();
        assert!(said.contains(&format!("but the file has only {length}")), "{said}");
    }
}

#[test]
fn the_file_that_names_the_latest_may_hold_anything() {
    let dir = copy("training");
    for bytes in [
        &b"\xff\xfe"[..],
        b"model_checkpoint_path: \"ckpt-1\"\n\xff",
        b"model_checkpoint_path: \"/x/ckpt-1\"",
    ] {
        fs::write(dir.path().join("checkpoint"), bytes).unwrap();
        read_all(dir.path()).unwrap();
    }
    let long = "x".repeat(1000);
    for name in [&b"\xff"[..], b"nowhere", b"ckpt\0-1", long.as_bytes()] {
        let bytes = [b"model_checkpoint_path: \"", name, b"\""].concat();
        fs::write(dir.path().join("checkpoint"), bytes).unwrap();
        let error = read_all(dir.path()).unwrap_err();
        assert!(!error.is_io(), "{error}");
    }
}

#[test]
fn every_bit_of_the_data_is_checked() {
    let dir = copy("training");
    let path = dir.path().join("ckpt-1.data-00000-of-00001");
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(5) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, bad).unwrap();
        let error = read_all(dir.path()).unwrap_err();
        let said = error.to_string();
        // The length of the text that names objects may change before its checksum is known.
        assert!(
            said.contains("the checksum of") || said.contains("is not as long as it says"),
            "{at}: {said}"
        );
    }
}

#[cfg(unix)]
#[test]
fn links_lead_to_where_the_index_is() {
    use std::os::unix::fs::symlink;
    let (dir, elsewhere) = (copy("training"), tempfile::tempdir().unwrap());
    let moved = |name: &str| {
        let (from, to) = (dir.path().join(name), elsewhere.path().join(name));
        fs::rename(&from, &to).unwrap();
        symlink(&to, &from).unwrap();
    };
    moved("ckpt-1.data-00000-of-00001");
    let said = read_all(dir.path()).unwrap_err().to_string();
    assert!(said.contains("a link that leads out of the checkpoint's folder"), "{said}");
    // All of it is kept elsewhere.
    moved("ckpt-1.index");
    read_all(dir.path()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_index_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let dir = copy("partitioned");
        let good = fs::read(golden("partitioned/model.ckpt.index")).unwrap();
        let bad = crate::hostile::mutate(&good, &changes, cut);
        fs::write(dir.path().join("model.ckpt.index"), bad).unwrap();
        if let Err(error) = read_all(dir.path()) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }

    #[test]
    fn no_saved_model_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let good = fs::read(golden("types/saved_model.pb")).unwrap();
        let path = dir.path().join("saved_model.pb");
        fs::write(&path, crate::hostile::mutate(&good, &changes, cut)).unwrap();
        match read_saved_model(&path) {
            Err(error) => prop_assert!(!error.is_io(), "{error}"),
            Ok(model) => {
                model.graph.order();
                for node in model.graph.nodes.iter().chain(model.functions.values().flat_map(|f| &f.graph.nodes)) {
                    node.constant().map(|c| c.tensor().map(drop));
                }
            }
        }
    }
}
