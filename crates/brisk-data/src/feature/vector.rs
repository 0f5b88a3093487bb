//! Several numbers, and pictures in files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number::{Scaling, filled};
use crate::{ImageSpec, Value};

/// Several numbers as their feature has learned to read them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorFeature {
    /// The column of lists, or the columns of numbers.
    pub columns: Vec<String>,
    /// True if there is one column, of lists.
    pub list: bool,
    /// For each place what a missing number becomes; nothing if that is an error.
    pub fill: Vec<Option<f64>>,
    /// For each place what numbers become.
    pub scaling: Vec<Scaling>,
}

impl VectorFeature {
    /// Numbers in a vector.
    pub fn size(&self) -> usize {
        self.scaling.len()
    }

    /// The vector of its fields; or what is wrong, with the number of the field.
    pub(super) fn encode(&self, fields: &[&Value]) -> Result<Vec<f32>, (usize, String)> {
        let items = match (self.list, fields) {
            (true, [list]) => list.items(separator(list)).into_owned(),
            _ => fields.iter().map(|&v| v.clone()).collect(),
        };
        let items = match items.len() {
            0 => vec![Value::Missing; self.size()],
            n if n == self.size() => items,
            n => return Err((0, format!("{n} numbers where {} are expected", self.size()))),
        };
        let places = items.iter().zip(&self.fill).zip(&self.scaling).enumerate();
        places
            .map(|(i, ((value, fill), scaling))| match filled(value, *fill) {
                Ok(x) => Ok(scaling.apply(x)),
                Err(e) if self.list => Err((0, format!("number {}: {e}", i + 1))),
                Err(e) => Err((i, e)),
            })
            .collect()
    }
}

/// What divides the numbers in a text: commas or semicolons if there are any, otherwise white space.
pub(super) fn separator(list: &Value) -> Option<&'static str> {
    match list {
        Value::Text(s) if s.contains(';') => Some(";"),
        Value::Text(s) if s.contains(',') => Some(","),
        _ => None,
    }
}

/// Pictures in files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFeature {
    /// The column of paths.
    pub column: String,
    /// The size in which the model sees them.
    pub image: ImageSpec,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_in_every_way() {
        let scaling = vec![Scaling { offset: 0.0, factor: 1.0 }; 3];
        let f = VectorFeature {
            columns: vec!["v".into()],
            list: true,
            fill: vec![Some(9.0), None, None],
            scaling,
        };
        for text in ["1 2 3", "1, 2,3", "[1, 2, 3]", "1;2;3"] {
            assert_eq!(f.encode(&[&text.into()]), Ok(vec![1.0, 2.0, 3.0]), "{text}");
        }
        assert_eq!(f.encode(&[&"NA 2 3".into()]), Ok(vec![9.0, 2.0, 3.0]));
        assert!(f.encode(&[&"1 2".into()]).unwrap_err().1.contains("2 numbers where 3"));
        assert!(f.encode(&[&"1 x 3".into()]).unwrap_err().1.contains("number 2: `x`"));
        assert!(f.encode(&[&Value::Missing]).is_err());
    }
}
