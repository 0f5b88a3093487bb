//! Where PyTorch's numbers stand in another order than Brisk's: its maps are `[channels, height, width]` and its sequences of features under
//! convolutions `[channels, length]`, so that what comes out of Flatten, and what goes into Reshape, is in that order.

use std::collections::HashMap;
use std::rc::Rc;

use brisk_nn::{LayerConfig, Model, ModelLayer, Source};

/// For each place of a vector of Brisk's, its place in PyTorch's.
pub(super) type Order = Rc<[usize]>;

/// The orders of the vectors that go into layers and come out of them, by the layers' names, where they differ.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub inputs: HashMap<String, Order>,
    pub outputs: HashMap<String, Order>,
}

pub(super) fn orders(model: &Model) -> Orders {
    let layers = model.layers();
    let mut wanted = vec![None; layers.len()];
    for layer in layers.iter().rev() {
        if let (LayerConfig::Reshape(_), Some(maps), [source]) =
            (&layer.layer, sizes(&layer.output).filter(|s| s.len() == 3), &layer.inputs[..])
            && matches!(rank(model, *source), Some(1))
        {
            want(layers, *source, &channels_first(&maps), &mut wanted);
        }
    }
    let mut first = Vec::with_capacity(layers.len());
    let mut found: Vec<Option<Order>> = Vec::with_capacity(layers.len());
    let mut orders = Orders::default();
    for (layer, wanted) in layers.iter().zip(wanted) {
        let input = match layer.inputs[..] {
            [Source::Layer(i)] => found.get(i).cloned().flatten(),
            _ => None,
        };
        first.push(is_channels_first(layer, &first));
        let output = match &layer.layer {
            LayerConfig::Flatten(_) | LayerConfig::Reshape(_) if layer.output.len() == 1 => {
                flattened(model, layer, &first).or(input.clone())
            }
            LayerConfig::Concatenate(_) if layer.output.len() == 1 => joined(model, layer, &found),
            LayerConfig::Add(_) => layer.inputs.iter().find_map(|&s| match s {
                Source::Layer(i) => found.get(i).cloned().flatten(),
                _ => None,
            }),
            other if keeps_places(other) => input.clone(),
            _ => None,
        };
        let output = wanted.or(output);
        found.push(output.clone());
        orders.inputs.extend(input.map(|order| (layer.name.clone(), order)));
        orders.outputs.extend(output.map(|order| (layer.name.clone(), order)));
    }
    orders
}

/// Layers that give every number its own place again.
fn keeps_places(layer: &LayerConfig) -> bool {
    matches!(
        layer,
        LayerConfig::ActivationLayer(_)
            | LayerConfig::Dropout(_)
            | LayerConfig::BatchNormalization(_)
            | LayerConfig::LayerNormalization(_)
            | LayerConfig::RMSNormalization(_)
            | LayerConfig::ReLU(_)
            | LayerConfig::PReLU(_)
            | LayerConfig::SpatialDropout1D(_)
            | LayerConfig::SpatialDropout2D(_)
            | LayerConfig::GaussianNoise(_)
            | LayerConfig::GaussianDropout(_)
    )
}

/// Asks for an order, from where it is needed back to the layer that can make it.
fn want(layers: &[ModelLayer], mut source: Source, order: &Order, wanted: &mut [Option<Order>]) {
    while let Source::Layer(i) = source
        && let (Some(layer), Some(place)) = (layers.get(i), wanted.get_mut(i))
        && (keeps_places(&layer.layer) || matches!(layer.layer, LayerConfig::Dense(_)))
    {
        *place = Some(order.clone());
        match layer.inputs[..] {
            [next] if keeps_places(&layer.layer) => source = next,
            _ => return,
        }
    }
}

/// Maps always are; sequences are under convolutions and poolings.
fn is_channels_first(layer: &ModelLayer, before: &[bool]) -> bool {
    match &layer.layer {
        LayerConfig::Conv1D(_)
        | LayerConfig::DepthwiseConv1D(_)
        | LayerConfig::SeparableConv1D(_)
        | LayerConfig::Conv1DTranspose(_)
        | LayerConfig::MaxPooling1D(_)
        | LayerConfig::AveragePooling1D(_)
        | LayerConfig::UpSampling1D(_)
        | LayerConfig::ZeroPadding1D(_)
        | LayerConfig::Cropping1D(_) => true,
        other
            if keeps_places(other) || matches!(other, LayerConfig::Add(_) | LayerConfig::Concatenate(_)) =>
        {
            layer.inputs.iter().any(|s| matches!(s, Source::Layer(i) if before.get(*i) == Some(&true)))
        }
        _ => layer.output.len() == 3,
    }
}

/// The order of what Flatten makes of maps, or of sequences under convolutions.
fn flattened(model: &Model, layer: &ModelLayer, first: &[bool]) -> Option<Order> {
    let &[source] = &layer.inputs[..] else { return None };
    let (sizes, first) = match source {
        Source::Layer(i) => (sizes(&model.layers().get(i)?.output)?, *first.get(i)?),
        Source::Input(i) => (sizes(&model.inputs().get(i)?.shape)?, model.inputs().get(i)?.shape.len() == 3),
        Source::State(_) => return None,
    };
    let differs = sizes.iter().filter(|&&size| size > 1).count() > 1 && sizes.last().is_some_and(|&c| c > 1);
    (first && differs).then(|| channels_first(&sizes))
}

/// The order of vectors that stand side by side.
fn joined(model: &Model, layer: &ModelLayer, found: &[Option<Order>]) -> Option<Order> {
    let mut order = Vec::new();
    let mut differs = false;
    for source in &layer.inputs {
        let (own, size) = match *source {
            Source::Layer(i) => (found.get(i).cloned().flatten(), *model.layers().get(i)?.output.last()?),
            Source::Input(i) => (None, *model.inputs().get(i)?.shape.last()?),
            Source::State(_) => return None,
        };
        let start = order.len();
        differs |= own.is_some();
        match own {
            Some(own) => order.extend(own.iter().map(|place| start + place)),
            None => order.extend(start..start + size?),
        }
    }
    differs.then(|| order.into())
}

/// For each place of `[..., channels]` its place in `[channels, ...]`.
fn channels_first(sizes: &[usize]) -> Order {
    let (channels, places) = match sizes.split_last() {
        Some((&channels, rest)) => (channels, rest.iter().product::<usize>()),
        None => (1, 1),
    };
    (0..places * channels).map(|i| i % channels * places + i / channels).collect()
}

fn rank(model: &Model, source: Source) -> Option<usize> {
    match source {
        Source::Layer(i) => model.layers().get(i).map(|l| l.output.len()),
        Source::Input(i) => model.inputs().get(i).map(|i| i.shape.len()),
        Source::State(_) => None,
    }
}

/// The sizes of a row, if all are known.
fn sizes(row: &[Option<usize>]) -> Option<Vec<usize>> {
    row.iter().copied().collect()
}
