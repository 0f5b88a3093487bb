//! Classical models and their preparation of features: the operators of `ai.onnx.ml`.

use std::f64::consts::{PI, SQRT_2};

use brisk_graph::{DType, Shape, Value, op};

use super::gather::take_along;
use super::label_encoder::numbers;
use super::text::{chosen, texts};
use super::{Operator, many, one};
use crate::call::Call;
use crate::{Elem, Item, Var};

pub const DOMAIN: &str = "ai.onnx.ml";

pub(super) const OPS: &[Operator] = &[
    many("ArrayFeatureExtractor", array_feature_extractor).of(DOMAIN),
    one("Binarizer", binarizer).of(DOMAIN),
    one("FeatureVectorizer", feature_vectorizer).of(DOMAIN),
    one("Imputer", imputer).of(DOMAIN),
    many("LinearClassifier", linear_classifier).of(DOMAIN),
    one("LinearRegressor", linear_regressor).of(DOMAIN),
    one("Normalizer", normalizer).of(DOMAIN),
    one("OneHotEncoder", one_hot_encoder).of(DOMAIN),
    one("Scaler", scaler).of(DOMAIN),
];

/// Columns by their numbers.
fn array_feature_extractor<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let of_texts = matches!(c.item(0)?, Item::Texts(..));
    if !of_texts && c.var(1)?.constant().is_none() {
        // Numbers that are not known: the columns first, and back.
        let (x, index) = (c.var(0)?, c.var(1)?.indices());
        let rank = x.rank();
        if rank == 0 {
            return Err("expected columns, found one number".into());
        }
        let first: Vec<usize> = [rank - 1].into_iter().chain(0..rank - 1).collect();
        let taken = x.transposed(&first).value().take(index.reshape([index.shape().elements()]));
        let back: Vec<usize> = (1..rank).chain([0]).collect();
        let value = taken.transpose(&back);
        return Ok(vec![Var::new(x.elem, if rank == 1 { value.expand(0) } else { value }).into()]);
    }
    let index = c.known_ints(1)?;
    let shape = if of_texts { texts(c, 0)?.0.clone() } else { c.var(0)?.shape() };
    let columns = shape.last();
    let place = |&i: &i64| {
        let fits = usize::try_from(i).ok().filter(|&i| i < columns && shape.rank() > 0);
        fits.ok_or_else(|| format!("column {i} is outside of {shape}"))
    };
    let index: Vec<usize> = index.iter().map(place).collect::<Result<_, _>>()?;
    let lead = if shape.rank() < 2 { vec![1] } else { shape[..shape.rank() - 1].to_vec() };
    let to = Shape::from([&lead[..], &[index.len()]].concat());
    if of_texts {
        let list = texts(c, 0)?.1;
        let rows = list.chunks(columns.max(1));
        let found = rows.flat_map(|row| index.iter().filter_map(move |&i| row.get(i)));
        return Ok(vec![chosen(c, to, found.map(String::as_str))?]);
    }
    let x = c.var(0)?;
    let index: Vec<i32> = index.into_iter().map(|i| i as i32).collect();
    let value = take_along(c, x.value(), x.rank() - 1, index)?.reshape(to);
    Ok(vec![Var::new(x.elem, value).into()])
}

fn binarizer<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let threshold = c.float("threshold", 0.0)?;
    let value = x.floats();
    Ok(Var::new(x.elem, value.greater(threshold).cast(x.arithmetic())))
}

/// Matrices side by side, each cut or filled with zeros to its number of columns.
fn feature_vectorizer<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let vars = c.vars()?;
    let sizes = c.sizes("inputdimensions")?.ok_or("attribute inputdimensions: expected whole numbers")?;
    if sizes.len() != vars.len() || vars.is_empty() {
        return Err(format!(
            "attribute inputdimensions: {} numbers for {} operands",
            sizes.len(),
            vars.len()
        ));
    }
    let part = |(x, &size): (&Var<'g>, &usize)| {
        let shape = x.shape();
        let value = match shape[..] {
            [columns] => x.value().reshape([1, columns]),
            [_, _] => x.value(),
            _ => return Err(format!("expected a matrix or a row, found {shape}")),
        };
        let value = value.cast(DType::F32);
        Ok(match value.last() {
            columns if columns >= size => value.slice(1, 0, size),
            columns => value.pad(&[0, 0], &[0, size - columns], 0.0),
        })
    };
    let parts = vars.iter().zip(&sizes).map(part).collect::<Result<Vec<_>, String>>()?;
    Ok(Var::new(Elem::Float, c.b.concat(&parts, 1)))
}

