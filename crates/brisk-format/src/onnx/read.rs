//! From the messages of an ONNX file to a model.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use brisk_graph::{Data, Tensor};
use brisk_onnx::{Attribute, Constant, Dim, Elem, Function, Graph, Model, Node, Parameter, Port, Type};
use brisk_runtime::State;
use indexmap::IndexMap;
use prost::bytes::Bytes;

use super::proto::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, TypeProto,
    ValueInfoProto, decode,
};
use super::tensor::{Raw, Sparse, constant, kind, raw_bytes};
use super::wire::{Fault, Stretch, read_stretch, skeleton};
use crate::budget::Budget;
use crate::hashed::open_file;
use crate::{Error, Result};

/// Whole numbers up to so many stand in the graph itself; more of them are parameters.
const SMALL: usize = 4096;
/// How deep graphs may stand in one another.
const DEEPEST: usize = 24;

/// A model from an ONNX file.
///
/// ```no_run
/// let file = brisk_format::read_onnx("model.onnx".as_ref())?;
/// println!("{} operators, {} parameters", file.model.graph.nodes.len(), file.parameters.len());
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxFile {
    /// What is computed.
    pub model: Model,
    /// The learned tensors, as f32, by name.
    pub parameters: State,
}

/// Reads an ONNX file, and the files beside it that hold its tensors. Nothing outside the file's folder is read.
///
/// An error says what the file holds that Brisk does not know; whether it has all operators says [`brisk_onnx::check`].
pub fn read_onnx(path: &Path) -> Result<OnnxFile> {
    let (mut file, length) = open_file(path, "an ONNX model")?;
    let content = |message: String| Error::content(path, message);
    let skeleton = skeleton(&mut file, length).map_err(|fault| match fault {
        Fault::Io(error) => Error::read(path)(error),
        Fault::Wrong(message) => content(format!("not a sound ONNX file: {message}; export the model again")),
    })?;
    let graph = skeleton.model.graph.unwrap_or_default();
    let sparse = Sparse::new();
    let mut model = Model {
        opsets: skeleton.model.opset_import.iter().map(|o| (domain(&o.domain), o.version)).collect(),
        graph: self::graph(&graph, 0, &sparse).map_err(content)?,
        functions: skeleton
            .model
            .functions
            .iter()
            .map(|f| function(&decode(f)?, &sparse))
            .collect::<Result<_, _>>()
            .map_err(content)?,
        metadata: skeleton.model.metadata_props.iter().map(|p| (p.key.clone(), p.value.clone())).collect(),
    };
    let mut parameters = State::new();
    let learned = Told::of(&mut model);
    let mut beside = Beside::default();
    for (proto, stretch) in &skeleton.initializers {
        let proto: TensorProto = decode(proto).map_err(content)?;
        unused(&model.graph, &proto.name).map_err(content)?;
        let constant = elements(path, &mut file, &proto, *stretch, &mut beside)?;
        let learned = learned.of_tensor(&proto.name);
        add(&mut model.graph, &mut parameters, &proto.name, constant, learned);
    }
    for proto in &graph.sparse_initializer {
        let (name, constant) = zeros_too(proto, &model.graph, &sparse).map_err(content)?;
        let learned = learned.of_tensor(&name);
        add(&mut model.graph, &mut parameters, &name, constant, learned);
    }
    // Old files name their initializers among the inputs.
    let own = std::mem::take(&mut model.graph.inputs);
    let given = |p: &Port| {
        !model.graph.constants.contains_key(&p.name) && !model.graph.parameters.contains_key(&p.name)
    };
    model.graph.inputs = own.into_iter().filter(given).collect();
    Ok(OnnxFile { model, parameters })
}

fn domain(name: &str) -> String {
    if name == "ai.onnx" { String::new() } else { name.to_string() }
}

/// The entry of the metadata that names what training leaves as it is, of all floats that stand beside the graph: a list in JSON.
pub(super) const UNTRAINED: &str = "untrained";

/// Whether a tensor was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// It sets an operator, and shapes may follow from it: it stands in the graph, if it is small.
    Never,
    /// It is computed with, but training leaves it as it is.
    No,
    /// If it is more than one float.
    Many,
    Yes,
}

/// What a file says of its tensors.
struct Told {
    fixed: HashMap<String, Learned>,
    /// It says so of all of them.
    all: bool,
}

