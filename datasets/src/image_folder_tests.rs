use image::{GrayImage, Luma, Rgb, RgbImage};

use super::*;
use crate::known::by_name;

/// Classes `cat` and `dog`: two training images and one test image each, grey 4×3 (w×h).
fn folder() -> tempfile::TempDir {
    let tmp = tempfile::tempdir().unwrap();
    fs::create_dir(tmp.path().join("split")).unwrap();
    for (class, value) in [("cat", 10), ("dog", 20)] {
        fs::create_dir(tmp.path().join(class)).unwrap();
        for i in 0..3u8 {
            grey(tmp.path(), &format!("{class}/{i}.png"), 4, 3, value + i);
        }
        list(tmp.path(), &format!("train_{class}"), "0.png\n1.png\n");
        list(tmp.path(), &format!("test_{class}"), "2.png\n\n");
    }
    tmp
}

fn grey(dir: &Path, name: &str, width: u32, height: u32, value: u8) {
    GrayImage::from_pixel(width, height, Luma([value])).save(dir.join(name)).unwrap();
}

fn list(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join("split").join(format!("{name}.txt")), text).unwrap();
}

fn read(dir: &Path, config: &DatasetConfig) -> Result<Splits, DataError> {
    load(by_name(&config.name).unwrap(), config, &[dir.to_path_buf()])
}

fn plain() -> DatasetConfig {
    DatasetConfig::named("image-folder")
}

#[test]
fn lists_make_parts_and_classes() {
    let tmp = folder();
    let splits = read(tmp.path(), &plain()).unwrap();
    assert_eq!(splits.class_names, ["cat", "dog"]);
    assert_eq!(splits.train.shape, [1, 3, 4]);
    assert_eq!(splits.train.labels, [0, 0, 1, 1]);
    assert_eq!(splits.test.pixels, [[12u8; 12], [22; 12]].concat());
    assert!(splits.validation.is_none());
    list(tmp.path(), "test_cat", "");
    list(tmp.path(), "val_cat", "2.png");
    assert_eq!(read(tmp.path(), &plain()).unwrap().validation.unwrap().labels, [0]);
}

#[test]
fn the_config_orders_classes() {
    let tmp = folder();
    let names = vec!["dog".to_owned(), "cat".to_owned()];
    let config = DatasetConfig { class_names: Some(names.clone()), ..plain() };
    let splits = read(tmp.path(), &config).unwrap();
    assert_eq!((splits.test.pixels[0], splits.class_names), (22, names));
    let config = DatasetConfig { class_names: Some(vec!["dog".into(), "cow".into()]), ..plain() };
    assert!(read(tmp.path(), &config).unwrap_err().to_string().contains("`cow`"));
}

#[test]
fn sizes_that_differ_need_the_setting() {
    let tmp = folder();
    grey(tmp.path(), "dog/1.png", 8, 8, 21);
    let error = read(tmp.path(), &plain()).unwrap_err();
    assert!(matches!(error, DataError::Shape { need: [1, 3, 4], found: [1, 8, 8], .. }), "{error}");
    assert!(error.to_string().contains("help: set `size: [height, width]`"), "{error}");
    let config = DatasetConfig { size: Some([2, 5]), ..plain() };
    let splits = read(tmp.path(), &config).unwrap();
    assert_eq!(splits.train.shape, [1, 2, 5]);
    assert_eq!(splits.train.pixels_of(3).as_deref(), Some(&[21u8; 10][..]));
}

#[test]
fn one_image_in_colour_makes_three_channels_unless_told() {
    let tmp = folder();
    RgbImage::from_pixel(4, 3, Rgb([1, 2, 3])).save(tmp.path().join("cat/0.png")).unwrap();
    let splits = read(tmp.path(), &plain()).unwrap();
    assert_eq!(splits.train.shape, [3, 3, 4]);
    assert_eq!(splits.train.pixels_of(0).unwrap()[12..14], [2, 2]);
    assert_eq!(splits.train.pixels_of(1).unwrap()[30], 11);
    let config = DatasetConfig { channels: Some(1), ..plain() };
    assert_eq!(read(tmp.path(), &config).unwrap().train.shape, [1, 3, 4]);
}

#[test]
fn absent_doubled_and_broken_images_are_errors() {
    let tmp = folder();
    list(tmp.path(), "train_dog", "0.png\n7.png\n8.png\n");
    let error = read(tmp.path(), &plain()).unwrap_err();
    assert!(
        matches!(&error, DataError::Absent { absent, .. } if absent == &["dog/7.png", "dog/8.png"]),
        "{error}"
    );
    list(tmp.path(), "train_dog", "0.png\n2.png\n");
    let error = read(tmp.path(), &plain()).unwrap_err();
    assert!(matches!(error, DataError::ListedTwice { .. }), "{error}");
    list(tmp.path(), "train_dog", "0.png\n");
    fs::write(tmp.path().join("dog/0.png"), "no image").unwrap();
    let error = read(tmp.path(), &plain()).unwrap_err();
    assert!(matches!(error, DataError::Decode { .. }), "{error}");
}

#[test]
fn missing_parts_are_errors() {
    let tmp = folder();
    for class in ["cat", "dog"] {
        list(tmp.path(), &format!("test_{class}"), "");
    }
    assert!(matches!(read(tmp.path(), &plain()), Err(DataError::Empty { part: "test", .. })));
    fs::remove_dir_all(tmp.path().join("split")).unwrap();
    let error = read(tmp.path(), &plain()).unwrap_err().to_string();
    assert!(error.contains("without split/"), "{error}");
}

#[test]
fn covid_ct_numbers_the_disease_one() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("covid-ct");
    fs::create_dir_all(dir.join("split")).unwrap();
    for (class, value) in [("CT_COVID", 200), ("CT_NonCOVID", 100)] {
        fs::create_dir(dir.join(class)).unwrap();
        for (i, part) in PARTS.iter().enumerate() {
            grey(&dir, &format!("{class}/{i}.png"), 2, 2, value);
            list(&dir, &format!("{part}_{class}"), &format!("{i}.png\n"));
        }
    }
    let splits = read(tmp.path(), &DatasetConfig::named("covid-ct")).unwrap();
    assert_eq!(splits.class_names, ["CT_NonCOVID", "CT_COVID"]);
    assert_eq!((splits.train.pixels[0], splits.train.labels[0]), (100, 0));
    assert_eq!(splits.validation.unwrap().len(), 2);
}
