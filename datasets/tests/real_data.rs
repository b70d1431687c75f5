//! Counts and known facts of the real data sets: `HETRAIN_DATA=… cargo test -- --ignored`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use hetrain_datasets::{Batcher, DatasetConfig, Normalise, Splits, load};

fn read(name: &str) -> Splits {
    let start = std::time::Instant::now();
    let splits = load(&DatasetConfig::named(name), None, 1).unwrap_or_else(|e| panic!("{e}"));
    let validation = splits.validation.as_ref().map_or(0, |v| v.len());
    println!(
        "{name}: {} + {} (+ {validation} validation), shape {:?}, {:.1} s",
        splits.train.len(),
        splits.test.len(),
        splits.train.shape,
        start.elapsed().as_secs_f32()
    );
    splits.train.check().unwrap();
    splits.test.check().unwrap();
    assert_eq!(splits.class_names.len(), splits.train.classes);
    if let Some(form) = DatasetConfig::named(name).form() {
        assert_eq!(form, (splits.train.shape, splits.train.classes));
    }
    let batcher = Batcher::evaluation(&splits.test, 50, &Normalise::measure(&splits.train)).unwrap();
    assert!(batcher.batch(0, 0).pixels.iter().all(|x| x.is_finite()));
    splits
}

fn counts(splits: &Splits) -> (usize, usize) {
    (splits.train.len(), splits.test.len())
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn mnist() {
    let splits = read("mnist");
    assert_eq!(counts(&splits), (60_000, 10_000));
    assert_eq!(splits.train.labels[..5], [5, 0, 4, 1, 9]);
    // The figures everyone normalises MNIST with.
    let measured = Normalise::measure(&splits.train);
    assert!(
        (measured.mean[0] - 0.1307).abs() < 1e-4 && (measured.std[0] - 0.3081).abs() < 1e-4,
        "{measured:?}"
    );
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn fashion_mnist() {
    let splits = read("fashion-mnist");
    assert_eq!(counts(&splits), (60_000, 10_000));
    assert_eq!(splits.train.class_counts(), [6000; 10]);
    assert_eq!(splits.class_names[9], "Ankle boot");
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn cifar10() {
    let splits = read("cifar10");
    assert!(matches!(counts(&splits), (4_000, 500) | (50_000, 10_000)), "{:?}", counts(&splits));
    assert_eq!(splits.train.labels[..3], [6, 9, 9]); // frog, truck, truck
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn cifar10_jpeg_resembles_the_lossless_images() {
    let jpeg = read("cifar10-jpeg");
    assert_eq!(counts(&jpeg), (50_000, 9_500));
    assert_eq!(jpeg.train.class_counts(), [5_000; 10]);
    let lossless = read("cifar10");
    let n = lossless.train.pixels.len().min(3072 * 4000);
    assert_eq!(jpeg.train.labels[..4000], lossless.train.labels[..4000]);
    let differences = jpeg.train.pixels[..n].iter().zip(&lossless.train.pixels[..n]);
    let mean = differences.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / n as f64;
    println!("mean difference of JPEG and lossless pixels: {mean:.2} of 255");
    assert!((1.0..8.0).contains(&mean), "{mean}");
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn cifar10_mixed() {
    let splits = read("cifar10-mixed");
    // Of 50 000 photographs 5 000 are kept aside, 400 of them of the 4 000 that are there without loss.
    assert_eq!(counts(&splits), (45_000 + 3 * 3_600, 500));
    assert_eq!(splits.validation.map(|v| v.len()), Some(5_000));
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn optdigits() {
    let splits = read("optdigits");
    assert_eq!(counts(&splits), (3_823, 1_797));
    // The embedded digits are this set's test part.
    let digits = read("digits");
    let both: Vec<usize> =
        digits.train.class_counts().iter().zip(digits.test.class_counts()).map(|(a, b)| a + b).collect();
    assert_eq!(both, splits.test.class_counts());
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn covid_ct() {
    let splits = read("covid-ct");
    assert_eq!(counts(&splits), (425, 203));
    assert_eq!(splits.validation.as_ref().map(|v| v.len()), Some(118));
    assert_eq!(splits.train.shape, [1, 224, 224]);
    assert_eq!(splits.train.class_counts(), [234, 191]);
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn covid_xray() {
    let splits = read("covid-xray");
    assert_eq!(counts(&splits), (931, 193));
    assert_eq!(splits.train.class_counts(), [101, 426, 404]);
    let small = DatasetConfig { size: Some([64, 64]), ..DatasetConfig::named("covid-xray") };
    assert_eq!(load(&small, None, 1).unwrap().train.shape, [1, 64, 64]);
}
