//! Tensors within a graph.

use std::path::Path;
use std::sync::Arc;

use brisk_graph::Tensor;

use super::proto::TensorProto;
use super::types::{TfType, whole_shape};
use crate::elements::{Element, Elements};
use crate::tensors::Fault;
use crate::{Error, Result};

/// How many elements the constants of a file may have, together, that are not written in it but repeat the one before.
const MOST_REPEATED: usize = 1 << 24;

/// A tensor that is written down in a graph. It stays in the form that the file has until it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TfConstant {
    path: Arc<Path>,
    shape: Vec<usize>,
    values: TensorProto,
}

impl TfConstant {
    /// Its element type in the file.
    pub fn dtype(&self) -> TfType {
        TfType(self.values.dtype)
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its numbers; types become others as in a [`TfCheckpoint`](crate::TfCheckpoint). An error if it has texts, or a number that
    /// does not fit.
    pub fn tensor(&self) -> Result<Tensor> {
        let kind = format!("a constant {} {:?}", self.dtype(), self.shape);
        let Some(element) = self.dtype().element() else {
            let known = Element::names();
            return Err(Error::content(
                &self.path,
                format!("{kind} has no numbers; expected elements of {known}"),
            ));
        };
        let elements = self.shape.iter().product();
        let mut values = Elements::with_capacity(element, elements);
        let read = match &self.values.tensor_content {
            content if !content.is_empty() => values.read(&mut &content[..], elements),
            _ => {
                let stored = stored(&self.values, element);
                values.read(&mut &stored[..], stored.len() / element.size())
            }
        };
        values.repeat_last(elements);
        let tensor = read.and_then(|()| values.finish(&self.shape));
        tensor.map_err(|f| f.within(&kind).malformed(&self.path, "graph of TensorFlow"))
    }

    /// Its texts, if it has texts; where there are fewer than its shape says, the last one stands for the others.
    pub fn texts(&self) -> Option<Vec<&[u8]>> {
        (self.dtype() == TfType::STRING).then(|| self.values.string_val.iter().map(|t| &t[..]).collect())
    }
}

/// Reads constants, as many as belong to one file.
pub(crate) struct Constants {
    path: Arc<Path>,
    repeated: usize,
}

impl Constants {
    pub fn new(path: &Path) -> Constants {
        Constants { path: path.into(), repeated: 0 }
    }

