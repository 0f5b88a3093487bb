//! CIFAR-10 and CIFAR-100, binary version: records of one label byte (CIFAR-100: coarse, then fine) and 3072 pixel
//! bytes, the red, green and blue planes of 32x32 one after another.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::{Error, ImageSpec, Kind, Pixels, Result, Source};

const PLANE: usize = 32 * 32;

/// The size of every image.
pub(crate) const IMAGE: ImageSpec = ImageSpec { height: 32, width: 32, channels: 3 };

/// What tells the two data sets apart.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    label_bytes: usize,
    /// Which of the label bytes is the class.
    label_at: usize,
    names_file: &'static str,
    pub classes: usize,
}

impl Layout {
    pub fn new(kind: Kind, coarse: bool) -> Layout {
        match (kind, coarse) {
            (Kind::Cifar100, false) => {
                Layout { label_bytes: 2, label_at: 1, names_file: "fine_label_names.txt", classes: 100 }
            }
            (Kind::Cifar100, true) => {
                Layout { label_bytes: 2, label_at: 0, names_file: "coarse_label_names.txt", classes: 20 }
            }
            _ => Layout { label_bytes: 1, label_at: 0, names_file: "batches.meta.txt", classes: 10 },
        }
    }

    fn record(self) -> usize {
        self.label_bytes + 3 * PLANE
    }

    /// The names of the classes, from the file beside the data.
    pub fn names(self, dir: &Path) -> Option<Vec<String>> {
        let text = fs::read_to_string(dir.join(self.names_file)).ok()?;
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|l| !l.is_empty()).map(Into::into).collect();
        (!names.is_empty()).then_some(names)
    }
}

/// Some files of records, one after another.
pub(crate) struct Cifar {
    layout: Layout,
    files: Vec<(PathBuf, Bytes)>,
    /// Number of the first record of each file.
    starts: Vec<usize>,
    labels: Vec<u8>,
}

impl Cifar {
    /// Opens files of records. Reads their labels; images stay in the files.
    pub fn open(paths: Vec<PathBuf>, layout: Layout) -> Result<Cifar> {
        let (mut files, mut starts, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let record = layout.record() as u64;
        for path in paths {
            let bytes = Bytes::open(&path)?;
            let n = bytes.len() / record;
            if bytes.len() % record != 0 {
                let what = format!("record {n} (each is {record} bytes)");
                return Err(Error::Truncated { path, what, expected: (n + 1) * record, found: bytes.len() });
            }
            starts.push(labels.len());
            for i in 0..n {
                let mut label = [0];
                bytes.read_at(i * record + layout.label_at as u64, &mut label)?;
                labels.push(label[0]);
            }
            files.push((path, bytes));
        }
        Ok(Cifar { layout, files, starts, labels })
    }

    /// The file of a sample and the number of its record there.
    fn locate(&self, index: usize) -> (&(PathBuf, Bytes), usize) {
        let file = self.starts.partition_point(|&s| s <= index).saturating_sub(1);
        (&self.files[file], index - self.starts[file])
    }
}

impl Source for Cifar {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index].into()
    }

    fn raw(&self, index: usize) -> Result<Pixels> {
        let mut pixels = vec![0; IMAGE.elements()];
        self.read(index, &IMAGE, &mut pixels)?;
        Pixels::new(IMAGE, pixels)
    }

    fn name(&self, index: usize) -> String {
        let ((path, _), record) = self.locate(index);
        format!("{}, record {record}", path.display())
    }

    fn label_place(&self, index: usize) -> String {
        let ((path, _), record) = self.locate(index);
        let offset = record * self.layout.record() + self.layout.label_at;
        format!("{}, record {record}, offset {offset}", path.display())
    }

    fn read(&self, index: usize, spec: &ImageSpec, out: &mut [u8]) -> Result<()> {
        if *spec != IMAGE {
            out.copy_from_slice(self.raw(index)?.convert(*spec)?.pixels());
            return Ok(());
        }
        let ((_, bytes), record) = self.locate(index);
        let mut planes = [0; 3 * PLANE];
        bytes.read_at((record * self.layout.record() + self.layout.label_bytes) as u64, &mut planes)?;
        let (red, rest) = planes.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        for (((pixel, r), g), b) in out.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
            pixel.copy_from_slice(&[*r, *g, *b]);
        }
        Ok(())
    }
}

