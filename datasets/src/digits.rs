//! The digits that come with the program: 1797 real handwritten ones, grey 8×8, values 0 to 16.
//!
//! They are the test part of the UCI set `optdigits`, carried inside the `smartcore` crate, so that a
//! first run needs no download. A fifth of each class (360 in all) is set apart for testing.

use crate::{
    DataError, ImageSet, Splits,
    seeded::{Purpose, stratified, stream},
};

/// Images set apart for testing.
const TEST: usize = 360;

/// Read the embedded digits and split them 1437 to 360; the split depends on `seed` only.
///
/// # Errors
/// [`DataError::Inconsistent`] if the embedded data are not what this reader expects.
pub(crate) fn load(seed: u64) -> Result<Splits, DataError> {
    let stored = smartcore::dataset::digits::load_dataset();
    let all = ImageSet {
        shape: [1, 8, 8],
        classes: 10,
        white: 16.0,
        pixels: stored.data.iter().map(|&v| v as u8).collect(),
        labels: stored.target.iter().map(|&v| v as u16).collect(),
        tokens: Vec::new(),
        step: 0,
    };
    all.check()?;
    let (test, train) = stratified(&all.labels, TEST, stream(Purpose::DigitsSplit, seed, 0, 0));
    Ok(Splits {
        name: "digits".to_owned(),
        train: all.subset(&train),
        test: all.subset(&test),
        validation: None,
        class_names: numerals(10),
        vocabulary: None,
    })
}

/// `"0"`, `"1"`, … as class names.
pub(crate) fn numerals(classes: usize) -> Vec<String> {
    (0..classes).map(|n| n.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_1437_and_360() {
        let splits = load(1).unwrap();
        assert_eq!((splits.train.len(), splits.test.len()), (1437, 360));
        let counts = splits.test.class_counts();
        assert!(counts.iter().all(|c| (34..=38).contains(c)), "{counts:?}");
        let both: Vec<usize> = counts.iter().zip(splits.train.class_counts()).map(|(a, b)| a + b).collect();
        // The counts published with the data (optdigits.names).
        assert_eq!(both, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(splits.train.pixels.iter().max(), Some(&16));
    }

    #[test]
    fn embedded_values_are_whole_numbers() {
        let stored = smartcore::dataset::digits::load_dataset();
        let whole = |v: &f32, top: f32| v.fract() == 0.0 && (0.0..=top).contains(v);
        assert!(stored.data.iter().all(|v| whole(v, 16.0)));
        assert!(stored.target.iter().all(|v| whole(v, 9.0)));
    }

    #[test]
    fn the_split_depends_on_the_seed_only() {
        let (a, b, c) = (load(1).unwrap(), load(1).unwrap(), load(2).unwrap());
        assert_eq!(a.test.digest(), b.test.digest());
        assert_ne!(a.test.digest(), c.test.digest());
    }
}
