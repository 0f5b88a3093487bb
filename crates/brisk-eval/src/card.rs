//! The model card: `README.md` of a model folder, in the shape that Hugging Face reads.

use std::fmt::Write as _;

use crate::Report;

/// What a model card says. Empty parts are left out.
///
/// ```
/// use brisk_eval::ModelCard;
///
/// let card = ModelCard {
///     name: "fashion-cnn".into(),
///     purpose: "Tells ten kinds of clothing apart.".into(),
///     labels: vec!["Trouser".into(), "Bag".into()],
///     ..ModelCard::default()
/// };
/// assert!(card.to_markdown().contains("# fashion-cnn"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelCard {
    /// Name of the model.
    pub name: String,
    /// SPDX identifier of the model's licence.
    pub license: String,
    /// Hugging Face's name of the task, such as `image-classification`.
    pub task: String,
    /// Further tags.
    pub tags: Vec<String>,
    /// What the model is for.
    pub purpose: String,
    /// The architecture in a sentence.
    pub architecture: String,
    /// The training data: names and values, in order.
    pub data: Vec<(String, String)>,
    /// How it was trained: names and values, in order.
    pub training: Vec<(String, String)>,
    /// Name of the data on which `evaluation` was measured.
    pub evaluated_on: String,
    /// The measured metrics.
    pub evaluation: Option<Report>,
    /// What is done to an input before it enters the model, step by step.
    pub preprocessing: Vec<String>,
    /// The classes in the order of the outputs.
    pub labels: Vec<String>,
    /// A shell command or code that uses the model.
    pub usage: String,
    /// What it cannot do, must not be used for, or does badly.
    pub limits: Vec<String>,
}

impl ModelCard {
    /// The card: a YAML head for the hub, then Markdown. Text given is shown as it is and cannot become markup, except `usage`, which
    /// stands in a code block, and `purpose`, `architecture`, `preprocessing` and `limits`, which may hold Markdown of their own.
    pub fn to_markdown(&self) -> String {
        let mut out = self.head();
        let name = if self.name.is_empty() { "Model" } else { &self.name };
        let _ = writeln!(out, "# {}\n", plain(name));
        paragraph(&mut out, &self.purpose);
        paragraph(&mut out, &self.architecture);
        if !self.usage.trim().is_empty() {
            // The fence must be longer than any run of backticks inside.
            let fence = "`".repeat(longest_run(&self.usage, '`').max(2) + 1);
            let _ = writeln!(out, "## Use\n\n{fence}sh\n{}\n{fence}\n", self.usage.trim_end());
        }
        if let Some(report) = &self.evaluation {
            self.metrics(&mut out, report);
        }
        pairs(&mut out, "Data", &self.data);
        pairs(&mut out, "Training", &self.training);
        list(&mut out, "Preprocessing", "1.", self.preprocessing.iter().map(|s| s.trim().to_owned()));
        if !self.labels.is_empty() {
            let rows = self.labels.iter().enumerate().map(|(i, label)| [i.to_string(), plain(label)]);
            table(&mut out, "Labels", ["Index", "Label"], rows);
        }
        list(&mut out, "Limits", "-", self.limits.iter().map(|s| s.trim().to_owned()));
        out
    }

    /// The YAML head. Values are double-quoted, so that nothing in them is taken for YAML.
    fn head(&self) -> String {
        let quoted = |s: &str| {
            let mut json = String::from("\"");
            for c in s.chars() {
                match c {
                    '"' | '\\' => json.extend(['\\', c]),
                    c if c.is_control() => json.push(' '),
                    c => json.push(c),
                }
            }
            json + "\""
        };
        let mut head = String::from("---\nlibrary_name: brisk\n");
        for (key, value) in [("license", &self.license), ("pipeline_tag", &self.task)] {
            if !value.is_empty() {
                let _ = writeln!(head, "{key}: {}", quoted(value));
            }
        }
        if !self.tags.is_empty() {
            let tags: String = self.tags.iter().map(|t| format!("- {}\n", quoted(t))).collect();
            let _ = write!(head, "tags:\n{tags}");
        }
        head + "---\n\n"
    }

