use super::{
    axis::Axis,
    svg::{STYLE, Svg, escape, shorten},
};

/// The most series that have a colour and dash pattern of their own; more start over.
const PATTERNS: usize = 6;
/// Beyond this many points a line carries no dots.
const MAX_DOTS: usize = 60;

/// Named points of a [`LineChart`].
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// (x, y), in the order in which the line joins them.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A series of (x, y).
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Series { name: name.into(), points: points.into_iter().collect() }
    }
}

/// Lines over a common x, such as learning curves.
///
/// ```
/// use brisk_eval::plot::{LineChart, Series};
///
/// let svg = LineChart::new("Loss by epoch")
///     .axes("epoch", "loss")
///     .series(Series::new("train", [(1.0, 0.9), (2.0, 0.5), (3.0, f64::NAN)]))
///     .series(Series::new("validation", [(1.0, 0.8), (2.0, 0.6), (3.0, 0.7)]))
///     .mark(2.0, "best epoch")
///     .to_svg();
/// assert!(svg.contains("best epoch"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LineChart {
    /// What the chart shows; read out by screen readers.
    pub title: String,
    /// Name of the x axis.
    pub x_label: String,
    /// Name of the y axis.
    pub y_label: String,
    /// The lines.
    pub series: Vec<Series>,
    /// A vertical line at an x, with its name.
    pub marker: Option<(f64, String)>,
}

impl LineChart {
    /// A chart without lines.
    pub fn new(title: impl Into<String>) -> Self {
        LineChart { title: title.into(), ..Self::default() }
    }

    /// Names the axes.
    pub fn axes(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        (self.x_label, self.y_label) = (x.into(), y.into());
        self
    }

    /// Adds a line.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Draws a vertical line at `x`.
    pub fn mark(mut self, x: f64, name: impl Into<String>) -> Self {
        self.marker = Some((x, name.into()));
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
        let (width, height) = (460.0, 290.0);
        let (left, right, top, bottom) = (52.0, width - 14.0, 40.0, height - 42.0);
        let mut svg = Svg::open(width, height, &self.title, &self.describe(), style);

        let whole = self.points().all(|(x, _)| x.fract() == 0.0);
        let x = Axis::new(self.points().map(|p| p.0), left + 8.0, right - 8.0, 8, whole);
        let y = Axis::rounded(self.points().map(|p| p.1), bottom, top, 5);
        let (Some(x), Some(y)) = (x, y) else {
            svg.label(width / 2.0, height / 2.0, "m dim", "no data");
            return svg.close();
        };
        for &tick in &y.ticks {
            let at = y.place(tick);
            svg.put(format_args!(r#"<path class="grid" d="M{left} {at:.1}H{right}"/>"#));
            svg.label(left - 7.0, at + 4.0, "e dim", &y.label(tick));
        }
        for &tick in &x.ticks {
            svg.label(x.place(tick), bottom + 17.0, "m dim", &x.label(tick));
        }
        svg.put(format_args!(r#"<path class="frame" d="M{left} {bottom}H{right}"/>"#));
        svg.label((left + right) / 2.0, height - 6.0, "m dim", &self.x_label);

        if let Some((at, name)) = self.marker.as_ref().filter(|(at, _)| at.is_finite()) {
            let at = x.place(*at).clamp(left, right);
            svg.put(format_args!(r#"<path class="mark" d="M{at:.1} {top}V{bottom}"/>"#));
            // The name goes to the side with more room.
            let (class, x) =
                if at > (left + right) / 2.0 { ("e mark-name", at - 5.0) } else { ("s mark-name", at + 5.0) };
            svg.label(x, top + 10.0, class, name);
        }
        for (i, series) in self.series.iter().enumerate() {
            self.draw_series(&mut svg, i, series, &x, &y);
        }
        self.draw_legend(&mut svg, left, right);
        svg.close()
    }

    fn draw_series(&self, svg: &mut Svg, index: usize, series: &Series, x: &Axis, y: &Axis) {
        let class = index % PATTERNS;
        let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.abs() < 1e300;
        // A gap where a value is missing.
        for run in series.points.split(|p| !finite(p)).filter(|run| run.len() > 1) {
            let path: Vec<String> =
                run.iter().map(|p| format!("{:.1} {:.1}", x.place(p.0), y.place(p.1))).collect();
            svg.put(format_args!(r#"<path class="line c{class}" d="M{}"/>"#, path.join("L")));
        }
        if series.points.len() > MAX_DOTS {
            return;
        }
        for p in series.points.iter().filter(|p| finite(p)) {
            let (px, py) = (x.place(p.0), y.place(p.1));
            let tip = escape(&format!("{}, {} {}: {:.4}", series.name, self.x_label, p.0, p.1));
            svg.put(format_args!(r#"<circle class="dot c{class}" cx="{px:.1}" cy="{py:.1}" r="3"><title>{tip}</title></circle>"#));
        }
    }

    /// In one row above the frame, as wide as the names are long.
    fn draw_legend(&self, svg: &mut Svg, left: f64, right: f64) {
        let share = ((right - left) / self.series.len().max(1) as f64 / 7.5 - 5.0).max(3.0) as usize;
        let mut x = left;
        for (i, series) in self.series.iter().enumerate() {
            let class = i % PATTERNS;
            let name = shorten(&series.name, share);
            svg.put(format_args!(r#"<path class="line c{class}" d="M{x:.1} 18h22"/><circle class="dot c{class}" cx="{:.1}" cy="18" r="3"/>"#, x + 11.0));
            svg.label(x + 28.0, 22.0, "s", &name);
            x += 28.0 + 16.0 + name.chars().map(|c| if c.is_ascii() { 7.0 } else { 13.0 }).sum::<f64>();
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|s| s.points.iter().copied()).filter(|p| p.0.is_finite())
    }

    /// For those who hear the chart: first, last, lowest and highest value of each line.
    fn describe(&self) -> String {
        let one = |series: &Series| {
            let values = || series.points.iter().map(|p| p.1).filter(|v| v.is_finite());
            let (first, last) = (values().next()?, values().next_back()?);
            let (low, high) =
                (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            let name = &series.name;
            Some(format!("{name}: from {first:.4} to {last:.4}, lowest {low:.4}, highest {high:.4}."))
        };
        let mut text = format!("{} over {}.", self.y_label, self.x_label);
        for line in self.series.iter().filter_map(one) {
            text.push(' ');
            text.push_str(&line);
        }
        if let Some((at, name)) = self.marker.as_ref().filter(|(at, _)| at.is_finite()) {
            text.push_str(&format!(" Marked: {name}, {} {at}.", self.x_label));
        }
        text
    }
}
