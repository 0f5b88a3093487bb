//! Random numbers that depend on nothing but what they are for: a seed, a purpose, an epoch, a sample.

/// What random numbers are used for: two purposes never share numbers.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Shuffle = 1,
    Split,
    Augment,
    Mixup,
    Batches,
    Median,
    Mask,
}

/// A stream of random numbers (SplitMix64).
pub(crate) struct Stream(u64);

/// The finalizer of SplitMix64: every bit of the result depends on every bit of the input.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Stream {
    /// The stream of a purpose, an epoch and a sample (or batch, or class).
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Stream {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let key = [purpose as u64, epoch, index];
        Stream(
            key.iter()
                .fold(mix(seed.wrapping_add(STEP)), |s, &k| mix(s ^ k.wrapping_add(STEP).wrapping_mul(STEP))),
        )
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0..n; 0 for n = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// True half the time.
    pub fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    /// Standard normal (Box-Muller).
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Gamma with a shape and scale 1 (Marsaglia and Tsang, 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let u = 1.0 - self.unit();
            return self.gamma(shape + 1.0) * u.powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let u = 1.0 - self.unit();
            if v > 0.0 && u.ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }

    /// Beta(alpha, alpha), in [0, 1].
    pub fn symmetric_beta(&mut self, alpha: f64) -> f64 {
        let (a, b) = (self.gamma(alpha), self.gamma(alpha));
        // A tiny alpha can underflow both; the distribution is then a coin.
        if a + b > 0.0 { a / (a + b) } else { f64::from(u8::from(self.coin())) }
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |s, p, e, i| Stream::new(s, p, e, i).bits();
        let first = draw(1, Purpose::Shuffle, 0, 0);
        assert_eq!(first, draw(1, Purpose::Shuffle, 0, 0));
        for other in [
            draw(2, Purpose::Shuffle, 0, 0),
            draw(1, Purpose::Split, 0, 0),
            draw(1, Purpose::Shuffle, 1, 0),
            draw(1, Purpose::Shuffle, 0, 1),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn moments_are_right() {
        let mut s = Stream::new(0, Purpose::Augment, 0, 0);
        let mean =
            |s: &mut Stream, f: fn(&mut Stream) -> f64| (0..20_000).map(|_| f(s)).sum::<f64>() / 20_000.0;
        assert!((mean(&mut s, Stream::unit) - 0.5).abs() < 0.01);
        assert!((mean(&mut s, |s| s.below(7) as f64) - 3.0).abs() < 0.06);
        assert!((mean(&mut s, |s| s.gamma(0.4)) - 0.4).abs() < 0.03);
        // Var of Beta(a, a) is 1 / (4 (2a + 1)).
        let var = mean(&mut s, |s| (s.symmetric_beta(0.5) - 0.5).powi(2));
        assert!((var - 0.125).abs() < 0.01, "{var}");
        assert!((0..100).all(|_| (0.0..=1.0).contains(&s.symmetric_beta(1e-9))));
    }

    #[test]
    fn shuffles_into_a_permutation() {
        let mut v: Vec<u32> = (0..100).collect();
        Stream::new(3, Purpose::Shuffle, 0, 0).shuffle(&mut v);
        assert_ne!(v, (0..100).collect::<Vec<_>>());
        v.sort();
        assert_eq!(v, (0..100).collect::<Vec<_>>());
    }
}
