//! `describe`: how many samples of which class, what size, how bright; and a look at some.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::preprocessing::{ChannelStats, Sums};
use crate::{Dataset, ImageSpec, Part, Result};

/// At most so many images are read for the statistics of the channels.
const SAMPLED: usize = 20_000;

/// What a data set is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The data set.
    pub dataset: String,
    /// The size in which images are read.
    pub image: ImageSpec,
    /// The classes with the number of their samples in each part.
    pub classes: Vec<ClassCounts>,
    /// The parts, with the number of their samples.
    pub parts: Vec<(String, usize)>,
    /// Mean and standard deviation of each channel, 0 to 1, over the training part (or 20,000 images spread over it).
    pub channels: Vec<ChannelStats>,
}

/// A class and the number of its samples in each part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassCounts {
    /// Its name.
    pub name: String,
    /// The samples in each part, in the order of [`Description::parts`].
    pub counts: Vec<usize>,
}

/// Describes a data set. Reads up to 20,000 of its images.
///
/// ```
/// use brisk_data::{Dataset, ImageSpec, Memory, Part, describe};
/// let image = ImageSpec { height: 1, width: 1, channels: 1 };
/// let part = Part::new(Memory::new(image, vec![0, 255], vec![0, 1])?, ["cat", "dog"], image)?;
/// let description = describe(&Dataset::new(part))?;
/// assert_eq!(description.channels[0].mean, 0.5);
/// assert!(description.to_string().contains("dog"));
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub fn describe(dataset: &Dataset) -> Result<Description> {
    let parts = dataset.parts();
    let counts: Vec<Vec<usize>> = parts.iter().map(|(_, p)| p.counts()).collect();
    let classes = dataset
        .classes()
        .iter()
        .enumerate()
        .map(|(i, name)| ClassCounts { name: name.clone(), counts: counts.iter().map(|c| c[i]).collect() })
        .collect();
    Ok(Description {
        dataset: dataset.name().into(),
        image: dataset.image_spec(),
        classes,
        channels: sampled_stats(dataset.for_statistics())?,
        parts: parts.iter().map(|(name, p)| (name.to_string(), p.len())).collect(),
    })
}

fn sampled_stats(part: &Part) -> Result<Vec<ChannelStats>> {
    let mut sums = Sums::new(part.image_spec().channels);
    let mut buffer = vec![0; part.image_spec().elements()];
    for i in (0..part.len()).step_by(part.len().div_ceil(SAMPLED).max(1)) {
        part.read(i, &mut buffer)?;
        sums.add(&buffer);
    }
    Ok(sums.finish())
}

impl Dataset {
    fn for_statistics(&self) -> &Part {
        if self.train().is_empty() { self.for_evaluation() } else { self.train() }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: images of {}, {} classes", self.dataset, self.image, self.classes.len())?;
        let width = self.classes.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(5);
        let column = |s: &dyn fmt::Display| format!("{s:>12}");
        let heads: String = self.parts.iter().map(|(name, _)| column(name)).collect();
        writeln!(f, "\n{:<width$}{heads}", "class")?;
        for c in &self.classes {
            let counts: String = c.counts.iter().map(|n| column(n)).collect();
            writeln!(f, "{:<width$}{counts}", c.name)?;
        }
        let totals: String = self.parts.iter().map(|(_, n)| column(n)).collect();
        writeln!(f, "{:<width$}{totals}", "all")?;
        let list = |v: fn(&ChannelStats) -> f64| {
            self.channels.iter().map(|s| format!("{:.4}", v(s))).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "\nchannel means {}; standard deviations {}", list(|s| s.mean), list(|s| s.std))
    }
}

/// A picture of some images side by side in half-block characters, for a terminal with 24-bit colour.
/// `width`: characters that it may take.
///
/// ```
/// use brisk_data::{ImageSpec, Memory, Part, preview};
/// let image = ImageSpec { height: 2, width: 2, channels: 1 };
/// let part = Part::new(Memory::new(image, vec![0, 9, 9, 0], vec![0])?, ["a"], image)?;
/// assert_eq!(preview(&part, &[0], 80)?.matches('▀').count(), 2);
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub fn preview(part: &Part, indices: &[usize], width: usize) -> Result<String> {
    let side = width.saturating_sub(indices.len()) / indices.len().max(1);
    let ImageSpec { height, width: w, channels } = part.image_spec();
    let to_width = w.min(side).max(1);
    let to_height = (height * to_width / w).clamp(1, 200);
    let small = part.with_image_spec(ImageSpec { height: to_height, width: to_width, channels })?;
    let known: Vec<usize> = indices.iter().copied().filter(|&i| i < part.len()).collect();
    let images: Vec<Vec<u8>> = known.iter().map(|&i| small.image(i)).collect::<Result<_>>()?;
    let colour = |image: &[u8], y: usize, x: usize| match image.get((y * to_width + x) * channels..) {
        Some([r, g, b, ..]) if channels == 3 => format!("{r};{g};{b}"),
        Some([v, ..]) => format!("{v};{v};{v}"),
        _ => "0;0;0".into(),
    };
    let mut out = String::new();
    for y in (0..to_height).step_by(2) {
        for image in &images {
            for x in 0..to_width {
                let (top, bottom) = (colour(image, y, x), colour(image, y + 1, x));
                out += &format!("\x1b[38;2;{top}m\x1b[48;2;{bottom}m▀");
            }
            out += "\x1b[0m ";
        }
        out += "\n";
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, SourceSpec, open};

    #[test]
    fn describes_the_sample() {
        let data = open(&SourceSpec::default(), &OpenOptions::default()).unwrap();
        let d = describe(&data).unwrap();
        assert_eq!(d.parts, [("train".to_string(), 6000), ("test".to_string(), 1000)]);
        assert!(d.classes.iter().all(|c| c.counts == [600, 100]));
        let text = d.to_string();
        assert!(text.contains("images of 28x28x1, 10 classes") && text.contains("Ankle boot"), "{text}");
        assert!((d.channels[0].mean - 0.286).abs() < 0.01, "{text}");
        assert_eq!(preview(data.train(), &[0, 1, 2], 60).unwrap().lines().count(), 10);
    }
}
