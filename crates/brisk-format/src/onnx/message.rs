//! From a model to the messages of an ONNX file.

use brisk_graph::Shape;
use brisk_onnx::{Attribute, Constant, Dim, Elem, Function, Graph, Node, Port, Type};
use prost::Message;
use prost::bytes::Bytes;

use super::encode::write_raw;
use super::proto::*;
use super::read::{OnnxFile, UNTRAINED};

/// A message as it stands in another.
fn bytes<M: Message>(message: Result<M, String>) -> Result<Bytes, String> {
    message.map(|m| m.encode_to_vec().into())
}

/// A tensor without its elements.
pub fn described(name: &str, elem: Elem, shape: &Shape) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: elem as i32,
        dims: shape.iter().map(|&d| d as i64).collect(),
        ..TensorProto::default()
    }
}

/// A tensor as a message by itself.
pub fn tensor_proto(name: &str, constant: &Constant) -> Result<TensorProto, String> {
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
pub fn model_proto(file: &OnnxFile) -> Result<ModelProto, String> {
    let model = &file.model;
    let entry =
        |(key, value): (&String, &String)| StringStringEntryProto { key: key.clone(), value: value.clone() };
    let untrained = serde_json::to_string(&untrained(&model.graph)).map_err(|e| e.to_string())?;
    let untrained = entry((&UNTRAINED.to_string(), &untrained));
    Ok(ModelProto {
        ir_version: ir_version(model.opsets.get("").copied().unwrap_or(0)),
        producer_name: "brisk".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: None,
        opset_import: opsets(&model.opsets),
        metadata_props: model.metadata.iter().map(entry).chain([untrained]).collect(),
        functions: model.functions.iter().map(|f| bytes(function(f))).collect::<Result<_, _>>()?,
    })
}

/// The names of floats that training leaves as they are.
fn untrained(graph: &Graph) -> Vec<&str> {
    let constants = graph.constants.iter().filter(|(_, c)| c.elem().is_float());
    let parameters = graph.parameters.iter().filter(|(_, p)| p.elem.is_float() && !p.trainable);
    constants.map(|c| c.0.as_str()).chain(parameters.map(|p| p.0.as_str())).collect()
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
pub fn graph_proto(graph: &Graph, outermost: bool) -> Result<GraphProto, String> {
    if !outermost && !graph.parameters.is_empty() {
        return Err(format!("graph {:?}, which stands in a node, has parameters of its own", graph.name));
    }
    let constants =
        || graph.constants.iter().map(|(name, c)| bytes(tensor_proto(name, c))).collect::<Result<_, _>>();
    Ok(GraphProto {
        node: graph.nodes.iter().map(|n| bytes(node(n))).collect::<Result<_, _>>()?,
        name: if graph.name.is_empty() { "graph".into() } else { graph.name.clone() },
        initializer: if outermost { Vec::new() } else { constants()? },
        input: graph.inputs.iter().map(|p| bytes(Ok(port(p)))).collect::<Result<_, _>>()?,
        output: graph.outputs.iter().map(|p| bytes(Ok(port(p)))).collect::<Result<_, _>>()?,
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
        node: function.nodes.iter().map(|n| bytes(node(n))).collect::<Result<_, _>>()?,
        opset_import: opsets(&function.opsets),
        attribute_proto: function
            .defaults
            .iter()
            .map(|(n, a)| bytes(attribute(n, a)))
            .collect::<Result<_, _>>()?,
    })
}

fn node(node: &Node) -> Result<NodeProto, String> {
    Ok(NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op.clone(),
        attribute: node.attributes.iter().map(|(n, a)| bytes(attribute(n, a))).collect::<Result<_, _>>()?,
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
