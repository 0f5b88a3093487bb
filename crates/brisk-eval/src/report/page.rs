//! The page's frame and its plain sections, and the bits of HTML that the others share.

use std::fmt::Write as _;

use super::{RunReport, curves, evaluation, picture};
use crate::plot::{self, escape};

/// The most pictures of mistakes on a page.
const MAX_PICTURES: usize = 60;

/// A part of the page; an empty body is left out.
struct Section {
    id: &'static str,
    title: &'static str,
    body: String,
}

pub(super) fn render(run: &RunReport) -> String {
    let section = |id, title, body| Section { id, title, body };
    let sections = [
        section("curves", "Learning curves", curves::render(run)),
        section(
            "evaluation",
            "Evaluation",
            run.evaluation.as_ref().map(evaluation::render).unwrap_or_default(),
        ),
        section("mistakes", "Mistakes", mistakes(run)),
        section("data", "Data", facts(&run.data)),
        section("environment", "Environment", facts(&run.facts)),
        section("config", "Configuration", config(&run.config_yaml)),
    ];
    let shown: Vec<&Section> = sections.iter().filter(|s| !s.body.is_empty()).collect();
    let links: String = shown.iter().map(|s| format!("<a href=\"#{}\">{}</a>\n", s.id, s.title)).collect();
    let mut body = String::new();
    for Section { id, title, body: inner } in shown {
        let _ = writeln!(
            body,
            "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{title}</h2>\n{inner}</section>"
        );
    }
    if body.is_empty() {
        body.push_str("<section><p>Nothing was measured yet.</p></section>\n");
    }
    let title = if run.title.is_empty() { "Training run" } else { &run.title };
    format!(
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{plain} · Brisk</title>
<style>
{plots}{page}</style>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
<p class="kind">Training report</p>
<h1>{title}</h1>
<nav aria-label="Sections">
{links}</nav>
</header>
<main id="main">
{tiles}{body}</main>
<footer>Brisk {version}</footer>
</body>
</html>
"##,
        plain = escape(title),
        plots = plot::STYLE,
        page = include_str!("style.css"),
        title = text(title),
        tiles = tiles(run),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Text from outside, escaped, isolated from the direction of what stands around it, and marked as Chinese where it holds Han
/// characters, so that the browser picks the right font.
pub(super) fn text(text: &str) -> String {
    let han = text.chars().any(|c| matches!(c, '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}'));
    let lang = if han { " lang=\"zh\"" } else { "" };
    format!("<bdi{lang}>{}</bdi>", escape(text))
}

/// A table in a box that scrolls by touch and by keyboard. `head` and `rows` are HTML; the first cell of a row is its heading.
pub(super) fn table(name: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{name}\"><table>\n<thead><tr>"
    );
    head.iter().for_each(|h| out.push_str(&format!("<th scope=\"col\">{h}</th>")));
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let (open, close) = if i == 0 { ("<th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
            let _ = write!(out, "{open}{cell}{close}");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Four decimals, fewer for large numbers, a dash for NaN.
pub(super) fn number(v: f64) -> String {
    match v.abs() {
        _ if v.is_nan() => "–".into(),
        1e6.. => format!("{v:.3e}"),
        1000.0.. => format!("{v:.1}"),
        a if a < 1e-4 && a > 0.0 => format!("{v:.2e}"),
        _ => format!("{v:.4}"),
    }
}

pub(super) fn percent(v: f64) -> String {
    if v.is_nan() { "–".into() } else { format!("{:.2} %", v * 100.0) }
}

/// The headline figures.
fn tiles(run: &RunReport) -> String {
    let mut tiles: Vec<(String, String, String)> = Vec::new();
    let mut tile = |name: &str, value: String, note: String| tiles.push((name.into(), value, note));
    if let Some(r) = &run.evaluation {
        tile(
            "Test accuracy",
            percent(r.accuracy),
            format!("{} of {} right", r.confusion.correct(), r.samples),
        );
        tile("Test loss", number(r.loss), String::new());
        tile("Macro F1", number(r.average.r#macro.f1), format!("{} classes", r.classes.len()));
        if let Some(top) = r.top_k {
            tile(&format!("Top-{} accuracy", top.k), percent(top.accuracy), String::new());
        }
        if let Some(auc) = r.roc_auc {
            tile(
                "ROC AUC",
                number(auc),
                if r.classes.len() > 2 { "one vs. rest".into() } else { String::new() },
            );
        }
    }
    if let Some(r) = &run.regression {
        tile("Test R²", number(r.r2), format!("{} samples", r.samples));
        tile("Test RMSE", number(r.rmse), String::new());
        tile("Test MAE", number(r.mae), String::new());
    }
    if let Some((best, last)) = run.best_epoch().zip(run.history.last()) {
        let name = run.monitored();
        let value = best.get(name).map(number).unwrap_or_default();
        tile("Best epoch", format!("{} of {}", best.epoch, last.epoch), format!("{} {value}", text(name)));
    }
    let seconds: f64 = run.history.iter().filter_map(|r| r.get("seconds")).filter(|s| s.is_finite()).sum();
    if seconds > 0.0 {
        tile(
            "Training time",
            duration(seconds),
            format!("{} an epoch", duration(seconds / run.history.len() as f64)),
        );
    }
    if tiles.is_empty() {
        return String::new();
    }
    let mut out = String::from("<dl class=\"tiles\">\n");
    for (name, value, note) in tiles {
        let note = if note.is_empty() { note } else { format!("<dd class=\"note\">{note}</dd>") };
        let _ = writeln!(out, "<div><dt>{name}</dt><dd class=\"value\">{value}</dd>{note}</div>");
    }
    out + "</dl>\n"
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{:.0} h {:.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}

fn mistakes(run: &RunReport) -> String {
    if run.mistakes.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<p class=\"lead\">Test images that the model got wrong, with what it took them for and how sure it was.</p>\n<ul class=\"mistakes\">\n",
    );
    for m in run.mistakes.iter().take(MAX_PICTURES) {
        let alt = escape(&format!("{}, taken for {}", m.truth, m.predicted));
        let picture = match picture::data_uri(m) {
            Some(uri) => {
                let class = if m.w.max(m.h) <= 96 { " class=\"small\"" } else { "" };
                format!("<img{class} alt=\"{alt}\" width=\"{}\" height=\"{}\" src=\"{uri}\">", m.w, m.h)
            }
            None => "<span class=\"blank\">no picture</span>".to_owned(),
        };
        let (share, sure) = match m.probability {
            p if p.is_nan() => (0.0, "–".to_owned()),
            p => (p.clamp(0.0, 1.0) * 100.0, format!("{:.0} % sure", p * 100.0)),
        };
        let (truth, predicted) = (text(&m.truth), text(&m.predicted));
        let _ = writeln!(
            out,
            "<li><div class=\"frame\">{picture}</div><div class=\"sure\" style=\"--p:{share:.0}%\"></div>\n\
             <dl><dt>true</dt><dd>{truth}</dd><dt>predicted</dt><dd class=\"taken\">{predicted}</dd></dl><p>{sure}</p></li>"
        );
    }
    out.push_str("</ul>\n");
    if run.mistakes.len() > MAX_PICTURES {
        let _ = writeln!(
            out,
            "<p class=\"lead\">The first {MAX_PICTURES} of {} are shown.</p>",
            run.mistakes.len()
        );
    }
    out
}

fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let rows: String =
        facts.iter().map(|(k, v)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", text(k), text(v))).collect();
    format!("<dl class=\"facts\">\n{rows}</dl>\n")
}

fn config(yaml: &str) -> String {
    if yaml.trim().is_empty() {
        return String::new();
    }
    let yaml = escape(yaml.trim_end());
    format!("<pre tabindex=\"0\" aria-label=\"Configuration\"><code>{yaml}</code></pre>\n")
}
