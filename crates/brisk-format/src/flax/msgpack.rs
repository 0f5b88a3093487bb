//! The tree of names and arrays, read from front to back: each array goes straight to where it stays.
//!
//! The format is that of `flax/serialization.py`: MessagePack with arrays as extensions, and arrays beyond 1 GB in chunks.

use brisk_graph::Tensor;
use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};

use super::FlaxCheckpoint;
use crate::budget::Budget;
use crate::elements::{Element, Elements, narrow};
use crate::source::Source;
use crate::tensors::Fault;

/// How deep names may be nested.
const MOST_DEEP: usize = 64;
/// What an array, a number or a text takes in memory beside its name and its elements, in bytes; in a file a number takes one.
const LEAF: usize = 256;
/// How much all of these may take with their names, for each byte of the file and beyond that.
const BYTES: u64 = 16;
const MORE_BYTES: u64 = 64 << 20;
/// The most axes that NumPy's arrays have.
const MOST_AXES: usize = 64;
/// The first name of a map that stands for an array in chunks.
const CHUNKED: &str = "__msgpack_chunked_array__";

/// Numbers of extensions: an array, a complex number of Python, a number of NumPy.
const ARRAY: i8 = 1;
const COMPLEX: i8 = 2;
const SCALAR: i8 = 3;

pub(super) fn read(file: &mut Source) -> Result<FlaxCheckpoint, Fault> {
    let budget = Budget::of(file.left(), BYTES, MORE_BYTES);
    let mut tree = Tree { file, found: FlaxCheckpoint::default(), path: String::new(), budget };
    match tree.marker()? {
        Kind::Map(entries) => tree.map(entries, 0)?,
        other => return Err(Fault::Unsound(format!("it begins with {other:?}; expected a map"))),
    }
    match tree.file.left() {
        0 => Ok(tree.found),
        left => Err(Fault::Unsound(format!("{left} bytes follow behind its end"))),
    }
}

/// What comes next.
#[derive(Debug)]
enum Kind {
    Nothing,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A text or bytes of a length.
    Text(u32),
    List(u32),
    Map(u32),
    /// A length and the number of the extension.
    Extension(u32, i8),
}

struct Tree<'a> {
    file: &'a mut Source,
    found: FlaxCheckpoint,
    /// The name of what is being read.
    path: String,
    budget: Budget,
}

