//! Bad input: every message names the place and the remedy.

use std::fs;
use std::path::Path;

use brisk_data::{Checks, FileSpec, OpenOptions, ProblemKind, SourceSpec, check, open};
use proptest::prelude::*;
use tempfile::tempdir;

use crate::{cifar, idx, png, write};

/// The message of opening a path, or of reading its first image.
fn message(path: &Path) -> String {
    let data = match open(&SourceSpec::from(path), &OpenOptions::default()) {
        Ok(data) => data,
        Err(e) => {
            assert!(e.is_bad_input(), "{e}");
            return e.to_string();
        }
    };
    data.train().image(0).unwrap_err().to_string()
}

fn expect(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
}

#[test]
fn paths_and_kinds() {
    let dir = tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    expect(&message(&at("nothing")), &["nothing: not found", "Check the path"]);
    fs::create_dir(at("empty")).unwrap();
    expect(&message(&at("empty")), &["empty: cannot tell what kind", "an empty folder", "kind:"]);
    write(&at("texts/a.txt"), b"x");
    expect(&message(&at("texts")), &["only a.txt"]);
    write(&at("data.parquet"), b"x");
    expect(&message(&at("data.parquet")), &["a .parquet file"]);
    let e = open(&"cifar-10".into(), &OpenOptions::default()).unwrap_err().to_string();
    expect(&e, &["unknown data set `cifar-10`", "did you mean `cifar10`?"]);
}

#[test]
fn classes_and_samples() {
    let dir = tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    fs::create_dir_all(at("none/cat")).unwrap();
    expect(&message(&at("none")), &["none: no samples", "add images"]);
    write(&at("some/cat/a.png"), &png(1));
    write(&at("some/dog/a.gif"), b"GIF89a");
    expect(&message(&at("some")), &["class `dog` has no samples"]);
    write(&at("empty.csv"), b"path,label\n");
    expect(&message(&at("empty.csv")), &["empty.csv: no samples"]);
    write(&at("mnist/train-images-idx3-ubyte"), &idx(&[2, 1, 1], &[0, 0]));
    expect(&message(&at("mnist")), &["train-labels-idx1-ubyte: not found", "Its partner is there"]);
    write(&at("mnist/train-labels-idx1-ubyte"), &idx(&[2], &[0, 3]));
    write(&at("mnist/labels.txt"), b"a\nb\n");
    expect(
        &message(&at("mnist")),
        &["train-labels-idx1-ubyte, label 1 at offset 9", "label 3 is out of range", "0 to 1"],
    );
    write(&at("cifar/data_batch_1.bin"), &cifar(&[0, 10]));
    expect(&message(&at("cifar")), &["data_batch_1.bin, record 1, offset 3073: label 10 is out of range"]);
}

#[test]
fn damaged_images() {
    let dir = tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let bytes = png(1);
    write(&at("torn/cat/a.png"), &bytes[..bytes.len() - 20]);
    expect(&message(&at("torn")), &["a.png: not a readable image", "brisk data check"]);
    write(&at("text/cat/a.png"), b"hello");
    expect(&message(&at("text")), &["a.png: not a readable image: expected PNG, JPEG, WebP or BMP"]);
    write(&at("list.csv"), b"path,label\nno.png,cat\n");
    expect(&message(&at("list.csv")), &["no.png: not found", "list.csv, line 2 names it"]);
}

#[test]
fn a_class_that_the_model_does_not_know() {
    let dir = tempdir().unwrap();
    write(&dir.path().join("cat/a.png"), &png(1));
    let data = open(&SourceSpec::from(dir.path()), &OpenOptions::default()).unwrap();
    let e = data.for_model(data.image_spec(), &["cats", "dogs"]).unwrap_err().to_string();
    expect(&e, &["unknown class `cat`", "did you mean `cats`?"]);
}

#[test]
fn check_opens_what_open_refuses() {
    let dir = tempdir().unwrap();
    write(&dir.path().join("data_batch_1.bin"), &cifar(&[0, 10, 200]));
    let options = OpenOptions { checks: Checks::None, ..OpenOptions::default() };
    let data = open(&SourceSpec::from(dir.path()), &options).unwrap();
    let report = check(&data, 2);
    assert_eq!(report.count(ProblemKind::LabelOutOfRange), 2);
    assert_eq!(report.count(ProblemKind::EmptyClass), 9);

    let list = dir.path().join("list.csv");
    write(&list, b"path,label\na.png,cat\nb.png,bird\n");
    let spec = FileSpec { classes: Some(vec!["cat".into()]), ..FileSpec::at(&list) };
    let sized = OpenOptions { size: Some([8, 8]), channels: Some(3), ..options };
    let report = check(&open(&spec.into(), &sized).unwrap(), 1);
    assert_eq!((report.count(ProblemKind::LabelOutOfRange), report.count(ProblemKind::Corrupt)), (1, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_files_never_panic(
        which in 0usize..7, bytes in proptest::collection::vec(any::<u8>(), 0..300), good: bool,
    ) {
        let dir = tempdir().unwrap();
        let name = [
            "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "labels.txt", "data_batch_1.bin",
            "train.bin", "list.csv", "cat/a.png",
        ][which];
        if good {
            write(&dir.path().join("train-images-idx3-ubyte"), &idx(&[1, 1, 1], &[0]));
            write(&dir.path().join("train-labels-idx1-ubyte"), &idx(&[1], &[0]));
        }
        write(&dir.path().join(name), &bytes);
        let path = if name.ends_with("csv") { dir.path().join(name) } else { dir.path().into() };
        for checks in [Checks::Training, Checks::None] {
            if let Ok(data) = open(&SourceSpec::from(path.as_path()), &OpenOptions { checks, ..Default::default() }) {
                let _ = check(&data, 1).to_string();
                let _ = brisk_data::describe(&data);
            }
        }
    }
}
