//! Convolutions whose windows move, and pictures from columns of them.

use brisk_graph::DType;
use brisk_graph::prim::{Prim, positions};

use super::conv::Windows;
use super::grid::{Around, Between, Cells};
use super::{Operator, one};
use crate::Var;
use crate::call::Call;

pub(super) const OPS: &[Operator] = &[one("Col2Im", col2im), one("DeformConv", deform_conv)];

/// Sizes in an operand that must be known, each at least 1.
fn sizes_at(c: &mut Call<'_, '_>, operand: usize) -> Result<Vec<usize>, String> {
    let found = c.known_ints(operand)?;
    let size = |&v: &i64| usize::try_from(v).ok().filter(|&s| s > 0);
    let sizes: Option<Vec<usize>> = found.iter().map(size).collect();
    sizes.ok_or_else(|| format!("operand {operand}: expected sizes of at least 1, found {found:?}"))
}

/// How many places the windows have along each axis.
fn places(windows: &Windows, sizes: &[usize]) -> Result<Vec<usize>, String> {
    let along = |i: usize| {
        positions(sizes[i], windows.size[i], windows.stride[i], windows.dilation[i], windows.pads[i])
    };
    let found: Option<Vec<usize>> = (0..sizes.len()).map(along).collect();
    found.ok_or_else(|| format!("windows of {:?} do not fit in pictures of {sizes:?}", windows.size))
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s))
}

/// Adds up windows where they overlap.
fn col2im<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let (image, block) = (sizes_at(c, 1)?, sizes_at(c, 2)?);
    const MOST_AXES: usize = 8;
    if image.len() > MOST_AXES {
        return Err(format!("expected pictures of at most {MOST_AXES} axes, found {}", image.len()));
    }
    let windows = Windows::of(c, &image, block.clone())?;
    let r = image.len();
    let out = places(&windows, &image)?;
    let (Some(cells), Some(count)) = (product(&block), product(&out)) else {
        return Err(format!("windows of {block:?} at {out:?} places are too many"));
    };
    let [n, columns, length] = x.shape()[..] else {
        return Err(format!("expected [n, channels * window, windows], found {}", x.shape()));
    };
    if r == 0 || length != count || columns == 0 || !columns.is_multiple_of(cells) {
        return Err(format!("{} is not windows of {block:?} at {out:?} places", x.shape()));
    }
    let channels = columns / cells;
    let padded: Vec<usize> = (0..r).map(|i| image[i] + windows.pads[i][0] + windows.pads[i][1]).collect();
    let rows = product(&padded).filter(|&rows| i32::try_from(rows).is_ok());
    let rows = rows.ok_or_else(|| format!("a picture of {padded:?} is too large"))?;
    let value = x.value().cast(x.arithmetic());
    let value = value.reshape([n, channels, cells, count]).transpose(&[2, 3, 0, 1]);
    // Every cell of every window: where it lies in the padded picture.
    let dims = [&block[..], &out].concat();
    let place = |i: usize| {
        let cell = c.b.iota(i, &dims[..], DType::I64) * windows.dilation[i] as f64;
        cell + c.b.iota(r + i, &dims[..], DType::I64) * windows.stride[i] as f64
    };
    let index = (1..r).fold(place(0), |sum, i| sum * padded[i] as f64 + place(i));
    let index = index.cast(DType::I32).reshape([cells * count]);
    let sum = c.b.prim(Prim::ScatterAdd(rows), &[index, value.reshape([cells * count, n * channels])]);
    let mut result = sum.transpose(&[1, 0]).reshape([&[n, channels][..], &padded].concat());
    for i in 0..r {
        let before = windows.pads[i][0];
        result = result.slice(2 + i, before, before + image[i]);
    }
    Ok(Var::new(x.elem, result))
}

