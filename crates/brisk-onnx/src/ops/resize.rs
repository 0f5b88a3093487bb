//! Pictures in other sizes.

use brisk_graph::{DType, Tensor};

use super::{Operator, one};
use crate::Var;
use crate::call::{Call, axes};

pub(super) const OPS: &[Operator] = &[one("Resize", resize), one("Upsample", upsample)];

/// How an axis is resized.
struct Rule {
    mode: String,
    coordinates: String,
    nearest: &'static str,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: f64,
}

/// How a place between cells is rounded, the default first.
const NEAREST: [&str; 4] = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
/// The same before version 11.
const NEAREST_OLD: [&str; 4] = ["floor", "round_prefer_floor", "round_prefer_ceil", "ceil"];

fn upsample<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let scales = match c.float_list("scales")? {
        Some(scales) => scales.into_iter().map(f64::from).collect(),
        None => c.known_floats(1)?,
    };
    let rule = Rule {
        mode: c.text("mode", "nearest")?.to_string(),
        coordinates: "asymmetric".into(),
        nearest: "floor",
        cubic: -0.75,
        exclude_outside: false,
        antialias: false,
        extrapolation: 0.0,
    };
    let sizes: Vec<usize> =
        x.shape().iter().zip(&scales).map(|(&d, s)| (d as f64 * s).floor() as usize).collect();
    if scales.len() != x.rank() {
        return Err(format!("expected {} scales, found {}", x.rank(), scales.len()));
    }
    let all = (0..x.rank()).collect::<Vec<_>>();
    apply(c, &x, &all, &sizes, &scales, None, &rule)
}

fn resize<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let rank = x.rank();
    let old = c.opset < 11;
    let (roi_at, scales_at, sizes_at) = if old { (9, 1, 9) } else { (1, 2, 3) };
    let rule = Rule {
        mode: c.text("mode", "nearest")?.to_string(),
        coordinates: c
            .text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?
            .to_string(),
        nearest: c.word("nearest_mode", if old { &NEAREST_OLD } else { &NEAREST })?,
        cubic: c.float("cubic_coeff_a", -0.75)?,
        exclude_outside: c.flag("exclude_outside", false)?,
        antialias: c.flag("antialias", false)?,
        extrapolation: c.float("extrapolation_value", 0.0)?,
    };
    let over = match c.ints("axes")? {
        Some(list) => {
            axes(&list, rank)?;
            list.iter().map(|&a| crate::call::axis(a, rank)).collect::<Result<Vec<_>, _>>()?
        }
        None => (0..rank).collect(),
    };
    let shape = x.shape();
    let given = |c: &mut Call<'_, 'g>, i: usize| -> Result<Option<Vec<f64>>, String> {
        Ok(if c.has(i) { Some(c.known_floats(i)?).filter(|v| !v.is_empty()) } else { None })
    };
    let (mut sizes, mut scales): (Vec<usize>, Vec<f64>);
    match (given(c, scales_at)?, given(c, sizes_at)?) {
        (_, Some(list)) => {
            if list.len() != over.len() {
                return Err(format!("expected {} sizes, found {}", over.len(), list.len()));
            }
            sizes = list.iter().map(|&v| v.max(0.0) as usize).collect();
            scales = over.iter().zip(&sizes).map(|(&a, &s)| s as f64 / shape[a] as f64).collect();
            let policy = c.word("keep_aspect_ratio_policy", &["stretch", "not_larger", "not_smaller"])?;
            if policy != "stretch" {
                let pick = if policy == "not_larger" { f64::min } else { f64::max };
                let scale = scales.iter().copied().reduce(pick).unwrap_or(1.0);
                sizes = over.iter().map(|&a| (shape[a] as f64 * scale + 0.5).floor() as usize).collect();
                scales = vec![scale; over.len()];
            }
        }
        (Some(list), None) => {
            if list.len() != over.len() {
                return Err(format!("expected {} scales, found {}", over.len(), list.len()));
            }
            sizes = over.iter().zip(&list).map(|(&a, s)| (shape[a] as f64 * s).floor() as usize).collect();
            scales = list;
        }
        (None, None) => return Err("expected scales or sizes".into()),
    }
    let roi = match rule.coordinates.as_str() {
        "tf_crop_and_resize" => given(c, roi_at)?,
        _ => None,
    };
    apply(c, &x, &over, &sizes, &scales, roi, &rule)
}

/// The longest axis of a result: for each place of it some numbers are computed while the graph is recorded.
const MOST_PLACES: usize = 1 << 24;

