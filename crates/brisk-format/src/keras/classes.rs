//! The layers that Keras and Brisk share: what their classes, arguments and weights are called.

use Form::{Activation, Ends, First, Initializer, Plain};

/// How an argument is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The same in both.
    Plain,
    /// A number; Keras may put it into a list.
    First,
    /// A number, or one for each end.
    Ends,
    /// The name of an activation.
    Activation,
    /// An initializer.
    Initializer,
}

/// A weight of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    /// Brisk's name, under the layer's: `kernel`.
    pub name: &'static str,
    /// The part of Keras's layer that it belongs to; empty for the layer itself.
    pub part: &'static str,
    /// Whether training changes it.
    pub trained: bool,
    /// The argument that is false if it is not there.
    pub needs: Option<&'static str>,
    /// Whether Keras has more axes, with the same numbers in the same order.
    pub split: bool,
}

const fn weight(name: &'static str) -> Weight {
    Weight { name, part: "", trained: true, needs: None, split: false }
}

impl Weight {
    const fn of(self, part: &'static str) -> Weight {
        Weight { part, ..self }
    }
    const fn needs(self, argument: &'static str) -> Weight {
        Weight { needs: Some(argument), ..self }
    }
    const fn kept(self) -> Weight {
        Weight { trained: false, ..self }
    }
    const fn split(self) -> Weight {
        Weight { split: true, ..self }
    }
}

/// A layer that both have.
#[derive(Debug)]
pub(super) struct Class {
    /// The name of Keras's class.
    pub class: &'static str,
    /// Brisk's kind.
    pub kind: &'static str,
    /// The arguments that both call the same.
    pub arguments: &'static [(&'static str, Form)],
    /// Keras's arguments that Brisk does not have, and their one value that is understood, as JSON.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Its weights in Keras's order.
    pub weights: &'static [Weight],
}

const NONE: &[Weight] = &[];
const BIAS: Weight = weight("bias").needs("use_bias");
const KERNEL: &[Weight] = &[weight("kernel"), BIAS];
const SEPARABLE: &[Weight] = &[weight("depthwise_kernel"), weight("pointwise_kernel"), BIAS];
const CELL: &[Weight] =
    &[weight("kernel").of("cell"), weight("recurrent_kernel").of("cell"), BIAS.of("cell")];
const GAMMA: Weight = weight("gamma").needs("scale");
const BETA: Weight = weight("beta").needs("center");
const ATTENTION: &[Weight] = &[
    weight("query.kernel").of("query_dense").split(),
    weight("query.bias").of("query_dense").split().needs("use_bias"),
    weight("key.kernel").of("key_dense").split(),
    weight("key.bias").of("key_dense").split().needs("use_bias"),
    weight("value.kernel").of("value_dense").split(),
    weight("value.bias").of("value_dense").split().needs("use_bias"),
    weight("output.kernel").of("output_dense").split(),
    weight("output.bias").of("output_dense").split().needs("use_bias"),
];

const LAST: (&str, &str) = ("data_format", "\"channels_last\"");
const ONE: (&str, &str) = ("groups", "1");

const fn class(name: &'static str) -> Class {
    Class { class: name, kind: name, arguments: &[], fixed: &[], weights: NONE }
}

