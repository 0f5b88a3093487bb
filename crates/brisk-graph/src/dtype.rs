//! Element types.

use std::fmt;

/// The element type of a tensor or a graph value.
///
/// ```
/// use brisk_graph::DType;
/// assert_eq!(DType::F32.size(), 4);
/// assert_eq!(DType::U8.to_string(), "u8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit float: what the engine computes in.
    F32,
    /// 64-bit float: gradient checks.
    F64,
    /// 32-bit signed integer: labels, indices, random keys.
    I32,
    /// 64-bit signed integer: whole numbers of models from elsewhere.
    I64,
    /// 8-bit unsigned integer: images, and truth values (0 or 1).
    U8,
}

impl DType {
    /// Bytes an element takes.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F64 | DType::I64 => 8,
            DType::U8 => 1,
        }
    }

    /// True for the floating-point types.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
        })
    }
}