impl Told {
    /// Takes what the metadata says out of it.
    fn of(model: &mut Model) -> Told {
        let mut fixed = fixed(&model.graph);
        let own = model.metadata.get(UNTRAINED).and_then(|t| serde_json::from_str::<Vec<String>>(t).ok());
        let all = own.is_some();
        if let Some(own) = own {
            model.metadata.shift_remove(UNTRAINED);
            for name in own {
                fixed.entry(name).or_insert(Learned::No);
            }
        }
        Told { fixed, all }
    }

    fn of_tensor(&self, name: &str) -> Learned {
        match (self.fixed.get(name), self.all) {
            (Some(&fixed), _) => fixed,
            (None, true) => Learned::Yes,
            (None, false) => Learned::Many,
        }
    }
}

/// The names of tensors that training leaves as they are: statistics, what belongs to quantized numbers, and how operators are set.
fn fixed(graph: &Graph) -> HashMap<String, Learned> {
    let mut names = HashMap::new();
    for node in &graph.nodes {
        let (places, learned): (&[usize], _) = match node.op.as_str() {
            "BatchNormalization" => (&[3, 4], Learned::No),
            "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "QLinearMatMul" | "ConvInteger"
            | "MatMulInteger" => (&[0, 1, 2, 3, 4, 5, 6, 7, 8], Learned::No),
            "Resize" | "Upsample" | "Clip" | "Range" | "OneHot" | "Pad" => (&[1, 2, 3], Learned::Never),
            _ => (&[], Learned::No),
        };
        for name in places.iter().filter_map(|&p| node.inputs.get(p)) {
            let fixed = names.entry(name.clone()).or_insert(learned);
            *fixed = if learned == Learned::Never { learned } else { *fixed };
        }
    }
    names
}

/// Whether a name is still free for an initializer.
fn unused(graph: &Graph, name: &str) -> Result<(), String> {
    match graph.constants.contains_key(name) || graph.parameters.contains_key(name) {
        false => Ok(()),
        true => Err(format!("the initializer {name:?} is there twice; export the model again")),
    }
}

/// Puts an initializer in its place: what was learned is a parameter, what belongs to the graph a constant.
pub(super) fn add(
    graph: &mut Graph,
    parameters: &mut State,
    name: &str,
    constant: Constant,
    learned: Learned,
) {
    if let Constant::Numbers(elem, tensor) = &constant {
        let elements = tensor.elements();
        let beside = match elem.is_float() {
            true if *elem == Elem::Double || learned == Learned::Never => elements > SMALL,
            true => elements > 1 || learned == Learned::Yes,
            false => elements > SMALL,
        };
        if beside && let Some(floats) = floats(tensor) {
            let shape = tensor.shape().to_vec();
            let trainable = matches!(learned, Learned::Many | Learned::Yes) && elem.is_float();
            graph.parameters.insert(name.into(), Parameter { elem: *elem, shape, trainable });
            parameters.insert(name, floats);
            return;
        }
    }
    graph.constants.insert(name.into(), constant);
}

/// The elements as f32, if that holds them: `None` for whole numbers that it would round.
fn floats(tensor: &Tensor) -> Option<Tensor> {
    const EXACT: u64 = 1 << 24;
    let data = match tensor.data() {
        Data::F32(_) => return Some(tensor.clone()),
        Data::I64(v) if v.iter().any(|v| v.unsigned_abs() > EXACT) => return None,
        Data::I64(v) => v.iter().map(|&v| v as f32).collect(),
        Data::I32(v) => v.iter().map(|&v| v as f32).collect::<Vec<f32>>(),
        Data::U8(v) => v.iter().map(|&v| v.into()).collect(),
        Data::F64(v) => v.iter().map(|&v| v as f32).collect(),
    };
    Tensor::new(tensor.shape(), data).ok()
}

/// A sparse initializer with its zeros, and its name, which must be free.
fn zeros_too(proto: &Bytes, graph: &Graph, sparse: &Sparse) -> Result<(String, Constant), String> {
    let proto: SparseTensorProto = decode(proto)?;
    let name = proto.values.as_ref().map(|v| v.name.clone()).unwrap_or_default();
    unused(graph, &name)?;
    Ok((name, sparse.dense(&proto)?))
}

/// The elements of an initializer, wherever they are.
fn elements(
    path: &Path,
    file: &mut File,
    proto: &TensorProto,
    stretch: Option<Stretch>,
    beside: &mut Beside,
) -> Result<Constant> {
    let content = |message: String| Error::content(path, message);
    const EXTERNAL: i32 = 1;
    if proto.data_location == EXTERNAL {
        return external(path, proto, beside);
    }
    let Some(stretch) = stretch else { return constant(proto).map_err(content) };
    let (elem, shape) = kind(proto).map_err(content)?;
    let expected = raw_bytes(elem, shape.elements());
    if expected.map(|e| e as u64) != Some(stretch.length) {
        let name = &proto.name;
        return Err(content(format!(
            "tensor {name:?}: {elem} {shape} takes {} bytes, found {}",
            expected.unwrap_or(0),
            stretch.length
        )));
    }
    let mut raw = Raw::new(elem, shape.elements());
    read_stretch(file, stretch, |bytes| raw.take(bytes)).map_err(Error::read(path))?;
    raw.finish(shape).map_err(content)
}

