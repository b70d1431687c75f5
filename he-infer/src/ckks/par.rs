//! Work distribution inside the current rayon pool.

use rayon::prelude::*;

use crate::math::vector;

/// Sizes that cut moduli into groups which are converted to together, for limbs of `n` words: as few as the kernels take, so that
/// the source is read seldom, but a multiple of the threads, so that none has less to do. Of short limbs fewer at once: what three
/// moduli need still lies in the second-level cache when it is transformed.
pub(super) fn groups(moduli: usize, n: usize) -> impl Iterator<Item = usize> {
    let most = if n <= 1 << 14 { 3 } else { vector::GROUP };
    let count = moduli.div_ceil(most).next_multiple_of(rayon::current_num_threads());
    vector::shares(moduli, count.min(moduli))
}

/// Run `f` on every item, in parallel when the current pool has more than one thread.
pub(super) fn for_each<T: Send>(items: Vec<T>, f: impl Fn(T) + Sync + Send) {
    if items.len() < 2 || rayon::current_num_threads() < 2 {
        items.into_iter().for_each(f);
    } else {
        items.into_par_iter().with_max_len(1).for_each(f);
    }
}

/// Work on limbs of `n` words that only passes over them: in parallel where it takes longer than waking a thread.
pub(super) fn for_each_limb<T: Send>(n: usize, limbs: Vec<T>, f: impl Fn(T) + Sync + Send) {
    if n * limbs.len() < 1 << 18 { limbs.into_iter().for_each(f) } else { for_each(limbs, f) }
}

/// Map every item in order, in parallel when the current pool has more than one thread.
pub(super) fn map<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    if items.len() < 2 || rayon::current_num_threads() < 2 {
        items.into_iter().map(f).collect()
    } else {
        items.into_par_iter().with_max_len(1).map(f).collect()
    }
}

/// Run `f` on every item with a value that `init` makes once per share of the items, one share per thread.
pub(super) fn for_each_init<T: Send, S>(
    mut items: Vec<T>,
    init: impl Fn() -> S + Sync + Send,
    f: impl Fn(&mut S, T) + Sync + Send,
) {
    let run = |items: Vec<T>| {
        let mut state = init();
        items.into_iter().for_each(|item| f(&mut state, item));
    };
    let mut shares = Vec::new();
    let share = items.len().div_ceil(rayon::current_num_threads()).max(1);
    while items.len() > share {
        shares.push(items.split_off(items.len() - share));
    }
    shares.push(items);
    for_each(shares, run);
}