/// Numbers for all columns, or for each.
fn by_column<'g>(
    c: &Call<'_, 'g>,
    x: &Var<'g>,
    name: &str,
    values: &[f64],
    dtype: DType,
) -> Result<Value<'g>, String> {
    let columns = x.shape().last();
    if values.len() != 1 && values.len() != columns {
        return Err(format!("attribute {name}: expected 1 or {columns} numbers, found {}", values.len()));
    }
    c.constant(brisk_graph::Tensor::from_f64s(dtype, [values.len()], values))
}

fn doubles(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

/// Puts another number in the place of one that stands for a missing one.
fn imputer<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    if x.rank() == 0 {
        return Err("expected columns, found one number".into());
    }
    if !x.elem.is_float() {
        let new = c
            .ints("imputed_value_int64s")?
            .ok_or("attribute imputed_value_int64s: expected whole numbers")?;
        let columns = x.shape().last();
        if new.len() != 1 && new.len() != columns {
            return Err(format!(
                "attribute imputed_value_int64s: expected 1 or {columns} numbers, found {}",
                new.len()
            ));
        }
        let (new, old) =
            (c.make_ints([new.len()], new)?, c.make_ints([1], vec![c.int("replaced_value_int64", 0)?])?);
        let value = x.value().cast(DType::I64);
        return Ok(Var::new(x.elem, value.equal(old.value()).select(new.value(), value)));
    }
    let new =
        c.float_list("imputed_value_floats")?.ok_or("attribute imputed_value_floats: expected floats")?;
    let old = c.float("replaced_value_float", 0.0)?;
    let value = x.floats();
    let new = by_column(c, &x, "imputed_value_floats", &doubles(new), value.dtype())?;
    let missing = if old.is_nan() { value.equal(value).equal(0.0) } else { value.equal(old) };
    Ok(Var::new(x.elem, missing.select(new, value)))
}

fn scaler<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let list =
        |name: &str, default: f32| Ok::<_, String>(c.float_list(name)?.unwrap_or_else(|| vec![default]));
    let (offset, scale) = (list("offset", 0.0)?, list("scale", 1.0)?);
    let value = x.value().cast(DType::F32);
    let numbers = |name: &str, values: Vec<f32>| by_column(c, &x, name, &doubles(values), DType::F32);
    let scaled = (value - numbers("offset", offset)?) * numbers("scale", scale)?;
    Ok(Var::new(Elem::Float, scaled))
}

fn normalizer<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let value = x.value().cast(DType::F32);
    let Some(last) = x.rank().checked_sub(1).filter(|_| x.shape().last() > 0) else {
        return Err(format!("expected rows, found {}", x.shape()));
    };
    let norm = match c.text("norm", "MAX")? {
        "MAX" => value.reduce_max(&[last]),
        "L1" => value.abs().sum(&[last]),
        "L2" => value.square().sum(&[last]).sqrt(),
        other => return Err(format!("attribute norm: expected MAX, L1 or L2, found {other:?}")),
    };
    let norm = norm.expand(last);
    let safe = norm.equal(0.0).select(c.b.fill(1.0, norm.shape()), norm);
    Ok(Var::new(Elem::Float, value / safe))
}

fn one_hot_encoder<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let strict = !c.flag("zeros", true)?;
    let missing = "attribute zeros: a value is of no category, which it forbids";
    if let Item::Texts(shape, list) = c.item(0)? {
        let (shape, list) = (shape.clone(), list.clone());
        let kinds = c.texts("cats_strings")?.ok_or("attribute cats_strings: expected texts")?;
        let found = numbers(kinds.iter(), list.iter());
        if strict && found.contains(&None) {
            return Err(missing.into());
        }
        let number = |i: Option<usize>| i.map_or(-1, |i| i as i64);
        let index = c.make_ints(shape, found.into_iter().map(number).collect())?.value();
        let dims = [&index.shape()[..], &[kinds.len()]].concat();
        let hot = c.b.iota(index.rank(), dims, DType::I64).equal(index.expand(index.rank()));
        return Ok(Var::new(Elem::Float, hot.cast(DType::F32)));
    }
    let kinds = c.ints("cats_int64s")?.ok_or("attribute cats_int64s: expected whole numbers")?;
    let x = c.var(0)?;
    let whole = x.value().cast(DType::I64);
    let hot = whole.expand(x.rank()).equal(c.make_ints([kinds.len()], kinds)?.value());
    if strict {
        let found = c.look(hot.cast(DType::F32).sum(&[x.rank()]))?;
        if found.to_f64s().contains(&0.0) {
            return Err(missing.into());
        }
    }
    Ok(Var::new(Elem::Float, hot.cast(DType::F32)))
}

