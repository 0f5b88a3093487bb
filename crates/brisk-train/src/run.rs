//! A run: a project trained in a folder of its own, which holds all that is needed to go on, to look back, and to use
//! the model.
//!
//! ```text
//! runs/NAME/
//!   config.yaml                 the project, complete
//!   history.csv                 what each epoch measured
//!   events.out.tfevents.*       the same for TensorBoard
//!   checkpoints/last.ckpt       to go on from
//!   checkpoints/best.ckpt       the weights of the best epoch
//!   model/                      the finished model
//!   evaluation.json             measured on the test data
//!   metrics.json                everything measured, by names that say on which data
//!   report.html                 everything on one page
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use brisk_data::{Loader, LoaderOptions, Notes, Part, Target};
use brisk_eval::{Classification, EpochRecord, Evaluator, Mistake, ModelCard, Report, RunReport};
use brisk_format::{SavedModel, load_checkpoint, save_checkpoint, save_model, write_text};
use brisk_graph::DType;
use brisk_nn::{Task, Y};
use brisk_runtime::{Device, State};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::prepared::{EVALUATION_BATCH, Prepared, PreparedData, scaling};
use crate::project::Keep;
use crate::table::{Measured, evaluate_table};
use crate::{Error, EventWriter, Fit, Flow, History, Hooks, Position, Progress, Project, Result, RunMetrics};

/// Wrong answers that the report shows.
const MISTAKES: usize = 24;

/// What a checkpoint says beside the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Meta {
    position: Position,
}

/// What a finished or interrupted training came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All epochs, or as many as early stopping allowed, and the model is in the folder.
    Finished {
        /// On the test data (or the validation data if there are none), if there are any.
        report: Option<Report>,
    },
    /// Stopped by request, ready to go on.
    Interrupted {
        /// Where: the epoch from 1, and its steps that are done.
        epoch: usize,
        /// See above.
        step: usize,
    },
}

/// A run in its folder.
pub struct Run {
    dir: PathBuf,
    project: Project,
    prepared: Prepared,
    state: State,
    position: Position,
    resumed: bool,
}

impl Run {
    /// A new run in a new folder, which must not hold another one.
    pub fn create(project: Project, dir: &Path) -> Result<Run> {
        let prepared = project.prepare()?;
        if dir.join("config.yaml").exists() || dir.join("model").exists() {
            return Err(Error::Run {
                path: dir.into(),
                message: "there is a run already; choose another --out, or go on with --resume".into(),
            });
        }
        let state = prepared.start.clone();
        std::fs::create_dir_all(dir.join("checkpoints")).map_err(Error::io(dir))?;
        write_text(&dir.join("config.yaml"), &project.to_yaml()?)?;
        let mut run =
            Run { dir: dir.into(), project, prepared, state, position: Position::default(), resumed: false };
        run.add_accumulators()?;
        Ok(run)
    }

    /// A run to go on with, from its last checkpoint, or from the start if there is none yet.
    pub fn resume(dir: &Path, overrides: &[String]) -> Result<Run> {
        let config = dir.join("config.yaml");
        if !config.exists() {
            let message = "this is no run folder: it has no config.yaml. Give the folder that brisk train wrote, such as runs/NAME";
            return Err(Error::Run { path: dir.into(), message: message.into() });
        }
        let project = Project::load(&config, overrides)?;
        let prepared = project.prepare()?;
        let mut state = prepared.start.clone();
        let mut position = Position::default();
        let last = dir.join("checkpoints/last.ckpt");
        if last.exists() {
            let checkpoint = load_checkpoint::<Meta>(&last)?;
            check_state(&last, &state, &checkpoint.state)?;
            (state, position) = (checkpoint.state, checkpoint.meta.position);
        }
        if !overrides.is_empty() {
            // The next resume, after a kill perhaps, goes on with the same settings.
            write_text(&config, &project.to_yaml()?)?;
        }
        let mut run = Run { dir: dir.into(), project, prepared, state, position, resumed: true };
        run.add_accumulators()?;
        Ok(run)
    }

