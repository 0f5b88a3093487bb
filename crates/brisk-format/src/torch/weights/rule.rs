//! Which part of a state dict is which part of a model, where someone says so.

use std::str::FromStr;

/// Says that a part of a state dict is a part of a model: `features.0 -> conv2d`, `layer*.*.conv1 -> stage_*_*_first`.
///
/// On the left stands the name of a module (`layer1.0.conv1`; of a layer of a recurrent module `rnn.l0` or `rnn.l0_reverse`) or of a single
/// tensor (`pos_embed`), on the right that of a layer or of a part of one (`lstm`, `bidirectional.forward_lstm`, `encoder.self_attention`), or of a
/// single parameter (`position_embedding.embeddings`). `*` stands for any text without a dot; on the right, for the same text.
///
/// ```
/// use brisk_format::WeightRule;
/// let rule: WeightRule = "features.* -> conv_*".parse()?;
/// assert_eq!(rule, WeightRule::new("features.*", "conv_*"));
/// assert_eq!(rule.apply("features.3").as_deref(), Some("conv_3"));
/// assert_eq!(rule.apply("features.3.weight"), None);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightRule {
    /// PyTorch's name.
    pub from: String,
    /// Brisk's name.
    pub to: String,
}

impl WeightRule {
    /// From PyTorch's name to Brisk's.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> WeightRule {
        WeightRule { from: from.into(), to: to.into() }
    }

    /// Brisk's name for one of PyTorch's, if the rule is about it.
    pub fn apply(&self, name: &str) -> Option<String> {
        let (patterns, parts) = (self.from.split('.'), name.split('.'));
        if patterns.clone().count() != parts.clone().count() {
            return None;
        }
        let found: Vec<Vec<&str>> =
            patterns.zip(parts).map(|(p, part)| stars(p, part)).collect::<Option<_>>()?;
        let mut found = found.into_iter().flatten();
        let mut pieces = self.to.split('*');
        let mut to = pieces.next().unwrap_or_default().to_string();
        for piece in pieces {
            to.push_str(found.next().unwrap_or("*"));
            to.push_str(piece);
        }
        Some(to)
    }
}

impl FromStr for WeightRule {
    type Err = String;

    fn from_str(text: &str) -> Result<WeightRule, String> {
        match text.split_once("->") {
            Some((from, to)) => Ok(WeightRule::new(from.trim(), to.trim())),
            None => Err(format!("expected PyTorch's name -> Brisk's name, found {text:?}")),
        }
    }
}

/// What the stars of a pattern stand for in a text, if it fits: as little as can be, and never nothing.
fn stars<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut pieces = pattern.split('*');
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let pieces: Vec<&str> = pieces.collect();
    let mut found = Vec::with_capacity(pieces.len());
    for (i, piece) in pieces.iter().enumerate() {
        let last = i + 1 == pieces.len();
        let end = match last {
            true => rest.strip_suffix(piece)?.len(),
            false => {
                rest.char_indices().map(|(at, _)| at).skip(1).find(|&at| rest[at..].starts_with(piece))?
            }
        };
        if end == 0 {
            return None;
        }
        found.push(&rest[..end]);
        rest = &rest[end + piece.len()..];
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::WeightRule;

    #[test]
    fn stars_stand_for_the_same_on_both_sides() {
        for (from, to, name, expected) in [
            ("conv1", "conv2d", "conv1", Some("conv2d")),
            ("conv1", "conv2d", "conv1.weight", None),
            ("layer*.*.conv1", "stage_*_*", "layer2.0.conv1", Some("stage_2_0")),
            ("layer*.*.conv1", "stage_*_*", "layer2.conv1", None),
            ("a*b*c", "*-*", "axxbyyc", Some("xx-yy")),
            ("a*b*c", "*-*", "axxcyyb", None),
            ("*", "x.*", "größe", Some("x.größe")),
            ("a*", "*", "a", None),
            ("*a", "*", "aa", Some("a")),
            ("**", "*,*", "größe", Some("g,röße")),
            ("a", "*", "a", Some("*")),
        ] {
            assert_eq!(WeightRule::new(from, to).apply(name).as_deref(), expected, "{from} {name}");
        }
        assert_eq!("a->b".parse(), Ok(WeightRule::new("a", "b")));
        assert!("a = b".parse::<WeightRule>().unwrap_err().contains("found \"a = b\""));
    }
}
