//! The same elements in other places, shapes, branches and loops.

use std::collections::BTreeMap;

use super::super::call::{Call, Made, text};
use super::Rule::{self, Moves, Own, Same};
use crate::tensorflow::{TfAttribute, TfType};

pub(super) const OPS: &[(&str, Rule)] = &[
    ("BATCH_TO_SPACE_ND", Moves(|c| c.same("BatchToSpaceND", vec![]))),
    ("BROADCAST_ARGS", Same("BroadcastArgs")),
    ("BROADCAST_TO", Moves(|c| c.same("BroadcastTo", vec![]))),
    (
        "CONCATENATION",
        Own(|c| {
            let (mut inputs, axis) = (c.all()?, c.int(0)?);
            inputs.push(c.one(axis)?);
            let y = c.node("ConcatV2", inputs, vec![]);
            c.activated(y, 1)
        }),
    ),
    ("DEPTH_TO_SPACE", Moves(|c| blocks(c, "DepthToSpace"))),
    (
        "EMBEDDING_LOOKUP",
        Own(|c| {
            let (at, table, axis) = (c.x(0)?, c.x(1)?, c.one(0)?);
            c.done("GatherV2", vec![table, at, axis], vec![])
        }),
    ),
    ("EXPAND_DIMS", Moves(|c| c.same("ExpandDims", vec![]))),
    ("FILL", Same("Fill")),
    (
        "GATHER",
        Moves(|c| {
            let (mut inputs, axis, batch) = (c.all()?, c.int(0)?, c.int(1)?);
            inputs.push(c.one(axis)?);
            c.done("GatherV2", inputs, vec![("batch_dims", TfAttribute::Integer(batch))])
        }),
    ),
    ("GATHER_ND", Moves(|c| c.same("GatherNd", vec![]))),
    (
        "IF",
        Own(|c| {
            let branches = vec![("then_branch", called(c, 0)?), ("else_branch", called(c, 1)?)];
            calling(c, "If", branches)
        }),
    ),
    (
        "MIRROR_PAD",
        Moves(|c| {
            let mode = if c.byte(0)? == 0 { "REFLECT" } else { "SYMMETRIC" };
            c.same("MirrorPad", vec![("mode", text(mode))])
        }),
    ),
    (
        "ONE_HOT",
        Own(|c| {
            let axis = TfAttribute::Integer(c.int(0)?);
            c.same("OneHot", vec![("axis", axis)])
        }),
    ),
    (
        "PACK",
        Own(|c| {
            let axis = TfAttribute::Integer(c.int(1)?);
            c.same("Pack", vec![("axis", axis)])
        }),
    ),
    ("PAD", Moves(|c| c.same("Pad", vec![]))),
    ("PADV2", Moves(|c| c.same("PadV2", vec![]))),
    ("RANGE", Same("Range")),
    ("RANK", Same("Rank")),
    ("RESHAPE", Moves(reshape)),
    ("REVERSE_V2", Moves(|c| c.same("ReverseV2", vec![]))),
    (
        "SCATTER_ND",
        Own(|c| {
            let kind = TfAttribute::Type(c.kind(1)?);
            c.same("ScatterNd", vec![("T", kind)])
        }),
    ),
    (
        "SHAPE",
        Own(|c| {
            let to = TfAttribute::Type(c.result()?);
            c.same("Shape", vec![("out_type", to)])
        }),
    ),
    ("SLICE", Moves(|c| c.same("Slice", vec![]))),
    ("SPACE_TO_BATCH_ND", Moves(|c| c.same("SpaceToBatchND", vec![]))),
    ("SPACE_TO_DEPTH", Moves(|c| blocks(c, "SpaceToDepth"))),
    ("SPLIT", Own(|c| parts(c, "Split", "num_split"))),
    ("SPLIT_V", Own(|c| parts(c, "SplitV", "num_split"))),
    (
        "SQUEEZE",
        Moves(|c| {
            let axes = TfAttribute::Integers(c.ints(0)?);
            c.same("Squeeze", vec![("squeeze_dims", axes)])
        }),
    ),
    ("STRIDED_SLICE", Moves(strided)),
    ("TILE", Moves(|c| c.same("Tile", vec![]))),
    ("TRANSPOSE", Moves(|c| c.same("Transpose", vec![]))),
    ("UNPACK", Own(|c| parts(c, "Unpack", "num"))),
    ("WHERE", Same("Where")),
    (
        "WHILE",
        Own(|c| {
            let parts = vec![("cond", called(c, 0)?), ("body", called(c, 1)?)];
            calling(c, "While", parts)
        }),
    ),
    ("ZEROS_LIKE", Same("ZerosLike")),
];

