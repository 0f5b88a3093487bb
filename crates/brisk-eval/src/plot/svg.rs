use std::fmt::{self, Write as _};

/// The style sheet of all charts, for pages that embed them with `to_inline_svg`.
pub const STYLE: &str = include_str!("style.css");

/// Text with everything that means something to HTML or XML escaped, and control characters (not allowed in XML) replaced.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most `max` characters, the last an ellipsis if anything was cut.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// An SVG drawing under construction.
pub(super) struct Svg {
    text: String,
}

impl Svg {
    /// Opens a drawing of that size in its own units; the page decides how large it appears.
    pub fn open(width: f64, height: f64, title: &str, description: &str, style: Option<&str>) -> Self {
        let mut svg = Svg { text: String::new() };
        svg.put(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="brisk-plot" role="img" viewBox="0 0 {width:.0} {height:.0}"><title>{}</title><desc>{}</desc>"#,
            escape(title),
            escape(description)
        ));
        if let Some(style) = style {
            svg.put(format_args!("<style>{style}</style>"));
        }
        svg
    }

    /// Adds markup. Numbers and constant text only; anything from outside goes through [`escape`].
    pub fn put(&mut self, markup: fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(markup); // writing to a String cannot fail
        self.text.push('\n');
    }

    /// Adds text at a place; `class` is one or more classes of the style sheet (`s`, `m`, `e`: anchored at start, middle, end).
    pub fn label(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.put(format_args!(r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{}</text>"#, escape(text)));
    }

    pub fn close(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}