fn apply<'g>(
    c: &Call<'_, 'g>,
    x: &Var<'g>,
    over: &[usize],
    sizes: &[usize],
    scales: &[f64],
    roi: Option<Vec<f64>>,
    rule: &Rule,
) -> Result<Var<'g>, String> {
    if let Some(scale) = scales.iter().find(|s| !s.is_finite() || **s <= 0.0) {
        return Err(format!("expected scales above 0, found {scale}"));
    }
    sizes.iter().try_for_each(|&to| c.room_for(to))?;
    if let Some(to) = sizes.iter().find(|&&to| to > MOST_PLACES) {
        return Err(format!("an axis may be resized to {MOST_PLACES} places, found {to}"));
    }
    let dtype = if x.arithmetic() == DType::F64 { DType::F64 } else { DType::F32 };
    let mut value = x.value().cast(dtype);
    let mut outside: Vec<(usize, Vec<f64>)> = Vec::new();
    for (k, &at) in over.iter().enumerate() {
        let (n, to, scale) = (value.dim(at), sizes[k], scales[k]);
        if n == 0 {
            return Err("an empty axis cannot be resized".into());
        }
        let ends = roi.as_ref().map(|r| [r.get(k), r.get(over.len() + k)].map(|v| v.copied().unwrap_or(0.0)));
        if n == to && scale == 1.0 && ends.is_none() {
            continue;
        }
        let places: Vec<f64> = (0..to)
            .map(|o| place(o as f64, n as f64, to as f64, scale, ends, rule))
            .collect::<Result<_, _>>()?;
        if ends.is_some() {
            let beyond = places.iter().map(|&p| f64::from(u8::from(p < 0.0 || p > n as f64 - 1.0))).collect();
            outside.push((at, beyond));
        }
        if rule.mode == "nearest" {
            let index: Vec<i32> =
                places.iter().map(|&p| nearest(p, rule.nearest).clamp(0.0, n as f64 - 1.0) as i32).collect();
            value = super::gather::take_along(c, value, at, index)?;
            continue;
        }
        // Each result is a sum of neighbours with weights: one matrix for the axis.
        c.room_for(to.saturating_mul(n))?;
        let mut matrix = vec![0.0; to * n];
        for (o, &p) in places.iter().enumerate() {
            for (i, w) in weights(p, n, scale, rule)? {
                matrix[o * n + i] += w;
            }
        }
        let matrix = c.constant(Tensor::from_f64s(dtype, [to, n], &matrix))?;
        let last = value.rank() - 1;
        let mut perm: Vec<usize> = (0..value.rank()).collect();
        perm.swap(at, last);
        let rows = value.transpose(&perm).matmul(matrix.transpose(&[1, 0]));
        value = rows.transpose(&perm);
    }
    for (at, beyond) in outside {
        let mut dims = vec![1; value.rank()];
        dims[at] = beyond.len();
        let beyond = c.constant(Tensor::from_f64s(DType::U8, dims, &beyond))?.broadcast_to(value.shape());
        value = beyond.select(c.b.fill_as(rule.extrapolation, value.shape(), dtype), value);
    }
    let out = Var::new(x.elem, value);
    match x.elem.is_float() {
        true => Ok(out),
        false => Ok(super::elementwise::wrap(out.map(super::elementwise::round).carried(DType::I64))),
    }
}

/// Where in the source a place of the result lies.
fn place(o: f64, n: f64, to: f64, scale: f64, ends: Option<[f64; 2]>, rule: &Rule) -> Result<f64, String> {
    Ok(match rule.coordinates.as_str() {
        "half_pixel" => (o + 0.5) / scale - 0.5,
        "half_pixel_symmetric" => {
            let adjustment = to / (scale * n);
            let centre = n / 2.0;
            centre * (1.0 - adjustment) + (o + 0.5) / scale - 0.5
        }
        "pytorch_half_pixel" => {
            if to > 1.0 {
                (o + 0.5) / scale - 0.5
            } else {
                0.0
            }
        }
        // The size that the scale means need not be whole.
        "align_corners" => {
            if n * scale > 1.0 {
                o * (n - 1.0) / (n * scale - 1.0)
            } else {
                0.0
            }
        }
        "asymmetric" => o / scale,
        "tf_half_pixel_for_nn" => (o + 0.5) / scale,
        "tf_crop_and_resize" => {
            let [start, end] = ends.unwrap_or([0.0, 1.0]);
            match to > 1.0 {
                true => start * (n - 1.0) + o * (end - start) * (n - 1.0) / (to - 1.0),
                false => 0.5 * (start + end) * (n - 1.0),
            }
        }
        other => return Err(format!("attribute coordinate_transformation_mode: found {other:?}")),
    })
}

fn nearest(p: f64, mode: &str) -> f64 {
    match mode {
        "floor" => p.floor(),
        "ceil" => p.ceil(),
        "round_prefer_ceil" => (p + 0.5).floor(),
        _ => (p - 0.5).ceil(),
    }
}

/// The neighbours of a place and their weights, which add up to 1. Places outside take the nearest inside.
fn weights(p: f64, n: usize, scale: f64, rule: &Rule) -> Result<Vec<(usize, f64)>, String> {
    // Where a picture becomes smaller, a wider filter keeps what lies between.
    let spread = if rule.antialias { scale.min(1.0) } else { 1.0 };
    let a = rule.cubic;
    let (support, cubic) = match rule.mode.as_str() {
        "linear" => (1.0, false),
        "cubic" => (2.0, true),
        other => return Err(format!("attribute mode: expected nearest, linear or cubic, found {other:?}")),
    };
    let filter = |d: f64| {
        let d = d.abs();
        match (cubic, d) {
            (false, d) => (1.0 - d).max(0.0),
            (true, d) if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
            (true, d) if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
            _ => 0.0,
        }
    };
    let reach = support / spread;
    let (first, last) = ((p - reach).ceil() as i64, (p + reach).floor() as i64);
    let mut found = Vec::new();
    let mut sum = 0.0;
    for i in first..=last {
        let inside = (0..n as i64).contains(&i);
        // A filter that is cut at the borders, and one that repeats the last cell.
        if rule.exclude_outside && !inside {
            continue;
        }
        let w = filter((i as f64 - p) * spread);
        sum += w;
        found.push((i.clamp(0, n as i64 - 1) as usize, w));
    }
    if sum == 0.0 {
        return Ok(vec![(p.round().clamp(0.0, n as f64 - 1.0) as usize, 1.0)]);
    }
    found.iter_mut().for_each(|f| f.1 /= sum);
    Ok(found)
}
