//! Layers: what has weights, pooling, normalizations, and the losses that a model ends with.

use brisk_onnx::{Attribute, Elem};

use super::call::{Call, Made, Operator, loss, op};
use crate::onnx::emit::text;

pub(super) const OPS: &[Operator] = &[
    op("BatchNorm", batch_norm),
    op("Convolution", convolution),
    op("Convolution_v1", convolution),
    op("Deconvolution", deconvolution),
    op("Embedding", |c| {
        let (x, table) = (c.x(0)?, c.x(1)?);
        let x = c.cast(&x, Elem::Int64)?;
        c.done("Gather", &[&table, &x], vec![])
    }),
    op("FullyConnected", dense),
    op("InstanceNorm", |c| {
        let (x, gamma, beta, eps) = (c.x(0)?, c.x(1)?, c.x(2)?, c.float("eps", 1e-3)?);
        c.done("InstanceNormalization", &[&x, &gamma, &beta], vec![epsilon(eps)])
    }),
    op("L2Normalization", l2),
    op("LRN", |c| {
        let x = c.x(0)?;
        let number = |v: f64| Attribute::Float(v as f32);
        let attributes = vec![
            ("size", Attribute::Int(c.int("nsize", 0)?)),
            ("alpha", number(c.float("alpha", 1e-4)?)),
            ("beta", number(c.float("beta", 0.75)?)),
            ("bias", number(c.float("knorm", 2.0)?)),
        ];
        c.done("LRN", &[&x], attributes)
    }),
    op("LayerNorm", |c| {
        if c.int("axis", -1)? != -1 {
            return Err("attribute \"axis\": expected -1; transpose the axis to the end".into());
        }
        let (x, gamma, beta, eps) = (c.x(0)?, c.x(1)?, c.x(2)?, c.float("eps", 1e-5)?);
        c.done("LayerNormalization", &[&x, &gamma, &beta], vec![epsilon(eps), ("axis", Attribute::Int(-1))])
    }),
    op("Pooling", pooling),
    op("Pooling_v1", pooling),
    loss("Softmax", softmax_output),
    op("SoftmaxActivation", |c| {
        if c.text("mode", "instance") == "channel" { along(c, "Softmax", 1) } else { flat_softmax(c) }
    }),
    loss("SoftmaxOutput", softmax_output),
    op("UpSampling", |c| {
        if c.text("sample_type", "") != "nearest" || c.inputs.len() != 1 {
            return Err("expected the sample_type nearest and one operand".into());
        }
        let (x, scale) = (c.x(0)?, c.int("scale", 1)? as f32);
        let scales = c.emit.floats(vec![1.0, 1.0, scale, scale])?;
        let attributes = vec![
            ("mode", text("nearest")),
            ("coordinate_transformation_mode", text("asymmetric")),
            ("nearest_mode", text("floor")),
        ];
        c.done("Resize", &[&x, "", &scales], attributes)
    }),
    op("log_softmax", |c| {
        let axis = c.int("axis", -1)?;
        along(c, "LogSoftmax", axis)
    }),
    op("softmax", |c| {
        let axis = c.int("axis", -1)?;
        along(c, "Softmax", axis)
    }),
];

fn epsilon(value: f64) -> (&'static str, Attribute) {
    ("epsilon", Attribute::Float(value as f32))
}

fn dense(c: &mut Call<'_>) -> Made {
    let (mut x, w) = (c.x(0)?, c.x(1)?);
    let bias = if c.flag("no_bias", false)? { None } else { Some(c.x(2)?) };
    if c.flag("flatten", true)? {
        x = c.emit("Flatten", &[&x], vec![("axis", Attribute::Int(1))])?;
    }
    let w = c.emit("Transpose", &[&w], vec![("perm", Attribute::Ints(vec![1, 0]))])?;
    let y = c.emit("MatMul", &[&x, &w], vec![])?;
    match bias {
        Some(bias) => c.done("Add", &[&y, &bias], vec![]),
        None => Ok(vec![y]),
    }
}

