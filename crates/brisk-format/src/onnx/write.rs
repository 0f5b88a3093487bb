//! From a model to an ONNX file.

use std::io::{self, Write};
use std::path::Path;

use brisk_graph::{Shape, Tensor};
use brisk_onnx::{Attribute, Constant, Dim, Elem, Function, Graph, Node, Port, Type};
use prost::Message;
use prost::encoding::encode_varint;

use super::encode::write_raw;
use super::proto::*;
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
/// let text = r#"{"opsets": {"": 20}, "graph": {"inputs": [{"name": "x", "type": {"tensor": ["float", [{"size": 2}]]}}],
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

fn described(name: &str, elem: Elem, shape: &Shape) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: elem as i32,
        dims: shape.iter().map(|&d| d as i64).collect(),
        ..TensorProto::default()
    }
}

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

/// A tensor as a message by itself.
fn tensor_proto(name: &str, constant: &Constant) -> Result<TensorProto, String> {
    let mut message = described(name, constant.elem(), constant.shape());
    match constant {
        Constant::Numbers(elem, tensor) => {
            let mut bytes = Vec::new();
            write_raw(*elem, tensor, &mut bytes).map_err(|e| e.to_string())?;
            message.raw_data = Some(bytes.into());
        }
        Constant::Texts(_, texts) => {
            message.string_data = texts.iter().map(|t| t.clone().into_bytes().into()).collect();
        }
    }
    Ok(message)
}

/// All of a model but its graph.
fn model_proto(file: &OnnxFile) -> Result<ModelProto, String> {
    let model = &file.model;
    let entry =
        |(key, value): (&String, &String)| StringStringEntryProto { key: key.clone(), value: value.clone() };
    Ok(ModelProto {
        ir_version: ir_version(model.opsets.get("").copied().unwrap_or(0)),
        producer_name: "brisk".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: None,
        opset_import: opsets(&model.opsets),
        metadata_props: model.metadata.iter().map(entry).collect(),
        functions: model.functions.iter().map(function).collect::<Result<_, _>>()?,
    })
}

/// The version of the format that came with a version of the operators.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

fn opsets(opsets: &std::collections::BTreeMap<String, i64>) -> Vec<OperatorSetIdProto> {
    opsets.iter().map(|(domain, &version)| OperatorSetIdProto { domain: domain.clone(), version }).collect()
}

/// A graph; the tensors of the outermost one go another way.
fn graph_proto(graph: &Graph, outermost: bool) -> Result<GraphProto, String> {
    if !outermost && !graph.parameters.is_empty() {
        return Err(format!("graph {:?}, which stands in a node, has parameters of its own", graph.name));
    }
    let constants =
        || graph.constants.iter().map(|(name, c)| tensor_proto(name, c)).collect::<Result<_, _>>();
    Ok(GraphProto {
        node: graph.nodes.iter().map(node).collect::<Result<_, _>>()?,
        name: if graph.name.is_empty() { "graph".into() } else { graph.name.clone() },
        initializer: if outermost { Vec::new() } else { constants()? },
        input: graph.inputs.iter().map(port).collect(),
        output: graph.outputs.iter().map(port).collect(),
        sparse_initializer: Vec::new(),
    })
}

fn function(function: &Function) -> Result<FunctionProto, String> {
    Ok(FunctionProto {
        name: function.name.clone(),
        domain: function.domain.clone(),
        input: function.inputs.clone(),
        output: function.outputs.clone(),
        attribute: Vec::new(),
        node: function.nodes.iter().map(node).collect::<Result<_, _>>()?,
        opset_import: opsets(&function.opsets),
        attribute_proto: function.defaults.iter().map(|(n, a)| attribute(n, a)).collect::<Result<_, _>>()?,
    })
}

fn node(node: &Node) -> Result<NodeProto, String> {
    Ok(NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op.clone(),
        attribute: node.attributes.iter().map(|(n, a)| attribute(n, a)).collect::<Result<_, _>>()?,
        domain: node.domain.clone(),
    })
}

fn attribute(name: &str, attribute: &Attribute) -> Result<AttributeProto, String> {
    let mut message = AttributeProto { name: name.into(), ..AttributeProto::default() };
    let text = |t: &String| t.clone().into_bytes().into();
    message.r#type = match attribute {
        Attribute::Float(v) => {
            message.f = *v;
            1
        }
        Attribute::Int(v) => {
            message.i = *v;
            2
        }
        Attribute::String(v) => {
            message.s = text(v);
            3
        }
        Attribute::Tensor(v) => {
            message.t = Some(tensor_proto("", v)?);
            4
        }
        Attribute::Graph(v) => {
            message.g = Some(graph_proto(v, false)?);
            5
        }
        Attribute::Floats(v) => {
            message.floats = v.clone();
            6
        }
        Attribute::Ints(v) => {
            message.ints = v.clone();
            7
        }
        Attribute::Strings(v) => {
            message.strings = v.iter().map(text).collect();
            8
        }
        Attribute::Type(v) => {
            message.tp = type_proto(v);
            13
        }
        Attribute::Of(from) => {
            message.ref_attr_name = from.clone();
            0
        }
    };
    Ok(message)
}

fn port(port: &Port) -> ValueInfoProto {
    ValueInfoProto { name: port.name.clone(), r#type: type_proto(&port.ty) }
}

fn type_proto(ty: &Type) -> Option<TypeProto> {
    let mut message = TypeProto::default();
    let inner = |ty: &Type| Some(Box::new(InnerTypeProto { elem_type: type_proto(ty).map(Box::new) }));
    match ty {
        Type::Unknown => return None,
        Type::Tensor(elem, dims) => {
            let dim = |d: &Dim| match d {
                Dim::Size(n) => DimensionProto { dim_value: i64::try_from(*n).ok(), dim_param: None },
                Dim::Name(name) => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
                Dim::Unknown => DimensionProto::default(),
            };
            let shape = dims.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
            message.tensor_type = Some(TensorTypeProto { elem_type: *elem as i32, shape });
        }
        Type::Sequence(ty) => message.sequence_type = inner(ty),
        Type::Optional(ty) => message.optional_type = inner(ty),
    }
    Some(message)
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