    fn add_accumulators(&mut self) -> Result<()> {
        if self.project.train.accumulate > 1 {
            for spec in self.prepared.task.accumulator_specs()? {
                if self.state.get(&spec.name).is_none() {
                    self.state.insert(spec.name, brisk_graph::Tensor::zeros(DType::F32, spec.shape));
                }
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Data and model.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// What happens to the rows of a table when they are encoded.
    pub fn notes(&self) -> Result<Notes> {
        match &self.prepared.data {
            PreparedData::Images(_) => Ok(Notes::default()),
            PreparedData::Table(table) => Ok(table.rows(&table.set.train, &self.project, true)?.notes()?),
        }
    }

    /// How far it has come.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Trains to the end, or until `stop` is set; then measures the model, and writes it and the report.
    pub fn train(&mut self, device: &dyn Device, progress: Progress, stop: &AtomicBool) -> Result<Outcome> {
        let started = Instant::now();
        let train = &self.project.train;
        let (training, validation) = self.prepared.data.loaders(&self.project)?;
        let fallback = if validation.is_some() { "val_loss" } else { "loss" };
        let monitor = train.monitor.clone().unwrap_or_else(|| fallback.into());
        let mut keeper = Keeper::open(self, monitor.clone(), progress, stop)?;
        let fit = Fit {
            device,
            task: &self.prepared.task,
            optimizer: &train.optimizer,
            schedule: &train.schedule,
            epochs: train.epochs,
            accumulate: train.accumulate,
            seed: train.seed,
        };
        let done = keeper.stopped_early(&self.position);
        if !done
            && fit.run(&*training, validation.as_deref(), &mut self.state, &mut self.position, &mut keeper)?
                == Flow::Stop
        {
            let (epoch, step) = (self.position.epoch + 1, self.position.step);
            return Ok(Outcome::Interrupted { epoch, step });
        }
        let history = keeper.history.records().to_vec();
        let best = self.dir.join("checkpoints/best.ckpt");
        if train.keep == Keep::Best && best.exists() {
            let checkpoint = load_checkpoint::<Meta>(&best)?;
            for (name, tensor) in checkpoint.state.iter() {
                self.state.insert(name, tensor.clone());
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let report = self.finish(device, history, &monitor, seconds)?;
        Ok(Outcome::Finished { report })
    }

    /// Measures the model and writes it with its card, and the report.
    fn finish(
        &mut self,
        device: &dyn Device,
        history: Vec<EpochRecord>,
        monitor: &str,
        seconds: f64,
    ) -> Result<Option<Report>> {
        let part_name = match self.prepared.data.counts() {
            [_, _, test] if test > 0 => "the test data",
            [_, validation, _] if validation > 0 => "the validation data",
            _ => "nothing",
        };
        let trained = SavedModel::new(&self.prepared.task, &self.state);
        let (tested, mut state) = (trained.task(), trained.state);
        let (measured, mistakes) = self.measure(device, &tested, &mut state)?;
        let report = measured.as_ref().and_then(|m| m.report.clone());
        let task = &self.prepared.task;
        let labels = self.prepared.data.labels();
        let name = self.dir.file_name().map_or("model".into(), |n| n.to_string_lossy().into_owned());
        let data = self.data_facts();
        let facts = vec![
            ("Brisk".to_string(), env!("CARGO_PKG_VERSION").to_string()),
            ("Device".into(), device.describe()),
            ("Seed".into(), self.project.train.seed.to_string()),
            (
                "Training time".into(),
                format!("{seconds:.1} s{}", if self.resumed { " since it was resumed" } else { "" }),
            ),
            ("Parameters".into(), parameters(task)?.to_string()),
        ];
        let card = ModelCard {
            name: name.clone(),
            task: self.task_name().into(),
            architecture: task.model.summary()?,
            data: data.clone(),
            training: vec![
                ("Epochs".into(), self.position.epoch.to_string()),
                ("Batch size".into(), self.project.train.batch_size.to_string()),
                ("Optimizer".into(), self.project.train.optimizer.name().into()),
                ("Loss".into(), self.project.train.loss.name().into()),
            ],
            evaluated_on: part_name.into(),
            evaluation: report.clone(),
            preprocessing: self.preparation(),
            labels: labels.clone(),
            usage: match &self.prepared.data {
                PreparedData::Images(_) => format!("brisk predict {} picture.png", self.dir.display()),
                PreparedData::Table(_) => format!("brisk predict {} \"a text\"", self.dir.display()),
            },
            ..ModelCard::default()
        };
        let mut saved = SavedModel { labels, card: card.to_markdown(), ..SavedModel::new(&tested, &state) };
        match &self.prepared.data {
            PreparedData::Images(images) => {
                saved.preprocessing = serde_json::to_value(&images.preprocessing).unwrap_or_default();
            }
            PreparedData::Table(table) => table.write_into(&mut saved)?,
        }
        let folder = self.dir.join("model");
        save_model(&folder, &saved)?;
        if let Some(measured) = &measured {
            let text = match &measured.report {
                Some(report) => serde_json::to_string_pretty(report),
                None => {
                    serde_json::to_string_pretty(&measured.values.iter().cloned().collect::<IndexMap<_, _>>())
                }
            };
            let text = text.unwrap_or_default();
            write_text(&self.dir.join("evaluation.json"), &text)?;
        }
        let tested = self.prepared.data.counts()[2] > 0;
        RunMetrics::new(&folder, self.kept_epoch(), &history, measured.as_ref(), tested)?.write(&self.dir)?;
        let page = RunReport {
            title: name,
            config_yaml: self.project.to_yaml()?,
            history,
            monitor: monitor.into(),
            evaluation: report.clone(),
            mistakes,
            data,
            facts,
            ..RunReport::default()
        };
        write_text(&self.dir.join("report.html"), &page.to_html())?;
        Ok(report)
    }

    /// The epoch whose weights are the model.
    fn kept_epoch(&self) -> usize {
        let best = self.position.best.filter(|_| self.project.train.keep == Keep::Best);
        best.map_or(self.position.epoch, |b| b.1)
    }

    /// On the test data, or the validation data if there are none.
    fn measure(
        &self,
        device: &dyn Device,
        task: &Task,
        state: &mut State,
    ) -> Result<(Option<Measured>, Vec<Mistake>)> {
        match &self.prepared.data {
            PreparedData::Images(images) => {
                let Some(part) = images.splits.test.as_ref().or(images.splits.validation.as_ref()) else {
                    return Ok((None, Vec::new()));
                };
                let (report, mistakes) = evaluate(device, task, part, state, MISTAKES)?;
                let values = vec![("loss".into(), report.loss), ("accuracy".into(), report.accuracy)];
                Ok((Some(Measured { values, report: Some(report), outputs: Vec::new() }), mistakes))
            }
            PreparedData::Table(table) => {
                let Some(rows) = table.set.test.as_ref().or(table.set.validation.as_ref()) else {
                    return Ok((None, Vec::new()));
                };
                let loader = table.loader(rows, &self.project, false)?;
                let measured = evaluate_table(device, task, &table.features, &*loader, state)?;
                Ok((Some(measured), Vec::new()))
            }
        }
    }

    fn task_name(&self) -> &'static str {
        match &self.prepared.data {
            PreparedData::Images(_) => "image-classification",
            PreparedData::Table(table) => match table.features.targets.values().collect::<Vec<_>>()[..] {
                [Target::Tags { .. }] => "token-classification",
                [Target::Category { .. } | Target::Labels { .. }]
                    if table.features.texts().next().is_some() =>
                {
                    "text-classification"
                }
                [Target::Category { .. }] => "tabular-classification",
                [Target::Number { .. }] => "tabular-regression",
                [] => "sentence-similarity",
                _ => "other",
            },
        }
    }

    /// What happens to inputs first, a sentence each.
    fn preparation(&self) -> Vec<String> {
        match &self.prepared.data {
            PreparedData::Images(images) => {
                let (image, scaling) = (images.preprocessing.image, scaling(&images.preprocessing));
                vec![
                    format!(
                        "resized to {}x{} pixels, {} channels",
                        image.height, image.width, image.channels
                    ),
                    format!("pixel * {} - {:?}, divided by {:?}", scaling.scale, scaling.mean, scaling.std),
                ]
            }
            PreparedData::Table(table) => {
                let text = |(name, t): (&str, &brisk_data::TextFeature)| {
                    let count = t.tokenizer().map_or(0, |t| t.size());
                    format!("{name}: cut into tokens of {count} kinds, at most {} of a text", t.max_length)
                };
                table.features.texts().map(text).collect()
            }
        }
    }

    fn data_facts(&self) -> Vec<(String, String)> {
        let data = &self.prepared.data;
        let [train, validation, test] = data.counts();
        let mut facts = vec![("Source".to_string(), self.project.source_name())];
        match data {
            PreparedData::Images(images) => {
                let image = images.preprocessing.image;
                let size = format!("{}x{}, {} channels", image.height, image.width, image.channels);
                facts.push(("Images".into(), size));
            }
            PreparedData::Table(table) => {
                let inputs: Vec<_> = table.features.inputs.keys().map(String::as_str).collect();
                facts.push(("Inputs".into(), inputs.join(", ")));
                if table.duplicates > 0 {
                    facts.push(("Duplicates left out".into(), table.duplicates.to_string()));
                }
            }
        }
        if let n @ 1.. = data.labels().len() {
            facts.push(("Classes".into(), n.to_string()));
        }
        facts.push(("Training samples".into(), train.to_string()));
        for (name, count) in [("Validation samples", validation), ("Test samples", test)] {
            if count > 0 {
                facts.push((name.into(), count.to_string()));
            }
        }
        facts
    }
}

/// Loss, metrics and confusion of a model on data, and its worst mistakes.
pub fn evaluate(
    device: &dyn Device,
    task: &Task,
    part: &Part,
    state: &mut State,
    mistakes: usize,
) -> Result<(Report, Vec<Mistake>)> {
    let options = LoaderOptions { batch_size: EVALUATION_BATCH, shuffle: false, ..LoaderOptions::default() };
    let loader = Loader::new(part.clone(), options)?;
    let classes = part.classes();
    let mut metrics = Classification::new(classes.len()).with_labels(classes.iter().cloned());
    let mut wrong: Vec<(f32, u32, usize, usize)> = Vec::new();
    let measured = Evaluator::new(device, task).run(&loader, state, |batch, said| {
        let (Some(labels), [said]) = (batch.get(Y), said) else { return Ok(()) };
        let labels: Vec<u32> = labels.i32s()?.iter().map(|&l| l.max(0) as u32).collect();
        let said = said.f32s()?;
        metrics.update(said, &labels)?;
        let width = said.len() / labels.len().max(1);
        for ((row, &label), &index) in said.chunks(width.max(1)).zip(&labels).zip(&batch.indices) {
            let (predicted, sure) = match row {
                [one] => (usize::from(*one > 0.5), if *one > 0.5 { *one } else { 1.0 - one }),
                _ => {
                    let best = brisk_eval::metrics::argmax(row);
                    (best, row[best])
                }
            };
            if predicted != label as usize {
                wrong.push((sure, index, label as usize, predicted));
            }
        }
        Ok(())
    })?;
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let image = part.image_spec();
    let mistakes = wrong.iter().take(mistakes).map(|&(probability, index, truth, predicted)| {
        Ok(Mistake {
            image: part.image(index as usize)?,
            h: image.height,
            w: image.width,
            c: image.channels,
            truth: classes[truth].clone(),
            predicted: classes[predicted].clone(),
            probability,
        })
    });
    let mistakes = mistakes.collect::<Result<Vec<_>>>()?;
    let mut report = metrics.report();
    // The loss that the model was trained with, smoothing and weights included.
    if let Some((_, loss)) = measured.iter().find(|m| m.0 == "loss") {
        report.loss = *loss;
    }
    Ok((report, mistakes))
}

fn parameters(task: &Task) -> Result<usize> {
    Ok(task.model.param_specs()?.iter().map(|p| p.shape.elements()).sum())
}

/// The tensors of a training state that are the task's: all but the optimizer's.
fn own_state(task: &Task, state: &State) -> Result<State> {
    let names = task.param_specs()?.into_iter().map(|p| p.name);
    Ok(names.filter_map(|name| state.get(&name).cloned().map(|tensor| (name, tensor))).collect())
}

/// A checkpoint must hold what the project's model needs.
fn check_state(path: &Path, expected: &State, found: &State) -> Result<()> {
    for (name, tensor) in expected.iter() {
        let fits = found.get(name).is_some_and(|t| t.shape() == tensor.shape());
        if !fits {
            let what = found.get(name).map_or("nothing".to_string(), |t| t.shape().to_string());
            let message = format!(
                "{name}: the project's model expects {}, the checkpoint has {what}; was config.yaml changed?",
                tensor.shape()
            );
            return Err(Error::Run { path: path.into(), message });
        }
    }
    Ok(())
}

/// Keeps everything about a training: progress on the screen, history, events, checkpoints.
struct Keeper<'a> {
    dir: PathBuf,
    task: Task,
    monitor: String,
    stopping: Option<crate::EarlyStopping>,
    checkpoint_steps: Option<u64>,
    history: History,
    events: EventWriter,
    progress: Progress,
    began: Instant,
    stop: &'a AtomicBool,
}

impl<'a> Keeper<'a> {
    fn open(run: &Run, monitor: String, progress: Progress, stop: &'a AtomicBool) -> Result<Keeper<'a>> {
        let dir = run.dir.clone();
        let path = dir.join("history.csv");
        let mut history = History::open(&path).map_err(Error::io(&path))?;
        history.truncate(run.position.epoch).map_err(Error::io(&path))?;
        let events = match run.resumed {
            true => EventWriter::resume(&dir, run.position.total as i64 + 1),
            false => EventWriter::create(&dir),
        };
        Ok(Keeper {
            events: events.map_err(Error::io(&dir))?,
            dir,
            task: run.prepared.task.clone(),
            monitor,
            stopping: run.project.train.early_stopping.clone(),
            checkpoint_steps: run.project.train.checkpoint_steps,
            history,
            progress,
            began: Instant::now(),
            stop,
        })
    }

    fn save(&self, at: &Position, state: &State) -> Result<()> {
        Ok(save_checkpoint(&self.dir.join("checkpoints/last.ckpt"), &Meta { position: at.clone() }, state)?)
    }

    fn stopped_early(&self, at: &Position) -> bool {
        self.stopping.as_ref().is_some_and(|s| at.waited >= s.patience && at.epoch > 0 && at.step == 0)
    }
}

/// Losses and errors should fall, everything else should rise.
fn better(monitor: &str, value: f64, best: f64, by: f64) -> bool {
    match monitor.ends_with("loss") || monitor.ends_with("error") {
        true => value < best - by,
        false => value > best + by,
    }
}

/// As Keras shows them: accuracies before losses.
fn shown<'v>(values: impl Iterator<Item = (&'v str, f64)>) -> Vec<(&'v str, f64)> {
    let mut all: Vec<_> = values.filter(|v| v.0 != "learning_rate").collect();
    all.sort_by_key(|v| (v.0.starts_with("val_"), v.0.ends_with("loss")));
    all
}

impl Hooks for Keeper<'_> {
    fn on_begin(&mut self, epoch: usize, steps: usize) {
        self.began = Instant::now();
        self.progress.epoch(epoch, steps);
    }

    fn on_step(&mut self, at: &Position, values: &[(&str, f64)], state: &State) -> Result<Flow> {
        self.progress.step(at.step, &shown(values.iter().copied()));
        if self.stop.load(Relaxed) {
            self.save(at, state)?;
            self.progress.println("");
            return Ok(Flow::Stop);
        }
        if self.checkpoint_steps.is_some_and(|every| every > 0 && at.total.is_multiple_of(every)) {
            self.save(at, state)?;
        }
        Ok(Flow::Continue)
    }

    fn on_epoch(&mut self, at: &mut Position, values: &[(String, f64)], state: &State) -> Result<Flow> {
        self.progress.finish(&shown(values.iter().map(|(n, v)| (n.as_str(), *v))));
        let value = |name: &str| values.iter().find(|v| v.0 == name).map(|v| v.1);
        let monitored = value(&self.monitor).ok_or_else(|| unknown_monitor(&self.monitor, values))?;
        let improved = at.best.is_none_or(|(best, _)| better(&self.monitor, monitored, best, 0.0));
        if improved {
            at.best = Some((monitored, at.epoch));
        }
        if let Some(stopping) = &self.stopping {
            let watched =
                value(&stopping.monitor).ok_or_else(|| unknown_monitor(&stopping.monitor, values))?;
            match at.stopping_best.is_none_or(|b| better(&stopping.monitor, watched, b, stopping.min_delta)) {
                true => (at.stopping_best, at.waited) = (Some(watched), 0),
                false => at.waited += 1,
            }
        }
        if improved {
            let kept = own_state(&self.task, state)?;
            save_checkpoint(&self.dir.join("checkpoints/best.ckpt"), &Meta { position: at.clone() }, &kept)?;
        }
        // Before the checkpoint: an epoch too much is dropped when the run is resumed, one too few would be lost.
        let mut record = EpochRecord::new(at.epoch);
        values.iter().for_each(|(name, v)| record.set(name, *v));
        record.set("seconds", self.began.elapsed().as_secs_f64());
        let path = self.history.path().to_path_buf();
        self.history.push(record).map_err(Error::io(path))?;
        let scalars: Vec<_> = values.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let step = at.total as i64;
        self.events
            .scalars(step, &scalars)
            .and_then(|()| self.events.flush())
            .map_err(Error::io(&self.dir))?;
        self.save(at, state)?;
        if self.stopped_early(at) {
            let (epoch, name) = (at.epoch, &self.monitor);
            let best = at.best.map_or(epoch, |b| b.1);
            self.progress
                .println(&format!("Epoch {epoch}: early stopping; the best {name} was in epoch {best}."));
            return Ok(Flow::Stop);
        }
        Ok(Flow::Continue)
    }
}

fn unknown_monitor(name: &str, values: &[(String, f64)]) -> Error {
    let known: Vec<&str> = values.iter().map(|v| v.0.as_str()).collect();
    let near = brisk_nn::config::closest(name, known.iter().copied());
    let hint = near.map_or(format!("known are {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
    Error::Project {
        place: "train".into(),
        message: format!("monitor: nothing called `{name}` is measured; {hint}"),
    }
}

/// A folder for a new run: `runs/NAME`, or `runs/NAME-2` and so on if that is taken.
pub fn new_run_dir(name: &str) -> PathBuf {
    let runs = Path::new("runs");
    let numbered = (2..10_000).map(|n| runs.join(format!("{name}-{n}")));
    let mut all = std::iter::once(runs.join(name)).chain(numbered);
    let stamp = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    all.find(|d| !d.exists()).unwrap_or_else(|| runs.join(format!("{name}-{}", stamp())))
}
