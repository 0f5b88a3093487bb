//! A disk that is full, and files that may not grow: what was saved before stays good.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use brisk_format::{SavedModel, load_checkpoint, load_model, save_checkpoint, save_model, write_atomic};
use brisk_graph::Tensor;
use brisk_nn::Task;
use brisk_nn::prelude::*;
use brisk_runtime::State;

const DIR: &str = "BRISK_TEST_FULL_DISK";

/// Runs the test `child` in a process that a shell command has prepared; `"$0" "$@"` in it is that process.
fn run(shell: &str) {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        .args(["-c", shell])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "full_disk::child", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].concat();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said).contains("1 passed"));
}

#[cfg(unix)]
#[test]
fn files_that_may_not_grow() {
    run(r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#);
}

/// Needs the right to mount in a namespace of one's own, which some machines do not give.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let mount = |and: &str| {
        format!(
            r#"exec unshare -rm sh -c 'mount -t tmpfs -o size=96k tmpfs "$BRISK_TEST_FULL_DISK" && {and}' "$0" "$@""#
        )
    };
    let here = std::env::temp_dir();
    let may = Command::new("sh").args(["-c", &mount("true")]).env(DIR, here).output();
    if may.is_ok_and(|o| o.status.success()) {
        run(&mount(r#"exec "$0" "$@""#));
    } else {
        eprintln!("not tested: no file system can be mounted here");
    }
}

fn big() -> SavedModel {
    let model = Sequential::new([400]).add(Dense::new(300)).build().unwrap();
    let task = Task::new(model, Loss::MeanSquaredError);
    let state = task.model.init_state(1).unwrap();
    SavedModel::new(&task, &state)
}

/// Does nothing unless [`run`] runs it.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let (checkpoint, model) = (dir.join("last.ckpt"), dir.join("model"));
    save_checkpoint(&checkpoint, &"small", &crate::state()).unwrap();
    save_model(&model, &crate::saved(1)).unwrap();
    for _ in 0..3 {
        for error in [
            save_checkpoint(&checkpoint, &"big", &big().state).unwrap_err(),
            save_model(&model, &big()).unwrap_err(),
            save_model(&dir.join("new"), &big()).unwrap_err(),
        ] {
            assert!(error.is_io(), "{error}");
            let kind = error.io_kind().unwrap();
            assert!(matches!(kind, ErrorKind::StorageFull | ErrorKind::FileTooLarge), "{error}");
            assert!(error.to_string().contains("free some space"), "{error}");
        }
    }
    assert_eq!(load_checkpoint::<String>(&checkpoint).unwrap().meta, "small");
    assert_eq!(load_model(&model).unwrap(), crate::saved(1));
    assert_eq!(crate::names(&dir), ["last.ckpt", "model"]);
}

#[cfg(target_os = "linux")]
#[test]
fn dev_full() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    brisk_format::write_text(&path, "old").unwrap();
    let error = write_atomic(&path, |w| {
        w.write_all(b"new")?;
        File::options().write(true).open("/dev/full")?.write_all(b"x")
    });
    assert_eq!(error.unwrap_err().io_kind(), Some(ErrorKind::StorageFull));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(crate::names(dir.path()), ["a"]);
}

/// A folder in the place of a file, a file in the place of a folder: the system's errors, and nothing is left behind.
#[test]
fn places_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "mine").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    let state: State = [("a", Tensor::scalar(1.0))].into_iter().collect();
    for path in ["file/c", "folder"] {
        assert!(save_checkpoint(&dir.path().join(path), &(), &state).is_err());
    }
    let error = save_model(&dir.path().join("file"), &crate::saved(1)).unwrap_err();
    assert!(error.to_string().contains("there is a file of this name"), "{error}");
    assert!(save_model(&dir.path().join("file/model"), &crate::saved(1)).is_err());
    assert!(save_model(Path::new("/"), &crate::saved(1)).is_err());
    assert_eq!(crate::names(dir.path()), ["file", "folder"]);
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "mine");
}

/// What killed processes left lying goes when it is old, and nobody holds it.
#[test]
fn leftovers_go() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let age = |name: &str| File::open(at(name)).unwrap().set_modified(old).unwrap();
    for name in [".c.abcdef.tmp", ".c.living.tmp", ".c.notours.tmp", ".d.abcdef.tmp"] {
        fs::write(at(name), "half").unwrap();
        age(name);
    }
    fs::write(at(".c.recent.tmp"), "half").unwrap();
    let living = File::open(at(".c.living.tmp")).unwrap();
    living.lock().unwrap();
    brisk_format::write_text(&at("c"), "").unwrap();
    assert_eq!(
        crate::names(dir.path()),
        [".c.living.tmp", ".c.notours.tmp", ".c.recent.tmp", ".d.abcdef.tmp", "c"]
    );
}

/// A folder goes too, unless it is an old one with something of the user's.
#[test]
fn leftover_folders_go() {
    let dir = tempfile::tempdir().unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for (folder, file) in [(".m.abcdef.tmp", "config.json"), (".m.ghijkl.tmp", "notes.txt")] {
        let folder = dir.path().join(folder);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(file), "").unwrap();
        File::open(&folder).unwrap().set_modified(old).unwrap();
    }
    save_model(&dir.path().join("m"), &crate::saved(1)).unwrap();
    assert_eq!(crate::names(dir.path()), [".m.ghijkl.tmp", "m"]);
}
