//! Operators on maps: convolutions and pooling.

use brisk_graph::op::Attrs;
use brisk_graph::prim::{Conv, Window};
use brisk_graph::{DType, Id, Op, Prim};

use super::emit::{self, Body, Val, ints};
use super::table::Form;
use super::walk::{Walk, place};
use crate::{Attribute, Elem};

/// The operand as maps `[n, c, h, w]`.
fn maps(w: &mut Walk<'_>, id: Id) -> Result<Val, String> {
    let input = w.input(id, 0)?;
    let (x, dims) = (w.val(input)?, w.dims(input)?);
    let x = if x.dims == dims { x } else { w.e.full(&x, &dims)? };
    w.e.turned(&x)
}

/// A kernel `[kh, kw, c_in, c_out]` as `[c_out, c_in, kh, kw]`.
fn kernel(w: &mut Walk<'_>, id: Id) -> Result<String, String> {
    let kernel = w.full_operand(id, 1)?;
    let body = w.e.permuted(&kernel, &[3, 2, 0, 1])?;
    Ok(w.e.name(&Val { body, ..kernel }))
}

fn geometry(w: &Walk<'_>, id: Id, conv: &Conv) -> emit::Attrs {
    vec![
        ("strides", ints(conv.stride)),
        ("dilations", ints(conv.dilation)),
        padding(w, id, conv.padding),
        ("group", Attribute::Int(conv.groups as i64)),
    ]
}

/// So many cells around the maps, or as many as follow from their size.
fn padding(w: &Walk<'_>, id: Id, [rows, columns]: [[usize; 2]; 2]) -> (&'static str, Attribute) {
    match w.sampled.same_upper(id) {
        true => ("auto_pad", Attribute::String("SAME_UPPER".into())),
        false => ("pads", ints([rows[0], columns[0], rows[1], columns[1]])),
    }
}

fn made(w: &mut Walk<'_>, id: Id, name: String, elem: Elem) -> Val {
    let dims = w.own_dims(id, &name, true);
    Val { body: Body::Made(name), dims, elem, turned: true }
}

pub(super) fn conv(w: &mut Walk<'_>, id: Id, conv: &Conv) -> Result<Val, String> {
    let (x, kernel) = (maps(w, id)?, kernel(w, id)?);
    let inputs = vec![w.e.name(&x), kernel];
    let geometry = geometry(w, id, conv);
    let name = w.e.one("Conv", inputs, geometry);
    Ok(made(w, id, name, x.elem))
}

pub(super) fn conv_transpose(w: &mut Walk<'_>, id: Id, conv: &Conv) -> Result<Val, String> {
    let [input, kernel_id] = [w.input(id, 0)?, w.input(id, 1)?];
    // By how much the result is larger than what the input's size says by itself.
    let kernel_shape = w.node(kernel_id).shape.clone();
    let more = |axis: usize| {
        let mut sizes = w.sampled.each(id).zip(w.sampled.each(input)).map(|(y, x)| {
            let (y, x) = (*y.shape.get(axis + 1)?, *x.shape.get(axis + 1)?);
            let reach = (kernel_shape.get(axis)? - 1) * conv.dilation[axis] + 1;
            (y + conv.padding[axis][0] + conv.padding[axis][1])
                .checked_sub((x.checked_sub(1)?) * conv.stride[axis] + reach)
        });
        let first = sizes.next().flatten()?;
        sizes.all(|s| s == Some(first)).then_some(first)
    };
    let (Some(rows), Some(columns)) = (more(0), more(1)) else {
        return Err(
            "the size of the result follows from that of the maps in no fixed way; give them a fixed size"
                .into(),
        );
    };
    let (x, kernel) = (maps(w, id)?, kernel(w, id)?);
    let inputs = vec![w.e.name(&x), kernel];
    let mut attrs = geometry(w, id, conv);
    attrs.push(("output_padding", ints([rows, columns])));
    let name = w.e.one("ConvTranspose", inputs, attrs);
    Ok(made(w, id, name, x.elem))
}

/// Puts a bias `[c]` into the convolution that it is added to, if nothing else reads that.
pub(super) fn with_bias(w: &mut Walk<'_>, sum: Id) -> Result<Option<Val>, String> {
    for (conv, bias) in [(0, 1), (1, 0)] {
        let (conv, bias) = (w.input(sum, conv)?, w.input(sum, bias)?);
        let (node, Ok(bias)) = (w.node(conv), w.val(bias)) else { continue };
        if !matches!(node.op, Op::Prim(Prim::Conv(_) | Prim::ConvGradInput(..))) || !w.read_once(conv) {
            continue;
        }
        let fits = bias.tensor().is_some_and(|b| b.shape().dims() == [node.shape.last()]);
        let val = w.val(conv)?;
        let Body::Made(name) = &val.body else { continue };
        if let (true, Some(place)) = (fits, w.e.maker(name)) {
            let bias = w.e.name(&bias);
            w.e.add_input(place, bias);
            return Ok(Some(val));
        }
    }
    Ok(None)
}

