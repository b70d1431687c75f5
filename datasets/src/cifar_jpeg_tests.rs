use std::{
    fs::{self, File},
    io::Cursor,
};

use flate2::{Compression, write::GzEncoder};
use image::{ImageFormat, Rgb, RgbImage};

use super::*;

fn jpeg(side: u32, value: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(side, side, Rgb([value, value / 2, 0]))
        .write_to(&mut bytes, ImageFormat::Jpeg)
        .unwrap();
    bytes.into_inner()
}

fn archive(path: &Path, files: &[(&str, Vec<u8>)]) {
    let gz = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

/// Two training and two test images as JPEG; two lossless training images and one lossless test image.
fn folder() -> tempfile::TempDir {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("cifar10");
    let bin = dir.join("cifar-10-batches-bin");
    fs::create_dir_all(&bin).unwrap();
    archive(
        &dir.join("jpeg-train.tar.gz"),
        &[("train/a/0.jpg", jpeg(32, 100)), ("train/b/0.jpg", jpeg(32, 200))],
    );
    fs::write(dir.join("jpeg-train.txt"), "train/b/0.jpg 9 0\ntrain/a/0.jpg 1 1\n").unwrap();
    archive(&dir.join("jpeg-test.tar.gz"), &[("test/a/0.jpg", jpeg(32, 50)), ("test/a/1.jpg", jpeg(32, 60))]);
    fs::write(dir.join("jpeg-test.txt"), "test/a/0.jpg 2 0\ntest/a/1.jpg 3 1\n").unwrap();
    let record = |label: u8, value: u8| [vec![label], vec![value; 3072]].concat();
    fs::write(bin.join("data_batch_1.bin"), [record(9, 1), record(1, 3)].concat()).unwrap();
    fs::write(bin.join("test_batch.bin"), record(2, 2)).unwrap();
    tmp
}

fn load_from(tmp: &tempfile::TempDir, name: &str) -> Result<Splits, DataError> {
    let set = by_name(name).unwrap();
    let roots = [tmp.path().to_path_buf()];
    if name == "cifar10-mixed" { load_mixed(set, &roots) } else { load(set, &roots) }
}

#[test]
fn images_come_in_list_order() {
    let splits = load_from(&folder(), "cifar10-jpeg").unwrap();
    assert_eq!(splits.train.labels, [9, 1]);
    assert_eq!((splits.train.len(), splits.test.len()), (2, 2));
    let first = splits.train.pixels_of(0).unwrap();
    assert!(first[0].abs_diff(200) < 4 && first[1024].abs_diff(100) < 4 && first[2048] < 4, "{:?}", first[0]);
    splits.train.check().unwrap();
}

#[test]
fn the_mixed_set_repeats_lossless_training_and_tests_on_lossless() {
    let splits = load_from(&folder(), "cifar10-mixed").unwrap();
    assert_eq!(splits.name, "cifar10-mixed");
    assert_eq!(splits.train.labels, [1, 1, 1, 1]);
    assert_eq!(splits.train.pixels_of(3).as_deref(), Some(&[3u8; 3072][..]));
    assert_eq!(splits.test.labels, [2]);
    assert_eq!(splits.test.pixels, [2u8; 3072]);
}

#[test]
fn what_the_mixed_set_chooses_by_is_neither_trained_on_nor_a_test_image() {
    let tmp = folder();
    // Photograph 0 is kept aside: its lossless form chooses, its JPEG form is nowhere.
    let splits = load_from(&tmp, "cifar10-mixed").unwrap();
    let validation = splits.validation.unwrap();
    assert_eq!(
        (validation.labels.as_slice(), validation.pixels_of(0).as_deref()),
        (&[9][..], Some(&[1u8; 3072][..]))
    );
    // The same photographs in batch 2 are numbers 10 000 and 10 001: now photograph 0 is there as JPEG only.
    let bin = tmp.path().join("cifar10/cifar-10-batches-bin");
    fs::rename(bin.join("data_batch_1.bin"), bin.join("data_batch_2.bin")).unwrap();
    let splits = load_from(&tmp, "cifar10-mixed").unwrap();
    assert_eq!((splits.validation.unwrap().labels, splits.train.len()), (vec![9, 9], 4));
    // Without JPEG test images nothing changes.
    fs::remove_file(tmp.path().join("cifar10/jpeg-test.txt")).unwrap();
    assert_eq!(load_from(&tmp, "cifar10-mixed").unwrap().validation.unwrap().labels, [9, 9]);
    assert!(matches!(load_from(&tmp, "cifar10-jpeg"), Err(DataError::Missing { .. })));
}

#[test]
fn bad_lists_are_errors() {
    let tmp = folder();
    let list = tmp.path().join("cifar10/jpeg-train.txt");
    for bad in ["train/b/0.jpg 10 0", "train/b/0.jpg 1", "train/b/0.jpg 1 0 0", "train/b/0.jpg x 0"] {
        fs::write(&list, format!("train/a/0.jpg 1 1\n{bad}\n")).unwrap();
        let error = load_from(&tmp, "cifar10-jpeg").unwrap_err();
        assert!(matches!(error, DataError::Line { line: 2, .. }), "{error}");
    }
    fs::write(&list, "train/c/0.jpg 1 1\ntrain/c/1.jpg 1 1\n").unwrap();
    let error = load_from(&tmp, "cifar10-jpeg").unwrap_err();
    assert!(matches!(&error, DataError::Absent { absent, .. } if absent.len() == 2), "{error}");
    fs::write(&list, "").unwrap();
    assert!(matches!(load_from(&tmp, "cifar10-jpeg"), Err(DataError::Empty { part: "train", .. })));
}

#[test]
fn bad_images_and_archives_are_errors() {
    let tmp = folder();
    let tar = tmp.path().join("cifar10/jpeg-train.tar.gz");
    archive(&tar, &[("train/a/0.jpg", jpeg(32, 1)), ("train/b/0.jpg", jpeg(16, 1))]);
    let error = load_from(&tmp, "cifar10-jpeg").unwrap_err();
    assert!(matches!(error, DataError::Shape { found: [3, 16, 16], .. }), "{error}");
    archive(&tar, &[("train/a/0.jpg", jpeg(32, 1)), ("train/b/0.jpg", b"no image".to_vec())]);
    let error = load_from(&tmp, "cifar10-jpeg").unwrap_err();
    assert!(error.to_string().contains("jpeg-train.tar.gz/train/b/0.jpg"), "{error}");
    let whole = fs::read(&tar).unwrap();
    fs::write(&tar, &whole[..whole.len() / 2]).unwrap();
    let error = load_from(&tmp, "cifar10-jpeg").unwrap_err();
    assert!(matches!(error, DataError::Io { .. }), "{error}");
}
