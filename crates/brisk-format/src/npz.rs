//! NumPy's `.npz`: tensors by name in a zip archive, the common tongue of examples of other frameworks.

use std::io::{BufReader, Read, Write};
use std::path::Path;

use brisk_graph::evaluate::evaluate;
use brisk_graph::{Data, Prim, Shape, Tensor};
use indexmap::IndexMap;
use npyz::{DType, Deserialize, TypeChar, TypeRead, TypeStr, WriterBuilder};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::atomic::write_atomic;
use crate::budget::Budget;
use crate::error::quoted;
use crate::hashed::open_file;
use crate::{Error, Result};

/// By how much arrays may be packed all together, and what they may take beyond that, in bytes.
const PACKED: u64 = 100;
const MORE: u64 = 256 << 20;
/// The longest header, as in NumPy.
const LONGEST_HEADER: usize = 10_000;
/// The most axes.
const MOST_AXES: usize = 16;

/// Reads a `.npz` file. Floats of 16 bits become f32, whole numbers but for bytes i64, truth values u8.
///
/// ```
/// use brisk_format::{load_npz, save_npz};
/// use brisk_graph::Tensor;
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("inputs.npz");
/// let x = Tensor::new([2, 2], vec![1.0f32, 2.0, 3.0, 4.0])?;
/// save_npz(&path, &[("x", &x)])?;
/// assert_eq!(load_npz(&path)?["x"], x);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_npz(path: &Path) -> Result<IndexMap<String, Tensor>> {
    let (file, length) = open_file(path, "a .npz file")?;
    let wrong = |message: String| {
        Error::content(path, format!("no sound .npz file: {message}; write it with numpy.savez"))
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| wrong(e.to_string()))?;
    let mut budget = Budget::of(length, PACKED, MORE);
    let mut found = IndexMap::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| wrong(e.to_string()))?;
        let name = entry.name().map_err(|e| wrong(e.to_string()))?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(String::from) else { continue };
        let tensor =
            array(BufReader::new(entry), &mut budget).map_err(|m| wrong(format!("{name:?}: {m}")))?;
        if found.insert(name.clone(), tensor).is_some() {
            return Err(wrong(format!("{name:?} comes twice")));
        }
    }
    Ok(found)
}

fn array(mut reader: impl Read, budget: &mut Budget) -> Result<Tensor, String> {
    let Header { kind, turned, dims } = header(&mut reader)?;
    let shape = Shape::from(&dims[..]);
    // With sizes of 0 as 1, so that no product of some of them overflows.
    let most = dims.iter().try_fold(size_of::<i64>(), |n, &d| n.checked_mul(d.max(1)));
    if most.is_none_or(|most| isize::try_from(most).is_err()) || dims.len() > MOST_AXES {
        return Err(format!("{shape} has more elements or axes than are read"));
    }
    let mut values = Values { reader, dtype: DType::Plain(kind.clone()), count: shape.elements(), budget };
    let data: Data = match (kind.type_char(), kind.num_bytes()) {
        (TypeChar::Float, Some(4)) => values.all(|v: f32| Ok(v))?.into(),
        (TypeChar::Float, Some(8)) => values.all(|v: f64| Ok(v))?.into(),
        (TypeChar::Float, Some(2)) => values.all(|v: half::f16| Ok(v.to_f32()))?.into(),
        (TypeChar::Int, Some(8)) => values.all(|v: i64| Ok(v))?.into(),
        (TypeChar::Int, Some(4)) => values.all(|v: i32| Ok(i64::from(v)))?.into(),
        (TypeChar::Int, Some(2)) => values.all(|v: i16| Ok(i64::from(v)))?.into(),
        (TypeChar::Int, Some(1)) => values.all(|v: i8| Ok(i64::from(v)))?.into(),
        (TypeChar::Uint, Some(1)) => values.all(|v: u8| Ok(v))?.into(),
        (TypeChar::Uint, Some(2)) => values.all(|v: u16| Ok(i64::from(v)))?.into(),
        (TypeChar::Uint, Some(4)) => values.all(|v: u32| Ok(i64::from(v)))?.into(),
        (TypeChar::Uint, Some(8)) => {
            values.all(|v: u64| i64::try_from(v).map_err(|_| format!("{v} does not fit into int64")))?.into()
        }
        (TypeChar::Bool, _) => values.all(|v: bool| Ok(u8::from(v)))?.into(),
        _ => return Err(format!("elements of {kind} are not known")),
    };
    if !turned || data.is_empty() {
        return Tensor::new(shape, data).map_err(|e| e.to_string());
    }
    let reversed: Vec<usize> = dims.iter().rev().copied().collect();
    let tensor = Tensor::new(reversed, data).map_err(|e| e.to_string())?;
    evaluate(&Prim::Transpose((0..dims.len()).rev().collect()), &[tensor])
}

