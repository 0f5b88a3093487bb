//! Models of TensorFlow Lite answer what its interpreter answered, and nothing that can be read makes it panic.

mod convert;
mod hostile;
mod made;

/// A model that TensorFlow wrote, with what was answered; see `tflite_models.py` there.
fn unpacked(name: &str) -> tempfile::TempDir {
    crate::unpacked(&format!("tflite_models/{name}.zip"))
}
