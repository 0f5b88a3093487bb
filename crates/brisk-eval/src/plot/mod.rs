//! Small charts as SVG text: no script, no font, nothing fetched.
//!
//! Colours are Okabe and Ito's, which colour-blind people can tell apart; series differ by dash pattern as well. A chart follows the
//! reader's light or dark theme (`prefers-color-scheme`), carries a `<title>` and `<desc>` for screen readers, and shows the exact
//! value of a point when the pointer rests on it. Values that are not finite leave a gap; a chart without data says so.
//!
//! ```
//! use brisk_eval::plot::{LineChart, Series};
//!
//! let chart = LineChart::new("Loss").series(Series::new("train", [(1.0, 0.9), (2.0, 0.5)])).axes("epoch", "loss");
//! let svg: String = chart.to_svg();        // a file of its own
//! let part: String = chart.to_inline_svg(); // within a page that holds `plot::STYLE` once
//! assert!(svg.starts_with("<svg") && svg.contains("<style>") && !part.contains("<style>"));
//! ```

mod axis;
mod bar;
mod heatmap;
mod line;
mod svg;

pub use bar::BarChart;
pub use heatmap::ConfusionChart;
pub use line::{LineChart, Series};
pub use svg::STYLE;
pub(crate) use svg::escape;
