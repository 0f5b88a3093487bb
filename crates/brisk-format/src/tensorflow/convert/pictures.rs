//! Convolutions, pooling and what else is done to pictures. ONNX's stand with their channels first; those whose channels stand last
//! are turned round before and after.

use brisk_onnx::Attribute;

use super::call::{Call, Made, Run};
use super::value::Value;
use crate::onnx::emit::text;

pub(super) const OPS: &[(&str, Run)] = &[
    ("AvgPool", |c| pool(c, "AveragePool", 2)),
    ("AvgPool3D", |c| pool(c, "AveragePool", 3)),
    ("Conv2D", |c| conv(c, 2)),
    ("Conv2DBackpropInput", |c| transposed(c, 2)),
    ("Conv3D", |c| conv(c, 3)),
    ("Conv3DBackpropInputV2", |c| transposed(c, 3)),
    ("DepthToSpace", |c| blocks(c, "DepthToSpace")),
    ("DepthwiseConv2dNative", depthwise),
    ("FusedBatchNorm", norm),
    ("FusedBatchNormV2", norm),
    ("FusedBatchNormV3", norm),
    ("LRN", |c| {
        let radius = c.int("depth_radius", 5)?;
        let size = radius.saturating_mul(2).saturating_add(1);
        let attributes = vec![
            ("size", Attribute::Int(size)),
            ("bias", Attribute::Float(c.float("bias", 1.0)?)),
            // ONNX divides by the size.
            ("alpha", Attribute::Float(c.float("alpha", 1.0)? * size as f32)),
            ("beta", Attribute::Float(c.float("beta", 0.5)?)),
        ];
        let x = to_first(c, 0, 2)?;
        let y = c.emit("LRN", &[&x], attributes)?;
        back(c, &y, 2)
    }),
    ("MaxPool", |c| pool(c, "MaxPool", 2)),
    ("MaxPool3D", |c| pool(c, "MaxPool", 3)),
    ("ResizeBilinear", |c| resize(c, "linear")),
    ("ResizeNearestNeighbor", |c| resize(c, "nearest")),
    ("SpaceToDepth", |c| blocks(c, "SpaceToDepth")),
];

/// Whether channels stand last.
fn last(c: &Call<'_, '_>) -> Result<bool, String> {
    match c.text("data_format", "NHWC")? {
        "NHWC" | "NDHWC" => Ok(true),
        "NCHW" | "NCDHW" => Ok(false),
        other => Err(format!("attribute \"data_format\": expected channels first or last, found {other}")),
    }
}

/// An operand with its channels first.
fn to_first(c: &mut Call<'_, '_>, i: usize, axes: i64) -> Result<String, String> {
    let x = c.x(i)?;
    if !last(c)? {
        return Ok(x);
    }
    let perm = [0, axes + 1].into_iter().chain(1..axes + 1).collect();
    c.emit("Transpose", &[&x], vec![("perm", Attribute::Ints(perm))])
}

/// A result with its channels where they stood.
fn back(c: &mut Call<'_, '_>, y: &str, axes: i64) -> Made {
    if !last(c)? {
        return Ok(vec![Value::of(y.into())]);
    }
    let perm = [0].into_iter().chain(2..axes + 2).chain([1]).collect();
    c.done("Transpose", &[y], vec![("perm", Attribute::Ints(perm))])
}

/// The numbers of an attribute that are about axes of the picture; ones if there are none.
fn spatial(c: &Call<'_, '_>, name: &str, axes: i64) -> Result<Vec<i64>, String> {
    let all = c.ints(name)?;
    if all.is_empty() {
        return Ok(vec![1; axes as usize]);
    }
    let (first, others) = if last(c)? { (1, [0, axes + 1]) } else { (2, [0, 1]) };
    let at = |i: i64| all.get(i as usize).copied();
    let own: Option<Vec<i64>> = (first..first + axes).map(at).collect();
    match own.filter(|_| all.len() as i64 == axes + 2 && others.iter().all(|&i| at(i) == Some(1))) {
        Some(own) => Ok(own),
        None => Err(format!(
            "attribute {name:?}: expected {} numbers, 1 for rows and channels, found {all:?}",
            axes + 2
        )),
    }
}

