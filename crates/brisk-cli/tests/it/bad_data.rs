//! Data with faults: each message names the file and the remedy.

use std::fs;
use std::io::Write;

use crate::support::{CLASSES, Done, Place, idx, tiny};

fn train(place: &Place, source: &str) -> Done {
    place.write("tiny.yaml", tiny(source, ""));
    place.brisk(&["train", "tiny.yaml"])
}

#[test]
fn missing_data() {
    let place = Place::empty();
    train(&place, "no/such/folder").fails(2, &["no/such/folder: not found", "Check the path"]);
    train(&place, "fashion-mist").fails(2, &["did you mean `fashion-mnist`?"]);
    train(&place, "cifar10").fails(2, &["brisk data get cifar10"]);
}

#[test]
fn missing_and_torn_images() {
    let place = Place::empty();
    place.folders("pictures", 4);
    let rows: String = (0..4).flat_map(|i| CLASSES.map(|c| format!("pictures/{c}/{i}.png,{c}\n"))).collect();
    place.write("list.csv", format!("path,label\n{rows}pictures/left/none.png,left\n"));
    train(&place, "list.csv").fails(2, &["pictures/left/none.png", "not found"]);

    let whole = place.read("pictures/left/0.png");
    place.write("pictures/left/0.png", &whole[..whole.len() / 2]);
    train(&place, "pictures").fails(2, &["pictures/left/0.png: not a readable image", "brisk data check"]);
    let report = place.brisk(&["data", "check", "pictures", "--output", "bad.csv"]);
    assert_eq!(report.code, Some(2), "{}", report.err);
    assert!(place.text("bad.csv").contains("unreadable image,train,"));
}

#[test]
fn truncated_files() {
    let place = Place::empty();
    place.idx("idx", 12, 6);
    let path = place.at("idx/train-images-idx3-ubyte");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    train(&place, "idx").fails(2, &["train-images-idx3-ubyte: truncated", "Get the file again"]);

    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&bytes).unwrap();
    let gz = gz.finish().unwrap();
    fs::remove_file(&path).unwrap();
    place.write("idx/train-images-idx3-ubyte.gz", &gz[..gz.len() - 20]);
    train(&place, "idx").fails(2, &["train-images-idx3-ubyte.gz", "Get the file again"]);

    place.write("cifar/data_batch_1.bin", vec![1; 3073 * 2 - 1]);
    train(&place, "cifar").fails(2, &["data_batch_1.bin"]);
}

#[test]
fn classes_and_labels() {
    let place = Place::empty();
    place.folders("pictures", 4);
    fs::create_dir(place.at("pictures/upside-down")).unwrap();
    train(&place, "pictures").fails(2, &["class `upside-down` has no samples"]);
    fs::create_dir_all(place.at("empty/left")).unwrap();
    train(&place, "empty").fails(2, &["empty", "no samples"]);
    place.idx("idx", 12, 6);
    place.write("idx/train-labels-idx1-ubyte", idx(&[12], &[0, 1, 2, 0, 1, 7, 0, 1, 2, 0, 1, 2]));
    train(&place, "idx").fails(2, &["train-labels-idx1-ubyte", "label 7 is out of range", "3 classes"]);
}

#[test]
fn data_of_other_classes_are_refused() {
    let place = Place::new();
    place.train("run", &["--set", "train.epochs=1"]);
    place.folders("other", 1);
    fs::rename(place.at("other/left"), place.at("other/lift")).unwrap();
    let done = place.brisk(&["evaluate", "run", "--data", "other"]);
    done.fails(2, &["--data other", "`lift`", "did you mean `left`?"]);
    fs::rename(place.at("run/model"), place.at("alone")).unwrap();
    place.brisk(&["evaluate", "alone"]).fails(2, &["--data SOURCE"]);
}
