use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::known::by_name;

fn idx(dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(body);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with three training images and one test image of 2×3.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(packed: bool) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        let suffix = if packed { ".gz" } else { "" };
        let files = [
            ("train-images-idx3-ubyte", idx(&[3, 2, 3], &(0..18).collect::<Vec<_>>())),
            ("train-labels-idx1-ubyte", idx(&[3], &[1, 0, 9])),
            ("t10k-images-idx3-ubyte", idx(&[1, 2, 3], &[255; 6])),
            ("t10k-labels-idx1-ubyte", idx(&[1], &[4])),
        ];
        for (name, bytes) in files {
            folder.put(&format!("{name}{suffix}"), &if packed { gz(&bytes) } else { bytes });
        }
        folder
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn load(&self, config: DatasetConfig) -> Result<Splits, DataError> {
        load(by_name("idx").unwrap(), &config, &[self.0.path().into()])
    }

    /// The error after replacing one file of a good folder.
    fn error_with(name: &str, bytes: &[u8]) -> DataError {
        let folder = Folder::new(false);
        folder.put(name, bytes);
        folder.load(DatasetConfig::named("idx")).unwrap_err()
    }
}

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

#[test]
fn plain_and_packed_files_read_alike() {
    let plain = Folder::new(false).load(DatasetConfig::named("idx")).unwrap();
    let packed = Folder::new(true).load(DatasetConfig::named("idx")).unwrap();
    assert_eq!(plain.train, packed.train);
    assert_eq!(plain.train.shape, [1, 2, 3]);
    assert_eq!(plain.train.labels, [1, 0, 9]);
    assert_eq!(plain.train.pixels_of(1).as_deref(), Some(&[6, 7, 8, 9, 10, 11][..]));
    assert_eq!((plain.test.len(), plain.test.classes, plain.class_names.len()), (1, 10, 10));
    plain.train.check().unwrap();
}

#[test]
fn names_with_a_dot_are_found() {
    let folder = Folder::new(false);
    let dir = folder.0.path();
    fs::rename(dir.join(IMAGES), dir.join("train-images.idx3-ubyte")).unwrap();
    assert_eq!(folder.load(DatasetConfig::named("idx")).unwrap().train.len(), 3);
}

#[test]
fn more_classes_follow_the_labels_or_the_config() {
    let folder = Folder::new(false);
    folder.put(LABELS, &idx(&[3], &[1, 0, 25]));
    assert_eq!(folder.load(DatasetConfig::named("idx")).unwrap().train.classes, 26);
    let config = DatasetConfig { classes: Some(20), ..DatasetConfig::named("idx") };
    let error = folder.load(config).unwrap_err();
    assert!(matches!(error, DataError::Label { record: 2, label: 25, classes: 20, .. }), "{error}");
}

#[test]
fn swapped_files_have_the_wrong_magic() {
    let error = Folder::error_with(IMAGES, &idx(&[3], &[1, 0, 9]));
    assert!(matches!(error, DataError::Magic { expected: 0x0803, found: 0x0801, .. }));
    let text = error.to_string();
    assert!(text.contains("0x00000803") && text.contains("0x00000801") && text.contains(IMAGES), "{text}");
}

#[test]
fn truncated_files_are_errors() {
    let whole = idx(&[3, 2, 3], &[0; 18]);
    for length in [0, 3, 4, 15, 16, whole.len() - 1] {
        let error = Folder::error_with(IMAGES, &whole[..length]);
        assert!(
            matches!(error, DataError::Truncated { found, .. } if found == length as u64),
            "{length}: {error}"
        );
    }
}

#[test]
fn a_truncated_gzip_is_an_error_even_when_only_its_checksum_is_cut() {
    let packed = gz(&idx(&[3, 2, 3], &[7; 18]));
    for cut in [1, 8, 12] {
        let error = Folder::error_with(IMAGES, &packed[..packed.len() - cut]);
        assert!(matches!(error, DataError::Truncated { .. }), "{cut}: {error}");
    }
}

#[test]
fn a_damaged_gzip_is_an_error() {
    let mut packed = gz(&idx(&[3, 2, 3], &[7; 18]));
    let crc = packed.len() - 8;
    packed[crc] ^= 1;
    assert!(matches!(Folder::error_with(IMAGES, &packed), DataError::Io { .. }));
}

#[test]
fn trailing_bytes_are_errors() {
    let error = Folder::error_with(IMAGES, &idx(&[3, 2, 3], &[0; 19]));
    assert!(matches!(error, DataError::TrailingBytes { need: 34, .. }), "{error}");
}

#[test]
fn a_header_that_lies_takes_no_memory() {
    let error = Folder::error_with(IMAGES, &idx(&[0xffff_ffff, 0x0fff, 0x0fff], &[0; 18]));
    assert!(matches!(error, DataError::Truncated { .. }), "{error}");
    let error = Folder::error_with(IMAGES, &idx(&[u32::MAX; 3], &[0; 18]));
    assert!(matches!(error, DataError::Dimensions { .. }), "{error}");
    let error = Folder::error_with(IMAGES, &idx(&[3, 0, 3], &[]));
    assert!(matches!(error, DataError::Dimensions { .. }), "{error}");
}

#[test]
fn counts_and_shapes_must_agree() {
    let error = Folder::error_with(LABELS, &idx(&[2], &[1, 0]));
    assert!(matches!(error, DataError::Counts { image_count: 3, label_count: 2, .. }), "{error}");
    let error = Folder::error_with("t10k-images-idx3-ubyte", &idx(&[1, 3, 2], &[0; 6]));
    assert!(matches!(error, DataError::Shape { need: [1, 2, 3], found: [1, 3, 2], .. }), "{error}");
}

#[test]
fn a_part_without_samples_is_an_error() {
    let folder = Folder::new(false);
    folder.put("t10k-images-idx3-ubyte", &idx(&[0, 2, 3], &[]));
    folder.put("t10k-labels-idx1-ubyte", &idx(&[0], &[]));
    let error = folder.load(DatasetConfig::named("idx")).unwrap_err();
    assert!(matches!(error, DataError::Empty { part: "test", .. }), "{error}");
}
