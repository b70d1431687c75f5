//! Stored integers → numbers a network likes: `x = (pixel / white − mean) / std`.

use serde::{Deserialize, Serialize};

use crate::{DataError, ImageSet, config::setting};

/// Mean and standard deviation per channel, in units where `white` is 1.
///
/// One value stands for all channels. An affine map, so export can fold it into the first layer.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// Subtracted first; one value, or one per channel.
    pub mean: Vec<f32>,
    /// Divided by second; one value, or one per channel, each above 0.
    pub std: Vec<f32>,
}

impl Default for Normalise {
    /// Mean 0 and deviation 1: pixels become 0 to 1.
    fn default() -> Self {
        Self { mean: vec![0.0], std: vec![1.0] }
    }
}

impl Normalise {
    /// Measure a set, one value per channel. A channel that never varies keeps deviation 1; an empty
    /// set gives mean 0 and deviation 1.
    ///
    /// Sums are of integers, so the result does not depend on the order of the samples.
    pub fn measure(set: &ImageSet) -> Self {
        let [channels, height, width] = set.shape;
        let mut sums = vec![(0u128, 0u128); channels];
        if height * width > 0 && channels > 0 {
            for image in (0..set.len()).filter_map(|i| set.pixels_of(i)) {
                for (plane, total) in image.chunks_exact(height * width).zip(&mut sums) {
                    let (mut sum, mut squares) = (0u64, 0u64);
                    for &p in plane {
                        sum += u64::from(p);
                        squares += u64::from(p) * u64::from(p);
                    }
                    total.0 += u128::from(sum);
                    total.1 += u128::from(squares);
                }
            }
        }
        let count = (set.len() * height * width).max(1) as f64;
        let white = f64::from(set.white);
        let measured = sums.iter().map(|&(sum, squares)| {
            let mean = sum as f64 / count;
            let variance = (squares as f64 / count - mean * mean).max(0.0);
            let std = variance.sqrt() / white;
            ((mean / white) as f32, if std > 1e-6 { std as f32 } else { 1.0 })
        });
        let (mean, std) = measured.unzip();
        Self { mean, std }
    }

    /// Mean and deviation of each of `channels` channels.
    ///
    /// # Errors
    /// [`DataError::Setting`] when there is neither one value nor one per channel, or a value is not
    /// finite, or a deviation not above 0.
    pub fn per_channel(&self, channels: usize) -> Result<Vec<(f32, f32)>, DataError> {
        let spread = |key, values: &[f32], good: fn(f32) -> bool, rule: &str| {
            let fits = values.len() == 1 || values.len() == channels;
            if !fits || !values.iter().all(|&v| good(v)) {
                return setting(key, format!("1 or {channels} numbers, {rule}"), format!("{values:?}"));
            }
            Ok(values.iter().copied().cycle().take(channels).collect::<Vec<f32>>())
        };
        let mean = spread("normalise.mean", &self.mean, f32::is_finite, "finite")?;
        let std = spread("normalise.std", &self.std, |v| v.is_finite() && v > 0.0, "above 0")?;
        Ok(mean.into_iter().zip(std).collect())
    }

    /// The value of each of the 256 stored values, channel by channel.
    pub(crate) fn tables(&self, channels: usize, white: f32) -> Result<Vec<[f32; 256]>, DataError> {
        let value = |mean: f32, std: f32| {
            let mut table = [0.0; 256];
            table.iter_mut().enumerate().for_each(|(p, x)| *x = (p as f32 / white - mean) / std);
            table
        };
        Ok(self.per_channel(channels)?.into_iter().map(|(mean, std)| value(mean, std)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(shape: [usize; 3], pixels: Vec<u8>, count: usize) -> ImageSet {
        ImageSet { shape, classes: 2, white: 10.0, pixels, tokens: vec![], step: 0, labels: vec![0; count] }
    }

    #[test]
    fn statistics_are_per_channel() {
        let two = set([2, 1, 2], vec![0, 10, 5, 5, 10, 0, 5, 5], 2);
        assert_eq!(Normalise::measure(&two), Normalise { mean: vec![0.5, 0.5], std: vec![0.5, 1.0] });
        assert_eq!(Normalise::measure(&set([1, 1, 1], vec![], 0)), Normalise::default());
    }

    #[test]
    fn tables_follow_the_formula() {
        let tables = Normalise { mean: vec![0.5], std: vec![0.25, 0.5] }.tables(2, 16.0).unwrap();
        assert_eq!((tables[0][16], tables[1][16], tables[0][0]), (2.0, 1.0, -2.0));
    }

    #[test]
    fn wrong_counts_and_values_are_refused() {
        let n = |mean: &[f32], std: &[f32]| Normalise { mean: mean.into(), std: std.into() };
        for bad in [n(&[0.0; 2], &[1.0]), n(&[0.0], &[0.0]), n(&[f32::NAN], &[1.0]), n(&[], &[1.0])] {
            assert!(matches!(bad.per_channel(3), Err(DataError::Setting { .. })), "{bad:?}");
        }
    }
}
