//! What a classifier gets right and wrong: confusion matrix, frequent mistakes, scores by class.

use super::page::{number, table, text};
use crate::{
    Report,
    metrics::Scores,
    plot::{ConfusionChart, escape},
};

/// Beyond this many classes the matrix is too large to draw.
const MAX_DRAWN: usize = 100;

pub(super) fn render(report: &Report) -> String {
    if report.classes.is_empty() && report.confusion.classes() == 0 {
        return String::new();
    }
    let labels: Vec<&str> = report.classes.iter().map(|c| c.label.as_str()).collect();
    let mut out = String::new();
    let classes = report.confusion.classes();
    if (1..=MAX_DRAWN).contains(&classes) {
        let chart = ConfusionChart::new(&report.confusion, &labels).to_inline_svg();
        out.push_str(&format!(
            "<figure><figcaption>Confusion matrix <span class=\"key\"><i class=\"hit\"></i> right <i class=\"miss\"></i> mistaken; \
             deeper: a larger share of the true class</span></figcaption>\n\
             <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Confusion matrix\"><div class=\"matrix\">{chart}</div></div></figure>\n"
        ));
    }
    out.push_str("<div class=\"pair\">\n<div>\n<h3>By class</h3>\n");
    out.push_str(&by_class(report));
    out.push_str("</div>\n");
    out.push_str(&confusions(report, &labels));
    out + "</div>\n"
}

fn by_class(report: &Report) -> String {
    let bar = |v: f64| {
        let share = if v.is_finite() { v.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
        format!("<span class=\"bar\" style=\"--p:{share:.1}%\">{}</span>", number(v))
    };
    let row = |name: String, s: &Scores| {
        vec![name, number(s.precision), number(s.recall), bar(s.f1), s.support.to_string()]
    };
    let average = |name: &str| format!("<span class=\"average\">{}</span>", escape(name));
    let averages = [
        ("macro average", report.average.r#macro),
        ("micro average", report.average.micro),
        ("weighted average", report.average.weighted),
    ];
    let rows = report.classes.iter().map(|c| row(text(&c.label), &c.scores));
    let rows = rows.chain(averages.map(|(name, scores)| row(average(name), &scores)));
    table("Scores by class", &["class", "precision", "recall", "F1", "support"], rows)
}

fn confusions(report: &Report, labels: &[&str]) -> String {
    let top = report.confusion.top_confusions(10);
    if top.is_empty() {
        return String::new();
    }
    let label = |c: usize| labels.get(c).map_or_else(|| c.to_string(), |l| text(l));
    let rows = top.iter().map(|&(t, p, n)| {
        let share = n as f64 / report.confusion.class(t).support.max(1) as f64 * 100.0;
        vec![label(t), label(p), n.to_string(), format!("{share:.1} %")]
    });
    let table = table("Most frequent mistakes", &["true", "taken for", "times", "of class"], rows);
    format!("<div class=\"confused\">\n<h3>Most frequent mistakes</h3>\n{table}</div>\n")
}
