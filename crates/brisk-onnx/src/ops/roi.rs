//! Regions of pictures, brought to one size.

use brisk_graph::prim::Binary;
use brisk_graph::{DType, Tensor, Value};

use super::grid::Cells;
use super::{Operator, one};
use crate::Var;
use crate::call::Call;

pub(super) const OPS: &[Operator] = &[one("MaxRoiPool", max_roi_pool), one("RoiAlign", roi_align)];

/// How many cells may be read in all ...
const MOST_CELLS: usize = 1 << 26;
/// ... and from how many parts of regions, where each is written down.
const MOST_PARTS: usize = 1 << 20;

fn within(most: usize, sizes: &[usize]) -> Result<(), String> {
    match sizes.iter().fold(1usize, |n, &s| n.saturating_mul(s.max(1))) <= most {
        true => Ok(()),
        false => Err(format!("regions with {sizes:?} places are too many")),
    }
}

/// A size in an attribute.
fn at_least_one(name: &str, v: i64) -> Result<usize, String> {
    usize::try_from(v)
        .ok()
        .filter(|&v| v > 0)
        .ok_or_else(|| format!("attribute {name}: expected at least 1, found {v}"))
}

/// `[n, channels, height, width]` of `[n, height, width, channels]`.
fn channels_second<'g>(x: &Var<'g>, value: Value<'g>) -> Var<'g> {
    Var::turned(x.elem, value.cast(x.arithmetic()), vec![0, 3, 1, 2])
}

/// Samples along one axis of each part of each region: `[regions, parts, samples]`.
struct Samples<'g> {
    /// The cells before and after a place, and the weight of the second.
    before: Value<'g>,
    after: Value<'g>,
    rest: Value<'g>,
    /// 1 for places in the picture or close to it, 0 for others.
    near: Value<'g>,
    /// 1 for a sample that is taken, 0 for one beyond those of its region.
    taken: Value<'g>,
    /// Samples in a part of each region: `[regions]`.
    count: Value<'g>,
}

impl<'g> Samples<'g> {
    /// Of regions from `start` to `start + extent` (both `[regions]`) in `parts`, with `fixed` samples in each, or as many as there are
    /// cells, but for those over `most`.
    fn new(
        start: Value<'g>,
        extent: Value<'g>,
        parts: usize,
        fixed: bool,
        most: usize,
        size: usize,
    ) -> Samples<'g> {
        let (b, regions) = (start.builder(), start.dim(0));
        let dims = [regions, parts, most];
        let wide = |v: Value<'g>| v.reshape([regions, 1, 1]).broadcast_to(dims);
        let dtype = start.dtype();
        let part = extent * (1.0 / parts as f64);
        let count = match fixed {
            true => b.fill_as(most as f64, [regions], dtype),
            false => (-(-part).floor()).max(0.0),
        };
        let sample = b.iota(2, dims, dtype);
        let inner = (sample + 0.5) * wide(part) / wide(count.max(1.0));
        let place = wide(start) + b.iota(1, dims, dtype) * wide(part) + inner;
        let far = place.less(-1.0).binary(Binary::Max, place.greater(size as f64));
        let end = size as f64 - 1.0;
        let place = place.max(0.0).min(end);
        let before = place.floor();
        Samples {
            before: before.cast(DType::I64),
            after: (before + 1.0).min(end).cast(DType::I64),
            rest: place - before,
            near: far.equal(0.0).cast(dtype),
            taken: sample.less(wide(count)).cast(dtype),
            count,
        }
    }
}

fn roi_align<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, rois, index) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let height = at_least_one("output_height", c.int("output_height", 1)?)?;
    let width = at_least_one("output_width", c.int("output_width", 1)?)?;
    let scale = c.float("spatial_scale", 1.0)?;
    let largest = match c.text("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(format!("attribute mode: expected avg or max, found {other:?}")),
    };
    let old = if c.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let shifted = match c.text("coordinate_transformation_mode", old)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(format!("attribute coordinate_transformation_mode: found {other:?}")),
    };
    let table = Cells::new(&x)?;
    let ([rows, columns], [regions, 4]) = (table.sizes(), &rois.shape()[..]) else {
        return Err(format!(
            "expected [n, channels, height, width] and [regions, 4], found {} and {}",
            x.shape(),
            rois.shape()
        ));
    };
    let (rows, columns, regions) = (*rows, *columns, *regions);
    if index.shape()[..] != [regions] {
        return Err(format!("expected {regions} numbers of pictures, found {}", index.shape()));
    }
    let corners = rois.floats() * scale - if shifted { 0.5 } else { 0.0 };
    let corner = |i: usize| corners.slice(1, i, i + 1).reshape([regions]);
    let extent = |i: usize| match shifted {
        true => corner(i + 2) - corner(i),
        false => (corner(i + 2) - corner(i)).max(1.0),
    };
    let fixed = usize::try_from(c.int("sampling_ratio", 0)?).ok().filter(|&s| s > 0);
    let mut most = |extent: Value<'g>, parts: usize| -> Result<usize, String> {
        let Some(fixed) = fixed else {
            // As many as the longest region has cells.
            let longest = c.look(extent)?.to_f64s().into_iter().fold(0.0, f64::max);
            return Ok(((longest / parts as f64).ceil() as usize).max(1));
        };
        Ok(fixed)
    };
    let (down, across) = (most(extent(1), height)?, most(extent(0), width)?);
    let channels = x.shape()[1];
    within(MOST_CELLS, &[regions, height, width, down, across, channels])?;
    let y = Samples::new(corner(1), extent(1), height, fixed.is_some(), down, rows);
    let x_of = Samples::new(corner(0), extent(0), width, fixed.is_some(), across, columns);
    // Both axes together: [regions, height, width, down, across].
    let dims = [regions, height, width, down, across];
    let tall = |v: Value<'g>| v.reshape([regions, height, 1, down, 1]).broadcast_to(dims);
    let wide = |v: Value<'g>| v.reshape([regions, 1, width, 1, across]).broadcast_to(dims);
    let picture = index.value().cast(DType::I64).reshape([regions, 1, 1, 1, 1]).broadcast_to(dims);
    let near = tall(y.near) * wide(x_of.near);
    let corner = |low: bool, left: bool| {
        let (row, by_row) = if low { (y.after, y.rest) } else { (y.before, 1.0 - y.rest) };
        let (column, by_column) = if left { (x_of.before, 1.0 - x_of.rest) } else { (x_of.after, x_of.rest) };
        let weight = tall(by_row) * wide(by_column) * near;
        let cells = table.take(picture, &[tall(row), wide(column)]);
        cells * weight.expand(5).cast(cells.dtype())
    };
    let parts = [corner(false, true), corner(false, false), corner(true, true), corner(true, false)];
    let taken = (tall(y.taken) * wide(x_of.taken)).expand(5);
    let all = parts[0].shape();
    let value = match largest {
        false => {
            let sum = parts.into_iter().reduce(|a, b| a + b).ok_or("expected corners")?;
            let count = (y.count * x_of.count).max(1.0).reshape([regions, 1, 1, 1]);
            (sum * taken.cast(sum.dtype())).sum(&[3, 4]) / count.cast(sum.dtype())
        }
        true => {
            let most = parts.into_iter().reduce(|a, b| a.max(b)).ok_or("expected corners")?;
            let number = |v: f64| c.b.fill_as(v, &all, most.dtype());
            let most = taken
                .greater(0.0)
                .broadcast_to(&all)
                .select(most, number(f64::NEG_INFINITY))
                .reduce_max(&[3, 4]);
            let none = (y.count * x_of.count).equal(0.0).reshape([regions, 1, 1, 1]);
            none.select(c.b.fill_as(0.0, most.shape(), most.dtype()), most)
        }
    };
    Ok(channels_second(&x, value))
}

