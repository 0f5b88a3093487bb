//! The parts of a model that have parameters, and what PyTorch's modules hold in their place.

use std::collections::{BTreeMap, HashMap};

use brisk_graph::{Shape, Tensor};
use brisk_nn::{LayerConfig, Model, ParamSpec};

use super::convert::{How, convert};
use super::module::Tensors;
use super::order::{Order, Orders, orders};
use crate::Result;

/// A part of a model with parameters: a layer, a direction of one, an attention inside of one.
#[derive(Debug)]
pub(super) struct Unit {
    /// The path of its parameters without their own names: `bidirectional.forward_lstm`.
    pub path: String,
    pub params: Vec<Param>,
}

/// A parameter, and how it is made.
#[derive(Debug)]
pub(super) struct Param {
    /// Brisk's name.
    pub name: String,
    pub shape: Shape,
    /// The roles of the module's tensors that it is made of, and their shapes.
    pub theirs: Vec<(String, Shape)>,
    how: How,
    /// The order of its first axis, and of its last, where they differ.
    rows: Option<Order>,
    columns: Option<Order>,
}

impl Unit {
    /// What a module must have to be this.
    pub fn wants(&self) -> Tensors {
        self.params.iter().flat_map(|p| p.theirs.iter().cloned()).collect()
    }
}

impl Param {
    fn new(spec: &ParamSpec, theirs: Vec<(&str, Vec<usize>)>, how: How) -> Param {
        let theirs = theirs.into_iter().map(|(role, shape)| (role.to_string(), shape.into())).collect();
        Param { name: spec.name.clone(), shape: spec.shape.clone(), theirs, how, rows: None, columns: None }
    }

    /// Makes it of the module's tensors.
    pub fn make(&self, theirs: &[Tensor]) -> brisk_graph::Result<Tensor> {
        convert(&self.how, theirs, &self.shape, self.rows.as_ref(), self.columns.as_ref())
    }

    /// Why its numbers stand in another order, beyond what its kind always does.
    pub fn reordered(&self) -> Option<&'static str> {
        match (&self.rows, &self.columns) {
            (None, None) => None,
            (Some(_), _) => Some("its inputs stand as [channels, height, width] in PyTorch"),
            (None, Some(_)) => Some("its outputs stand as [channels, height, width] in PyTorch"),
        }
    }
}

/// All units of a model, in its order. Attentions are one if `packed`, as in PyTorch's own module, and the four dense layers that they consist
/// of otherwise.
pub(super) fn units(model: &Model, packed: bool) -> Result<Vec<Unit>, brisk_nn::Error> {
    let orders = orders(model);
    let layers: HashMap<&str, &LayerConfig> =
        model.layers().iter().map(|l| (l.name.as_str(), innermost(&l.layer))).collect();
    let mut groups: Vec<(String, BTreeMap<String, ParamSpec>)> = Vec::new();
    for spec in model.param_specs()? {
        let (path, own) = spec.name.rsplit_once('.').unwrap_or(("", &spec.name));
        if groups.last().is_none_or(|g| g.0 != path) {
            groups.push((path.to_string(), BTreeMap::new()));
        }
        let own = own.to_string();
        if let Some((_, params)) = groups.last_mut() {
            params.insert(own, spec);
        }
    }
    let mut units: Vec<Unit> = Vec::new();
    let mut rest = &groups[..];
    while let Some(((path, params), after)) = rest.split_first() {
        if packed && let Some(unit) = attention(rest) {
            units.push(unit);
            rest = &rest[4..];
            continue;
        }
        let layer = layers.get(path.split('.').next().unwrap_or_default()).copied();
        match layer {
            Some(LayerConfig::SeparableConv1D(_) | LayerConfig::SeparableConv2D(_)) => {
                units.extend(separable(path, params));
            }
            _ => units.push(unit(path, params, layer, &orders)),
        }
        rest = after;
    }
    Ok(units)
}

