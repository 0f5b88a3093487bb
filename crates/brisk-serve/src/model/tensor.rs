//! Tensors as clients send and get them.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::signature::Port;
use crate::fault::{Answered, Fault};

/// A tensor of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its type, in the words of KServe.
    pub datatype: String,
    /// Its sizes.
    pub shape: Vec<i64>,
    /// Its elements.
    pub elements: Elements,
}

/// The elements of a tensor as they came, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Texts or bytes.
    Texts(Vec<Bytes>),
    /// Little-endian; texts each after its length (u32).
    Raw(Bytes),
}

/// The elements of a tensor in the type that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// `UINT8`
    U8(Vec<u8>),
    /// `FP32`
    F32(Vec<f32>),
    /// `FP64`
    F64(Vec<f64>),
    /// `BYTES`
    Bytes(Vec<Bytes>),
}

impl Tensor {
    /// The number of rows, if the sizes are those of a port (a size of 1 at the end may be there or not).
    pub fn rows(&self, port: &Port) -> Answered<usize> {
        let fits = |row: &[i64]| row == port.row() || port.row().is_empty() && row == [1];
        match self.shape.split_first() {
            Some((&n, row)) if n >= 0 && fits(row) => Ok(n as usize),
            _ => Err(Fault::bad(format!(
                "input `{}`: expected the shape {}, found {}",
                self.name,
                sizes(&port.shape),
                sizes(&self.shape)
            ))),
        }
    }

    /// Its elements in the type of a port. `most` is the greatest number that is taken.
    pub fn typed(self, port: &Port, most: usize) -> Answered<Typed> {
        let bad = |message: String| Fault::bad(format!("input `{}`: {message}", self.name));
        let alike = port.datatype == "FP64" && self.datatype == "FP32";
        let encoded = port.datatype == "UINT8" && self.datatype == "BYTES";
        if self.datatype != port.datatype && !alike && !encoded {
            return Err(bad(format!("expected the datatype {}, found {}", port.datatype, self.datatype)));
        }
        let product = |acc: Option<usize>, &d: &i64| acc?.checked_mul(usize::try_from(d).ok()?);
        let count = self.shape.iter().fold(Some(1), product).filter(|&n| n <= most);
        let count = count.ok_or_else(|| bad(format!("its shape {} is too large", sizes(&self.shape))))?;
        let typed = match (self.datatype.as_str(), self.elements) {
            ("UINT8", Elements::Raw(raw)) => Typed::U8(raw.to_vec()),
            ("UINT8", Elements::Numbers(numbers)) => Typed::U8(whole(&numbers).map_err(bad)?),
            ("FP32", Elements::Raw(raw)) => {
                let (chunks, rest) = raw.as_chunks::<4>();
                check_rest(rest, "FP32").map_err(bad)?;
                Typed::F32(chunks.iter().map(|c| f32::from_le_bytes(*c)).collect())
            }
            ("FP32", Elements::Numbers(numbers)) => Typed::F32(numbers.iter().map(|&x| x as f32).collect()),
            ("FP64", Elements::Raw(raw)) => {
                let (chunks, rest) = raw.as_chunks::<8>();
                check_rest(rest, "FP64").map_err(bad)?;
                Typed::F64(chunks.iter().map(|c| f64::from_le_bytes(*c)).collect())
            }
            ("FP64", Elements::Numbers(numbers)) => Typed::F64(numbers),
            ("BYTES", Elements::Texts(texts)) => Typed::Bytes(texts),
            ("BYTES", Elements::Numbers(none)) if none.is_empty() => Typed::Bytes(Vec::new()),
            ("BYTES", Elements::Raw(raw)) => Typed::Bytes(strings(raw, most).map_err(bad)?),
            (datatype, Elements::Texts(_)) => return Err(bad(format!("expected {datatype}, found texts"))),
            (datatype, _) => return Err(bad(format!("expected {datatype}, found numbers"))),
        };
        let finite = match &typed {
            Typed::F32(v) => v.iter().position(|x| !x.is_finite()),
            Typed::F64(v) => v.iter().position(|x| !x.is_finite()),
            Typed::U8(_) | Typed::Bytes(_) => None,
        };
        if let Some(at) = finite {
            return Err(bad(format!("element {at} is not a finite number")));
        }
        match typed.len() == count {
            true => Ok(typed),
            false => Err(bad(format!(
                "expected {count} elements, as the shape {} says, found {}",
                sizes(&self.shape),
                typed.len()
            ))),
        }
    }
}

