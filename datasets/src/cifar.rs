//! CIFAR-10, binary version: records of one label byte and 3072 pixel bytes, red, green, blue planes.
//!
//! Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images. The number of records is
//! taken from the length of each file, so reduced files in the same layout are read too.

use std::path::{Path, PathBuf};

use crate::{
    DataError, ImageSet, Splits, file,
    known::Known,
    locate::{Need, find},
};

/// Bytes of one record.
const RECORD: usize = 1 + 3 * 32 * 32;

/// The classes in label order.
pub(crate) const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const BATCHES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

const NEEDS: &[Need] = &[
    Need { label: "data_batch_1.bin to data_batch_5.bin (those there are)", any_of: &BATCHES },
    Need { label: "test_batch.bin", any_of: &["test_batch.bin"] },
];

/// Records of a batch of the original set.
const BATCH: usize = 10_000;

/// Read every training batch there is, in order, and the test batch.
pub(crate) fn load(set: &'static Known, roots: &[PathBuf]) -> Result<Splits, DataError> {
    Ok(load_numbered(set, roots)?.0)
}

/// The same, with each training image's place in the original set.
pub(crate) fn load_numbered(
    set: &'static Known,
    roots: &[PathBuf],
) -> Result<(Splits, Vec<usize>), DataError> {
    let dir = find(set, NEEDS, roots)?;
    let (mut train, mut numbers) = (empty(), Vec::new());
    for (batch, path) in BATCHES.iter().map(|name| dir.join(name)).enumerate().filter(|(_, p)| p.exists()) {
        let before = train.len();
        read_into(&mut train, &path)?;
        numbers.extend((0..train.len() - before).map(|record| batch * BATCH + record));
    }
    let mut test = empty();
    read_into(&mut test, &dir.join("test_batch.bin"))?;
    let class_names = class_names(&dir.join("batches.meta.txt"))?;
    Ok((
        Splits { name: set.name.to_owned(), train, test, validation: None, class_names, vocabulary: None },
        numbers,
    ))
}

/// A set of CIFAR's kind without samples.
pub(crate) fn empty() -> ImageSet {
    ImageSet {
        shape: [3, 32, 32],
        classes: 10,
        white: 255.0,
        pixels: Vec::new(),
        tokens: Vec::new(),
        step: 0,
        labels: Vec::new(),
    }
}

fn read_into(set: &mut ImageSet, path: &Path) -> Result<(), DataError> {
    let bytes = file::bytes(path)?;
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        let (length, record) = (bytes.len() as u64, RECORD as u64);
        return Err(DataError::RecordLength { path: path.to_path_buf(), length, record });
    }
    for (record, bytes) in bytes.chunks_exact(RECORD).enumerate() {
        if let Some((&label, pixels)) = bytes.split_first() {
            if usize::from(label) >= set.classes {
                let (label, classes) = (usize::from(label), set.classes);
                return Err(DataError::Label { path: path.to_path_buf(), record, label, classes });
            }
            set.labels.push(label.into());
            set.pixels.extend_from_slice(pixels);
        }
    }
    Ok(())
}

/// The names in `batches.meta.txt`; without that file, the published ones.
fn class_names(path: &Path) -> Result<Vec<String>, DataError> {
    if !path.exists() {
        return Ok(CLASSES.map(str::to_owned).to_vec());
    }
    let text = file::text(path)?;
    let names: Vec<String> = text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
    if names.len() != CLASSES.len() {
        return Err(DataError::Line {
            path: path.to_path_buf(),
            line: names.len(),
            need: "10 class names, one a line",
            found: format!("{} names", names.len()),
        });
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::known::by_name;

    fn record(label: u8, value: u8) -> Vec<u8> {
        [vec![label], vec![value; 1024], vec![value + 1; 1024], vec![value + 2; 1024]].concat()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("cifar10/cifar-10-batches-bin");
        fs::create_dir_all(&dir).unwrap();
        for (name, bytes) in files {
            fs::write(dir.join(name), bytes).unwrap();
        }
        tmp
    }

    fn read(files: &[(&str, Vec<u8>)]) -> Result<Splits, DataError> {
        load(by_name("cifar10").unwrap(), &[folder(files).path().into()])
    }

    #[test]
    fn every_batch_there_is_is_read_in_order() {
        let splits = read(&[
            ("data_batch_3.bin", record(3, 30)),
            ("data_batch_1.bin", [record(9, 10), record(0, 20)].concat()),
            ("test_batch.bin", record(5, 50)),
        ])
        .unwrap();
        assert_eq!(splits.train.labels, [9, 0, 3]);
        assert_eq!(splits.test.labels, [5]);
        let green = splits.train.pixels_of(2).unwrap()[1024];
        assert_eq!(green, 31);
        assert_eq!(splits.class_names[9], "truck");
        splits.train.check().unwrap();
    }

    #[test]
    fn a_broken_record_is_an_error() {
        let mut bytes = record(1, 1);
        bytes.pop();
        for bad in [bytes, Vec::new()] {
            let error = read(&[("data_batch_1.bin", bad), ("test_batch.bin", record(0, 0))]).unwrap_err();
            assert!(matches!(error, DataError::RecordLength { record: 3073, .. }), "{error}");
        }
    }

    #[test]
    fn labels_and_names_are_checked() {
        let bad = [record(1, 1), record(10, 1)].concat();
        let error = read(&[("data_batch_1.bin", record(0, 0)), ("test_batch.bin", bad)]).unwrap_err();
        assert!(matches!(error, DataError::Label { record: 1, label: 10, classes: 10, .. }), "{error}");
        let names = ("batches.meta.txt", b"a\nb\n".to_vec());
        let error =
            read(&[("data_batch_1.bin", record(0, 0)), ("test_batch.bin", record(0, 0)), names]).unwrap_err();
        assert!(error.to_string().contains("10 class names"), "{error}");
    }

    #[test]
    fn a_missing_test_batch_is_reported() {
        let error = read(&[("data_batch_1.bin", record(0, 0))]).unwrap_err().to_string();
        assert!(error.contains("cifar-10-batches-bin: without test_batch.bin"), "{error}");
    }
}
