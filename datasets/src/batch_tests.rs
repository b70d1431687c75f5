use super::*;

fn set(count: usize) -> ImageSet {
    ImageSet {
        shape: [2, 3, 4],
        classes: 5,
        white: 200.0,
        pixels: (0..count * 24).map(|i| (i * 7 % 201) as u8).collect(),
        labels: (0..count).map(|i| (i % 5) as u16).collect(),
        tokens: vec![],
        step: 0,
    }
}

fn changes() -> Option<Augment> {
    Some(Augment { flip: true, crop_padding: 1, rotate: 10.0, cutout: 1, zoom: 0.2, light: 0.1, noise: 0.0 })
}

#[test]
fn an_epoch_visits_every_sample_once_and_epochs_differ() {
    let set = set(23);
    let batcher = Batcher::new(&set, 5, 7, &Normalise::default(), None).unwrap();
    assert_eq!(batcher.batches(), 5);
    let visited = |epoch| batcher.epoch(epoch).flat_map(|b| b.indices).collect::<Vec<_>>();
    for epoch in 0..20 {
        let mut order = visited(epoch);
        order.sort_unstable();
        assert_eq!(order, (0..23).collect::<Vec<_>>());
        assert_ne!(visited(epoch), visited(epoch + 1));
    }
    assert_eq!(batcher.epoch(0).map(|b| b.len()).collect::<Vec<_>>(), [5, 5, 5, 5, 3]);
}

#[test]
fn a_batch_depends_on_seed_epoch_and_number_only() {
    let set = set(40);
    let make = |seed| Batcher::new(&set, 8, seed, &Normalise::default(), changes()).unwrap();
    let long = make(1);
    let all: Vec<ImageBatch> = (0..4).flat_map(|epoch| long.epoch(epoch).collect::<Vec<_>>()).collect();
    // A fresh batcher that starts in the middle gives the same batch, bit for bit.
    assert_eq!(make(1).batch(3, 2), all[3 * 5 + 2]);
    assert_ne!(make(2).batch(3, 2), all[3 * 5 + 2]);
    // What happens to a sample does not depend on the batch it is in.
    let batch = &all[7];
    let alone = make(1).samples(1, &batch.indices[3..4]).unwrap();
    assert_eq!(alone.pixels, batch.pixels[3 * 24..4 * 24]);
}

#[test]
fn the_order_does_not_depend_on_the_batch_size() {
    let set = set(30);
    let order = |batch| {
        let batcher = Batcher::new(&set, batch, 3, &Normalise::default(), None).unwrap();
        batcher.epoch(5).flat_map(|b| b.indices).collect::<Vec<_>>()
    };
    assert_eq!(order(4), order(30));
}

#[test]
fn evaluation_keeps_order_and_pixels() {
    let set = set(7);
    let normalise = Normalise { mean: vec![0.5, 0.25], std: vec![0.5, 2.0] };
    let batcher = Batcher::evaluation(&set, 4, &normalise).unwrap();
    let batches: Vec<ImageBatch> = batcher.epoch(9).collect();
    assert_eq!(batches[1].indices, [4, 5, 6]);
    assert_eq!(batches[1].shape, [3, 2, 3, 4]);
    assert_eq!(batches[0].labels, [0, 1, 2, 3]);
    let pixel = set.pixels_of(5).unwrap()[12 + 3]; // second channel
    assert_eq!(batches[1].pixels[24 + 12 + 3], (f32::from(pixel) / 200.0 - 0.25) / 2.0);
    assert_eq!(batcher.batch(0, 0), batcher.batch(1, 0));
}

#[test]
fn augmentation_that_does_nothing_changes_nothing() {
    let set = set(6);
    let with = Batcher::new(&set, 6, 1, &Normalise::default(), Some(Augment::default())).unwrap();
    let without = Batcher::new(&set, 6, 1, &Normalise::default(), None).unwrap();
    assert_eq!(with.batch(0, 0), without.batch(0, 0));
    let changed = Batcher::new(&set, 6, 1, &Normalise::default(), changes()).unwrap();
    assert_ne!(changed.batch(0, 0).pixels, without.batch(0, 0).pixels);
    assert_eq!(changed.batch(0, 0).indices, without.batch(0, 0).indices);
    assert_ne!(changed.samples(0, &[2]).unwrap(), changed.samples(1, &[2]).unwrap());
}