const UNITS: (&str, Form) = ("units", Plain);
const USE_BIAS: (&str, Form) = ("use_bias", Plain);
const KERNEL_INIT: (&str, Form) = ("kernel_initializer", Initializer);
const RECURRENT_INIT: (&str, Form) = ("recurrent_initializer", Initializer);
const BIAS_INIT: (&str, Form) = ("bias_initializer", Initializer);
const SEQUENCES: (&str, Form) = ("return_sequences", Plain);
const STATE: (&str, Form) = ("return_state", Plain);
const BACKWARDS: (&str, Form) = ("go_backwards", Plain);
const FILTERS: (&str, Form) = ("filters", Plain);
const SIZE: (&str, Form) = ("kernel_size", Plain);
const STRIDES: (&str, Form) = ("strides", Plain);
const PADDING: (&str, Form) = ("padding", Plain);
const DILATION: (&str, Form) = ("dilation_rate", Plain);
const SIZE1: (&str, Form) = ("kernel_size", First);
const STRIDES1: (&str, Form) = ("strides", First);
const DILATION1: (&str, Form) = ("dilation_rate", First);
const POOL: (&str, Form) = ("pool_size", Plain);
const POOL1: (&str, Form) = ("pool_size", First);
const GROUPS: (&str, Form) = ("groups", Plain);
const ACTIVATION: (&str, Form) = ("activation", Activation);
const MULTIPLIER: (&str, Form) = ("depth_multiplier", Plain);
const DEPTHWISE_INIT: (&str, Form) = ("depthwise_initializer", Initializer);
const POINTWISE_INIT: (&str, Form) = ("pointwise_initializer", Initializer);
const EPSILON: (&str, Form) = ("epsilon", Plain);
const CENTER: (&str, Form) = ("center", Plain);
const SCALE: (&str, Form) = ("scale", Plain);
const GAMMA_INIT: (&str, Form) = ("gamma_initializer", Initializer);
const BETA_INIT: (&str, Form) = ("beta_initializer", Initializer);
const RATE: (&str, Form) = ("rate", Plain);

