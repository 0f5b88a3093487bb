//! The layers: one file each, with Keras's names, arguments and defaults.
//!
//! Images are `[n, height, width, channels]`, sequences `[n, length, features]`. A size that may differ by direction is one number or `[height, width]`.

use std::fmt::Debug;

use brisk_graph::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{Extra, Tagged, read};
use crate::{Context, Result};

/// Part of a model: from values to a value, with parameters from the [`Context`].
///
/// Whatever implements it can be applied with [`Context::layer`].
pub trait Layer: Debug {
    /// Records what it computes. Checks its arguments and inputs first: errors say what was expected, what was found and
    /// what to do.
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>>;
}

/// Methods that set arguments: `Conv2D::new(32, 3).strides(2)`.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name.into();
            self
        }
    )*};
}
pub(crate) use setters;

/// Declares the layers: their modules, the enum of all of them, and what follows from it.
macro_rules! layers {
    ($($module:ident: $name:ident, $kind:literal, $prefix:literal;)*) => {
        $(mod $module;)*
        $(pub use $module::$name;)*

        /// Any layer, as configuration says it: `Flatten`, or `Dense: {units: 10}`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(remote = "Self")]
        pub enum LayerConfig {
            $(
                #[doc = concat!("See [`", stringify!($name), "`].")]
                #[serde(rename = $kind)]
                $name($name),
            )*
        }

        impl LayerConfig {
            /// Every layer's class name.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];

            /// The class name: `Conv2D`.
            pub fn kind(&self) -> &'static str {
                match self { $(LayerConfig::$name(_) => $kind,)* }
            }

            /// What its automatic names begin with, as in Keras: `conv2d`.
            pub fn prefix(&self) -> &'static str {
                match self { $(LayerConfig::$name(_) => $prefix,)* }
            }

            /// The layer itself.
            pub fn as_layer(&self) -> &dyn Layer {
                match self { $(LayerConfig::$name(layer) => layer,)* }
            }

            /// Class name and schema of the arguments of every layer.
            fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
                vec![$(($kind, $name::json_schema(generator)),)*]
            }
        }

        $(
            impl From<$name> for LayerConfig {
                fn from(layer: $name) -> LayerConfig {
                    LayerConfig::$name(layer)
                }
            }
            impl From<$name> for LayerSpec {
                fn from(layer: $name) -> LayerSpec {
                    LayerSpec::new(layer)
                }
            }
        )*
    };
}

