//! AVX2 transforms in double precision (see [`super::simd_avx2_field`]): radix 4, blocks finished inside the first-level
//! cache, the last four levels in registers.
//!
//! Between passes the buffer holds the bits of doubles below `1.8 q` forward and `0.75 q` backward in absolute value. With
//! products `|x w| <= (1/2 + |x| / 16q) q`, centring one input of four forward, and both sums of four backward, keeps it so.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]

use std::arch::x86_64::*;

use super::modulus::Modulus;
use super::ntt::{LastLevel, Tables};
use super::simd_avx2_field::{F, Factor, Field, factor_parts};

/// Words of a sub-transform that fits the first-level cache.
const BLOCK: usize = 2048;

/// Shortest transform handled here.
pub(super) const MIN_LEN: usize = 64;

/// Both tables as raw pointers to doubles; indices below `n` are valid.
#[derive(Clone, Copy)]
struct Tw {
    w: *const f64,
    ratio: *const f64,
}

impl Tw {
    fn new(t: &Tables<'_>) -> Self {
        Self { w: t.w.as_ptr().cast(), ratio: t.companion.as_ptr().cast() }
    }

    /// One twiddle in every lane.
    ///
    /// # Safety
    /// `p` must be below the table length.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn splat(self, p: usize) -> Factor {
        // SAFETY: the caller guarantees that `p` lies inside both tables.
        unsafe { Factor(_mm256_set1_pd(*self.w.add(p)), _mm256_set1_pd(*self.ratio.add(p))) }
    }

    /// Four consecutive twiddles in the order 0, 2, 1, 3 (or 3, 1, 2, 0 with `BACK`).
    ///
    /// # Safety
    /// `p + 4` must not exceed the table length.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn four<const BACK: bool>(self, p: usize) -> Factor {
        // SAFETY: the caller guarantees four readable words at `p`.
        unsafe {
            let read = |t: *const f64| {
                let v = _mm256_loadu_pd(t.add(p));
                if BACK { _mm256_permute4x64_pd::<0x27>(v) } else { _mm256_permute4x64_pd::<0xd8>(v) }
            };
            Factor(read(self.w), read(self.ratio))
        }
    }

    /// The even and the odd ones of eight consecutive twiddles, numbers 0, 4, 2, 6 and 1, 5, 3, 7; with `BACK`, numbers
    /// 7, 3, 5, 1 and 6, 2, 4, 0.
    ///
    /// # Safety
    /// `p + 8` must not exceed the table length.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn eight<const BACK: bool>(self, p: usize) -> [Factor; 2] {
        // SAFETY: the caller guarantees eight readable words at `p`.
        unsafe {
            let read = |t: *const f64| {
                let (a, b) = (_mm256_loadu_pd(t.add(p)), _mm256_loadu_pd(t.add(p + 4)));
                if BACK {
                    let turn = |v| _mm256_permute4x64_pd::<0x4e>(v);
                    (turn(_mm256_unpackhi_pd(b, a)), turn(_mm256_unpacklo_pd(b, a)))
                } else {
                    (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b))
                }
            };
            let (w, r) = (read(self.w), read(self.ratio));
            [Factor(w.0, r.0), Factor(w.1, r.1)]
        }
    }
}

/// The tables of a plan for this module: bits of the centred twiddles and of their quotients by `q`.
pub(super) fn prepare(m: &Modulus, w: u64) -> (u64, u64) {
    let (w, ratio) = factor_parts(m, w);
    (w.to_bits(), ratio.to_bits())
}

/// Cooley–Tukey butterfly.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn ct(x: F, y: F, w: Factor, f: &Field) -> (F, F) {
    let v = f.mul(y, w);
    (_mm256_add_pd(x, v), _mm256_sub_pd(x, v))
}

/// Gentleman–Sande butterfly with the negated twiddle of the mirrored node.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn gs(x: F, y: F, w: Factor, f: &Field) -> (F, F) {
    (_mm256_add_pd(x, y), f.mul(_mm256_sub_pd(y, x), w))
}