fn padding(c: &Call<'_, '_>, axes: i64) -> Result<(&'static str, Attribute), String> {
    Ok(match c.text("padding", "")? {
        "SAME" => ("auto_pad", text("SAME_UPPER")),
        "VALID" => ("auto_pad", text("VALID")),
        "EXPLICIT" => {
            let all = c.ints("explicit_paddings")?;
            let first = if last(c)? { 1 } else { 2 };
            let at = |side: i64| (first..first + axes).map(move |i| (2 * i + side) as usize);
            let pads: Option<Vec<i64>> = at(0).chain(at(1)).map(|i| all.get(i).copied()).collect();
            let wrong =
                || format!("attribute \"explicit_paddings\": expected two numbers an axis, found {all:?}");
            ("pads", Attribute::Ints(pads.ok_or_else(wrong)?))
        }
        other => {
            return Err(format!("attribute \"padding\": expected SAME, VALID or EXPLICIT, found {other:?}"));
        }
    })
}

fn windows(c: &Call<'_, '_>, axes: i64) -> Result<Vec<(&'static str, Attribute)>, String> {
    Ok(vec![
        ("strides", Attribute::Ints(spatial(c, "strides", axes)?)),
        ("dilations", Attribute::Ints(spatial(c, "dilations", axes)?)),
        padding(c, axes)?,
    ])
}

/// A kernel `[sizes..., a, b]` as `[b, a, sizes...]`.
fn kernel(c: &mut Call<'_, '_>, w: &str, axes: i64) -> Result<String, String> {
    let perm = [axes + 1, axes].into_iter().chain(0..axes).collect();
    c.emit("Transpose", &[w], vec![("perm", Attribute::Ints(perm))])
}

fn conv(c: &mut Call<'_, '_>, axes: i64) -> Made {
    let mut attributes = windows(c, axes)?;
    // TensorFlow leaves it to the channels of both operands.
    attributes.push(("group", Attribute::Int(c.int("groups", 0)?)));
    let (x, w) = (to_first(c, 0, axes)?, c.x(1)?);
    let w = kernel(c, &w, axes)?;
    let y = c.emit("Conv", &[&x, &w], attributes)?;
    back(c, &y, axes)
}

/// `[height, width, channels, times]`: a group for each channel.
fn depthwise(c: &mut Call<'_, '_>) -> Made {
    let mut attributes = windows(c, 2)?;
    let dims = c.dims(1, "its kernel")?;
    let [height, width, channels, times] = dims[..] else {
        return Err(format!("operand 1: expected a kernel of four axes, found {dims:?}"));
    };
    attributes.push(("group", Attribute::Int(channels as i64)));
    let (x, w) = (to_first(c, 0, 2)?, c.x(1)?);
    let shape = c.list(&[height, width, 1, channels.saturating_mul(times)].map(|d| d as i64))?;
    let w = c.emit("Reshape", &[&w, &shape], vec![])?;
    let w = kernel(c, &w, 2)?;
    let y = c.emit("Conv", &[&x, &w], attributes)?;
    back(c, &y, 2)
}

