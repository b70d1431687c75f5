//! Seeded batches without state: a run resumes from `(epoch, batch)` and nothing else.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Augment, DataError, ImageSet, Normalise,
    config::setting,
    seeded::{Purpose, below, permutation, stream},
};

/// Normalised images with their classes.
///
/// # Shapes
/// - `pixels`: `shape`, that is `[batch, channels, height, width]`, row-major
/// - `labels`: `[batch]`, or `[batch, height]` where every position has one
/// - `indices`: `[batch]`
#[derive(Clone, Debug, PartialEq)]
pub struct ImageBatch {
    /// Batch, channels, height, width.
    pub shape: [usize; 4],
    /// Normalised pixels.
    pub pixels: Vec<f32>,
    /// Classes.
    pub labels: Vec<i64>,
    /// Where each sample stands in its set.
    pub indices: Vec<usize>,
}

impl ImageBatch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// Cuts a set into batches; the order of `epoch` depends on `(seed, epoch)` only, the changes to a
/// sample on `(seed, epoch, sample)` only.
///
/// Every epoch visits each sample once; the last batch is smaller where the count does not divide.
#[derive(Debug)]
pub struct Batcher<'a> {
    set: &'a ImageSet,
    batch: usize,
    /// `None` keeps the order of the set.
    seed: Option<u64>,
    tables: Vec<[f32; 256]>,
    augment: Option<Augment>,
    /// The order used last, for it is asked for once per batch.
    order: Mutex<Option<(u64, Arc<[usize]>)>>,
}

impl<'a> Batcher<'a> {
    /// Shuffled batches of `batch` samples for training.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] for a set that contradicts itself, [`DataError::Setting`] for a
    /// batch of 0, a normalisation of other channels or changes larger than the image.
    pub fn new(
        set: &'a ImageSet,
        batch: usize,
        seed: u64,
        normalise: &Normalise,
        augment: Option<Augment>,
    ) -> Result<Self, DataError> {
        if let Some(augment) = &augment {
            augment.check(set.shape)?;
        }
        let plain = Self::evaluation(set, batch, normalise)?;
        Ok(Self { seed: Some(seed), augment, ..plain })
    }

    /// Batches in the order of the set, unchanged and the same in every epoch.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn evaluation(set: &'a ImageSet, batch: usize, normalise: &Normalise) -> Result<Self, DataError> {
        set.check()?;
        if batch == 0 {
            return setting("batch", "at least 1", 0);
        }
        let tables = normalise.tables(set.shape[0], set.white)?;
        Ok(Self { set, batch, seed: None, tables, augment: None, order: Mutex::new(None) })
    }

    /// Batches per epoch, the smaller last one included.
    pub fn batches(&self) -> usize {
        self.set.len().div_ceil(self.batch)
    }

    /// Batch `index` of `epoch`.
    ///
    /// # Panics
    /// If `index` is not below [`batches`](Self::batches).
    pub fn batch(&self, epoch: u64, index: usize) -> ImageBatch {
        assert!(index < self.batches(), "batch {index} of {}", self.batches());
        let order = self.order(epoch);
        self.gather(epoch, order.chunks(self.batch).nth(index).unwrap_or_default())
    }

    /// All batches of `epoch`, in order.
    pub fn epoch(&self, epoch: u64) -> impl Iterator<Item = ImageBatch> + '_ {
        (0..self.batches()).map(move |index| self.batch(epoch, index))
    }

    /// The samples at `indices` as one batch, as they look in `epoch`.
    ///
    /// # Errors
    /// [`DataError::Sample`] when an index is past the end.
    pub fn samples(&self, epoch: u64, indices: &[usize]) -> Result<ImageBatch, DataError> {
        let len = self.set.len();
        match indices.iter().find(|&&i| i >= len) {
            Some(&index) => Err(DataError::Sample { index, len }),
            None => Ok(self.gather(epoch, indices)),
        }
    }

    fn gather(&self, epoch: u64, indices: &[usize]) -> ImageBatch {
        let [channels, height, width] = self.set.shape;
        let mut pixels = Vec::with_capacity(indices.len() * self.set.sample_len());
        let mut labels = Vec::with_capacity(indices.len());
        for &i in indices {
            let changes = self.augment.as_ref().zip(self.seed);
            let images = changes.filter(|(augment, _)| augment.of_images());
            let draw = images.map(|(augment, seed)| augment.draw(self.set.shape, seed, epoch, i));
            let mut read = self.shifted(epoch, i);
            if let (Some((tokens, _)), Some((augment, seed))) = (&mut read, changes) {
                augment.disturb(tokens, channels, [seed, epoch, i as u64]);
            }
            let (image, targets) = match &read {
                Some((tokens, labels)) => (Cow::Owned(self.set.one_hot(tokens)), labels.as_slice()),
                None => {
                    (self.set.pixels_of(i).unwrap_or_default(), self.set.labels_of(i).unwrap_or_default())
                }
            };
            for (plane, table) in image.chunks_exact(height * width).zip(&self.tables) {
                match &draw {
                    Some(draw) => draw.plane(plane, [height, width], table, &mut pixels),
                    None => {
                        pixels.extend(plane.iter().filter_map(|&p| table.get(usize::from(p)).copied()));
                    }
                }
            }
            labels.extend(targets.iter().copied().map(i64::from));
        }
        ImageBatch {
            shape: [indices.len(), channels, height, width],
            pixels,
            labels,
            indices: indices.to_vec(),
        }
    }

    /// Windows of a text as they are learned from: overlapping ones begin anywhere before the next, in every epoch elsewhere, for at fixed
    /// places a network learns the text by heart.
    fn shifted(&self, epoch: u64, i: usize) -> Option<(Vec<u16>, Vec<u16>)> {
        let shift = below(&mut stream(Purpose::Shift, self.seed?, epoch, i as u64), self.set.step);
        let fixed = || Some((self.set.tokens_of(i)?.to_vec(), self.set.labels_of(i)?.to_vec()));
        self.set.shifted(i, shift).or_else(fixed)
    }

    fn order(&self, epoch: u64) -> Arc<[usize]> {
        let Some(seed) = self.seed else { return self.kept_order(0, || (0..self.set.len()).collect()) };
        self.kept_order(epoch, || permutation(self.set.len(), stream(Purpose::Order, seed, epoch, 0)))
    }

    fn kept_order(&self, epoch: u64, make: impl FnOnce() -> Vec<usize>) -> Arc<[usize]> {
        let mut kept = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((at, order)) if *at == epoch => Arc::clone(order),
            _ => {
                let order: Arc<[usize]> = make().into();
                *kept = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
