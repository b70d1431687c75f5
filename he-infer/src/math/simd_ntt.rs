//! AVX-512-IFMA transforms: radix 4, blocks of 32 KiB finished inside the first-level cache, last levels in registers.
//!
//! Node `p` of the transform tree covers `len` consecutive words and uses twiddle `W[p]`; its children are `2p`, `2p + 1`.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]

use std::arch::x86_64::*;

use super::ntt::{LastLevel, Tables};

/// Words of a sub-transform that fits the first-level cache.
const BLOCK: usize = 4096;

#[derive(Clone, Copy)]
struct Consts {
    neg_q: __m512i,
    q: __m512i,
    q2: __m512i,
    mask: __m512i,
}

impl Consts {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(q: u64) -> Self {
        Self {
            neg_q: _mm512_set1_epi64(((1 << 52) - q) as i64),
            q: _mm512_set1_epi64(q as i64),
            q2: _mm512_set1_epi64(2 * q as i64),
            mask: _mm512_set1_epi64((1 << 52) - 1),
        }
    }
}

/// A twiddle and its Shoup companion in every lane.
type Twiddle = (__m512i, __m512i);

/// `x w mod q` in `[0, 2q)` for `x < 2^52`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn shoup(x: __m512i, w: Twiddle, c: &Consts) -> __m512i {
    let zero = _mm512_setzero_si512();
    let h = _mm512_madd52hi_epu64(zero, x, w.1);
    let lo = _mm512_madd52lo_epu64(zero, x, w.0);
    _mm512_and_si512(_mm512_madd52lo_epu64(lo, h, c.neg_q), c.mask)
}

/// `min(x, x - m)`: one conditional subtraction.
#[inline]
#[target_feature(enable = "avx512f")]
fn fold(x: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, m))
}

/// Cooley–Tukey butterfly, inputs and outputs below `4q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn ct(x: __m512i, y: __m512i, w: Twiddle, c: &Consts) -> (__m512i, __m512i) {
    let u = fold(x, c.q2);
    let v = shoup(y, w, c);
    (_mm512_add_epi64(u, v), _mm512_sub_epi64(_mm512_add_epi64(u, c.q2), v))
}

/// Gentleman–Sande butterfly with the negated twiddle of the mirrored node, inputs and outputs below `2q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn gs(x: __m512i, y: __m512i, w: Twiddle, c: &Consts) -> (__m512i, __m512i) {
    let s = fold(_mm512_add_epi64(x, y), c.q2);
    let d = _mm512_sub_epi64(_mm512_add_epi64(y, c.q2), x);
    (s, shoup(d, w, c))
}

/// Both tables as raw pointers; indices below `n` are valid.
#[derive(Clone, Copy)]
struct Tw {
    w: *const u64,
    s: *const u64,
}

impl Tw {
    /// # Safety
    /// `p` must be below the table length.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn splat(self, p: usize) -> Twiddle {
        // SAFETY: the caller guarantees that `p` lies inside both tables.
        unsafe { (_mm512_set1_epi64(*self.w.add(p) as i64), _mm512_set1_epi64(*self.s.add(p) as i64)) }
    }

    /// Two, four or eight consecutive twiddles spread over the lanes by `idx`.
    ///
    /// # Safety
    /// `p + WIDTH` must not exceed the table length.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn spread<const WIDTH: usize>(self, p: usize, idx: __m512i) -> Twiddle {
        // SAFETY: the caller guarantees `WIDTH` readable words at `p`; each branch reads exactly that many.
        unsafe {
            let read = |t: *const u64| match WIDTH {
                2 => _mm512_castsi128_si512(_mm_loadu_si128(t.add(p).cast())),
                4 => _mm512_castsi256_si512(_mm256_loadu_si256(t.add(p).cast())),
                _ => _mm512_loadu_si512(t.add(p).cast()),
            };
            (_mm512_permutexvar_epi64(idx, read(self.w)), _mm512_permutexvar_epi64(idx, read(self.s)))
        }
    }

    /// # Safety
    /// `p + 8` must not exceed the table length.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn eight(self, p: usize) -> Twiddle {
        // SAFETY: the caller guarantees eight readable words at `p`.
        unsafe { (_mm512_loadu_si512(self.w.add(p).cast()), _mm512_loadu_si512(self.s.add(p).cast())) }
    }
}

/// Forward transform; the caller has checked the processor through `Backend::detect`.
pub(super) fn forward(a: &mut [u64], t: Tables<'_>) {
    assert!(a.len() == t.n && t.w.len() == t.n && t.w_shoup.len() == t.n && t.n >= 64);
    // SAFETY: only reached with a `Backend` from `detect`, so the features exist; lengths are asserted above and every
    // node covers a sub-range of `a` and of the tables.
    unsafe {
        forward_node(a.as_mut_ptr(), t.n, 1, Tw { w: t.w.as_ptr(), s: t.w_shoup.as_ptr() }, &Consts::new(t.q))
    }
}

