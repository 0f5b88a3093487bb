//! `get`: fetches a known data set, or takes it from files that are there already, and puts it where [`crate::open`]
//! finds it. All or nothing: everything is put together, checked and opened in a folder beside, then renamed.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::error::nearest;
use crate::known::{Checksum, Download, Known, SAMPLE, data_dir, known};
use crate::{Checks, Error, FileSpec, OpenOptions, Result, SourceSpec, open};

/// Largest file that an archive may unpack to.
const MAX_MEMBER: u64 = 8 << 30;

/// What is told of a download: the file, the bytes so far, and all bytes if they are known.
pub type Progress<'a> = dyn FnMut(&str, u64, Option<u64>) + 'a;

/// How to get a data set.
#[derive(Default)]
pub struct GetOptions<'a> {
    /// Take it from this file, or from the files in this folder, instead of the network.
    pub from: Option<PathBuf>,
    /// Put it into a folder of its name in here instead of [`data_dir`].
    pub dir: Option<PathBuf>,
    /// Called now and then during a download.
    pub progress: Option<&'a mut Progress<'a>>,
}

/// Gets a known data set and returns the folder where it is. Nothing is fetched if it is there already.
///
/// ```
/// use brisk_data::{GetOptions, get};
/// let error = get("fashion-mnits", &mut GetOptions::default()).unwrap_err();
/// assert!(error.to_string().contains("did you mean `fashion-mnist`?"));
/// ```
pub fn get(name: &str, options: &mut GetOptions) -> Result<PathBuf> {
    if name == SAMPLE {
        let expected = "it comes with Brisk: use it as the data source at once".into();
        return Err(Error::Config { key: "data get".into(), found: name.into(), expected });
    }
    let Some(k) = known().iter().find(|k| k.name == name && !k.downloads.is_empty()) else {
        let names: Vec<_> =
            known().iter().filter(|k| !k.downloads.is_empty()).map(|k| k.name.to_string()).collect();
        let suggestion = nearest(name, names.iter().map(String::as_str));
        return Err(Error::UnknownName { name: name.into(), suggestion, known: names });
    };
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => data_dir()?,
    };
    let target = dir.join(k.name);
    if target.is_dir() && options.from.is_none() && try_open(k, &target).is_ok() {
        return Ok(target);
    }
    fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    // In the same folder, so that it can be renamed; removed again by itself if anything fails.
    let staging = tempfile::Builder::new()
        .prefix(&format!(".{}-", k.name))
        .tempdir_in(&dir)
        .map_err(Error::io(&dir))?;
    let place = staging.path().join(k.name);
    fs::create_dir(&place).map_err(Error::io(&place))?;
    for d in k.downloads {
        let file = obtain(k, d, &target, options, staging.path())?;
        verify(&file, d.checksum)?;
        match d.archive {
            true => unpack(&file, &place)?,
            false => copy(&file, &place.join(d.file_name()))?,
        }
    }
    if !k.classes.is_empty() && k.kind == crate::Kind::Idx {
        write(&place.join("labels.txt"), (k.classes.join("\n") + "\n").as_bytes())?;
    }
    try_open(k, &place)?;
    if target.exists() {
        fs::rename(&target, staging.path().join("old")).map_err(Error::io(&target))?;
    }
    fs::rename(&place, &target).map_err(Error::io(&target))?;
    Ok(target)
}

fn try_open(k: &Known, dir: &Path) -> Result<()> {
    let spec = SourceSpec::Files(FileSpec { kind: Some(k.kind), ..FileSpec::at(dir) });
    open(&spec, &OpenOptions { checks: Checks::Evaluation, ..OpenOptions::default() }).map(|_| ())
}

/// The file of a download: from the user's file or folder, or from the network.
fn obtain(
    k: &Known,
    d: &Download,
    target: &Path,
    options: &mut GetOptions,
    staging: &Path,
) -> Result<PathBuf> {
    let Some(from) = &options.from else {
        let to = staging.join(d.file_name());
        let remedy = format!(
            "Download {} by hand and run `brisk data get {} --from FILE_OR_FOLDER`, put its files into {}, \
             or give the path of a local folder as the data source",
            d.url,
            k.name,
            target.display()
        );
        fetch(d.url, &to, remedy, &mut options.progress)?;
        return Ok(to);
    };
    let file = if from.is_dir() { from.join(d.file_name()) } else { from.clone() };
    if !from.is_dir() && k.downloads.len() > 1 {
        let names: Vec<_> = k.downloads.iter().map(Download::file_name).collect();
        let remedy = format!("Give the folder that holds {}", names.join(", "));
        return Err(Error::Missing { path: from.join(d.file_name()), remedy });
    }
    match file.is_file() {
        true => Ok(file),
        false => Err(Error::Missing {
            path: file,
            remedy: format!("It is one of the files of {}: {}", k.name, d.url),
        }),
    }
}

