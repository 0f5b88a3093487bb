//! Preprocessing: what stands between a stored image and the numbers that a model sees. Saved with the model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ImageSpec, Part, Result};

/// How pixel values become model input.
///
/// ```
/// use brisk_data::Normalization;
/// assert_eq!(serde_json::to_string(&Normalization::Standardize).unwrap(), r#""standardize""#);
/// assert_eq!(Normalization::default(), Normalization::Scale);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalization {
    /// Pixels as they are: 0 to 255.
    None,
    /// Pixels divided by 255: 0 to 1.
    #[default]
    Scale,
    /// Scaled, then each channel with mean 0 and standard deviation 1 over the training samples.
    Standardize,
}

/// `(pixel * scale - mean) / std`, channel by channel, of an image of a given size.
/// Without `mean` and `std` only the scale applies.
///
/// ```
/// use brisk_data::{ImageSpec, Normalization, Preprocessing};
/// let image = ImageSpec { height: 1, width: 2, channels: 1 };
/// let p = Preprocessing::scaled(image);
/// assert_eq!(p.apply(&[0, 255]), [0.0, 1.0]);
/// let text = serde_json::to_string(&p)?;
/// assert_eq!(serde_json::from_str::<Preprocessing>(&text)?, p);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The size that the model takes.
    pub image: ImageSpec,
    /// What each pixel value is multiplied with.
    pub scale: f32,
    /// For each channel what is then subtracted; empty for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f32>,
    /// For each channel what the result is divided by; empty for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f32>,
}

impl Preprocessing {
    /// Division by 255 alone.
    pub fn scaled(image: ImageSpec) -> Preprocessing {
        Preprocessing { image, scale: 1.0 / 255.0, mean: Vec::new(), std: Vec::new() }
    }

    /// The parameters for a training part. Reads all its images once if it is to be standardized,
    /// one at a time; the result is exact and does not depend on their order.
    ///
    /// ```
    /// use brisk_data::{ImageSpec, Memory, Normalization, Part, Preprocessing};
    /// let image = ImageSpec { height: 1, width: 1, channels: 1 };
    /// let part = Part::new(Memory::new(image, vec![0, 255], vec![0, 0])?, ["a"], image)?;
    /// let p = Preprocessing::fit(Normalization::Standardize, &part)?;
    /// assert_eq!((&p.mean[..], &p.std[..]), (&[0.5][..], &[0.5][..]));
    /// # Ok::<(), brisk_data::Error>(())
    /// ```
    pub fn fit(normalization: Normalization, train: &Part) -> Result<Preprocessing> {
        let mut p = Preprocessing::scaled(train.image_spec());
        match normalization {
            Normalization::None => p.scale = 1.0,
            Normalization::Scale => {}
            Normalization::Standardize => {
                let stats = ChannelStats::of(train)?;
                (p.mean, p.std) = stats.iter().map(|s| (s.mean as f32, s.std.max(1e-4) as f32)).unzip();
            }
        }
        Ok(p)
    }

    /// An error if the parameters contradict each other, as those of a damaged file might.
    pub fn validate(&self) -> Result<()> {
        self.image.validate()?;
        let error = |key: &str, found: String, expected: String| {
            Err(Error::Config { key: key.into(), found, expected })
        };
        if !self.scale.is_finite() {
            return error("preprocessing.scale", self.scale.to_string(), "a finite number".into());
        }
        for (key, values) in [("preprocessing.mean", &self.mean), ("preprocessing.std", &self.std)] {
            if !values.is_empty() && values.len() != self.image.channels {
                let expected = format!("{} are needed, one for each channel", self.image.channels);
                return error(key, format!("a list of {}", values.len()), expected);
            }
            if let Some(v) = values.iter().find(|v| !v.is_finite() || key.ends_with("std") && **v <= 0.0) {
                return error(
                    key,
                    v.to_string(),
                    "finite numbers are needed, and for std positive ones".into(),
                );
            }
        }
        Ok(())
    }

    /// Factor and offset of each channel, so that `pixel * factor + offset` is the model's input.
    pub fn factors(&self) -> (Vec<f32>, Vec<f32>) {
        (0..self.image.channels)
            .map(|c| {
                let mean = self.mean.get(c).copied().unwrap_or(0.0);
                let std = self.std.get(c).copied().unwrap_or(1.0);
                (self.scale / std, -mean / std)
            })
            .unzip()
    }

