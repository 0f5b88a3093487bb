//! A part of a data set: some of the samples of a source, in one image size, with the names of their classes.

use std::sync::Arc;

use crate::error::nearest;
use crate::{Error, ImageSpec, Result, Source};

/// Samples of one part (training, validation or test). Cloning is cheap: parts share their source.
///
/// ```
/// use brisk_data::{ImageSpec, Memory, Part};
/// let image = ImageSpec { height: 1, width: 1, channels: 1 };
/// let part = Part::new(Memory::new(image, vec![10, 20, 30], vec![1, 0, 1])?, ["cat", "dog"], image)?;
/// assert_eq!((part.len(), part.label(0), part.image(1)?), (3, 1, vec![20]));
/// assert_eq!(part.counts(), [1, 2]);
/// let dogs = part.select(vec![0, 2])?;
/// assert_eq!(dogs.image(1)?, [30]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone)]
pub struct Part {
    source: Arc<dyn Source>,
    /// The samples of the source that belong to this part; all if `None`.
    indices: Option<Arc<[u32]>>,
    /// The class of this part for each class of the source; the same if `None`.
    relabel: Option<Arc<[u32]>>,
    classes: Arc<[String]>,
    image: ImageSpec,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Part({} images of {}, {} classes)", self.len(), self.image, self.classes.len())
    }
}

impl Part {
    /// All samples of a source, their images converted to one size.
    pub fn new<C: Into<String>>(
        source: impl Source + 'static,
        classes: impl IntoIterator<Item = C>,
        image: ImageSpec,
    ) -> Result<Part> {
        image.validate()?;
        if u32::try_from(source.len()).is_err() {
            return Err(Error::TooLarge {
                place: "data set".into(),
                found: format!("{} samples", source.len()),
                limit: u32::MAX.to_string(),
            });
        }
        let classes = classes.into_iter().map(Into::into).collect();
        Ok(Part { source: Arc::new(source), indices: None, relabel: None, classes, image })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.as_ref().map_or(self.source.len(), |i| i.len())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the classes, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The size in which images are read.
    pub fn image_spec(&self) -> ImageSpec {
        self.image
    }

    /// The number of a sample in the source.
    ///
    /// # Panics
    /// If there is no such sample, as all functions here that take an index.
    pub fn source_index(&self, index: usize) -> usize {
        self.indices.as_ref().map_or(index, |i| i[index] as usize)
    }

    /// The class of a sample.
    pub fn label(&self, index: usize) -> u32 {
        let label = self.source.label(self.source_index(index));
        match &self.relabel {
            Some(map) => map.get(label as usize).copied().unwrap_or(u32::MAX),
            None => label,
        }
    }

    /// What to call a sample in a message: its file, or its file and place.
    pub fn name(&self, index: usize) -> String {
        self.source.name(self.source_index(index))
    }

    /// Where the label of a sample stands.
    pub fn label_place(&self, index: usize) -> String {
        self.source.label_place(self.source_index(index))
    }

    /// The image of a sample: 8-bit, `[height, width, channels]`, in the size of [`Part::image_spec`].
    pub fn image(&self, index: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; self.image.elements()];
        self.read(index, &mut out)?;
        Ok(out)
    }

    /// The same into a buffer of exactly that many values.
    pub fn read(&self, index: usize, out: &mut [u8]) -> Result<()> {
        self.source.read(self.source_index(index), &self.image, out)
    }

    /// The image as it is stored, in its own size.
    pub fn raw(&self, index: usize) -> Result<crate::Pixels> {
        self.source.raw(self.source_index(index))
    }

    /// Number of samples of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for i in 0..self.len() {
            if let Some(n) = counts.get_mut(self.label(i) as usize) {
                *n += 1;
            }
        }
        counts
    }

    /// Some of the samples, in the order given. An error if there is no such sample.
    pub fn select(&self, indices: Vec<u32>) -> Result<Part> {
        if let Some(bad) = indices.iter().find(|&&i| i as usize >= self.len()) {
            return Err(Error::Config {
                key: "index".into(),
                found: bad.to_string(),
                expected: format!("there are {} samples", self.len()),
            });
        }
        let indices = indices.into_iter().map(|i| self.source_index(i as usize) as u32).collect();
        Ok(Part { indices: Some(indices), ..self.clone() })
    }

    /// The same samples with their images in another size.
    pub fn with_image_spec(&self, image: ImageSpec) -> Result<Part> {
        image.validate()?;
        Ok(Part { image, ..self.clone() })
    }

    /// The same samples with their classes numbered as in another list, matched by name: so that a test set
    /// that lacks some classes, or lists them in another order, fits a model.
    ///
    /// ```
    /// use brisk_data::{ImageSpec, Memory, Part};
    /// let image = ImageSpec { height: 1, width: 1, channels: 1 };
    /// let part = Part::new(Memory::new(image, vec![0, 0], vec![0, 1])?, ["dog", "cat"], image)?;
    /// assert_eq!(part.with_classes(&["bird", "cat", "dog"])?.label(0), 2);
    /// assert!(part.with_classes(&["cat", "bird"]).is_err());
    /// # Ok::<(), brisk_data::Error>(())
    /// ```
    pub fn with_classes<C: AsRef<str>>(&self, classes: &[C]) -> Result<Part> {
        let names: Vec<String> = classes.iter().map(|c| c.as_ref().to_string()).collect();
        let counts = self.counts();
        let mut map = Vec::with_capacity(self.classes.len());
        for (class, &count) in self.classes.iter().zip(&counts) {
            match names.iter().position(|n| n == class) {
                Some(i) => map.push(i as u32),
                None if count == 0 => map.push(u32::MAX),
                None => {
                    return Err(Error::UnknownClass {
                        place: format!("{count} samples"),
                        label: class.clone(),
                        suggestion: nearest(class, names.iter().map(String::as_str)),
                        known: names,
                    });
                }
            }
        }
        if let Some(old) = &self.relabel {
            map = old.iter().map(|&l| map.get(l as usize).copied().unwrap_or(u32::MAX)).collect();
        }
        Ok(Part { relabel: Some(map.into()), classes: names.into(), ..self.clone() })
    }
}
