//! Texts. They never come from numbers that must be computed, so they are always known.

use std::collections::HashSet;

use brisk_graph::{Shape, Tensor};
use regex::Regex;

use super::{Operator, many, one};
use crate::call::{Call, axis};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("RegexFullMatch", regex_full_match),
    many("StringConcat", string_concat),
    many("StringNormalizer", string_normalizer),
    many("StringSplit", string_split),
];

/// An operand of texts.
pub fn texts<'c>(c: &'c Call<'_, '_>, i: usize) -> Result<(&'c Shape, &'c [String]), String> {
    match c.item(i)? {
        Item::Texts(shape, texts) => Ok((shape, texts)),
        _ => Err(format!("operand {i}: expected texts")),
    }
}

/// Numbers as NumPy writes them.
pub fn from_numbers<'g>(c: &mut Call<'_, 'g>, x: &Var<'g>) -> Result<Item<'g>, String> {
    let tensor = c.look(x.settled())?;
    // The longest have all digits before or behind the point.
    let longest = if x.elem == Elem::Double { 350 } else { 60 };
    c.room_for_texts(tensor.elements(), tensor.elements().saturating_mul(longest))?;
    let write = |v: f64| match x.elem {
        Elem::Bool => (if v != 0.0 { "True" } else { "False" }).to_string(),
        Elem::Double => float(v.to_string()),
        e if e.is_float() => float((v as f32).to_string()),
        _ => format!("{v}"),
    };
    let list = match tensor.data() {
        brisk_graph::Data::I64(v) => v.iter().map(i64::to_string).collect(),
        _ => tensor.to_f64s().into_iter().map(write).collect(),
    };
    c.make_texts(tensor.shape(), list)
}

fn float(text: String) -> String {
    match text.as_str() {
        "inf" => "INF".into(),
        "-inf" => "-INF".into(),
        "NaN" => "NaN".into(),
        _ => text,
    }
}

/// Texts one after another along an axis.
pub fn concat<'g>(c: &mut Call<'_, 'g>) -> Result<Item<'g>, String> {
    let parts = (0..c.inputs.len()).map(|i| texts(c, i)).collect::<Result<Vec<_>, _>>()?;
    let first = parts[0].0;
    let at = axis(c.int("axis", 1)?, first.rank())?;
    let alike = |s: &Shape| s.rank() == first.rank() && (0..s.rank()).all(|i| i == at || s[i] == first[i]);
    if let Some(bad) = parts.iter().find(|p| !alike(p.0)) {
        return Err(format!("cannot join texts {first} and {}", bad.0));
    }
    let mut dims = first.to_vec();
    dims[at] = parts.iter().map(|p| p.0[at]).fold(0, usize::saturating_add);
    let shape = Shape::from(dims);
    c.room_for_texts(shape.elements(), parts.iter().map(|p| length(p.1)).fold(0, usize::saturating_add))?;
    let mut list = Vec::new();
    // Where there are no texts, nothing is said of how many there could be.
    let outer = if shape.elements() == 0 { 0 } else { first[..at].iter().product() };
    for i in 0..outer {
        for (shape, texts) in &parts {
            let n: usize = shape[at..].iter().product();
            list.extend(texts.get(i * n..(i + 1) * n).unwrap_or(&[]).iter().cloned());
        }
    }
    c.make_texts(shape, list)
}

/// How many bytes there are in texts.
fn length(texts: &[String]) -> usize {
    texts.iter().map(String::len).fold(0, usize::saturating_add)
}

/// Copies of texts, if there is room for them.
pub fn chosen<'g, 't>(
    c: &Call<'_, 'g>,
    shape: Shape,
    texts: impl Iterator<Item = &'t str> + Clone,
) -> Result<Item<'g>, String> {
    let add = |(count, bytes): (usize, usize), text: &str| (count + 1, bytes.saturating_add(text.len()));
    let (count, bytes) = texts.clone().fold((0, 0), add);
    c.room_for_texts(count, bytes)?;
    c.make_texts(shape, texts.map(String::from).collect())
}

/// Texts at indices along the first axis.
pub fn gather<'g>(c: &mut Call<'_, 'g>) -> Result<Item<'g>, String> {
    let index = c.known_ints(1)?;
    let to = c.var(1)?.shape();
    let (shape, list) = texts(c, 0)?;
    if axis(c.int("axis", 0)?, shape.rank())? != 0 {
        return Err("texts are gathered along their first axis".into());
    }
    let width: usize = shape[1..].iter().product();
    let rows = index.into_iter().map(|i| axis(i, shape[0])).collect::<Result<Vec<_>, _>>()?;
    let row = |&row: &usize| list.get(row * width..(row + 1) * width).unwrap_or_default();
    let to = [&to[..], &shape[1..]].concat().into();
    chosen(c, to, rows.iter().flat_map(row).map(String::as_str))
}

