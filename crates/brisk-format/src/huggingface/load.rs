//! Reading the tensors of a folder by Brisk's names.

use std::collections::{BTreeSet, HashSet};

use brisk_runtime::State;

use super::family::{Kind, OTHER_HEADS, Part};
use super::names::{Named, tensors};
use super::shards::Shards;
use super::{Head, HfConfig};
use crate::tensors::transposed;
use crate::{Error, LoadReport, Result, TensorProblem};

/// Element types that weights may have.
const WEIGHTS: [&str; 4] = ["F32", "F16", "BF16", "F64"];
const WORDS: &str = "encoder.embeddings.word";

/// What stands before the names of the base model in these files: its prefix, or nothing.
fn prefix(config: &HfConfig, shards: &Shards) -> &'static str {
    let names = config.family.names();
    let prefixed = shards.names().range(names.prefix..).next().is_some_and(|n| n.starts_with(names.prefix));
    if prefixed { names.prefix } else { "" }
}

/// True if the base model's pooler is there.
pub(super) fn has_pooler(config: &HfConfig, shards: &Shards) -> bool {
    let prefix = prefix(config, shards);
    let pooler = config.family.names().pooler;
    pooler.is_some_and(|p| shards.contains(&format!("{prefix}{}.weight", p.theirs)))
}

pub(super) fn load(config: &HfConfig, shards: &Shards, head: &Head) -> Result<(State, LoadReport)> {
    check_head(config, shards, head)?;
    let prefix = prefix(config, shards);
    let mut report = LoadReport::default();
    let mut left = shards.names();
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for named in tensors(config, head, prefix) {
        let names = [Some(named.theirs.clone()), named.formerly.clone()];
        let Some(name) = names.into_iter().flatten().find(|n| shards.contains(n)) else {
            match named.of_encoder {
                true => problems.push(problem(&named, &named.theirs, None)),
                false => report.fresh.push((named.ours, named.shape)),
            }
            continue;
        };
        let dtype = shards.dtype(&name).unwrap_or_default();
        let fits = shards.shape(&name) == Some(&named.their_shape());
        if fits && WEIGHTS.contains(&dtype.as_str()) {
            left.remove(name.as_str());
            found.push((named, name));
        } else if !fits && !named.of_encoder && *head != config.head {
            report.fresh.push((named.ours, named.shape));
        } else {
            let shape = shards.shape(&name).map_or(String::new(), ToString::to_string);
            problems.push(problem(&named, &name, Some(format!("{} {shape}", dtype.to_lowercase()))));
        }
    }
    if !problems.is_empty() {
        return Err(Error::Tensors { path: shards.path().into(), problems });
    }
    let mut state = State::new();
    for (named, name) in found {
        let tensor = shards.tensor(&name)?;
        let tensor = if named.transposed { transposed(&tensor) } else { Ok(tensor) };
        state.insert(named.ours.clone(), tensor.map_err(|e| Error::content(shards.path(), e))?);
        report.loaded.push((named.ours, name));
    }
    check_decoder(config, shards, head, &state)?;
    account(config, head, prefix, left, &mut report);
    Ok((state, report))
}

fn check_head(config: &HfConfig, shards: &Shards, head: &Head) -> Result<()> {
    if *head == Head::Pooler && config.family.names().pooler.is_none() {
        let family = config.family.model_type();
        return Err(Error::content(
            shards.path(),
            format!("{family} has no pooler of its own; take the vectors of the tokens and pool them"),
        ));
    }
    match head.outputs() {
        Some(0) => Err(Error::content(shards.path(), "a head needs at least one output")),
        _ => Ok(()),
    }
}

fn problem(named: &Named, name: &str, found: Option<String>) -> TensorProblem {
    let expected = format!("f32 {}", named.their_shape());
    TensorProblem { name: name.into(), expected: Some(expected), found }
}

/// The head for masked tokens uses the embeddings of the words; a second copy in the file must be the same.
fn check_decoder(config: &HfConfig, shards: &Shards, head: &Head, state: &State) -> Result<()> {
    if *head != Head::MaskedLanguageModel {
        return Ok(());
    }
    let names = config.family.names().decoder;
    for (name, twin) in names.into_iter().zip([WORDS, "mlm.bias"]) {
        if shards.contains(name)
            && state.get(twin).is_some_and(|t| shards.tensor(name).ok().as_ref() != Some(t))
        {
            return Err(Error::content(
                shards.path(),
                format!(
                    "tensor {name:?} is not the same as {twin:?}; a head for masked tokens of its own is not supported: use a model with \
                     tie_word_embeddings"
                ),
            ));
        }
    }
    Ok(())
}

/// Says of each tensor that was not read why it was not.
fn account(config: &HfConfig, head: &Head, prefix: &str, left: BTreeSet<&str>, report: &mut LoadReport) {
    let names = config.family.names();
    let fresh: HashSet<&str> = report.fresh.iter().map(|(ours, _)| ours.as_str()).collect();
    let resized = if fresh.is_empty() { Vec::new() } else { tensors(config, head, prefix) };
    let resized = resized.into_iter().filter(|named| fresh.contains(named.ours.as_str()));
    let resized: HashSet<String> = resized.map(|named| named.theirs).collect();
    let of = |parts: &[Part], base: &str, name: &str| parts.iter().any(|p| belongs(p, base, name));
    let reason = |name: &str| {
        let base = name.strip_prefix(prefix).unwrap_or(name);
        Some(match name {
            _ if ["embeddings.position_ids", "embeddings.token_type_ids"].contains(&base) => {
                "numbers that follow from the positions"
            }
            _ if names.decoder.contains(&name) && *head == Head::MaskedLanguageModel => {
                "the same as the embeddings"
            }
            _ if resized.contains(name) => "of another size than the task needs",
            _ if of(names.pooler.as_slice(), prefix, name) => "the pooler is not used",
            _ if names.decoder.contains(&name) || of(names.masked, "", name) => {
                "the head for masked tokens is not used"
            }
            _ if of(names.classification, "", name) || of(names.tags, "", name) => {
                "the classifier is not used"
            }
            _ => OTHER_HEADS.iter().find(|(start, _)| name.starts_with(start))?.1,
        })
    };
    let (mut ignored, mut unexpected) = (Vec::new(), Vec::new());
    for name in left {
        match reason(name) {
            Some(reason) => ignored.push((name.to_string(), reason.to_string())),
            None => unexpected.push(name.to_string()),
        }
    }
    (report.ignored, report.unexpected) = (ignored, unexpected);
}

/// True if a name is one of a part's.
fn belongs(part: &Part, base: &str, name: &str) -> bool {
    let Some(end) = name.strip_prefix(base).and_then(|n| n.strip_prefix(part.theirs)) else { return false };
    let known = part.tensors().iter().any(|&(_, their_end, _)| end == their_end);
    known || part.kind == Kind::Norm && part.tensors().iter().any(|&(our_end, ..)| end == our_end)
}
