//! `check`: everything that is wrong with a data set, found in one pass over its images.

mod report;
mod scan;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use report::CheckReport;

use crate::{Dataset, Part};

/// A kind of problem. The first four keep a model from being trained; the others make it worse than it looks.
///
/// ```
/// use brisk_data::{ProblemKind, Severity};
/// assert_eq!(ProblemKind::Corrupt.severity(), Severity::Error);
/// assert_eq!(serde_json::to_string(&ProblemKind::InTwoParts).unwrap(), r#""in_two_parts""#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// An image that cannot be read.
    Corrupt,
    /// A label that names no class.
    LabelOutOfRange,
    /// A class without training samples.
    EmptyClass,
    /// No samples at all.
    Empty,
    /// The same pixels in two parts: the test part then measures memory.
    InTwoParts,
    /// The same pixels with two labels.
    TwoLabels,
    /// The same pixels twice in one part.
    Duplicate,
    /// A class with more than ten times as many samples as another.
    Imbalance,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Warning,
    /// Keeps a model from being trained, or falsifies its measurement.
    Error,
}

impl ProblemKind {
    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            ProblemKind::Corrupt
            | ProblemKind::LabelOutOfRange
            | ProblemKind::EmptyClass
            | ProblemKind::Empty => Severity::Error,
            ProblemKind::InTwoParts
            | ProblemKind::TwoLabels
            | ProblemKind::Duplicate
            | ProblemKind::Imbalance => Severity::Warning,
        }
    }

    /// What to call it in a table.
    pub fn title(self) -> &'static str {
        match self {
            ProblemKind::Corrupt => "unreadable image",
            ProblemKind::LabelOutOfRange => "label out of range",
            ProblemKind::EmptyClass => "class without samples",
            ProblemKind::Empty => "no samples",
            ProblemKind::InTwoParts => "same image in two parts",
            ProblemKind::TwoLabels => "same image, two labels",
            ProblemKind::Duplicate => "duplicate",
            ProblemKind::Imbalance => "class imbalance",
        }
    }
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What.
    pub kind: ProblemKind,
    /// `train`, `validation` or `test`.
    pub part: String,
    /// The file, or the file and place in it.
    pub place: String,
    /// More about it.
    pub detail: String,
}

/// Reads every image once, on `threads` threads, and reports what is wrong.
/// Open the data set with [`Checks::None`](crate::Checks::None), so that it opens in spite of its problems.
///
/// ```
/// use brisk_data::{Dataset, ImageSpec, Memory, Part, ProblemKind, check};
/// let image = ImageSpec { height: 1, width: 1, channels: 1 };
/// let part = |pixels: Vec<u8>| Part::new(Memory::new(image, pixels, vec![0, 1])?, ["cat", "dog"], image);
/// let report = check(&Dataset::new(part(vec![10, 20])?).with_test(part(vec![10, 30])?), 1);
/// assert_eq!(report.count(ProblemKind::InTwoParts), 1);
/// assert!(report.to_string().contains("same image in two parts"));
/// # Ok::<(), brisk_data::Error>(())
/// ```
pub fn check(dataset: &Dataset, threads: usize) -> CheckReport {
    let mut problems = labels(dataset);
    problems.extend(balance(dataset.train()));
    let scans = scan::scan(dataset, threads);
    problems.extend(scan::unreadable(dataset, &scans));
    problems.extend(scan::repeated(dataset, &scans));
    // Stable: within a kind, in the order of the data.
    problems.sort_by_key(|p| p.kind);
    CheckReport::new(dataset, &scans, problems)
}

fn labels(dataset: &Dataset) -> Vec<Problem> {
    let classes = dataset.classes().len();
    let mut problems = Vec::new();
    for (name, part) in dataset.parts() {
        for i in (0..part.len()).filter(|&i| part.label(i) as usize >= classes) {
            let detail = match part.label(i) {
                u32::MAX => "no such class".to_string(),
                label => format!("label {label}, but there are {classes} classes"),
            };
            let place = part.label_place(i);
            problems.push(Problem { kind: ProblemKind::LabelOutOfRange, part: name.into(), place, detail });
        }
    }
    problems
}

