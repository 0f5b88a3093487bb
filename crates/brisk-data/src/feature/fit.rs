//! What features learn from the training rows: one pass for vocabularies and statistics, one for each tokenizer that is trained.

use indexmap::{IndexMap, IndexSet};

use super::category::{self, CategoryFeature, Counts};
use super::number::{self, NumberFeature, Statistics};
use super::spec::{FeatureSpec, MissingNumber, TargetSpec, TextSpec, VectorSpec};
use super::target::{Target, names, tags};
use super::text::{TextFeature, plain};
use super::vector::{ImageFeature, VectorFeature, separator};
use super::{Feature, Features, MAX_LENGTH, config};
use crate::{Error, ImageSpec, Result, Row, Rows, Tokenizer, TokenizerKind, TokenizerSpec};

/// Told what is being done, and for how many rows it has been.
pub type FitProgress<'a> = dyn FnMut(&str, u64) + Send + 'a;

/// What features do not find in the rows.
///
/// ```
/// let options = brisk_data::FitOptions { max_length: Some(512), ..Default::default() };
/// assert!(options.tokenizer.is_none());
/// ```
#[derive(Default)]
pub struct FitOptions<'a> {
    /// The tokenizer of the pretrained model, for texts that name no other.
    pub tokenizer: Option<Tokenizer>,
    /// The most tokens that the model takes, for texts that do not say how many.
    pub max_length: Option<usize>,
    /// Told from time to time what is being done, and for how many rows it has been.
    pub progress: Option<&'a mut FitProgress<'a>>,
}

/// The most tokens of a text where nobody says.
const DEFAULT_LENGTH: usize = 256;

impl Features {
    /// Learns from the training rows. Memory is needed for vocabularies, not for rows.
    pub fn fit(
        inputs: &IndexMap<String, FeatureSpec>,
        targets: &IndexMap<String, TargetSpec>,
        rows: &Rows,
        mut options: FitOptions<'_>,
    ) -> Result<Features> {
        if rows.is_empty() {
            return Err(Error::Empty {
                place: rows.name(),
                remedy: "There is nothing to learn from: add rows".into(),
            });
        }
        if let Some(name) = inputs.keys().find(|n| targets.contains_key(*n)) {
            return Err(config("outputs", name, "another name than that of an input"));
        }
        let mut learners: Vec<Learner> = Vec::new();
        for (name, spec) in inputs {
            learners.push(Learner::of_input(name, spec, rows)?);
        }
        for (name, spec) in targets {
            learners.push(Learner::of_target(name, spec, inputs, rows)?);
        }
        for (i, row) in rows.iter().enumerate() {
            let row = row?;
            for learner in &mut learners {
                learner.add(&row).map_err(|(column, e)| rows.error(i, &learner.columns[column].1, e))?;
            }
            if i % 1000 == 999
                && let Some(progress) = &mut options.progress
            {
                progress("statistics", i as u64 + 1);
            }
        }
        let mut learned = learners.into_iter();
        let mut features = Features::default();
        for ((name, spec), learner) in inputs.iter().zip(&mut learned) {
            let feature = match spec {
                FeatureSpec::Text(spec) => Feature::Text(fit_text(name, spec, rows, &mut options)?),
                _ => learner.into_feature(name, spec)?,
            };
            features.inputs.insert(name.clone(), feature);
        }
        for ((name, spec), learner) in targets.iter().zip(learned) {
            features.targets.insert(name.clone(), learner.into_target(name, spec, inputs)?);
        }
        features.name_tokenizers();
        for target in features.targets.values() {
            if let Target::Tags { input, .. } = target
                && let Some(Feature::Text(text)) = features.inputs.get_mut(input)
            {
                if text.is_separate_pair() {
                    return Err(config(
                        &format!("{input}.pair_mode"),
                        "separate",
                        "joined, as the words have tags",
                    ));
                }
                text.words = true;
            }
        }
        features.validate()?;
        Ok(features)
    }

    /// Tokenizers that are the same share a file.
    fn name_tokenizers(&mut self) {
        let mut known: Vec<(Tokenizer, String)> = Vec::new();
        for (name, feature) in &mut self.inputs {
            let Feature::Text(TextFeature { tokenizer: Some(tokenizer), tokenizer_file, .. }) = feature
            else {
                continue;
            };
            *tokenizer_file = match known.iter().find(|k| k.0 == *tokenizer) {
                Some((_, file)) => file.clone(),
                None if known.is_empty() => "tokenizer.json".into(),
                None => format!("tokenizer.{}.json", name.replace(['/', '\\'], "_")),
            };
            known.push((tokenizer.clone(), tokenizer_file.clone()));
        }
    }
}

