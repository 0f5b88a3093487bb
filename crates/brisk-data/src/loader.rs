//! Batches: an order for each epoch, images read and augmented on threads of their own, ahead of their use.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use brisk_graph::Tensor;

use crate::augment::mix_batch;
use crate::rng::{Purpose, Stream};
use crate::{Augmentation, Batch, BatchIter, Batches, Error, Part, Result};

/// Name of the tensor with a batch of images, u8 `[n, height, width, channels]`, unless [`Loader::named`] says otherwise.
pub const IMAGES: &str = "x";
/// Name of the tensor with their classes, i32 `[n]`; with mixup the share of each class, f32 `[n, classes]`.
pub const LABELS: &str = "y";

/// How to make batches.
///
/// ```
/// use brisk_data::LoaderOptions;
/// let options = LoaderOptions { shuffle: false, ..LoaderOptions::default() };
/// assert_eq!((options.batch_size, options.workers), (32, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Samples in a batch.
    pub batch_size: usize,
    /// A new order for each epoch; otherwise the order of the part.
    pub shuffle: bool,
    /// What the order and the augmentation follow from.
    pub seed: u64,
    /// Leave out the last batch if it is smaller than the others.
    pub drop_last: bool,
    /// Threads that read and augment; 0 does it in the thread that takes the batches.
    /// The batches are the same for any number.
    pub workers: usize,
    /// Batches that each worker makes ahead.
    pub prefetch: usize,
    /// Changes of the images.
    pub augmentation: Augmentation,
}

impl Default for LoaderOptions {
    fn default() -> LoaderOptions {
        LoaderOptions {
            batch_size: 32,
            shuffle: true,
            seed: 0,
            drop_last: false,
            workers: 1,
            prefetch: 4,
            augmentation: Augmentation::default(),
        }
    }
}

/// Yields a part in batches, epoch by epoch: the tensors [`IMAGES`] and [`LABELS`].
///
/// ```
/// use brisk_data::{ImageSpec, Loader, LoaderOptions, Memory, Part};
/// let image = ImageSpec { height: 1, width: 1, channels: 1 };
/// let part = Part::new(Memory::new(image, (0..10).collect(), vec![0; 10])?, ["a"], image)?;
/// let loader = Loader::new(part, LoaderOptions { batch_size: 4, ..LoaderOptions::default() })?;
/// assert_eq!(loader.steps(), 3);
/// let batch = loader.epoch(0).next().expect("there are samples")?;
/// assert_eq!(batch.get("x").unwrap().shape().dims(), [4, 1, 1, 1]);
/// assert_eq!(batch.get("y").unwrap().i32s()?, [0; 4]);
/// let all: Vec<_> = loader.epoch(5).collect::<Result<_, _>>()?;
/// // Go on in the middle of an epoch:
/// let rest: Vec<_> = loader.epoch_from(5, 2).collect::<Result<_, _>>()?;
/// assert_eq!(rest, all[2..]);
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader {
    part: Part,
    options: LoaderOptions,
    /// Of images and labels.
    names: [Arc<str>; 2],
}

impl Loader {
    /// A loader over a part. An error if the part is empty or an option makes no sense.
    pub fn new(part: Part, options: LoaderOptions) -> Result<Loader> {
        options.augmentation.validate()?;
        let error = |key: &str, found: usize, expected: String| {
            Err(Error::Config { key: key.into(), found: found.to_string(), expected })
        };
        if part.is_empty() {
            return Err(Error::Empty { place: "part to load".into(), remedy: "Add samples".into() });
        }
        if options.batch_size == 0 {
            return error("batch_size", 0, "at least 1 is needed".into());
        }
        if options.drop_last && options.batch_size > part.len() {
            let expected = format!("there are only {} samples", part.len());
            return error("batch_size", options.batch_size, expected);
        }
        if options.workers > 1024 {
            return error("workers", options.workers, "at most 1024".into());
        }
        Ok(Loader { part, options, names: [IMAGES.into(), LABELS.into()] })
    }

    /// With other names for the tensors of images and labels.
    pub fn named(mut self, images: &str, labels: &str) -> Loader {
        self.names = [images.into(), labels.into()];
        self
    }

