//! Augmentation: random changes of training images. Each follows from the seed, the epoch and the sample alone.

mod color;
mod geometry;
mod mixup;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use mixup::mix_batch;

use crate::rng::{Purpose, Stream};
use crate::{Error, ImageSpec, Result};

/// Which changes to make, in this order: crop, flips, rotation, colour, cutout; and over whole batches, mixup.
///
/// ```
/// use brisk_data::Augmentation;
/// let a: Augmentation = serde_json::from_str(
///     r#"{"horizontal_flip": true, "random_crop": {"padding": 4}, "mixup": {"alpha": 0.2}}"#,
/// )?;
/// assert!(a.horizontal_flip && !a.vertical_flip && a.cutout.is_none());
/// assert!(Augmentation::default().is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Mirror left and right, half the time.
    pub horizontal_flip: bool,
    /// Mirror top and bottom, half the time.
    pub vertical_flip: bool,
    /// Shift by up to `padding` pixels; black comes in from the sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_crop: Option<RandomCrop>,
    /// Turn by up to so many degrees either way; black comes in from the corners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<f32>,
    /// Change brightness, contrast and saturation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<ColorJitter>,
    /// Black out a square.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutout: Option<Cutout>,
    /// Blend pairs of images and their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<Mixup>,
}

/// See [`Augmentation::random_crop`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    /// Pixels added on each side before a piece of the original size is cut out.
    pub padding: usize,
}

/// Each factor is drawn from `1 - x` to `1 + x`. See [`Augmentation::color_jitter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Range of the factor of all values.
    pub brightness: f32,
    /// Range of the factor of the distance to the mean of the image.
    pub contrast: f32,
    /// Range of the factor of the distance to grey.
    pub saturation: f32,
}

/// See [`Augmentation::cutout`] (DeVries and Taylor, arXiv 1708.04552).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutout {
    /// Side of the square; its centre is anywhere in the image.
    pub size: usize,
}

/// See [`Augmentation::mixup`] (Zhang et al., arXiv 1710.09412).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixup {
    /// The share of the first image is drawn from Beta(alpha, alpha), once for each batch.
    pub alpha: f32,
}

impl Augmentation {
    /// True if nothing is to be changed.
    pub fn is_none(&self) -> bool {
        *self == Augmentation::default()
    }

    /// An error for values that make no sense.
    ///
    /// ```
    /// use brisk_data::{Augmentation, Mixup};
    /// let a = Augmentation { mixup: Some(Mixup { alpha: -1.0 }), ..Augmentation::default() };
    /// assert!(a.validate().unwrap_err().to_string().contains("augmentation.mixup.alpha"));
    /// ```
    pub fn validate(&self) -> Result<()> {
        let jitter = self.color_jitter.unwrap_or_default();
        let checks = [
            ("rotation", self.rotation.unwrap_or(0.0), 0.0..=180.0),
            ("color_jitter.brightness", jitter.brightness, 0.0..=1.0),
            ("color_jitter.contrast", jitter.contrast, 0.0..=1.0),
            ("color_jitter.saturation", jitter.saturation, 0.0..=1.0),
            ("mixup.alpha", self.mixup.map_or(1.0, |m| m.alpha), 1e-3..=1e3),
        ];
        match checks.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((key, value, range)) => Err(Error::Config {
                key: format!("augmentation.{key}"),
                found: value.to_string(),
                expected: format!("a number from {} to {}", range.start(), range.end()),
            }),
            None => Ok(()),
        }
    }

    /// Changes one image in place, as the seed, the epoch and the number of the sample in its source say.
    ///
    /// ```
    /// use brisk_data::{Augmentation, ImageSpec};
    /// let image = ImageSpec { height: 1, width: 2, channels: 1 };
    /// let flip = Augmentation { horizontal_flip: true, ..Augmentation::default() };
    /// let flipped = (0..100).filter(|&epoch| {
    ///     let mut pixels = [1, 2];
    ///     flip.apply(&mut pixels, &image, 0, epoch, 5);
    ///     pixels == [2, 1]
    /// });
    /// assert!((30..70).contains(&flipped.count()));
    /// ```
    pub fn apply(&self, pixels: &mut [u8], image: &ImageSpec, seed: u64, epoch: u64, sample: u64) {
        if pixels.len() != image.elements() || pixels.is_empty() {
            return;
        }
        let random = &mut Stream::new(seed, Purpose::Augment, epoch, sample);
        if let Some(RandomCrop { padding }) = self.random_crop {
            geometry::random_shift(pixels, image, padding, random);
        }
        if self.horizontal_flip && random.coin() {
            geometry::flip_horizontally(pixels, image);
        }
        if self.vertical_flip && random.coin() {
            geometry::flip_vertically(pixels, image);
        }
        if let Some(degrees) = self.rotation.filter(|&d| d > 0.0) {
            let angle = random.uniform(-f64::from(degrees), f64::from(degrees));
            geometry::rotate(pixels, image, angle.to_radians());
        }
        if let Some(jitter) = self.color_jitter {
            color::jitter(pixels, image, &jitter, random);
        }
        if let Some(Cutout { size }) = self.cutout {
            geometry::cutout(pixels, image, size, random);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn everything() -> Augmentation {
        Augmentation {
            horizontal_flip: true,
            vertical_flip: true,
            random_crop: Some(RandomCrop { padding: 3 }),
            rotation: Some(30.0),
            color_jitter: Some(ColorJitter { brightness: 0.5, contrast: 0.5, saturation: 0.5 }),
            cutout: Some(Cutout { size: 4 }),
            mixup: None,
        }
    }

    proptest! {
        #[test]
        fn any_size_works_and_repeats(h in 1usize..20, w in 1usize..20, rgb: bool, seed: u64, epoch in 0u64..9) {
            let image = ImageSpec { height: h, width: w, channels: if rgb { 3 } else { 1 } };
            let original: Vec<u8> = (0..image.elements()).map(|i| (i * 31 + 40) as u8).collect();
            let (mut a, mut b) = (original.clone(), original);
            everything().apply(&mut a, &image, seed, epoch, 3);
            everything().apply(&mut b, &image, seed, epoch, 3);
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn epochs_samples_and_seeds_differ() {
        let image = ImageSpec { height: 16, width: 16, channels: 3 };
        let run = |seed, epoch, sample| {
            let mut pixels: Vec<u8> = (0..image.elements()).map(|i| (i * 31) as u8).collect();
            everything().apply(&mut pixels, &image, seed, epoch, sample);
            pixels
        };
        assert_ne!(run(0, 0, 0), run(0, 0, 1));
        assert_ne!(run(0, 0, 0), run(0, 1, 0));
        assert_ne!(run(0, 0, 0), run(1, 0, 0));
    }

    #[test]
    fn refuses_nonsense() {
        let a = Augmentation { rotation: Some(f32::NAN), ..Augmentation::default() };
        assert!(a.validate().unwrap_err().to_string().contains("augmentation.rotation"));
        assert!(serde_json::from_str::<Augmentation>(r#"{"flip": true}"#).is_err());
    }
}
