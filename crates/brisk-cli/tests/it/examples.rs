//! The projects under `examples/`, as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use brisk_train::{ModelSpec, Project};

#[test]
fn every_example_parses_and_learns_for_an_epoch() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for entry in fs::read_dir(root.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        count += 1;
        let project = Project::load(&path, &[]).unwrap();
        let mut set = vec!["train.epochs=1".to_string()];
        if project.model.pretrained.is_some() {
            // Without the folder: the same project over an encoder that begins from nothing.
            let preset = Some("transformer-encoder".into());
            let model = ModelSpec { pretrained: None, preset, ..project.model };
            set.push(format!("model={}", serde_json::to_string(&model).unwrap()));
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_brisk"));
        command
            .current_dir(&root)
            .arg("train")
            .arg(&path)
            .arg("--out")
            .arg(dir.path().join(count.to_string()));
        for assignment in &set {
            command.args(["--set", assignment]);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
        assert!(dir.path().join(format!("{count}/model")).is_dir());
    }
    assert_eq!(count, 5);
}
