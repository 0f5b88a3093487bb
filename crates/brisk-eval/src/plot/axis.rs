/// A number axis: where data values lie in the drawing, and which round values are marked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    pub ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// An axis over the finite ones of `values`, drawn from `from` to `to`, with about `wanted` ticks.
    /// `None` if no value is finite. `whole`: only whole numbers are marked.
    pub fn new(
        values: impl Iterator<Item = f64>,
        from: f64,
        to: f64,
        wanted: usize,
        whole: bool,
    ) -> Option<Self> {
        // Beyond 1e300 the arithmetic below would overflow; such a value is no more informative than infinity.
        let values = values.filter(|v| v.abs() < 1e300);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        // A single value gets some room around it.
        let span = high - low;
        let room = if whole { (low.abs() * 1e-6).max(0.5) } else { (low.abs() * 0.1).max(1e-6) };
        let (low, high) = if span > low.abs() * 1e-9 { (low, high) } else { (low - room, high + room) };

        let mut step = nice_step((high - low) / wanted.max(1) as f64);
        if whole {
            step = step.max(1.0);
        }
        let first = (low / step).ceil();
        let count = ((high / step).floor() - first).clamp(0.0, 50.0) as usize;
        let ticks = (0..=count).map(|i| (first + i as f64) * step + 0.0).collect(); // + 0.0 turns -0 into 0
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        Some(Axis { low, high, from, to, ticks, decimals })
    }

    /// The same, widened to the next ticks, so that no line touches the frame.
    pub fn rounded(values: impl Iterator<Item = f64>, from: f64, to: f64, wanted: usize) -> Option<Self> {
        let axis = Axis::new(values, from, to, wanted, false)?;
        let step = nice_step((axis.high - axis.low) / wanted.max(1) as f64);
        let ends = [(axis.low / step).floor() * step, (axis.high / step).ceil() * step];
        Axis::new(ends.into_iter(), from, to, wanted, false)
    }

    /// Where a value lies in the drawing.
    pub fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// How a tick is written.
    pub fn label(&self, tick: f64) -> String {
        if tick != 0.0 && !(1e-4..1e6).contains(&tick.abs()) {
            return format!("{tick:.1e}");
        }
        format!("{tick:.*}", self.decimals)
    }
}

/// 1, 2 or 5 times a power of ten, not less than `raw`.
fn nice_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.max(1e-300).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= raw * 0.999).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(values: &[f64], whole: bool) -> Vec<String> {
        let axis = Axis::new(values.iter().copied(), 0.0, 100.0, 5, whole).unwrap();
        axis.ticks.iter().map(|&t| axis.label(t)).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(&[0.0, 1.0], false), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(ticks(&[0.412, 0.893], false), ["0.5", "0.6", "0.7", "0.8"]);
        assert_eq!(ticks(&[1.0, 10.0], true), ["2", "4", "6", "8", "10"]);
        assert_eq!(ticks(&[1.0, 3.0], true), ["1", "2", "3"]);
        assert_eq!(ticks(&[0.0, 5e9], false).last().unwrap(), "5.0e9");
        assert_eq!(ticks(&[-1.0, 1.0], false), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    }

    #[test]
    fn degenerate_data_still_has_an_axis() {
        assert_eq!(Axis::new([f64::NAN, f64::INFINITY].into_iter(), 0.0, 1.0, 5, false), None);
        for v in [0.0, 1.0, -1e-300, 1e-12, 1e299, 123456.0] {
            for whole in [false, true] {
                let axis = Axis::new([v, v].into_iter(), 0.0, 100.0, 5, whole).unwrap();
                assert!(axis.place(v).is_finite() && axis.ticks.len() < 60, "{v}: {axis:?}");
            }
            assert!(Axis::rounded([v].into_iter(), 0.0, 1.0, 4).is_some());
        }
    }
}
