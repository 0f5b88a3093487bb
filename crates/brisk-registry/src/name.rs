//! What models, aliases and files may be called.

use crate::{Error, Result};

const MOST: usize = 64;
const ALIASES: &str = "aliases";
/// The highest version that there is.
pub(crate) const LATEST: &str = "latest";

/// An error if a model cannot have this name: 1 to 64 ASCII letters, digits, `_`, `-` and `.`, the first of them no `.`.
///
/// ```
/// use brisk_registry::check_name;
/// assert!(check_name("fashion-2.small").is_ok());
/// for bad in ["", ".hidden", "a/b", "aliases", "Mode: x", "猫"] {
///     assert!(check_name(bad).is_err());
/// }
/// ```
pub fn check_name(name: &str) -> Result<()> {
    match plain(name) && name != ALIASES {
        true => Ok(()),
        false => Err(Error::BadName {
            what: "a model",
            name: shortened(name),
            expected: "1 to 64 letters a-z, A-Z, digits, _, - and ., not beginning with ., and not `aliases`",
        }),
    }
}

/// An error if an alias cannot have this name: that of a model could, and it cannot be taken for a version.
///
/// ```
/// use brisk_registry::check_alias;
/// assert!(check_alias("production").is_ok());
/// assert!(check_alias("3").is_err() && check_alias("latest").is_err());
/// ```
pub fn check_alias(alias: &str) -> Result<()> {
    let number = alias.chars().all(|c| c.is_ascii_digit());
    match plain(alias) && !number && ![ALIASES, LATEST].contains(&alias) {
        true => Ok(()),
        false => Err(Error::BadName {
            what: "an alias",
            name: shortened(alias),
            expected: "1 to 64 letters a-z, A-Z, digits, _, - and ., not beginning with ., no number, and neither `latest` nor `aliases`",
        }),
    }
}

/// Whether a file of a version may have this name: it stays in its folder, and is none of the repository's own.
pub(crate) fn is_file(name: &str) -> bool {
    plain(name) && !["claim.json", "removed.json", "version.json"].contains(&name)
}

fn plain(name: &str) -> bool {
    (1..=MOST).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// As much of a name as a message needs.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(MOST + 8) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.into(),
    }
}
