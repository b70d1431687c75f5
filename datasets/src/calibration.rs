//! Seeded samples of a set: a part to choose by, and the images on which ranges are measured.

use crate::{
    ImageSet,
    seeded::{Purpose, permutation, stratified, stream},
};

/// Set a fraction of each class apart; returns (rest, chosen), both in their old order.
///
/// The number chosen is `fraction × count`, rounded; the choice depends on `seed` and the labels.
/// Not for sets that hold one photograph several times (`cifar10-mixed`): use the validation part
/// such a set brings along.
///
/// # Panics
/// If `fraction` is not between 0 and 1.
pub fn validation_split(set: &ImageSet, fraction: f64, seed: u64) -> (ImageSet, ImageSet) {
    assert!((0.0..=1.0).contains(&fraction), "validation fraction {fraction}, need 0 to 1");
    let take = (fraction * set.len() as f64).round() as usize;
    let (chosen, rest) = stratified(&set.last_labels(), take, stream(Purpose::Validation, seed, 0, 0));
    (set.subset(&rest), set.subset(&chosen))
}

/// The training samples on which the ranges of activations are measured.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Where the samples stand in the training set, ascending.
    pub indices: Vec<usize>,
    /// The samples.
    pub set: ImageSet,
    /// [`ImageSet::digest`] of the samples, to be kept with what was measured on them.
    pub digest: String,
}

impl Calibration {
    /// Choose `count` samples (all, if there are fewer); the choice depends on `seed` and the size of
    /// the set.
    pub fn sample(set: &ImageSet, count: usize, seed: u64) -> Self {
        let mut indices = permutation(set.len(), stream(Purpose::Calibration, seed, 0, 0));
        indices.truncate(count);
        indices.sort_unstable();
        let set = set.subset(&indices);
        Self { digest: set.digest(), set, indices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(count: usize) -> ImageSet {
        ImageSet {
            shape: [1, 1, 2],
            classes: 3,
            white: 255.0,
            pixels: (0..count).flat_map(|i| [(i / 256) as u8, i as u8]).collect(),
            tokens: vec![],
            step: 0,
            labels: (0..count).map(|i| [0, 0, 1, 0, 2][i % 5]).collect(),
        }
    }

    fn ids(set: &ImageSet) -> Vec<usize> {
        set.pixels.chunks(2).map(|p| usize::from(p[0]) * 256 + usize::from(p[1])).collect()
    }

    #[test]
    fn a_validation_part_is_disjoint_stratified_and_seeded() {
        let all = set(500);
        let (train, validation) = validation_split(&all, 0.1, 1);
        assert_eq!((train.len(), validation.len()), (450, 50));
        assert_eq!(validation.class_counts(), [30, 10, 10]);
        let mut both = [ids(&train), ids(&validation)].concat();
        both.sort_unstable();
        assert_eq!(both, (0..500).collect::<Vec<_>>());
        assert_eq!(validation_split(&all, 0.1, 1).1.digest(), validation.digest());
        assert_ne!(validation_split(&all, 0.1, 2).1.digest(), validation.digest());
        assert_eq!(validation_split(&all, 0.0, 1).1.len(), 0);
        assert_eq!(validation_split(&all, 1.0, 1).0.len(), 0);
    }

    #[test]
    #[should_panic(expected = "validation fraction NaN")]
    fn a_fraction_that_is_none_panics() {
        let _ = validation_split(&set(5), f64::NAN, 1);
    }

    #[test]
    fn calibration_samples_are_distinct_and_digested() {
        let all = set(300);
        let sample = Calibration::sample(&all, 40, 5);
        assert_eq!(sample.indices, ids(&sample.set));
        assert!(sample.indices.is_sorted_by(|a, b| a < b));
        assert_eq!((sample.indices.len(), &sample.digest), (40, &sample.set.digest()));
        assert_eq!(sample.digest, Calibration::sample(&all, 40, 5).digest);
        assert_ne!(sample.digest, Calibration::sample(&all, 40, 6).digest);
        assert_eq!(Calibration::sample(&all, 1000, 5).indices.len(), 300);
    }
}
