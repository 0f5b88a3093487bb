//! The output as Apache Parquet, made of its lines, some at a time.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use brisk_data::{TableFormat, TableSpec, open_tables};
use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::sheet::Kind;

/// The most rows, and about the most bytes of text, of a group.
const GROUP_ROWS: usize = 1 << 16;
const GROUP_BYTES: usize = 32 << 20;

/// Writes a file of the lines in another one, which are CSV without a header. The first column is the number of the row.
pub fn write(names: &[String], kinds: &[Kind], lines: &Path, to: &Path) -> Result<()> {
    let columns = Some(names.to_vec());
    let spec = TableSpec { format: Some(TableFormat::Csv), columns, ..TableSpec::at(lines) };
    let rows = open_tables(&spec)?.train;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(to).with_context(|| to.display().to_string())?;
    let mut file = SerializedFileWriter::new(file, schema(names, kinds)?, Arc::new(properties))?;
    let mut next = 0;
    while next < rows.len() {
        let mut columns: Vec<Values> = kinds.iter().enumerate().map(|(i, k)| Values::new(i, *k)).collect();
        let (first, mut bytes) = (next, 0);
        while next < rows.len() && next - first < GROUP_ROWS && bytes < GROUP_BYTES {
            let row = rows.row(next)?;
            for (i, values) in columns.iter_mut().enumerate() {
                let text = row.get(i).text();
                bytes += text.as_ref().map_or(0, |t| t.len());
                values.push(text.as_deref())?;
            }
            next += 1;
        }
        let mut group = file.next_row_group()?;
        for values in &columns {
            if let Some(column) = group.next_column()? {
                values.write(column)?;
            }
        }
        group.close()?;
    }
    file.into_inner()?.sync_all().with_context(|| to.display().to_string())
}

fn schema(names: &[String], kinds: &[Kind]) -> Result<TypePtr> {
    let mut columns = Vec::new();
    for (i, (name, kind)) in names.iter().zip(kinds).enumerate() {
        columns.push(Arc::new(match kind {
            _ if i == 0 => Type::primitive_type_builder(name, Physical::INT64)
                .with_repetition(Repetition::REQUIRED)
                .build()?,
            Kind::Bool => Type::primitive_type_builder(name, Physical::BOOLEAN).build()?,
            Kind::Number => Type::primitive_type_builder(name, Physical::DOUBLE).build()?,
            Kind::Text | Kind::Empty => Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
                .with_converted_type(ConvertedType::UTF8)
                .build()?,
            Kind::Vector => {
                let element = Type::primitive_type_builder("element", Physical::FLOAT)
                    .with_repetition(Repetition::REQUIRED);
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![Arc::new(element.build()?)]);
                Type::group_type_builder(name)
                    .with_repetition(Repetition::REQUIRED)
                    .with_converted_type(ConvertedType::LIST)
                    .with_fields(vec![Arc::new(list.build()?)])
                    .build()?
            }
        }));
    }
    Ok(Arc::new(Type::group_type_builder("answers").with_fields(columns).build()?))
}

/// A column of a group: values, and for each place (1) if there is one.
enum Values {
    Row(Vec<i64>),
    Bool(Vec<bool>, Vec<i16>),
    Number(Vec<f64>, Vec<i16>),
    Text(Vec<ByteArray>, Vec<i16>),
    /// With 0 where a list begins.
    Vector(Vec<f32>, Vec<i16>, Vec<i16>),
}

impl Values {
    fn new(column: usize, kind: Kind) -> Values {
        match kind {
            _ if column == 0 => Values::Row(Vec::new()),
            Kind::Bool => Values::Bool(Vec::new(), Vec::new()),
            Kind::Number => Values::Number(Vec::new(), Vec::new()),
            Kind::Text | Kind::Empty => Values::Text(Vec::new(), Vec::new()),
            Kind::Vector => Values::Vector(Vec::new(), Vec::new(), Vec::new()),
        }
    }

    fn push(&mut self, text: Option<&str>) -> Result<()> {
        fn add<T>(values: &mut Vec<T>, defined: &mut Vec<i16>, value: Option<T>) {
            defined.push(value.is_some().into());
            values.extend(value);
        }
        match self {
            Values::Row(numbers) => numbers.push(text.unwrap_or_default().parse()?),
            Values::Bool(values, defined) => add(values, defined, text.map(|t| t == "true")),
            Values::Number(values, defined) => add(values, defined, text.map(str::parse).transpose()?),
            Values::Text(values, defined) => add(values, defined, text.map(ByteArray::from)),
            Values::Vector(values, defined, repeated) => {
                // What is no number in JSON is `null`.
                let vector: Vec<Option<f32>> = serde_json::from_str(text.unwrap_or("[]"))?;
                defined.extend(if vector.is_empty() { vec![0] } else { vec![1; vector.len()] });
                repeated.extend((0..vector.len().max(1)).map(|i| i16::from(i > 0)));
                values.extend(vector.into_iter().map(|x| x.unwrap_or(f32::NAN)));
            }
        }
        Ok(())
    }

    fn write(&self, mut column: SerializedColumnWriter<'_>) -> Result<()> {
        match self {
            Values::Row(v) => column.typed::<Int64Type>().write_batch(v, None, None)?,
            Values::Bool(v, d) => column.typed::<BoolType>().write_batch(v, Some(d), None)?,
            Values::Number(v, d) => column.typed::<DoubleType>().write_batch(v, Some(d), None)?,
            Values::Text(v, d) => column.typed::<ByteArrayType>().write_batch(v, Some(d), None)?,
            Values::Vector(v, d, r) => column.typed::<FloatType>().write_batch(v, Some(d), Some(r))?,
        };
        Ok(column.close()?)
    }
}