/// A convolution that takes its cells from beside their places.
fn deform_conv<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, kernel, offset) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let (bias, mask) = (c.optional(3)?, c.optional(4)?);
    let (shape, ks, rank) = (x.shape(), kernel.shape(), x.rank());
    if rank < 3 || ks.rank() != rank {
        return Err(format!("a kernel {ks} does not fit {shape}"));
    }
    let count_of = |name: &str| match c.int(name, 1)? {
        g if g >= 1 => Ok(g as usize),
        g => Err(format!("attribute {name}: expected at least 1, found {g}")),
    };
    let (groups, offset_groups) = (count_of("group")?, count_of("offset_group")?);
    let (n, channels, filters, r) = (shape[0], shape[1], ks[0], rank - 2);
    let per_group = ks[1];
    let divided = channels > 0 && per_group.checked_mul(groups) == Some(channels);
    if !divided || !filters.is_multiple_of(groups) || !channels.is_multiple_of(offset_groups) {
        return Err(format!(
            "a kernel {ks} in {groups} groups and {offset_groups} groups of offsets does not fit {shape}"
        ));
    }
    let windows = Windows::of(c, &shape[2..], ks[2..].to_vec())?;
    let out = places(&windows, &shape[2..])?;
    let cells: usize = windows.size.iter().product();
    let numbers = product(&[offset_groups, cells, r]);
    let (Some(count), Some(numbers)) = (product(&out), numbers) else {
        return Err(format!("windows of {:?} at {out:?} places are too many", windows.size));
    };
    let dims = [&[n, numbers], &out[..]].concat();
    if offset.shape()[..] != dims[..] {
        return Err(format!("expected offsets {dims:?}, found {}", offset.shape()));
    }
    let value = x.floats();
    let dtype = value.dtype();
    let offsets = offset.floats().cast(dtype).reshape([n, offset_groups, cells, r, count]);
    let masks = match mask {
        Some(mask) if mask.shape().elements() == n * offset_groups * cells * count => {
            Some(mask.floats().cast(dtype).reshape([n, offset_groups, cells * count, 1]))
        }
        Some(mask) => return Err(format!("a mask {} does not fit offsets {dims:?}", mask.shape())),
        None => None,
    };
    // Where the cells of the windows lie without offsets.
    let both = [&windows.size[..], &out].concat();
    let place = |i: usize| {
        let cell = c.b.iota(i, &both[..], dtype) * windows.dilation[i] as f64;
        let start = c.b.iota(r + i, &both[..], dtype) * windows.stride[i] as f64;
        (cell + start - windows.pads[i][0] as f64).reshape([1, cells * count])
    };
    let table = Cells::new(&x)?;
    // In each group, along each axis a place and its two neighbours; then their combinations.
    let combinations = 1usize << r.min(8);
    c.afford(offset_groups.saturating_mul(32 * r + combinations * (4 * r + 4)))?;
    let each = channels / offset_groups;
    let mut parts = Vec::new();
    for g in 0..offset_groups {
        let own = offsets.slice(1, g, g + 1);
        let at = |i: usize| own.slice(3, i, i + 1).reshape([n, cells * count]) + place(i);
        let at: Vec<_> = (0..r).map(at).collect();
        let sampled = table.channels(g * each, (g + 1) * each).sample(&at, Between::Linear, Around::Zeros)?;
        parts.push(match masks {
            Some(masks) => sampled * masks.slice(1, g, g + 1).reshape([n, cells * count, 1]),
            None => sampled,
        });
    }
    let columns = c.b.concat(&parts, 2).reshape([n, cells, count, groups, per_group]);
    let columns = columns.transpose(&[3, 0, 2, 1, 4]).reshape([groups, n * count, cells * per_group]);
    let weights = kernel.floats().cast(dtype).reshape([groups, filters / groups, per_group, cells]);
    let weights = weights.transpose(&[0, 3, 2, 1]).reshape([groups, cells * per_group, filters / groups]);
    let y = columns.matmul(weights).reshape([groups, n, count, filters / groups]);
    let mut y = y.transpose(&[1, 0, 3, 2]).reshape([n, filters, count]);
    if let Some(bias) = bias {
        y = y + bias.floats().cast(dtype).reshape([filters, 1]);
    }
    Ok(Var::new(x.elem, y.reshape([&[n, filters], &out[..]].concat())))
}
