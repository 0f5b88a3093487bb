//! What is kept comes back, and nothing that can be read makes it panic.

mod checkpoint;
mod flax;
mod full_disk;
mod fuzz;
mod hostile;
mod huggingface;
mod keras;
mod mapped;
mod model;
mod mxnet;
mod mxnet_convert;
mod onnx;
mod onnx_export;
mod round_trips;
mod safetensors;
mod tensorflow;
mod tflite;
mod torch;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use brisk_format::SavedModel;
use brisk_graph::Tensor;
use brisk_nn::prelude::*;
use brisk_nn::{INPUT, Scaling};
use brisk_runtime::State;

/// What is in an archive of the goldens, as a folder of its own.
fn unpacked(archive: &str) -> tempfile::TempDir {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens");
    let bytes = fs::read(goldens.join(archive)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    zip::ZipArchive::new(Cursor::new(bytes)).unwrap().extract(dir.path()).unwrap();
    dir
}

/// A small convolutional model with unequal labels, statistics and preprocessing.
fn saved(seed: u64) -> SavedModel {
    let model = Sequential::new([6, 6, 1])
        .add(Conv2D::new(3, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Flatten {})
        .add(Dense::new(2))
        .build()
        .unwrap();
    let mut model = model;
    let scaling = Scaling { scale: 1.0 / 255.0, mean: vec![0.2860406], std: vec![0.35302424] };
    model.set_stored(INPUT, brisk_graph::DType::U8, scaling).unwrap();
    let task = Task::new(model, Loss::sparse_categorical_crossentropy());
    let state = task.init_state(&Optimizer::adam(1e-3), seed).unwrap();
    let mut saved = SavedModel::new(&task, &state);
    saved.labels = vec!["T-shirt/top".into(), "a \\ b\r\n".into()];
    saved.preprocessing = serde_json::json!({"resize": [6, 6], "scale": 0.1 + 0.2});
    saved.card = "# Model card\n".into();
    saved
}

/// Tensors of every type, in an order that is neither that of names nor that of sizes.
fn state() -> State {
    let tensor = |t: Result<Tensor, _>| t.unwrap();
    [
        ("w", tensor(Tensor::new([2, 2], vec![0.1f32, f32::NAN, f32::from_bits(0x7fa0_0001), -0.0]))),
        ("bytes", tensor(Tensor::new([3], vec![1u8, 2, 255]))),
        ("a.scalar", Tensor::scalar(f32::MIN_POSITIVE / 2.0)),
        ("none", tensor(Tensor::new([0, 4], Vec::<i32>::new()))),
        ("key", tensor(Tensor::new([2], vec![i32::MIN, 7]))),
        ("größe", tensor(Tensor::new([1], vec![f64::EPSILON]))),
    ]
    .into_iter()
    .collect()
}

/// The bits of a state, in order: NaNs compare too.
fn bits(state: &State) -> Vec<(String, Vec<usize>, String)> {
    use brisk_graph::Data::*;
    let of = |t: &Tensor| match t.data() {
        F32(v) => format!("f32 {:x?}", v.iter().map(|x| x.to_bits()).collect::<Vec<_>>()),
        F64(v) => format!("f64 {:x?}", v.iter().map(|x| x.to_bits()).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    };
    state.iter().map(|(n, t)| (n.to_string(), t.shape().to_vec(), of(t))).collect()
}

/// The names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