fn blocks(c: &mut Call<'_, '_, '_>, op: &str) -> Made {
    let size = TfAttribute::Integer(c.int(0)?);
    c.same(op, vec![("block_size", size)])
}

/// A file for one row is one for any number of them, where the only row comes first and stays there.
fn reshape(c: &mut Call<'_, '_, '_>) -> Made {
    let from = c.shape(0)?;
    let to = c.op.outputs.first().and_then(|&t| c.maker.subgraph.tensor(t).ok()).map(|t| t.shape.as_slice());
    let one_row = |shape: &[i32]| matches!(shape, [1, rest @ ..] if rest.iter().all(|&d| d > 0));
    let x = c.x(0)?;
    let shape = match to {
        Some(to) if one_row(from) && one_row(to) => {
            let free: Vec<i64> = [-1].into_iter().chain(to.iter().skip(1).map(|&d| d.into())).collect();
            c.list(&free)?
        }
        _ if c.has(1) => c.x(1)?,
        _ => {
            let sizes = c.ints(0)?;
            c.list(&sizes)?
        }
    };
    c.done("Reshape", vec![x, shape], vec![])
}

fn strided(c: &mut Call<'_, '_, '_>) -> Made {
    const MASKS: [&str; 5] = ["begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];
    if c.flag(5)? {
        return Err("its ends are counted from its beginnings, which is not supported".into());
    }
    let mut masks = Vec::new();
    for (slot, name) in MASKS.into_iter().enumerate() {
        masks.push((name, TfAttribute::Integer(c.int(slot)?)));
    }
    c.same("StridedSlice", masks)
}

/// As many results as the operator has.
fn parts(c: &mut Call<'_, '_, '_>, op: &str, name: &'static str) -> Made {
    let count = c.op.outputs.len();
    let mut attributes = vec![(name, TfAttribute::Integer(count as i64))];
    if op == "Unpack" {
        attributes.push(("axis", TfAttribute::Integer(c.int(1)?)));
    }
    let inputs = c.all()?;
    let node = c.node(op, inputs, attributes);
    c.several(node, count)
}

/// The name of a subgraph as a function.
pub(in super::super) fn function(number: usize) -> String {
    format!("subgraph {number}")
}

/// A subgraph that an option names.
fn called(c: &mut Call<'_, '_, '_>, slot: usize) -> Result<TfAttribute, String> {
    let number = c.int(slot)?;
    let known = usize::try_from(number).ok().filter(|&n| n < c.maker.file.model.subgraphs.len());
    let number = known.ok_or_else(|| format!("there is no subgraph {number}"))?;
    c.maker.file.called.insert(number);
    Ok(TfAttribute::Function(function(number), BTreeMap::new()))
}

fn calling(c: &mut Call<'_, '_, '_>, op: &str, mut attributes: Vec<(&'static str, TfAttribute)>) -> Made {
    const BOOL: TfType = TfType(10);
    attributes.push(("Tcond", TfAttribute::Type(BOOL)));
    let (inputs, count) = (c.all()?, c.op.outputs.len());
    let node = c.node(op, inputs, attributes);
    c.several(node, count)
}
