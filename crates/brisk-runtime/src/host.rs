//! What no kernel computes: operations on element types that are rare in models, left to [`brisk_graph::evaluate`].

use brisk_graph::evaluate::evaluate;
use brisk_graph::prim::{Binary, Prim, Unary};
use brisk_graph::{DType, Data, Graph, Node, Op, Shape, Tensor};

/// Whether a node is computed by plain evaluation: of whole numbers in 64 bits, floats in 64 bits, and bits. Such a node is whole: it
/// is never cut into tiles.
pub fn on_host(graph: &Graph, node: &Node) -> bool {
    let Op::Prim(prim) = &node.op else { return false };
    let rare = |dtype: DType| matches!(dtype, DType::F64 | DType::I64);
    let operand = |i: usize| graph.node(node.inputs[i]).dtype;
    match prim {
        Prim::Input(..) | Prim::Constant(_) | Prim::Iota(..) | Prim::Reshape(_) | Prim::Random(..) => false,
        // One kernel copies elements of all types.
        Prim::Transpose(_) | Prim::Slice { .. } | Prim::Pad { .. } | Prim::Concat(_) | Prim::Reverse(_) => {
            false
        }
        Prim::Unary(Unary::RoundBits { .. }) => true,
        Prim::Binary(Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr) => true,
        Prim::Reduce(..) | Prim::ArgMax(_) => operand(0) != DType::F32,
        Prim::Take => !matches!(operand(0), DType::F32 | DType::I32),
        Prim::ScatterAdd(_) => operand(1) != DType::F32,
        _ => rare(node.dtype) || node.inputs.iter().any(|&id| rare(graph.node(id).dtype)),
    }
}

/// The elements of an operand as they lie in memory.
pub enum Elements<'a> {
    /// Of [`DType::F32`].
    F32(&'a [f32]),
    /// Of [`DType::F64`].
    F64(&'a [f64]),
    /// Of [`DType::I32`].
    I32(&'a [i32]),
    /// Of [`DType::I64`].
    I64(&'a [i64]),
    /// Of [`DType::U8`].
    U8(&'a [u8]),
}

/// The result of a primitive on operands of these shapes.
pub fn run(prim: &Prim, operands: &[Elements<'_>], shapes: &[Shape]) -> Result<Data, String> {
    let tensor = |(elements, shape): (&Elements<'_>, &Shape)| {
        let data = match elements {
            Elements::F32(v) => Data::F32(v.to_vec()),
            Elements::F64(v) => Data::F64(v.to_vec()),
            Elements::I32(v) => Data::I32(v.to_vec()),
            Elements::I64(v) => Data::I64(v.to_vec()),
            Elements::U8(v) => Data::U8(v.to_vec()),
        };
        Tensor::new(shape, data).map_err(|e| e.to_string())
    };
    let tensors = operands.iter().zip(shapes).map(tensor).collect::<Result<Vec<_>, _>>()?;
    Ok(evaluate(prim, &tensors)?.data().clone())
}