    /// The part that it reads.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// Batches in an epoch.
    pub fn steps(&self) -> usize {
        let (n, size) = (self.part.len(), self.options.batch_size);
        if self.options.drop_last { n / size } else { n.div_ceil(size) }
    }

    /// The batches of an epoch.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from a step on.
    pub fn epoch_from(&self, epoch: u64, step: usize) -> Epoch {
        let maker = Arc::new(Maker {
            order: self.order(epoch),
            part: self.part.clone(),
            options: self.options,
            names: self.names.clone(),
            epoch,
            steps: self.steps(),
        });
        Epoch::start(maker, step)
    }

    /// The numbers of the samples in the order of an epoch.
    fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.part.len() as u32).collect();
        if self.options.shuffle {
            Stream::new(self.options.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        }
        order
    }
}

impl Batches for Loader {
    fn samples(&self) -> usize {
        self.part.len()
    }

    fn steps(&self, _: u64) -> usize {
        Loader::steps(self)
    }

    fn epoch_from(&self, epoch: u64, step: usize) -> BatchIter<'_> {
        Box::new(Loader::epoch_from(self, epoch, step))
    }
}

/// Makes any batch of one epoch.
struct Maker {
    part: Part,
    options: LoaderOptions,
    names: [Arc<str>; 2],
    epoch: u64,
    order: Vec<u32>,
    steps: usize,
}

impl Maker {
    fn batch(&self, step: usize) -> Result<Batch> {
        let LoaderOptions { batch_size, seed, augmentation, .. } = self.options;
        let from = step * batch_size;
        let indices = self.order[from..(from + batch_size).min(self.order.len())].to_vec();
        let (n, image) = (indices.len(), self.part.image_spec());
        let augment = !Augmentation { mixup: None, ..augmentation }.is_none();

        let mut pixels = vec![0; n * image.elements()];
        for (&i, out) in indices.iter().zip(pixels.chunks_exact_mut(image.elements())) {
            self.part.read(i as usize, out)?;
            if augment {
                // By the number in the source: a sample is changed alike, whatever the split.
                let sample = self.part.source_index(i as usize) as u64;
                augmentation.apply(out, &image, seed, self.epoch, sample);
            }
        }
        let labels: Vec<i32> = indices.iter().map(|&i| self.part.label(i as usize) as i32).collect();
        let labels = match augmentation.mixup {
            Some(mixup) => {
                let classes = self.part.classes().len();
                let (e, b) = (self.epoch, step as u64);
                let soft = mix_batch(&mut pixels, &labels, classes, &image, &mixup, seed, e, b);
                Tensor::new([n, classes], soft)?
            }
            None => Tensor::new([n], labels)?,
        };
        let images = Tensor::new([n, image.height, image.width, image.channels], pixels)?;
        let [x, y] = &self.names;
        Ok(Batch { tensors: vec![(x.to_string(), images), (y.to_string(), labels)], indices })
    }
}