/// The elements of an array, which were not read yet.
struct Values<'a, R> {
    reader: R,
    dtype: DType,
    count: usize,
    budget: &'a mut Budget,
}

impl<R: Read> Values<'_, R> {
    fn all<T: Deserialize, U>(&mut self, convert: impl Fn(T) -> Result<U, String>) -> Result<Vec<U>, String> {
        self.budget.take(self.count.saturating_mul(size_of::<U>())).map_err(|most| {
            format!("its arrays take more than {most} bytes, which is too much for a file of its length")
        })?;
        let element = T::reader(&self.dtype).map_err(|e| e.to_string())?;
        let mut one = || element.read_one(&mut self.reader).map_err(|e| e.to_string());
        (0..self.count).map(|_| convert(one()?)).collect()
    }
}

/// What stands before the elements of an array.
struct Header {
    kind: TypeStr,
    /// The first axis changes fastest.
    turned: bool,
    dims: Vec<usize>,
}

/// Reads the magic bytes, the version, and what NumPy writes of a plain array, a dictionary of Python's:
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn header(reader: &mut impl Read) -> Result<Header, String> {
    let mut bytes = |count: usize| {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).map(|()| bytes).map_err(|e| e.to_string())
    };
    let length = match bytes(8)?[..] {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => bytes(2)?,
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => bytes(4)?,
        _ => return Err("it does not begin as an array of NumPy of version 1 to 3".into()),
    };
    let length = length.iter().rev().fold(0, |n, &b| (n << 8) | usize::from(b));
    if length > LONGEST_HEADER {
        return Err(format!("its header has {length} bytes; expected {LONGEST_HEADER} at most"));
    }
    let text = String::from_utf8(bytes(length)?).map_err(|e| e.to_string())?.replace('"', "'");
    let after = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}'"))?;
        rest.trim_start().strip_prefix(':').map(str::trim_start)
    };
    let known = || {
        let (descr, order, shape) = (after("descr")?, after("fortran_order")?, after("shape")?);
        let sizes = shape.strip_prefix(['(', '['])?.split([')', ']']).next()?;
        let sizes = sizes.split(',').map(|n| n.trim().trim_end_matches('L')).filter(|n| !n.is_empty());
        Some((
            descr,
            order.starts_with("True"),
            sizes.map(|n| n.parse().ok()).collect::<Option<Vec<usize>>>()?,
        ))
    };
    let Some((descr, turned, dims)) = known() else {
        return Err(format!(
            "expected a header with descr, fortran_order and shape, found {}",
            quoted(&text)
        ));
    };
    let plain = descr.strip_prefix('\'').and_then(|d| d.split('\'').next());
    match plain.and_then(|d| d.parse().ok()) {
        Some(kind) => Ok(Header { kind, turned, dims }),
        None => Err(format!("expected elements that are numbers, found {}", quoted(plain.unwrap_or(descr)))),
    }
}

/// Writes a `.npz` file, uncompressed, as a whole or not at all.
pub fn save_npz(path: &Path, tensors: &[(&str, &Tensor)]) -> Result<()> {
    write_atomic(path, |file| {
        let mut archive = ZipWriter::new_stream(file);
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        for (name, tensor) in tensors {
            archive.start_file(format!("{name}.npy"), options).map_err(std::io::Error::other)?;
            write(&mut archive, tensor)?;
        }
        archive.finish().map_err(std::io::Error::other)?;
        Ok(())
    })
}

