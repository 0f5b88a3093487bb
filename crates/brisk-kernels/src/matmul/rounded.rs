//! What a number becomes in 16 or 8 bits, and operands rounded so for CPUs without instructions for them, where the product of
//! the rounded numbers is made in f32.

/// The nearest number of 8 bits of precision (brain float); of two, the even one.
pub fn bf16(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// How a row's numbers, from `low` to `high`, stand in eight bits: 0 to 255, `zero` for 0.
pub struct Range {
    pub scale: f32,
    pub inverse: f32,
    pub zero: u8,
}

impl Range {
    /// 0 lies between `low` and `high`, or is one of them.
    pub fn new(low: f32, high: f32) -> Range {
        let scale = (high - low) / 255.0;
        if scale == 0.0 || !scale.is_finite() {
            return Range { scale: if scale == 0.0 { 1.0 } else { f32::NAN }, inverse: 0.0, zero: 0 };
        }
        let inverse = 1.0 / scale;
        // A scale so small that it has no inverse belongs to numbers that are as good as 0.
        if !inverse.is_finite() {
            return Range { scale: 1.0, inverse: 0.0, zero: 0 };
        }
        Range { scale, inverse, zero: (-low * inverse).round_ties_even().clamp(0.0, 255.0) as u8 }
    }

    fn round(&self, x: f32) -> f32 {
        let zero = f32::from(self.zero);
        (x.mul_add(self.inverse, zero).round_ties_even().clamp(0.0, 255.0) - zero) * self.scale
    }
}

/// A row as it stands in eight bits: NaN if something in it is not finite.
pub fn round_row(row: &mut [f32]) {
    if row.iter().any(|x| !x.is_finite()) {
        return row.fill(f32::NAN);
    }
    let range = Range::new(row.iter().copied().fold(0.0, f32::min), row.iter().copied().fold(0.0, f32::max));
    row.iter_mut().for_each(|x| *x = range.round(*x));
}

/// The scale of a column of a matrix in eight bits: its numbers are -127 to 127 of it. NaN if something is not finite.
pub fn column_scale(column: impl Iterator<Item = f32>) -> f32 {
    let mut largest = 0.0f32;
    for x in column {
        if !x.is_finite() {
            return f32::NAN;
        }
        largest = largest.max(x.abs());
    }
    let scale = largest / 127.0;
    if scale > 0.0 && (1.0 / scale).is_finite() { scale } else { 1.0 }
}

/// A number of a column with that scale.
pub fn number(x: f32, scale: f32) -> i8 {
    // A cast of a float saturates, and makes 0 of NaN.
    (x / scale).round_ties_even() as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_bfloat16_and_of_two_the_even_one() {
        let next = f32::from_bits(1f32.to_bits() + 0x1_0000);
        for (x, want) in [
            (1.0, 1.0),
            (f32::from_bits(1f32.to_bits() + 0x7fff), 1.0),
            (f32::from_bits(1f32.to_bits() + 0x8000), 1.0),
            (f32::from_bits(1f32.to_bits() + 0x8001), next),
            (f32::from_bits(next.to_bits() + 0x8000), f32::from_bits(next.to_bits() + 0x1_0000)),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(bf16(x), want);
            assert_eq!(bf16(-x), -want);
        }
        assert!(bf16(f32::NAN).is_nan());
    }

    #[test]
    fn eight_bits_are_off_by_half_a_step_at_most_and_keep_zero() {
        let row: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin() * 3.0 - 1.0).chain([0.0]).collect();
        let mut rounded = row.clone();
        round_row(&mut rounded);
        let step = (2.0 + 4.0) / 255.0;
        assert!(row.iter().zip(&rounded).all(|(x, r)| (x - r).abs() <= 0.501 * step));
        assert_eq!(rounded.last(), Some(&0.0));
        let scale = column_scale(row.iter().copied());
        assert!(row.iter().all(|&x| (f32::from(number(x, scale)) * scale - x).abs() <= 0.501 * scale));
        let mut none = [0.0; 3];
        round_row(&mut none);
        assert_eq!((none, column_scale([0.0, 0.0].into_iter())), ([0.0; 3], 1.0));
    }
}
