//! AVX-512-IFMA transforms: radix 8 and 4, blocks of 32 KiB finished inside the first-level cache, six levels in registers.
//!
//! Node `p` of the transform tree covers `len` consecutive words and uses twiddle `W[p]`; its children are `2p`, `2p + 1`.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "constant indices into arrays of registers")]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::ntt::{LastLevel, Tables};
use super::simd_butterfly::*;

/// Words of a sub-transform that fits the first-level cache.
const BLOCK: usize = 4096;

/// Primes below `2^LAZY_BITS` leave room for a whole forward transform without any reduction before the last level.
const LAZY_BITS: u32 = 45;

/// Shortest transform handled here.
pub(super) const MIN_LEN: usize = 256;

/// Forward transform; the caller has checked the processor through `Backend::detect`.
pub(super) fn forward(a: &mut [u64], t: Tables<'_>) {
    assert!(a.len() == t.n && t.w.len() == t.n && t.companion.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: only reached with a `Backend` from `detect`, so the features exist; lengths are asserted above and every
    // node covers a sub-range of `a` and of the tables.
    unsafe {
        let (a, tw) = (a.as_mut_ptr(), Tw { w: t.w.as_ptr(), s: t.companion.as_ptr() });
        let c = &Consts::new(t.modulus.value());
        // Values start below 4q and gain 2q a level; twice their bound, 38q, must stay below 2^52.
        if t.modulus.value() < 1 << LAZY_BITS && t.n <= 1 << 17 {
            forward_node::<true>(a, t.n, 1, tw, c);
        } else {
            forward_node::<false>(a, t.n, 1, tw, c);
        }
    }
}

/// Inverse transform; the caller has checked the processor through `Backend::detect`.
pub(super) fn inverse(a: &mut [u64], t: Tables<'_>, last: LastLevel) {
    assert!(a.len() == t.n && t.w.len() == t.n && t.companion.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: as for `forward`.
    unsafe {
        let tw = Tw { w: t.w.as_ptr(), s: t.companion.as_ptr() };
        inverse_node(a.as_mut_ptr(), t.n, 1, tw, &Consts::new(t.modulus.value()), &last);
    }
}

/// Levels (2 or 3) that one pass over a node of `len > 64` words takes, so that exactly six remain for 64 words.
fn levels(len: usize) -> u32 {
    if (len.ilog2() - 6).is_multiple_of(3) { 3 } else { 2 }
}

/// # Safety
/// `a` must be valid for `len` words, `p` must be the node of that range in tables of matching length, features present.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_node<const LAZY: bool>(a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        if len > BLOCK {
            let r = levels(len);
            forward_pass::<LAZY>(r, a, len, p, tw, c);
            for i in 0..1 << r {
                forward_node::<LAZY>(a.add(i * (len >> r)), len >> r, (p << r) + i, tw, c);
            }
            return;
        }
        let mut cur = len;
        while cur > 64 {
            let r = levels(cur);
            for b in 0..len / cur {
                forward_pass::<LAZY>(r, a.add(b * cur), cur, p * (len / cur) + b, tw, c);
            }
            cur >>= r;
        }
        forward_last::<LAZY>(a, len, p * (len / 64), tw, c);
    }
}

/// Two or three levels over one node.
///
/// # Safety
/// `a` valid for `len` words, `p << r` at most half the table length, `len >> r` a multiple of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass<const LAZY: bool>(r: u32, a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts) {
    // SAFETY: the caller's promise.
    unsafe {
        if r == 3 { forward_pass8::<LAZY>(a, len, p, tw, c) } else { forward_pass4::<LAZY>(a, len, p, tw, c) }
    }
}

/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass8<const LAZY: bool>(a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts) {
    let s = len / 8;
    for j in (0..s).step_by(16) {
        let p = opaque(p);
        // SAFETY: `j + 16 <= s`, so all accesses lie inside the node's range.
        unsafe {
            let mut v = halves(gather(a.add(j), s));
            let mut o = halves(gather(a.add(j + 8), s));
            let t = [tw.splat(p); 4];
            (v, o) = (down(ct::<2, LAZY>(v, t, c)), down(ct::<2, LAZY>(o, t, c)));
            let (t0, t1) = (tw.splat(2 * p), tw.splat(2 * p + 1));
            let t = [t0, t1, t0, t1];
            (v, o) = (down(ct::<2, LAZY>(v, t, c)), down(ct::<2, LAZY>(o, t, c)));
            let t = [tw.splat(4 * p), tw.splat(4 * p + 1), tw.splat(4 * p + 2), tw.splat(4 * p + 3)];
            (v, o) = (ct::<4, LAZY>(v, t, c), ct::<4, LAZY>(o, t, c));
            scatter(a.add(j), s, flat(v));
            scatter(a.add(j + 8), s, flat(o));
        }
    }
}

