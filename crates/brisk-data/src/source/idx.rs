//! IDX files, plain or gz, as of the MNIST family: `train-images-idx3-ubyte(.gz)` and the like.
//!
//! A header of big-endian numbers (0, 0, 8 for bytes, number of axes; then the size of each axis), then the bytes.

use std::path::{Path, PathBuf};

use crate::bytes::{Bytes, Input};
use crate::{Error, ImageSpec, Pixels, Result, Source};

/// The images and labels of one part.
pub(crate) struct Idx {
    path: PathBuf,
    labels_path: PathBuf,
    bytes: Bytes,
    /// Where the pixels begin.
    start: u64,
    pub image: ImageSpec,
    labels: Vec<u8>,
}

impl Idx {
    /// Opens a file of images and the file of their labels.
    pub fn open(images: &Input, labels: &Input) -> Result<Idx> {
        // The dims of images: (n, height, width) or (n, height, width, channels).
        let dims = header(images, &[3, 4])?;
        let image =
            ImageSpec { height: dims[1], width: dims[2], channels: dims.get(3).copied().unwrap_or(1) };
        let path = images.path().to_path_buf();
        if let Err(e) = image.validate() {
            let found = format!("images of {image} ({e})");
            return Err(Error::Magic { path, expected: "an IDX file of images".into(), found });
        }
        let label_dims = header(labels, &[1])?;
        let labels_path = labels.path().to_path_buf();
        if dims[0] != label_dims[0] {
            let (images, labels) = (dims[0], label_dims[0]);
            return Err(Error::CountMismatch { images_path: path, images, labels_path, labels });
        }
        let n = dims[0] as u64;
        let label_bytes = labels.read(8 + n, &format!("a file of {n} labels"))?;
        let mut label_values = vec![0; dims[0]];
        label_bytes.read_at(8, &mut label_values)?;
        let start = 4 + 4 * dims.len() as u64;
        let size = n.saturating_mul(image.elements() as u64).saturating_add(start);
        let bytes = images.read(size, &format!("a file of {n} images of {image}"))?;
        Ok(Idx { path, labels_path, bytes, start, image, labels: label_values })
    }

    /// One more than the largest label.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&l| l as usize + 1)
    }

    fn offset(&self, index: usize) -> u64 {
        self.start + index as u64 * self.image.elements() as u64
    }
}

/// Reads the sizes of the axes, of which there must be one of the numbers in `ranks`.
fn header(input: &Input, ranks: &[u8]) -> Result<Vec<usize>> {
    let path = input.path();
    let head = input.head(20)?;
    let expected = || {
        let magics: Vec<_> = ranks.iter().map(|r| format!("00 00 08 {r:02x}")).collect();
        format!("the IDX magic number {}", magics.join(" or "))
    };
    let Some(magic) = head.first_chunk::<4>() else {
        let (what, found) = ("an IDX header".to_string(), head.len() as u64);
        return Err(Error::Truncated { path: path.into(), what, expected: 8, found });
    };
    let rank = magic[3];
    if magic[..3] != [0, 0, 8] || !ranks.contains(&rank) {
        let found = magic.map(|b| format!("{b:02x}")).join(" ");
        return Err(Error::Magic { path: path.into(), expected: expected(), found });
    }
    let dims: Vec<usize> = head[4..]
        .chunks_exact(4)
        .take(rank as usize)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    if dims.len() < rank as usize {
        let (expected, found) = (4 + 4 * u64::from(rank), head.len() as u64);
        return Err(Error::Truncated { path: path.into(), what: "an IDX header".into(), expected, found });
    }
    Ok(dims)
}

impl Source for Idx {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index].into()
    }

    fn raw(&self, index: usize) -> Result<Pixels> {
        let mut pixels = vec![0; self.image.elements()];
        self.bytes.read_at(self.offset(index), &mut pixels)?;
        Pixels::new(self.image, pixels)
    }

    fn name(&self, index: usize) -> String {
        format!("{}, image {index}", self.path.display())
    }

    fn label_place(&self, index: usize) -> String {
        format!("{}, label {index} at offset {}", self.labels_path.display(), 8 + index)
    }

    fn read(&self, index: usize, spec: &ImageSpec, out: &mut [u8]) -> Result<()> {
        if *spec == self.image {
            return self.bytes.read_at(self.offset(index), out);
        }
        out.copy_from_slice(self.raw(index)?.convert(*spec)?.pixels());
        Ok(())
    }
}

/// The four files of a data set: as MNIST names them, plain or gz.
pub(crate) struct Files {
    pub train: Option<(Input, Input)>,
    pub test: Option<(Input, Input)>,
}

