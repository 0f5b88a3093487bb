//! The elements of tensors in files of other frameworks, and what they become.

use std::io::Read;

use brisk_graph::{DType, Data, Tensor};
use brisk_onnx::Elem;
use bytemuck::Pod;
use half::{bf16, f16};

use crate::onnx::small_float;
use crate::tensors::Fault;

/// How much is converted at a time.
const WINDOW: usize = 1 << 16;

/// An element type, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    F8E4M3Fn,
    F8E4M3Fnuz,
    F8E5M2,
    F8E5M2Fnuz,
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

impl Element {
    const ALL: [Element; 17] = [
        Element::F64,
        Element::F32,
        Element::F16,
        Element::Bf16,
        Element::F8E4M3Fn,
        Element::F8E4M3Fnuz,
        Element::F8E5M2,
        Element::F8E5M2Fnuz,
        Element::I64,
        Element::I32,
        Element::I16,
        Element::I8,
        Element::U64,
        Element::U32,
        Element::U16,
        Element::U8,
        Element::Bool,
    ];

    /// Its name, as NumPy and PyTorch call it.
    pub fn name(self) -> &'static str {
        match self {
            Element::F64 => "float64",
            Element::F32 => "float32",
            Element::F16 => "float16",
            Element::Bf16 => "bfloat16",
            Element::F8E4M3Fn => "float8_e4m3fn",
            Element::F8E4M3Fnuz => "float8_e4m3fnuz",
            Element::F8E5M2 => "float8_e5m2",
            Element::F8E5M2Fnuz => "float8_e5m2fnuz",
            Element::I64 => "int64",
            Element::I32 => "int32",
            Element::I16 => "int16",
            Element::I8 => "int8",
            Element::U64 => "uint64",
            Element::U32 => "uint32",
            Element::U16 => "uint16",
            Element::U8 => "uint8",
            Element::Bool => "bool",
        }
    }

    /// The one of a name.
    pub fn named(name: &str) -> Option<Element> {
        Element::ALL.into_iter().find(|e| e.name() == name)
    }

    /// All names, for messages.
    pub fn names() -> String {
        Element::ALL.map(Element::name).join(", ")
    }

    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Element::F64 | Element::I64 | Element::U64 => 8,
            Element::F32 | Element::I32 | Element::U32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
            Element::F8E4M3Fn | Element::F8E4M3Fnuz | Element::F8E5M2 | Element::F8E5M2Fnuz => 1,
        }
    }

    /// What it becomes.
    pub fn dtype(self) -> DType {
        match self {
            Element::F64 | Element::F32 | Element::F16 | Element::Bf16 => DType::F32,
            Element::F8E4M3Fn | Element::F8E4M3Fnuz | Element::F8E5M2 | Element::F8E5M2Fnuz => DType::F32,
            Element::I64 | Element::U64 | Element::U32 => DType::I64,
            Element::I32 | Element::I16 | Element::I8 | Element::U16 => DType::I32,
            Element::U8 | Element::Bool => DType::U8,
        }
    }

    /// The float that a byte is, if it is one of eight bits.
    pub fn float(self, byte: u8) -> Option<f32> {
        let elem = match self {
            Element::F8E4M3Fn => Elem::Float8E4M3Fn,
            Element::F8E4M3Fnuz => Elem::Float8E4M3Fnuz,
            Element::F8E5M2 => Elem::Float8E5M2,
            Element::F8E5M2Fnuz => Elem::Float8E5M2Fnuz,
            _ => return None,
        };
        Some(small_float(elem, byte))
    }

    /// How many elements a shape has and how many bytes they take; `None` if that is more than any file has. Sizes of 0 count as 1
    /// in what must not overflow, so that no product of sizes overflows later.
    pub fn extent(self, shape: &[usize]) -> Option<(usize, usize)> {
        let most = shape.iter().try_fold(self.size(), |n, &d| n.checked_mul(d.max(1)))?;
        isize::try_from(most).ok()?;
        let bytes = if shape.contains(&0) { 0 } else { most };
        Some((bytes / self.size(), bytes))
    }
}

/// Elements on their way from a file into a tensor.
#[derive(Debug)]
pub(crate) struct Elements {
    element: Element,
    data: Data,
}