/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass4<const LAZY: bool>(a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts) {
    let s = len / 4;
    for j in (0..s).step_by(32) {
        let p = opaque(p);
        // SAFETY: `j + 32 <= s`, so all accesses lie inside the node's range.
        unsafe {
            let load = |j: usize| {
                let (x, y) = (gather::<4>(a.add(j), s), gather::<4>(a.add(j + 8), s));
                ([x[0], y[0], x[1], y[1]], [x[2], y[2], x[3], y[3]])
            };
            let (mut v, mut o) = (load(j), load(j + 16));
            let t = [tw.splat(p); 4];
            (v, o) = (down(ct::<2, LAZY>(v, t, c)), down(ct::<2, LAZY>(o, t, c)));
            let (t0, t1) = (tw.splat(2 * p), tw.splat(2 * p + 1));
            let t = [t0, t1, t0, t1];
            (v, o) = (ct::<4, LAZY>(v, t, c), ct::<4, LAZY>(o, t, c));
            for (j, (x, y)) in [(j, v), (j + 16, o)] {
                scatter(a.add(j), s, [x[0], y[0], x[1], y[1]]);
                scatter(a.add(j + 8), s, [x[2], y[2], x[3], y[3]]);
            }
        }
    }
}

#[inline]
fn halves(v: [__m512i; 8]) -> Pairs {
    ([v[0], v[1], v[2], v[3]], [v[4], v[5], v[6], v[7]])
}

#[inline]
fn flat((x, y): Pairs) -> [__m512i; 8] {
    [x[0], y[0], x[1], y[1], x[2], y[2], x[3], y[3]]
}

/// The last six levels of every 64 words, then full reduction. `first` is the node of the first 64.
///
/// # Safety
/// `a` valid for `len` words, a multiple of 128; `32 first + len / 2` at most the table length.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_last<const LAZY: bool>(a: *mut u64, len: usize, first: usize, tw: Tw, c: &Consts) {
    for b in (0..len / 64).step_by(2) {
        let (p, q) = (first + b, first + b + 1);
        // SAFETY: 128 words are accessed; twiddle reads end at `32q + 32`.
        unsafe {
            let a = a.add(64 * b);
            let (mut v, mut o) = (halves(gather(a, 8)), halves(gather(a.add(64), 8)));
            (v, o) = (ct::<2, LAZY>(v, [tw.splat(p); 4], c), ct::<2, LAZY>(o, [tw.splat(q); 4], c));
            (v, o) = (down(v), down(o));
            let t = |p: usize| {
                let (t0, t1) = (tw.splat(p), tw.splat(p + 1));
                [t0, t1, t0, t1]
            };
            (v, o) = (ct::<2, LAZY>(v, t(2 * p), c), ct::<2, LAZY>(o, t(2 * q), c));
            (v, o) = (down(v), down(o));
            let t = |p: usize| [tw.splat(p), tw.splat(p + 1), tw.splat(p + 2), tw.splat(p + 3)];
            (v, o) = (ct::<4, LAZY>(v, t(4 * p), c), ct::<4, LAZY>(o, t(4 * q), c));
            (v, o) = (perfect(v), perfect(o));
            let t = |p: usize| [tw.two(p), tw.two(p + 2), tw.two(p + 4), tw.two(p + 6)];
            (v, o) = (ct::<4, LAZY>(v, t(8 * p), c), ct::<4, LAZY>(o, t(8 * q), c));
            (v, o) = (perfect(v), perfect(o));
            let t = |p: usize| [tw.four(p), tw.four(p + 4), tw.four(p + 8), tw.four(p + 12)];
            (v, o) = (ct::<4, LAZY>(v, t(16 * p), c), ct::<4, LAZY>(o, t(16 * q), c));
            (v, o) = (perfect(v), perfect(o));
            let t = |p: usize| [tw.eight(p), tw.eight(p + 8), tw.eight(p + 16), tw.eight(p + 24)];
            if LAZY {
                (v.0, o.0) = (settle(v.0, c), settle(o.0, c));
            }
            (v, o) = (ct::<4, false>(v, t(32 * p), c), ct::<4, false>(o, t(32 * q), c));
            (v, o) = (perfect(reduce(v, c)), perfect(reduce(o, c)));
            scatter(a, 8, flat(v));
            scatter(a.add(64), 8, flat(o));
        }
    }
}

