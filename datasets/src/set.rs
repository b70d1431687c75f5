//! Images and labels as the source stores them, before any arithmetic.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::{DataError, Vocabulary};

/// Pixels and labels of one part of a data set, as stored in the source.
///
/// # Shapes
/// - `pixels`: `[count, channels, height, width]`, row-major
/// - `tokens`: `[count, height]`
/// - `labels`: `[count]`, or `[count, height]` where every position has one (text)
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSet {
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes; every label is below it.
    pub classes: usize,
    /// The stored value that becomes 1.0: 255 for bytes, 16 for the 8×8 digits.
    pub white: f32,
    /// All pixels; none of a text.
    pub pixels: Vec<u8>,
    /// Of a text, what stands at each position: the channel whose pixel is 1 there, and all others are 0. Pixels of large
    /// vocabularies would take thousands of times the memory.
    pub tokens: Vec<u16>,
    /// Of a text cut into windows that overlap, in their order: how many tokens each begins after the one before. Otherwise 0.
    pub step: usize,
    /// Class numbers, one per image or one per position.
    pub labels: Vec<u16>,
}

/// The parts of one data set.
#[derive(Clone, Debug)]
pub struct Splits {
    /// Name of the data set, as in [`known`](crate::known).
    pub name: String,
    /// Samples to learn from.
    pub train: ImageSet,
    /// Samples to report on.
    pub test: ImageSet,
    /// Samples to choose by, where the source has such a part; otherwise see
    /// [`validation_split`](crate::validation_split).
    pub validation: Option<ImageSet>,
    /// One name per class, in label order.
    pub class_names: Vec<String>,
    /// Of a text, what its tokens stand for.
    pub vocabulary: Option<Vocabulary>,
}

impl ImageSet {
    /// Number of images.
    pub fn len(&self) -> usize {
        match self.tokens.len() {
            0 => self.pixels.len() / self.sample_len().max(1),
            tokens => tokens / self.shape[1].max(1),
        }
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels of an image: 1, or one for each position.
    pub fn targets(&self) -> usize {
        self.labels.len() / self.len().max(1)
    }

    /// Values of one image: channels × height × width.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Pixels of image `i`, or `None` past the end.
    pub fn pixels_of(&self, i: usize) -> Option<Cow<'_, [u8]>> {
        if self.tokens.is_empty() {
            return part(&self.pixels, i, self.sample_len()).map(Cow::Borrowed);
        }
        Some(Cow::Owned(self.one_hot(self.tokens_of(i)?)))
    }

    /// The pixels of these tokens.
    pub(crate) fn one_hot(&self, tokens: &[u16]) -> Vec<u8> {
        let mut pixels = vec![0; self.sample_len()];
        for (position, &token) in tokens.iter().enumerate() {
            if let Some(pixel) = pixels.get_mut(usize::from(token) * tokens.len() + position) {
                *pixel = 1;
            }
        }
        pixels
    }

    /// Tokens and labels of the window that begins `shift` tokens after sample `i`, from the samples that overlap there; `None` past the
    /// end and where samples do not overlap.
    pub(crate) fn shifted(&self, i: usize, shift: usize) -> Option<(Vec<u16>, Vec<u16>)> {
        let begin = i.checked_mul(self.step)?.checked_add(shift)?;
        let held = |place: usize| {
            let sample = place.checked_div(self.step)?.min(self.len().checked_sub(1)?);
            let position = place - sample * self.step;
            Some((*self.tokens_of(sample)?.get(position)?, *self.labels_of(sample)?.get(position)?))
        };
        (begin..begin.checked_add(self.shape[1])?).map(held).collect()
    }

    /// Tokens of sample `i` of a text, or `None` past the end.
    pub fn tokens_of(&self, i: usize) -> Option<&[u16]> {
        part(&self.tokens, i, self.shape[1])
    }

    /// Labels of image `i`, or `None` past the end.
    pub fn labels_of(&self, i: usize) -> Option<&[u16]> {
        self.labels.chunks_exact(self.targets().max(1)).nth(i)
    }

    /// Class of image `i`, or what follows its last position; `None` past the end.
    pub fn label(&self, i: usize) -> Option<u16> {
        self.labels_of(i)?.last().copied()
    }

    /// [`ImageSet::label`] of all images.
    pub(crate) fn last_labels(&self) -> Vec<u16> {
        (0..self.len()).filter_map(|i| self.label(i)).collect()
    }