/// Four vectors, `stride` words apart.
///
/// # Safety
/// All of them must be readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn gather(a: *const u64, stride: usize) -> [F; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let at = |k: usize| _mm256_loadu_pd(a.add(k * stride).cast());
        [at(0), at(1), at(2), at(3)]
    }
}

/// # Safety
/// As for [`gather`], writable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn scatter(a: *mut u64, stride: usize, x: [F; 4]) {
    for (k, v) in x.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_pd(a.add(k * stride).cast(), v) }
    }
}

/// Rows 0, 2, 1, 3 of a 4 by 4 matrix to columns, lanes in that order of rows, and back.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose([r0, r1, r2, r3]: [F; 4]) -> [F; 4] {
    let (a, b) = (_mm256_unpacklo_pd(r0, r2), _mm256_unpackhi_pd(r0, r2));
    let (c, d) = (_mm256_unpacklo_pd(r1, r3), _mm256_unpackhi_pd(r1, r3));
    [
        _mm256_permute2f128_pd::<0x20>(a, c),
        _mm256_permute2f128_pd::<0x20>(b, d),
        _mm256_permute2f128_pd::<0x31>(a, c),
        _mm256_permute2f128_pd::<0x31>(b, d),
    ]
}

/// Forward transform; the caller has checked the processor through `Backend`.
pub(super) fn forward(a: &mut [u64], t: Tables<'_>) {
    assert!(a.len() == t.n && t.w.len() == t.n && t.companion.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: only reached with an AVX2 `Backend`, so the features exist; lengths are asserted above and every node covers
    // a sub-range of `a` and of the tables.
    unsafe { forward_all(a.as_mut_ptr(), t) }
}

/// Inverse transform; the caller has checked the processor through `Backend`.
pub(super) fn inverse(a: &mut [u64], t: Tables<'_>, last: LastLevel) {
    assert!(a.len() == t.n && t.w.len() == t.n && t.companion.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: as for `forward`.
    unsafe { inverse_all(a.as_mut_ptr(), t, last) }
}

/// # Safety
/// As for [`forward_node`], with the whole tables.
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_all(a: *mut u64, t: Tables<'_>) {
    let f = Field::new(t.modulus);
    // SAFETY: all accesses lie in `a[..n]`, and the tables have the length of the transform.
    unsafe {
        for j in (0..t.n).step_by(4) {
            let x = f.centre(f.lift(_mm256_loadu_si256(a.add(j).cast())));
            _mm256_storeu_pd(a.add(j).cast(), x);
        }
        forward_node(a, t.n, 1, Tw::new(&t), &f);
    }
}

/// # Safety
/// `a` must be valid for `len` words, `p` must be the node of that range in tables of matching length, features present.
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_node(a: *mut u64, len: usize, p: usize, tw: Tw, f: &Field) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        let (mut cur, mut first) = (len, p);
        if !len.ilog2().is_multiple_of(2) {
            forward_pass2(a, len, p, tw, f);
            (cur, first) = (cur / 2, first * 2);
        }
        if len > BLOCK {
            if cur == len {
                forward_pass4(a, len, p, tw, f);
                (cur, first) = (cur / 4, first * 4);
            }
            for b in 0..len / cur {
                forward_node(a.add(b * cur), cur, first + b, tw, f);
            }
            return;
        }
        while cur > 16 {
            for b in 0..len / cur {
                forward_pass4(a.add(b * cur), cur, first + b, tw, f);
            }
            (cur, first) = (cur / 4, first * 4);
        }
        for b in 0..len / 16 {
            forward_last(a.add(16 * b), first + b, tw, f);
        }
    }
}

/// One level over one node.
///
/// # Safety
/// `a` valid for `len >= 8` words, `p` below the table length.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_pass2(a: *mut u64, len: usize, p: usize, tw: Tw, f: &Field) {
    let half = len / 2;
    // SAFETY: `j + 4 <= half`, so both accesses lie inside the node's range.
    unsafe {
        let w = tw.splat(p);
        for j in (0..half).step_by(4) {
            let (lo, hi) = (a.add(j).cast(), a.add(j + half).cast());
            let (x, y) = ct(f.centre(_mm256_loadu_pd(lo)), _mm256_loadu_pd(hi), w, f);
            _mm256_storeu_pd(lo, x);
            _mm256_storeu_pd(hi, y);
        }
    }
}