/// From any dirty value to a clean one below `2q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn settle(x: [__m512i; 4], c: &Consts) -> [__m512i; 4] {
    let zero = _mm512_setzero_si512();
    let h: [_; 4] = from_fn(|i| _mm512_madd52hi_epu64(zero, x[i], c.ratio));
    from_fn(|i| _mm512_and_si512(_mm512_madd52lo_epu64(x[i], h[i], c.neg_q), c.mask))
}

/// From below `4q` to below `q`.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce((x, y): Pairs, c: &Consts) -> Pairs {
    let (x, y): Pairs = (from_fn(|k| fold(x[k], c.q2)), from_fn(|k| fold(y[k], c.q2)));
    (from_fn(|k| fold(x[k], c.q)), from_fn(|k| fold(y[k], c.q)))
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
            let r = levels(len);
            for i in 0..1 << r {
                inverse_node(a.add(i * (len >> r)), len >> r, (p << r) + i, tw, c, last);
            }
            inverse_pass(r, a, len, p, tw, c, last);
            return;
        }
        inverse_first(a, len, p * (len / 64), tw, c);
        // The passes of the forward direction in reverse order.
        let mut cur = 64;
        while cur < len {
            let r = if matches!((len / cur).ilog2(), 2 | 4) { 2 } else { 3 };
            cur <<= r;
            for b in 0..len / cur {
                inverse_pass(r, a.add(b * cur), cur, p * (len / cur) + b, tw, c, last);
            }
        }
    }
}

/// Two or three inverse levels over one node; at the root the last one also multiplies by the final constants and reduces.
///
/// # Safety
/// As for [`forward_pass`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_pass(r: u32, a: *mut u64, len: usize, p: usize, tw: Tw, c: &Consts, last: &LastLevel) {
    // SAFETY: the caller's promise.
    unsafe {
        match (r, p) {
            (3, 1) => inverse_pass8::<true>(a, len, p, tw, c, last),
            (3, _) => inverse_pass8::<false>(a, len, p, tw, c, last),
            (_, 1) => inverse_pass4::<true>(a, len, p, tw, c, last),
            _ => inverse_pass4::<false>(a, len, p, tw, c, last),
        }
    }
}

/// The last level of a pass over node `m` (mirrored), clean.
///
/// # Safety
/// `m` must be below the table length.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn top<const ROOT: bool>(v: Pairs, m: usize, tw: Tw, c: &Consts, last: &LastLevel) -> Pairs {
    if ROOT {
        let both = |v: (u64, u64)| (_mm512_set1_epi64(v.0 as i64), _mm512_set1_epi64(v.1 as i64));
        return gs_final(v, both(last.sum), both(last.diff), c);
    }
    // SAFETY: the caller's promise.
    let w = unsafe { tw.splat(m) };
    let (x, y) = gs::<2>(v, [w; 4], c);
    (x, from_fn(|i| _mm512_and_si512(y[i], c.mask)))
}

/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_pass8<const ROOT: bool>(
    a: *mut u64,
    len: usize,
    p: usize,
    tw: Tw,
    c: &Consts,
    last: &LastLevel,
) {
    let (s, m) = (len / 8, mirror(p));
    for j in (0..s).step_by(16) {
        let m = opaque(m);
        // SAFETY: `j + 16 <= s`, so all accesses lie inside the node's range.
        unsafe {
            let (mut v, mut o) = (neighbours(gather(a.add(j), s)), neighbours(gather(a.add(j + 8), s)));
            let t = [tw.splat(4 * m + 3), tw.splat(4 * m + 2), tw.splat(4 * m + 1), tw.splat(4 * m)];
            (v, o) = (up(gs::<4>(v, t, c)), up(gs::<4>(o, t, c)));
            let (t0, t1) = (tw.splat(2 * m + 1), tw.splat(2 * m));
            let t = [t0, t1, t0, t1];
            (v, o) = (up(gs::<2>(v, t, c)), up(gs::<2>(o, t, c)));
            (v, o) = (top::<ROOT>(v, m, tw, c, last), top::<ROOT>(o, m, tw, c, last));
            let join = |(x, y): Pairs| [x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3]];
            scatter(a.add(j), s, join(v));
            scatter(a.add(j + 8), s, join(o));
        }
    }
}

