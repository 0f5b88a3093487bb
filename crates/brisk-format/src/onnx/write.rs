//! From a model to an ONNX file.

use std::io::{self, Write};
use std::path::Path;

use brisk_graph::Tensor;
use brisk_onnx::{Constant, Elem};
use prost::Message;
use prost::encoding::encode_varint;

use super::encode::write_raw;
use super::message::{described, graph_proto, model_proto, tensor_proto};
use super::proto::{GraphProto, StringStringEntryProto, TensorProto};
use super::read::OnnxFile;
use super::tensor::raw_bytes;
use crate::atomic::{place, write_atomic};
use crate::{Error, Result};

/// A message of Protocol Buffers is no longer than this.
const LONGEST: u64 = (1 << 31) - 1;
/// Smaller tensors stay in the model's file.
const SMALL: u64 = 1 << 10;
/// Where tensors in a file of their own begin: at a multiple of this, so that the file can be mapped.
const ALIGNED: u64 = 1 << 12;

/// Writes an ONNX file as a whole: if this fails, what stood in its place before is still there.
///
/// Tensors are written from where they are, so that this takes little memory. A model of more than 2 GB has its large tensors in a file
/// beside it, `NAME.data`, which is written first; the two belong together.
///
/// ```
/// use brisk_format::{OnnxFile, read_onnx, write_onnx};
/// use brisk_graph::Tensor;
/// let text = r#"{"opsets": {"": 20}, "graph": {"name": "g", "inputs": [{"name": "x", "type": {"tensor": ["float", [{"size": 2}]]}}],
///     "outputs": [{"name": "y", "type": "unknown"}], "parameters": {"w": {"elem": "float", "shape": [2], "trainable": true}},
///     "nodes": [{"op": "Add", "inputs": ["x", "w"], "outputs": ["y"]}]}}"#;
/// let parameters = [("w", Tensor::new([2], vec![0.5f32, -1.0])?)].into_iter().collect();
/// let file = OnnxFile { model: serde_json::from_str(text)?, parameters };
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.onnx");
/// write_onnx(&path, &file)?;
/// assert_eq!(read_onnx(&path)?, file);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_onnx(path: &Path, file: &OnnxFile) -> Result<()> {
    write_up_to(path, file, LONGEST)
}

fn write_up_to(path: &Path, file: &OnnxFile, longest: u64) -> Result<()> {
    let unsaved = |message: String| Error::unsaved(path, message);
    let graph = &file.model.graph;
    let mut tensors = tensors(file).map_err(unsaved)?;
    let rest =
        GraphProto { initializer: Vec::new(), ..graph_proto(graph, true).map_err(unsaved)? }.encode_to_vec();
    let model = model_proto(file).map_err(unsaved)?.encode_to_vec();
    let length = |tensors: &[Initializer<'_>]| {
        rest.len() as u64 + tensors.iter().map(Initializer::length).sum::<u64>()
    };
    if model.len() as u64 + length(&tensors) + MOST_HEAD > longest {
        let (_, name) = place(path)?;
        let beside = path.with_file_name(format!("{}.data", name.display()));
        let location = beside.file_name().map(|n| n.display().to_string()).unwrap_or_default();
        let mut end = 0u64;
        for tensor in tensors.iter_mut().filter(|t| t.bytes > SMALL) {
            let offset = end.next_multiple_of(ALIGNED);
            tensor.put_beside(&location, offset);
            end = offset + tensor.bytes;
        }
        if model.len() as u64 + length(&tensors) + MOST_HEAD > longest {
            return Err(unsaved(format!(
                "the graph itself is larger than the {longest} bytes that a file may have"
            )));
        }
        write_atomic(&beside, |w| {
            let mut at = 0;
            for tensor in &tensors {
                if let Some(offset) = tensor.beside {
                    w.write_all(&vec![0; usize::try_from(offset - at).unwrap_or(0)])?;
                    tensor.elements(w)?;
                    at = offset + tensor.bytes;
                }
            }
            Ok(())
        })?;
    }
    write_atomic(path, |w| {
        w.write_all(&model)?;
        const GRAPH: u64 = 7;
        w.write_all(&head(GRAPH, length(&tensors)))?;
        w.write_all(&rest)?;
        tensors.iter().try_for_each(|t| t.write(w))
    })
}

/// The most bytes of a field's number and length.
const MOST_HEAD: u64 = 20;

/// The number of a field with bytes, and how many.
fn head(field: u64, length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(field << 3 | 2, &mut bytes);
    encode_varint(length, &mut bytes);
    bytes
}

/// A tensor of a graph on its way into the file.
struct Initializer<'a> {
    /// Its message without the elements.
    message: TensorProto,
    elem: Elem,
    tensor: Option<&'a Tensor>,
    /// How many bytes its elements take.
    bytes: u64,
    /// Where they are in another file.
    beside: Option<u64>,
}