/// Inverse transform; the caller has checked the processor through `Backend::detect`.
pub(super) fn inverse(a: &mut [u64], t: Tables<'_>, last: LastLevel) {
    assert!(a.len() == t.n && t.w.len() == t.n && t.w_shoup.len() == t.n && t.n >= 64);
    // SAFETY: as for `forward`.
    unsafe {
        let tw = Tw { w: t.w.as_ptr(), s: t.w_shoup.as_ptr() };
        inverse_node(a.as_mut_ptr(), t.n, 1, tw, &Consts::new(t.q), &last);
    }
}

/// # Safety
/// `a` must be valid for `len` words, `p` must be the node of that range in tables of matching length, features present.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_node(a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        if len > BLOCK {
            forward_pass(a, len, p, tw, c);
            let quarter = len / 4;
            for i in 0..4 {
                forward_node(a.add(i * quarter), quarter, 4 * p + i, tw, c);
            }
            return;
        }
        let (mut cur, mut first) = (len, p);
        while cur > 16 {
            for b in 0..len / cur {
                forward_pass(a.add(b * cur), cur, first + b, tw, c);
            }
            (cur, first) = (cur / 4, first * 4);
        }
        if cur == 16 {
            for b in 0..len / 16 {
                forward_last::<true>(a.add(16 * b), first + b, tw, c);
            }
        } else {
            for b in 0..len / 16 {
                forward_last::<false>(a.add(16 * b), first / 2 + b, tw, c);
            }
        }
    }
}

/// Two levels over one node.
///
/// # Safety
/// `a` valid for `len >= 32` words, `4p + 3` below the table length.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass(a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts) {
    let quarter = len / 4;
    // SAFETY: `j + 8 <= quarter`, so all four accesses lie inside the node's range.
    unsafe {
        let (w1, w2, w3) = (tw.splat(p), tw.splat(2 * p), tw.splat(2 * p + 1));
        for j in (0..quarter).step_by(8) {
            let at = |k: usize| a.add(j + k * quarter).cast::<__m512i>();
            let (x0, x1) = (_mm512_loadu_si512(at(0)), _mm512_loadu_si512(at(1)));
            let (x2, x3) = (_mm512_loadu_si512(at(2)), _mm512_loadu_si512(at(3)));
            let (y0, y2) = ct(x0, x2, w1, c);
            let (y1, y3) = ct(x1, x3, w1, c);
            let (z0, z1) = ct(y0, y1, w2, c);
            let (z2, z3) = ct(y2, y3, w3, c);
            _mm512_storeu_si512(at(0), z0);
            _mm512_storeu_si512(at(1), z1);
            _mm512_storeu_si512(at(2), z2);
            _mm512_storeu_si512(at(3), z3);
        }
    }
}

/// Levels with strides (8,) 4, 2, 1 of sixteen words, then full reduction. `p` is the node of those sixteen words.
///
/// # Safety
/// `a` valid for 16 words, `8p + 8` at most the table length.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_last<const STRIDE8: bool>(a: *mut u64, p: usize, tw: Tw, c: &Consts) {
    // SAFETY: sixteen words are accessed; twiddle reads end at `8p + 8`.
    unsafe {
        let at = |k: usize| a.add(8 * k).cast::<__m512i>();
        let (mut x, mut y) = (_mm512_loadu_si512(at(0)), _mm512_loadu_si512(at(1)));
        if STRIDE8 {
            (x, y) = ct(x, y, tw.splat(p), c);
        }
        let (x, y) = (_mm512_shuffle_i64x2::<0x44>(x, y), _mm512_shuffle_i64x2::<0xee>(x, y));
        let (x, y) = ct(x, y, tw.spread::<2>(2 * p, _mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1)), c);
        let (x, y) = swap_pairs(x, y);
        let (x, y) = ct(x, y, tw.spread::<4>(4 * p, _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3)), c);
        let (x, y) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
        let (x, y) = ct(x, y, tw.eight(8 * p), c);
        let (x, y) = (fold(fold(x, c.q2), c.q), fold(fold(y, c.q2), c.q));
        let lo = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
        let hi = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
        _mm512_storeu_si512(at(0), _mm512_permutex2var_epi64(x, lo, y));
        _mm512_storeu_si512(at(1), _mm512_permutex2var_epi64(x, hi, y));
    }
}

/// Exchange the odd pairs of `x` with the even pairs of `y` (its own inverse).
#[inline]
#[target_feature(enable = "avx512f")]
fn swap_pairs(x: __m512i, y: __m512i) -> (__m512i, __m512i) {
    let even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    (_mm512_permutex2var_epi64(x, even, y), _mm512_permutex2var_epi64(x, odd, y))
}

/// Mirror of node `p` within its level.
#[inline]
fn mirror(p: usize) -> usize {
    p ^ ((1 << p.ilog2()) - 1)
}