/// The scores of rows `[n, columns]` by a list of coefficients for each of the results.
fn linear<'g>(c: &Call<'_, 'g>, x: &Var<'g>) -> Result<Value<'g>, String> {
    let [_, columns] = x.shape()[..] else {
        return Err(format!("expected [n, columns], found {}", x.shape()));
    };
    let weights = c.float_list("coefficients")?.ok_or("attribute coefficients: expected floats")?;
    if columns == 0 || !weights.len().is_multiple_of(columns) {
        return Err(format!("attribute coefficients: {} numbers for {columns} columns", weights.len()));
    }
    let results = weights.len() / columns;
    let weights = c.make_floats([results, columns], weights)?.transpose(&[1, 0]);
    let scores = x.value().cast(DType::F32).matmul(weights);
    match c.float_list("intercepts")?.filter(|v| !v.is_empty()) {
        Some(v) if v.len() == results => Ok(scores + c.make_floats([results], v)?),
        Some(v) => Err(format!("attribute intercepts: expected {results} numbers, found {}", v.len())),
        None => Ok(scores),
    }
}

fn linear_regressor<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let scores = linear(c, &c.var(0)?)?;
    let targets = c.int("targets", 1)?;
    if scores.last() as i64 != targets {
        return Err(format!(
            "attribute coefficients: expected them for {targets} targets, found {}",
            scores.last()
        ));
    }
    Ok(Var::new(Elem::Float, transformed(scores, c.text("post_transform", "NONE")?)?))
}

fn linear_classifier<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let labels = Labels::of(c, "classlabels_ints", "classlabels_strings")?;
    let mut scores = linear(c, &c.var(0)?)?;
    let post = c.text("post_transform", "NONE")?.to_string();
    if scores.last() == 1 && labels.len() == 2 {
        scores = c.b.concat(&[-scores, scores], 1);
    }
    if scores.last() != labels.len() {
        return Err(format!("{} labels do not fit {} scores", labels.len(), scores.last()));
    }
    let scores = transformed(scores, &post)?;
    let labels = labels.best(c, scores)?;
    Ok(vec![labels, Var::new(Elem::Float, scores).into()])
}

/// The names of classes.
pub enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// By attributes, of which there is one.
    pub fn of(c: &Call<'_, '_>, ints: &str, names: &str) -> Result<Labels, String> {
        let labels = match c.ints(ints)?.filter(|list| !list.is_empty()) {
            Some(list) => Labels::Ints(list),
            None => Labels::Texts(c.texts(names)?.unwrap_or_default()),
        };
        match labels.len() {
            0 | 1 => {
                Err(format!("attributes {ints} and {names}: expected at least two labels in one of them"))
            }
            _ => Ok(labels),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Labels::Ints(list) => list.len(),
            Labels::Texts(list) => list.len(),
        }
    }

    /// The label of the largest of each row of scores.
    pub fn best<'g>(self, c: &mut Call<'_, 'g>, scores: Value<'g>) -> Result<Item<'g>, String> {
        if c.node.outputs.first().is_none_or(String::is_empty) {
            return Ok(Item::Nothing);
        }
        let best = scores.argmax(1);
        match self {
            Labels::Ints(list) => {
                let table = c.make_ints([list.len()], list)?.value();
                Ok(Var::new(Elem::Int64, table.take(best)).into())
            }
            // Texts are always known.
            Labels::Texts(list) => {
                let best = c.look(best)?;
                let numbers = best.to_f64s();
                let name = |&i: &f64| list.get(i as usize).map_or("", String::as_str);
                chosen(c, best.shape().clone(), numbers.iter().map(name))
            }
        }
    }
}

/// Scores `[n, results]` after what an attribute wants done with them.
pub fn transformed<'g>(scores: Value<'g>, how: &str) -> Result<Value<'g>, String> {
    let b = scores.builder();
    let zero = || scores.abs().less_equal(1e-7);
    Ok(match how {
        "NONE" => scores,
        "LOGISTIC" => op::sigmoid(scores),
        "SOFTMAX" => op::softmax(scores),
        // What is 0 stays 0.
        "SOFTMAX_ZERO" => {
            let most = scores.reduce_max(&[1]).expand(1);
            let part = zero().select(scores * (-most).exp(), (scores - most).exp());
            let sum = part.sum(&[1]).expand(1);
            let none = sum.equal(0.0);
            let share = part / none.select(b.fill_as(1.0, sum.shape(), sum.dtype()), sum);
            none.broadcast_to(share.shape()).select(b.fill_as(0.5, share.shape(), share.dtype()), share)
        }
        // The inverse of the normal distribution, by Winitzki's approximation of that of the error function.
        "PROBIT" => {
            const A: f64 = 0.147;
            let x = scores * 2.0 - 1.0;
            let log = ((1.0 - x) * (1.0 + x)).log();
            let half = log * 0.5 + 2.0 / (PI * A);
            let square = ((half * half - log * (1.0 / A)).sqrt() - half).max(0.0);
            let value = x.sign() * square.sqrt() * SQRT_2;
            x.abs().less(1.0).select(value, b.fill_as(0.0, x.shape(), x.dtype()))
        }
        other => return Err(format!("attribute post_transform: found {other:?}")),
    })
}
