//! Data for Brisk: sources, checks, splits, preprocessing, augmentation and batching of images with labels.
//!
//! A [`SourceSpec`] says where data is; [`open`] makes a [`Dataset`] of it; [`Dataset::split`] gives its training,
//! validation and test [`Part`]s; a [`Loader`] yields them in batches, decoded and augmented on threads of its own.
//! Everything that is random follows from a seed, the epoch and the sample, never from threads or time.
//!
//! ```
//! use brisk_data::{Dataset, ImageSpec, Loader, LoaderOptions, Memory, Part, SplitSpec};
//!
//! // Eight images of 2x2 grey pixels in two classes; `brisk_data::open` reads files in the same way.
//! let image = ImageSpec { height: 2, width: 2, channels: 1 };
//! let source = Memory::new(image, vec![7; 32], vec![0, 1, 0, 1, 0, 1, 0, 1])?;
//! let data = Dataset::new(Part::new(source, ["no", "yes"], image)?);
//! let parts = data.split(&SplitSpec { validation: Some(0.25), ..SplitSpec::default() })?;
//! assert_eq!(parts.train.len(), 6);
//!
//! let loader = Loader::new(parts.train, LoaderOptions { batch_size: 3, ..LoaderOptions::default() })?;
//! for batch in loader.epoch(0) {
//!     let batch = batch?;
//!     assert_eq!(batch.get("x").unwrap().shape().dims(), [3, 2, 2, 1]);
//!     assert_eq!(batch.get("y").unwrap().shape().dims(), [3]);
//! }
//! # Ok::<(), brisk_data::Error>(())
//! ```

mod augment;
mod batch;
mod bytes;
mod check;
mod dataset;
mod decode;
mod describe;
mod error;
mod feature;
mod get;
#[cfg(feature = "download")]
mod http;
mod image;
mod known;
mod loader;
mod open;
mod part;
mod prefetch;
mod preprocessing;
mod rng;
mod source;
mod spec;
mod split;
mod table;
#[cfg(test)]
mod testing;
mod text;

pub use augment::{Augmentation, ColorJitter, Cutout, Mixup, RandomCrop};
pub use batch::{Batch, BatchIter, Batches};
pub use check::{CheckReport, Problem, ProblemKind, Severity, check};
pub use dataset::Dataset;
pub use decode::{decode_image, image_size};
pub use describe::{ClassCounts, Description, describe, preview};
pub use error::{Error, Result};
pub use feature::{
    CategoryFeature, CategorySpec, CategoryTargetSpec, Encoded, EncodedValue, Encoder, Feature, FeatureSpec,
    Features, FitOptions, FitProgress, ImageColumnSpec, ImageFeature, LabelsSpec, Layout, Layouts,
    MissingNumber, Notes, NumberFeature, NumberNormalization, NumberSpec, NumberTargetSpec, PairMode,
    Scaling, TagsSpec, Target, TargetSpec, TextFeature, TextSpec, VectorFeature, VectorSpec, fewer_samples,
    rounded_length, rounded_tokens,
};
pub use get::{GetOptions, Progress, get};
pub use image::{ImageSpec, Pixels};
pub use known::{Checksum, Download, Known, data_dir, known};
pub use loader::{Epoch, IMAGES, LABELS, Loader, LoaderOptions};
pub use open::{Checks, OpenOptions, open};
pub use part::Part;
pub use preprocessing::{ChannelStats, Normalization, Preprocessing};
pub use source::table::{
    MemoryTable, Row, Rows, Table, TableFormat, TablePaths, TableSet, TableSpec, Value, open_tables,
};
pub use source::{Memory, Source};
pub use spec::{FileSpec, Kind, SourceSpec};
pub use split::{SplitSpec, Splits};
pub use table::{
    BatchSize, ColumnDescription, LabelCount, MaskOptions, MaskedLanguage, Percentiles, TableDescription,
    TableLoader, TableLoaderOptions, TableSplit, deduplicate, describe_table,
};
pub use text::{
    SpecialTokens, TextInput, TextTokens, Tokenizer, TokenizerKind, TokenizerSpec, Training, Truncation,
};