/// The layer inside of one that applies it to every step.
fn innermost(mut layer: &LayerConfig) -> &LayerConfig {
    while let LayerConfig::TimeDistributed(outer) = layer {
        layer = &outer.layer.layer;
    }
    layer
}

fn unit(
    path: &str,
    params: &BTreeMap<String, ParamSpec>,
    layer: Option<&LayerConfig>,
    orders: &Orders,
) -> Unit {
    let made = match (params.get("kernel"), params.get("recurrent_kernel")) {
        (Some(kernel), Some(recurrent)) => self::recurrent(kernel, recurrent, params.get("bias")),
        (Some(kernel), None)
            if matches!(layer, Some(LayerConfig::DepthwiseConv1D(_) | LayerConfig::DepthwiseConv2D(_))) =>
        {
            depthwise(kernel, params.get("bias"))
        }
        (Some(kernel), None) => self::kernel(kernel, params.get("bias")),
        (None, None) if matches!(layer, Some(LayerConfig::PReLU(_))) => params.get("alpha").and_then(slope),
        _ => None,
    };
    let mut made = made.filter(|made| made.len() == params.len()).unwrap_or_else(|| same(params));
    let (input, output) = (orders.inputs.get(path), orders.outputs.get(path));
    for param in &mut made {
        let fits = |order: &&Order, axis: Option<&usize>| Some(&order.len()) == axis;
        match param.shape.dims() {
            [rows, columns] if param.how == How::Turned => {
                param.rows = input.filter(|o| fits(o, Some(rows))).cloned();
                param.columns = output.filter(|o| fits(o, Some(columns))).cloned();
            }
            [size] => param.columns = output.filter(|o| fits(o, Some(size))).cloned(),
            _ => {}
        }
    }
    Unit { path: path.to_string(), params: made }
}

/// What norms, embeddings and others have: the same numbers under other names.
fn same(params: &BTreeMap<String, ParamSpec>) -> Vec<Param> {
    let param = |(own, spec): (&String, &ParamSpec)| {
        let role = match own.as_str() {
            "gamma" | "scale" | "embeddings" => "weight",
            "beta" => "bias",
            "moving_mean" => "running_mean",
            "moving_variance" => "running_var",
            other => other,
        };
        Param::new(spec, vec![(role, spec.shape.to_vec())], How::Same)
    };
    params.iter().map(param).collect()
}

/// Dense layers and convolutions: `[window..., in, out]` is `[out, in, window...]` in PyTorch.
fn kernel(kernel: &ParamSpec, bias: Option<&ParamSpec>) -> Option<Vec<Param>> {
    let [window @ .., inputs, outputs] = kernel.shape.dims() else { return None };
    let theirs = [&[*outputs, *inputs], window].concat();
    Some(with_bias(Param::new(kernel, vec![("weight", theirs)], How::Turned), bias))
}

/// Depthwise convolutions: `[window..., channels, multiplier]` is `[channels * multiplier, 1, window...]`.
fn depthwise(kernel: &ParamSpec, bias: Option<&ParamSpec>) -> Option<Vec<Param>> {
    let [window @ .., channels, multiplier] = kernel.shape.dims() else { return None };
    let theirs = [&[channels * multiplier, 1], window].concat();
    Some(with_bias(Param::new(kernel, vec![("weight", theirs)], How::Turned), bias))
}

/// Separable convolutions are two modules: a depthwise convolution without a bias, and one of windows of one place.
fn separable(path: &str, params: &BTreeMap<String, ParamSpec>) -> Vec<Unit> {
    let part = |name: &str, made: Option<Vec<Param>>| {
        made.map(|params| Unit { path: format!("{path}.{name}"), params })
    };
    let first = params.get("depthwise_kernel").and_then(|kernel| depthwise(kernel, None));
    let second = params.get("pointwise_kernel").and_then(|kernel| self::kernel(kernel, params.get("bias")));
    [part("depthwise", first), part("pointwise", second)].into_iter().flatten().collect()
}