fn window(w: &Walk<'_>, id: Id, window: &Window) -> emit::Attrs {
    vec![
        ("kernel_shape", ints(window.size)),
        ("strides", ints(window.stride)),
        padding(w, id, window.padding),
    ]
}

pub(super) fn max_pool(w: &mut Walk<'_>, id: Id, own: &Window) -> Result<Val, String> {
    let x = maps(w, id)?;
    let name = w.e.name(&x);
    let window = window(w, id, own);
    let name = w.e.one("MaxPool", vec![name], window);
    Ok(made(w, id, name, x.elem))
}

pub(super) fn sum_pool(w: &mut Walk<'_>, id: Id, own: &Window) -> Result<Val, String> {
    let x = maps(w, id)?;
    let name = w.e.name(&x);
    let attrs = [window(w, id, own), vec![("count_include_pad", Attribute::Int(1))]].concat();
    let name = w.e.one("AveragePool", vec![name], attrs);
    let mean = made(w, id, name, x.elem);
    let count = w.e.scalar((own.size[0] * own.size[1]) as f64, w.node(id).dtype)?;
    w.e.elementwise("Mul", &[mean, count], vec![], x.elem)
}

pub(super) fn average(w: &mut Walk<'_>, id: Id, form: &Form, attrs: &Attrs) -> Result<Val, String> {
    let x = maps(w, id)?;
    let name = w.e.name(&x);
    let list = |name| attrs.get_ints(name).to_vec();
    let cells = attrs.get_ints("padding").iter().filter_map(|&v| usize::try_from(v).ok());
    let Ok([top, bottom, left, right]) = <[usize; 4]>::try_from(cells.collect::<Vec<_>>()) else {
        return Err("expected a window".into());
    };
    let attrs = vec![
        ("kernel_shape", Attribute::Ints(list("size"))),
        ("strides", Attribute::Ints(list("stride"))),
        padding(w, id, [[top, bottom], [left, right]]),
        ("count_include_pad", Attribute::Int(attrs.get_int("count_padding"))),
    ];
    let name = w.e.one(form.name, vec![name], attrs);
    Ok(made(w, id, name, x.elem))
}

/// Over height and width, which vanish.
pub(super) fn global(w: &mut Walk<'_>, id: Id, form: &Form, _: &Attrs) -> Result<Val, String> {
    let input = w.input(id, 0)?;
    let (x, dims) = (w.val(input)?, w.dims(input)?);
    let x = if x.dims == dims { x } else { w.e.full(&x, &dims)? };
    let axes = if x.turned { [2, 3] } else { [1, 2] };
    let inputs = vec![w.e.name(&x), w.e.list(axes)?];
    let name = w.e.one(form.name, inputs, vec![("keepdims", Attribute::Int(0))]);
    Ok(Val::made(name, w.dims(id)?, x.elem))
}

pub(super) fn upsample(w: &mut Walk<'_>, id: Id, form: &Form, attrs: &Attrs) -> Result<Val, String> {
    let x = maps(w, id)?;
    let &[rows, columns] = attrs.get_ints("factors") else { return Err("expected two factors".into()) };
    let scales = [1.0, 1.0, rows as f64, columns as f64];
    let tensor = brisk_graph::Tensor::from_f64s(DType::F32, [4], &scales).map_err(|e| e.to_string())?;
    let scales = Val::known(format!("scales/{rows}x{columns}"), tensor);
    let text = |name, text: &str| (name, Attribute::String(text.into()));
    let attrs = match attrs.get_int("bilinear") {
        0 => vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ],
        _ => vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")],
    };
    let inputs = vec![w.e.name(&x), String::new(), w.e.name(&scales)];
    let name = w.e.one(form.name, inputs, attrs);
    Ok(made(w, id, name, x.elem))
}

/// The axes of a value as it stands in ONNX's graph.
pub(super) fn places(val: &Val, axes: &[usize]) -> Vec<usize> {
    let at = |&a: &usize| if val.turned { place(a, val.rank()) } else { a };
    axes.iter().map(at).collect()
}
