//! AVX-512-IFMA transforms, inverse: the passes of [`super::simd_ntt`] in reverse order, with the twiddles of mirrored nodes.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "constant indices into arrays of registers")]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::ntt::{LastLevel, Tables};
use super::simd_butterfly::*;
use super::simd_ntt::{Ahead, BLOCK, MIN_LEN, Node, Roots, WORDS, levels, settle};

/// Primes below `2^LAZY_INVERSE_BITS` leave room for three inverse levels from `8q` on without any reduction: `64q < 2^52`. Of what a
/// pass writes only sums of sums of sums exceed `8q` then, one vector in eight (six levels in registers begin with `q`).
const LAZY_INVERSE_BITS: u32 = 46;

/// Inverse transform; the caller has checked the processor through `Backend::detect`.
pub(super) fn inverse(a: &mut [u64], t: Tables<'_>, last: LastLevel) {
    assert!(a.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: only reached with a `Backend` from `detect`, so the features exist; lengths are asserted.
    unsafe {
        let a = a.as_mut_ptr();
        inverse_root((a, a), t, &last);
    }
}

/// Inverse transform of `src` into `a`; the caller has checked the processor through `Backend::detect`.
pub(super) fn inverse_from(a: &mut [u64], src: &[u64], t: Tables<'_>, last: LastLevel) {
    assert!(a.len() == t.n && src.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: as for `inverse`; `src` is as long as `a`.
    unsafe {
        inverse_root((a.as_mut_ptr(), src.as_ptr()), t, &last);
    }
}

/// # Safety
/// Both must be valid for `t.n` words, features present.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_root(words: (*mut u64, *const u64), t: Tables<'_>, last: &LastLevel) {
    let (roots, c) = (Roots::new(&t), &Consts::new(t.modulus));
    // SAFETY: the caller's promise.
    unsafe {
        if t.modulus.value() < 1 << LAZY_INVERSE_BITS {
            inverse_node::<true>(words, t.n, 1, roots, c, last);
        } else {
            inverse_node::<false>(words, t.n, 1, roots, c, last);
        }
    }
}

/// Mirror of node `p` within its level.
#[inline]
fn mirror(p: usize) -> usize {
    p ^ ((1 << p.ilog2()) - 1)
}

/// From `src` into `a`, which may be the same.
///
/// # Safety
/// `a` and `src` must be valid for `len` words, `p` must be the node of that range in tables of matching length, features present.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_node<const LAZY: bool>(
    (a, src): (*mut u64, *const u64),
    len: usize,
    p: usize,
    roots: Roots,
    c: &Consts,
    last: &LastLevel,
) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        if len > BLOCK {
            let r = levels(len);
            for i in 0..1 << r {
                let at = i * (len >> r);
                inverse_node::<LAZY>((a.add(at), src.add(at)), len >> r, (p << r) + i, roots, c, last);
            }
            inverse_pass::<LAZY>(r, Node { a, len, p }, roots.tw, c, last, &mut Ahead::nothing());
            return;
        }
        let (first, blocks) = (p * (len / WORDS), len / WORDS);
        inverse_first::<LAZY>((a, src), len, first, roots, c);
        // The next block's twiddles end where those of this one begin.
        let below = mirror(first).wrapping_sub(2 * blocks - 1);
        let mut ahead = Ahead { roots: roots.block(below).0, words: src.wrapping_add(len) };
        // The passes of the forward direction in reverse order.
        let mut cur = WORDS;
        while cur < len {
            let r = if matches!((len / cur).ilog2(), 2 | 4) { 2 } else { 3 };
            cur <<= r;
            for b in 0..len / cur {
                let node = Node { a: a.add(b * cur), len: cur, p: p * (len / cur) + b };
                inverse_pass::<LAZY>(r, node, roots.tw, c, last, &mut ahead);
            }
        }
    }
}