/// All of them.
pub(super) const CLASSES: &[Class] = &[
    Class {
        arguments: &[UNITS, ACTIVATION, USE_BIAS, KERNEL_INIT, BIAS_INIT],
        weights: KERNEL,
        ..class("Dense")
    },
    Class {
        arguments: &[
            FILTERS,
            SIZE,
            STRIDES,
            PADDING,
            DILATION,
            GROUPS,
            ACTIVATION,
            USE_BIAS,
            KERNEL_INIT,
            BIAS_INIT,
        ],
        fixed: &[LAST],
        weights: KERNEL,
        ..class("Conv2D")
    },
    Class {
        arguments: &[
            FILTERS,
            SIZE1,
            STRIDES1,
            PADDING,
            DILATION1,
            GROUPS,
            ACTIVATION,
            USE_BIAS,
            KERNEL_INIT,
            BIAS_INIT,
        ],
        fixed: &[LAST],
        weights: KERNEL,
        ..class("Conv1D")
    },
    Class {
        arguments: &[FILTERS, SIZE, STRIDES, PADDING, ACTIVATION, USE_BIAS, KERNEL_INIT, BIAS_INIT],
        fixed: &[LAST, ("dilation_rate", "[1,1]"), ONE],
        weights: KERNEL,
        ..class("Conv2DTranspose")
    },
    Class {
        arguments: &[FILTERS, SIZE1, STRIDES1, PADDING, ACTIVATION, USE_BIAS, KERNEL_INIT, BIAS_INIT],
        fixed: &[LAST, ("dilation_rate", "[1]"), ONE],
        weights: KERNEL,
        ..class("Conv1DTranspose")
    },
    Class {
        arguments: &[
            SIZE,
            STRIDES,
            PADDING,
            MULTIPLIER,
            DILATION,
            ACTIVATION,
            USE_BIAS,
            DEPTHWISE_INIT,
            BIAS_INIT,
        ],
        fixed: &[LAST, ONE],
        weights: KERNEL,
        ..class("DepthwiseConv2D")
    },
    Class {
        arguments: &[
            SIZE1,
            STRIDES1,
            PADDING,
            MULTIPLIER,
            DILATION1,
            ACTIVATION,
            USE_BIAS,
            DEPTHWISE_INIT,
            BIAS_INIT,
        ],
        fixed: &[LAST, ONE],
        weights: KERNEL,
        ..class("DepthwiseConv1D")
    },
    Class {
        arguments: &[
            FILTERS,
            SIZE,
            STRIDES,
            PADDING,
            DILATION,
            MULTIPLIER,
            ACTIVATION,
            USE_BIAS,
            DEPTHWISE_INIT,
            POINTWISE_INIT,
            BIAS_INIT,
        ],
        fixed: &[LAST, ONE],
        weights: SEPARABLE,
        ..class("SeparableConv2D")
    },
    Class {
        arguments: &[
            FILTERS,
            SIZE1,
            STRIDES1,
            PADDING,
            DILATION1,
            MULTIPLIER,
            ACTIVATION,
            USE_BIAS,
            DEPTHWISE_INIT,
            POINTWISE_INIT,
            BIAS_INIT,
        ],
        fixed: &[LAST, ONE],
        weights: SEPARABLE,
        ..class("SeparableConv1D")
    },
    Class { arguments: &[POOL, STRIDES, PADDING], fixed: &[LAST], ..class("MaxPooling2D") },
    Class { arguments: &[POOL, STRIDES, PADDING], fixed: &[LAST], ..class("AveragePooling2D") },
    Class { arguments: &[POOL1, STRIDES1, PADDING], fixed: &[LAST], ..class("MaxPooling1D") },
    Class { arguments: &[POOL1, STRIDES1, PADDING], fixed: &[LAST], ..class("AveragePooling1D") },
    Class { fixed: &[LAST], ..class("GlobalAveragePooling2D") },
    Class { fixed: &[LAST], ..class("GlobalMaxPooling2D") },
    Class { fixed: &[LAST], ..class("GlobalAveragePooling1D") },
    Class { fixed: &[LAST], ..class("GlobalMaxPooling1D") },
    Class { fixed: &[LAST], ..class("Flatten") },
    Class { arguments: &[("target_shape", Plain)], ..class("Reshape") },
    Class { arguments: &[("dims", Plain)], ..class("Permute") },
    Class { arguments: &[("n", Plain)], ..class("RepeatVector") },
    Class { arguments: &[("padding", Plain)], fixed: &[LAST], ..class("ZeroPadding2D") },
    Class { arguments: &[("padding", Ends)], fixed: &[LAST], ..class("ZeroPadding1D") },
    Class { arguments: &[("cropping", Plain)], fixed: &[LAST], ..class("Cropping2D") },
    Class { arguments: &[("cropping", Ends)], ..class("Cropping1D") },
    Class {
        arguments: &[("size", Plain), ("interpolation", Plain)],
        fixed: &[LAST],
        ..class("UpSampling2D")
    },
    Class { arguments: &[("size", First)], ..class("UpSampling1D") },
    Class { arguments: &[RATE], ..class("Dropout") },
    Class { arguments: &[RATE], ..class("SpatialDropout1D") },
    Class { arguments: &[RATE], fixed: &[LAST], ..class("SpatialDropout2D") },
    Class { arguments: &[RATE], ..class("GaussianDropout") },
    Class { arguments: &[("stddev", Plain)], ..class("GaussianNoise") },
    class("Add"),
    class("Multiply"),
    class("Average"),
    class("Maximum"),
    class("Minimum"),
    class("Subtract"),
    Class { arguments: &[("axis", Plain)], ..class("Concatenate") },
    Class { arguments: &[("normalize", Plain)], ..class("Dot") },
    Class { arguments: &[ACTIVATION], ..class("Activation") },
    Class {
        arguments: &[("max_value", Plain), ("negative_slope", Plain), ("threshold", Plain)],
        ..class("ReLU")
    },
    Class {
        arguments: &[("alpha_initializer", Initializer), ("shared_axes", Plain)],
        weights: &[weight("alpha")],
        ..class("PReLU")
    },
    Class {
        arguments: &[
            ("input_dim", Plain),
            ("output_dim", Plain),
            ("embeddings_initializer", Initializer),
            ("mask_zero", Plain),
        ],
        weights: &[weight("embeddings")],
        ..class("Embedding")
    },
    Class { arguments: &[("mask_value", Plain)], ..class("Masking") },
    Class {
        arguments: &[UNITS, USE_BIAS, KERNEL_INIT, RECURRENT_INIT, BIAS_INIT, SEQUENCES, STATE, BACKWARDS],
        fixed: &[("activation", "\"tanh\"")],
        weights: CELL,
        ..class("SimpleRNN")
    },
    Class {
        arguments: &[
            UNITS,
            USE_BIAS,
            KERNEL_INIT,
            RECURRENT_INIT,
            BIAS_INIT,
            SEQUENCES,
            STATE,
            BACKWARDS,
            ("unit_forget_bias", Plain),
        ],
        fixed: &[("activation", "\"tanh\""), ("recurrent_activation", "\"sigmoid\"")],
        weights: CELL,
        ..class("LSTM")
    },
    Class {
        arguments: &[
            UNITS,
            USE_BIAS,
            KERNEL_INIT,
            RECURRENT_INIT,
            BIAS_INIT,
            SEQUENCES,
            STATE,
            BACKWARDS,
            ("reset_after", Plain),
        ],
        fixed: &[("activation", "\"tanh\""), ("recurrent_activation", "\"sigmoid\"")],
        weights: CELL,
        ..class("GRU")
    },
    Class {
        arguments: &[("momentum", Plain), EPSILON, CENTER, SCALE, GAMMA_INIT, BETA_INIT],
        weights: &[GAMMA, BETA, weight("moving_mean").kept(), weight("moving_variance").kept()],
        ..class("BatchNormalization")
    },
    Class {
        arguments: &[EPSILON, CENTER, SCALE, GAMMA_INIT, BETA_INIT],
        weights: &[GAMMA, BETA],
        ..class("LayerNormalization")
    },
    Class {
        arguments: &[GROUPS, EPSILON, CENTER, SCALE, GAMMA_INIT, BETA_INIT],
        weights: &[GAMMA, BETA],
        ..class("GroupNormalization")
    },
    Class { arguments: &[EPSILON], weights: &[weight("scale")], ..class("RMSNormalization") },
    class("UnitNormalization"),
    Class { arguments: &[("scale", Plain), ("offset", Plain)], ..class("Rescaling") },
    Class { weights: &[weight("mean").kept(), weight("variance").kept()], ..class("Normalization") },
    Class {
        arguments: &[
            ("num_heads", Plain),
            ("key_dim", Plain),
            ("value_dim", Plain),
            ("dropout", Plain),
            ("use_bias", Plain),
            KERNEL_INIT,
            BIAS_INIT,
        ],
        fixed: &[("attention_axes", "1")],
        weights: ATTENTION,
        ..class("MultiHeadAttention")
    },
];

