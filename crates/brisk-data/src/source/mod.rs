//! Sources: where samples come from, by number. One file a kind.

pub(crate) mod cifar;
pub(crate) mod csv;
pub(crate) mod folder;
pub(crate) mod idx;
pub(crate) mod table;

use crate::{Error, ImageSpec, Pixels, Result};

/// Labelled images in any order, read when they are asked for.
///
/// ```
/// use brisk_data::{ImageSpec, Pixels, Result, Source};
///
/// struct Stripes;
/// impl Source for Stripes {
///     fn len(&self) -> usize { 2 }
///     fn label(&self, index: usize) -> u32 { index as u32 }
///     fn raw(&self, index: usize) -> Result<Pixels> {
///         Pixels::new(ImageSpec { height: 1, width: 2, channels: 1 }, vec![index as u8, 255])
///     }
///     fn name(&self, index: usize) -> String { format!("stripe {index}") }
/// }
/// assert_eq!(Stripes.raw(1)?.pixels(), [1, 255]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub trait Source: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// True if there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of a sample. [`crate::open`] checks that it is less than the number of classes.
    fn label(&self, index: usize) -> u32;

    /// The image as it is stored.
    fn raw(&self, index: usize) -> Result<Pixels>;

    /// What to call the sample in a message: its file, or its file and place.
    fn name(&self, index: usize) -> String;

    /// Where the label of the sample stands; [`Source::name`] unless it is elsewhere.
    fn label_place(&self, index: usize) -> String {
        self.name(index)
    }

    /// The image in a size, into a buffer of exactly that many values.
    fn read(&self, index: usize, spec: &ImageSpec, out: &mut [u8]) -> Result<()> {
        let image = self.raw(index)?;
        let image = if image.spec() == *spec { image } else { image.convert(*spec)? };
        out.copy_from_slice(image.pixels());
        Ok(())
    }
}

/// A source over images in memory, all of one size.
///
/// ```
/// use brisk_data::{ImageSpec, Memory, Source};
/// let image = ImageSpec { height: 1, width: 2, channels: 1 };
/// let source = Memory::new(image, vec![1, 2, 3, 4], vec![0, 1])?;
/// assert_eq!(source.raw(1)?.pixels(), [3, 4]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub struct Memory {
    image: ImageSpec,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl Memory {
    /// Images one after another, and the class of each.
    pub fn new(image: ImageSpec, pixels: Vec<u8>, labels: Vec<u32>) -> Result<Memory> {
        image.validate()?;
        let expected = labels.len().saturating_mul(image.elements());
        if pixels.len() != expected {
            return Err(Error::Config {
                key: "pixels".into(),
                found: pixels.len().to_string(),
                expected: format!("{expected} for {} images of {image}", labels.len()),
            });
        }
        Ok(Memory { image, pixels, labels })
    }

    fn pixels(&self, index: usize) -> &[u8] {
        let n = self.image.elements();
        &self.pixels[index * n..][..n]
    }
}

impl Source for Memory {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn raw(&self, index: usize) -> Result<Pixels> {
        Pixels::new(self.image, self.pixels(index).to_vec())
    }

    fn name(&self, index: usize) -> String {
        format!("image {index} in memory")
    }

    fn read(&self, index: usize, spec: &ImageSpec, out: &mut [u8]) -> Result<()> {
        if *spec == self.image {
            out.copy_from_slice(self.pixels(index));
            return Ok(());
        }
        out.copy_from_slice(self.raw(index)?.convert(*spec)?.pixels());
        Ok(())
    }
}
