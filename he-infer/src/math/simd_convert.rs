//! AVX-512-IFMA body of [`super::vector::linear_combinations`], the inner loop of base conversion.
#![expect(unsafe_code, reason = "target features")]
#![expect(clippy::indexing_slicing, reason = "indices into arrays of as many rows, and tails")]

use std::arch::x86_64::*;

use super::simd::{Lanes, load, splat, store, whole};
use super::vector::{Combination, groups, scalar};

/// Words between the load and the prefetch of a stream from the third-level cache.
const AHEAD: usize = 48;

pub(super) fn linear_combinations(rows: &mut [Combination<'_>], ys: &[&[u64]], inverses: Option<&[f64]>) {
    let mut rest = rows;
    for size in groups(rest.len()) {
        let (group, tail) = rest.split_at_mut(size);
        macro_rules! of {
            ($($size:literal)*) => {
                match (group.len(), inverses) {
                    // SAFETY: callers hold a `Backend` from `detect` that reported these features.
                    $(($size, None) => unsafe { combine::<$size, false>(group, ys, &[]) },
                    // SAFETY: as above.
                    ($size, Some(inverses)) => unsafe { combine::<$size, true>(group, ys, inverses) },)*
                    (size, _) => debug_assert_eq!(size, 0, "groups have at most nine rows"),
                }
            };
        }
        of!(1 2 3 4 5 6 7 8 9);
        rest = tail;
    }
}

/// All rows in one pass. Up to nine keep their sums, two vectors each, in registers. Loops over arrays, not `from_fn`: beyond seven rows
/// its closures are no longer inlined.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn combine<const R: usize, const EXACT: bool>(rows: &mut [Combination<'_>], ys: &[&[u64]], inverses: &[f64]) {
    let n = whole(ys.iter().map(|y| y.len()).chain(rows.iter().map(|row| row.out.len())));
    let mut sources: Vec<_> = ys.iter().map(|y| (*y, 0.0, [0; R])).collect();
    sources.iter_mut().zip(inverses).for_each(|((_, inverse, _), i)| *inverse = *i);
    let mut lanes = [Lanes::new(rows[0].modulus, ys.len() + 1); R];
    for (r, row) in rows.iter().enumerate() {
        lanes[r] = Lanes::new(row.modulus, ys.len() + 1);
        sources.iter_mut().zip(row.c_mont).for_each(|((.., constants), c)| constants[r] = *c);
    }
    for j in (0..n).step_by(8) {
        let zero = _mm512_setzero_si512();
        let (mut lo, mut hi) = ([zero; R], [zero; R]);
        let mut sum = _mm512_set1_pd(0.5);
        for (y, inverse, c) in &sources {
            _mm_prefetch::<_MM_HINT_T0>(y.as_ptr().wrapping_add(j + AHEAD).cast());
            let y = load(y, j);
            if EXACT {
                // Product and sum are rounded separately, as in the portable body.
                sum = _mm512_add_pd(sum, _mm512_mul_pd(_mm512_cvtepu64_pd(y), _mm512_set1_pd(*inverse)));
            }
            for r in 0..R {
                let c = splat(c[r]);
                lo[r] = _mm512_madd52lo_epu64(lo[r], y, c);
                hi[r] = _mm512_madd52hi_epu64(hi[r], y, c);
            }
        }
        if EXACT {
            let v = _mm512_cvttpd_epu64(sum);
            for r in 0..R {
                let d = splat(rows[r].d_mont);
                lo[r] = _mm512_madd52lo_epu64(lo[r], v, d);
                hi[r] = _mm512_madd52hi_epu64(hi[r], v, d);
            }
        }
        for r in 0..R {
            store(rows[r].out, j, lanes[r].reduce_loosely(lo[r], hi[r]));
        }
    }
    let tails: Vec<_> = ys.iter().map(|y| &y[n..]).collect();
    let mut v = vec![0; if EXACT { rows[0].out.len() - n } else { 0 }];
    scalar::rounded_weighted_sum(&mut v, &tails, inverses);
    for row in rows {
        let v = EXACT.then_some(&v[..]);
        scalar::linear_combination(row.modulus, &mut row.out[n..], &tails, row.c_mont, v, row.d_mont);
    }
}
