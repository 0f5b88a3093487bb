//! Tables as data sets: divided, described, and cut into batches.

mod describe;
mod loader;
mod masked;
mod plan;
mod split;

pub use describe::{ColumnDescription, LabelCount, Percentiles, TableDescription, describe_table};
pub use loader::{BatchSize, TableLoader, TableLoaderOptions};
pub use masked::{MaskOptions, MaskedLanguage};
pub use split::{TableSplit, deduplicate};
