//! ONNX's element types, and how each is carried in Brisk's graph.

use std::fmt;

use brisk_graph::DType;
use serde::{Deserialize, Serialize};

/// An element type of ONNX, with its number in `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Elem {
    Float = 1,
    Uint8 = 2,
    Int8 = 3,
    Uint16 = 4,
    Int16 = 5,
    Int32 = 6,
    Int64 = 7,
    String = 8,
    Bool = 9,
    Float16 = 10,
    Double = 11,
    Uint32 = 12,
    Uint64 = 13,
    Bfloat16 = 16,
    Float8E4M3Fn = 17,
    Float8E4M3Fnuz = 18,
    Float8E5M2 = 19,
    Float8E5M2Fnuz = 20,
    Uint4 = 21,
    Int4 = 22,
    Float4E2M1 = 23,
    Float8E8M0 = 24,
    Uint2 = 25,
    Int2 = 26,
}

use Elem::*;

/// Every element type.
const ALL: [Elem; 24] = [
    Float,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    String,
    Bool,
    Float16,
    Double,
    Uint32,
    Uint64,
    Bfloat16,
    Float8E4M3Fn,
    Float8E4M3Fnuz,
    Float8E5M2,
    Float8E5M2Fnuz,
    Uint4,
    Int4,
    Float4E2M1,
    Float8E8M0,
    Uint2,
    Int2,
];

/// The numbers of a binary floating-point format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// Binary digits of a normal number, the leading one among them.
    pub digits: u8,
    /// All numbers are multiples of two to this power.
    pub lowest: i16,
    /// The largest finite number.
    pub largest: f64,
    /// It has infinities.
    pub infinite: bool,
}

impl Elem {
    /// The type of a number in `TensorProto.DataType`.
    ///
    /// ```
    /// use brisk_onnx::Elem;
    /// assert_eq!(Elem::of_code(7), Some(Elem::Int64));
    /// assert_eq!(Elem::of_code(14), None); // complex numbers
    /// ```
    pub fn of_code(code: i64) -> Option<Elem> {
        ALL.into_iter().find(|&e| e as i64 == code)
    }

    /// What holds its values exactly in a graph. Narrow floats are carried as f32, whole numbers as i64 but for bytes.
    pub fn dtype(self) -> DType {
        match self {
            Double => DType::F64,
            Bool | Uint8 | String => DType::U8,
            e if e.is_float() => DType::F32,
            _ => DType::I64,
        }
    }

    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        self.format().is_some() || matches!(self, Float | Double)
    }

    /// Bits of a whole number, and whether it has a sign.
    pub fn bits(self) -> Option<(u32, bool)> {
        Some(match self {
            Uint2 => (2, false),
            Int2 => (2, true),
            Uint4 => (4, false),
            Int4 => (4, true),
            Uint8 => (8, false),
            Int8 => (8, true),
            Uint16 => (16, false),
            Int16 => (16, true),
            Uint32 => (32, false),
            Int32 => (32, true),
            Uint64 => (64, false),
            Int64 => (64, true),
            _ => return None,
        })
    }

    /// The smallest and the largest of a whole-number type of up to 32 bits.
    pub fn range(self) -> Option<(f64, f64)> {
        let (bits, signed) = self.bits().filter(|b| b.0 <= 32)?;
        let all = (1u64 << bits) as f64;
        Some(if signed { (-all / 2.0, all / 2.0 - 1.0) } else { (0.0, all - 1.0) })
    }

    /// The numbers of a float type narrower than f32.
    pub fn format(self) -> Option<Format> {
        let of = |digits, lowest, largest, infinite| Some(Format { digits, lowest, largest, infinite });
        match self {
            Float16 => of(11, -24, 65504.0, true),
            Bfloat16 => of(8, -133, 3.389_531_389_251_535_5e38, true),
            Float8E4M3Fn => of(4, -9, 448.0, false),
            Float8E4M3Fnuz => of(4, -10, 240.0, false),
            Float8E5M2 => of(3, -16, 57344.0, true),
            Float8E5M2Fnuz => of(3, -17, 57344.0, false),
            Float4E2M1 => of(2, -1, 6.0, false),
            Float8E8M0 => of(1, -127, 1.701_411_834_604_692_3e38, false),
            _ => None,
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_hold_their_own_limits() {
        assert_eq!(half::f16::MAX.to_f64(), Float16.format().unwrap().largest);
        assert_eq!(half::bf16::MAX.to_f64(), Bfloat16.format().unwrap().largest);
        assert_eq!(half::f16::from_bits(1).to_f64(), f64::from(Float16.format().unwrap().lowest).exp2());
        assert_eq!(Int4.range(), Some((-8.0, 7.0)));
        assert!(ALL.into_iter().all(|e| Elem::of_code(e as i64) == Some(e)));
    }
}