/// The largest in each part of each region, of whole cells.
fn max_roi_pool<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, rois) = (c.var(0)?, c.var(1)?);
    let scale = c.float("spatial_scale", 1.0)?;
    let Some([height, width]) = c.ints("pooled_shape")?.and_then(|s| <[i64; 2]>::try_from(s).ok()) else {
        return Err("attribute pooled_shape: expected a height and a width".into());
    };
    let (height, width) = (at_least_one("pooled_shape", height)?, at_least_one("pooled_shape", width)?);
    let table = Cells::new(&x)?;
    let ([rows, columns], [regions, 5]) = (table.sizes(), &rois.shape()[..]) else {
        return Err(format!(
            "expected [n, channels, height, width] and [regions, 5], found {} and {}",
            x.shape(),
            rois.shape()
        ));
    };
    let (rows, columns, regions) = (*rows, *columns, *regions);
    within(MOST_PARTS, &[regions, height, width])?;
    let numbers = c.look(rois.floats())?.to_f64s();
    // The cells of each part of a region along an axis.
    let parts = |first: f64, last: f64, parts: usize, size: usize| -> Vec<(usize, usize)> {
        let (first, last) = ((first * scale).round(), (last * scale).round());
        let part = (last - first + 1.0).max(1.0) / parts as f64;
        let place = |v: f64| (v + first).clamp(0.0, size as f64) as usize;
        (0..parts)
            .map(|i| (place((i as f64 * part).floor()), place(((i + 1) as f64 * part).ceil())))
            .collect()
    };
    let mut windows = Vec::new();
    for region in numbers.chunks_exact(5) {
        let &[picture, x1, y1, x2, y2] = region else { continue };
        if !(0.0..x.shape()[0] as f64).contains(&picture) {
            return Err(format!("a region is of picture {picture}, there are {}", x.shape()[0]));
        }
        let (down, across) = (parts(y1, y2, height, rows), parts(x1, x2, width, columns));
        windows.extend(down.iter().flat_map(|&d| across.iter().map(move |&a| (picture as usize, d, a))));
    }
    let area = |&(_, d, a): &(usize, (usize, usize), (usize, usize))| {
        (d.1.saturating_sub(d.0)) * (a.1.saturating_sub(a.0))
    };
    let largest = windows.iter().map(area).max().unwrap_or(0).max(1);
    within(MOST_CELLS, &[windows.len(), largest, x.shape()[1]])?;
    // As many cells for each; those that have fewer repeat their first.
    let mut index: Vec<i32> = Vec::with_capacity(windows.len() * largest);
    let mut filled = Vec::with_capacity(windows.len());
    for window in &windows {
        let &(picture, (top, bottom), (left, right)) = window;
        let cell = |row: usize, column: usize| ((picture * rows + row) * columns + column) as i32;
        let start = index.len();
        index.extend((top..bottom).flat_map(|row| (left..right).map(move |column| cell(row, column))));
        filled.push(u8::from(index.len() > start));
        let first = index.get(start).copied().unwrap_or(0);
        index.resize(start + largest, first);
    }
    let index = c.constant(Tensor::new([windows.len(), largest], index))?;
    let filled = c.constant(Tensor::new([windows.len(), 1], filled))?;
    let most = table.take(index.cast(DType::I64), &[]).reduce_max(&[1]);
    let zero = c.b.fill_as(0.0, most.shape(), most.dtype());
    let value = filled.broadcast_to(most.shape()).select(most, zero);
    Ok(channels_second(&x, value.reshape([regions, height, width, x.shape()[1]])))
}