/// What is gathered for one input or output.
struct Learner {
    /// The numbers of its columns, and their names.
    columns: Vec<(usize, String)>,
    what: Gathered,
}

enum Gathered {
    Nothing,
    Counts(Counts),
    Names(Counts, String),
    Tags(Counts, Option<String>),
    Number(Statistics),
    Numbers { list: bool, size: Option<usize>, places: Vec<Statistics>, median: bool },
}

impl Learner {
    fn of_input(name: &str, spec: &FeatureSpec, rows: &Rows) -> Result<Learner> {
        let own = |column: &Option<String>| column.clone().unwrap_or_else(|| name.into());
        let median = |m: MissingNumber| m == MissingNumber::Median;
        let (columns, what) = match spec {
            FeatureSpec::Text(s) => {
                ([Some(own(&s.column)), s.pair.clone()].into_iter().flatten().collect(), Gathered::Nothing)
            }
            FeatureSpec::Number(s) => {
                (vec![own(&s.column)], Gathered::Number(Statistics::new(median(s.missing))))
            }
            FeatureSpec::Category(s) => (vec![own(&s.column)], Gathered::Counts(Counts::default())),
            FeatureSpec::Vector(s) => {
                check_vector(name, s)?;
                let columns = s.columns.clone().unwrap_or_else(|| vec![own(&s.column)]);
                let what = Gathered::Numbers {
                    list: s.columns.is_none(),
                    size: s.columns.as_ref().map(Vec::len).or(s.size),
                    places: Vec::new(),
                    median: median(s.missing),
                };
                (columns, what)
            }
            FeatureSpec::Image(s) => (vec![own(&s.column)], Gathered::Nothing),
        };
        Learner::new(columns, what, rows)
    }

    fn of_target(
        name: &str,
        spec: &TargetSpec,
        inputs: &IndexMap<String, FeatureSpec>,
        rows: &Rows,
    ) -> Result<Learner> {
        let own = |column: &Option<String>| column.clone().unwrap_or_else(|| name.into());
        let (column, what) = match spec {
            TargetSpec::Category(s) => (own(&s.column), Gathered::Counts(Counts::default())),
            TargetSpec::Labels(s) => {
                (own(&s.column), Gathered::Names(Counts::default(), s.separator.clone()))
            }
            TargetSpec::Number(s) => (own(&s.column), Gathered::Number(Statistics::new(false))),
            TargetSpec::Tags(s) => {
                let (_, column, separator) = tag_column(name, s, inputs)?;
                (column, Gathered::Tags(Counts::default(), separator))
            }
        };
        Learner::new(vec![column], what, rows)
    }

    fn new(columns: Vec<String>, what: Gathered, rows: &Rows) -> Result<Learner> {
        let columns = columns.into_iter().map(|c| Ok((rows.column(&c)?, c))).collect::<Result<_>>()?;
        Ok(Learner { columns, what })
    }

    /// An error comes with the number of its column.
    fn add(&mut self, row: &Row) -> Result<(), (usize, String)> {
        let Some(first) = self.columns.first().map(|c| row.get(c.0)) else { return Ok(()) };
        match &mut self.what {
            Gathered::Nothing => {}
            Gathered::Counts(counts) => category::name(first).into_iter().for_each(|n| counts.add(&n)),
            Gathered::Names(counts, separator) => {
                names(first, separator).iter().for_each(|n| counts.add(n));
            }
            Gathered::Tags(counts, separator) => {
                for tag in
                    tags(first, separator.as_deref()).map_err(|word| (0, untagged(&word, separator)))?
                {
                    counts.add(&tag);
                }
            }
            Gathered::Number(statistics) => {
                number::read(first).map_err(|e| (0, e))?.into_iter().for_each(|x| statistics.add(x));
            }
            Gathered::Numbers { list: true, size, places, median } => {
                let items = first.items(separator(first));
                if items.is_empty() {
                    return Ok(());
                }
                let size = *size.get_or_insert(items.len());
                if items.len() != size {
                    return Err((0, format!("{} numbers where the others have {size}", items.len())));
                }
                places.resize_with(size, || Statistics::new(*median));
                for (i, (item, place)) in items.iter().zip(places).enumerate() {
                    let x = number::read(item).map_err(|e| (0, format!("number {}: {e}", i + 1)))?;
                    x.into_iter().for_each(|x| place.add(x));
                }
            }
            Gathered::Numbers { list: false, places, median, .. } => {
                places.resize_with(self.columns.len(), || Statistics::new(*median));
                for (i, ((column, _), place)) in self.columns.iter().zip(places).enumerate() {
                    number::read(row.get(*column))
                        .map_err(|e| (i, e))?
                        .into_iter()
                        .for_each(|x| place.add(x));
                }
            }
        }
        Ok(())
    }