impl Elements {
    /// Nothing yet, with room for a number of elements that the caller knows to be in the file.
    pub fn with_capacity(element: Element, elements: usize) -> Elements {
        let data = match element.dtype() {
            DType::F32 => Data::F32(Vec::with_capacity(elements)),
            DType::F64 => Data::F64(Vec::with_capacity(elements)),
            DType::I32 => Data::I32(Vec::with_capacity(elements)),
            DType::I64 => Data::I64(Vec::with_capacity(elements)),
            DType::U8 => Data::U8(Vec::with_capacity(elements)),
        };
        Elements { element, data }
    }

    /// Reads the next elements. An error if one of them has no counterpart in the type that they become.
    pub fn read(&mut self, from: &mut impl Read, elements: usize) -> Result<(), Fault> {
        let e = self.element;
        match (&mut self.data, e) {
            (Data::F32(v), Element::F32) => plain(v, from, elements),
            (Data::F32(v), Element::F64) => each(v, e, from, elements, |b| narrow(f64::from_le_bytes(b))),
            (Data::F32(v), Element::F16) => {
                each(v, e, from, elements, |b| Some(f16::from_le_bytes(b).to_f32()))
            }
            (Data::F32(v), Element::Bf16) => {
                each(v, e, from, elements, |b| Some(bf16::from_le_bytes(b).to_f32()))
            }
            (Data::F32(v), _) => each(v, e, from, elements, |[b]| e.float(b)),
            (Data::I64(v), Element::I64) => plain(v, from, elements),
            (Data::I64(v), Element::U64) => {
                each(v, e, from, elements, |b| u64::from_le_bytes(b).try_into().ok())
            }
            (Data::I64(v), _) => each(v, e, from, elements, |b| Some(u32::from_le_bytes(b).into())),
            (Data::I32(v), Element::I32) => plain(v, from, elements),
            (Data::I32(v), Element::I16) => {
                each(v, e, from, elements, |b| Some(i16::from_le_bytes(b).into()))
            }
            (Data::I32(v), Element::I8) => each(v, e, from, elements, |b| Some(i8::from_le_bytes(b).into())),
            (Data::I32(v), _) => each(v, e, from, elements, |b| Some(u16::from_le_bytes(b).into())),
            (Data::U8(v), Element::Bool) => each(v, e, from, elements, |[b]| (b <= 1).then_some(b)),
            (Data::U8(v), _) => plain(v, from, elements),
            (Data::F64(v), _) => plain(v, from, elements),
        }
    }

    /// Adds the last element again and again, or zeros if there is none, up to a number of elements.
    pub fn repeat_last(&mut self, elements: usize) {
        fn fill<T: Copy + Default>(v: &mut Vec<T>, elements: usize) {
            let last = v.last().copied().unwrap_or_default();
            v.resize(elements.max(v.len()), last);
        }
        match &mut self.data {
            Data::F32(v) => fill(v, elements),
            Data::F64(v) => fill(v, elements),
            Data::I32(v) => fill(v, elements),
            Data::I64(v) => fill(v, elements),
            Data::U8(v) => fill(v, elements),
        }
    }

    /// The tensor. An error if there are more or fewer elements than its shape has.
    pub fn finish(self, shape: &[usize]) -> Result<Tensor, Fault> {
        Tensor::new(shape, self.data).map_err(|e| Fault::Unsound(e.to_string()))
    }
}

/// Elements that stay as they are.
fn plain<T: Pod>(v: &mut Vec<T>, from: &mut impl Read, elements: usize) -> Result<(), Fault> {
    let begin = v.len();
    v.resize(begin + elements, T::zeroed());
    Ok(from.read_exact(bytemuck::cast_slice_mut(&mut v[begin..]))?)
}

/// Elements that become others, window by window.
fn each<const N: usize, T>(
    v: &mut Vec<T>,
    element: Element,
    from: &mut impl Read,
    elements: usize,
    convert: impl Fn([u8; N]) -> Option<T>,
) -> Result<(), Fault> {
    let mut window = [0; WINDOW];
    let mut left = elements;
    while left > 0 {
        let now = left.min(WINDOW / N);
        from.read_exact(&mut window[..now * N])?;
        for &bytes in window[..now * N].as_chunks().0 {
            let Some(value) = convert(bytes) else {
                return Err(Fault::Unsound(format!(
                    "element {} of type {} does not fit into {}",
                    v.len(),
                    element.name(),
                    element.dtype()
                )));
            };
            v.push(value);
        }
        left -= now;
    }
    Ok(())
}