layers! {
    conv2d: Conv2D, "Conv2D", "conv2d";
    depthwise_conv2d: DepthwiseConv2D, "DepthwiseConv2D", "depthwise_conv2d";
    conv2d_transpose: Conv2DTranspose, "Conv2DTranspose", "conv2d_transpose";
    max_pooling2d: MaxPooling2D, "MaxPooling2D", "max_pooling2d";
    average_pooling2d: AveragePooling2D, "AveragePooling2D", "average_pooling2d";
    global_average_pooling2d: GlobalAveragePooling2D, "GlobalAveragePooling2D", "global_average_pooling2d";
    global_max_pooling2d: GlobalMaxPooling2D, "GlobalMaxPooling2D", "global_max_pooling2d";
    flatten: Flatten, "Flatten", "flatten";
    reshape: Reshape, "Reshape", "reshape";
    dense: Dense, "Dense", "dense";
    dropout: Dropout, "Dropout", "dropout";
    batch_normalization: BatchNormalization, "BatchNormalization", "batch_normalization";
    layer_normalization: LayerNormalization, "LayerNormalization", "layer_normalization";
    zero_padding2d: ZeroPadding2D, "ZeroPadding2D", "zero_padding2d";
    up_sampling2d: UpSampling2D, "UpSampling2D", "up_sampling2d";
    add: Add, "Add", "add";
    concatenate: Concatenate, "Concatenate", "concatenate";
    embedding: Embedding, "Embedding", "embedding";
    masking: Masking, "Masking", "masking";
    simple_rnn: SimpleRNN, "SimpleRNN", "simple_rnn";
    lstm: LSTM, "LSTM", "lstm";
    gru: GRU, "GRU", "gru";
    bidirectional: Bidirectional, "Bidirectional", "bidirectional";
    time_distributed: TimeDistributed, "TimeDistributed", "time_distributed";
    conv1d: Conv1D, "Conv1D", "conv1d";
    max_pooling1d: MaxPooling1D, "MaxPooling1D", "max_pooling1d";
    average_pooling1d: AveragePooling1D, "AveragePooling1D", "average_pooling1d";
    global_average_pooling1d: GlobalAveragePooling1D, "GlobalAveragePooling1D", "global_average_pooling1d";
    global_max_pooling1d: GlobalMaxPooling1D, "GlobalMaxPooling1D", "global_max_pooling1d";
    rms_normalization: RMSNormalization, "RMSNormalization", "rms_normalization";
    multi_head_attention: MultiHeadAttention, "MultiHeadAttention", "multi_head_attention";
    transformer_encoder: TransformerEncoder, "TransformerEncoder", "transformer_encoder";
    transformer_decoder: TransformerDecoder, "TransformerDecoder", "transformer_decoder";
    position_embedding: PositionEmbedding, "PositionEmbedding", "position_embedding";
    sine_position_encoding: SinePositionEncoding, "SinePositionEncoding", "sine_position_encoding";
    rotary_embedding: RotaryEmbedding, "RotaryEmbedding", "rotary_embedding";
    attention_pooling: AttentionPooling, "AttentionPooling", "attention_pooling";
    masked_language_head: MaskedLanguageHead, "MaskedLanguageHead", "mlm";
    sequence_pooling: SequencePooling, "SequencePooling", "pooling";
    text_encoder: TextEncoder, "TextEncoder", "encoder";
    activation: ActivationLayer, "Activation", "activation";
    onnx: Onnx, "Onnx", "onnx";
    onnx_output: OnnxOutput, "OnnxOutput", "onnx_output";
    multiply: Multiply, "Multiply", "multiply";
    average: Average, "Average", "average";
    maximum: Maximum, "Maximum", "maximum";
    minimum: Minimum, "Minimum", "minimum";
    subtract: Subtract, "Subtract", "subtract";
    dot: Dot, "Dot", "dot";
    separable_conv2d: SeparableConv2D, "SeparableConv2D", "separable_conv2d";
    separable_conv1d: SeparableConv1D, "SeparableConv1D", "separable_conv1d";
    depthwise_conv1d: DepthwiseConv1D, "DepthwiseConv1D", "depthwise_conv1d";
    conv1d_transpose: Conv1DTranspose, "Conv1DTranspose", "conv1d_transpose";
    zero_padding1d: ZeroPadding1D, "ZeroPadding1D", "zero_padding1d";
    cropping1d: Cropping1D, "Cropping1D", "cropping1d";
    cropping2d: Cropping2D, "Cropping2D", "cropping2d";
    up_sampling1d: UpSampling1D, "UpSampling1D", "up_sampling1d";
    repeat_vector: RepeatVector, "RepeatVector", "repeat_vector";
    permute: Permute, "Permute", "permute";
    relu: ReLU, "ReLU", "re_lu";
    prelu: PReLU, "PReLU", "p_re_lu";
    spatial_dropout1d: SpatialDropout1D, "SpatialDropout1D", "spatial_dropout1d";
    spatial_dropout2d: SpatialDropout2D, "SpatialDropout2D", "spatial_dropout2d";
    gaussian_noise: GaussianNoise, "GaussianNoise", "gaussian_noise";
    gaussian_dropout: GaussianDropout, "GaussianDropout", "gaussian_dropout";
    rescaling: Rescaling, "Rescaling", "rescaling";
    normalization: Normalization, "Normalization", "normalization";
    group_normalization: GroupNormalization, "GroupNormalization", "group_normalization";
    unit_normalization: UnitNormalization, "UnitNormalization", "unit_normalization";
}