    fn into_feature(self, name: &str, spec: &FeatureSpec) -> Result<Feature> {
        let column = self.columns.first().map_or_else(|| name.to_string(), |c| c.1.clone());
        match (spec, self.what) {
            (FeatureSpec::Number(s), Gathered::Number(statistics)) => Ok(Feature::Number(NumberFeature {
                column,
                fill: statistics.fill(s.missing),
                scaling: statistics.scaling(s.normalization),
            })),
            (FeatureSpec::Category(s), Gathered::Counts(counts)) => Ok(Feature::Category(CategoryFeature {
                column,
                categories: counts.frequent(s.min_count, s.max_categories),
            })),
            (FeatureSpec::Vector(s), Gathered::Numbers { list, places, .. }) => {
                if places.is_empty() {
                    return Err(Error::Empty {
                        place: format!("input `{name}`, column `{column}`"),
                        remedy: "No row has numbers there: check the column".into(),
                    });
                }
                Ok(Feature::Vector(VectorFeature {
                    columns: self.columns.into_iter().map(|c| c.1).collect(),
                    list,
                    fill: places.iter().map(|p| p.fill(s.missing)).collect(),
                    scaling: places.iter().map(|p| p.scaling(s.normalization)).collect(),
                }))
            }
            (FeatureSpec::Image(s), _) => {
                let [height, width] = s.size;
                let image = ImageSpec { height, width, channels: s.channels };
                image.validate()?;
                Ok(Feature::Image(ImageFeature { column, image }))
            }
            _ => Err(config(name, "a text", "a text is learned elsewhere")),
        }
    }

    fn into_target(
        self,
        name: &str,
        spec: &TargetSpec,
        inputs: &IndexMap<String, FeatureSpec>,
    ) -> Result<Target> {
        let column = self.columns.first().map_or_else(|| name.to_string(), |c| c.1.clone());
        let labels = |given: &Option<Vec<String>>, counts: Counts| -> Result<IndexSet<String>> {
            let labels: IndexSet<String> = match given {
                Some(given) => given.iter().map(|l| l.trim().to_string()).collect(),
                None => counts.sorted(),
            };
            match (labels.len(), given) {
                (0, _) => Err(Error::Empty {
                    place: format!("output `{name}`, column `{column}`"),
                    remedy: "No row has a value there: check the column".into(),
                }),
                (n, Some(given)) if n != given.len() => {
                    Err(config(&format!("{name}.labels"), given.join(", "), "each label once"))
                }
                _ => Ok(labels),
            }
        };
        Ok(match (spec, self.what) {
            (TargetSpec::Category(s), Gathered::Counts(counts)) => {
                Target::Category { labels: labels(&s.labels, counts)?, column }
            }
            (TargetSpec::Labels(s), Gathered::Names(counts, separator)) => {
                Target::Labels { labels: labels(&s.labels, counts)?, column, separator }
            }
            (TargetSpec::Number(s), Gathered::Number(statistics)) => {
                Target::Number { column, scaling: statistics.scaling(s.normalization) }
            }
            (TargetSpec::Tags(s), Gathered::Tags(counts, separator)) => {
                let (input, ..) = tag_column(name, s, inputs)?;
                Target::Tags { input, labels: labels(&s.labels, counts)?, column, separator }
            }
            _ => return Err(config(name, "an output", "the kind that was learned")),
        })
    }
}

/// What to say of a word without a tag.
pub(super) fn untagged(word: &str, separator: &Option<String>) -> String {
    let separator = separator.as_deref().unwrap_or("/");
    format!("the word `{}` has no tag: expected WORD{separator}TAG", super::short(word))
}

