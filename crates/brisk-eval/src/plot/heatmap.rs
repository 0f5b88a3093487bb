use super::svg::{STYLE, Svg, escape, shorten};
use crate::metrics::ConfusionMatrix;

/// Beyond this many classes the cells are too small for their counts.
const MAX_WRITTEN: usize = 20;
/// Beyond this many classes the rows and columns are too small for their names.
const MAX_NAMED: usize = 35;

/// A confusion matrix as a heat map: what was right in blue, mistakes in orange, deeper for a larger share of the true class.
///
/// ```
/// use brisk_eval::{metrics::ConfusionMatrix, plot::ConfusionChart};
///
/// let matrix = ConfusionMatrix::from(vec![vec![90, 10], vec![20, 80]]);
/// let svg = ConfusionChart::new(&matrix, &["cat", "dog"]).to_svg();
/// assert!(svg.contains("true cat, predicted dog: 10"));
/// ```
#[derive(Debug, Clone)]
pub struct ConfusionChart<'a> {
    matrix: &'a ConfusionMatrix,
    labels: Vec<String>,
}

impl<'a> ConfusionChart<'a> {
    /// A chart of that matrix; classes without a name are shown by number.
    pub fn new<S: AsRef<str>>(matrix: &'a ConfusionMatrix, labels: &[S]) -> Self {
        let label = |c: usize| labels.get(c).map_or_else(|| c.to_string(), |l| l.as_ref().to_owned());
        ConfusionChart { matrix, labels: (0..matrix.classes()).map(label).collect() }
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
        let n = self.matrix.classes();
        let named = n <= MAX_NAMED;
        let small = if n > MAX_WRITTEN { " small" } else { "" };
        let longest = self.labels.iter().map(|l| width_of(&shorten(l, 14))).fold(0.0, f64::max);
        let margin = if named { longest + 14.0 } else { 12.0 };
        let cell = (560.0 / n.max(1) as f64).clamp(4.0, 52.0);
        let (left, top) = (margin + 20.0, margin * 0.72 + 26.0);
        let (width, height) = (
            (left + cell * n as f64 + (margin * 0.72 - cell / 2.0).max(12.0)).max(220.0),
            (top + cell * n as f64 + 10.0).max(80.0),
        );
        let mut svg = Svg::open(width, height, "Confusion matrix", &self.describe(), style);
        if n == 0 {
            svg.label(width / 2.0, height / 2.0, "m dim", "no classes");
            return svg.close();
        }
        let middle = cell * n as f64 / 2.0;
        svg.label(left + middle, 14.0, "m dim", "predicted");
        svg.put(format_args!(
            r#"<text class="m dim" transform="translate(12 {:.1}) rotate(-90)">true</text>"#,
            top + middle
        ));
        for (i, label) in self.labels.iter().enumerate().filter(|_| named) {
            let at = (i as f64 + 0.5) * cell;
            let label = shorten(label, 14);
            svg.label(left - 8.0, top + at + 4.0, &format!("e{small}"), &label);
            let (x, y) = (left + at - 2.0, top - 8.0);
            svg.put(format_args!(
                r#"<text class="s{small}" transform="translate({x:.1} {y:.1}) rotate(-45)">{}</text>"#,
                escape(&label)
            ));
        }
        let side = cell * n as f64;
        svg.put(format_args!(
            r#"<rect class="track" x="{left:.1}" y="{top:.1}" width="{side:.1}" height="{side:.1}"/>"#
        ));
        for (truth, row) in self.matrix.rows().enumerate() {
            self.draw_row(&mut svg, truth, row, (left, top + truth as f64 * cell), cell);
        }
        svg.close()
    }

    fn draw_row(&self, svg: &mut Svg, truth: usize, row: &[u64], (left, y): (f64, f64), cell: f64) {
        let total = row.iter().sum::<u64>().max(1) as f64;
        let written = row.len() <= MAX_WRITTEN;
        for (predicted, &count) in row.iter().enumerate().filter(|&(_, &count)| count > 0 || written) {
            let x = left + predicted as f64 * cell;
            let right = predicted == truth;
            let share = count as f64 / total;
            // The square root lifts rare mistakes to where the eye finds them.
            let depth = if right { share } else { share.sqrt() };
            let class = if right { "hit" } else { "miss" };
            let (t, p) = (escape(&self.labels[truth]), escape(&self.labels[predicted]));
            svg.put(format_args!(
                "<g><title>true {t}, predicted {p}: {count} ({:.1}%)</title>",
                share * 100.0
            ));
            let gap = if cell > 12.0 { 1.0 } else { 0.0 };
            let (px, py, side) = (x + gap, y + gap, cell - 2.0 * gap);
            svg.put(format_args!(r#"<rect class="{class}" x="{px:.1}" y="{py:.1}" width="{side:.1}" height="{side:.1}" fill-opacity="{depth:.3}"/>"#));
            if written {
                let ink = match (count, depth > 0.55) {
                    (0, _) => "m cell zero",
                    (_, true) => "m cell on",
                    (_, false) => "m cell",
                };
                svg.label(x + cell / 2.0, y + cell / 2.0 + 4.0, ink, &count.to_string());
            }
            svg.put(format_args!("</g>"));
        }
    }

    fn describe(&self) -> String {
        let m = self.matrix;
        let mut text = format!("{} classes, {} of {} samples right.", m.classes(), m.correct(), m.total());
        for (t, p, n) in m.top_confusions(3) {
            text.push_str(&format!(" {n} times {} was taken for {}.", self.labels[t], self.labels[p]));
        }
        text
    }
}

/// About how wide a text is drawn.
fn width_of(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { 7.0 } else { 13.0 }).sum()
}