fn balance(train: &Part) -> Vec<Problem> {
    let problem = |kind, place: &str, detail: String| Problem {
        kind,
        part: "train".into(),
        place: place.into(),
        detail,
    };
    if train.is_empty() {
        return vec![problem(ProblemKind::Empty, "", "the training part has no samples".into())];
    }
    let counts = train.counts();
    let classes = train.classes();
    let mut problems = Vec::new();
    for (class, _) in classes.iter().zip(&counts).filter(|(_, n)| **n == 0) {
        problems.push(problem(ProblemKind::EmptyClass, class, "no training samples".into()));
    }
    let present = || classes.iter().zip(&counts).filter(|(_, n)| **n > 0);
    if let Some((most, max)) = present().max_by_key(|p| p.1)
        && let Some((least, min)) = present().min_by_key(|p| p.1)
        && max / min >= 10
    {
        let detail = format!("{max} samples of {most}, but only {min} of {least}: consider class weights");
        problems.push(problem(ProblemKind::Imbalance, least, detail));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encode, gradient, plain, write, write_image};
    use crate::{Checks, ImageSpec, Memory, OpenOptions, SourceSpec, open};

    #[test]
    fn finds_everything() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        write_image(&at("train/cat/a.png"), &plain(4, 4, 3, 1));
        write_image(&at("train/cat/b.bmp"), &plain(4, 4, 3, 1)); // another format, the same pixels
        write_image(&at("train/dog/c.png"), &plain(4, 4, 3, 2));
        write_image(&at("train/dog/e.png"), &plain(4, 4, 3, 1)); // as a.png, but a dog
        write_image(&at("test/dog/d.png"), &plain(4, 4, 3, 2)); // as c.png
        let jpeg = encode(&gradient(20, 20, 3), image::ImageFormat::Jpeg);
        write(&at("train/cat/torn.jpg"), &jpeg[..jpeg.len() - 40]);
        std::fs::create_dir_all(at("train/emu")).unwrap();
        let options = OpenOptions { checks: Checks::None, ..OpenOptions::default() };
        let data = open(&SourceSpec::from(dir.path()), &options).unwrap();
        let report = check(&data, 3);
        assert_eq!(report, check(&data, 1), "threads must not matter");
        for (kind, n) in [
            (ProblemKind::Corrupt, 1),
            (ProblemKind::EmptyClass, 1),
            (ProblemKind::Duplicate, 1),
            (ProblemKind::TwoLabels, 1),
            (ProblemKind::InTwoParts, 1),
            (ProblemKind::Imbalance, 0),
        ] {
            assert_eq!(report.count(kind), n, "{kind:?}\n{report}");
        }
        assert_eq!(report.worst(), Some(Severity::Error));
        let text = report.to_string();
        assert!(text.contains("torn.jpg") && text.contains("emu"), "{text}");

        let list = at("problems.csv");
        report.write_list(&list).unwrap();
        let written = std::fs::read_to_string(list).unwrap();
        assert!(
            written.starts_with("severity,problem,part,place,detail\nerror,unreadable image,train,"),
            "{written}"
        );
        assert_eq!(written.lines().count(), 1 + report.problems.len());
    }

    #[test]
    fn finds_labels_out_of_range_and_imbalance() {
        let image = ImageSpec { height: 1, width: 1, channels: 1 };
        let mut labels = vec![0; 50];
        labels.extend([1, 7]);
        let pixels = (0..52).collect();
        let part = Part::new(Memory::new(image, pixels, labels).unwrap(), ["a", "b"], image).unwrap();
        let report = check(&Dataset::new(part), 2);
        assert_eq!(report.count(ProblemKind::LabelOutOfRange), 1);
        assert_eq!(report.count(ProblemKind::Imbalance), 1);
        assert!(report.to_string().contains("label 7, but there are 2 classes"), "{report}");
    }

    #[test]
    fn clean_data_has_no_problems() {
        let image = ImageSpec { height: 1, width: 1, channels: 1 };
        let part = Part::new(Memory::new(image, vec![1, 2], vec![0, 1]).unwrap(), ["a", "b"], image).unwrap();
        let report = check(&Dataset::new(part), 1);
        assert_eq!(report.worst(), None);
        assert!(report.to_string().contains("No problems found"), "{report}");
    }
}
