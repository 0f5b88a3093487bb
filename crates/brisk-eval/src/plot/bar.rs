use super::svg::{STYLE, Svg, escape, shorten};

/// Horizontal bars with names and values, such as samples or F1 by class.
///
/// ```
/// let svg = brisk_eval::plot::BarChart::new("Samples by class").bar("猫", 120.0).bar("dog", 80.0).decimals(0).to_svg();
/// assert!(svg.contains("猫") && svg.contains(">120<"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BarChart {
    /// What the chart shows; read out by screen readers.
    pub title: String,
    /// Names and values. A value that is not finite, or negative, is written but has no bar.
    pub bars: Vec<(String, f64)>,
    /// The value of a full bar; by default the largest.
    pub full: Option<f64>,
    /// Digits after the point.
    pub decimals: usize,
}

impl BarChart {
    /// A chart without bars, values with four decimals.
    pub fn new(title: impl Into<String>) -> Self {
        BarChart { title: title.into(), decimals: 4, ..Self::default() }
    }

    /// Adds a bar.
    pub fn bar(mut self, name: impl Into<String>, value: f64) -> Self {
        self.bars.push((name.into(), value));
        self
    }

    /// Adds bars.
    pub fn bars<S: Into<String>>(mut self, bars: impl IntoIterator<Item = (S, f64)>) -> Self {
        self.bars.extend(bars.into_iter().map(|(name, value)| (name.into(), value)));
        self
    }

    /// Digits after the point.
    pub fn decimals(mut self, decimals: usize) -> Self {
        self.decimals = decimals.min(12);
        self
    }

    /// The value of a full bar.
    pub fn full(mut self, value: f64) -> Self {
        self.full = Some(value);
        self
    }

    /// The chart as an SVG file.
    pub fn to_svg(&self) -> String {
        self.draw(Some(STYLE))
    }

    /// The chart for a page that holds [`STYLE`].
    pub fn to_inline_svg(&self) -> String {
        self.draw(None)
    }

    fn draw(&self, style: Option<&str>) -> String {
        let (width, row, left, right) = (460.0, 24.0, 120.0, 460.0 - 64.0);
        let height = (self.bars.len().max(2) as f64) * row + 8.0;
        let value = |v: f64| if v.is_finite() { format!("{v:.*}", self.decimals) } else { "-".to_owned() };
        let described: Vec<String> =
            self.bars.iter().map(|(name, v)| format!("{name} {}", value(*v))).collect();
        let mut svg = Svg::open(width, height, &self.title, &described.join(", "), style);
        if self.bars.is_empty() {
            svg.label(width / 2.0, height / 2.0, "m dim", "no data");
            return svg.close();
        }
        let largest = self.bars.iter().map(|b| b.1).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let full = self.full.filter(|&f| f > 0.0).unwrap_or(largest);
        for (i, (name, v)) in self.bars.iter().enumerate() {
            let y = 4.0 + i as f64 * row;
            let share = if full > 0.0 && v.is_finite() { (v / full).clamp(0.0, 1.0) } else { 0.0 };
            let (name, long) = (shorten(name, 16), escape(name));
            svg.put(format_args!(r#"<g><title>{long}: {}</title>"#, value(*v)));
            svg.label(left - 8.0, y + 16.0, "e", &name);
            let (track, fill) = (right - left, (right - left) * share);
            svg.put(format_args!(
                r#"<rect class="track" x="{left}" y="{:.1}" width="{track}" height="14" rx="3"/>"#,
                y + 4.0
            ));
            svg.put(format_args!(
                r#"<rect class="fill" x="{left}" y="{:.1}" width="{fill:.1}" height="14" rx="3"/>"#,
                y + 4.0
            ));
            svg.label(right + 8.0, y + 16.0, "s num", &value(*v));
            svg.put(format_args!("</g>"));
        }
        svg.close()
    }
}