/// Two levels over one node.
///
/// # Safety
/// `a` valid for `len >= 16` words, `2p + 1` below the table length.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_pass4(a: *mut u64, len: usize, p: usize, tw: Tw, f: &Field) {
    let s = len / 4;
    // SAFETY: `j + 4 <= s`, so all accesses lie inside the node's range.
    unsafe {
        let w = [tw.splat(p), tw.splat(2 * p), tw.splat(2 * p + 1)];
        for j in (0..s).step_by(4) {
            scatter(a.add(j), s, forward4(gather(a.add(j), s), w, f));
        }
    }
}

/// Two levels between four vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward4([x0, x1, x2, x3]: [F; 4], w: [Factor; 3], f: &Field) -> [F; 4] {
    let (y0, y2) = ct(f.centre(x0), x2, w[0], f);
    let (y1, y3) = ct(x1, x3, w[0], f);
    let (z0, z1) = ct(y0, y1, w[1], f);
    let (z2, z3) = ct(y2, y3, w[2], f);
    [z0, z1, z2, z3]
}

/// The last four levels of sixteen words, fully reduced.
///
/// # Safety
/// `a` valid for 16 words, `8p + 8` at most the table length.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_last(a: *mut u64, p: usize, tw: Tw, f: &Field) {
    // SAFETY: sixteen words are accessed; twiddle reads end at `8p + 8`.
    unsafe {
        let w = [tw.splat(p), tw.splat(2 * p), tw.splat(2 * p + 1)];
        let [x0, x1, x2, x3] = transpose(forward4(gather(a, 4), w, f));
        let w = tw.four::<false>(4 * p);
        let (y0, y2) = ct(f.centre(x0), x2, w, f);
        let (y1, y3) = ct(x1, x3, w, f);
        let w = tw.eight::<false>(8 * p);
        let (z0, z1) = ct(y0, y1, w[0], f);
        let (z2, z3) = ct(y2, y3, w[1], f);
        let [r0, r2, r1, r3] = untranspose([z0, z1, z2, z3]);
        for (k, x) in [r0, r1, r2, r3].into_iter().enumerate() {
            _mm256_storeu_si256(a.add(4 * k).cast(), f.canonical(x));
        }
    }
}

/// The way back from [`transpose`]: rows 0, 2, 1, 3.
#[inline]
#[target_feature(enable = "avx2")]
fn untranspose([c0, c1, c2, c3]: [F; 4]) -> [F; 4] {
    let (a, c) = (_mm256_permute2f128_pd::<0x20>(c0, c2), _mm256_permute2f128_pd::<0x31>(c0, c2));
    let (b, d) = (_mm256_permute2f128_pd::<0x20>(c1, c3), _mm256_permute2f128_pd::<0x31>(c1, c3));
    [_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), _mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d)]
}

/// Mirror of node `p` within its level.
#[inline]
fn mirror(p: usize) -> usize {
    p ^ ((1 << p.ilog2()) - 1)
}

