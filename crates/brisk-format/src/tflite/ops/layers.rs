//! Layers: what has weights, pooling, normalizations, and what is done to pictures. Pictures stand with their channels last.

use super::super::call::{Attributes, Call, Made, text};
use super::Rule::{self, Moves, Own};
use crate::tensorflow::{TfAttribute, TfInput, TfType};

pub(super) const OPS: &[(&str, Rule)] = &[
    ("AVERAGE_POOL_2D", Own(|c| pool(c, "AvgPool"))),
    (
        "BATCH_MATMUL",
        Own(|c| {
            let turned =
                vec![("adj_x", TfAttribute::Bool(c.flag(0)?)), ("adj_y", TfAttribute::Bool(c.flag(1)?))];
            c.same("BatchMatMulV2", turned)
        }),
    ),
    ("CONV_2D", Own(conv)),
    (
        "CONV_3D",
        Own(|c| {
            let strides = sizes(&[c.int(1)?, c.int(3)?, c.int(2)?]);
            let dilations = sizes(&[c.int_or(5, 1)?, c.int_or(7, 1)?, c.int_or(6, 1)?]);
            let (x, w) = (c.x(0)?, c.x(1)?);
            let y = c.node(
                "Conv3D",
                vec![x, w],
                vec![padding(c)?, ("strides", strides), ("dilations", dilations)],
            );
            biased(c, y, 2, 4)
        }),
    ),
    ("DEPTHWISE_CONV_2D", Own(depthwise)),
    ("FULLY_CONNECTED", Own(dense)),
    ("L2_NORMALIZATION", Own(l2)),
    (
        "LOCAL_RESPONSE_NORMALIZATION",
        Own(|c| {
            let numbers = vec![
                ("depth_radius", TfAttribute::Integer(c.int(0)?)),
                ("bias", TfAttribute::Float(c.float(1)?)),
                ("alpha", TfAttribute::Float(c.float(2)?)),
                ("beta", TfAttribute::Float(c.float(3)?)),
            ];
            c.same("LRN", numbers)
        }),
    ),
    ("MAX_POOL_2D", Own(|c| pool(c, "MaxPool"))),
    ("RESIZE_BILINEAR", Own(|c| resize(c, "ResizeBilinear", 2))),
    ("RESIZE_NEAREST_NEIGHBOR", Moves(|c| resize(c, "ResizeNearestNeighbor", 0))),
    ("TRANSPOSE_CONV", Own(transposed)),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", Own(lstm)),
];

/// The numbers of a picture's axes, with ones for rows and channels.
fn sizes(axes: &[i64]) -> TfAttribute {
    TfAttribute::Integers([1].iter().chain(axes).chain(&[1]).copied().collect())
}

/// `Padding`, which stands first in all options that have it.
fn padding(c: &Call<'_, '_, '_>) -> Result<(&'static str, TfAttribute), String> {
    match c.byte(0)? {
        0 => Ok(("padding", text("SAME"))),
        1 => Ok(("padding", text("VALID"))),
        other => Err(format!("its padding {other} is neither SAME (0) nor VALID (1)")),
    }
}

/// Adds the operand that is a bias, if there is one, and what follows.
fn biased(c: &mut Call<'_, '_, '_>, mut y: TfInput, bias: usize, activation: usize) -> Made {
    if c.has(bias) {
        let bias = c.x(bias)?;
        y = c.node("BiasAdd", vec![y, bias], vec![]);
    }
    c.activated(y, activation)
}

fn turned(c: &mut Call<'_, '_, '_>, w: TfInput, perm: [i64; 4]) -> Result<TfInput, String> {
    let perm = c.list(&perm)?;
    Ok(c.node("Transpose", vec![w, perm], vec![]))
}

/// The channels of pictures and kernels, which must be known.
fn channels(c: &Call<'_, '_, '_>, operand: usize) -> Result<i64, String> {
    match c.shape(operand)? {
        &[_, _, _, channels] if channels > 0 => Ok(channels.into()),
        other => {
            Err(format!("operand {operand}: expected four axes with a number of channels, found {other:?}"))
        }
    }
}

fn conv(c: &mut Call<'_, '_, '_>) -> Made {
    let (of_x, of_w) = (channels(c, 0)?, channels(c, 1)?);
    let attributes = vec![
        padding(c)?,
        ("strides", sizes(&[c.int(2)?, c.int(1)?])),
        ("dilations", sizes(&[c.int_or(5, 1)?, c.int_or(4, 1)?])),
        ("groups", TfAttribute::Integer(of_x / of_w)),
    ];
    let (x, w) = (c.x(0)?, c.x(1)?);
    let w = turned(c, w, [1, 2, 3, 0])?;
    let y = c.node("Conv2D", vec![x, w], attributes);
    biased(c, y, 2, 3)
}

