//! AVX-512-IFMA bodies of [`super::key_product`].
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "constant indices into pairs")]

use std::arch::x86_64::*;

use super::key_product::{Finish, Term};
use super::modulus::Modulus;
use super::packed::width;
use super::simd::{Lanes, load, splat, store};
use super::simd_packed::{Layout, WIDTHS, fields};
use super::simd_permute::Scatter;

pub(super) fn dot_pair(m: &Modulus, both: bool, out0: &mut [u64], out1: &mut [u64], terms: &[Term<'_>]) {
    let n = out0.len().min(out1.len());
    assert!(enough(m, both, n, terms));
    // SAFETY: callers hold a `Backend` from `detect` that reported these features; lengths were checked.
    unsafe {
        if both {
            dot_pair_v::<true>(m, out0, out1, terms)
        } else {
            dot_pair_v::<false>(m, out0, out1, terms)
        }
    }
}

/// Whether all terms have `n` words.
fn enough(m: &Modulus, both: bool, n: usize, terms: &[Term<'_>]) -> bool {
    let width = width(m.value());
    let packed = |x: &[u64]| 8 * x.len() >= n / 8 * width;
    width < WIDTHS
        && terms
            .iter()
            .all(|(x, y, z)| x.len() >= n && packed(y) && if both { packed(z) } else { z.len() >= n })
}

/// Hint that more of a key will be read soon, after what stands at byte `at`. Few lines can be on their way to the first-level cache:
/// with the many streams of `many` digits hints ask for the second level, and earlier. Hints that look further ahead, or at no cache, are
/// slower than none.
#[inline]
#[target_feature(enable = "avx512f")]
fn ahead(x: &[u64], at: usize, many: bool) {
    let from = x.as_ptr().cast::<i8>().wrapping_add(at);
    if many {
        _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(1024));
    } else {
        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(512));
    }
}

/// Unreduced halves of both inner products at eight words.
///
/// # Safety
/// The terms must have more than `8 i + 7` words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512ifma,avx512vbmi")]
unsafe fn products<const BOTH: bool>(
    i: usize,
    width: usize,
    l: &Layout,
    terms: &[Term<'_>],
) -> [(__m512i, __m512i); 2] {
    let zero = _mm512_setzero_si512();
    let (mut lo0, mut hi0, mut lo1, mut hi1) = (zero, zero, zero, zero);
    let many = terms.len() > 3;
    for (x, y, z) in terms {
        let a = load(x, 8 * i);
        ahead(y, i * width, many);
        if BOTH {
            ahead(z, i * width, many);
        }
        // SAFETY: the caller's promise.
        let b = unsafe { fields::<false>(y.as_ptr().cast::<u8>().add(i * width), l) };
        let c = if BOTH {
            // SAFETY: the caller's promise.
            unsafe { fields::<false>(z.as_ptr().cast::<u8>().add(i * width), l) }
        } else {
            load(z, 8 * i)
        };
        lo0 = _mm512_madd52lo_epu64(lo0, a, b);
        hi0 = _mm512_madd52hi_epu64(hi0, a, b);
        lo1 = _mm512_madd52lo_epu64(lo1, a, c);
        hi1 = _mm512_madd52hi_epu64(hi1, a, c);
    }
    [(lo0, hi0), (lo1, hi1)]
}

/// # Safety
/// The terms must have as many words as the results.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512ifma,avx512vbmi")]
unsafe fn dot_pair_v<const BOTH: bool>(m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[Term<'_>]) {
    let width = width(m.value());
    let (lanes, l) = (Lanes::with_factors(m, terms.len(), 2 * m.value()), Layout::new(width));
    for i in 0..out0.len().min(out1.len()) / 8 {
        // SAFETY: the caller's promise.
        let [(lo0, hi0), (lo1, hi1)] = unsafe { products::<BOTH>(i, width, &l, terms) };
        store(out0, 8 * i, lanes.reduce(lo0, hi0));
        store(out1, 8 * i, lanes.reduce(lo1, hi1));
    }
}

pub(super) fn finished_dot_pair(
    m: &Modulus,
    both: bool,
    first: usize,
    terms: &[Term<'_>],
    finish: &Finish<'_>,
    outs: [&mut [u64]; 2],
) {
    let n = terms.first().map_or(0, |(x, ..)| x.len());
    assert!(enough(m, both, n, terms));
    let run = match (both, finish.times.is_some()) {
        (true, true) => finished_v::<true, true>,
        (true, false) => finished_v::<true, false>,
        (false, true) => finished_v::<false, true>,
        (false, false) => finished_v::<false, false>,
    };
    // SAFETY: as for `dot_pair`.
    unsafe { run(m, first, n, terms, finish, outs) }
}

/// # Safety
/// The terms must have `n` words.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512ifma,avx512vbmi")]
unsafe fn finished_v<const BOTH: bool, const TIMES: bool>(
    m: &Modulus,
    first: usize,
    n: usize,
    terms: &[Term<'_>],
    finish: &Finish<'_>,
    outs: [&mut [u64]; 2],
) {
    let width = width(m.value());
    let (lanes, l) = (Lanes::with_factors(m, terms.len(), 2 * m.value()), Layout::new(width));
    let k = splat(finish.times.unwrap_or(0));
    let [out0, out1] = outs;
    let mut scatters = [Scatter::new(out0, finish), Scatter::new(out1, finish)];
    for i in 0..n / 8 {
        let at = first + 8 * i;
        // SAFETY: the caller's promise.
        let sums = unsafe { products::<BOTH>(i, width, &l, terms) };
        for (h, scatter) in scatters.iter_mut().enumerate() {
            let (lo, hi) = sums[h];
            let mut r = lanes.reduce(lo, hi);
            if TIMES {
                r = lanes.mul(r, k);
            }
            for add in finish.adds[h].into_iter().flatten() {
                r = _mm512_add_epi64(r, load(add, at));
            }
            scatter.put(at, lanes.fold_sum(r));
        }
    }
    // Stores past the caches are ordered for other threads by a fence only.
    if finish.far {
        _mm_sfence();
    }
}
