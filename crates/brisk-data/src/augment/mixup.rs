//! Mixup: each image of a batch is blended with another, and their labels likewise.

use super::Mixup;
use crate::ImageSpec;
use crate::rng::{Purpose, Stream};

/// Blends the images of a batch in place (rounded to 8 bits) and returns the labels, `[n, classes]` row-major.
pub(crate) fn mix_batch(
    pixels: &mut [u8],
    labels: &[i32],
    classes: usize,
    image: &ImageSpec,
    mixup: &Mixup,
    seed: u64,
    epoch: u64,
    batch: u64,
) -> Vec<f32> {
    let n = labels.len();
    let random = &mut Stream::new(seed, Purpose::Mixup, epoch, batch);
    let share = random.symmetric_beta(f64::from(mixup.alpha)) as f32;
    let mut partner: Vec<usize> = (0..n).collect();
    random.shuffle(&mut partner);

    let original = pixels.to_vec();
    let size = image.elements();
    let mut soft = vec![0.0; n * classes];
    for i in 0..n {
        let other = partner[i];
        let (own, theirs) = (&mut pixels[i * size..][..size], &original[other * size..][..size]);
        for (a, &b) in own.iter_mut().zip(theirs) {
            *a = (f32::from(*a) * share + f32::from(b) * (1.0 - share)).round() as u8;
        }
        for (label, weight) in [(labels[i], share), (labels[other], 1.0 - share)] {
            if let Some(v) = usize::try_from(label).ok().filter(|&l| l < classes) {
                soft[i * classes + v] += weight;
            }
        }
    }
    soft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_distributions_and_images_follow_them() {
        let image = ImageSpec { height: 1, width: 1, channels: 1 };
        let labels = [0, 1, 0, 1];
        for batch in 0..20 {
            // Class 0 is black and class 1 is white: the grey of a blend is its share of class 1.
            let mut pixels = [0, 255, 0, 255];
            let soft = mix_batch(&mut pixels, &labels, 2, &image, &Mixup { alpha: 1.0 }, 7, 0, batch);
            for (p, s) in pixels.iter().zip(soft.chunks(2)) {
                assert!((s[0] + s[1] - 1.0).abs() < 1e-6);
                assert!((f32::from(*p) / 255.0 - s[1]).abs() < 0.003);
            }
        }
    }
}