impl Serialize for Typed {
    /// As lists; bytes as texts.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Typed::U8(v) => v.serialize(s),
            Typed::F32(v) => v.serialize(s),
            Typed::F64(v) => v.serialize(s),
            Typed::Bytes(v) => s.collect_seq(v.iter().map(|b| String::from_utf8_lossy(b))),
        }
    }
}

impl Typed {
    /// Number of elements.
    fn len(&self) -> usize {
        match self {
            Typed::U8(v) => v.len(),
            Typed::F32(v) => v.len(),
            Typed::F64(v) => v.len(),
            Typed::Bytes(v) => v.len(),
        }
    }

    /// Its type, in the words of KServe.
    pub fn datatype(&self) -> &'static str {
        match self {
            Typed::U8(_) => "UINT8",
            Typed::F32(_) => "FP32",
            Typed::F64(_) => "FP64",
            Typed::Bytes(_) => "BYTES",
        }
    }

    /// Little-endian; texts each after its length (u32).
    pub fn raw(&self) -> Vec<u8> {
        match self {
            Typed::U8(v) => v.clone(),
            Typed::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Typed::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Typed::Bytes(v) => {
                let each = |text: &Bytes| [&(text.len() as u32).to_le_bytes()[..], text].concat();
                v.iter().flat_map(each).collect()
            }
        }
    }
}

fn check_rest(rest: &[u8], datatype: &str) -> Result<(), String> {
    match rest.is_empty() {
        true => Ok(()),
        false => Err(format!("its bytes end in the middle of an {datatype}")),
    }
}

/// Numbers as bytes.
pub(super) fn whole(numbers: &[f64]) -> Result<Vec<u8>, String> {
    let one = |(at, &x): (usize, &f64)| match x.fract() == 0.0 && (0.0..=255.0).contains(&x) {
        true => Ok(x as u8),
        false => Err(format!("element {at} is {x}, expected whole numbers from 0 to 255")),
    };
    numbers.iter().enumerate().map(one).collect()
}

/// Texts, each after its length.
fn strings(mut raw: Bytes, most: usize) -> Result<Vec<Bytes>, String> {
    let mut texts = Vec::new();
    while !raw.is_empty() {
        let length = raw.split_at_checked(4).and_then(|(n, _)| n.try_into().ok()).map(u32::from_le_bytes);
        let length = length.ok_or("its bytes end in the middle of a text's length")? as usize;
        if raw.len() - 4 < length {
            return Err(format!("a text of {length} bytes, but only {} are left", raw.len() - 4));
        }
        texts.push(raw.slice(4..4 + length));
        raw = raw.slice(4 + length..);
        if texts.len() > most {
            return Err(format!("more than {most} texts"));
        }
    }
    Ok(texts)
}

/// `[-1, 28, 28, 1]`
pub fn sizes(shape: &[i64]) -> String {
    let all: Vec<_> = shape.iter().map(i64::to_string).collect();
    format!("[{}]", all.join(", "))
}

/// How deep lists may lie in each other.
const DEPTH: usize = 16;

impl<'de> Deserialize<'de> for Elements {
    /// Numbers, truth values or texts, flat or in lists of lists.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Elements, D::Error> {
        let mut flat = Flat::default();
        d.deserialize_seq(Into { flat: &mut flat, depth: 0 })?;
        match (flat.numbers.is_empty(), flat.texts.is_empty()) {
            (_, true) => Ok(Elements::Numbers(flat.numbers)),
            (true, false) => Ok(Elements::Texts(flat.texts)),
            (false, false) => Err(serde::de::Error::custom("numbers and texts in the same tensor")),
        }
    }
}

#[derive(Default)]
struct Flat {
    numbers: Vec<f64>,
    texts: Vec<Bytes>,
}