fn check_vector(name: &str, s: &VectorSpec) -> Result<()> {
    match s {
        VectorSpec { columns: Some(c), .. } if c.is_empty() => {
            Err(config(&format!("{name}.columns"), "an empty list", "at least one column"))
        }
        VectorSpec { columns: Some(_), column: Some(c), .. } => {
            Err(config(&format!("{name}.column"), c, "either `column` or `columns`"))
        }
        VectorSpec { columns: Some(c), size: Some(n), .. } if c.len() != *n => {
            Err(config(&format!("{name}.size"), n, "the number of columns, or nothing"))
        }
        VectorSpec { size: Some(0), .. } => Err(config(&format!("{name}.size"), 0, "at least 1")),
        _ => Ok(()),
    }
}

/// The text of tags, their column, and the separator if they stand in the text's own column.
fn tag_column(
    name: &str,
    spec: &super::TagsSpec,
    inputs: &IndexMap<String, FeatureSpec>,
) -> Result<(String, String, Option<String>)> {
    let texts: Vec<(&String, &TextSpec)> = inputs
        .iter()
        .filter_map(|(n, s)| match s {
            FeatureSpec::Text(t) => Some((n, t)),
            _ => None,
        })
        .collect();
    let text = match &spec.input {
        Some(input) => texts.iter().find(|t| t.0 == input),
        None if texts.len() == 1 => texts.first(),
        None => None,
    };
    let Some((input, text)) = text else {
        let known = texts.iter().map(|t| t.0.as_str()).collect::<Vec<_>>().join(", ");
        let found = spec.input.clone().unwrap_or_else(|| "nothing".into());
        let expected = format!("the name of the text whose words have the tags (texts: {known})");
        return Err(Error::Config { key: format!("{name}.input"), found, expected });
    };
    let own = text.column.clone().unwrap_or_else(|| (*input).clone());
    let column = match (&spec.column, &text.tag_separator) {
        (Some(column), _) => column.clone(),
        (None, Some(_)) => own.clone(),
        (None, None) => name.to_string(),
    };
    let separator = if column == own { text.tag_separator.clone() } else { None };
    if column == own && separator.is_none() {
        let expected = "another column than the text's, or a `tag_separator` of the text";
        return Err(config(&format!("{name}.column"), column, expected));
    }
    Ok(((*input).clone(), column, separator))
}

fn fit_text(name: &str, spec: &TextSpec, rows: &Rows, options: &mut FitOptions<'_>) -> Result<TextFeature> {
    let column = spec.column.clone().unwrap_or_else(|| name.into());
    let max_length = spec.max_length.or(options.max_length).unwrap_or(DEFAULT_LENGTH);
    if max_length == 0 || max_length > MAX_LENGTH {
        return Err(config(&format!("{name}.max_length"), max_length, "1 to 1000000"));
    }
    if spec.tag_separator.as_ref().is_some_and(String::is_empty) {
        return Err(config(&format!("{name}.tag_separator"), "nothing", "at least one character"));
    }
    let columns = [Some(&column), spec.pair.as_ref()].into_iter().flatten();
    let columns: Vec<usize> = columns.map(|c| rows.column(c)).collect::<Result<_>>()?;
    let kind = match (&spec.tokenizer, &options.tokenizer) {
        (None, Some(tokenizer)) => Err(tokenizer.clone()),
        (None, None) => Ok(TokenizerKind::word()),
        (Some(spec), _) => match (spec.kind(), spec) {
            (None, TokenizerSpec::Name(path)) => Err(Tokenizer::open(path.as_ref())?),
            (kind, _) => Ok(kind.unwrap_or_else(TokenizerKind::word)),
        },
    };
    let tokenizer = match kind {
        Err(tokenizer) => tokenizer,
        Ok(kind) => {
            let separator = spec.tag_separator.as_deref();
            let texts = rows.iter().flat_map(|row| match row {
                Ok(row) => columns.iter().map(|&c| Ok(plain(row.get(c), separator))).collect(),
                Err(e) => vec![Err(e)],
            });
            let what = format!("tokenizer of `{name}`");
            let mut progress = options.progress.as_mut();
            let train = Tokenizer::train(&kind, texts, |n| {
                if let Some(p) = &mut progress {
                    p(&what, n);
                }
            });
            train.map_err(|e| match e {
                Error::Tokenizer { reason, .. } => {
                    Error::Tokenizer { place: format!("input `{name}`"), reason }
                }
                other => other,
            })?
        }
    };
    Ok(TextFeature {
        column,
        pair: spec.pair.clone(),
        pair_mode: spec.pair_mode,
        max_length,
        truncation: spec.truncation,
        tag_separator: spec.tag_separator.clone(),
        words: spec.tag_separator.is_some(),
        tokenizer_file: "tokenizer.json".into(),
        tokenizer: Some(tokenizer),
    })
}