mod recurrent;
mod transformer;

pub use bidirectional::MergeMode;
pub use conv1d::Padding1D;
pub use sequence_pooling::Pooling;
pub use up_sampling2d::Interpolation;
pub use zero_padding1d::Ends;
pub use zero_padding2d::Edges;

impl Tagged for LayerConfig {
    const WHAT: &'static str = "layer";
    fn inner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        LayerConfig::deserialize(deserializer)
    }
}

/// A layer with its place in a model: a name, and what goes into it.
///
/// In YAML both stand among the layer's arguments:
///
/// ```
/// use brisk_nn::{LayerConfig, LayerSpec};
/// let layers: Vec<LayerSpec> = serde_saphyr::from_str("
/// - Conv2D: {name: a, filters: 8, kernel_size: 3}
/// - Conv2D: {name: b, filters: 8, kernel_size: 3, inputs: [input]}
/// - Flatten
/// ")?;
/// assert_eq!(layers[1].name.as_deref(), Some("b"));
/// assert_eq!(layers[1].inputs, ["input"]);
/// assert_eq!(layers[2].layer.kind(), "Flatten");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// Its name; without one it gets Keras's: `conv2d`, `conv2d_1`, ...
    pub name: Option<String>,
    /// The names of the layers whose results go in, `input` for what comes into the model. Empty: the layer before.
    pub inputs: Vec<String>,
    /// The name of an earlier layer whose parameters it uses, of the same kind and arguments; without it it has its own.
    pub shares: Option<String>,
    /// The layer.
    pub layer: LayerConfig,
}

impl LayerSpec {
    /// A layer without a name, after the one before.
    ///
    /// ```
    /// use brisk_nn::{Dense, LayerSpec};
    /// let spec = LayerSpec::new(Dense::new(10)).name("head").inputs(["trunk"]);
    /// assert_eq!(serde_json::to_string(&spec.name)?, "\"head\"");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn new(layer: impl Into<LayerConfig>) -> LayerSpec {
        LayerSpec { name: None, inputs: Vec::new(), shares: None, layer: layer.into() }
    }

    /// With a name.
    pub fn name(mut self, name: impl Into<String>) -> LayerSpec {
        self.name = Some(name.into());
        self
    }

    /// With other inputs than the layer before.
    pub fn inputs<S: Into<String>>(mut self, inputs: impl IntoIterator<Item = S>) -> LayerSpec {
        self.inputs = inputs.into_iter().map(Into::into).collect();
        self
    }

    /// With the parameters of an earlier layer.
    ///
    /// ```
    /// use brisk_nn::{Dense, LayerSpec, Sequential};
    /// let model = Sequential::new([4])
    ///     .add(LayerSpec::new(Dense::new(4)).name("once"))
    ///     .add(LayerSpec::new(Dense::new(4)).name("again").shares("once"))
    ///     .build()?;
    /// assert_eq!(model.param_specs()?.len(), 2);
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn shares(mut self, layer: impl Into<String>) -> LayerSpec {
        self.shares = Some(layer.into());
        self
    }
}

impl From<LayerConfig> for LayerSpec {
    fn from(layer: LayerConfig) -> LayerSpec {
        LayerSpec::new(layer)
    }
}

impl<'de> Deserialize<'de> for LayerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LayerSpec, D::Error> {
        let mut extra = Extra::default();
        let layer = read(deserializer, Some(&mut extra))?;
        Ok(LayerSpec { name: extra.name, inputs: extra.inputs, shares: extra.shares, layer })
    }
}

