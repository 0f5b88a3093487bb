//! Files for tests: made here, so that the repository need not carry them.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

use crate::{ImageSpec, Pixels};

/// The image formats, and whether they keep every pixel.
pub(crate) const FORMATS: [(ImageFormat, bool); 4] = [
    (ImageFormat::Png, true),
    (ImageFormat::Jpeg, false),
    (ImageFormat::WebP, true),
    (ImageFormat::Bmp, true),
];

/// A smooth picture.
pub(crate) fn gradient(height: usize, width: usize, channels: usize) -> Pixels {
    let spec = ImageSpec { height, width, channels };
    let pixel =
        |i: usize| ((i / channels / width) * 6 + (i / channels % width) * 3 + (i % channels) * 20) as u8;
    Pixels::new(spec, (0..spec.elements()).map(pixel).collect()).unwrap()
}

/// A picture of one colour.
pub(crate) fn plain(height: usize, width: usize, channels: usize, value: u8) -> Pixels {
    let spec = ImageSpec { height, width, channels };
    Pixels::new(spec, vec![value; spec.elements()]).unwrap()
}

/// The bytes of an image file.
pub(crate) fn encode(image: &Pixels, format: ImageFormat) -> Vec<u8> {
    let (w, h) = (image.spec().width as u32, image.spec().height as u32);
    let image = match image.spec().channels {
        1 => DynamicImage::ImageLuma8(GrayImage::from_raw(w, h, image.pixels().to_vec()).unwrap()),
        _ => DynamicImage::ImageRgb8(RgbImage::from_raw(w, h, image.pixels().to_vec()).unwrap()),
    };
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// Writes an image file, its format by its name, and the folders above it.
pub(crate) fn write_image(path: &Path, image: &Pixels) {
    let format = ImageFormat::from_path(path).unwrap();
    write(path, &encode(image, format));
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file of bytes.
pub(crate) fn idx(dims: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
    out.extend(payload);
    out
}

/// CIFAR records: labels, then 3072 bytes of which each plane is its label plus the number of the plane.
pub(crate) fn cifar(labels: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for label in labels {
        out.extend(*label);
        for plane in 0..3 {
            out.extend([label[label.len() - 1].wrapping_add(plane); 1024]);
        }
    }
    out
}
