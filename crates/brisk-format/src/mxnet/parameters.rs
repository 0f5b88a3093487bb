//! `.params`: a list of arrays, and a list of their names.
//!
//! The layout is that of `NDArray::Save` and `NDArray::Load` in `src/ndarray/ndarray.cc` of apache/mxnet 1.x, and of what they
//! call: `Tuple::Save` in `include/mxnet/tuple.h`, `Context::Save` in `include/mxnet/base.h`, `TypeFlag` in mshadow's `base.h`,
//! and dmlc's serializer, which writes a list as its length in 8 bytes and its items. All numbers are little-endian.

use std::collections::HashSet;
use std::path::Path;

use brisk_graph::Tensor;
use brisk_runtime::State;

use crate::Result;
use crate::elements::{Element, Elements};
use crate::source::Source;
use crate::tensors::Fault;

const FORMAT: &str = "file of MXNet parameters";
/// What such a file begins with.
const LIST: u64 = 0x112;
/// What arrays begin with: with 64-bit sizes; with a kind of storage; and with the shapes of NumPy, where `[]` is a scalar. Older
/// ones begin with their number of axes.
const V1: u32 = 0xF993_FAC8;
const V2: u32 = 0xF993_FAC9;
const V3: u32 = 0xF993_FACA;
/// The most axes that MXNet's arrays have.
const MOST_AXES: u32 = 32;

/// The parameters of an MXNet model.
///
/// ```no_run
/// let parameters = brisk_format::read_mxnet_parameters("resnet18-0000.params".as_ref())?;
/// for (name, tensor) in parameters.arguments.iter() {
///     println!("{name} {}", tensor.shape());
/// }
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MxnetParameters {
    /// What training changes (`arg:` in the file), and all of a file that does not tell them apart, as Gluon writes it. Arrays
    /// without names have their place in the file as their name.
    pub arguments: State,
    /// What runs along with training, such as the means of a batch normalization (`aux:` in the file).
    pub auxiliary: State,
}

/// Reads a `.params` file of MXNet 1.x. f16, bf16 and f64 become f32; i8, i16 and u16 become i32; u32 and u64 become i64; bool
/// becomes u8. A value that does not fit is an error, as are sparse arrays.
pub fn read_mxnet_parameters(path: &Path) -> Result<MxnetParameters> {
    let mut file = Source::open(path, "a file of MXNet parameters (.params)")?;
    read(&mut file).map_err(|f| f.malformed(path, FORMAT))
}

fn read(file: &mut Source) -> Result<MxnetParameters, Fault> {
    let magic = file.array("the head")?;
    if magic.starts_with(b"PK\x03\x04") {
        let remedy = "save them with mxnet.nd.save, or as safetensors";
        return Err(Fault::Unsupported(format!(
            "this is a ZIP file, as MXNet 2 writes its parameters; {remedy}"
        )));
    }
    let magic = u64::from_le_bytes(magic);
    if magic != LIST {
        return Err(Fault::Unsound(format!("expected it to begin with {LIST:#x}, found {magic:#x}")));
    }
    let _reserved = file.array::<8>("the head")?;
    let count = u64::from_le_bytes(file.array("the number of arrays")?);
    let mut arrays = Vec::new();
    for i in 0..count {
        let what = format!("array {i}");
        arrays.push(array(file).map_err(|f| f.within(&what))?);
    }
    let names = names(file, arrays.len())?;
    if file.left() > 0 {
        return Err(Fault::Unsound(format!("{} bytes follow behind its last name", file.left())));
    }
    sorted(names, arrays)
}