/// `Flatten` if it has no arguments, `{Dense: {name, inputs, shares, units, ...}}` otherwise.
impl Serialize for LayerSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let arguments =
            LayerConfig::serialize(&self.layer, serde_json::value::Serializer).map_err(S::Error::custom)?;
        let mut map = serde_json::Map::new();
        if let Some(name) = &self.name {
            map.insert("name".into(), name.as_str().into());
        }
        if !self.inputs.is_empty() {
            map.insert("inputs".into(), self.inputs.clone().into());
        }
        if let Some(shares) = &self.shares {
            map.insert("shares".into(), shares.as_str().into());
        }
        if let Some(own) = arguments.get(self.layer.kind()).and_then(|a| a.as_object()) {
            map.extend(own.clone());
        }
        match map.is_empty() {
            true => serializer.serialize_str(self.layer.kind()),
            false => serializer.collect_map([(self.layer.kind(), map)]),
        }
    }
}

impl JsonSchema for LayerSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Layer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut variants = Vec::new();
        for (kind, mut schema) in LayerConfig::schemas(generator) {
            let object = schema.ensure_object();
            let properties = object.entry("properties").or_insert_with(|| serde_json::json!({}));
            if let Some(properties) = properties.as_object_mut() {
                let name = serde_json::json!({"type": "string", "description": "The layer's name, unique in its model."});
                let inputs = serde_json::json!({"type": "array", "items": {"type": "string"},
                    "description": "Names of the layers whose results go in; without it, the layer before."});
                properties.insert("name".into(), name);
                let shares = serde_json::json!({"type": "string",
                    "description": "The name of an earlier layer, of the same kind and arguments, whose parameters it uses."});
                properties.insert("inputs".into(), inputs);
                properties.insert("shares".into(), shares);
            }
            let properties = serde_json::json!({kind: schema});
            variants.push(serde_json::json!({"type": "object", "properties": properties, "required": [kind],
                "additionalProperties": false}));
        }
        let mut schema = json_schema!({"description": "A layer: its name, or its name with arguments.", "oneOf": variants});
        crate::schema::allow_bare_names(&mut schema);
        schema
    }
}

/// An error unless a size is in the range that any sane layer has.
pub(crate) fn check_sizes(cx: &Context<'_>, sizes: &[(&str, usize)]) -> Result<()> {
    const LARGEST: usize = 1 << 31;
    match sizes.iter().find(|s| s.1 == 0 || s.1 > LARGEST) {
        Some((what, found)) => Err(cx.error(format!("expected {what} of 1 to {LARGEST}, found {found}"))),
        None => Ok(()),
    }
}

/// The sizes of maps `[n, h, w, c]`.
pub(crate) fn maps(cx: &Context<'_>, x: Value<'_>) -> Result<[usize; 4]> {
    match x.shape()[..] {
        [n, h, w, c] => Ok([n, h, w, c]),
        [_, n] => Err(cx.error(format!(
            "expected maps [height, width, channels], found a vector [{n}]; put it before Flatten, or put Reshape before it"
        ))),
        _ => Err(cx.error(format!("expected maps [height, width, channels], found {}; put Reshape before it", sample(x)))),
    }
}

/// The shape of one sample.
pub(crate) fn sample(x: Value<'_>) -> brisk_graph::Shape {
    x.shape().get(1..).unwrap_or(&[]).into()
}

/// An error unless a window fits into maps.
pub(crate) fn check_fit(
    cx: &Context<'_>,
    what: &str,
    [h, w]: [usize; 2],
    window: [usize; 2],
    padding: [[usize; 2]; 2],
) -> Result<()> {
    let room =
        [h.saturating_add(padding[0][0] + padding[0][1]), w.saturating_add(padding[1][0] + padding[1][1])];
    match window[0] <= room[0] && window[1] <= room[1] {
        true => Ok(()),
        false => Err(cx.error(format!(
            "a {what} of {}x{} does not fit in maps of {h}x{w}; use padding: same, a smaller {what}, or pool less before it",
            window[0], window[1]
        ))),
    }
}
