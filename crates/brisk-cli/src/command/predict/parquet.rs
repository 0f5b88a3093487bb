//! Vectors as Apache Parquet: a column with the texts, and `embedding` with a list of f32 for each.

use std::sync::Arc;

use anyhow::Result;
use brisk_data::Rows;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const SCHEMA: &str = "message embeddings {
    required binary text (UTF8);
    required group embedding (LIST) { repeated group list { required float element; } }
}";

/// The content of the file, a group of rows for each chunk.
pub fn write(
    column: &str,
    chunks: &[Rows],
    vectors: &mut dyn Iterator<Item = Result<Vec<f32>>>,
    size: usize,
) -> Result<Vec<u8>> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default()))?;
    for (rows, vectors) in chunks.iter().zip(vectors) {
        let vectors = vectors?;
        let place = rows.column(column)?;
        let texts = rows.iter().map(|row| {
            let row = row?;
            Ok(ByteArray::from(row.get(place).text().unwrap_or_default().into_owned().into_bytes()))
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let mut group = file.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            column.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
            column.close()?;
        }
        if let Some(mut column) = group.next_column()? {
            // A list begins where the repetition level is 0.
            let repetition: Vec<i16> = (0..vectors.len()).map(|i| i16::from(i % size.max(1) != 0)).collect();
            let definition = vec![1; vectors.len()];
            column.typed::<FloatType>().write_batch(&vectors, Some(&definition), Some(&repetition))?;
            column.close()?;
        }
        group.close()?;
    }
    Ok(file.into_inner()?)
}