impl Files {
    /// Looks for the files in a folder. Only half of a pair is an error.
    pub fn find(dir: &Path) -> Result<Files> {
        let pair = |prefix: &str| {
            let images = find(dir, &format!("{prefix}-images"), "idx3-ubyte");
            let labels = find(dir, &format!("{prefix}-labels"), "idx1-ubyte");
            match (images, labels) {
                (Some(i), Some(l)) => Ok(Some((Input::Path(i), Input::Path(l)))),
                (None, None) => Ok(None),
                (Some(_), None) => Err(missing(dir, &format!("{prefix}-labels-idx1-ubyte"))),
                (None, Some(_)) => Err(missing(dir, &format!("{prefix}-images-idx3-ubyte"))),
            }
        };
        let test = match pair("t10k")? {
            None => pair("test")?,
            found => found,
        };
        Ok(Files { train: pair("train")?, test })
    }
}

fn missing(dir: &Path, name: &str) -> Error {
    Error::Missing {
        path: dir.join(name),
        remedy: "Its partner is there: put this file, plain or .gz, beside it".into(),
    }
}

/// `train-images-idx3-ubyte`, with a dot as some unpackers write it, plain or gz.
fn find(dir: &Path, stem: &str, ending: &str) -> Option<PathBuf> {
    ["-", "."]
        .iter()
        .flat_map(|dot| ["", ".gz"].map(|gz| dir.join(format!("{stem}{dot}{ending}{gz}"))))
        .find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{gzip, idx, write};

    /// Two images of 2x3, classes 1 and 0.
    fn files() -> (Vec<u8>, Vec<u8>) {
        (idx(&[2, 2, 3], &(0..12).collect::<Vec<_>>()), idx(&[2], &[1, 0]))
    }

    fn open(images: &[u8], labels: &[u8]) -> Result<Idx> {
        let dir = tempfile::tempdir().unwrap();
        let (i, l) = (dir.path().join("images"), dir.path().join("labels"));
        write(&i, images);
        write(&l, labels);
        Idx::open(&Input::Path(i), &Input::Path(l))
    }

    #[test]
    fn reads_plain_and_gz() {
        let (images, labels) = files();
        for (i, l) in [(images.clone(), labels.clone()), (gzip(&images), gzip(&labels))] {
            let s = open(&i, &l).unwrap();
            assert_eq!((s.len(), s.label(0), s.label(1), s.classes()), (2, 1, 0, 2));
            assert_eq!(s.raw(1).unwrap().pixels(), [6, 7, 8, 9, 10, 11]);
            let mut out = vec![0; 18];
            s.read(0, &ImageSpec { channels: 3, ..s.image }, &mut out).unwrap();
            assert_eq!(out[3..6], [1, 1, 1]);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let (images, labels) = files();
        let message = |i: &[u8], l: &[u8]| open(i, l).map(|_| ()).unwrap_err().to_string();
        assert!(
            message(&images[..20], &labels)
                .contains("truncated: a file of 2 images of 2x3x1 needs 28 bytes, only 20")
        );
        assert!(message(&images[..3], &labels).contains("truncated: an IDX header"));
        assert!(message(&images, &labels[..9]).contains("truncated: a file of 2 labels"));
        assert!(
            message(&[&images[..], &[0]].concat(), &labels).contains("29 bytes where the header promises 28")
        );
        assert!(message(&labels, &images).contains("expected the IDX magic number 00 00 08 03"));
        assert!(message(b"GIF89a", &labels).contains("found 47 49 46 38"));
        assert!(message(&images, &idx(&[1], &[0])).contains("holds 2 images, but"));
        let packed = gzip(&images);
        assert!(message(&packed[..packed.len() - 9], &labels).contains("truncated"));
        let mut damaged = packed.clone();
        let n = damaged.len();
        damaged[n - 6] ^= 0xff; // in the checksum
        assert!(message(&damaged, &labels).contains("damaged gzip data"));
    }

    #[test]
    fn a_header_that_lies_takes_no_memory() {
        let bomb = gzip(&idx(&[u32::MAX, 16_000, 16_000], &[0; 100]));
        let labels = gzip(&idx(&[u32::MAX], &[0; 100]));
        let error = open(&bomb, &labels).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0usize..28, value: u8, cut in 0usize..28, packed: bool) {
            let (mut images, labels) = files();
            images[at] = value;
            images.truncate(28 - cut);
            let images = if packed { gzip(&images) } else { images };
            if let Ok(s) = open(&images, &labels) {
                for i in 0..s.len() {
                    s.raw(i).unwrap();
                }
            }
        }

        #[test]
        fn random_bytes_never_panic(images in proptest::collection::vec(any::<u8>(), 0..99)) {
            let _ = open(&images, &files().1);
            let _ = open(&files().0, &images);
        }
    }
}
