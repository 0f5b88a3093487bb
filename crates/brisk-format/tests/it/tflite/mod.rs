//! Models of TensorFlow Lite answer what its interpreter answered, and nothing that can be read makes it panic.

mod convert;
mod hostile;
mod made;

use std::fs;
use std::io::Cursor;
use std::path::Path;

/// A model that TensorFlow wrote, with what was answered; see `tflite_models.py` there.
fn unpacked(name: &str) -> tempfile::TempDir {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens/tflite_models");
    let bytes = fs::read(goldens.join(format!("{name}.zip"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    zip::ZipArchive::new(Cursor::new(bytes)).unwrap().extract(dir.path()).unwrap();
    dir
}
