//! Changes of colour: brightness, contrast, saturation, rounded to 8 bits once.

use super::ColorJitter;
use crate::ImageSpec;
use crate::image::luma;
use crate::rng::Stream;

pub fn jitter(pixels: &mut [u8], image: &ImageSpec, jitter: &ColorJitter, random: &mut Stream) {
    let mut draw = |range: f32| random.uniform(1.0 - f64::from(range), 1.0 + f64::from(range)) as f32;
    let (brightness, contrast) = (draw(jitter.brightness), draw(jitter.contrast));
    let saturation = draw(jitter.saturation);
    adjust(pixels, image.channels, brightness, contrast, saturation);
}

/// `brightness * v`, then its distance to the mean brightness times `contrast`, then to grey times `saturation`.
fn adjust(pixels: &mut [u8], channels: usize, brightness: f32, contrast: f32, saturation: f32) {
    let grey = |p: &[u8]| match *p {
        [r, g, b] => luma([r, g, b]),
        _ => p[0],
    };
    let total: u64 = pixels.chunks_exact(channels).map(|p| u64::from(grey(p))).sum();
    let mean = brightness * total as f32 / (pixels.len() / channels) as f32;
    for p in pixels.chunks_exact_mut(channels) {
        let level = f32::from(grey(p));
        for v in p {
            let colour = level + (f32::from(*v) - level) * saturation;
            // A cast to u8 saturates.
            *v = (mean + (colour * brightness - mean) * contrast).round() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_one_change_nothing() {
        let mut p = vec![10, 200, 30, 0, 255, 7];
        adjust(&mut p, 3, 1.0, 1.0, 1.0);
        assert_eq!(p, [10, 200, 30, 0, 255, 7]);
    }

    #[test]
    fn each_factor_does_its_part() {
        let mut p = vec![100, 200];
        adjust(&mut p, 1, 0.5, 1.0, 1.0);
        assert_eq!(p, [50, 100]);
        let mut p = vec![100, 200];
        adjust(&mut p, 1, 1.0, 0.5, 1.0);
        assert_eq!(p, [125, 175]);
        let mut p = vec![100, 200];
        adjust(&mut p, 1, 2.0, 1.0, 1.0);
        assert_eq!(p, [200, 255]);
        let mut p = vec![200, 100, 50];
        adjust(&mut p, 3, 1.0, 1.0, 0.0);
        assert_eq!(p, [117, 117, 117]);
    }
}