    fn metrics(&self, out: &mut String, r: &Report) {
        let number = |v: f64| if v.is_nan() { "–".to_owned() } else { format!("{v:.4}") };
        let mut rows = vec![["Accuracy".to_owned(), number(r.accuracy)], ["Loss".into(), number(r.loss)]];
        rows.extend(r.top_k.map(|t| [format!("Top-{} accuracy", t.k), number(t.accuracy)]));
        rows.extend(r.roc_auc.map(|v| ["ROC AUC".to_owned(), number(v)]));
        let mean = r.average.r#macro;
        rows.push(["Macro precision".into(), number(mean.precision)]);
        rows.push(["Macro recall".into(), number(mean.recall)]);
        rows.push(["Macro F1".into(), number(mean.f1)]);
        let on = if self.evaluated_on.is_empty() {
            String::new()
        } else {
            format!(" on {}", plain(&self.evaluated_on))
        };
        table(out, &format!("Metrics{on}, {} samples", r.samples), ["Metric", "Value"], rows.into_iter());

        if r.classes.len() > 1 && r.classes.len() <= 100 {
            let row = |c: &crate::metrics::ClassReport| {
                let s = c.scores;
                [plain(&c.label), number(s.precision), number(s.recall), number(s.f1), s.support.to_string()]
            };
            table(
                out,
                "By class",
                ["Class", "Precision", "Recall", "F1", "Support"],
                r.classes.iter().map(row),
            );
        }
    }
}

fn paragraph(out: &mut String, text: &str) {
    if !text.trim().is_empty() {
        let _ = writeln!(out, "{}\n", text.trim());
    }
}

fn pairs(out: &mut String, title: &str, pairs: &[(String, String)]) {
    if !pairs.is_empty() {
        list(out, title, "-", pairs.iter().map(|(k, v)| format!("{}: {}", plain(k), plain(v))));
    }
}

fn list(out: &mut String, title: &str, bullet: &str, items: impl ExactSizeIterator<Item = String>) {
    if items.len() > 0 {
        let _ = writeln!(out, "## {title}\n");
        for item in items {
            let _ = writeln!(out, "{bullet} {}", item.replace('\n', "\n  "));
        }
        out.push('\n');
    }
}

fn table<const N: usize>(
    out: &mut String,
    title: &str,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let line = |cells: [&str; N]| format!("| {} |\n", cells.join(" | "));
    let rule =
        head.map(|name| if ["Metric", "Class", "Index", "Label"].contains(&name) { "---" } else { "---:" });
    let _ = write!(out, "## {title}\n\n{}{}", line(head), line(rule));
    rows.for_each(|row| out.push_str(&line(std::array::from_fn(|i| row[i].as_str()))));
    out.push('\n');
}

/// Text on one line that means nothing to Markdown or HTML.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' | '!' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out
}

fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Classification;

    #[test]
    fn a_full_card() {
        let mut metrics = Classification::new(2).with_labels(["cat | dog", "猫头鹰"]);
        metrics.update(&[0.9, 0.1, 0.2, 0.8], &[0, 0]).unwrap();
        let card = ModelCard {
            name: "owls_v2".into(),
            license: "apache-2.0".into(),
            task: "image-classification".into(),
            tags: vec!["a: \"b\"".into()],
            purpose: "Finds **owls**.".into(),
            data: vec![("Source".into(), "<my>\nfolder".into())],
            evaluation: Some(metrics.report()),
            evaluated_on: "the test part".into(),
            preprocessing: vec!["Scale to 0..1".into(), "Subtract the mean".into()],
            labels: vec!["cat | dog".into(), "猫头鹰".into()],
            usage: "brisk predict . owl.png\n```".into(),
            limits: vec!["Night only.".into()],
            ..ModelCard::default()
        };
        let expected = "---\nlibrary_name: brisk\nlicense: \"apache-2.0\"\npipeline_tag: \"image-classification\"\ntags:\n\
            - \"a: \\\"b\\\"\"\n---\n\n# owls\\_v2\n\nFinds **owls**.\n\n## Use\n\n````sh\nbrisk predict . owl.png\n```\n````\n\n\
            ## Metrics on the test part, 2 samples\n\n| Metric | Value |\n| --- | ---: |\n| Accuracy | 0.5000 |\n| Loss | 0.8574 |\n\
            | Macro precision | 0.5000 |\n| Macro recall | 0.2500 |\n| Macro F1 | 0.3333 |\n\n## By class\n\n\
            | Class | Precision | Recall | F1 | Support |\n| --- | ---: | ---: | ---: | ---: |\n\
            | cat \\| dog | 1.0000 | 0.5000 | 0.6667 | 2 |\n| 猫头鹰 | 0.0000 | 0.0000 | 0.0000 | 0 |\n\n\
            ## Data\n\n- Source: &lt;my&gt; folder\n\n## Preprocessing\n\n1. Scale to 0..1\n1. Subtract the mean\n\n\
            ## Labels\n\n| Index | Label |\n| --- | --- |\n| 0 | cat \\| dog |\n| 1 | 猫头鹰 |\n\n## Limits\n\n- Night only.\n\n";
        assert_eq!(card.to_markdown(), expected);
    }

    #[test]
    fn an_empty_card() {
        assert_eq!(ModelCard::default().to_markdown(), "---\nlibrary_name: brisk\n---\n\n# Model\n\n");
    }
}
