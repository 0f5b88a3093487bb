//! The crate from outside: files on disk, opened by name or path, checked, divided, batched.

mod errors;
mod features;
mod sources;
mod tokenizer;

use std::fs;
use std::path::Path;

/// Writes a file and the folders above it.
fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An IDX file of bytes.
fn idx(dims: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
    out.extend(payload);
    out
}

/// CIFAR-10 records, the pixels of each its label.
fn cifar(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|&l| std::iter::repeat_n(l, 3073)).collect()
}

/// A PNG of one colour.
fn png(value: u8) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(4, 4, image::Rgb([value; 3]))
        .write_to(&mut out, image::ImageFormat::Png)
        .unwrap();
    out.into_inner()
}