#[cfg(feature = "download")]
use crate::http::fetch;

#[cfg(not(feature = "download"))]
fn fetch(url: &str, _: &Path, remedy: String, _: &mut Option<&mut Progress<'_>>) -> Result<()> {
    Err(Error::Download {
        url: url.into(),
        reason: "this program was built without downloads".into(),
        remedy,
    })
}

fn verify(path: &Path, checksum: Checksum) -> Result<()> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let (expected, found) = match checksum {
        Checksum::Md5(hex) => (hex, digest::<Md5>(file)),
        Checksum::UnpackedSha256(hex) => (hex, digest::<Sha256>(GzDecoder::new(file))),
    };
    let found = found.map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::Gzip { path: path.into(), offset: 0, reason: e.to_string() }
        }
        _ => Error::Io { path: path.into(), source: e },
    })?;
    match found == expected {
        true => Ok(()),
        false => Err(Error::Checksum { path: path.into(), expected: expected.into(), found }),
    }
}

fn digest<D: Digest>(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Unpacks the files of a .tar.gz into one folder: only plain files, by their bare names.
fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let file = BufReader::new(File::open(archive).map_err(Error::io(archive))?);
    let mut tar = tar::Archive::new(GzDecoder::new(file));
    for entry in tar.entries().map_err(Error::io(archive))? {
        let mut entry = entry.map_err(Error::io(archive))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(Error::io(archive))?.into_owned();
        let Some(Component::Normal(name)) = path.components().next_back() else { continue };
        if entry.size() > MAX_MEMBER {
            return Err(Error::TooLarge {
                place: format!("{}, {}", archive.display(), path.display()),
                found: format!("a file of {} bytes", entry.size()),
                limit: format!("{MAX_MEMBER} bytes"),
            });
        }
        save(&mut entry, &to.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    save(&mut File::open(from).map_err(Error::io(from))?, to)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    save(&mut &bytes[..], path)
}

/// Writes all that a reader gives, to the disk itself.
fn save(from: &mut dyn Read, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).map_err(Error::io(path))?);
    io::copy(from, &mut file).map_err(Error::io(path))?;
    file.flush().map_err(Error::io(path))?;
    file.get_ref().sync_all().map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cifar, gzip, write as put};

    fn options<'a>(from: &Path, dir: &Path) -> GetOptions<'a> {
        GetOptions { from: Some(from.into()), dir: Some(dir.into()), progress: None }
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        put(&from.join("cifar-10-binary.tar.gz"), b"not it");
        let error = get("cifar10", &mut options(&from, &to)).unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    }

    #[test]
    fn says_which_file_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            get("fashion-mnist", &mut options(dir.path(), &dir.path().join("to"))).unwrap_err().to_string();
        assert!(error.contains("train-images-idx3-ubyte.gz: not found"), "{error}");
        let file = dir.path().join("x.gz");
        put(&file, b"x");
        let error = get("fashion-mnist", &mut options(&file, dir.path())).unwrap_err().to_string();
        assert!(error.contains("Give the folder that holds"), "{error}");
    }

    #[test]
    fn verifies_files_and_what_they_unpack_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        put(&path, b"abc");
        verify(&path, Checksum::Md5("900150983cd24fb0d6963f7d28e17f72")).unwrap();
        assert!(verify(&path, Checksum::Md5("00")).is_err());
        let sha =
            Checksum::UnpackedSha256("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(matches!(verify(&path, sha), Err(Error::Gzip { .. })));
        put(&path, &gzip(b"abc"));
        verify(&path, sha).unwrap();
    }

    #[test]
    fn unpacks_plain_files_and_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let data = cifar(&[&[1]]);
        for name in ["cifar-10-batches-bin/test_batch.bin", "../evil.bin"] {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(data.len() as u64);
            header.set_cksum();
            tar.append(&header, &data[..]).unwrap();
        }
        let archive = dir.path().join("a.tar.gz");
        put(&archive, &gzip(&tar.into_inner().unwrap()));
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        unpack(&archive, &to).unwrap();
        assert_eq!(fs::read(to.join("test_batch.bin")).unwrap(), data);
        assert!(!dir.path().join("evil.bin").exists());
    }

    #[test]
    fn takes_fashion_mnist_from_files_packed_by_anyone() {
        // Only where the whole data set is at hand; the sample has another checksum.
        let from = Path::new("/usr/share/datasets/fashion-mnist");
        if !from.is_dir() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let place = get("fashion-mnist", &mut options(from, dir.path())).unwrap();
        assert!(place.join("labels.txt").is_file());
    }
}