    /// Number of images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                *count += 1;
            }
        }
        counts
    }

    /// The images at `indices`, in that order.
    ///
    /// # Panics
    /// If an index is past the end.
    pub fn subset(&self, indices: &[usize]) -> ImageSet {
        let mut chosen = self.like();
        let values = indices.len() * self.sample_len();
        chosen.pixels.reserve_exact(if self.tokens.is_empty() { values } else { 0 });
        for &i in indices {
            assert!(i < self.len(), "sample {i} of {}", self.len());
            chosen.pixels.extend(part(&self.pixels, i, self.sample_len()).unwrap_or_default());
            chosen.tokens.extend(self.tokens_of(i).unwrap_or_default());
            chosen.labels.extend(self.labels_of(i).unwrap_or_default());
        }
        chosen
    }

    /// An empty set of the same kind.
    pub(crate) fn like(&self) -> ImageSet {
        ImageSet {
            shape: self.shape,
            classes: self.classes,
            white: self.white,
            pixels: Vec::new(),
            tokens: Vec::new(),
            step: 0,
            labels: Vec::new(),
        }
    }

    /// SHA-256 over shape, classes, white value, labels (a byte each, of more than 256 classes two) and pixels, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"hetrain image set 1\0");
        for n in self.shape.iter().chain([&self.classes, &self.labels.len()]) {
            hash.update((*n as u64).to_le_bytes());
        }
        hash.update(self.white.to_le_bytes());
        for label in &self.labels {
            let bytes = label.to_le_bytes();
            hash.update(bytes.get(..if self.classes > 256 { 2 } else { 1 }).unwrap_or_default());
        }
        hash.update(&self.pixels);
        if !self.tokens.is_empty() {
            (0..self.len()).filter_map(|i| self.pixels_of(i)).for_each(|pixels| hash.update(pixels));
        }
        hex(&hash.finalize())
    }

    /// Check that the fields agree.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] when counts differ, a label is no class, a token no channel or `white` is not positive.
    pub fn check(&self) -> Result<(), DataError> {
        let images = self.len();
        let counts = [1, self.shape[1]].map(|targets| images.checked_mul(targets));
        let [channels, height, width] = self.shape;
        let text = width == 1 && self.pixels.is_empty() && images * height == self.tokens.len();
        let held = match self.tokens.is_empty() {
            true => images.checked_mul(self.sample_len()) == Some(self.pixels.len()),
            false => text && self.tokens.iter().all(|&t| usize::from(t) < channels),
        };
        let whole = self.sample_len() > 0
            && held
            && counts.contains(&Some(self.labels.len()))
            && self.labels.iter().all(|&l| usize::from(l) < self.classes)
            && self.white > 0.0
            && self.white.is_finite();
        if whole {
            return Ok(());
        }
        Err(DataError::Inconsistent {
            shape: self.shape,
            classes: self.classes,
            pixels: self.pixels.len() + self.tokens.len(),
            labels: self.labels.len(),
        })
    }
}

/// The `i`-th `n` of `values`; `None` past the end.
fn part<T>(values: &[T], i: usize, n: usize) -> Option<&[T]> {
    let start = i.checked_mul(n)?;
    values.get(start..start.checked_add(n)?)
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> ImageSet {
        ImageSet {
            shape: [1, 1, 2],
            classes: 3,
            white: 255.0,
            pixels: vec![1, 2, 3, 4, 5, 6],
            tokens: Vec::new(),
            step: 0,
            labels: vec![0, 2, 1],
        }
    }

    #[test]
    fn a_subset_keeps_order_and_kind() {
        let part = set().subset(&[2, 0]);
        assert_eq!((part.pixels.as_slice(), part.labels.as_slice()), (&[5, 6, 1, 2][..], &[1, 0][..]));
        assert_eq!((part.shape, part.classes), ([1, 1, 2], 3));
        assert_eq!(set().pixels_of(3), None);
        assert_eq!(set().pixels_of(usize::MAX), None);
    }

    #[test]
    fn the_digest_sees_every_field() {
        let base = set().digest();
        assert_eq!(base, set().digest());
        assert_eq!(base.len(), 64);
        let mut others = vec![set(), set(), set(), set(), set()];
        others[0].pixels[5] = 7;
        others[1].labels[0] = 1;
        others[2].classes = 4;
        others[3].shape = [1, 2, 1];
        others[4].white = 16.0;
        for other in others {
            assert_ne!(base, other.digest());
        }
    }

    #[test]
    fn tokens_stand_for_pixels() {
        let pixels = vec![1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0];
        let dense = ImageSet { shape: [3, 2, 1], pixels, labels: vec![1, 2, 0, 1], ..set() };
        let text = ImageSet { pixels: vec![], tokens: vec![0, 1, 2, 1], ..dense.clone() };
        assert!(text.check().is_ok() && (text.len(), text.targets()) == (2, 2));
        assert_eq!(text.pixels_of(1), dense.pixels_of(1));
        assert_eq!((text.pixels_of(2), text.digest()), (None, dense.digest()));
        assert_eq!(text.subset(&[1]).digest(), dense.subset(&[1]).digest());
        assert!(ImageSet { tokens: vec![0, 1, 3, 1], ..text.clone() }.check().is_err());
        assert!(ImageSet { tokens: vec![0, 1, 2], ..text }.check().is_err());
    }

    #[test]
    fn contradicting_fields_are_refused() {
        assert!(set().check().is_ok());
        let label = ImageSet { classes: 2, ..set() };
        let count = ImageSet { labels: vec![0, 1], ..set() };
        let white = ImageSet { white: 0.0, ..set() };
        for bad in [label, count, white] {
            assert!(matches!(bad.check(), Err(DataError::Inconsistent { .. })));
        }
    }

    #[test]
    #[should_panic(expected = "sample 3 of 3")]
    fn a_subset_past_the_end_panics() {
        let _ = set().subset(&[3]);
    }
}