/// Only channels that stand first, as MXNet's do by default.
fn channels_first(c: &Call<'_>) -> Result<(), String> {
    match c.attribute("layout") {
        None | Some("NCW" | "NCHW" | "NCDHW") => Ok(()),
        Some(other) => Err(format!("attribute \"layout\": expected channels first, as NCHW, found {other}")),
    }
}

/// Kernel, strides, and the same pad before and after.
fn windows(c: &Call<'_>, dilations: bool) -> Result<Vec<(&'static str, Attribute)>, String> {
    channels_first(c)?;
    let kernel = c.ints("kernel")?.ok_or("attribute \"kernel\" is missing")?;
    let mut attributes = vec![("kernel_shape", Attribute::Ints(kernel.clone()))];
    let per_axis = |name: &str, default: i64| -> Result<Vec<i64>, String> {
        Ok(c.ints(name)?.filter(|l| !l.is_empty()).unwrap_or_else(|| vec![default; kernel.len()]))
    };
    attributes.push(("strides", Attribute::Ints(per_axis("stride", 1)?)));
    if dilations {
        attributes.push(("dilations", Attribute::Ints(per_axis("dilate", 1)?)));
    }
    let pad = per_axis("pad", 0)?;
    attributes.push(("pads", Attribute::Ints([&pad[..], &pad].concat())));
    Ok(attributes)
}

fn convolved(c: &mut Call<'_>, name: &str, no_bias: bool, attributes: Vec<(&str, Attribute)>) -> Made {
    let (x, w) = (c.x(0)?, c.x(1)?);
    match c.flag("no_bias", no_bias)? {
        true => c.done(name, &[&x, &w], attributes),
        false => {
            let bias = c.x(2)?;
            c.done(name, &[&x, &w, &bias], attributes)
        }
    }
}

fn convolution(c: &mut Call<'_>) -> Made {
    let mut attributes = windows(c, true)?;
    attributes.push(("group", Attribute::Int(c.int("num_group", 1)?)));
    convolved(c, "Conv", false, attributes)
}

fn deconvolution(c: &mut Call<'_>) -> Made {
    let mut attributes = windows(c, true)?;
    attributes.push(("group", Attribute::Int(c.int("num_group", 1)?)));
    if c.ints("target_shape")?.is_some_and(|t| t.iter().any(|&d| d != 0)) {
        return Err("attribute \"target_shape\" is not supported; give pad and adj instead".into());
    }
    if let Some(extra) = c.ints("adj")?.filter(|l| !l.is_empty()) {
        attributes.push(("output_padding", Attribute::Ints(extra)));
    }
    convolved(c, "ConvTranspose", true, attributes)
}

/// Unless it says otherwise the scales are ones, whatever the file has.
fn batch_norm(c: &mut Call<'_>) -> Made {
    let axis = c.int("axis", 1)?;
    if axis != 1 {
        return Err(format!("attribute \"axis\": expected 1, found {axis}; transpose the channels to it"));
    }
    let (x, mut gamma, beta, mean, variance) = (c.x(0)?, c.x(1)?, c.x(2)?, c.x(3)?, c.x(4)?);
    if c.flag("fix_gamma", true)? {
        let shape = c.dims(1).ok_or("its gamma is no parameter")?;
        gamma = c.emit.ones(shape)?;
    }
    let eps = c.float("eps", 1e-3)?;
    c.done("BatchNormalization", &[&x, &gamma, &beta, &mean, &variance], vec![epsilon(eps)])
}

