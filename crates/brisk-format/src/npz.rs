//! NumPy's `.npz`: tensors by name in a zip archive, the common tongue of examples of other frameworks.

use std::io::{BufReader, Read, Write};
use std::path::Path;

use brisk_graph::evaluate::evaluate;
use brisk_graph::{Data, Prim, Shape, Tensor};
use indexmap::IndexMap;
use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::atomic::write_atomic;
use crate::hashed::open_file;
use crate::{Error, Result};

/// No data become smaller than this by Deflate.
const MOST_SQUEEZED: u64 = 1100;
/// The most elements of an array.
const MOST: usize = 1 << 36;

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
    let mut found = IndexMap::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| wrong(e.to_string()))?;
        let name = entry.name().map_err(|e| wrong(e.to_string()))?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(String::from) else { continue };
        let size = entry.size();
        if size / MOST_SQUEEZED > entry.compressed_size().min(length) {
            return Err(wrong(format!("{name:?} claims to be {size} bytes long")));
        }
        let tensor = array(entry.take(size), size).map_err(|m| wrong(format!("{name:?}: {m}")))?;
        if found.insert(name.clone(), tensor).is_some() {
            return Err(wrong(format!("{name:?} comes twice")));
        }
    }
    Ok(found)
}

fn array(reader: impl Read, size: u64) -> Result<Tensor, String> {
    let file = NpyFile::new(BufReader::new(reader)).map_err(|e| e.to_string())?;
    let dtype = file.dtype();
    let DType::Plain(kind) = &dtype else {
        return Err(format!("elements of {} are no numbers", dtype.descr()));
    };
    let dims = file.shape().iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect::<Vec<_>>();
    let shape = Shape::from(&dims[..]);
    let bytes = dtype.num_bytes().unwrap_or(1).max(1) as u64;
    if shape.elements() > MOST || shape.elements() as u64 * bytes > size || shape.rank() > 16 {
        return Err(format!("{shape} does not fit into its {size} bytes"));
    }
    let turned = file.order() == Order::Fortran && shape.rank() > 1;
    let read = |e: std::io::Error| e.to_string();
    let data: Data = match (kind.type_char(), kind.num_bytes()) {
        (TypeChar::Float, Some(4)) => file.into_vec::<f32>().map_err(read)?.into(),
        (TypeChar::Float, Some(8)) => file.into_vec::<f64>().map_err(read)?.into(),
        (TypeChar::Float, Some(2)) => {
            let halves = file.into_vec::<half::f16>().map_err(read)?;
            halves.into_iter().map(half::f16::to_f32).collect::<Vec<f32>>().into()
        }
        (TypeChar::Int, Some(8)) => file.into_vec::<i64>().map_err(read)?.into(),
        (TypeChar::Int, Some(4)) => wide(file.into_vec::<i32>().map_err(read)?),
        (TypeChar::Int, Some(2)) => wide(file.into_vec::<i16>().map_err(read)?),
        (TypeChar::Int, Some(1)) => wide(file.into_vec::<i8>().map_err(read)?),
        (TypeChar::Uint, Some(1)) => file.into_vec::<u8>().map_err(read)?.into(),
        (TypeChar::Uint, Some(2)) => wide(file.into_vec::<u16>().map_err(read)?),
        (TypeChar::Uint, Some(4)) => wide(file.into_vec::<u32>().map_err(read)?),
        (TypeChar::Uint, Some(8)) => {
            let numbers = file.into_vec::<u64>().map_err(read)?;
            numbers.into_iter().map(|v| v as i64).collect::<Vec<_>>().into()
        }
        (TypeChar::Bool, _) => {
            let truths = file.into_vec::<bool>().map_err(read)?;
            truths.into_iter().map(u8::from).collect::<Vec<_>>().into()
        }
        _ => return Err(format!("elements of {} are not known", dtype.descr())),
    };
    if !turned {
        return Tensor::new(shape, data).map_err(|e| e.to_string());
    }
    let reversed: Vec<usize> = dims.iter().rev().copied().collect();
    let tensor = Tensor::new(reversed, data).map_err(|e| e.to_string())?;
    evaluate(&Prim::Transpose((0..dims.len()).rev().collect()), &[tensor])
}

fn wide<T: Into<i64>>(values: Vec<T>) -> Data {
    values.into_iter().map(Into::into).collect::<Vec<i64>>().into()
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
}