/// # Safety
/// As for [`forward_all`].
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_all(a: *mut u64, t: Tables<'_>, last: LastLevel) {
    let f = Field::new(t.modulus);
    let (sum, diff) = (f.factor(t.modulus, last.sum.0), f.factor(t.modulus, last.diff.0));
    let (tw, n) = (Tw::new(&t), t.n);
    let words = |a: *mut u64, x: F| {
        // SAFETY: called with four words inside `a[..n]`.
        unsafe { _mm256_storeu_si256(a.cast(), f.canonical(x)) }
    };
    // SAFETY: children of the root partition `a[..n]`; `j + 4` never exceeds a quarter or half of it.
    unsafe {
        if n.ilog2().is_multiple_of(2) {
            let s = n / 4;
            (0..4).for_each(|i| inverse_node(a.add(i * s), s, 4 + i, tw, &f));
            let (w0, w1) = (tw.splat(3), tw.splat(2));
            for j in (0..s).step_by(4) {
                let [x0, x1, x2, x3] = gather(a.add(j), s);
                let (y0, y1) = gs(x0, x1, w0, &f);
                let (y2, y3) = gs(x2, x3, w1, &f);
                words(a.add(j), f.mul(_mm256_add_pd(y0, y2), sum));
                words(a.add(j + s), f.mul(_mm256_add_pd(y1, y3), sum));
                words(a.add(j + 2 * s), f.mul(_mm256_sub_pd(y2, y0), diff));
                words(a.add(j + 3 * s), f.mul(_mm256_sub_pd(y3, y1), diff));
            }
        } else {
            let s = n / 2;
            (0..2).for_each(|i| inverse_node(a.add(i * s), s, 2 + i, tw, &f));
            for j in (0..s).step_by(4) {
                let (x, y) = (_mm256_loadu_pd(a.add(j).cast()), _mm256_loadu_pd(a.add(j + s).cast()));
                words(a.add(j), f.mul(_mm256_add_pd(x, y), sum));
                words(a.add(j + s), f.mul(_mm256_sub_pd(y, x), diff));
            }
        }
    }
}

/// All levels of a node of an even number of levels.
///
/// # Safety
/// As for [`forward_node`].
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_node(a: *mut u64, len: usize, p: usize, tw: Tw, f: &Field) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        if len > BLOCK {
            let s = len / 4;
            (0..4).for_each(|i| inverse_node(a.add(i * s), s, 4 * p + i, tw, f));
            inverse_pass4(a, len, p, tw, f);
            return;
        }
        for b in 0..len / 16 {
            inverse_first(a.add(16 * b), p * (len / 16) + b, tw, f);
        }
        let mut cur = 64;
        while cur <= len {
            for b in 0..len / cur {
                inverse_pass4(a.add(b * cur), cur, p * (len / cur) + b, tw, f);
            }
            cur *= 4;
        }
    }
}

/// Two inverse levels between four vectors, with the twiddles of the lower level and of the upper one.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse4([x0, x1, x2, x3]: [F; 4], low: [Factor; 2], high: Factor, f: &Field) -> [F; 4] {
    let (y0, y1) = gs(x0, x1, low[0], f);
    let (y2, y3) = gs(x2, x3, low[1], f);
    let (z0, z2) = gs(y0, y2, high, f);
    let (z1, z3) = gs(y1, y3, high, f);
    [f.centre(z0), f.centre(z1), z2, z3]
}

/// Two inverse levels over one node.
///
/// # Safety
/// As for [`forward_pass4`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_pass4(a: *mut u64, len: usize, p: usize, tw: Tw, f: &Field) {
    let (s, m) = (len / 4, mirror(p));
    // SAFETY: `j + 4 <= s`, so all accesses lie inside the node's range.
    unsafe {
        let (low, high) = ([tw.splat(2 * m + 1), tw.splat(2 * m)], tw.splat(m));
        for j in (0..s).step_by(4) {
            scatter(a.add(j), s, inverse4(gather(a.add(j), s), low, high, f));
        }
    }
}

/// The first four inverse levels of sixteen reduced words.
///
/// # Safety
/// As for [`forward_last`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_first(a: *mut u64, p: usize, tw: Tw, f: &Field) {
    let m = mirror(p);
    // SAFETY: sixteen words are accessed; twiddle reads end at `8m + 8`, and `m` lies in the same level as `p`.
    unsafe {
        let row = |k: usize| f.lift(_mm256_loadu_si256(a.add(4 * k).cast()));
        let x = transpose([row(0), row(1), row(2), row(3)]);
        let [r0, r2, r1, r3] = untranspose(inverse4(x, tw.eight::<true>(8 * m), tw.four::<true>(4 * m), f));
        let low = [tw.splat(2 * m + 1), tw.splat(2 * m)];
        scatter(a, 4, inverse4([r0, r1, r2, r3], low, tw.splat(m), f));
    }
}