/// Slopes of a PReLU, one for each channel or one for all; those of single places PyTorch has not.
fn slope(alpha: &ParamSpec) -> Option<Vec<Param>> {
    let (channels, places) = alpha.shape.dims().split_last()?;
    let theirs = vec![("weight", vec![*channels])];
    places.iter().all(|&size| size == 1).then(|| vec![Param::new(alpha, theirs, How::Same)])
}

fn with_bias(kernel: Param, bias: Option<&ParamSpec>) -> Vec<Param> {
    let bias = bias.map(|bias| Param::new(bias, vec![("bias", bias.shape.to_vec())], How::Same));
    [kernel].into_iter().chain(bias).collect()
}

/// PyTorch's places of GRU's gates z, r, h; its own order is r, z, n. LSTM's is the same in both.
const GRU: &[usize] = &[1, 0, 2];
const LSTM: &[usize] = &[0, 1, 2, 3];
const SIMPLE: &[usize] = &[0];

/// Recurrent layers: PyTorch has two biases, which LSTM and SimpleRNN add up.
fn recurrent(kernel: &ParamSpec, recurrent: &ParamSpec, bias: Option<&ParamSpec>) -> Option<Vec<Param>> {
    let (&[inputs, columns], &[units, _]) = (kernel.shape.dims(), recurrent.shape.dims()) else {
        return None;
    };
    let gates = [GRU, LSTM, SIMPLE].into_iter().find(|gates| gates.len() * units == columns)?;
    let mut params = vec![
        Param::new(kernel, vec![("weight_ih", vec![columns, inputs])], How::Gates(gates)),
        Param::new(recurrent, vec![("weight_hh", vec![columns, units])], How::Gates(gates)),
    ];
    params.extend(bias.map(|bias| {
        let how = if gates == GRU { How::Both(gates) } else { How::Sum };
        Param::new(bias, vec![("bias_ih", vec![columns]), ("bias_hh", vec![columns])], how)
    }));
    Some(params)
}

/// PyTorch's module of an attention, in the place of the four dense layers that come next.
fn attention(groups: &[(String, BTreeMap<String, ParamSpec>)]) -> Option<Unit> {
    let path = groups.first()?.0.strip_suffix(".query")?;
    let mut params = Vec::new();
    let kernel = |i: usize, name: &str| {
        let (own, params) = groups.get(i)?;
        let kernel = params.get("kernel").filter(|_| own.strip_prefix(path) == Some(name))?;
        let &[inputs, outputs] = kernel.shape.dims() else { return None };
        Some((kernel, params.get("bias"), inputs, outputs))
    };
    let parts = [kernel(0, ".query")?, kernel(1, ".key")?, kernel(2, ".value")?];
    let (output, output_bias, _, size) = kernel(3, ".output")?;
    // PyTorch's heads together are as wide as the queries.
    if output.shape.dims() != [size, size] || parts.iter().any(|p| p.3 != size) || parts[0].2 != size {
        return None;
    }
    let alike = parts.iter().all(|p| p.2 == size);
    let roles = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];
    for (i, (&(kernel, bias, inputs, _), role)) in parts.iter().zip(roles).enumerate() {
        params.push(match alike {
            true => Param::new(kernel, vec![("in_proj_weight", vec![3 * size, size])], How::Part(i)),
            false => Param::new(kernel, vec![(role, vec![size, inputs])], How::Turned),
        });
        params
            .extend(bias.map(|bias| Param::new(bias, vec![("in_proj_bias", vec![3 * size])], How::Part(i))));
    }
    params.push(Param::new(output, vec![("out_proj.weight", vec![size, size])], How::Turned));
    params.extend(output_bias.map(|bias| Param::new(bias, vec![("out_proj.bias", vec![size])], How::Same)));
    Some(Unit { path: path.to_string(), params })
}
