//! Name → reader.

use std::path::{Path, PathBuf};

use crate::{
    DataError, DatasetConfig, ImageSet, Splits, Vocabulary, cifar, cifar_jpeg, digits, idx, image_folder,
    known::{by_name, nearest},
    locate::roots,
    optdigits,
    resize::resize,
    seeded::{Purpose, stratified, stream},
    text,
};

/// Read the data set a config names.
///
/// Files are looked for below `data_dir`, then the config's `dir`, then `HETRAIN_DATA`, then
/// [`cache_dir`](crate::cache_dir). `seed` decides the split of `digits` and what a limit keeps.
///
/// # Errors
/// [`DataError`] when the name or a setting is unknown or unusable, or files are missing or damaged.
pub fn load(config: &DatasetConfig, data_dir: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
    load_from(config, &roots(data_dir, config.dir.as_deref()), seed, None)
}

/// Read the text a config names in a given vocabulary, as [`load`] reads it in one of its own.
///
/// # Errors
/// As [`load`]; a character that the vocabulary lacks.
pub fn load_in(
    vocabulary: &Vocabulary,
    config: &DatasetConfig,
    data_dir: Option<&Path>,
    seed: u64,
) -> Result<Splits, DataError> {
    load_from(config, &roots(data_dir, config.dir.as_deref()), seed, Some(vocabulary))
}

fn load_from(
    config: &DatasetConfig,
    roots: &[PathBuf],
    seed: u64,
    vocabulary: Option<&Vocabulary>,
) -> Result<Splits, DataError> {
    let Some(set) = by_name(&config.name) else {
        return Err(DataError::UnknownDataset { name: config.name.clone(), nearest: nearest(&config.name) });
    };
    config.check()?;
    let mut splits = match set.name {
        "digits" => digits::load(seed)?,
        "optdigits" => optdigits::load(set, roots)?,
        "cifar10" => cifar::load(set, roots)?,
        "cifar10-jpeg" => cifar_jpeg::load(set, roots)?,
        "cifar10-mixed" => cifar_jpeg::load_mixed(set, roots)?,
        "text" | "tinyshakespeare" | "wikitext-2" => text::load(set, config, roots, vocabulary)?,
        "covid-ct" | "covid-xray" | "image-folder" => image_folder::load(set, config, roots)?,
        _ => idx::load(set, config, roots)?,
    };
    // Before images grow: what is left out needs no memory.
    limit(&mut splits.train, config.train_limit, seed, 0);
    limit(&mut splits.test, config.test_limit, seed, 1);
    // Image folders do this while they read: their images may differ in size.
    if !config.is_folder() && (config.size.is_some() || config.channels.is_some()) {
        let parts = [&mut splits.train, &mut splits.test].into_iter().chain(&mut splits.validation);
        for part in parts {
            *part = resize(part, config.size, config.channels)?;
        }
    }
    Ok(splits)
}

/// Keep at most `count` samples, in their order: each class in proportion, or the first ones if they overlap, whose text stays whole.
fn limit(set: &mut ImageSet, count: Option<usize>, seed: u64, part: u64) {
    if let Some(count) = count
        && count < set.len()
    {
        if set.step > 0 {
            let first = set.subset(&(0..count).collect::<Vec<_>>());
            *set = ImageSet { step: set.step, ..first };
            return;
        }
        *set = set.subset(&stratified(&set.last_labels(), count, stream(Purpose::Limit, seed, 0, part)).0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let error = load_from(&DatasetConfig::named("fashion_mnist"), &[], 0, None).unwrap_err().to_string();
        assert!(
            error.contains("`fashion_mnist`") && error.contains("did you mean `fashion-mnist`?"),
            "{error}"
        );
        assert!(error.contains("digits, optdigits, mnist"), "{error}");
    }

    #[test]
    fn every_set_but_the_embedded_one_says_what_is_missing() {
        let tmp = tempfile::tempdir().unwrap();
        for set in known().iter().filter(|k| k.name != "digits") {
            let error =
                load_from(&DatasetConfig::named(set.name), &[tmp.path().into()], 0, None).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, DataError::Missing { .. }), "{}: {text}", set.name);
            assert!(
                text.contains(&tmp.path().display().to_string()) && text.contains("\n  help: "),
                "{text}"
            );
        }
    }

    #[test]
    fn limits_keep_classes_in_proportion_and_depend_on_the_seed() {
        let config = DatasetConfig {
            train_limit: Some(100),
            test_limit: Some(9999),
            ..DatasetConfig::named("digits")
        };
        let splits = load_from(&config, &[], 3, None).unwrap();
        assert_eq!((splits.train.len(), splits.test.len()), (100, 360));
        assert!(splits.train.class_counts().iter().all(|c| (9..=11).contains(c)));
        assert_ne!(splits.train.digest(), load_from(&config, &[], 4, None).unwrap().train.digest());
    }

    #[test]
    fn images_get_the_size_and_the_colours_asked_for() {
        let at = |size, channels| DatasetConfig { size, channels, ..DatasetConfig::named("digits") };
        let splits = load_from(&at(Some([16, 16]), Some(3)), &[], 0, None).unwrap();
        let small = load_from(&at(None, None), &[], 0, None).unwrap();
        assert_eq!(splits.test.shape, [3, 16, 16]);
        splits.test.check().unwrap();
        let mean = |pixels: &[u8]| pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64;
        for i in 0..small.test.len() {
            let (large, small) = (splits.test.pixels_of(i).unwrap(), small.test.pixels_of(i).unwrap());
            let (red, blue) = (&large[..256], &large[512..]);
            assert!(red == blue && (mean(red) - mean(&small)).abs() < 1.0, "{i}");
        }
        assert_eq!(splits.test.labels, small.test.labels);
    }

    #[test]
    fn what_a_limit_keeps_of_overlapping_windows_still_overlaps() {
        let text: Vec<u16> = (0..100).collect();
        let mut set = text::windows(&text, 8, 4, 100);
        limit(&mut set, Some(5), 0, 0);
        assert_eq!((set.len(), set.tokens_of(4)), (5, Some(&text[16..24])));
        assert_eq!(set.shifted(1, 3).map(|(tokens, _)| tokens), Some(text[7..15].to_vec()));
        let mut apart = text::windows(&text, 8, 8, 100);
        limit(&mut apart, Some(5), 0, 0);
        assert_eq!((apart.len(), apart.shifted(0, 0)), (5, None));
    }
}
