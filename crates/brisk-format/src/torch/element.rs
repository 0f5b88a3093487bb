//! PyTorch's element types.

use half::f16;

/// What the elements of a storage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

/// Each element type: its name after `torch.`, the class of its storages after `torch.` if it has one, and its size in bytes.
const TABLE: [(Element, &str, &str, usize); 17] = [
    (Element::F64, "float64", "DoubleStorage", 8),
    (Element::F32, "float32", "FloatStorage", 4),
    (Element::F16, "float16", "HalfStorage", 2),
    (Element::BF16, "bfloat16", "BFloat16Storage", 2),
    (Element::F8E4M3FN, "float8_e4m3fn", "", 1),
    (Element::F8E4M3FNUZ, "float8_e4m3fnuz", "", 1),
    (Element::F8E5M2, "float8_e5m2", "", 1),
    (Element::F8E5M2FNUZ, "float8_e5m2fnuz", "", 1),
    (Element::I64, "int64", "LongStorage", 8),
    (Element::I32, "int32", "IntStorage", 4),
    (Element::I16, "int16", "ShortStorage", 2),
    (Element::I8, "int8", "CharStorage", 1),
    (Element::U64, "uint64", "", 8),
    (Element::U32, "uint32", "", 4),
    (Element::U16, "uint16", "", 2),
    (Element::U8, "uint8", "ByteStorage", 1),
    (Element::Bool, "bool", "BoolStorage", 1),
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

impl Element {
    /// The type of `torch.NAME`.
    pub fn of_name(name: &str) -> Option<Element> {
        let name = SYNONYMS.iter().find(|s| s.0 == name).map_or(name, |s| s.1);
        TABLE.iter().find(|t| t.1 == name).map(|t| t.0)
    }

    /// The type of the elements of a `torch.NAMEStorage`.
    pub fn of_storage(class: &str) -> Option<Element> {
        TABLE.iter().find(|t| t.2 == class && !class.is_empty()).map(|t| t.0)
    }

    /// The type that NumPy writes as `f4`, with the byte order left out.
    pub fn of_numpy(code: &str) -> Option<Element> {
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

    /// PyTorch's name for it: `bfloat16`.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|t| t.0 == self).map_or("", |t| t.1)
    }

    /// Bytes an element takes.
    pub fn size(self) -> usize {
        TABLE.iter().find(|t| t.0 == self).map_or(1, |t| t.3)
    }
}

/// A float of 8 bits with 3 for its fraction (Micikevicius and others, arXiv 2209.05433): without infinities, and with NaN where all
/// other bits are ones.
pub(super) fn e4m3fn(bits: u8) -> f32 {
    match bits & 0x7f {
        0x7f => f32::NAN,
        _ => small_float(bits, 3, 7),
    }
}

/// A float of 8 bits with 2 for its fraction: the upper half of an f16.
pub(super) fn e5m2(bits: u8) -> f32 {
    f16::from_bits(u16::from(bits) << 8).to_f32()
}

/// The same two without a negative zero, whose place NaN has, and without infinities; exponents are one lower.
pub(super) fn e4m3fnuz(bits: u8) -> f32 {
    if bits == 0x80 { f32::NAN } else { small_float(bits, 3, 8) }
}

/// See [`e4m3fnuz`].
pub(super) fn e5m2fnuz(bits: u8) -> f32 {
    if bits == 0x80 { f32::NAN } else { small_float(bits, 2, 16) }
}

/// A finite float of 8 bits with `fraction` bits behind the point.
fn small_float(bits: u8, fraction: u32, bias: i32) -> f32 {
    let (exponent, rest) = (i32::from((bits & 0x7f) >> fraction), f32::from(bits & ((1 << fraction) - 1)));
    let one = (1u32 << fraction) as f32;
    let size = match exponent {
        0 => rest / one * 2f32.powi(1 - bias),
        _ => (1.0 + rest / one) * 2f32.powi(exponent - bias),
    };
    if bits & 0x80 != 0 { -size } else { size }
}
