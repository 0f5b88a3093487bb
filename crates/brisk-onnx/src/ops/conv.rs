//! Convolutions.

use brisk_graph::prim::{Conv, Prim, Scalar, positions};
use brisk_graph::{DType, Value};

use super::{Operator, one};
use crate::Var;
use crate::call::Call;

pub(super) const OPS: &[Operator] = &[one("Conv", conv), one("ConvTranspose", conv_transpose)];

/// The geometry of a window over the axes of pictures, whatever their number.
#[derive(Clone, Debug)]
pub struct Windows {
    pub size: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// Before and after, for each axis.
    pub pads: Vec<[usize; 2]>,
}

impl Windows {
    /// As the attributes say, for pictures of these sizes.
    pub fn of(c: &Call<'_, '_>, maps: &[usize], size: Vec<usize>) -> Result<Windows, String> {
        let n = maps.len();
        if size.len() != n {
            return Err(format!("a window of {} axes does not fit {n}", size.len()));
        }
        let per_axis = |name: &str, default: usize| -> Result<Vec<usize>, String> {
            let list = c.sizes(name)?.unwrap_or_else(|| vec![default; n]);
            match list.len() == n && !list.contains(&0) {
                true => Ok(list),
                false => Err(format!("attribute {name}: expected {n} numbers of at least 1, found {list:?}")),
            }
        };
        let (mut stride, mut dilation) = (per_axis("strides", 1)?, per_axis("dilations", 1)?);
        let reach = |i: usize| dilation[i].saturating_mul(size[i].saturating_sub(1)).saturating_add(1);
        let pads: Vec<[usize; 2]> = match c.text("auto_pad", "NOTSET")? {
            "SAME_UPPER" | "SAME_LOWER" => {
                let upper = c.text("auto_pad", "")? == "SAME_UPPER";
                let same = |i: usize| {
                    let out = maps[i].div_ceil(stride[i]);
                    let whole = out.saturating_sub(1).saturating_mul(stride[i]).saturating_add(reach(i));
                    let total = whole.saturating_sub(maps[i]);
                    let (less, more) = (total / 2, total - total / 2);
                    if upper { [less, more] } else { [more, less] }
                };
                (0..n).map(same).collect()
            }
            "VALID" => vec![[0, 0]; n],
            "NOTSET" => {
                let list = c.sizes("pads")?.unwrap_or_else(|| vec![0; 2 * n]);
                if list.len() != 2 * n {
                    return Err(format!("attribute pads: expected {} numbers, found {}", 2 * n, list.len()));
                }
                (0..n).map(|i| [list[i], list[n + i]]).collect()
            }
            other => return Err(format!("attribute auto_pad: found {other:?}")),
        };
        for i in 0..n {
            // Steps beyond the end are all alike, as are those between the cells of a window of one.
            let whole = maps[i].saturating_add(pads[i][0]).saturating_add(pads[i][1]);
            stride[i] = stride[i].min(whole.max(1));
            if size[i] == 1 {
                dilation[i] = 1;
            }
        }
        // So far that sums and products of two of them are numbers.
        let all = size.iter().chain(&dilation).chain(pads.as_flattened());
        if all.copied().max().is_some_and(|most| i32::try_from(most).is_err()) {
            return Err(format!(
                "windows of {size:?} with dilations {dilation:?} and pads {pads:?} do not fit into {maps:?}"
            ));
        }
        Ok(Windows { size, stride, dilation, pads })
    }
}

/// Pictures of one axis have two: the first is 1.
fn two_axes<'g>(x: Value<'g>) -> Value<'g> {
    if x.rank() != 3 {
        return x;
    }
    let shape = x.shape();
    x.reshape([shape[0], shape[1], 1, shape[2]])
}

fn conv<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, w, bias) = (c.var(0)?, c.var(1)?, c.optional(2)?);
    let y = convolve(c, &x, &w)?;
    biased(c, y, bias)
}

