//! `report.html`: a training run on one page that needs nothing beside it.
//!
//! ```
//! use brisk_eval::{EpochRecord, RunReport};
//!
//! let run = RunReport {
//!     title: "fashion".into(),
//!     history: vec![EpochRecord::new(1).with("loss", 0.5).with("val_loss", 0.6)],
//!     facts: vec![("Seed".into(), "7".into())],
//!     ..RunReport::default()
//! };
//! assert!(run.to_html().starts_with("<!DOCTYPE html>"));
//! ```

mod curves;
mod evaluation;
mod page;
mod picture;

use crate::{EpochRecord, RegressionReport, Report};

/// What the report shows. Everything may be empty: its section is then left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunReport {
    /// Name of the run.
    pub title: String,
    /// The configuration as it was run.
    pub config_yaml: String,
    /// What was measured in each epoch.
    pub history: Vec<EpochRecord>,
    /// The value whose best epoch is marked; `val_loss`, or else `loss`, if empty. Names ending in `loss`, `error`, `mse` or `mae`
    /// are best when small, all others when large.
    pub monitor: String,
    /// A classifier's metrics on the test data.
    pub evaluation: Option<Report>,
    /// A regressor's metrics on the test data.
    pub regression: Option<RegressionReport>,
    /// Test images that the model got wrong.
    pub mistakes: Vec<Mistake>,
    /// The data set: names and values, in order.
    pub data: Vec<(String, String)>,
    /// The environment: versions, seed, threads and the like, in order.
    pub facts: Vec<(String, String)>,
}

/// An image that the model got wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mistake {
    /// Pixels, height by width by channels; 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels.
    pub image: Vec<u8>,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Number of channels.
    pub c: usize,
    /// What it is.
    pub truth: String,
    /// What the model took it for.
    pub predicted: String,
    /// How sure the model was of that, 0 to 1.
    pub probability: f32,
}

impl RunReport {
    /// The page. Everything given is escaped; any input makes a page.
    pub fn to_html(&self) -> String {
        page::render(self)
    }

    /// The epoch with the best value of [`monitor`](Self::monitor), the first of equals; `None` if no epoch has a finite one.
    pub fn best_epoch(&self) -> Option<&EpochRecord> {
        let name = self.monitored();
        let sign =
            if ["loss", "error", "mse", "mae"].iter().any(|end| name.ends_with(end)) { 1.0 } else { -1.0 };
        let value = |r: &&EpochRecord| r.get(name).filter(|v| v.is_finite());
        let known = self.history.iter().filter(|r| value(r).is_some());
        known.min_by(|a, b| (sign * value(a).unwrap_or(0.0)).total_cmp(&(sign * value(b).unwrap_or(0.0))))
    }

    fn monitored(&self) -> &str {
        match self.monitor.as_str() {
            "" if self.history.iter().any(|r| r.get("val_loss").is_some()) => "val_loss",
            "" => "loss",
            name => name,
        }
    }
}