/// The gradient of a convolution by its input. The size of its result is an operand, since several fit.
fn transposed(c: &mut Call<'_, '_>, axes: i64) -> Made {
    let mut attributes = vec![
        ("strides", Attribute::Ints(spatial(c, "strides", axes)?)),
        ("dilations", Attribute::Ints(spatial(c, "dilations", axes)?)),
    ];
    let first = if last(c)? { 1 } else { 2 };
    let sizes = c.value(0)?.tensor()?.ints.clone();
    let size = |i: i64| sizes.as_ref()?.get((first + i) as usize).copied().flatten();
    let sizes: Option<Vec<i64>> = (0..axes).map(size).collect();
    let same = match c.text("padding", "")? {
        "SAME" => true,
        "VALID" => false,
        other => {
            return Err(format!("attribute \"padding\": expected SAME or VALID, found {other:?}"));
        }
    };
    if same {
        // Without sizes as many as the strides say, which is what layers ask for.
        attributes.push(("auto_pad", text("SAME_UPPER")));
        attributes.extend(sizes.map(|sizes| ("output_shape", Attribute::Ints(sizes))));
    }
    let (w, x) = (c.x(1)?, to_first(c, 2, axes)?);
    let w = kernel(c, &w, axes)?;
    let y = c.emit("ConvTranspose", &[&x, &w], attributes)?;
    let made = back(c, &y, axes)?;
    match &made[..] {
        [y] if !same => {
            // What no window reaches is 0.
            let (y, sizes) = (y.name()?.to_string(), c.int64(0)?);
            let found = c.emit("Shape", &[&y], vec![])?;
            let missing = c.emit("Sub", &[&sizes, &found], vec![])?;
            let none = c.list(&vec![0; axes as usize + 2])?;
            let pads = c.emit("Concat", &[&none, &missing], vec![("axis", Attribute::Int(0))])?;
            c.done("Pad", &[&y, &pads], vec![])
        }
        _ => Ok(made),
    }
}

fn pool(c: &mut Call<'_, '_>, op: &str, axes: i64) -> Made {
    let attributes = vec![
        ("kernel_shape", Attribute::Ints(spatial(c, "ksize", axes)?)),
        ("strides", Attribute::Ints(spatial(c, "strides", axes)?)),
        padding(c, axes)?,
    ];
    let x = to_first(c, 0, axes)?;
    let y = c.emit(op, &[&x], attributes)?;
    back(c, &y, axes)
}

fn norm(c: &mut Call<'_, '_>) -> Made {
    if c.flag("is_training", true)? {
        return Err(
            "it takes the statistics of the batch, as in training; export the model for inference".into()
        );
    }
    let epsilon = c.float("epsilon", 1e-4)?;
    let axes = if c.text("data_format", "NHWC")?.len() == 5 { 3 } else { 2 };
    let (x, [scale, offset, mean, variance]) = (to_first(c, 0, axes)?, [c.x(1)?, c.x(2)?, c.x(3)?, c.x(4)?]);
    let inputs = [&x, &scale, &offset, &mean, &variance].map(String::as_str);
    let y = c.emit("BatchNormalization", &inputs, vec![("epsilon", Attribute::Float(epsilon))])?;
    back(c, &y, axes)
}

fn blocks(c: &mut Call<'_, '_>, op: &str) -> Made {
    let size = c.int("block_size", 0)?;
    let x = to_first(c, 0, 2)?;
    let y = c.emit(op, &[&x], vec![("blocksize", Attribute::Int(size))])?;
    back(c, &y, 2)
}

fn resize(c: &mut Call<'_, '_>, mode: &str) -> Made {
    let (corners, centers) = (c.flag("align_corners", false)?, c.flag("half_pixel_centers", false)?);
    let (places, nearest) = match (corners, centers) {
        (true, _) => ("align_corners", "round_prefer_ceil"),
        (false, true) => ("half_pixel", "round_prefer_ceil"),
        (false, false) => ("asymmetric", "floor"),
    };
    let (x, sizes) = (c.x(0)?, c.int64(1)?);
    let mut attributes = vec![
        ("mode", text(mode)),
        ("axes", Attribute::Ints(vec![1, 2])),
        ("coordinate_transformation_mode", text(places)),
    ];
    if mode == "nearest" {
        attributes.push(("nearest_mode", text(nearest)));
    }
    c.done("Resize", &[&x, "", "", &sizes], attributes)
}