impl<'a> Initializer<'a> {
    fn new(name: &str, elem: Elem, tensor: &'a Tensor) -> Initializer<'a> {
        let bytes = raw_bytes(elem, tensor.elements()).unwrap_or(0) as u64;
        Initializer {
            message: described(name, elem, tensor.shape()),
            elem,
            tensor: Some(tensor),
            bytes,
            beside: None,
        }
    }

    fn put_beside(&mut self, location: &str, offset: u64) {
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        self.message.external_data = vec![
            entry("location", location.into()),
            entry("offset", offset.to_string()),
            entry("length", self.bytes.to_string()),
        ];
        const EXTERNAL: i32 = 1;
        self.message.data_location = EXTERNAL;
        self.beside = Some(offset);
    }

    /// What stands before its elements.
    fn front(&self) -> Vec<u8> {
        const RAW_DATA: u64 = 9;
        let mut bytes = self.message.encode_to_vec();
        if self.tensor.is_some() && self.beside.is_none() {
            bytes.extend(head(RAW_DATA, self.bytes));
        }
        bytes
    }

    /// How many bytes of the graph it takes.
    fn length(&self) -> u64 {
        let inner = self.inner();
        head(INITIALIZER, inner).len() as u64 + inner
    }

    fn inner(&self) -> u64 {
        self.front().len() as u64 + if self.beside.is_none() { self.bytes } else { 0 }
    }

    fn write(&self, w: &mut dyn Write) -> io::Result<()> {
        w.write_all(&head(INITIALIZER, self.inner()))?;
        w.write_all(&self.front())?;
        if self.beside.is_none() { self.elements(w) } else { Ok(()) }
    }

    fn elements(&self, w: &mut dyn Write) -> io::Result<()> {
        self.tensor.map_or(Ok(()), |t| write_raw(self.elem, t, w))
    }
}

const INITIALIZER: u64 = 5;

/// The tensors of the outermost graph.
fn tensors(file: &OnnxFile) -> Result<Vec<Initializer<'_>>, String> {
    let mut all = Vec::new();
    for (name, constant) in &file.model.graph.constants {
        all.push(match constant {
            Constant::Numbers(elem, tensor) => Initializer::new(name, *elem, tensor),
            Constant::Texts(..) => Initializer {
                message: tensor_proto(name, constant)?,
                elem: Elem::String,
                tensor: None,
                bytes: 0,
                beside: None,
            },
        });
    }
    for (name, parameter) in &file.model.graph.parameters {
        let found = file.parameters.get(name).filter(|t| t.shape()[..] == parameter.shape[..]);
        let Some(tensor) = found else {
            return Err(format!(
                "expected a tensor {name:?} of shape {:?} among its parameters",
                parameter.shape
            ));
        };
        all.push(Initializer::new(name, parameter.elem, tensor));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::read::read_onnx;
    use super::*;

    fn file() -> OnnxFile {
        let text = r#"{"opsets": {"": 20, "own": 1}, "metadata": {"labels": "cat\ndog"},
            "functions": [{"domain": "own", "name": "Twice", "inputs": ["x"], "outputs": ["y"], "opsets": {"": 20},
                "defaults": {"alpha": {"float": 0.5}},
                "nodes": [{"op": "LeakyRelu", "inputs": ["x"], "outputs": ["y"], "attributes": {"alpha": {"of": "alpha"}}}]}],
            "graph": {"name": "g",
            "inputs": [{"name": "x", "type": {"tensor": ["float", [{"name": "n"}, {"size": 3}, "unknown"]]}},
                {"name": "list", "type": {"sequence": {"tensor": ["int64", null]}}},
                {"name": "maybe", "type": {"optional": {"tensor": ["bool", []]}}}],
            "outputs": [{"name": "y", "type": "unknown"}],
            "constants": {"shape": ["int64", [2], [3, -1]], "words": ["string", [2], ["a", "größe"]], "half": ["float16", [], [0.5]]},
            "parameters": {"w": {"elem": "float", "shape": [40, 20], "trainable": true},
                "h": {"elem": "float16", "shape": [3], "trainable": true},
                "i": {"elem": "int8", "shape": [5000], "trainable": false}},
            "nodes": [{"op": "If", "name": "choose", "inputs": ["c", "", "w", "h", "i"], "outputs": ["y", ""], "attributes": {
                "then_branch": {"graph": {"name": "then", "outputs": [{"name": "z", "type": "unknown"}],
                    "constants": {"k": ["float", [2], [1.5, "inf"]]}, "nodes": []}},
                "a": {"int": -7}, "b": {"float": 0.25}, "c": {"string": "text"}, "d": {"ints": [1, -2]}, "e": {"floats": []},
                "f": {"strings": ["x", ""]}, "g": {"tensor": ["bool", [2], [1, 0]]}, "h": {"type": {"tensor": ["double", null]}}}}]}}"#;
        let ramp = |n: usize, step: f32| (0..n).map(|i| i as f32 * step).collect::<Vec<f32>>();
        let parameters = [
            ("w", Tensor::new([40, 20], ramp(800, 0.5)).unwrap()),
            ("h", Tensor::new([3], ramp(3, 0.25)).unwrap()),
            (
                "i",
                Tensor::new([5000], (0..5000).map(|i| (i % 256) as f32 - 128.0).collect::<Vec<f32>>())
                    .unwrap(),
            ),
        ];
        OnnxFile { model: serde_json::from_str(text).unwrap(), parameters: parameters.into_iter().collect() }
    }

    #[test]
    fn all_of_a_model_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        write_onnx(&path, &file()).unwrap();
        assert_eq!(read_onnx(&path).unwrap(), file());
        assert!(!dir.path().join("model.onnx.data").exists());
    }

    #[test]
    fn large_tensors_go_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        write_up_to(&path, &file(), 4000).unwrap();
        assert_eq!(read_onnx(&path).unwrap(), file());
        let beside = dir.path().join("model.onnx.data");
        assert_eq!(beside.metadata().unwrap().len(), 4096 + 5000);
        assert!(path.metadata().unwrap().len() < 4000);
        let error = write_up_to(&path, &file(), 100).unwrap_err();
        assert!(error.to_string().contains("not saved: the graph itself is larger"), "{error}");
    }

    #[test]
    fn a_parameter_without_a_tensor_is_an_error() {
        let mut file = file();
        file.parameters.remove("h");
        let error = write_onnx("model.onnx".as_ref(), &file).unwrap_err();
        assert!(error.to_string().contains("expected a tensor \"h\" of shape [3]"), "{error}");
    }
}
