//! Images and labels as the source stores them, before any arithmetic.

use sha2::{Digest, Sha256};

use crate::DataError;

/// Pixels and labels of one part of a data set, as stored in the source.
///
/// # Shapes
/// - `pixels`: `[count, channels, height, width]`, row-major
/// - `labels`: `[count]`, or `[count, height]` where every position has one (text)
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSet {
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes; every label is below it.
    pub classes: usize,
    /// The stored value that becomes 1.0: 255 for bytes, 16 for the 8×8 digits.
    pub white: f32,
    /// All pixels.
    pub pixels: Vec<u8>,
    /// Class numbers, one per image or one per position.
    pub labels: Vec<u8>,
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
}

impl ImageSet {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.sample_len().max(1)
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
    pub fn pixels_of(&self, i: usize) -> Option<&[u8]> {
        let n = self.sample_len();
        let start = i.checked_mul(n)?;
        self.pixels.get(start..start.checked_add(n)?)
    }

    /// Labels of image `i`, or `None` past the end.
    pub fn labels_of(&self, i: usize) -> Option<&[u8]> {
        self.labels.chunks_exact(self.targets().max(1)).nth(i)
    }

    /// Class of image `i`, or what follows its last position; `None` past the end.
    pub fn label(&self, i: usize) -> Option<u8> {
        self.labels_of(i)?.last().copied()
    }

    /// [`ImageSet::label`] of all images.
    pub(crate) fn last_labels(&self) -> Vec<u8> {
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
        let mut pixels = Vec::with_capacity(indices.len() * self.sample_len());
        let mut labels = Vec::with_capacity(indices.len());
        for &i in indices {
            let sample = self.pixels_of(i).zip(self.labels_of(i));
            assert!(sample.is_some(), "sample {i} of {}", self.len());
            if let Some((image, own)) = sample {
                pixels.extend_from_slice(image);
                labels.extend_from_slice(own);
            }
        }
        ImageSet { pixels, labels, ..self.like() }
    }

    /// An empty set of the same kind.
    pub(crate) fn like(&self) -> ImageSet {
        ImageSet {
            shape: self.shape,
            classes: self.classes,
            white: self.white,
            pixels: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// SHA-256 over shape, classes, white value, labels and pixels, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"hetrain image set 1\0");
        for n in self.shape.iter().chain([&self.classes, &self.labels.len()]) {
            hash.update((*n as u64).to_le_bytes());
        }
        hash.update(self.white.to_le_bytes());
        hash.update(&self.labels);
        hash.update(&self.pixels);
        hex(&hash.finalize())
    }

    /// Check that the fields agree.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] when counts differ, a label is no class or `white` is not positive.
    pub fn check(&self) -> Result<(), DataError> {
        let images = self.pixels.len().checked_div(self.sample_len()).unwrap_or(0);
        let counts = [1, self.shape[1]].map(|targets| images.checked_mul(targets));
        let whole = self.sample_len() > 0
            && images.checked_mul(self.sample_len()) == Some(self.pixels.len())
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
            pixels: self.pixels.len(),
            labels: self.labels.len(),
        })
    }
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