/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_pass4<const ROOT: bool>(
    a: *mut u64,
    len: usize,
    p: usize,
    tw: Tw,
    c: &Consts,
    last: &LastLevel,
) {
    let (s, m) = (len / 4, mirror(p));
    for j in (0..s).step_by(32) {
        let m = opaque(m);
        // SAFETY: `j + 32 <= s`, so all accesses lie inside the node's range.
        unsafe {
            let load = |j: usize| {
                let (x, y) = (gather::<4>(a.add(j), s), gather::<4>(a.add(j + 8), s));
                ([x[0], x[2], y[0], y[2]], [x[1], x[3], y[1], y[3]])
            };
            let (mut v, mut o) = (load(j), load(j + 16));
            let (t0, t1) = (tw.splat(2 * m + 1), tw.splat(2 * m));
            let t = [t0, t1, t0, t1];
            (v, o) = (up(gs::<4>(v, t, c)), up(gs::<4>(o, t, c)));
            (v, o) = (top::<ROOT>(v, m, tw, c, last), top::<ROOT>(o, m, tw, c, last));
            for (j, (x, y)) in [(j, v), (j + 16, o)] {
                scatter(a.add(j), s, [x[0], x[2], y[0], y[2]]);
                scatter(a.add(j + 8), s, [x[1], x[3], y[1], y[3]]);
            }
        }
    }
}

#[inline]
fn neighbours(v: [__m512i; 8]) -> Pairs {
    ([v[0], v[2], v[4], v[6]], [v[1], v[3], v[5], v[7]])
}

/// The first six inverse levels of every 64 words. `first` is the node of the first 64.
///
/// # Safety
/// As for [`forward_last`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_first(a: *mut u64, len: usize, first: usize, tw: Tw, c: &Consts) {
    for b in (0..len / 64).step_by(2) {
        // The mirror of the next node is one less.
        let p = mirror(first + b);
        let q = p - 1;
        // SAFETY: 128 words are accessed; mirrored nodes lie in the same level, so twiddle reads stay inside the tables.
        unsafe {
            let a = a.add(64 * b);
            let (mut v, mut o) = (neighbours(gather(a, 8)), neighbours(gather(a.add(64), 8)));
            let (even, odd) = ([14, 12, 10, 8, 6, 4, 2, 0], [15, 13, 11, 9, 7, 5, 3, 1]);
            (v, o) = (shuffle(v, even, odd), shuffle(o, even, odd));
            let t = |p: usize| [tw.eight(p + 24), tw.eight(p + 16), tw.eight(p + 8), tw.eight(p)];
            (v, o) = (gs::<4>(v, t(32 * p), c), gs::<4>(o, t(32 * q), c));
            (v, o) = (unshuffle(v), unshuffle(o));
            let t = |p: usize| [tw.four(p + 12), tw.four(p + 8), tw.four(p + 4), tw.four(p)];
            (v, o) = (gs::<0>(v, t(16 * p), c), gs::<0>(o, t(16 * q), c));
            (v, o) = (unshuffle(v), unshuffle(o));
            let t = |p: usize| [tw.two(p + 6), tw.two(p + 4), tw.two(p + 2), tw.two(p)];
            (v, o) = (gs::<0>(v, t(8 * p), c), gs::<0>(o, t(8 * q), c));
            (v, o) = (unshuffle(v), unshuffle(o));
            let t = |p: usize| [tw.splat(p + 3), tw.splat(p + 2), tw.splat(p + 1), tw.splat(p)];
            (v, o) = (gs::<0>(v, t(4 * p), c), gs::<0>(o, t(4 * q), c));
            (v, o) = (up(v), up(o));
            let t = |p: usize| {
                let (t0, t1) = (tw.splat(p + 1), tw.splat(p));
                [t0, t1, t0, t1]
            };
            (v, o) = (gs::<2>(v, t(2 * p), c), gs::<2>(o, t(2 * q), c));
            (v, o) = (up(v), up(o));
            (v, o) = (gs::<2>(v, [tw.splat(p); 4], c), gs::<2>(o, [tw.splat(q); 4], c));
            for (a, (x, y)) in [(a, v), (a.add(64), o)] {
                scatter(a, 8, x);
                scatter(a.add(32), 8, from_fn::<_, 4, _>(|i| _mm512_and_si512(y[i], c.mask)));
            }
        }
    }
}