/// With a number for each channel added; channels stand last.
fn biased<'g>(c: &Call<'_, 'g>, y: Var<'g>, bias: Option<Var<'g>>) -> Result<Var<'g>, String> {
    let Some(bias) = bias else { return Ok(y) };
    // What does not fit is no picture with channels.
    c.b.check().map_err(|e| e.to_string())?;
    let (value, order) = y.raw();
    let channels = value.last();
    if bias.shape().elements() != channels {
        return Err(format!("expected a bias for each of {channels} channels, found {}", bias.shape()));
    }
    let bias = bias.value().cast(value.dtype()).reshape([channels]);
    Ok(super::elementwise::ordered(y.elem, value + bias, order.map(<[usize]>::to_vec)))
}

/// Without a bias; channels stand last in the value.
pub fn convolve<'g>(c: &Call<'_, 'g>, x: &Var<'g>, w: &Var<'g>) -> Result<Var<'g>, String> {
    let (shape, kernel) = (x.shape(), w.shape());
    let rank = shape.rank();
    if rank < 3 || kernel.rank() != rank {
        return Err(format!("a kernel {kernel} does not fit {shape}"));
    }
    let groups = match c.int("group", 1)? {
        g if g >= 1 => g as usize,
        // In graphs that were TensorFlow's: as many as the channels of both say.
        0 if kernel[1] > 0 && shape[1].is_multiple_of(kernel[1]) => (shape[1] / kernel[1]).max(1),
        g => return Err(format!("attribute group: expected at least 1, found {g}")),
    };
    let windows = Windows::of(c, &shape[2..], kernel[2..].to_vec())?;
    let dtype = x.arithmetic();
    let dtype = if dtype.is_float() { dtype } else { DType::F32 };
    convolve_with(c, x, w, &windows, groups, dtype)
}

/// See [`convolve`].
pub fn convolve_with<'g>(
    c: &Call<'_, 'g>,
    x: &Var<'g>,
    w: &Var<'g>,
    windows: &Windows,
    groups: usize,
    dtype: DType,
) -> Result<Var<'g>, String> {
    let (shape, kernel) = (x.shape(), w.shape());
    let rank = shape.rank();
    let elem = x.elem;
    // There may be no pictures, but each has cells.
    if shape.iter().skip(1).any(|&d| d == 0) || kernel.contains(&0) {
        return Err(format!("a kernel {kernel} and {shape} have no cells"));
    }
    match rank {
        3 => {
            let maps = Var::new(elem, two_axes(x.value()));
            let kernel = Var::new(w.elem, two_axes(w.value()));
            let wide = |v: &[usize]| vec![1, v[0]];
            let windows = Windows {
                size: wide(&windows.size),
                stride: wide(&windows.stride),
                dilation: wide(&windows.dilation),
                pads: vec![[0, 0], windows.pads[0]],
            };
            let y = convolve_with(c, &maps, &kernel, &windows, groups, dtype)?;
            let (value, _) = y.raw();
            let shape = value.shape();
            let flat = value.reshape([shape[0], shape[2], shape[3]]);
            Ok(Var::turned(elem, flat, vec![0, 2, 1]))
        }
        4 => {
            let maps = x.transposed(&[0, 2, 3, 1]).value().cast(dtype);
            let kernel = w.transposed(&[2, 3, 1, 0]).value().cast(dtype);
            let spec = Conv {
                stride: [windows.stride[0], windows.stride[1]],
                dilation: [windows.dilation[0], windows.dilation[1]],
                padding: [windows.pads[0], windows.pads[1]],
                groups,
            };
            Ok(Var::turned(elem, maps.conv(kernel, spec), vec![0, 3, 1, 2]))
        }
        5 => volumes(c, x, w, windows, groups, dtype),
        _ => Err(format!("expected pictures of one to three axes, found {}", x.shape())),
    }
}

