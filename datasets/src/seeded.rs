//! Randomness as a function of its coordinates: no state is carried, so nothing has to be saved.
//!
//! Each stream is ChaCha8 with the key `(purpose, seed, epoch, index)`. Numbers are taken from it by
//! the functions here and not by a library's, so that an order never changes with a dependency.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is used for; two purposes never share numbers.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Augment = 2,
    Validation = 3,
    Calibration = 4,
    DigitsSplit = 5,
    Limit = 6,
    Shift = 7,
    Noise = 8,
}

/// The stream at these coordinates.
pub(crate) fn stream(purpose: Purpose, seed: u64, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([purpose as u64, seed, epoch, index]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number below `n` (0 for `n = 0`); the bias is below 2⁻³² for every count a data set can have.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// A number in `[-1, 1)`.
pub(crate) fn signed_unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

/// A number in `[0, 1)`.
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 / (1u32 << 24) as f32
}

/// Fisher–Yates.
pub(crate) fn shuffle(items: &mut [usize], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

/// `0..n` in a seeded order.
pub(crate) fn permutation(n: usize, mut rng: ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(&mut order, &mut rng);
    order
}

/// Choose exactly `take` samples (all, if there are fewer), each class in proportion to its size.
///
/// Classes get whole shares first; the rest goes to the largest remainders. Returns the chosen and
/// the other indices, both ascending.
pub(crate) fn stratified(labels: &[u16], take: usize, mut rng: ChaCha8Rng) -> (Vec<usize>, Vec<usize>) {
    let take = take.min(labels.len());
    let most = labels.iter().copied().max().unwrap_or_default();
    let mut classes: Vec<Vec<usize>> = vec![Vec::new(); usize::from(most) + 1];
    for (i, &label) in labels.iter().enumerate() {
        if let Some(class) = classes.get_mut(usize::from(label)) {
            class.push(i);
        }
    }
    classes.retain(|class| !class.is_empty());

    let total = labels.len().max(1);
    let mut shares: Vec<(usize, usize)> =
        classes.iter().map(|c| (take * c.len() / total, take * c.len() % total)).collect();
    let given: usize = shares.iter().map(|s| s.0).sum();
    let mut by_remainder: Vec<&mut (usize, usize)> = shares.iter_mut().collect();
    by_remainder.sort_by_key(|share| std::cmp::Reverse(share.1));
    for share in by_remainder.into_iter().take(take - given) {
        share.0 += 1;
    }

    let (mut chosen, mut rest) = (Vec::with_capacity(take), Vec::with_capacity(labels.len() - take));
    for (class, &(share, _)) in classes.iter_mut().zip(&shares) {
        shuffle(class, &mut rng);
        chosen.extend(class.iter().take(share));
        rest.extend(class.iter().skip(share));
    }
    chosen.sort_unstable();
    rest.sort_unstable();
    (chosen, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_visits_everything_once() {
        for n in [0, 1, 2, 97] {
            let mut order = permutation(n, stream(Purpose::Order, 1, 2, 3));
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_coordinate_changes_the_stream() {
        let first = |p, s, e, i| stream(p, s, e, i).next_u64();
        let base = first(Purpose::Order, 1, 1, 1);
        assert_eq!(base, first(Purpose::Order, 1, 1, 1));
        for other in [
            first(Purpose::Augment, 1, 1, 1),
            first(Purpose::Order, 2, 1, 1),
            first(Purpose::Order, 1, 2, 1),
            first(Purpose::Order, 1, 1, 2),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_order_is_pinned() {
        // Saved runs resume by (seed, epoch, batch): this order must never change.
        assert_eq!(permutation(8, stream(Purpose::Order, 42, 0, 0)), PINNED);
    }
    const PINNED: [usize; 8] = [2, 1, 4, 0, 6, 3, 5, 7];

    #[test]
    fn a_stratified_choice_is_exact_and_fair() {
        let labels: Vec<u16> = (0..103)
            .map(|i| {
                if i < 50 {
                    0
                } else if i < 80 {
                    7
                } else {
                    255
                }
            })
            .collect();
        let (chosen, rest) = stratified(&labels, 20, stream(Purpose::Limit, 9, 0, 0));
        assert_eq!((chosen.len(), rest.len()), (20, 83));
        let count = |c: u16| chosen.iter().filter(|&&i| labels[i] == c).count();
        assert_eq!((count(0), count(7), count(255)), (10, 6, 4)); // 9.7, 5.8, 4.5
        let mut all = [chosen, rest].concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        assert_eq!(stratified(&[], 5, stream(Purpose::Limit, 9, 0, 0)), (vec![], vec![]));
        assert_eq!(stratified(&[1, 1], 5, stream(Purpose::Limit, 9, 0, 0)).0, vec![0, 1]);
    }
}
