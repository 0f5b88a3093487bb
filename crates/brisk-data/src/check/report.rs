//! What `check` found, as a table for people and as data for programs.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scan::Seen;
use super::{Problem, ProblemKind, Severity};
use crate::{Dataset, Error, Result};

/// Problems listed in the text; the rest is counted there and written by [`CheckReport::write_list`].
const SHOWN: usize = 5;

/// What [`check`](crate::check()) found.
///
/// ```
/// use brisk_data::{Dataset, ImageSpec, Memory, Part, ProblemKind, Severity, check};
/// let image = ImageSpec { height: 1, width: 1, channels: 1 };
/// let part = Part::new(Memory::new(image, vec![7, 7], vec![0, 0])?, ["cat", "dog"], image)?;
/// let report = check(&Dataset::new(part), 1);
/// assert_eq!(report.worst(), Some(Severity::Error));
/// assert_eq!(report.problems[0].place, "dog");
/// assert_eq!(report.count(ProblemKind::Duplicate), 1);
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// The data set.
    pub dataset: String,
    /// For each part its name and the number of its samples.
    pub parts: Vec<(String, usize)>,
    /// The different sizes of images, as `height x width x channels`, with their number; the most frequent first.
    pub sizes: Vec<(String, usize)>,
    /// All problems, the worst first.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    pub(super) fn new(dataset: &Dataset, scans: &[Vec<Seen>], problems: Vec<Problem>) -> CheckReport {
        let mut sizes: Vec<(String, usize)> = Vec::new();
        for (_, spec) in scans.iter().flatten().flatten() {
            let name = spec.to_string();
            match sizes.iter_mut().find(|(s, _)| *s == name) {
                Some((_, n)) => *n += 1,
                None => sizes.push((name, 1)),
            }
        }
        sizes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let parts = dataset.parts().iter().map(|(name, p)| (name.to_string(), p.len())).collect();
        CheckReport { dataset: dataset.name().into(), parts, sizes, problems }
    }

    /// Number of problems of a kind.
    pub fn count(&self, kind: ProblemKind) -> usize {
        self.problems.iter().filter(|p| p.kind == kind).count()
    }

    /// The worst severity; `None` without problems.
    pub fn worst(&self) -> Option<Severity> {
        self.problems.iter().map(|p| p.kind.severity()).max()
    }

    /// Writes all problems as CSV: severity, problem, part, place, detail.
    pub fn write_list(&self, path: &Path) -> Result<()> {
        let text = self.list().map_err(Error::io(path))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(folder))?;
        std::io::Write::write_all(&mut file, &text).map_err(Error::io(path))?;
        file.as_file().sync_all().map_err(Error::io(path))?;
        file.persist(path).map_err(|e| Error::io(path)(e.error))?;
        Ok(())
    }

    fn list(&self) -> std::io::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["severity", "problem", "part", "place", "detail"])?;
        for p in &self.problems {
            let severity = match p.kind.severity() {
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            writer.write_record([severity, p.kind.title(), &p.part, &p.place, &p.detail])?;
        }
        writer.into_inner().map_err(|e| e.into_error())
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        writeln!(f, "{}: {}", self.dataset, parts.join(", "))?;
        let sizes: Vec<_> = self.sizes.iter().take(SHOWN).map(|(s, n)| format!("{s} ({n})")).collect();
        let more = if self.sizes.len() > SHOWN { ", ..." } else { "" };
        writeln!(f, "image sizes: {}{more}", sizes.join(", "))?;
        if self.problems.is_empty() {
            return writeln!(f, "No problems found.");
        }
        let mut rest = &self.problems[..];
        while let Some(first) = rest.first() {
            let n = rest.iter().take_while(|p| p.kind == first.kind).count();
            let (group, after) = rest.split_at(n);
            let mark = if first.kind.severity() == Severity::Error { "error  " } else { "warning" };
            writeln!(f, "\n{mark}  {}: {n}", first.kind.title())?;
            for p in group.iter().take(SHOWN) {
                writeln!(f, "  {:<10}  {}  {}", p.part, p.place, p.detail)?;
            }
            if n > SHOWN {
                writeln!(f, "  ... and {} more", n - SHOWN)?;
            }
            rest = after;
        }
        Ok(())
    }
}