/// The nearest f32, unless only infinity is near.
pub(crate) fn narrow(x: f64) -> Option<f32> {
    let y = x as f32;
    (y.is_finite() || !x.is_finite()).then_some(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(element: Element, bytes: &[u8]) -> Result<Data, Fault> {
        let mut elements = Elements::with_capacity(element, 1);
        elements.read(&mut &bytes[..], bytes.len() / element.size())?;
        Ok(elements.data)
    }

    #[test]
    fn every_type_becomes_one_of_ours() {
        let cases: [(Element, &[u8], Data); 18] = [
            (Element::F64, &0.1f64.to_le_bytes(), vec![0.1f32].into()),
            (Element::F64, &f64::INFINITY.to_le_bytes(), vec![f32::INFINITY].into()),
            (Element::F32, &1.5f32.to_le_bytes(), vec![1.5f32].into()),
            (Element::F16, &f16::from_f32(-0.25).to_le_bytes(), vec![-0.25f32].into()),
            (Element::Bf16, &bf16::from_f32(3.0).to_le_bytes(), vec![3.0f32].into()),
            (Element::F8E4M3Fn, &[0x3c, 0xfe], vec![1.5f32, -448.0].into()),
            (Element::F8E4M3Fnuz, &[0x44, 0xff], vec![1.5f32, -240.0].into()),
            (Element::F8E5M2, &[0x3e, 0xfc], vec![1.5f32, f32::NEG_INFINITY].into()),
            (Element::F8E5M2Fnuz, &[0x42, 0xff], vec![1.5f32, -57344.0].into()),
            (Element::I64, &i64::MIN.to_le_bytes(), vec![i64::MIN].into()),
            (Element::I32, &i32::MIN.to_le_bytes(), vec![i32::MIN].into()),
            (Element::I16, &(-300i16).to_le_bytes(), vec![-300].into()),
            (Element::I8, &[253], vec![-3].into()),
            (Element::U64, &7u64.to_le_bytes(), vec![7i64].into()),
            (Element::U32, &u32::MAX.to_le_bytes(), vec![i64::from(u32::MAX)].into()),
            (Element::U16, &u16::MAX.to_le_bytes(), vec![i32::from(u16::MAX)].into()),
            (Element::U8, &[200], vec![200u8].into()),
            (Element::Bool, &[1], vec![1u8].into()),
        ];
        for (element, bytes, expected) in cases {
            assert_eq!(read(element, bytes).unwrap(), expected, "{element:?}");
            assert_eq!(Element::named(element.name()), Some(element));
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let cases: [(Element, &[u8]); 3] =
            [(Element::F64, &1e300f64.to_le_bytes()), (Element::U64, &[255; 8]), (Element::Bool, &[2])];
        for (element, bytes) in cases {
            let Err(Fault::Unsound(found)) = read(element, bytes) else { panic!("{element:?}") };
            assert!(found.contains(element.name()) && found.contains("does not fit"), "{found}");
        }
    }

    #[test]
    fn many_elements_are_converted_in_windows() {
        let n = WINDOW + 3;
        let bytes: Vec<u8> = (0..n).flat_map(|i| (i as i16).to_le_bytes()).collect();
        let expected: Vec<i32> = (0..n).map(|i| (i as i16).into()).collect();
        assert_eq!(read(Element::I16, &bytes).unwrap(), expected.into());
    }

    #[test]
    fn sizes_of_no_file_have_no_extent() {
        assert_eq!(Element::F32.extent(&[2, 3]), Some((6, 24)));
        assert_eq!(Element::F32.extent(&[]), Some((1, 4)));
        assert_eq!(Element::F32.extent(&[0, 5]), Some((0, 0)));
        assert_eq!(Element::F32.extent(&[0, usize::MAX, 2]), None);
        assert_eq!(Element::F32.extent(&[1 << 31, 1 << 31]), None);
    }
}