/// Two or three inverse levels over one node; at the root the last one also multiplies by the final constants and reduces.
///
/// # Safety
/// The node's words must be valid, `(p + 1) << (r - 1)` at most the table length, `len >> r` a multiple of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_pass<const LAZY: bool>(
    r: u32,
    node: Node,
    tw: Tw,
    c: &Consts,
    last: &LastLevel,
    ahead: &mut Ahead,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (r, node.p) {
            (3, 1) => inverse_pass8::<true, LAZY>(node, tw, c, last, ahead),
            (3, _) => inverse_pass8::<false, LAZY>(node, tw, c, last, ahead),
            (_, 1) => inverse_pass4::<true, LAZY>(node, tw, c, last, ahead),
            _ => inverse_pass4::<false, LAZY>(node, tw, c, last, ahead),
        }
    }
}

/// The last level of a pass over node `m` (mirrored), clean unless `LAZY`.
///
/// # Safety
/// `m` must be below the table length.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn top<const ROOT: bool, const LAZY: bool>(
    v: Pairs,
    m: usize,
    tw: Tw,
    c: &Consts,
    last: &LastLevel,
) -> Pairs {
    if ROOT {
        let both = |v: (u64, u64)| (_mm512_set1_epi64(v.0 as i64), _mm512_set1_epi64(v.1 as i64));
        return gs_final::<LAZY>(v, both(last.sum), both(last.diff), c);
    }
    // SAFETY: the caller's promise.
    let w = unsafe { tw.splat(m) };
    let (x, y) = gs::<2, LAZY>(v, [w; 4], c);
    (x, from_fn(|i| if LAZY { y[i] } else { _mm512_and_si512(y[i], c.mask) }))
}

/// # Safety
/// As for [`inverse_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_pass8<const ROOT: bool, const LAZY: bool>(
    Node { a, len, p }: Node,
    tw: Tw,
    c: &Consts,
    last: &LastLevel,
    ahead: &mut Ahead,
) {
    let (s, m) = (len / 8, mirror(p));
    for j in (0..s).step_by(16) {
        let m = opaque(m);
        ahead.step();
        // SAFETY: `j + 16 <= s`, so all accesses lie inside the node's range.
        unsafe {
            let (mut v, mut o) = (neighbours(gather(a.add(j), s)), neighbours(gather(a.add(j + 8), s)));
            let t =
                |m: usize| [tw.splat(4 * m + 3), tw.splat(4 * m + 2), tw.splat(4 * m + 1), tw.splat(4 * m)];
            v = up(gs::<4, LAZY>(v, t(m), c));
            o = up(gs::<4, LAZY>(o, t(opaque(m)), c));
            let t = |m: usize| {
                let (t0, t1) = (tw.splat(2 * m + 1), tw.splat(2 * m));
                [t0, t1, t0, t1]
            };
            v = up(gs::<2, LAZY>(v, t(m), c));
            o = up(gs::<2, LAZY>(o, t(opaque(m)), c));
            (v, o) = (top::<ROOT, LAZY>(v, m, tw, c, last), top::<ROOT, LAZY>(o, m, tw, c, last));
            if LAZY && !ROOT {
                [v.0[0], o.0[0]] = settle([v.0[0], o.0[0]], c);
            }
            scatter(a.add(j), s, join(v));
            scatter(a.add(j + 8), s, join(o));
        }
    }
}

/// # Safety
/// As for [`inverse_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_pass4<const ROOT: bool, const LAZY: bool>(
    Node { a, len, p }: Node,
    tw: Tw,
    c: &Consts,
    last: &LastLevel,
    ahead: &mut Ahead,
) {
    let (s, m) = (len / 4, mirror(p));
    for j in (0..s).step_by(32) {
        let m = opaque(m);
        ahead.step();
        // SAFETY: `j + 32 <= s`, so all accesses lie inside the node's range.
        unsafe {
            let load = |j: usize| {
                let (x, y) = (gather::<4>(a.add(j), s), gather::<4>(a.add(j + 8), s));
                ([x[0], x[2], y[0], y[2]], [x[1], x[3], y[1], y[3]])
            };
            let (mut v, mut o) = (load(j), load(j + 16));
            let (t0, t1) = (tw.splat(2 * m + 1), tw.splat(2 * m));
            let t = [t0, t1, t0, t1];
            (v, o) = (up(gs::<4, LAZY>(v, t, c)), up(gs::<4, LAZY>(o, t, c)));
            (v, o) = (top::<ROOT, LAZY>(v, m, tw, c, last), top::<ROOT, LAZY>(o, m, tw, c, last));
            if LAZY && !ROOT {
                [v.0[0], v.0[1], o.0[0], o.0[1]] = settle([v.0[0], v.0[1], o.0[0], o.0[1]], c);
            }
            for (j, (x, y)) in [(j, v), (j + 16, o)] {
                scatter(a.add(j), s, [x[0], x[2], y[0], y[2]]);
                scatter(a.add(j + 8), s, [x[1], x[3], y[1], y[3]]);
            }
        }
    }
}

