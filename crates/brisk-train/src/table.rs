//! Projects over tables: features learned from the training rows, the model made for them, and batches.

use std::sync::Arc;

use brisk_data::{
    BatchSize, Batches, Encoder, Features, FitOptions, Layouts, MaskOptions, MaskedLanguage, Notes, Rows,
    SplitSpec, TableLoader, TableLoaderOptions, TableSet, TableSplit, Target, TargetSpec, Tokenizer,
    open_tables,
};
use brisk_eval::{Evaluator, OutputReport, Outputs, Report};
use brisk_format::{LoadReport, SavedModel};
use brisk_nn::Task;
use brisk_runtime::{Device, State};
use indexmap::IndexMap;

use crate::assemble::{Pretrained, assemble};
use crate::{Project, Result};

/// The name of the output of a masked language model.
pub(crate) const MASKED: &str = "token";

/// A table made ready.
pub struct Table {
    /// What to train, validate and test on.
    pub set: TableSet,
    /// Rows that were left out because the same stood before.
    pub duplicates: usize,
    /// What the features have learned from the training rows.
    pub features: Arc<Features>,
    /// How the model wants texts to lie in memory.
    pub layouts: Layouts,
    /// What became of the tensors of the pretrained model.
    pub loaded: Option<LoadReport>,
}

/// What was measured on a part of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Loss and metrics, by name.
    pub values: Vec<(String, f64)>,
    /// For a single output of classes, everything about it.
    pub report: Option<Report>,
    /// The same of each output of a table, by its name. Numbers are as the model is trained to give them, after scaling.
    pub outputs: Vec<(String, OutputReport)>,
}

impl Project {
    /// The rows of the project's table as training divides them, and how many were left out as duplicates.
    pub fn open_table(&self) -> Result<(TableSet, usize)> {
        let stratify = match &self.outputs.values().collect::<Vec<_>>()[..] {
            [TargetSpec::Category(c)] if !self.is_masked() => {
                c.column.clone().or_else(|| self.outputs.keys().next().cloned())
            }
            _ => None,
        };
        let split = TableSplit {
            shares: SplitSpec {
                validation: self.data.validation_split,
                test: self.data.test_split,
                seed: self.train.seed,
            },
            stratify,
            deduplicate: self.data.deduplicate.clone(),
        };
        Ok(open_tables(&self.table()?)?.split(&split)?)
    }
}

impl Table {
    /// Opens the table of a project and builds the model for it; the state that training starts from.
    pub(crate) fn prepare(project: &Project) -> Result<(Table, Task, State)> {
        let pretrained = project.model.pretrained.as_deref().map(Pretrained::open).transpose()?;
        let (set, duplicates) = project.open_table()?;
        let none = IndexMap::new();
        let outputs = if project.is_masked() { &none } else { &project.outputs };
        let mut options = FitOptions::default();
        if let Some(folder) = pretrained.as_ref().map(Pretrained::folder) {
            options.tokenizer = folder.tokenizer().map(|path| Tokenizer::open(&path)).transpose()?;
            options.max_length = Some(folder.max_length());
        }
        let features = Features::fit(&project.features()?, outputs, &set.train, options)?;
        let assembly = assemble(&project.model, &project.train, &features, pretrained.as_ref())?;
        let task = Task {
            model: assembly.model,
            outputs: assembly.outputs,
            rules: project.train.parameters.clone(),
            gradient_checkpointing: project.train.gradient_checkpointing,
        };
        let mut state = task.init_state(&project.train.optimizer, project.train.seed)?;
        let loaded = pretrained.as_ref().map(|p| p.load_into(&task.model, &mut state)).transpose()?;
        let table = Table { set, duplicates, features: features.into(), layouts: assembly.layouts, loaded };
        Ok((table, task, state))
    }

    /// Batches of some rows.
    pub fn loader(&self, rows: &Rows, project: &Project, training: bool) -> Result<Box<dyn Batches>> {
        let loader = self.rows(rows, project, training)?;
        match self.features.texts().next() {
            Some((name, text)) if project.is_masked() => {
                let options = MaskOptions { seed: project.train.seed, ..MaskOptions::new(name, MASKED) };
                Ok(Box::new(MaskedLanguage::new(loader, text.tokenizer()?, options)?))
            }
            _ => Ok(Box::new(loader)),
        }
    }

    /// The rows themselves, in batches.
    pub(crate) fn rows(&self, rows: &Rows, project: &Project, training: bool) -> Result<TableLoader> {
        let train = &project.train;
        let options = TableLoaderOptions {
            batch: train.batch_tokens.map_or(BatchSize::Samples(train.batch_size), BatchSize::Tokens),
            shuffle: training,
            seed: train.seed,
            workers: project.data.workers,
            layouts: self.layouts.clone(),
            ..TableLoaderOptions::default()
        };
        let encoder = Encoder::new(self.features.clone(), rows.clone(), true)?;
        Ok(TableLoader::new(encoder, options)?)
    }

    /// The classes of the only output, if it has some.
    pub fn labels(&self) -> Vec<String> {
        match self.features.targets.values().collect::<Vec<_>>()[..] {
            [target] => target.labels().into_iter().flatten().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// A sentence for each thing that happened to the rows and that the user should know.
    pub fn remarks(&self, notes: &Notes) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.duplicates > 0 {
            remarks.push(format!("{} duplicate rows were left out", self.duplicates));
        }
        remarks.extend(notes.messages());
        remarks
    }

    /// What a saved model needs to encode rows again.
    pub(crate) fn write_into(&self, saved: &mut SavedModel) -> Result<()> {
        brisk_eval::record_features(saved, &self.features, &self.layouts)?;
        saved.labels = self.labels();
        Ok(())
    }
}

/// Loss and metrics of a model on rows.
pub fn evaluate_table(
    device: &dyn Device,
    task: &Task,
    features: &Features,
    data: &dyn Batches,
    state: &mut State,
) -> Result<Measured> {
    let labels = |name: &str| -> Vec<String> {
        let target = features.targets.get(name);
        target.and_then(Target::labels).into_iter().flatten().cloned().collect()
    };
    let mut measures = Outputs::new(task, labels);
    let values = Evaluator::new(device, task).run(data, state, |batch, said| measures.update(batch, said))?;
    let mut outputs = measures.reports();
    let report = match &mut outputs[..] {
        [(_, OutputReport::Classes(report))] => {
            if let Some((_, loss)) = values.iter().find(|v| v.0 == "loss") {
                report.loss = *loss;
            }
            Some((**report).clone())
        }
        _ => None,
    };
    Ok(Measured { values, report, outputs })
}