fn array(file: &mut Source) -> Result<Tensor, Fault> {
    let first = u32::from_le_bytes(file.array("the head")?);
    let shape = match first {
        V2 | V3 => {
            dense(i32::from_le_bytes(file.array("the kind of storage")?))?;
            shape(file)?
        }
        V1 => shape(file)?,
        axes => {
            check_axes(axes)?;
            let size = |_| Ok(i64::from(u32::from_le_bytes(file.array("a size")?)));
            (0..axes).map(size).collect::<Result<_, Fault>>()?
        }
    };
    let known: Option<Vec<usize>> = shape.iter().map(|&d| d.try_into().ok()).collect();
    // Only with the shapes of NumPy is something without axes a scalar.
    let Some(shape) = known.filter(|s| first == V3 || !s.is_empty()) else {
        return Err(Fault::Unsound(format!("it was saved without values, with the shape {shape:?}")));
    };
    let _device = file.array::<8>("the device")?;
    let element = element(i32::from_le_bytes(file.array("the type")?))?;
    let kind = format!("{} {shape:?}", element.name());
    let Some((elements, bytes)) = element.extent(&shape) else {
        return Err(Fault::Unsound(format!("{kind} takes more bytes than any file has")));
    };
    file.need(bytes as u64, &kind)?;
    let mut values = Elements::with_capacity(element, elements);
    values.read(file, elements)?;
    values.finish(&shape)
}

/// The number of axes, and their sizes in 64 bits. Either may be -1 in an array that was never filled.
fn shape(file: &mut Source) -> Result<Vec<i64>, Fault> {
    let axes = u32::from_le_bytes(file.array("the number of axes")?);
    if axes == u32::MAX {
        return Ok(vec![-1]);
    }
    check_axes(axes)?;
    (0..axes).map(|_| Ok(i64::from_le_bytes(file.array("a size")?))).collect()
}

fn check_axes(axes: u32) -> Result<(), Fault> {
    match axes <= MOST_AXES {
        true => Ok(()),
        false => Err(Fault::Unsound(format!("it has {axes} axes; the format allows {MOST_AXES}"))),
    }
}

fn dense(storage: i32) -> Result<(), Fault> {
    let found = match storage {
        0 => return Ok(()),
        1 => "row_sparse".into(),
        2 => "csr".into(),
        other => format!("kind {other}"),
    };
    Err(Fault::Unsupported(format!(
        "its storage is {found}; expected a dense array: convert it with tostype('default') and save it again"
    )))
}

fn element(flag: i32) -> Result<Element, Fault> {
    Ok(match flag {
        0 => Element::F32,
        1 => Element::F64,
        2 => Element::F16,
        3 => Element::U8,
        4 => Element::I32,
        5 => Element::I8,
        6 => Element::I64,
        7 => Element::Bool,
        8 => Element::I16,
        9 => Element::U16,
        10 => Element::U32,
        11 => Element::U64,
        12 => Element::Bf16,
        other => return Err(Fault::Unsound(format!("its elements are of type {other}; expected 0 to 12"))),
    })
}

/// The names, or none.
fn names(file: &mut Source, arrays: usize) -> Result<Vec<String>, Fault> {
    let count = u64::from_le_bytes(file.array("the number of names")?);
    if count != 0 && count != arrays as u64 {
        return Err(Fault::Unsound(format!("it has {arrays} arrays, but {count} names")));
    }
    let mut names = Vec::new();
    for i in 0..count {
        let what = format!("name {i}");
        let length = u64::from_le_bytes(file.array(&what)?);
        let name = file.bytes(length, &what)?;
        names.push(String::from_utf8(name).map_err(|e| Fault::Unsound(format!("{what}: {e}")))?);
    }
    Ok(names)
}

fn sorted(names: Vec<String>, arrays: Vec<Tensor>) -> Result<MxnetParameters, Fault> {
    let mut parameters = MxnetParameters::default();
    if names.is_empty() {
        parameters.arguments = arrays.into_iter().enumerate().map(|(i, a)| (i.to_string(), a)).collect();
        return Ok(parameters);
    }
    let mut seen = HashSet::new();
    for (name, array) in names.iter().zip(arrays) {
        let (state, name) = match name.strip_prefix("aux:") {
            Some(name) => (&mut parameters.auxiliary, name),
            None => (&mut parameters.arguments, name.strip_prefix("arg:").unwrap_or(name)),
        };
        if !seen.insert(name) {
            return Err(Fault::Unsound(format!("two arrays are called {name:?}")));
        }
        state.insert(name, array);
    }
    Ok(parameters)
}
