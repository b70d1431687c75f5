//! AVX-512-IFMA bodies of [`super::key_product`].
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "constant indices into pairs")]

use std::arch::x86_64::*;

use super::key_product::{Division, Term};
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
    for (x, y, z) in terms {
        // No hints: the processor's own prefetching of these streams is faster by a tenth.
        let a = load(x, 8 * i);
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
    let (lanes, l) = (Lanes::new(m, terms.len()), Layout::new(width));
    for i in 0..out0.len().min(out1.len()) / 8 {
        // SAFETY: the caller's promise.
        let [(lo0, hi0), (lo1, hi1)] = unsafe { products::<BOTH>(i, width, &l, terms) };
        store(out0, 8 * i, lanes.reduce(lo0, hi0));
        store(out1, 8 * i, lanes.reduce(lo1, hi1));
    }
}

pub(super) fn divided_dot_pair(
    m: &Modulus,
    both: bool,
    first: usize,
    terms: &[Term<'_>],
    division: &Division<'_>,
    outs: [&mut [u64]; 2],
) {
    let n = terms.first().map_or(0, |(x, ..)| x.len());
    assert!(enough(m, both, n, terms));
    // SAFETY: as for `dot_pair`.
    unsafe {
        if both {
            divided_v::<true>(m, first, n, terms, division, outs);
        } else {
            divided_v::<false>(m, first, n, terms, division, outs);
        }
    }
}

/// # Safety
/// The terms must have `n` words.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512ifma,avx512vbmi")]
unsafe fn divided_v<const BOTH: bool>(
    m: &Modulus,
    first: usize,
    n: usize,
    terms: &[Term<'_>],
    division: &Division<'_>,
    outs: [&mut [u64]; 2],
) {
    let width = width(m.value());
    let (lanes, l) = (Lanes::new(m, terms.len()), Layout::new(width));
    let (k, q2) = (splat(division.inverse), splat(2 * m.value()));
    // A product of up to eight terms may stay unreduced: less than `2q`, and `2q` more that the subtraction needs, fit the multiplier.
    let loose = terms.len() <= 8;
    let [out0, out1] = outs;
    let mut scatters = [Scatter::new(out0, division), Scatter::new(out1, division)];
    for i in 0..n / 8 {
        let at = first + 8 * i;
        // SAFETY: the caller's promise.
        let sums = unsafe { products::<BOTH>(i, width, &l, terms) };
        for (h, scatter) in scatters.iter_mut().enumerate() {
            let (lo, hi) = sums[h];
            let u = if loose { lanes.reduce_signed(lo, hi) } else { lanes.reduce(lo, hi) };
            let x = _mm512_add_epi64(u, _mm512_sub_epi64(q2, load(division.lifts[h], at)));
            let mut r = lanes.mul(x, k);
            if let Some(add) = division.adds[h] {
                r = lanes.add(r, load(add, at));
            }
            scatter.put(at, r);
        }
    }
    // Stores past the caches are ordered for other threads by a fence only.
    if division.far {
        _mm_sfence();
    }
}