#[test]
fn unusable_requests_are_refused() {
    let good = set(6);
    let plain = Normalise::default();
    assert!(matches!(Batcher::evaluation(&good, 0, &plain), Err(DataError::Setting { key: "batch", .. })));
    let three = Normalise { mean: vec![0.0; 3], std: vec![1.0] };
    assert!(Batcher::evaluation(&good, 2, &three).is_err());
    let large = Augment { crop_padding: 3, ..Augment::default() };
    assert!(Batcher::new(&good, 2, 0, &plain, Some(large)).is_err());
    let bad = ImageSet { labels: vec![0], ..set(6) };
    assert!(matches!(Batcher::evaluation(&bad, 2, &plain), Err(DataError::Inconsistent { .. })));
    let batcher = Batcher::evaluation(&good, 2, &plain).unwrap();
    assert!(matches!(batcher.samples(0, &[6]), Err(DataError::Sample { index: 6, len: 6 })));
    let empty = Batcher::new(&set(0), 2, 0, &plain, None).map(|b| b.batches());
    assert_eq!(empty.unwrap(), 0);
}

#[test]
#[should_panic(expected = "batch 3 of 3")]
fn a_batch_past_the_end_panics() {
    let set = set(6);
    let _ = Batcher::evaluation(&set, 2, &Normalise::default()).unwrap().batch(0, 3);
}

#[test]
fn windows_of_a_text_begin_anywhere_when_they_are_learned_from() {
    let text: Vec<u16> = (0..100).collect();
    let set = crate::windows(&text, 8, 4, 100);
    let normalise = Normalise { mean: vec![0.0], std: vec![1.0] };
    let batcher = Batcher::new(&set, 5, 3, &normalise, None).unwrap();
    let mut begins = Vec::new();
    for epoch in 0..4 {
        for batch in batcher.epoch(epoch) {
            let windows = batch.pixels.chunks(800).zip(batch.labels.chunks(8));
            for ((pixels, labels), &i) in windows.zip(&batch.indices) {
                let begin = usize::try_from(labels[0]).unwrap() - 1;
                assert!((4 * i..4 * i + 4).contains(&begin));
                for (position, &label) in labels.iter().enumerate() {
                    assert_eq!(label, (begin + position + 1) as i64);
                    assert_eq!(pixels[(begin + position) * 8 + position], 1.0);
                }
                begins.push(begin);
            }
        }
    }
    let all = begins.len();
    begins.sort_unstable();
    begins.dedup();
    assert!(all == 4 * set.len() && begins.len() > 2 * set.len(), "{} of {all}", begins.len());
    // Nothing moves where it is only looked at, or where samples do not overlap.
    let labels = |batcher: Batcher<'_>| batcher.epoch(1).flat_map(|b| b.labels).collect::<Vec<_>>();
    let still = labels(Batcher::evaluation(&set, 5, &normalise).unwrap());
    assert!(still.chunks(8).enumerate().all(|(i, l)| l[0] == 4 * i as i64 + 1));
    let apart = crate::windows(&text, 8, 8, 100);
    let labels = labels(Batcher::new(&apart, 5, 3, &normalise, None).unwrap());
    assert!(labels.chunks(8).all(|l| l[0] % 8 == 1));
}

#[test]
fn noise_is_in_what_is_read_and_not_in_what_follows() {
    let text: Vec<u16> = (0..1000).map(|i| i % 50).collect();
    let normalise = Normalise { mean: vec![0.0], std: vec![1.0] };
    for step in [4, 8] {
        let set = crate::windows(&text, 8, step, 50);
        let noisy = |noise| {
            let augment = Augment { noise, ..Augment::default() };
            Batcher::new(&set, 1000, 3, &normalise, Some(augment)).unwrap().batch(1, 0)
        };
        let (clean, little, much) = (noisy(0.0), noisy(0.1), noisy(0.5));
        assert_eq!((&clean.labels, &clean.indices), (&much.labels, &much.indices));
        // One-hot: of two letters that differ, two pixels do; one in fifty is replaced by itself.
        let letters = clean.labels.len() as f64;
        let shares = [&little, &much].map(|b| {
            b.pixels.iter().zip(&clean.pixels).filter(|(a, b)| a != b).count() as f64 / 2.0 / letters
        });
        assert!((shares[0] - 0.098).abs() < 0.02 && (shares[1] - 0.49).abs() < 0.03, "{shares:?}");
        assert_eq!(much.pixels.iter().sum::<f32>() as f64, letters);
    }
}