/// The class of a name.
pub(super) fn find(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|c| c.class == name)
}

/// A weight at its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    /// Brisk's name, under the layer's: `forward_lstm.kernel`.
    pub name: String,
    /// Keras's path, under the layer's: `forward_layer/cell/vars/0`.
    pub path: String,
    /// Whether training changes it.
    pub trained: bool,
    /// Whether Keras has more axes, with the same numbers in the same order.
    pub split: bool,
}

impl Class {
    /// The weights of a layer, of which `has` says whether arguments are true.
    pub fn weights(&self, has: impl Fn(&str) -> bool) -> Vec<Placed> {
        let mut placed: Vec<Placed> = Vec::new();
        let mut last = ("", 0);
        for weight in self.weights.iter().filter(|w| w.needs.is_none_or(&has)) {
            let number = if weight.part == last.0 { last.1 } else { 0 };
            last = (weight.part, number + 1);
            let part = if weight.part.is_empty() { String::new() } else { format!("{}/", weight.part) };
            placed.push(Placed {
                name: weight.name.into(),
                path: format!("{part}vars/{number}"),
                trained: weight.trained,
                split: weight.split,
            });
        }
        placed
    }
}

impl Placed {
    /// As a part of another layer: under Brisk's name, which may be empty, and Keras's.
    pub fn inside(self, name: &str, path: &str) -> Placed {
        let name = if name.is_empty() { self.name } else { format!("{name}.{}", self.name) };
        Placed { name, path: format!("{path}/{}", self.path), ..self }
    }
}