fn regex_full_match<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (shape, list) = texts(c, 0)?;
    let pattern = c.text("pattern", "")?;
    // A pattern of a few bytes may stand for many states.
    const STEPS: usize = 1 << 13;
    c.spend(STEPS)?;
    let compile = |text: &str| Regex::new(text).map_err(|e| format!("attribute pattern: {e}"));
    // By itself first, so that it cannot reach outside of its group.
    compile(pattern)?;
    let whole = compile(&format!(r"\A(?:{pattern})\z"))?;
    let found: Vec<u8> = list.iter().map(|text| whole.is_match(text).into()).collect();
    Ok(Var::new(Elem::Bool, c.constant(Tensor::new(shape, found))?))
}

/// The text for each place of a shape that texts are stretched to, as NumPy does.
fn stretched<'t>(shape: &Shape, list: &'t [String], to: &Shape) -> impl Iterator<Item = &'t str> {
    let (own, strides, all) = (shape.strides(), to.strides(), to.clone());
    let lead = to.rank() - shape.rank();
    let steps: Vec<usize> =
        (0..to.rank()).map(|a| if a < lead || shape[a - lead] == 1 { 0 } else { own[a - lead] }).collect();
    (0..to.elements()).map(move |i| {
        let place: usize = (0..all.rank()).map(|a| i / strides[a] % all[a] * steps[a]).sum();
        list.get(place).map_or("", String::as_str)
    })
}

fn string_concat<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let ((a, left), (b, right)) = (texts(c, 0)?, texts(c, 1)?);
    let to = a.broadcast(b).ok_or_else(|| format!("shapes {a} and {b} do not fit"))?;
    let longest = |list: &[String]| list.iter().map(String::len).max().unwrap_or(0);
    let each = longest(left) + longest(right);
    c.room_for_texts(to.elements(), to.elements().saturating_mul(each))?;
    let pairs = stretched(a, left, &to).zip(stretched(b, right, &to));
    let list = pairs.map(|(x, y)| [x, y].concat()).collect();
    Ok(vec![c.make_texts(to, list)?])
}

/// Without stop words, in one case.
fn string_normalizer<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (shape, list) = texts(c, 0)?;
    let change: fn(&str) -> String = match c.text("case_change_action", "NONE")? {
        "NONE" => str::to_string,
        "LOWER" => str::to_lowercase,
        "UPPER" => str::to_uppercase,
        other => {
            return Err(format!(
                "attribute case_change_action: expected LOWER, UPPER or NONE, found {other:?}"
            ));
        }
    };
    let exact = c.flag("is_case_sensitive", false)?;
    let alike = |text: &str| if exact { text.to_string() } else { text.to_lowercase() };
    let stop: HashSet<String> = c.texts("stopwords")?.unwrap_or_default().iter().map(|t| alike(t)).collect();
    let mut kept: Vec<String> =
        list.iter().filter(|text| !stop.contains(&alike(text))).map(|text| change(text)).collect();
    if kept.is_empty() {
        kept.push(String::new());
    }
    let shape = match shape[..] {
        [_] => Shape::from([kept.len()]),
        [1, _] => Shape::from([1, kept.len()]),
        _ => return Err(format!("expected texts [n] or [1, n], found {shape}")),
    };
    Ok(vec![c.make_texts(shape, kept)?])
}

fn string_split<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (shape, list) = texts(c, 0)?;
    let delimiter = c.text("delimiter", "")?;
    // A negative number is none.
    let most = usize::try_from(c.int("maxsplit", -1)?).map_or(usize::MAX, |most| most.saturating_add(1));
    let split = |text: &'_ String| -> Vec<String> {
        match delimiter.is_empty() {
            true => words(text, most),
            false => text.splitn(most, delimiter).map(str::to_string).collect(),
        }
    };
    let parts: Vec<Vec<String>> = list.iter().map(split).collect();
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    c.room_for_texts(parts.len().saturating_mul(longest), length(list))?;
    let counts: Vec<i64> = parts.iter().map(|p| p.len() as i64).collect();
    let filled = parts.into_iter().flat_map(|mut p| {
        p.resize(longest, String::new());
        p
    });
    let to = Shape::from([&shape[..], &[longest]].concat());
    let found = c.make_texts(to, filled.collect())?;
    let shape = shape.clone();
    Ok(vec![found, c.make_ints(shape, counts)?.into()])
}

/// Words between any white space; of more than `most`, the last is the rest of the text.
fn words(text: &str, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = match found.len() + 1 < most {
            true => rest.find(char::is_whitespace).unwrap_or(rest.len()),
            false => rest.len(),
        };
        let (word, after) = rest.split_at(end);
        found.push(word.to_string());
        rest = after.trim_start();
    }
    found
}
