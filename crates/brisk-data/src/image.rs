//! Images in memory: 8-bit, row by row, the channels of a pixel side by side.

use std::fmt;

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Rgb};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The size that every image of a data set has when it reaches the model.
///
/// ```
/// use brisk_data::ImageSpec;
/// let spec = ImageSpec { height: 28, width: 28, channels: 1 };
/// assert_eq!(spec.elements(), 784);
/// assert_eq!(spec.to_string(), "28x28x1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
}

impl ImageSpec {
    /// Values an image has.
    pub fn elements(&self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels)
    }

    /// An error if no image can have this size.
    ///
    /// ```
    /// use brisk_data::ImageSpec;
    /// assert!(ImageSpec { height: 32, width: 32, channels: 3 }.validate().is_ok());
    /// assert!(ImageSpec { height: 32, width: 32, channels: 2 }.validate().is_err());
    /// ```
    pub fn validate(&self) -> Result<()> {
        let error = |key: &str, found: usize, expected: &str| {
            Err(Error::Config { key: key.into(), found: found.to_string(), expected: expected.into() })
        };
        match *self {
            ImageSpec { channels: c, .. } if c != 1 && c != 3 => error("channels", c, "1 (grey) or 3 (RGB)"),
            ImageSpec { height: 0 | 16_385.., .. } => error("size", self.height, "1 to 16384 pixels"),
            ImageSpec { width: 0 | 16_385.., .. } => error("size", self.width, "1 to 16384 pixels"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ImageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// An image: its size and its pixels, `[height, width, channels]` row-major.
///
/// ```
/// use brisk_data::{ImageSpec, Pixels};
/// let spec = ImageSpec { height: 1, width: 2, channels: 3 };
/// let image = Pixels::new(spec, vec![255, 0, 0, 0, 0, 255])?;
/// let grey = image.convert(ImageSpec { channels: 1, ..spec })?;
/// assert_eq!(grey.pixels(), [54, 18]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    spec: ImageSpec,
    pixels: Vec<u8>,
}

impl Pixels {
    /// An image over its pixels. An error if their number does not fit.
    pub fn new(spec: ImageSpec, pixels: Vec<u8>) -> Result<Pixels> {
        spec.validate()?;
        if pixels.len() != spec.elements() {
            return Err(Error::Config {
                key: "pixels".into(),
                found: pixels.len().to_string(),
                expected: format!("{} for an image of {spec}", spec.elements()),
            });
        }
        Ok(Pixels { spec, pixels })
    }

    /// Its size.
    pub fn spec(&self) -> ImageSpec {
        self.spec
    }

    /// Its pixels.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Its pixels, without a copy.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The same picture in another size (bilinear, averaging when it shrinks) and with other channels
    /// (grey from RGB by the weights of Rec. 709).
    pub fn convert(self, to: ImageSpec) -> Result<Pixels> {
        to.validate()?;
        let mut image = self;
        // Fewer channels first and more channels last: the resize then has the least to do.
        if to.channels < image.spec.channels {
            image.pixels = image.pixels.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect();
            image.spec.channels = 1;
        }
        if (to.height, to.width) != (image.spec.height, image.spec.width) {
            image = image.resize(to.height, to.width);
        }
        if to.channels > image.spec.channels {
            image.pixels = image.pixels.iter().flat_map(|&v| [v, v, v]).collect();
            image.spec.channels = 3;
        }
        Ok(image)
    }

    fn resize(self, height: usize, width: usize) -> Pixels {
        let ImageSpec { height: h, width: w, channels } = self.spec;
        let (w, h, to_w, to_h) = (w as u32, h as u32, width as u32, height as u32);
        let fits = "the number of pixels was checked";
        let pixels = match channels {
            1 => {
                let image = ImageBuffer::<Luma<u8>, _>::from_raw(w, h, self.pixels).expect(fits);
                imageops::resize(&image, to_w, to_h, FilterType::Triangle).into_raw()
            }
            _ => {
                let image = ImageBuffer::<Rgb<u8>, _>::from_raw(w, h, self.pixels).expect(fits);
                imageops::resize(&image, to_w, to_h, FilterType::Triangle).into_raw()
            }
        };
        Pixels { spec: ImageSpec { height, width, channels }, pixels }
    }
}

/// Brightness as the eye weighs it (Rec. 709).
pub(crate) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((2126 * u32::from(r) + 7152 * u32::from(g) + 722 * u32::from(b)) / 10_000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_to_rgb_and_back_is_the_same() {
        let spec = ImageSpec { height: 2, width: 2, channels: 1 };
        let grey = Pixels::new(spec, vec![0, 7, 128, 255]).unwrap();
        let rgb = grey.clone().convert(ImageSpec { channels: 3, ..spec }).unwrap();
        assert_eq!(rgb.pixels()[3..6], [7, 7, 7]);
        assert_eq!(rgb.convert(spec).unwrap(), grey);
    }

    #[test]
    fn resizes() {
        let spec = ImageSpec { height: 4, width: 4, channels: 3 };
        let image = Pixels::new(spec, vec![100; 48]).unwrap();
        let small = image.convert(ImageSpec { height: 3, width: 2, channels: 1 }).unwrap();
        assert_eq!(small.spec().to_string(), "3x2x1");
        assert!(small.pixels().iter().all(|&v| v.abs_diff(100) <= 1), "{small:?}");
    }

    #[test]
    fn refuses_impossible_sizes() {
        let spec = ImageSpec { height: 0, width: 4, channels: 3 };
        assert!(spec.validate().is_err());
        assert!(Pixels::new(ImageSpec { height: 1, ..spec }, vec![0; 11]).is_err());
    }
}
