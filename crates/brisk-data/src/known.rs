//! The data sets that are known by name, and where they are kept.

use std::path::PathBuf;

use crate::{Error, Kind, Result};

/// The name of the sample that comes with Brisk.
pub(crate) const SAMPLE: &str = "fashion-mnist-sample";

/// A data set that is known by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Its licence, as far as its authors state one.
    pub licence: &'static str,
    /// The kind of its files.
    pub kind: Kind,
    /// The names of its classes; empty if they stand in its files.
    pub classes: &'static [&'static str],
    /// What to download; nothing for the sample.
    pub downloads: &'static [Download],
}

/// A file to download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Download {
    /// Its official address.
    pub url: &'static str,
    /// Its checksum.
    pub checksum: Checksum,
    /// True if it is a .tar.gz whose files are wanted, rather than the file itself.
    pub archive: bool,
}

/// A checksum: as the authors publish it, or of the unpacked content, which repacking does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// MD5 of the file.
    Md5(&'static str),
    /// SHA-256 of what the gzip file unpacks to.
    UnpackedSha256(&'static str),
}

impl Download {
    /// The file name at the end of the address.
    ///
    /// ```
    /// let cifar = brisk_data::known().iter().find(|k| k.name == "cifar10").unwrap();
    /// assert_eq!(cifar.downloads[0].file_name(), "cifar-10-binary.tar.gz");
    /// ```
    pub fn file_name(&self) -> &'static str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }
}

impl Known {
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        (!self.classes.is_empty()).then(|| self.classes.iter().map(|c| c.to_string()).collect())
    }
}

/// The data sets that are known by name.
///
/// ```
/// assert!(brisk_data::known().iter().any(|k| k.name == "fashion-mnist"));
/// ```
pub fn known() -> &'static [Known] {
    KNOWN
}

/// The folder in which data sets that were fetched are kept: `$BRISK_DATA`, or `~/.cache/brisk/data`.
///
/// ```no_run
/// println!("{}", brisk_data::data_dir()?.join("cifar10").display());
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub fn data_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("BRISK_DATA").filter(|d| !d.is_empty()) {
        return Ok(dir.into());
    }
    let home = ["HOME", "USERPROFILE"].iter().find_map(std::env::var_os).filter(|h| !h.is_empty());
    home.map(|h| PathBuf::from(h).join(".cache/brisk/data")).ok_or_else(|| Error::Config {
        key: "BRISK_DATA".into(),
        found: "nothing".into(),
        expected: "set this environment variable to the folder for data sets (there is no home folder)"
            .into(),
    })
}

const FASHION: &[&str] = &[
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];
const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const CIFAR: &[&str] =
    &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const fn unpacked(url: &'static str, sha256: &'static str) -> Download {
    Download { url, checksum: Checksum::UnpackedSha256(sha256), archive: false }
}

const fn md5(url: &'static str, md5: &'static str, archive: bool) -> Download {
    Download { url, checksum: Checksum::Md5(md5), archive }
}

const KNOWN: &[Known] = &[
    Known {
        name: SAMPLE,
        summary: "6,000 + 1,000 images of Fashion-MNIST, 28x28 grey, 10 classes; comes with Brisk",
        licence: "MIT",
        kind: Kind::Idx,
        classes: FASHION,
        downloads: &[],
    },
    Known {
        name: "fashion-mnist",
        summary: "60,000 + 10,000 pictures of clothes, 28x28 grey, 10 classes (Zalando Research)",
        licence: "MIT",
        kind: Kind::Idx,
        classes: FASHION,
        downloads: &[
            unpacked(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/train-images-idx3-ubyte.gz",
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            unpacked(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/train-labels-idx1-ubyte.gz",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            unpacked(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/t10k-images-idx3-ubyte.gz",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            unpacked(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/t10k-labels-idx1-ubyte.gz",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ],
    },
    Known {
        name: "mnist",
        summary: "60,000 + 10,000 handwritten digits, 28x28 grey (LeCun, Cortes, Burges)",
        licence: "CC BY-SA 3.0",
        kind: Kind::Idx,
        classes: DIGITS,
        downloads: &[
            md5(
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                false,
            ),
            md5(
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
                "d53e105ee54ea40749a09fcbcd1e9432",
                false,
            ),
            md5(
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                "9fb629c4189551a2d022fa330f9573f3",
                false,
            ),
            md5(
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
                "ec29112dd5afa0611ce80d1b7f02629c",
                false,
            ),
        ],
    },
    Known {
        name: "cifar10",
        summary: "50,000 + 10,000 photographs, 32x32 RGB, 10 classes (Krizhevsky, Nair, Hinton)",
        licence: "none stated",
        kind: Kind::Cifar10,
        classes: CIFAR,
        downloads: &[md5(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            true,
        )],
    },
    Known {
        name: "cifar100",
        summary: "50,000 + 10,000 photographs, 32x32 RGB, 100 classes (Krizhevsky, Nair, Hinton)",
        licence: "none stated",
        kind: Kind::Cifar100,
        classes: &[],
        downloads: &[md5(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
            true,
        )],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        for k in known() {
            assert_eq!(known().iter().filter(|o| o.name == k.name).count(), 1, "{}", k.name);
            for d in k.downloads {
                assert!(d.url.starts_with("https://"), "{}", d.url);
                let (hex, len) = match d.checksum {
                    Checksum::Md5(hex) => (hex, 32),
                    Checksum::UnpackedSha256(hex) => (hex, 64),
                };
                assert!(hex.len() == len && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{}", d.url);
            }
        }
    }
}
