//! What is done with a file that was changed: all of it is read.

use std::path::Path;

use brisk_format::*;

fn model(path: &Path, file: OnnxFile) -> Result<()> {
    import_onnx(path, file).map(drop)
}

pub fn onnx(path: &Path) -> Result<()> {
    model(path, read_onnx(path)?)
}

pub fn keras(path: &Path) -> Result<()> {
    load_keras(path).map(drop)
}

pub fn torch(path: &Path) -> Result<()> {
    let file = TorchFile::open(path)?;
    drop(file.state_dict(None));
    file.names().try_for_each(|name| file.tensor(name).map(drop))
}

/// `path` is the file of the graph in its folder.
pub fn saved_model(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap();
    model(folder, import_saved_model(folder)?)
}

pub fn frozen_graph(path: &Path) -> Result<()> {
    model(path, import_frozen_graph(path)?)
}

/// `path` is a file of the checkpoint's folder.
pub fn tensorflow_checkpoint(path: &Path) -> Result<()> {
    let checkpoint = TfCheckpoint::open(path.parent().unwrap())?;
    checkpoint.variables().iter().try_for_each(|v| checkpoint.tensor(&v.key).map(drop))
}

pub fn tflite(path: &Path) -> Result<()> {
    model(path, import_tflite(path)?)
}

/// `path` is the file of the graph, or that of its numbers; the other is beside it.
pub fn mxnet(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap().to_string_lossy();
    let name = name.strip_suffix("-symbol.json").or(name.strip_suffix(".params")).unwrap();
    let symbol = path.with_file_name(format!("{name}-symbol.json"));
    model(path, import_mxnet(&symbol, &path.with_file_name(format!("{name}.params")))?)
}

pub fn flax(path: &Path) -> Result<()> {
    read_flax(path).map(drop)
}

pub fn npz(path: &Path) -> Result<()> {
    load_npz(path).map(drop)
}

pub fn safetensors(path: &Path) -> Result<()> {
    let file = MappedTensors::open(path)?;
    file.names().try_for_each(|name| file.tensor(name).map(drop))?;
    load_tensors(path).map(drop)
}