/// `[1, height, width, channels * times]`.
fn depthwise(c: &mut Call<'_, '_, '_>) -> Made {
    let attributes = vec![
        padding(c)?,
        ("strides", sizes(&[c.int(2)?, c.int(1)?])),
        ("dilations", sizes(&[c.int_or(6, 1)?, c.int_or(5, 1)?])),
    ];
    let (of_x, of_w) = (channels(c, 0)?, channels(c, 1)?);
    let (x, w) = (c.x(0)?, c.x(1)?);
    let &[_, height, width, _] = c.shape(1)? else { return Err("operand 1: expected four axes".into()) };
    let shape = c.list(&[height.into(), width.into(), of_x, of_w / of_x])?;
    let w = c.node("Reshape", vec![w, shape], vec![]);
    let y = c.node("DepthwiseConv2dNative", vec![x, w], attributes);
    biased(c, y, 2, 4)
}

/// Its operands are the shape of the result, the kernel, and the picture.
fn transposed(c: &mut Call<'_, '_, '_>) -> Made {
    let attributes =
        vec![padding(c)?, ("strides", sizes(&[c.int(2)?, c.int(1)?])), ("T", TfAttribute::Type(c.kind(2)?))];
    let (shape, w, x) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let w = turned(c, w, [1, 2, 0, 3])?;
    let y = c.node("Conv2DBackpropInput", vec![shape, w, x], attributes);
    biased(c, y, 3, 3)
}

fn pool(c: &mut Call<'_, '_, '_>, op: &str) -> Made {
    let attributes = vec![
        padding(c)?,
        ("strides", sizes(&[c.int(2)?, c.int(1)?])),
        ("ksize", sizes(&[c.int(4)?, c.int(3)?])),
    ];
    let x = c.x(0)?;
    let y = c.node(op, vec![x], attributes);
    c.activated(y, 5)
}

/// `[units, inputs]`; unless it keeps the axes, all before the last become rows.
fn dense(c: &mut Call<'_, '_, '_>) -> Made {
    if c.byte(1)? != 0 {
        return Err("its weights are shuffled, which is not supported; convert the model again".into());
    }
    let (mut x, w) = (c.x(0)?, c.x(1)?);
    let &[_, inputs] = c.shape(1)? else { return Err("operand 1: expected weights of two axes".into()) };
    if !c.flag(2)? && !matches!(c.shape(0)?, [_, last] if *last == inputs) {
        let rows = c.list(&[-1, inputs.into()])?;
        x = c.node("Reshape", vec![x, rows], vec![]);
    }
    let y = c.node("MatMul", vec![x, w], vec![("transpose_b", TfAttribute::Bool(true))]);
    biased(c, y, 2, 0)
}

fn l2(c: &mut Call<'_, '_, '_>) -> Made {
    const SMALLEST: f32 = 1e-6;
    let (x, axis, least) = (c.x(0)?, c.list(&[-1])?, c.maker.float(SMALLEST)?);
    let squares = c.node("Square", vec![x.clone()], vec![]);
    let sum = c.node("Sum", vec![squares, axis], vec![("keep_dims", TfAttribute::Bool(true))]);
    let length = c.node("Sqrt", vec![sum], vec![]);
    let length = c.node("Maximum", vec![length, least], vec![]);
    let y = c.node("RealDiv", vec![x, length], vec![]);
    c.activated(y, 0)
}

fn resize(c: &mut Call<'_, '_, '_>, op: &str, slot: usize) -> Made {
    let flags = vec![
        ("align_corners", TfAttribute::Bool(c.flag(slot)?)),
        ("half_pixel_centers", TfAttribute::Bool(c.flag(slot + 1)?)),
    ];
    c.same(op, flags)
}

/// Its states begin with zeros. What it has of another kind (gates that are coupled, peepholes, projections, normalizations) is refused.
fn lstm(c: &mut Call<'_, '_, '_>) -> Made {
    const TANH: i8 = 4;
    let other = [9, 10, 11, 16, 17, 20, 21, 22, 23].into_iter().find(|&i| c.has(i));
    if let Some(i) = other {
        return Err(format!("operand {i}: peepholes, projections and normalizations are not supported"));
    }
    if c.byte(0)? != TANH {
        return Err(format!("its activation is {}; expected tanh ({TANH})", c.byte(0)?));
    }
    if c.flag(5)? {
        return Err("its recurrent weights are diagonals, which is not supported".into());
    }
    if c.kind(0)? != TfType(1) || c.tensor(0)?.quantization.is_some() {
        return Err(
            "its states are whole numbers, which is not supported; convert the model with floats".into()
        );
    }
    let mut inputs = vec![c.x(0)?];
    for i in (1..9).chain(12..16) {
        inputs.push(c.x(i)?);
    }
    let (&[units, _], shape, time_first) = (c.shape(6)?, c.shape(0)?, c.flag(3)?) else {
        return Err("operand 6: expected weights of two axes".into());
    };
    // A cell grows by one each step at most.
    let clip = c.float(1)?;
    let steps = shape.get(if time_first { 0 } else { 1 }).copied().filter(|&n| n >= 0);
    let reached = clip > 0.0 && steps.is_none_or(|n| n as f32 > clip);
    let attributes: Attributes = vec![
        ("time_major", TfAttribute::Bool(time_first)),
        ("units", TfAttribute::Integer(units.into())),
        ("cell_clip", TfAttribute::Float(if reached { clip } else { 0.0 })),
    ];
    c.done("SequenceLSTM", inputs, attributes)
}