/// The folder with the files: this one, or the one that the official archive unpacks to in it.
pub(crate) fn folder(dir: &Path, kind: Kind) -> PathBuf {
    let inner = dir.join(match kind {
        Kind::Cifar100 => "cifar-100-binary",
        _ => "cifar-10-batches-bin",
    });
    if inner.is_dir() { inner } else { dir.to_path_buf() }
}

/// The files of the training part and the file of the test part.
pub(crate) fn files(dir: &Path, kind: Kind) -> Result<(Vec<PathBuf>, Option<PathBuf>)> {
    let (train, test) = match kind {
        Kind::Cifar100 => (vec![dir.join("train.bin")], dir.join("test.bin")),
        _ => ((1..=5).map(|i| dir.join(format!("data_batch_{i}.bin"))).collect(), dir.join("test_batch.bin")),
    };
    let train: Vec<PathBuf> = train.into_iter().filter(|p| p.is_file()).collect();
    let test = test.is_file().then_some(test);
    if train.is_empty() && test.is_none() {
        let expected = if kind == Kind::Cifar100 { "train.bin" } else { "data_batch_1.bin" };
        return Err(Error::Missing {
            path: dir.join(expected),
            remedy: "Expected the files of the binary version of the data set there".into(),
        });
    }
    Ok((train, test))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{cifar, write};

    fn open(files: &[Vec<u8>], kind: Kind, coarse: bool) -> Result<Cifar> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..files.len()).map(|i| dir.path().join(format!("{i}.bin"))).collect();
        paths.iter().zip(files).for_each(|(p, f)| write(p, f));
        Cifar::open(paths, Layout::new(kind, coarse))
    }

    #[test]
    fn reads_records_across_files() {
        let files = [cifar(&[&[3], &[9]]), cifar(&[&[0]])];
        let s = open(&files, Kind::Cifar10, false).unwrap();
        assert_eq!((0..3).map(|i| s.label(i)).collect::<Vec<_>>(), [3, 9, 0]);
        assert_eq!(s.raw(1).unwrap().pixels()[..6], [9, 10, 11, 9, 10, 11]);
        assert_eq!(s.raw(2).unwrap().pixels()[3069..], [0, 1, 2]);
        assert!(s.name(2).ends_with("1.bin, record 0"), "{}", s.name(2));
        assert!(s.label_place(1).ends_with("record 1, offset 3073"), "{}", s.label_place(1));
    }

    #[test]
    fn reads_fine_and_coarse_labels() {
        let files = [cifar(&[&[4, 77]])];
        let fine = open(&files, Kind::Cifar100, false).unwrap();
        assert_eq!((fine.label(0), fine.raw(0).unwrap().pixels()[0]), (77, 77));
        assert_eq!(open(&files, Kind::Cifar100, true).unwrap().label(0), 4);
    }

    #[test]
    fn a_truncated_file_names_the_record() {
        let mut file = cifar(&[&[3], &[9]]);
        file.pop();
        let error = open(&[file], Kind::Cifar10, false).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("truncated: record 1 (each is 3073 bytes) needs 6146 bytes, only 6145"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..7000), hundred: bool) {
            let kind = if hundred { Kind::Cifar100 } else { Kind::Cifar10 };
            if let Ok(s) = open(&[bytes], kind, false) {
                for i in 0..s.len() {
                    s.raw(i).unwrap();
                }
            }
        }
    }
}