/// How many bytes may still be read from each of the files beside a model.
#[derive(Default)]
struct Beside(HashMap<PathBuf, Budget>);

impl Beside {
    /// Takes bytes of a file of a length. A tensor may have a second name, but a small file must not fill the memory with copies.
    fn take(&mut self, file: &Path, bytes: usize, length: u64) -> Result<(), String> {
        const TIMES: u64 = 2;
        let real = file.canonicalize().unwrap_or_else(|_| file.into());
        self.0.entry(real).or_insert(Budget::of(length, TIMES, 0)).take(bytes).map_err(|most| {
            format!(
                "with those before it takes more than {most} bytes of {}, which has {length}: they overlap; export the model again",
                file.display()
            )
        })
    }
}

/// The elements of a tensor in a file of its own, which must lie in the model's folder.
fn external(path: &Path, proto: &TensorProto, files: &mut Beside) -> Result<Constant> {
    let name = &proto.name;
    let content = |message: String| Error::content(path, format!("tensor {name:?}: {message}"));
    let entry = |key: &str| proto.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let location = entry("location").ok_or_else(|| content("its file is not named".into()))?;
    let beside = inside(path, location).map_err(content)?;
    let (elem, shape) = kind(proto).map_err(|m| Error::content(path, m))?;
    let bytes = raw_bytes(elem, shape.elements()).ok_or_else(|| content("texts in another file".into()))?;
    let expected = bytes as u64;
    let number = |key: &str, default: u64| match entry(key) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| content(format!("its {key} is {text:?}"))),
    };
    let stretch = Stretch { offset: number("offset", 0)?, length: number("length", expected)? };
    let (mut file, length) = open_file(&beside, "the tensors of an ONNX model")?;
    if stretch.length != expected || stretch.offset.checked_add(expected).is_none_or(|end| end > length) {
        return Err(content(format!(
            "{elem} {shape} takes {expected} bytes; expected them at {} of {} ({length} bytes), whose length is said to be {}",
            stretch.offset,
            beside.display(),
            stretch.length
        )));
    }
    files.take(&beside, bytes, length).map_err(content)?;
    let mut raw = Raw::new(elem, shape.elements());
    read_stretch(&mut file, stretch, |bytes| raw.take(bytes)).map_err(Error::read(&beside))?;
    raw.finish(shape).map_err(content)
}

