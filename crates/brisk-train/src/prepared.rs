//! A project made ready: its data opened and divided, and the model built for it.

use brisk_data::{
    Batches, Dataset, Loader, LoaderOptions, OpenOptions, Part, Preprocessing, SplitSpec, Splits, open,
};
use brisk_graph::DType;
use brisk_nn::{INPUT, Loss, Scaling, Task};
use brisk_runtime::State;

use crate::table::Table;
use crate::{Project, Result};

/// Samples in a batch when a model is measured.
pub(crate) const EVALUATION_BATCH: usize = 128;

/// A project made ready: data opened and divided, preprocessing fitted, model built.
pub struct Prepared {
    /// The data.
    pub data: PreparedData,
    /// The model and its loss.
    pub task: Task,
    /// What training starts from.
    pub(crate) start: State,
}

/// The data of a project.
pub enum PreparedData {
    /// Pictures with labels.
    Images(Box<Images>),
    /// Rows of a table.
    Table(Box<Table>),
}

/// What to train on, and what to validate on.
type Loaders = (Box<dyn Batches>, Option<Box<dyn Batches>>);

/// Pictures made ready.
pub struct Images {
    /// All of them.
    pub dataset: Dataset,
    /// What to train, validate and test on.
    pub splits: Splits,
    /// What happens to them first.
    pub preprocessing: Preprocessing,
}

impl PreparedData {
    /// Samples to train, validate and test on.
    pub fn counts(&self) -> [usize; 3] {
        match self {
            PreparedData::Images(i) => {
                let of = |part: &Option<Part>| part.as_ref().map_or(0, Part::len);
                [i.splits.train.len(), of(&i.splits.validation), of(&i.splits.test)]
            }
            PreparedData::Table(t) => {
                let of = |part: &Option<brisk_data::Rows>| part.as_ref().map_or(0, |p| p.len());
                [t.set.train.len(), of(&t.set.validation), of(&t.set.test)]
            }
        }
    }

    /// The names of the classes, if there is one output of classes.
    pub fn labels(&self) -> Vec<String> {
        match self {
            PreparedData::Images(i) => i.dataset.classes().to_vec(),
            PreparedData::Table(t) => t.labels(),
        }
    }

    /// Batches to train on, and to validate on.
    pub(crate) fn loaders(&self, project: &Project) -> Result<Loaders> {
        Ok(match self {
            PreparedData::Images(images) => {
                let loader = |part: &Part, batch_size: usize, training: bool| -> Result<Box<dyn Batches>> {
                    let augmentation = if training { project.data.augmentation } else { Default::default() };
                    let options = LoaderOptions {
                        batch_size,
                        shuffle: training,
                        seed: project.train.seed,
                        workers: project.data.workers,
                        augmentation,
                        ..LoaderOptions::default()
                    };
                    Ok(Box::new(Loader::new(part.clone(), options)?))
                };
                let validation = images.splits.validation.as_ref();
                let validation = validation.map(|p| loader(p, EVALUATION_BATCH, false)).transpose()?;
                (loader(&images.splits.train, project.train.batch_size, true)?, validation)
            }
            PreparedData::Table(table) => {
                let loader = |rows: &brisk_data::Rows, training: bool| -> Result<Box<dyn Batches>> {
                    table.loader(rows, project, training)
                };
                let validation = table.set.validation.as_ref().map(|rows| loader(rows, false)).transpose()?;
                (loader(&table.set.train, true)?, validation)
            }
        })
    }
}

impl Project {
    /// Opens the data and builds the model.
    pub fn prepare(&self) -> Result<Prepared> {
        if self.is_table() {
            let (table, task, start) = Table::prepare(self)?;
            return Ok(Prepared { data: PreparedData::Table(Box::new(table)), task, start });
        }
        let (size, channels) = self.image();
        let dataset = open(self.source()?, &OpenOptions { size, channels, ..OpenOptions::default() })?;
        let spec = SplitSpec {
            validation: self.data.validation_split,
            test: self.data.test_split,
            seed: self.train.seed,
        };
        let splits = dataset.split(&spec)?;
        let preprocessing = Preprocessing::fit(self.data.normalization, &splits.train)?;
        let image = preprocessing.image;
        let model = self.model([image.height, image.width, image.channels], dataset.classes().len())?;
        let mut task = Task::new(model, self.train.loss.clone());
        if let (Some(metrics), Some(output)) = (&self.train.metrics, task.outputs.first_mut()) {
            output.metrics = metrics.clone();
        }
        task.model.set_stored(INPUT, DType::U8, scaling(&preprocessing))?;
        task.rules = self.train.parameters.clone();
        task.gradient_checkpointing = self.train.gradient_checkpointing;
        fits(&task, dataset.classes().len())?;
        let mut start = task.init_state(&self.train.optimizer, self.train.seed)?;
        self.load_graph(&mut start)?;
        let data = PreparedData::Images(Box::new(Images { dataset, splits, preprocessing }));
        Ok(Prepared { data, task, start })
    }
}

/// The preprocessing of images, as it is recorded in graphs.
pub fn scaling(p: &Preprocessing) -> Scaling {
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect();
    Scaling { scale: f64::from(p.scale), mean: wide(&p.mean), std: wide(&p.std) }
}

/// The model must have an output for each class.
fn fits(task: &Task, classes: usize) -> Result<()> {
    let output = task.model.output_shape();
    let name = task.model.layers().last().map_or("the model", |l| l.name.as_str());
    let binary = output.last() == 1
        && classes <= 2
        && !task.outputs.iter().any(|o| matches!(o.loss, Loss::SparseCategoricalCrossentropy { .. }));
    if output.rank() == 1 && (output.last() == classes || binary) {
        return Ok(());
    }
    let message = format!(
        "the data has {classes} classes, but the model puts out {output} for a sample; let it end in Dense: {{units: {classes}}}"
    );
    Err(brisk_nn::Error::layer(name, message).into())
}