/// The batches of one epoch, in order; see [`Loader`]. Dropping it stops its threads.
pub struct Epoch {
    maker: Arc<Maker>,
    step: usize,
    /// Worker `w` of `W` makes the batches whose number leaves the remainder `w`, so that the order is kept
    /// and its bounded queue is all the synchronization there is.
    queues: Vec<Receiver<Result<Batch>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Epoch {
    fn start(maker: Arc<Maker>, step: usize) -> Epoch {
        let workers = maker.options.workers.min(maker.steps.saturating_sub(step));
        let mut epoch = Epoch { step, queues: Vec::new(), threads: Vec::new(), maker };
        for w in 0..workers {
            let (send, receive) = sync_channel(epoch.maker.options.prefetch.max(1));
            let maker = epoch.maker.clone();
            // The first batch from `step` on that is this worker's.
            let first = step + (w + workers - step % workers) % workers;
            let work = move || {
                for s in (first..maker.steps).step_by(workers) {
                    if send.send(maker.batch(s)).is_err() {
                        return; // nobody wants more
                    }
                }
            };
            match std::thread::Builder::new().name(format!("brisk-data-{w}")).spawn(work) {
                Ok(thread) => {
                    epoch.queues.push(receive);
                    epoch.threads.push(thread);
                }
                Err(_) => {
                    // No threads to be had: read in the caller's thread instead.
                    epoch.stop();
                    return epoch;
                }
            }
        }
        epoch
    }

    fn stop(&mut self) {
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A panic of a worker has been reported by the missing batch.
            let _ = thread.join();
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let step = self.step;
        if step >= self.maker.steps {
            return None;
        }
        self.step += 1;
        Some(match self.queues.len() {
            0 => self.maker.batch(step),
            workers => self.queues[step % workers].recv().unwrap_or(Err(Error::Worker { batch: step })),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.maker.steps.saturating_sub(self.step);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Epoch {}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cutout, ImageSpec, Memory, Mixup, RandomCrop};

    const IMAGE: ImageSpec = ImageSpec { height: 4, width: 4, channels: 3 };

    fn part(n: usize) -> Part {
        let pixels = (0..n * IMAGE.elements()).map(|i| (i * 7) as u8).collect();
        let labels = (0..n as u32).map(|i| i % 3).collect();
        Part::new(Memory::new(IMAGE, pixels, labels).unwrap(), ["a", "b", "c"], IMAGE).unwrap()
    }

    fn all(options: LoaderOptions, epoch: u64, step: usize) -> Vec<Batch> {
        let loader = Loader::new(part(50), options).unwrap();
        loader.epoch_from(epoch, step).collect::<Result<_>>().unwrap()
    }

    #[test]
    fn the_same_for_any_number_of_workers_and_from_any_step() {
        let augmentation = Augmentation {
            horizontal_flip: true,
            random_crop: Some(RandomCrop { padding: 2 }),
            cutout: Some(Cutout { size: 2 }),
            mixup: Some(Mixup { alpha: 0.4 }),
            ..Augmentation::default()
        };
        let options = LoaderOptions { batch_size: 7, workers: 0, augmentation, ..LoaderOptions::default() };
        let expected = all(options, 3, 0);
        assert_eq!(expected.len(), 8);
        for workers in [1, 2, 3, 5, 16] {
            for step in [0, 1, 5, 7, 8] {
                assert_eq!(
                    all(LoaderOptions { workers, ..options }, 3, step),
                    expected[step..],
                    "{workers} {step}"
                );
            }
        }
        assert_ne!(all(options, 4, 0), expected);
        assert_ne!(all(LoaderOptions { seed: 1, ..options }, 3, 0), expected);
    }

    #[test]
    fn each_sample_once() {
        let mut seen: Vec<u32> =
            all(LoaderOptions::default(), 0, 0).iter().flat_map(|b| b.indices.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        let whole = LoaderOptions { drop_last: true, batch_size: 20, ..LoaderOptions::default() };
        assert_eq!(all(whole, 0, 0).len(), 2);
    }

    #[test]
    fn dropping_early_does_not_hang() {
        let loader =
            Loader::new(part(50), LoaderOptions { batch_size: 1, workers: 3, ..Default::default() }).unwrap();
        let mut epoch = loader.epoch(0);
        assert_eq!(epoch.len(), 50);
        epoch.next().unwrap().unwrap();
    }

    #[test]
    fn a_bad_image_is_an_error_that_names_it_and_a_panic_is_an_error_too() {
        struct Bad(bool);
        impl crate::Source for Bad {
            fn len(&self) -> usize {
                2
            }
            fn label(&self, _: usize) -> u32 {
                0
            }
            fn raw(&self, index: usize) -> Result<crate::Pixels> {
                assert!(!self.0, "as the test wants");
                Err(Error::Image { place: self.name(index), reason: "torn".into() })
            }
            fn name(&self, index: usize) -> String {
                format!("cat{index}.png")
            }
        }
        let message = |panics| {
            let part = Part::new(Bad(panics), ["a"], IMAGE).unwrap();
            let loader = Loader::new(part, LoaderOptions { shuffle: false, ..Default::default() }).unwrap();
            loader.epoch(0).next().unwrap().unwrap_err().to_string()
        };
        assert!(message(false).contains("cat0.png"));
        assert!(message(true).contains("batch 0"));
    }

    #[test]
    fn refuses_nonsense() {
        let error = |n, options| Loader::new(part(n), options).unwrap_err().to_string();
        let options = LoaderOptions::default();
        assert!(error(0, options).contains("no samples"));
        assert!(error(5, LoaderOptions { batch_size: 0, ..options }).contains("batch_size"));
        assert!(error(5, LoaderOptions { drop_last: true, ..options }).contains("only 5 samples"));
    }
}