/// # Safety
/// As for [`forward_node`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_node(a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts, last: &LastLevel) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        if len > BLOCK {
            let quarter = len / 4;
            for i in 0..4 {
                inverse_node(a.add(i * quarter), quarter, 4 * p + i, tw, c, last);
            }
            inverse_pass(a, len, p, tw, c, last);
            return;
        }
        let full = len.trailing_zeros().is_multiple_of(2);
        for b in 0..len / 16 {
            let node = p * (len / 16) + b;
            if full {
                inverse_first::<true>(a.add(16 * b), node, tw, c);
            } else {
                inverse_first::<false>(a.add(16 * b), node, tw, c);
            }
        }
        let mut cur = if full { 64 } else { 32 };
        while cur <= len {
            for b in 0..len / cur {
                inverse_pass(a.add(b * cur), cur, p * (len / cur) + b, tw, c, last);
            }
            cur *= 4;
        }
    }
}

/// Two inverse levels over one node; at the root the last one also multiplies by the final constants and reduces.
///
/// # Safety
/// `a` valid for `len >= 32` words, `4p + 3` below the table length.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_pass(a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts, last: &LastLevel) {
    let quarter = len / 4;
    let m = mirror(p);
    // SAFETY: `j + 8 <= quarter`, so all four accesses lie inside the node's range.
    unsafe {
        let (w1, w2, w3) = (tw.splat(m), tw.splat(2 * m + 1), tw.splat(2 * m));
        let both = |v: (u64, u64)| (_mm512_set1_epi64(v.0 as i64), _mm512_set1_epi64(v.1 as i64));
        let (fs, fd) = (both(last.sum), both(last.diff));
        for j in (0..quarter).step_by(8) {
            let at = |k: usize| a.add(j + k * quarter).cast::<__m512i>();
            let (x0, x1) = (_mm512_loadu_si512(at(0)), _mm512_loadu_si512(at(1)));
            let (x2, x3) = (_mm512_loadu_si512(at(2)), _mm512_loadu_si512(at(3)));
            let (y0, y1) = gs(x0, x1, w2, c);
            let (y2, y3) = gs(x2, x3, w3, c);
            let ((z0, z2), (z1, z3)) = if p == 1 {
                (gs_final(y0, y2, fs, fd, c), gs_final(y1, y3, fs, fd, c))
            } else {
                (gs(y0, y2, w1, c), gs(y1, y3, w1, c))
            };
            _mm512_storeu_si512(at(0), z0);
            _mm512_storeu_si512(at(1), z1);
            _mm512_storeu_si512(at(2), z2);
            _mm512_storeu_si512(at(3), z3);
        }
    }
}

/// Last inverse butterfly: both outputs multiplied by a constant and fully reduced.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn gs_final(x: __m512i, y: __m512i, sum: Twiddle, diff: Twiddle, c: &Consts) -> (__m512i, __m512i) {
    let d = _mm512_sub_epi64(_mm512_add_epi64(y, c.q2), x);
    (fold(shoup(_mm512_add_epi64(x, y), sum, c), c.q), fold(shoup(d, diff, c), c.q))
}

/// Inverse levels with strides 1, 2, 4 (and 8) of sixteen words.
///
/// # Safety
/// `a` valid for 16 words, `8p + 8` at most the table length.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_first<const STRIDE8: bool>(a: *mut u64, p: usize, tw: Tw, c: &Consts) {
    let m = mirror(p);
    // SAFETY: sixteen words are accessed; twiddle reads end at `8m + 8`, and `m` lies in the same level as `p`.
    unsafe {
        let at = |k: usize| a.add(8 * k).cast::<__m512i>();
        let (x, y) = (_mm512_loadu_si512(at(0)), _mm512_loadu_si512(at(1)));
        let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
        let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
        let (x, y) = (_mm512_permutex2var_epi64(x, even, y), _mm512_permutex2var_epi64(x, odd, y));
        let (x, y) = gs(x, y, tw.spread::<8>(8 * m, _mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0)), c);
        let (x, y) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
        let (x, y) = gs(x, y, tw.spread::<4>(4 * m, _mm512_setr_epi64(3, 3, 2, 2, 1, 1, 0, 0)), c);
        let (x, y) = swap_pairs(x, y);
        let (x, y) = gs(x, y, tw.spread::<2>(2 * m, _mm512_setr_epi64(1, 1, 1, 1, 0, 0, 0, 0)), c);
        let (mut x, mut y) = (_mm512_shuffle_i64x2::<0x44>(x, y), _mm512_shuffle_i64x2::<0xee>(x, y));
        if STRIDE8 {
            (x, y) = gs(x, y, tw.splat(m), c);
        }
        _mm512_storeu_si512(at(0), x);
        _mm512_storeu_si512(at(1), y);
    }
}