/// A convolution of volumes is a sum of convolutions of their slices, one for each slice of the kernel.
fn volumes<'g>(
    c: &Call<'_, 'g>,
    x: &Var<'g>,
    w: &Var<'g>,
    windows: &Windows,
    groups: usize,
    dtype: DType,
) -> Result<Var<'g>, String> {
    let maps = x.transposed(&[0, 2, 3, 4, 1]).value().cast(dtype);
    let kernel = w.transposed(&[2, 3, 4, 1, 0]).value().cast(dtype);
    let (shape, ks) = (maps.shape(), kernel.shape());
    let (stride, dilation, pads) = (windows.stride[0], windows.dilation[0], windows.pads[0]);
    let depth = positions(shape[1], windows.size[0], stride, dilation, pads)
        .ok_or_else(|| format!("a kernel of depth {} does not fit", windows.size[0]))?;
    // A slice of each, in another shape, and their product and sum.
    c.afford(windows.size[0].saturating_mul(6))?;
    let b = maps.builder();
    let padded = maps.pad(&[0, pads[0], 0, 0, 0], &[0, pads[1], 0, 0, 0], 0.0);
    let spec = Conv {
        stride: [windows.stride[1], windows.stride[2]],
        dilation: [windows.dilation[1], windows.dilation[2]],
        padding: [windows.pads[1], windows.pads[2]],
        groups,
    };
    let mut sum: Option<Value<'g>> = None;
    for k in 0..windows.size[0] {
        let all = padded.shape();
        let (mut start, mut end, mut step) = (vec![0; 5], all.to_vec(), vec![1; 5]);
        (start[1], end[1], step[1]) = (k * dilation, k * dilation + (depth - 1) * stride + 1, stride);
        let part = b.prim(Prim::Slice { start, end, step }, &[padded]);
        let part = part.reshape([shape[0] * depth, shape[2], shape[3], shape[4]]);
        let own = kernel.slice(0, k, k + 1).reshape([ks[1], ks[2], ks[3], ks[4]]);
        let y = part.conv(own, spec);
        sum = Some(match sum {
            Some(sum) => sum + y,
            None => y,
        });
    }
    let y = sum.ok_or("an empty kernel")?;
    let out = y.shape();
    let y = y.reshape([shape[0], depth, out[1], out[2], out[3]]);
    Ok(Var::turned(x.elem, y, vec![0, 4, 1, 2, 3]))
}

