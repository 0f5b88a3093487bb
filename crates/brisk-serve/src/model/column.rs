//! Tensors of a request to its rows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use brisk_data::Feature;
use brisk_data::Value;
use brisk_eval::Ready;
use bytes::Bytes;
use indexmap::IndexMap;

use super::tensor::{Tensor, Typed, sizes};
use super::{Field, Row, Served};
use crate::fault::{Answered, Fault};

impl Served {
    /// The rows of tensors: one for each input of the [signature](super::Signature), all with the same number of rows, at most `most`.
    pub fn rows_of(&self, tensors: Vec<Tensor>, most: usize) -> Answered<Vec<Row>> {
        let mut count = None;
        let mut columns: IndexMap<String, Vec<Field>> = IndexMap::new();
        for tensor in tensors {
            let Some(port) = self.signature.input(&tensor.name) else {
                let known: Vec<_> = self.signature.inputs.iter().map(|p| p.name.as_str()).collect();
                return Err(Fault::bad(format!(
                    "there is no input `{}`; the model reads {}",
                    tensor.name,
                    known.join(", ")
                )));
            };
            // A picture may also come as a file, one a row.
            let files = port.datatype == "UINT8" && tensor.datatype == "BYTES";
            let rows = match (files, &tensor.shape[..]) {
                (true, &[n] | &[n, 1]) if n >= 0 => n as usize,
                (true, _) => {
                    let (name, found) = (&tensor.name, sizes(&tensor.shape));
                    return Err(Fault::bad(format!(
                        "input `{name}`: expected the shape [-1] of pictures as files, found {found}"
                    )));
                }
                (false, _) => tensor.rows(port)?,
            };
            if rows > most {
                return Err(too_many(rows, most));
            }
            match *count.get_or_insert(rows) {
                n if n != rows => {
                    return Err(Fault::bad(format!(
                        "input `{}`: expected {n} rows, as the inputs before it have, found {rows}",
                        tensor.name
                    )));
                }
                _ => {}
            }
            let (name, width) = (tensor.name.clone(), port.row().iter().product::<i64>().max(1) as usize);
            let typed = tensor.typed(port, rows.saturating_mul(width))?;
            let list = is_list(&self.ready, &name);
            let fields: Vec<Field> = match typed {
                Typed::U8(pixels) => pixels.chunks(width).map(|row| Field::Pixels(row.to_vec())).collect(),
                Typed::F32(v) if list => v.chunks(width).map(|row| Field::Numbers(row.to_vec())).collect(),
                Typed::F32(v) => v.into_iter().map(|x| Field::Value(Value::Number(x.into()))).collect(),
                Typed::F64(v) => v.into_iter().map(|x| Field::Value(Value::Number(x))).collect(),
                Typed::Bytes(files_) if files => {
                    files_.into_iter().map(|b| Field::Picture(file(b))).collect()
                }
                Typed::Bytes(texts) => {
                    texts.into_iter().enumerate().map(|(i, t)| text(&name, i, &t)).collect::<Answered<_>>()?
                }
            };
            if columns.insert(name.clone(), fields).is_some() {
                return Err(Fault::bad(format!("input `{name}` is there twice")));
            }
        }
        let mut rows = vec![Row::new(); count.unwrap_or(0)];
        for (name, fields) in columns {
            for (row, field) in rows.iter_mut().zip(fields) {
                row.insert(name.clone(), field);
            }
        }
        match rows.is_empty() {
            true => Err(Fault::bad("the request has no rows")),
            false => Ok(rows),
        }
    }
}

/// A picture as a file; JSON can only carry it in base64, which no such file looks like.
fn file(bytes: Bytes) -> Vec<u8> {
    STANDARD.decode(&bytes).unwrap_or_else(|_| bytes.to_vec())
}

/// More rows than are taken.
pub fn too_many(rows: usize, most: usize) -> Fault {
    Fault::new(
        crate::fault::FaultKind::TooLarge,
        format!("expected at most {most} rows in a request, found {rows}; divide it"),
    )
}

/// Whether a column holds the numbers of a vector.
fn is_list(ready: &Ready, column: &str) -> bool {
    let mut features = ready.features.inputs.values();
    features.any(|f| matches!(f, Feature::Vector(v) if v.list && v.columns[0] == column))
}

fn text(name: &str, row: usize, bytes: &[u8]) -> Answered<Field> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Field::Value(Value::Text(text.into()))),
        Err(e) => {
            let at = e.valid_up_to() + 1;
            Err(Fault::bad(format!("input `{name}`: row {row}: byte {at} is not UTF-8")))
        }
    }
}