    /// Checks that the values are as many as the shape says, or fewer and not too many are left out.
    pub fn read(&mut self, values: TensorProto) -> Result<TfConstant, Fault> {
        let dtype = TfType(values.dtype);
        let Some(shape) = whole_shape(values.tensor_shape.as_ref()) else {
            return Err(Fault::Unsound(format!("a constant {dtype} has a shape that is not known")));
        };
        let kind = format!("a constant {dtype} {shape:?}");
        let element = dtype.element();
        let Some((elements, bytes)) = element.unwrap_or(Element::U8).extent(&shape) else {
            return Err(Fault::Unsound(format!("{kind} takes more bytes than any file has")));
        };
        let Some(element) = element else { return Ok(TfConstant { path: self.path.clone(), shape, values }) };
        let content = values.tensor_content.len();
        let written = if content > 0 { elements } else { count(&values, element) };
        if content > 0 && content != bytes || written > elements {
            let found = if content > 0 { format!("{content} bytes") } else { format!("{written} elements") };
            return Err(Fault::Unsound(format!(
                "{kind} has {found}, but its shape takes {elements} elements or {bytes} bytes"
            )));
        }
        // A few may repeat; a file of a few bytes must not fill the memory.
        self.repeated = self.repeated.saturating_add((elements - written).saturating_sub(1));
        if self.repeated > MOST_REPEATED {
            let remedy = "write the values down, or compute them in the graph";
            return Err(Fault::Unsupported(format!(
                "{kind} leaves {} of its elements out; all constants together may leave out {MOST_REPEATED}: {remedy}",
                elements - written
            )));
        }
        Ok(TfConstant { path: self.path.clone(), shape, values })
    }
}

/// How many elements are in the list of their type.
fn count(values: &TensorProto, element: Element) -> usize {
    match element {
        Element::F32 => values.float_val.len(),
        Element::F64 => values.double_val.len(),
        Element::F16 | Element::Bf16 => values.half_val.len(),
        Element::I32 | Element::I16 | Element::I8 | Element::U16 | Element::U8 => values.int_val.len(),
        Element::I64 => values.int64_val.len(),
        Element::U64 => values.uint64_val.len(),
        Element::U32 => values.uint32_val.len(),
        Element::Bool => values.bool_val.len(),
        // No type of TensorFlow's is read as these.
        Element::F8E4M3Fn | Element::F8E4M3Fnuz | Element::F8E5M2 | Element::F8E5M2Fnuz => 0,
    }
}

/// The elements in the list of their type, as their bytes would be.
fn stored(values: &TensorProto, element: Element) -> Vec<u8> {
    /// The lower bytes of each.
    fn low<const N: usize>(values: &[i32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes().into_iter().take(N)).collect()
    }
    match element {
        Element::F32 => values.float_val.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::F64 => values.double_val.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::F16 | Element::Bf16 => low::<2>(&values.half_val),
        Element::I32 => low::<4>(&values.int_val),
        Element::I16 | Element::U16 => low::<2>(&values.int_val),
        Element::I8 | Element::U8 => low::<1>(&values.int_val),
        Element::I64 => values.int64_val.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::U64 => values.uint64_val.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::U32 => values.uint32_val.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::Bool => values.bool_val.iter().map(|&v| v.into()).collect(),
        Element::F8E4M3Fn | Element::F8E4M3Fnuz | Element::F8E5M2 | Element::F8E5M2Fnuz => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use brisk_graph::Data;

    use super::super::proto::{TensorShapeProto, tensor_shape_proto::Dim};
    use super::*;

    fn proto(dtype: i32, shape: &[i64]) -> TensorProto {
        let dim = shape.iter().map(|&size| Dim { size }).collect();
        let tensor_shape = Some(TensorShapeProto { dim, unknown_rank: false });
        TensorProto { dtype, tensor_shape, ..TensorProto::default() }
    }

    fn read(values: TensorProto) -> Result<TfConstant, Fault> {
        Constants::new("graph.pb".as_ref()).read(values)
    }

    #[test]
    fn every_list_is_read_and_its_last_element_repeated() {
        let cases: [(TensorProto, Data); 9] = [
            (
                TensorProto { float_val: vec![1.5, 2.5], ..proto(1, &[2, 2]) },
                vec![1.5f32, 2.5, 2.5, 2.5].into(),
            ),
            (TensorProto { double_val: vec![0.5], ..proto(2, &[2]) }, vec![0.5f32, 0.5].into()),
            (TensorProto { int_val: vec![-3], ..proto(6, &[1]) }, vec![-3].into()),
            (TensorProto { int_val: vec![200], ..proto(4, &[]) }, vec![200u8].into()),
            (TensorProto { int64_val: vec![1 << 40], ..proto(9, &[1]) }, vec![1i64 << 40].into()),
            (TensorProto { bool_val: vec![true, false], ..proto(10, &[2]) }, vec![1u8, 0].into()),
            (TensorProto { half_val: vec![0x3c00], ..proto(19, &[1]) }, vec![1f32].into()),
            (TensorProto { half_val: vec![0x3f80], ..proto(14, &[1]) }, vec![1f32].into()),
            (proto(3, &[2]), vec![0, 0].into()),
        ];
        for (values, expected) in cases {
            assert_eq!(read(values).unwrap().tensor().unwrap().data(), &expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let content = |bytes: &'static [u8], dtype, shape: &[i64]| TensorProto {
            tensor_content: bytes::Bytes::from_static(bytes),
            ..proto(dtype, shape)
        };
        let cases = [
            (proto(1, &[-1]), "has a shape that is not known"),
            (proto(1, &[i64::MAX, i64::MAX]), "takes more bytes than any file has"),
            (proto(1, &[1_000_000_000]), "leaves 1000000000 of its elements out"),
            (content(&[0; 5], 1, &[1]), "float32 [1] has 5 bytes, but its shape takes 1 elements or 4 bytes"),
            (TensorProto { int_val: vec![1, 2], ..proto(3, &[1]) }, "has 2 elements, but"),
        ];
        for (values, expected) in cases {
            let (Fault::Unsound(said) | Fault::Unsupported(said)) = read(values).unwrap_err() else {
                panic!()
            };
            assert!(said.contains(expected), "{said}\ndoes not say {expected:?}");
        }
        let texts = TensorProto { string_val: vec!["a".into()], ..proto(7, &[1]) };
        let texts = read(texts).unwrap();
        assert_eq!(texts.texts().unwrap(), [b"a"]);
        assert!(texts.tensor().unwrap_err().to_string().contains("a constant string [1] has no numbers"));
        let large = TensorProto { double_val: vec![1e300], ..proto(2, &[1]) };
        let said = read(large).unwrap().tensor().unwrap_err().to_string();
        assert!(said.contains("graph.pb: ") && said.contains("does not fit into f32"), "{said}");
    }
}