fn pooling(c: &mut Call<'_>) -> Made {
    let x = c.x(0)?;
    let kind = c.text("pool_type", "max").to_string();
    if c.flag("global_pool", false)? {
        channels_first(c)?;
        return match kind.as_str() {
            "max" => c.done("GlobalMaxPool", &[&x], vec![]),
            "avg" => c.done("GlobalAveragePool", &[&x], vec![]),
            other => Err(format!(
                "attribute \"pool_type\": expected max or avg of a global pooling, found {other}"
            )),
        };
    }
    let mut attributes = windows(c, false)?;
    match c.text("pooling_convention", "valid") {
        "valid" => {}
        "full" => attributes.push(("ceil_mode", Attribute::Int(1))),
        "same" => {
            attributes.retain(|(name, _)| *name != "pads");
            attributes.push(("auto_pad", text("SAME_UPPER")));
        }
        other => return Err(format!("attribute \"pooling_convention\": found {other}")),
    }
    let pads_count = Attribute::Int(c.flag("count_include_pad", true)?.into());
    match kind.as_str() {
        "max" => c.done("MaxPool", &[&x], attributes),
        "avg" => {
            attributes.push(("count_include_pad", pads_count));
            c.done("AveragePool", &[&x], attributes)
        }
        "lp" => {
            attributes.push(("p", Attribute::Int(c.int("p_value", 2)?)));
            c.done("LpPool", &[&x], attributes)
        }
        other => Err(format!("attribute \"pool_type\": expected max, avg or lp, found {other}")),
    }
}

/// By the root of a sum of squares: of a row, of the channels of a place, or of the places of a channel.
fn l2(c: &mut Call<'_>) -> Made {
    let (x, eps) = (c.x(0)?, c.float("eps", 1e-10)?);
    let (shape, flat, axis) = match c.text("mode", "instance") {
        "instance" => (c.list(&[0, -1])?, true, 1),
        "spatial" => (c.list(&[0, 0, -1])?, true, 2),
        "channel" => (c.list(&[1])?, false, 1),
        other => {
            return Err(format!("attribute \"mode\": expected instance, channel or spatial, found {other}"));
        }
    };
    let rows = if flat { c.emit("Reshape", &[&x, &shape], vec![])? } else { x.clone() };
    let (axes, eps) = (c.list(&[axis])?, c.number(eps)?);
    let sum = c.emit("ReduceSumSquare", &[&rows, &axes], vec![("keepdims", Attribute::Int(1))])?;
    let sum = c.emit("Add", &[&sum, &eps], vec![])?;
    let norm = c.emit("Sqrt", &[&sum], vec![])?;
    let y = c.emit("Div", &[&rows, &norm], vec![])?;
    if !flat {
        return Ok(vec![y]);
    }
    as_before(c, &y, &x)
}

/// A value in the shape of another.
fn as_before(c: &mut Call<'_>, y: &str, x: &str) -> Made {
    let shape = c.emit("Shape", &[x], vec![])?;
    c.done("Reshape", &[y, &shape], vec![])
}

fn along(c: &mut Call<'_>, name: &str, axis: i64) -> Made {
    let mut x = c.x(0)?;
    let temperature = c.float("temperature", 1.0)?;
    if c.flag("use_length", false)? {
        return Err("attribute \"use_length\" is not supported".into());
    }
    if temperature != 1.0 {
        let temperature = c.number(temperature)?;
        x = c.emit("Div", &[&x, &temperature], vec![])?;
    }
    c.done(name, &[&x], vec![("axis", Attribute::Int(axis))])
}

/// Over all of a row.
fn flat_softmax(c: &mut Call<'_>) -> Made {
    let x = c.x(0)?;
    let rows = c.emit("Flatten", &[&x], vec![("axis", Attribute::Int(1))])?;
    let y = c.emit("Softmax", &[&rows], vec![("axis", Attribute::Int(-1))])?;
    as_before(c, &y, &x)
}

fn softmax_output(c: &mut Call<'_>) -> Made {
    match (c.flag("multi_output", false)?, c.flag("preserve_shape", false)?) {
        (true, _) => along(c, "Softmax", 1),
        (false, true) => along(c, "Softmax", -1),
        (false, false) => flat_softmax(c),
    }
}
