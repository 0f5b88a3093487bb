//! Image files to pixels: PNG, JPEG, WebP, BMP, within limits that protect memory.

use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::{Error, ImageSpec, Pixels, Result};

/// Longest side of an image, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most memory that one decoded image may take.
const MAX_DECODED: u64 = 512 << 20;
/// Largest image file.
const MAX_FILE: u64 = 256 << 20;

/// The file name endings of images that can be read, in lower case.
pub(crate) const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];

/// Reads an image file and decodes it.
pub(crate) fn read_file(path: &Path) -> Result<Pixels> {
    decode_image(&read_bytes(path)?, &path.display().to_string())
}

/// The size of an image file, from its header alone.
pub(crate) fn read_header(path: &Path) -> Result<ImageSpec> {
    let place = path.display().to_string();
    guarded(&place, || header(&read_bytes(path)?, &place))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map_err(Error::io(path))?.len();
    if size > MAX_FILE {
        return Err(Error::TooLarge {
            place: path.display().to_string(),
            found: format!("a file of {} MiB", size >> 20),
            limit: format!("{} MiB", MAX_FILE >> 20),
        });
    }
    fs::read(path).map_err(Error::io(path))
}

/// Decodes the bytes of an image file: PNG, JPEG, WebP or BMP, told apart by their first bytes.
/// Grey images have one channel, all others three; transparency is dropped; the orientation that a camera
/// notes is applied. `place` names the image in errors.
///
/// ```
/// let error = brisk_data::decode_image(b"GIF89a...", "cat.gif").unwrap_err();
/// assert!(error.to_string().starts_with("cat.gif: not a readable image"));
/// ```
pub fn decode_image(bytes: &[u8], place: &str) -> Result<Pixels> {
    guarded(place, || decode_unguarded(bytes, place))
}

/// The size of an image from the bytes of its file, without decoding it.
///
/// ```
/// assert!(brisk_data::image_size(b"GIF89a...", "cat.gif").is_err());
/// ```
pub fn image_size(bytes: &[u8], place: &str) -> Result<ImageSpec> {
    guarded(place, || header(bytes, place))
}

/// Decoders are meant not to panic; if one does, it is this image that cannot be read, and nothing worse.
fn guarded<T>(place: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(bad(place)("the decoder failed")))
}

fn bad<R: ToString>(place: &str) -> impl Fn(R) -> Error {
    let place = place.to_string();
    move |reason| Error::Image { place: place.clone(), reason: reason.to_string() }
}

/// A decoder that has read the header, and what it says.
fn open<'a>(bytes: &'a [u8], place: &str) -> Result<(impl ImageDecoder + 'a, ImageFormat, bool)> {
    if bytes.is_empty() {
        return Err(bad(place)("the file is empty"));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    let reader = reader.with_guessed_format().map_err(bad(place))?;
    let format = reader.format().ok_or_else(|| bad(place)("expected PNG, JPEG, WebP or BMP"))?;
    let decoder = reader.into_decoder().map_err(|e| match e {
        image::ImageError::Limits(_) => too_large(place, "larger than that".into()),
        e => bad(place)(e.to_string()),
    })?;
    let (w, h) = decoder.dimensions();
    if w == 0 || h == 0 {
        return Err(bad(place)(format!("its size is {h}x{w}")));
    }
    if w > MAX_SIDE || h > MAX_SIDE || decoder.total_bytes() > MAX_DECODED {
        return Err(too_large(place, format!("an image of {h}x{w} pixels")));
    }
    let grey = !decoder.color_type().has_color();
    Ok((decoder, format, grey))
}

fn too_large(place: &str, found: String) -> Error {
    let limit = format!("{MAX_SIDE} pixels a side and {} MiB in memory", MAX_DECODED >> 20);
    Error::TooLarge { place: place.into(), found, limit }
}

fn header(bytes: &[u8], place: &str) -> Result<ImageSpec> {
    let (mut decoder, _, grey) = open(bytes, place)?;
    let (w, h) = decoder.dimensions();
    let turned = matches!(
        decoder.orientation(),
        Ok(Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH)
    );
    let (height, width) = if turned { (w, h) } else { (h, w) };
    Ok(ImageSpec { height: height as usize, width: width as usize, channels: if grey { 1 } else { 3 } })
}

fn decode_unguarded(bytes: &[u8], place: &str) -> Result<Pixels> {
    let (mut decoder, format, grey) = open(bytes, place)?;
    if format == ImageFormat::Jpeg && !ends_properly(bytes) {
        return Err(bad(place)("truncated: the end of the JPEG is missing"));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(bad(place))?;
    image.apply_orientation(orientation);
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (channels, pixels) =
        if grey { (1, image.into_luma8().into_raw()) } else { (3, image.into_rgb8().into_raw()) };
    Pixels::new(ImageSpec { height, width, channels }, pixels)
}

/// A JPEG decoder fills what is missing with grey; a file without an end marker behind its last scan is cut off.
fn ends_properly(jpeg: &[u8]) -> bool {
    let last = |marker: u8| jpeg.windows(2).rposition(|w| w == [0xff, marker]);
    matches!((last(0xda), last(0xd9)), (Some(scan), Some(end)) if end > scan)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{FORMATS, encode, gradient};

    #[test]
    fn reads_every_format() {
        for (format, exact) in FORMATS {
            for channels in [1, 3] {
                let original = gradient(12, 9, channels);
                let back = decode_image(&encode(&original, format), "x").unwrap();
                let back = back.convert(original.spec()).unwrap();
                let worst = back.pixels().iter().zip(original.pixels()).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(worst.unwrap() <= if exact { 1 } else { 16 }, "{format:?} {worst:?}");
            }
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for (format, _) in FORMATS {
            let bytes = encode(&gradient(16, 16, 3), format);
            for len in [0, 1, 8, 30, bytes.len() / 2, bytes.len() * 3 / 4] {
                let result = decode_image(&bytes[..len], "torn");
                assert!(
                    matches!(&result, Err(e) if e.to_string().starts_with("torn: ")),
                    "{format:?} {len} {result:?}"
                );
            }
        }
    }

    #[test]
    fn an_image_that_claims_to_be_huge_is_refused_before_it_takes_memory() {
        let mut bmp = encode(&gradient(2, 2, 3), ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&60_000i32.to_le_bytes());
        bmp[22..26].copy_from_slice(&60_000i32.to_le_bytes());
        let error = decode_image(&bmp, "bomb.bmp").unwrap_err();
        assert!(error.to_string().contains("bomb.bmp"), "{error}");
        assert!(matches!(error, Error::TooLarge { .. } | Error::Image { .. }), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damaged_bytes_never_panic(which in 0usize..4, at in 0usize..2000, value: u8, cut in 0usize..2000) {
            let mut bytes = encode(&gradient(8, 8, 3), FORMATS[which].0);
            let n = bytes.len();
            bytes[at % n] = value;
            bytes.truncate(n - cut % n);
            let _ = decode_unguarded(&bytes, "x");
            let _ = header(&bytes, "x");
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode_unguarded(&bytes, "x").is_err());
        }
    }
}