/// A file in the folder of another.
fn inside(path: &Path, location: &str) -> Result<PathBuf, String> {
    use std::path::Component;
    let relative = Path::new(location);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let refused = || format!("its file {location:?} is outside the model's folder; put it beside the model");
    if !plain || location.is_empty() {
        return Err(refused());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let found = folder.join(relative);
    // A link may lead out of it.
    match (folder.canonicalize(), found.canonicalize()) {
        (Ok(folder), Ok(real)) if real.starts_with(&folder) => Ok(found),
        (_, Err(_)) => Err(format!("its file {} is not there; copy it beside the model", found.display())),
        _ => Err(refused()),
    }
}

fn graph(proto: &GraphProto, depth: usize, sparse: &Sparse) -> Result<Graph, String> {
    if depth > DEEPEST {
        return Err(format!("graphs stand in one another more than {DEEPEST} deep"));
    }
    let mut graph = Graph {
        name: proto.name.clone(),
        inputs: proto.input.iter().map(port).collect::<Result<_, _>>()?,
        outputs: proto.output.iter().map(port).collect::<Result<_, _>>()?,
        nodes: proto.node.iter().map(|n| node(n, depth, sparse)).collect::<Result<_, _>>()?,
        ..Graph::default()
    };
    // Those of the outermost graph come otherwise.
    for tensor in &proto.initializer {
        let tensor: TensorProto = decode(tensor)?;
        unused(&graph, &tensor.name)?;
        graph.constants.insert(tensor.name.clone(), constant(&tensor)?);
    }
    if depth > 0 {
        for proto in &proto.sparse_initializer {
            let (name, constant) = zeros_too(proto, &graph, sparse)?;
            graph.constants.insert(name, constant);
        }
    }
    Ok(graph)
}

fn function(proto: &FunctionProto, sparse: &Sparse) -> Result<Function, String> {
    Ok(Function {
        domain: domain(&proto.domain),
        name: proto.name.clone(),
        inputs: proto.input.clone(),
        outputs: proto.output.clone(),
        defaults: attributes(&proto.attribute_proto, 0, sparse)?,
        opsets: proto.opset_import.iter().map(|o| (domain(&o.domain), o.version)).collect::<BTreeMap<_, _>>(),
        nodes: proto.node.iter().map(|n| node(n, 0, sparse)).collect::<Result<_, _>>()?,
    })
}

fn node(proto: &Bytes, depth: usize, sparse: &Sparse) -> Result<Node, String> {
    let proto: NodeProto = decode(proto)?;
    if proto.op_type.is_empty() {
        return Err(format!("node {:?} has no operator; export the model again", proto.name));
    }
    let attributes = attributes(&proto.attribute, depth, sparse).map_err(|m| {
        let name = if proto.name.is_empty() { proto.output.first() } else { Some(&proto.name) };
        format!("node {:?} ({}): {m}", name.map_or("", String::as_str), proto.op_type.escape_debug())
    })?;
    Ok(Node {
        op: proto.op_type,
        domain: domain(&proto.domain),
        name: proto.name,
        inputs: proto.input,
        outputs: proto.output,
        attributes,
    })
}

fn attributes(
    protos: &[Bytes],
    depth: usize,
    sparse: &Sparse,
) -> Result<IndexMap<String, Attribute>, String> {
    let named = |bytes| {
        let proto: AttributeProto = decode(bytes)?;
        Ok((proto.name.clone(), attribute(&proto, depth, sparse)?))
    };
    protos.iter().map(named).collect()
}

fn attribute(proto: &AttributeProto, depth: usize, sparse: &Sparse) -> Result<Attribute, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !proto.ref_attr_name.is_empty() {
        return Ok(Attribute::Of(proto.ref_attr_name.clone()));
    }
    Ok(match proto.r#type {
        1 => Attribute::Float(proto.f),
        2 => Attribute::Int(proto.i),
        3 => Attribute::String(text(&proto.s)),
        4 => Attribute::Tensor(constant(proto.t.as_ref().ok_or("a tensor that is not there")?)?),
        5 => Attribute::Graph(Box::new(graph(
            proto.g.as_ref().ok_or("a graph that is not there")?,
            depth + 1,
            sparse,
        )?)),
        6 => Attribute::Floats(proto.floats.clone()),
        7 => Attribute::Ints(proto.ints.clone()),
        8 => Attribute::Strings(proto.strings.iter().map(|s| text(s)).collect()),
        11 => Attribute::Tensor(
            sparse.dense(proto.sparse_tensor.as_ref().ok_or("a tensor that is not there")?)?,
        ),
        13 => Attribute::Type(ty(proto.tp.as_ref(), 0)?),
        other => return Err(format!("attribute {:?}: type {other} is not known to Brisk", proto.name)),
    })
}

fn port(proto: &Bytes) -> Result<Port, String> {
    let proto: ValueInfoProto = decode(proto)?;
    Ok(Port { ty: ty(proto.r#type.as_ref(), 0)?, name: proto.name })
}

fn ty(proto: Option<&TypeProto>, depth: usize) -> Result<Type, String> {
    let Some(proto) = proto else { return Ok(Type::Unknown) };
    if depth > DEEPEST {
        return Err(format!("types stand in one another more than {DEEPEST} deep"));
    }
    if let Some(tensor) = &proto.tensor_type {
        let code = tensor.elem_type;
        let Some(elem) = Elem::of_code(code.into()) else {
            return if code == 0 {
                Ok(Type::Unknown)
            } else {
                Err(format!("elements of type {code} are not known to Brisk"))
            };
        };
        let dim = |d: &super::proto::DimensionProto| match (d.dim_value, &d.dim_param) {
            (Some(n), _) => usize::try_from(n).map_or(Dim::Unknown, Dim::Size),
            (None, Some(name)) if !name.is_empty() => Dim::Name(name.clone()),
            _ => Dim::Unknown,
        };
        let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(dim).collect());
        return Ok(Type::Tensor(elem, dims));
    }
    if let Some(sequence) = &proto.sequence_type {
        return Ok(Type::Sequence(Box::new(ty(sequence.elem_type.as_deref(), depth + 1)?)));
    }
    if let Some(optional) = &proto.optional_type {
        return Ok(Type::Optional(Box::new(ty(optional.elem_type.as_deref(), depth + 1)?)));
    }
    Ok(Type::Unknown)
}