impl Tree<'_> {
    /// Reads what a name stands for.
    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > MOST_DEEP {
            return Err(self.unsound(format!("is nested deeper than {MOST_DEEP} names")));
        }
        let tensor = match self.marker()? {
            Kind::Nothing => return Ok(()),
            Kind::Map(entries) => return self.map(entries, depth),
            Kind::List(items) => {
                for i in 0..items {
                    self.within(&i.to_string(), |tree| tree.value(depth + 1))?;
                }
                return Ok(());
            }
            Kind::Text(length) => {
                self.skip(length)?;
                self.account()?;
                self.found.texts.push(self.path.clone());
                return Ok(());
            }
            Kind::Bool(value) => Tensor::new([], vec![u8::from(value)]),
            Kind::Integer(value) => Tensor::new([], vec![value]),
            Kind::Float(value) => match narrow(value) {
                Some(value) => Tensor::new([], vec![value]),
                None => return Err(self.unsound(format!("is {value}, which does not fit into f32"))),
            },
            Kind::Extension(length, kind) => Ok(self.extension(length, kind)?),
        };
        let tensor = tensor.map_err(|e| self.unsound(e.to_string()))?;
        self.insert(tensor)
    }

    fn map(&mut self, entries: u32, depth: usize) -> Result<(), Fault> {
        for i in 0..entries {
            let name = self.name()?;
            if i == 0 && name == CHUNKED {
                let tensor = self.chunked(entries)?;
                return self.insert(tensor);
            }
            self.within(&name, |tree| tree.value(depth + 1))?;
        }
        Ok(())
    }

    /// Reads something with one more name.
    fn within(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        read(self)?;
        self.path.truncate(length);
        Ok(())
    }

    fn insert(&mut self, tensor: Tensor) -> Result<(), Fault> {
        self.account()?;
        if self.found.tensors.get(&self.path).is_some() {
            return Err(Fault::Unsound(format!("two tensors are called {:?}", self.path)));
        }
        self.found.tensors.insert(self.path.clone(), tensor);
        Ok(())
    }

    /// Keeps numbers and names from filling the memory.
    fn account(&mut self) -> Result<(), Fault> {
        self.budget.take(LEAF + 2 * self.path.len()).map_err(|most| {
            Fault::Unsupported(format!(
                "its arrays, numbers and texts take more than {most} bytes with their names"
            ))
        })
    }

    fn extension(&mut self, length: u32, kind: i8) -> Result<Tensor, Fault> {
        match kind {
            ARRAY | SCALAR => {}
            COMPLEX => {
                return Err(
                    self.unsupported("is a complex number; expected numbers: save its parts one by one")
                );
            }
            other => {
                return Err(self
                    .unsupported(&format!("is of the kind {other}; expected 1 (an array) or 3 (a number)")));
            }
        }
        let end = self.file.at() + u64::from(length);
        let head = self.head()?;
        let Some((elements, _)) = head.element.extent(&head.shape).filter(|e| e.1 as u64 == head.bytes)
        else {
            return Err(self.unsound(format!(
                "is {} {:?}, but has {} bytes",
                head.element.name(),
                head.shape,
                head.bytes
            )));
        };
        let mut values = Elements::with_capacity(head.element, elements);
        self.elements(&mut values, elements)?;
        if self.file.at() != end {
            return Err(self.unsound(format!("should end at byte {end}, but ends at {}", self.file.at())));
        }
        values.finish(&head.shape).map_err(|f| f.within(&format!("{:?}", self.path)))
    }

    /// Reads what stands before the elements of an array. So many bytes follow, and are there.
    fn head(&mut self) -> Result<Head, Fault> {
        let Kind::List(3) = self.marker()? else {
            return Err(self.unsound("is no shape, type and bytes".into()));
        };
        let Kind::List(axes) = self.marker()? else { return Err(self.unsound("has no shape".into())) };
        let mut shape = Vec::new();
        for _ in 0..axes {
            let size = match self.marker()? {
                Kind::Integer(size) => usize::try_from(size).ok(),
                _ => None,
            };
            match size {
                Some(size) if shape.len() < MOST_AXES => shape.push(size),
                _ => {
                    return Err(self.unsound(format!("has no sound shape; expected up to {MOST_AXES} sizes")));
                }
            }
        }
        let name = self.name()?;
        let Some(element) = Element::named(&name) else {
            let known = Element::names();
            return Err(self.unsupported(&format!(
                "has elements of type {name}; expected one of {known}: save it as float32"
            )));
        };
        let Kind::Text(bytes) = self.marker()? else { return Err(self.unsound("has no bytes".into())) };
        self.file.need(bytes.into(), &format!("{:?}", self.path))?;
        Ok(Head { shape, element, bytes: bytes.into() })
    }

    /// Reads an array in chunks, each of which is an array with one axis.
    fn chunked(&mut self, entries: u32) -> Result<Tensor, Fault> {
        let unsound =
            |tree: &Self| tree.unsound(format!("is not sound; expected {CHUNKED}: true, shape and chunks"));
        if entries != 3 || !matches!(self.marker()?, Kind::Bool(true)) || self.name()? != "shape" {
            return Err(unsound(self));
        }
        let Kind::Map(axes) = self.marker()? else { return Err(unsound(self)) };
        let mut shape = Vec::new();
        for i in 0..axes {
            let (name, size) = (self.name()?, self.marker()?);
            let Kind::Integer(size) = size else { return Err(unsound(self)) };
            match usize::try_from(size) {
                Ok(size) if shape.len() < MOST_AXES && name == i.to_string() => shape.push(size),
                _ => return Err(unsound(self)),
            }
        }
        if self.name()? != "chunks" {
            return Err(unsound(self));
        }
        let Kind::Map(chunks) = self.marker()? else { return Err(unsound(self)) };
        let mut values: Option<(Element, Elements, usize)> = None;
        for i in 0..chunks {
            if self.name()? != i.to_string() {
                return Err(unsound(self));
            }
            let Kind::Extension(_, ARRAY) = self.marker()? else { return Err(unsound(self)) };
            let head = self.head()?;
            let (element, values, left) = match &mut values {
                Some(values) => values,
                None => {
                    let Some((elements, bytes)) = head.element.extent(&shape) else {
                        return Err(unsound(self));
                    };
                    self.file.need(bytes as u64, &format!("{:?}", self.path))?;
                    values.insert((head.element, Elements::with_capacity(head.element, elements), elements))
                }
            };
            let [elements] = head.shape[..] else { return Err(unsound(self)) };
            let bytes = head.element.extent(&head.shape).map(|(_, bytes)| bytes as u64);
            if head.element != *element || bytes != Some(head.bytes) || elements > *left {
                return Err(unsound(self));
            }
            *left -= elements;
            self.elements(values, elements)?;
        }
        match values {
            Some((_, values, 0)) => values.finish(&shape).map_err(|f| f.within(&format!("{:?}", self.path))),
            _ => Err(self.unsound(format!("{shape:?} is more than its chunks"))),
        }
    }

    fn elements(&mut self, values: &mut Elements, elements: usize) -> Result<(), Fault> {
        values.read(self.file, elements).map_err(|f| f.within(&format!("{:?}", self.path)))
    }

    /// Reads a name: a text, or a whole number.
    fn name(&mut self) -> Result<String, Fault> {
        match self.marker()? {
            Kind::Integer(n) => Ok(n.to_string()),
            Kind::Text(length) => {
                let name = self.file.bytes(length.into(), "a name")?;
                String::from_utf8(name)
                    .map_err(|e| self.unsound(format!("holds a name that is not UTF-8: {e}")))
            }
            other => Err(self.unsound(format!("holds {other:?} in the place of a name"))),
        }
    }

    fn skip(&mut self, bytes: u32) -> Result<(), Fault> {
        self.file.need(bytes.into(), "a text")?;
        std::io::copy(&mut std::io::Read::take(&mut *self.file, bytes.into()), &mut std::io::sink())?;
        Ok(())
    }

    fn marker(&mut self) -> Result<Kind, Fault> {
        let at = self.file.at();
        let early = |_| Fault::Unsound(format!("it ends within what begins at byte {at}"));
        let f = &mut *self.file;
        let marker = read_marker(f).map_err(|e| early(e.into()))?;
        Ok(match marker {
            Marker::Null => Kind::Nothing,
            Marker::True => Kind::Bool(true),
            Marker::False => Kind::Bool(false),
            Marker::FixPos(n) => Kind::Integer(n.into()),
            Marker::FixNeg(n) => Kind::Integer(n.into()),
            Marker::U8 => Kind::Integer(f.read_data_u8().map_err(early)?.into()),
            Marker::U16 => Kind::Integer(f.read_data_u16().map_err(early)?.into()),
            Marker::U32 => Kind::Integer(f.read_data_u32().map_err(early)?.into()),
            Marker::U64 => {
                let n = f.read_data_u64().map_err(early)?;
                let n = n.try_into();
                Kind::Integer(n.map_err(|_| self.unsound("is a number beyond 2^63".into()))?)
            }
            Marker::I8 => Kind::Integer(f.read_data_i8().map_err(early)?.into()),
            Marker::I16 => Kind::Integer(f.read_data_i16().map_err(early)?.into()),
            Marker::I32 => Kind::Integer(f.read_data_i32().map_err(early)?.into()),
            Marker::I64 => Kind::Integer(f.read_data_i64().map_err(early)?),
            Marker::F32 => Kind::Float(f.read_data_f32().map_err(early)?.into()),
            Marker::F64 => Kind::Float(f.read_data_f64().map_err(early)?),
            Marker::FixStr(n) => Kind::Text(n.into()),
            Marker::Str8 | Marker::Bin8 => Kind::Text(f.read_data_u8().map_err(early)?.into()),
            Marker::Str16 | Marker::Bin16 => Kind::Text(f.read_data_u16().map_err(early)?.into()),
            Marker::Str32 | Marker::Bin32 => Kind::Text(f.read_data_u32().map_err(early)?),
            Marker::FixArray(n) => Kind::List(n.into()),
            Marker::Array16 => Kind::List(f.read_data_u16().map_err(early)?.into()),
            Marker::Array32 => Kind::List(f.read_data_u32().map_err(early)?),
            Marker::FixMap(n) => Kind::Map(n.into()),
            Marker::Map16 => Kind::Map(f.read_data_u16().map_err(early)?.into()),
            Marker::Map32 => Kind::Map(f.read_data_u32().map_err(early)?),
            Marker::FixExt1 => Kind::Extension(1, f.read_data_i8().map_err(early)?),
            Marker::FixExt2 => Kind::Extension(2, f.read_data_i8().map_err(early)?),
            Marker::FixExt4 => Kind::Extension(4, f.read_data_i8().map_err(early)?),
            Marker::FixExt8 => Kind::Extension(8, f.read_data_i8().map_err(early)?),
            Marker::FixExt16 => Kind::Extension(16, f.read_data_i8().map_err(early)?),
            Marker::Ext8 => {
                Kind::Extension(f.read_data_u8().map_err(early)?.into(), f.read_data_i8().map_err(early)?)
            }
            Marker::Ext16 => {
                Kind::Extension(f.read_data_u16().map_err(early)?.into(), f.read_data_i8().map_err(early)?)
            }
            Marker::Ext32 => {
                Kind::Extension(f.read_data_u32().map_err(early)?, f.read_data_i8().map_err(early)?)
            }
            Marker::Reserved => {
                return Err(Fault::Unsound(format!("byte {at} means nothing in MessagePack")));
            }
        })
    }

    fn unsound(&self, found: String) -> Fault {
        Fault::Unsound(format!("{:?} {found}", self.path))
    }

    fn unsupported(&self, found: &str) -> Fault {
        Fault::Unsupported(format!("{:?} {found}", self.path))
    }
}

/// What stands before the elements of an array.
struct Head {
    shape: Vec<usize>,
    element: Element,
    bytes: u64,
}
