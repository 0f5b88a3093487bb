//! Damaged files, files of the future, and full disks.

use crate::support::{Place, damage};

#[test]
fn damaged_checkpoints_are_refused() {
    let place = Place::new();
    place.train("run", &["--set", "train.epochs=1"]);
    let resume = || place.brisk(&["train", "--resume", "run", "--set", "train.epochs=2"]);
    let last = place.at("run/checkpoints/last.ckpt");
    let good = std::fs::read(&last).unwrap();
    damage(&last);
    resume().fails(2, &["last.ckpt: damaged", "train again"]);
    std::fs::write(&last, &good[..good.len() / 2]).unwrap();
    resume().fails(2, &["last.ckpt"]);
    std::fs::write(&last, &good).unwrap();
    resume().good();
}

#[test]
fn damaged_models_are_refused() {
    let place = Place::new();
    place.train("run", &["--set", "train.epochs=1"]);
    place.png("a.png", 0, 0);
    for file in ["model.safetensors", "config.json", "labels.txt"] {
        let path = place.at("run/model").join(file);
        let good = std::fs::read(&path).unwrap();
        damage(&path);
        place.brisk(&["evaluate", "run"]).fails(2, &[file, "damaged", "restore"]);
        place.brisk(&["predict", "run", "a.png"]).fails(2, &[file, "damaged"]);
        std::fs::remove_file(&path).unwrap();
        place.brisk(&["predict", "run", "a.png"]).fails(2, &[file]);
        std::fs::write(&path, good).unwrap();
    }
    place.brisk(&["predict", "run", "a.png"]).good();
}

#[test]
fn newer_versions_ask_for_an_update() {
    let place = Place::new();
    place.train("run", &["--set", "train.epochs=1"]);
    let manifest = place.text("run/model/brisk.json").replace("\"format\": 1", "\"format\": 99");
    place.write("run/model/brisk.json", manifest);
    place.brisk(&["evaluate", "run"]).fails(2, &["written by a newer Brisk (format 99", "update Brisk"]);

    // A checkpoint as that version would seal it.
    let mut bytes = place.read("run/checkpoints/last.ckpt");
    bytes[8..12].copy_from_slice(&99u32.to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..12]).update(&bytes[44..]);
    bytes[12..44].copy_from_slice(hasher.finalize().as_bytes());
    place.write("run/checkpoints/last.ckpt", bytes);
    place
        .brisk(&["train", "--resume", "run"])
        .fails(2, &["last.ckpt", "newer Brisk (format 99", "update Brisk"]);
}

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_the_former_checkpoint() {
    let place = Place::new();
    place.train("run", &["--set", "train.epochs=1"]);
    let before = place.read("run/checkpoints/last.ckpt");
    let config = place.text("run/config.yaml");
    assert!(config.contains("epochs: 1"), "{config}");
    place.write("run/config.yaml", config.replace("epochs: 1", "epochs: 2"));
    let resume = ["train", "--resume", "run"];
    // No file may grow beyond a block; the signal that says so is ignored, as on a disk that is full.
    let done = place.limited("trap '' XFSZ; ulimit -f 1", &resume);
    done.fails(1, &["run/checkpoints/", "cannot be written", "free some space"]);
    assert!(before == place.read("run/checkpoints/last.ckpt"));
    place.brisk(&resume).good();
    assert_eq!(place.text("run/history.csv").lines().count(), 3);
}
