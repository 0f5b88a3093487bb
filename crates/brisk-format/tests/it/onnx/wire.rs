//! Protobuf messages, written field by field, so that they can say what no ONNX package would write.

/// The value of a field.
pub enum Field<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    /// So many bytes are said to follow, but these do.
    Lying(u64, &'a [u8]),
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7f {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// A message of fields with their numbers.
pub fn message(fields: &[(u64, Field<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, field) in fields {
        let kind = if matches!(field, Field::Int(_)) { 0 } else { 2 };
        varint(number << 3 | kind, &mut bytes);
        let (length, body) = match field {
            Field::Int(value) => {
                varint(*value as u64, &mut bytes);
                continue;
            }
            Field::Bytes(body) => (body.len() as u64, body),
            Field::Lying(length, body) => (*length, body),
        };
        varint(length, &mut bytes);
        bytes.extend_from_slice(body);
    }
    bytes
}

/// A `NodeProto`.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut fields: Vec<(u64, Field<'_>)> = inputs.iter().map(|n| (1, Field::Bytes(n.as_bytes()))).collect();
    fields.extend(outputs.iter().map(|n| (2, Field::Bytes(n.as_bytes()))));
    fields.push((4, Field::Bytes(op.as_bytes())));
    fields.extend(attributes.iter().map(|a| (5, Field::Bytes(a))));
    message(&fields)
}

/// A `GraphProto` of nodes and initializers, from `x`, a float [2], to `y`.
pub fn graph(nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Vec<u8> {
    let size = message(&[(1, Field::Int(2))]);
    let shape = message(&[(1, Field::Bytes(&size))]);
    let tensor = message(&[(1, Field::Int(1)), (2, Field::Bytes(&shape))]);
    let ty = message(&[(1, Field::Bytes(&tensor))]);
    let port = |name: &str| message(&[(1, Field::Bytes(name.as_bytes())), (2, Field::Bytes(&ty))]);
    let (input, output) = (port("x"), port("y"));
    let mut fields: Vec<(u64, Field<'_>)> = nodes.iter().map(|n| (1, Field::Bytes(n))).collect();
    fields.extend(initializers.iter().map(|i| (5, Field::Bytes(i))));
    fields.extend([(11, Field::Bytes(&input)), (12, Field::Bytes(&output))]);
    message(&fields)
}

/// A `ModelProto` of a graph, in a version of ONNX's operators.
pub fn model(graph: &[u8], version: i64) -> Vec<u8> {
    let opset = message(&[(2, Field::Int(version))]);
    message(&[(1, Field::Int(8)), (7, Field::Bytes(graph)), (8, Field::Bytes(&opset))])
}

/// A `TensorProto` of floats, with its dimensions and further fields.
pub fn floats(name: &str, dims: &[i64], more: &[(u64, Field<'_>)]) -> Vec<u8> {
    let mut bytes = message(&[(2, Field::Int(1)), (8, Field::Bytes(name.as_bytes()))]);
    dims.iter().for_each(|&d| bytes.extend(message(&[(1, Field::Int(d))])));
    bytes.extend(message(more));
    bytes
}
