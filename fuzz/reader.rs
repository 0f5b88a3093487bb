//! One reader of files from outside meets what libFuzzer makes of good ones: `BRISK_FUZZ_READER` says which reader.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use brisk_format::Result;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[path = "../crates/brisk-format/tests/it/fuzz/mutate.rs"]
#[allow(dead_code)]
mod mutate;
#[path = "../crates/brisk-format/tests/it/fuzz/readers.rs"]
mod readers;

use mutate::{Random, packed, seal, unpacked};

struct Reader {
    /// The name of the file, if it is not an archive of several.
    file: Option<&'static str>,
    read: fn(&Path) -> Result<()>,
}

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let name = std::env::var("BRISK_FUZZ_READER").unwrap_or_default();
    let (file, read): (_, fn(&Path) -> Result<()>) = match name.as_str() {
        "onnx" => (Some("model.onnx"), readers::onnx),
        "keras" => (Some("model.keras"), readers::keras),
        "torch" => (Some("model.pt"), readers::torch),
        "saved_model" => (None, readers::saved_model),
        "frozen_graph" => (Some("frozen.pb"), readers::frozen_graph),
        "tensorflow_checkpoint" => (None, readers::tensorflow_checkpoint),
        "tflite" => (Some("model.tflite"), readers::tflite),
        "mxnet" => (None, readers::mxnet),
        "flax" => (Some("model.msgpack"), readers::flax),
        "npz" => (Some("tensors.npz"), readers::npz),
        "safetensors" => (Some("model.safetensors"), readers::safetensors),
        _ => panic!("BRISK_FUZZ_READER={name:?}: expected a reader of fuzz/reader.rs"),
    };
    Reader { file, read }
});

fuzz_target!(|data: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let files = match READER.file {
        Some(name) => vec![(name.to_owned(), data.to_vec())],
        None => unpacked(data).unwrap_or_default(),
    };
    for (name, bytes) in &files {
        let path = dir.path().join(name);
        if !Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_))) {
            return;
        }
        if fs::create_dir_all(path.parent().unwrap()).is_err() || fs::write(path, bytes).is_err() {
            return;
        }
    }
    let Some((name, _)) = files.first() else { return };
    if let Err(error) = (READER.read)(&dir.path().join(name)) {
        assert!(!error.is_io() && !error.to_string().is_empty(), "{error}");
    }
});

// Of an archive it is mostly the files in it that change, and checksums are made right: neither would chance get by.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    match unpacked(&data[..size]) {
        Some(mut entries) if !entries.is_empty() && (READER.file.is_none() || random.below(16) > 0) => {
            let changed = random.below(entries.len());
            let bytes = &mut entries[changed].1;
            let before = bytes.len();
            bytes.resize(before + 4096, 0);
            let after = fuzzer_mutate(bytes, before, before + 4096);
            bytes.truncate(after);
            seal(bytes);
            let whole = packed(entries);
            if whole.len() > max_size {
                return size;
            }
            data[..whole.len()].copy_from_slice(&whole);
            whole.len()
        }
        _ => {
            let size = fuzzer_mutate(data, size, max_size);
            seal(&mut data[..size]);
            size
        }
    }
});
