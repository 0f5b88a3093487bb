//! Comparing numbers.

/// A number that can be compared as f64.
pub trait Number: Copy {
    /// As f64.
    fn to_f64(self) -> f64;
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl Number for $t {
            fn to_f64(self) -> f64 {
                self.into()
            }
        }
    )*};
}
number!(f32, f64, i32, u8);

/// Panics unless each number is within `atol + rtol |want|` of the one wanted. NaN is close to NaN only, an infinity to
/// itself only. The message tells the first and the worst place.
///
/// ```
/// brisk_testkit::assert_close("thirds", &[0.333f32, 0.667], &[1.0 / 3.0, 2.0 / 3.0], 1e-2, 0.0);
/// ```
#[track_caller]
pub fn assert_close<A: Number, B: Number>(name: &str, got: &[A], want: &[B], rtol: f64, atol: f64) {
    assert!(got.len() == want.len(), "{name}: expected {} numbers, found {}", want.len(), got.len());
    let pairs = got.iter().zip(want).map(|(g, w)| (g.to_f64(), w.to_f64()));
    let excess = |(got, want): (f64, f64)| match got == want || (got.is_nan() && want.is_nan()) {
        true => 0.0,
        false => {
            let ratio = (got - want).abs() / (atol + rtol * want.abs());
            if ratio.is_nan() { f64::INFINITY } else { ratio }
        }
    };
    let far: Vec<_> = pairs.enumerate().map(|(i, p)| (i, p, excess(p))).filter(|f| f.2 > 1.0).collect();
    let (Some(first), Some(worst)) = (far.first(), far.iter().max_by(|a, b| a.2.total_cmp(&b.2))) else {
        return;
    };
    let place = |&(i, (got, want), excess): &(usize, (f64, f64), f64)| {
        format!(
            "[{i}] got {got:e}, want {want:e}, {:.2e} apart, {excess:.2} times what is allowed",
            (got - want).abs()
        )
    };
    panic!(
        "{name}: {} of {} numbers differ (rtol {rtol:e}, atol {atol:e})\n  first: {}\n  worst: {}",
        far.len(),
        got.len(),
        place(first),
        place(worst)
    );
}

#[cfg(test)]
mod tests {
    use super::assert_close;

    #[test]
    fn accepts_what_is_close_and_what_is_alike() {
        assert_close("", &[1.0, f64::NAN, f64::INFINITY], &[1.0 + 1e-9, f64::NAN, f64::INFINITY], 1e-8, 0.0);
    }

    #[test]
    #[should_panic(
        expected = "x: 2 of 3 numbers differ (rtol 0e0, atol 1e-1)\n  first: [1] got 2e0, want 3e0"
    )]
    fn names_the_first_place() {
        assert_close("x", &[1.0, 2.0, 3.0], &[1.0, 3.0, 5.0], 0.0, 0.1);
    }

    #[test]
    #[should_panic(expected = "want 0e0")]
    fn nan_is_not_close() {
        assert_close("x", &[f64::NAN], &[0.0], 1.0, 1.0);
    }

    #[test]
    #[should_panic(expected = "want inf")]
    fn infinity_is_not_close() {
        assert_close("x", &[1.0], &[f64::INFINITY], 1.0, 1.0);
    }
}
