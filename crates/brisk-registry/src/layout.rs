//! Where everything stands in a repository. The only place that knows.

use object_store::path::Path;

use crate::name::{check_alias, check_name, is_file};

/// Says that a folder is a repository.
pub(crate) const MARKER: &str = "brisk-repository.json";
pub(crate) const CLAIM: &str = "claim.json";
pub(crate) const VERSION: &str = "version.json";
pub(crate) const REMOVED: &str = "removed.json";
const ALIASES: &str = "aliases";

/// Numbers of versions and of the moves of aliases end here.
const HIGHEST: u64 = 999_999_999;

/// A thing in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Claim(u64),
    Version(u64),
    Removed(u64),
    File(u64, String),
    Alias(String, u64),
}

/// A file of a version, of whatever kind.
pub(crate) fn file(name: &str, version: u64, file: &str) -> Path {
    Path::from(format!("{name}/{version}/{file}"))
}

/// The folder of a model.
pub(crate) fn model(name: &str) -> Path {
    Path::from(name)
}

/// The history of an alias.
pub(crate) fn alias_log(name: &str, alias: &str) -> Path {
    Path::from(format!("{name}/{ALIASES}/{alias}"))
}

/// The `number`-th move of an alias.
pub(crate) fn alias_entry(name: &str, alias: &str, number: u64) -> Path {
    Path::from(format!("{name}/{ALIASES}/{alias}/{number:08}.json"))
}

/// The model that a path belongs to, and what of it. Nothing if the path is no repository's.
pub(crate) fn parse(path: &Path) -> Option<(String, Item)> {
    let parts: Vec<String> = path.parts().map(|p| p.as_ref().to_string()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (name, item) = match parts[..] {
        [name, ALIASES, alias, entry] => {
            let digits = entry.strip_suffix(".json").filter(|d| d.len() >= 8)?;
            check_alias(alias).ok()?;
            (name, Item::Alias(alias.into(), number(digits)?))
        }
        [name, version, file] => {
            let n = number(version).filter(|n| n.to_string() == version)?;
            let item = match file {
                CLAIM => Item::Claim(n),
                VERSION => Item::Version(n),
                REMOVED => Item::Removed(n),
                other if is_file(other) => Item::File(n, other.into()),
                _ => return None,
            };
            (name, item)
        }
        _ => return None,
    };
    check_name(name).ok()?;
    Some((name.into(), item))
}

/// The number of a version, as a path or a user says it.
pub(crate) fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && (1..=HIGHEST).contains(n))
}

/// The number after the highest that is taken.
pub(crate) fn after(highest: Option<u64>) -> Option<u64> {
    Some(highest.unwrap_or(0) + 1).filter(|n| *n <= HIGHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parsed_as_they_are_made() {
        let parsed = |path: Path| parse(&path).unwrap();
        assert_eq!(parsed(file("a", 3, CLAIM)), ("a".into(), Item::Claim(3)));
        assert_eq!(parsed(file("a", 12, VERSION)), ("a".into(), Item::Version(12)));
        assert_eq!(parsed(file("a", 1, REMOVED)), ("a".into(), Item::Removed(1)));
        assert_eq!(parsed(file("a", 1, "x.bin")), ("a".into(), Item::File(1, "x.bin".into())));
        let entry = alias_entry("a", "canary", 7);
        assert_eq!(entry.as_ref(), "a/aliases/canary/00000007.json");
        assert_eq!(parsed(entry), ("a".into(), Item::Alias("canary".into(), 7)));
        assert_eq!(parsed(alias_entry("a", "b", 123_456_789)).1, Item::Alias("b".into(), 123_456_789));
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in [
            "",
            "a",
            "a/1",
            "a/01/version.json",
            "a/0/version.json",
            "a/99999999999999999999/claim.json",
            "a/1000000000/claim.json",
            "a/x/version.json",
            "a/1/.hidden",
            "a/1/sub/version.json",
            "a/aliases/3/00000001.json",
            "a/aliases/b/1.json",
            ".git/1/version.json",
            "brisk-repository.json",
        ] {
            assert_eq!(parse(&Path::from(path)), None, "{path}");
        }
    }
}
