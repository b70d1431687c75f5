//! Work distribution inside the current rayon pool.

use rayon::prelude::*;

/// Run `f` on every item, in parallel when the current pool has more than one thread.
pub(super) fn for_each<T: Send>(items: Vec<T>, f: impl Fn(T) + Sync + Send) {
    if items.len() < 2 || rayon::current_num_threads() < 2 {
        items.into_iter().for_each(f);
    } else {
        items.into_par_iter().with_max_len(1).for_each(f);
    }
}

/// Map every item in order, in parallel when the current pool has more than one thread.
pub(super) fn map<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    if items.len() < 2 || rayon::current_num_threads() < 2 {
        items.into_iter().map(f).collect()
    } else {
        items.into_par_iter().with_max_len(1).map(f).collect()
    }
}