fn write(to: &mut impl Write, tensor: &Tensor) -> std::io::Result<()> {
    let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
    macro_rules! all {
        ($values:expr) => {{
            let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(to).begin_nd()?;
            writer.extend($values.iter())?;
            writer.finish()
        }};
    }
    match tensor.data() {
        Data::F32(v) => all!(v),
        Data::F64(v) => all!(v),
        Data::I32(v) => all!(v),
        Data::I64(v) => all!(v),
        Data::U8(v) => all!(v),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_come_back_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.npz");
        let tensors = [
            Tensor::new([2, 1], vec![0.5f32, f32::NEG_INFINITY]).unwrap(),
            Tensor::new([0, 3], Vec::<f64>::new()).unwrap(),
            Tensor::new([0; 0], vec![i64::MIN]).unwrap(),
            Tensor::new([3], vec![1u8, 2, 255]).unwrap(),
        ];
        let names = ["a", "b", "c/d", "e"];
        let all: Vec<_> = names.into_iter().zip(&tensors).collect();
        save_npz(&path, &all).unwrap();
        let read = load_npz(&path).unwrap();
        assert!(read.iter().map(|(n, t)| (n.as_str(), t)).eq(all));
        let bytes = std::fs::read(&path).unwrap();
        for end in (0..bytes.len()).step_by(7) {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert!(load_npz(&path).unwrap_err().to_string().contains("no sound .npz file"));
        }
    }

    /// An array as a file has it.
    fn npy(header: &str, values: &[u8]) -> Vec<u8> {
        let head = [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes()];
        [&head.concat()[..], values].concat()
    }

    fn read(header: &str, values: &[u8]) -> Result<Tensor, String> {
        array(&npy(header, values)[..], &mut Budget::new(1 << 10))
    }

    #[test]
    fn what_other_programs_write_is_read() {
        let numbers = [1u16, 2, 3, 4, 5, 6];
        let values: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        let expected = Tensor::new([2, 3], vec![1i64, 3, 5, 2, 4, 6]).unwrap();
        for header in [
            "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 3), }      \n",
            "{\"descr\": \">u2\", \"fortran_order\": True, \"shape\": [2, 3]}",
            "{'shape' : (2L,3L), 'fortran_order':True, 'descr':'>u2'}",
        ] {
            assert_eq!(read(header, &values).unwrap(), expected, "{header}");
        }
        let one = read("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", &1.5f64.to_le_bytes());
        assert_eq!(one.unwrap(), Tensor::new([0; 0], vec![1.5f64]).unwrap());
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let plain = |descr: &str, shape: &str| {
            read(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"), &[255; 8])
        };
        let refused = |descr: &str, shape: &str| plain(descr, shape).unwrap_err();
        // A grammar of Python's literals that goes back at each bracket takes 2^60 steps.
        let deep = ["[".repeat(60), "]".repeat(60)].concat();
        assert!(refused(&deep, "(1,)").contains("expected elements that are numbers, found \"[[["));
        assert!(refused("[('a', '<f4')]", "(1,)").contains("expected elements that are numbers"));
        assert!(refused("'|O'", "(1,)").contains("elements of |O are not known"));
        assert!(refused("'<u8'", "(1,)").contains("18446744073709551615 does not fit into int64"));
        for shape in [
            "(1099511627776, 1099511627776)",
            "(0, 9223372036854775807, 3)",
            "(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)",
        ] {
            assert!(refused("'<f4'", shape).contains("more elements or axes than are read"), "{shape}");
        }
        for shape in ["(99999999999999999999,)", "(-1,)", "1", "(a,)"] {
            assert!(refused("'<f4'", shape).contains("expected a header with descr"), "{shape}");
        }
        assert!(refused("'<f4'", "(1000,)").contains("bytes, which is too much for a file of its length"));
        assert!(refused("'<f4'", "(3,)").contains("failed to fill whole buffer"));
        let long = read(&" ".repeat(LONGEST_HEADER + 1), &[]).unwrap_err();
        assert!(long.contains("its header has 10001 bytes"), "{long}");
    }

    #[test]
    fn arrays_that_share_their_bytes_are_counted_one_by_one() {
        let bytes = npy("{'descr': '|i1', 'fortran_order': False, 'shape': (4,), }", &[1; 4]);
        // Each byte becomes eight.
        let mut budget = Budget::new(64);
        let read = (0..3).map(|_| array(&bytes[..], &mut budget).is_ok()).collect::<Vec<_>>();
        assert_eq!(read, [true, true, false]);
    }
}
