//! PyTorch's names of element types.

use crate::elements::Element;

/// The classes of storages that have elements of a type, after `torch.`.
const STORAGES: [(&str, Element); 10] = [
    ("DoubleStorage", Element::F64),
    ("FloatStorage", Element::F32),
    ("HalfStorage", Element::F16),
    ("BFloat16Storage", Element::Bf16),
    ("LongStorage", Element::I64),
    ("IntStorage", Element::I32),
    ("ShortStorage", Element::I16),
    ("CharStorage", Element::I8),
    ("ByteStorage", Element::U8),
    ("BoolStorage", Element::Bool),
];

/// PyTorch's other names for the same types.
const SYNONYMS: [(&str, &str); 6] = [
    ("double", "float64"),
    ("float", "float32"),
    ("half", "float16"),
    ("long", "int64"),
    ("int", "int32"),
    ("short", "int16"),
];

/// The type of `torch.NAME`.
pub(super) fn of_name(name: &str) -> Option<Element> {
    Element::named(SYNONYMS.iter().find(|s| s.0 == name).map_or(name, |s| s.1))
}

/// The type of the elements of a `torch.NAMEStorage`.
pub(super) fn of_storage(class: &str) -> Option<Element> {
    STORAGES.iter().find(|s| s.0 == class).map(|s| s.1)
}

/// The type that NumPy writes as `f4`, with the byte order left out.
pub(super) fn of_numpy(code: &str) -> Option<Element> {
    let code = code.trim_start_matches(['<', '>', '|', '=']);
    Some(match code {
        "f8" => Element::F64,
        "f4" => Element::F32,
        "f2" => Element::F16,
        "i8" => Element::I64,
        "i4" => Element::I32,
        "i2" => Element::I16,
        "i1" => Element::I8,
        "u8" => Element::U64,
        "u4" => Element::U32,
        "u2" => Element::U16,
        "u1" => Element::U8,
        "b1" => Element::Bool,
        _ => return None,
    })
}