/// The gradient of a convolution by its input: every element stamps the kernel into the result.
fn conv_transpose<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, w, bias) = (c.var(0)?, c.var(1)?, c.optional(2)?);
    let (shape, kernel) = (x.shape(), w.shape());
    let n = shape.rank().saturating_sub(2);
    if n == 0 || n > 3 || kernel.rank() != shape.rank() {
        return Err(format!("a kernel {kernel} does not fit {shape}"));
    }
    let groups = c.int("group", 1)?.max(1) as usize;
    let size = kernel[2..].to_vec();
    let list = |name: &str, default: usize| -> Result<Vec<usize>, String> {
        let list = c.sizes(name)?.unwrap_or_else(|| vec![default; n]);
        match list.len() == n {
            true => Ok(list),
            false => Err(format!("attribute {name}: expected {n} numbers, found {}", list.len())),
        }
    };
    let (stride, dilation, extra) = (list("strides", 1)?, list("dilations", 1)?, list("output_padding", 0)?);
    let ends = |v: &usize| *v > 0 && i32::try_from(*v).is_ok();
    if !stride.iter().chain(&dilation).chain(&shape[2..]).chain(&kernel[..]).all(ends)
        || extra.iter().any(|&v| i32::try_from(v).is_err())
    {
        return Err(format!(
            "strides {stride:?}, dilations {dilation:?}, a kernel {kernel} and {shape}: expected sizes of at least 1"
        ));
    }
    let full = |i: usize| (shape[2 + i] - 1) * stride[i] + dilation[i] * (size[i] - 1) + 1;
    let auto = c.word("auto_pad", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])?;
    let wanted = match c.sizes("output_shape")? {
        // The axes of pictures, or all.
        Some(list) if list.len() == n || list.len() == n + 2 => Some(list[list.len() - n..].to_vec()),
        Some(list) => return Err(format!("attribute output_shape: expected {n} sizes, found {list:?}")),
        None if auto.starts_with("SAME") => Some((0..n).map(|i| shape[2 + i] * stride[i]).collect()),
        None => None,
    };
    let pads = c.sizes("pads")?.unwrap_or_else(|| vec![0; 2 * n]);
    if pads.len() != 2 * n {
        return Err(format!("attribute pads: expected {} numbers, found {}", 2 * n, pads.len()));
    }
    if let Some(far) = wanted.iter().flatten().chain(&pads).find(|&&v| i32::try_from(v).is_err()) {
        return Err(format!("{far} places around {shape} are too many"));
    }
    // What is cut off before and after; negative: added.
    let cuts: Vec<[i64; 2]> = match wanted {
        Some(wanted) => (0..n)
            .map(|i| {
                let total = full(i) as i64 + extra[i] as i64 - wanted[i] as i64;
                // What is missing comes after.
                let (less, more) = (total.max(0) / 2, total - total.max(0) / 2);
                let (less, more) = if total < 0 { (more, less) } else { (less, more) };
                let [before, after] = if auto == "SAME_UPPER" { [less, more] } else { [more, less] };
                [before, after - extra[i] as i64]
            })
            .collect(),
        None => (0..n).map(|i| [pads[i] as i64, pads[n + i] as i64 - extra[i] as i64]).collect(),
    };
    // Spread the input by the strides, and convolve with the kernel turned round: exactly the stamps.
    let dtype = x.arithmetic();
    let value = x.value().cast(dtype);
    let mut inner = vec![0; n + 2];
    (0..n).for_each(|i| inner[2 + i] = stride[i].saturating_sub(1));
    let zeros = vec![0; n + 2];
    let spread = Prim::Pad { low: zeros.clone(), high: zeros, inner, value: Scalar(0.0) };
    let mut value = c.b.prim(spread, &[value]);
    let mut pads = Vec::new();
    for i in 0..n {
        let edge = (dilation[i] * (size[i] - 1)) as i64;
        let [before, after] = cuts[i].map(|cut| edge - cut);
        // More may be cut off than the kernel adds.
        let length = value.dim(2 + i) as i64;
        let (start, end) = ((-before).max(0), length - (-after).max(0));
        if start > 0 || end < length {
            if start >= end {
                return Err("nothing is left of the result".into());
            }
            value = value.slice(2 + i, start as usize, end as usize);
        }
        pads.push([before.max(0) as usize, after.max(0) as usize]);
    }
    // [in, out / groups, ...] to [out, in / groups, ...], turned round.
    let (channels, each) = (kernel[0], kernel[1]);
    if !channels.is_multiple_of(groups) {
        return Err(format!("{channels} channels are no multiple of {groups} groups"));
    }
    let turned = w.value().cast(dtype).reverse(&(2..n + 2).collect::<Vec<_>>());
    let mut parted = vec![groups, channels / groups, each];
    parted.extend_from_slice(&size);
    let mut perm: Vec<usize> = (0..parted.len()).collect();
    perm.swap(1, 2);
    let mut joined = vec![groups * each, channels / groups];
    joined.extend_from_slice(&size);
    let turned = turned.reshape(parted).transpose(&perm).reshape(joined);
    let windows = Windows { size, stride: vec![1; n], dilation, pads };
    let y = convolve_with(c, &Var::new(x.elem, value), &Var::new(w.elem, turned), &windows, groups, dtype)?;
    biased(c, y, bias)
}