    /// The model's input for an image of the right size, or for several one after another.
    pub fn apply(&self, pixels: &[u8]) -> Vec<f32> {
        let (factor, offset) = self.factors();
        let c = self.image.channels.max(1);
        pixels.iter().enumerate().map(|(i, &v)| f32::from(v) * factor[i % c] + offset[i % c]).collect()
    }
}

/// Mean and standard deviation of one channel, of pixels scaled to 0..1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelStats {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

impl ChannelStats {
    /// The statistics of each channel over all images of a part. Sums are of integers, so they are exact.
    pub(crate) fn of(part: &Part) -> Result<Vec<ChannelStats>> {
        let mut sums = Sums::new(part.image_spec().channels);
        let mut buffer = vec![0; part.image_spec().elements()];
        for i in 0..part.len() {
            part.read(i, &mut buffer)?;
            sums.add(&buffer);
        }
        Ok(sums.finish())
    }
}

/// Running sums of pixel values, exact.
pub(crate) struct Sums(Vec<(u64, u128, u128)>);

impl Sums {
    pub fn new(channels: usize) -> Sums {
        Sums(vec![(0, 0, 0); channels])
    }

    /// Adds the pixels of one image.
    pub fn add(&mut self, pixels: &[u8]) {
        let channels = self.0.len();
        for (c, (n, sum, squares)) in self.0.iter_mut().enumerate() {
            let (mut s, mut q) = (0u64, 0u64);
            for &v in pixels.iter().skip(c).step_by(channels) {
                s += u64::from(v);
                q += u64::from(v) * u64::from(v);
            }
            *n += (pixels.len() / channels) as u64;
            *sum += u128::from(s);
            *squares += u128::from(q);
        }
    }

    pub fn finish(&self) -> Vec<ChannelStats> {
        self.0
            .iter()
            .map(|&(n, sum, squares)| {
                let n = (n as f64).max(1.0);
                let mean = sum as f64 / n;
                let var = (squares as f64 / n - mean * mean).max(0.0);
                ChannelStats { mean: mean / 255.0, std: var.sqrt() / 255.0 }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    const IMAGE: ImageSpec = ImageSpec { height: 1, width: 2, channels: 3 };

    #[test]
    fn standardizes_each_channel() {
        let pixels: Vec<u8> = (0..60).map(|i| (i * 37 % 251) as u8).collect();
        let part = Part::new(Memory::new(IMAGE, pixels.clone(), vec![0; 10]).unwrap(), ["a"], IMAGE).unwrap();
        let p = Preprocessing::fit(Normalization::Standardize, &part).unwrap();
        let x = p.apply(&pixels);
        for c in 0..3 {
            let channel: Vec<f64> = x.iter().skip(c).step_by(3).map(|&v| v.into()).collect();
            let mean = channel.iter().sum::<f64>() / 20.0;
            let var = channel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20.0;
            assert!(mean.abs() < 1e-5 && (var - 1.0).abs() < 1e-5, "{mean} {var}");
        }
        assert!(p.validate().is_ok());
    }

    #[test]
    fn a_constant_channel_does_not_divide_by_zero() {
        let part = Part::new(Memory::new(IMAGE, vec![7; 6], vec![0]).unwrap(), ["a"], IMAGE).unwrap();
        let p = Preprocessing::fit(Normalization::Standardize, &part).unwrap();
        assert!(p.apply(&[7; 6]).iter().all(|v| v.abs() < 1e-3));
    }

    #[test]
    fn refuses_contradictions() {
        let good = Preprocessing { mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::scaled(IMAGE) };
        assert!(good.validate().is_ok());
        let message = |p: Preprocessing| p.validate().unwrap_err().to_string();
        assert!(
            message(Preprocessing { std: vec![1.0, 0.0, 1.0], ..good.clone() }).contains("preprocessing.std")
        );
        assert!(message(Preprocessing { mean: vec![0.0], ..good.clone() }).contains("preprocessing.mean"));
        assert!(message(Preprocessing { scale: f32::NAN, ..good }).contains("preprocessing.scale"));
    }
}