/// The first six inverse levels of every 64 words. `first` is the node of the first 64.
///
/// # Safety
/// `a` and `src` valid for `len` words, a multiple of 128; the nodes must be blocks of `roots`.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn inverse_first<const LAZY: bool>(
    (a, src): (*mut u64, *const u64),
    len: usize,
    first: usize,
    roots: Roots,
    c: &Consts,
) {
    for b in (0..len / WORDS).step_by(2) {
        // The mirror of the next node is one less.
        let node = mirror(first + b);
        let (p, q) = (roots.block(node), roots.block(node - 1));
        // SAFETY: 128 words are accessed; mirrored nodes lie in the same level, so they are blocks too.
        unsafe {
            let (a, src) = (a.add(WORDS * b), src.add(WORDS * b));
            // Mirrored twiddles belong to the rows in reverse order.
            let rows = |mut v: [__m512i; 8]| {
                v.reverse();
                neighbours(transpose(v))
            };
            let (mut v, mut o) = (rows(gather(src, 8)), rows(gather(src.add(WORDS), 8)));
            let t = |p: Block| [p.rows(5, 3), p.rows(5, 2), p.rows(5, 1), p.rows(5, 0)];
            (v, o) = (gs_short::<LAZY>(v, t(p), c), gs_short::<LAZY>(o, t(q), c));
            (v, o) = (up(v), up(o));
            let t = |p: Block| {
                let (t0, t1) = (p.rows(4, 1), p.rows(4, 0));
                [t0, t1, t0, t1]
            };
            (v, o) = (gs_short::<LAZY>(v, t(p), c), gs_short::<LAZY>(o, t(q), c));
            (v, o) = (up(v), up(o));
            (v, o) = (gs_short::<LAZY>(v, [p.rows(3, 0); 4], c), gs_short::<LAZY>(o, [q.rows(3, 0); 4], c));
            let words = |v: Pairs| {
                let mut v = transpose(join(v));
                v.reverse();
                neighbours(v)
            };
            (v, o) = (words(v), words(o));
            let t = |p: Block| [p.splat(2, 3), p.splat(2, 2), p.splat(2, 1), p.splat(2, 0)];
            (v, o) = (gs::<4, LAZY>(v, t(p), c), gs::<4, LAZY>(o, t(q), c));
            (v, o) = (up(v), up(o));
            let t = |p: Block| {
                let (t0, t1) = (p.splat(1, 1), p.splat(1, 0));
                [t0, t1, t0, t1]
            };
            (v, o) = (gs::<2, LAZY>(v, t(p), c), gs::<2, LAZY>(o, t(q), c));
            (v, o) = (up(v), up(o));
            (v, o) = (gs::<2, LAZY>(v, [p.splat(0, 0); 4], c), gs::<2, LAZY>(o, [q.splat(0, 0); 4], c));
            if LAZY {
                [v.0[0], o.0[0]] = settle([v.0[0], o.0[0]], c);
            } else {
                let clean = |y: [__m512i; 4]| from_fn(|i| _mm512_and_si512(y[i], c.mask));
                (v.1, o.1) = (clean(v.1), clean(o.1));
            }
            scatter(a, 8, join(v));
            scatter(a.add(WORDS), 8, join(o));
        }
    }
}
