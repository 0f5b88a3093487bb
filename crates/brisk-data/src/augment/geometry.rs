//! Changes of place: shift, flips, rotation, cutout. What comes in from outside is black.

use crate::ImageSpec;
use crate::rng::Stream;

/// Pads by `padding` on each side and cuts the original size out again: a shift.
pub fn random_shift(pixels: &mut [u8], image: &ImageSpec, padding: usize, random: &mut Stream) {
    let mut draw = |size: usize| {
        let p = padding.min(size) as i64;
        random.below(2 * p as u64 + 1) as i64 - p
    };
    let (dy, dx) = (draw(image.height), draw(image.width));
    shift(pixels, image, dy, dx);
}

/// Moves the picture so that pixel (y + dy, x + dx) comes to (y, x).
fn shift(pixels: &mut [u8], image: &ImageSpec, dy: i64, dx: i64) {
    let ImageSpec { height, width, channels } = *image;
    let original = pixels.to_vec();
    pixels.fill(0);
    // The columns that stay inside, in the new picture.
    let from = (-dx).clamp(0, width as i64) as usize;
    let to = (width as i64 - dx).clamp(from as i64, width as i64) as usize;
    let start = (from as i64 + dx) as usize;
    for y in 0..height {
        let source = y as i64 + dy;
        if (0..height as i64).contains(&source) && to > from {
            let len = (to - from) * channels;
            pixels[(y * width + from) * channels..][..len]
                .copy_from_slice(&original[(source as usize * width + start) * channels..][..len]);
        }
    }
}

pub fn flip_horizontally(pixels: &mut [u8], image: &ImageSpec) {
    let ImageSpec { width, channels, .. } = *image;
    for row in pixels.chunks_exact_mut(width * channels) {
        for x in 0..width / 2 {
            for c in 0..channels {
                row.swap(x * channels + c, (width - 1 - x) * channels + c);
            }
        }
    }
}

pub fn flip_vertically(pixels: &mut [u8], image: &ImageSpec) {
    let row = image.width * image.channels;
    let (top, bottom) = pixels.split_at_mut(image.height / 2 * row);
    for (a, b) in top.chunks_exact_mut(row).zip(bottom.rchunks_exact_mut(row)) {
        a.swap_with_slice(b);
    }
}

/// Turns around the centre, counter-clockwise for a positive angle, bilinear.
pub fn rotate(pixels: &mut [u8], image: &ImageSpec, angle: f64) {
    let ImageSpec { height, width, channels } = *image;
    let original = pixels.to_vec();
    let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
    let (cy, cx) = ((height - 1) as f32 / 2.0, (width - 1) as f32 / 2.0);
    let at =
        |y: i64, x: i64, c: usize| match (0..height as i64).contains(&y) && (0..width as i64).contains(&x) {
            true => f32::from(original[(y as usize * width + x as usize) * channels + c]),
            false => 0.0,
        };
    for y in 0..height {
        for x in 0..width {
            let (dy, dx) = (y as f32 - cy, x as f32 - cx);
            let (sy, sx) = (cy + cos * dy + sin * dx, cx + cos * dx - sin * dy);
            let (y0, x0) = (sy.floor(), sx.floor());
            let (fy, fx) = (sy - y0, sx - x0);
            let (y0, x0) = (y0 as i64, x0 as i64);
            for c in 0..channels {
                let top = at(y0, x0, c) * (1.0 - fx) + at(y0, x0 + 1, c) * fx;
                let bottom = at(y0 + 1, x0, c) * (1.0 - fx) + at(y0 + 1, x0 + 1, c) * fx;
                pixels[(y * width + x) * channels + c] = (top * (1.0 - fy) + bottom * fy).round() as u8;
            }
        }
    }
}

/// Blacks out a square whose centre is anywhere in the image.
pub fn cutout(pixels: &mut [u8], image: &ImageSpec, size: usize, random: &mut Stream) {
    let ImageSpec { height, width, channels } = *image;
    let (cy, cx) = (random.below(height as u64) as usize, random.below(width as u64) as usize);
    let side = |centre: usize, limit: usize| {
        let low = centre.saturating_sub(size / 2);
        (low, centre.saturating_add(size - size / 2).min(limit))
    };
    let ((y0, y1), (x0, x1)) = (side(cy, height), side(cx, width));
    for y in y0..y1 {
        pixels[(y * width + x0) * channels..(y * width + x1) * channels].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    const IMAGE: ImageSpec = ImageSpec { height: 3, width: 3, channels: 1 };

    fn picture() -> Vec<u8> {
        (1..=9).collect()
    }

    #[test]
    fn shifts() {
        let mut p = picture();
        shift(&mut p, &IMAGE, 1, -1);
        assert_eq!(p, [0, 4, 5, 0, 7, 8, 0, 0, 0]);
        shift(&mut p, &IMAGE, 3, 3);
        assert_eq!(p, [0; 9]);
    }

    #[test]
    fn flips() {
        let mut p = picture();
        flip_horizontally(&mut p, &IMAGE);
        assert_eq!(p, [3, 2, 1, 6, 5, 4, 9, 8, 7]);
        let mut p = picture();
        flip_vertically(&mut p, &IMAGE);
        assert_eq!(p, [7, 8, 9, 4, 5, 6, 1, 2, 3]);
        let rgb = ImageSpec { height: 1, width: 2, channels: 3 };
        let mut p: Vec<u8> = (1..=6).collect();
        flip_horizontally(&mut p, &rgb);
        assert_eq!(p, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn a_quarter_turn_is_exact() {
        let mut p = picture();
        rotate(&mut p, &IMAGE, std::f64::consts::FRAC_PI_2);
        assert_eq!(p, [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        let mut p = picture();
        rotate(&mut p, &IMAGE, 0.0);
        assert_eq!(p, picture());
    }

    #[test]
    fn cuts_out_a_square() {
        let image = ImageSpec { height: 20, width: 20, channels: 3 };
        for i in 0..50 {
            let mut p = vec![9; image.elements()];
            cutout(&mut p, &image, 6, &mut Stream::new(0, Purpose::Augment, 0, i));
            let black = p.iter().filter(|&&v| v == 0).count();
            assert!((3 * 3 * 3..=6 * 6 * 3).contains(&black), "{black}");
        }
    }
}