struct Into<'f> {
    flat: &'f mut Flat,
    depth: usize,
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or texts, in lists")
    }

    fn visit_f64<E: serde::de::Error>(self, x: f64) -> Result<(), E> {
        self.flat.numbers.push(x);
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, x: u64) -> Result<(), E> {
        self.visit_f64(x as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, x: i64) -> Result<(), E> {
        self.visit_f64(x as f64)
    }

    fn visit_bool<E: serde::de::Error>(self, x: bool) -> Result<(), E> {
        self.visit_f64(f64::from(u8::from(x)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.flat.texts.push(Bytes::copy_from_slice(text.as_bytes()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == DEPTH {
            return Err(serde::de::Error::custom(format!("lists in each other, more than {DEPTH} deep")));
        }
        while seq.next_element_seed(Into { flat: self.flat, depth: self.depth + 1 })?.is_some() {}
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn port(datatype: &'static str, row: &[i64]) -> Port {
        Port { name: "x".into(), datatype, shape: [&[-1], row].concat() }
    }

    fn tensor(datatype: &str, shape: &[i64], elements: Elements) -> Tensor {
        Tensor { name: "x".into(), datatype: datatype.into(), shape: shape.into(), elements }
    }

    #[test]
    fn lists_of_lists_are_flat() {
        let read = |json: &str| serde_json::from_str::<Elements>(json);
        assert_eq!(read("[[1, 2.5], [3, true]]").unwrap(), Elements::Numbers(vec![1.0, 2.5, 3.0, 1.0]));
        assert_eq!(read(r#"["a", "猫"]"#).unwrap(), Elements::Texts(vec!["a".into(), "猫".into()]));
        assert!(read(r#"["a", 1]"#).unwrap_err().to_string().contains("same tensor"));
        assert!(read("[NaN]").is_err());
        assert!(read(&("[".repeat(40) + &"]".repeat(40))).is_err());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = |t: Tensor, p: &Port| match t.rows(p) {
            Ok(_) => t.typed(p, 1000).unwrap_err().message,
            Err(fault) => fault.message,
        };
        let numbers = |v: &[f64]| Elements::Numbers(v.to_vec());
        let picture = port("UINT8", &[2, 1]);
        for (tensor, p, expected) in [
            (
                tensor("FP32", &[1, 2, 1], numbers(&[1.0, 2.0])),
                &picture,
                "expected the datatype UINT8, found FP32",
            ),
            (
                tensor("UINT8", &[1, 3, 1], numbers(&[1.0; 3])),
                &picture,
                "expected the shape [-1, 2, 1], found [1, 3, 1]",
            ),
            (
                tensor("UINT8", &[1, 2, 1], numbers(&[1.0; 3])),
                &picture,
                "expected 2 elements, as the shape [1, 2, 1] says, found 3",
            ),
            (tensor("UINT8", &[1, 2, 1], numbers(&[1.0, 0.5])), &picture, "element 1 is 0.5"),
            (
                tensor("FP32", &[1], Elements::Raw(Bytes::from_static(&[0; 3]))),
                &port("FP32", &[]),
                "in the middle",
            ),
            (
                tensor("FP32", &[1], Elements::Raw(f32::NAN.to_le_bytes().to_vec().into())),
                &port("FP32", &[]),
                "finite",
            ),
            (tensor("UINT8", &[i64::MAX, 2, 1], numbers(&[])), &picture, "too large"),
            (
                tensor("BYTES", &[1], Elements::Raw(Bytes::from_static(&[9, 0, 0, 0, 1]))),
                &port("BYTES", &[]),
                "only 1 are left",
            ),
        ] {
            let message = message(tensor, p);
            assert!(message.starts_with("input `x`: ") && message.contains(expected), "{message}");
        }
    }

    proptest! {
        #[test]
        fn raw_texts_come_back(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9)) {
            let typed = Typed::Bytes(texts.into_iter().map(Bytes::from).collect());
            let n = typed.len() as i64;
            let t = tensor("BYTES", &[n], Elements::Raw(typed.raw().into()));
            prop_assert_eq!(t.typed(&port("BYTES", &[]), 100).unwrap(), typed);
        }

        #[test]
        fn no_bytes_make_it_panic(
            raw in prop::collection::vec(any::<u8>(), 0..64),
            shape in prop::collection::vec(any::<i64>(), 0..4),
            which in 0usize..4,
        ) {
            let datatype = ["UINT8", "FP32", "FP64", "BYTES"][which];
            let t = tensor(datatype, &shape, Elements::Raw(raw.into()));
            let p = port(datatype, &[]);
            let _ = t.rows(&p);
            let _ = t.typed(&p, 100);
        }

        #[test]
        fn no_json_makes_it_panic(text in r#"[\[\]{}",:0-9eE.+\-a-z]{0,60}"#) {
            let _ = serde_json::from_str::<Elements>(&text);
        }
    }
}
