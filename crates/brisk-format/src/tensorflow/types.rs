//! TensorFlow's element types and shapes.

use std::fmt;

use brisk_graph::DType;

use super::proto::TensorShapeProto;
use crate::elements::Element;

/// An element type of TensorFlow, by its number in `tensorflow/core/framework/types.proto`.
///
/// ```
/// use brisk_format::TfType;
/// assert_eq!(TfType(14).to_string(), "bfloat16");
/// assert_eq!(TfType(14).dtype(), Some(brisk_graph::DType::F32));
/// assert_eq!(TfType(20).dtype(), None); // resource: not numbers
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TfType(pub i32);

impl TfType {
    /// Texts.
    pub const STRING: TfType = TfType(7);

    /// What its elements become, if they are numbers that Brisk has.
    pub fn dtype(self) -> Option<DType> {
        self.element().map(Element::dtype)
    }

    /// Quantized numbers are the whole numbers that they are stored as.
    pub(crate) fn element(self) -> Option<Element> {
        Some(match self.0 {
            1 => Element::F32,
            2 => Element::F64,
            3 | 13 => Element::I32,
            4 | 12 => Element::U8,
            5 | 15 => Element::I16,
            6 | 11 => Element::I8,
            9 => Element::I64,
            10 => Element::Bool,
            14 => Element::Bf16,
            16 | 17 => Element::U16,
            19 => Element::F16,
            22 => Element::U32,
            23 => Element::U64,
            _ => return None,
        })
    }
}

impl fmt::Display for TfType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            7 => "string",
            8 => "complex64",
            11 => "qint8",
            12 => "quint8",
            13 => "qint32",
            15 => "qint16",
            16 => "quint16",
            18 => "complex128",
            20 => "resource",
            21 => "variant",
            24 => "float8_e5m2",
            25 => "float8_e4m3fn",
            29 => "int4",
            30 => "uint4",
            other => match self.element() {
                Some(element) => element.name(),
                None => return write!(f, "type {other}"),
            },
        };
        f.write_str(name)
    }
}

/// A shape of TensorFlow: the sizes of axes, `None` for one that is not known; `None` if not even the number of axes is.
pub type TfShape = Option<Vec<Option<usize>>>;

/// What a shape says; negative sizes are not known.
pub(super) fn partial_shape(shape: &TensorShapeProto) -> TfShape {
    (!shape.unknown_rank).then(|| shape.dim.iter().map(|d| d.size.try_into().ok()).collect())
}

/// The sizes of a shape, if all of them are known.
pub(super) fn whole_shape(shape: Option<&TensorShapeProto>) -> Option<Vec<usize>> {
    match shape {
        Some(shape) => partial_shape(shape)?.into_iter().collect(),
        None => Some(Vec::new()),
    }
}
