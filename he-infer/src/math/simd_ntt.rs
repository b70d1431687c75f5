//! AVX-512-IFMA transforms: radix 8 and 4, blocks of 32 KiB finished inside the first-level cache, six levels in registers.
//!
//! Node `p` of the transform tree covers `len` consecutive words and uses twiddle `W[p]`; its children are `2p`, `2p + 1`.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "constant indices into arrays of registers")]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::buffer::AlignedWords;
use super::modulus::Modulus;
use super::ntt::{LastLevel, Tables};
use super::simd_butterfly::*;

/// Words of a sub-transform that fits the first-level cache.
const BLOCK: usize = 4096;

/// Primes below `2^LAZY_BITS` leave room for a whole forward transform without any reduction before the last level.
const LAZY_BITS: u32 = 45;

/// Primes below `2^LAZY_INVERSE_BITS` leave room for three inverse levels from `8q` on without any reduction: `64q < 2^52`. Of what a
/// pass writes only sums of sums of sums exceed `8q` then, one vector in eight (six levels in registers begin with `q`).
const LAZY_INVERSE_BITS: u32 = 46;

/// Shortest transform handled here.
pub(super) const MIN_LEN: usize = 256;

/// Words whose last six levels are done in registers.
pub(super) const WORDS: usize = 64;

/// The twiddles `w` of the last six levels as the kernels read them: all that belong to 64 words beside each other. They are most of
/// the table, and transforms of many primes read it from memory: one stream, and no companions for the last three levels.
pub(super) fn last_levels(m: &Modulus, w: &[u64]) -> AlignedWords {
    let blocks = w.len() / WORDS;
    let mut out = AlignedWords::zeroed(blocks * BLOCK_WORDS);
    for (b, out) in out.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        let mut at = 0;
        for level in 0..6 {
            let count = 1 << level;
            let first = (blocks + b) << level;
            let roots = &w[first..first + count];
            at = match level {
                0..=2 => {
                    // The fourteen words of the first levels leave a gap of two, so that vectors start on cache lines.
                    let at = if level == 2 { 8 } else { at };
                    for (i, w) in roots.iter().enumerate() {
                        (out[at + i], out[at + count + i]) = (*w, m.shoup(*w));
                    }
                    at + 2 * count
                }
                _ => {
                    roots.iter().enumerate().for_each(|(i, w)| out[at + i] = m.to_mont(*w));
                    at + count
                }
            };
        }
    }
    out
}

/// Raw pointers to the tables of one transform.
#[derive(Clone, Copy)]
struct Roots {
    tw: Tw,
    blocks: *const u64,
    /// Number of blocks, which is the number of the first one's node.
    count: usize,
}

impl Roots {
    fn new(t: &Tables<'_>) -> Self {
        let count = t.n / WORDS;
        assert!(t.w.len() == count && t.companion.len() == count && t.blocks.len() == count * BLOCK_WORDS);
        Self { tw: Tw { w: t.w.as_ptr(), s: t.companion.as_ptr() }, blocks: t.blocks.as_ptr(), count }
    }

    /// Twiddles below node `p`; to be read only if that is one of the blocks.
    fn block(self, p: usize) -> Block {
        Block(self.blocks.wrapping_add(p.wrapping_sub(self.count).wrapping_mul(BLOCK_WORDS)))
    }
}

/// What the six levels in registers will read from memory: each step of a pass over a block of at most [`BLOCK`] words, which itself
/// works on the first-level cache, asks for a little of it, so that memory is busy all the time. At `n = 2^16` with tables of many
/// primes an inverse transform took a fifth longer without.
#[derive(Clone, Copy)]
struct Ahead {
    /// Twiddles, if any.
    roots: *const u64,
    /// Words to be transformed, if any.
    words: *const u64,
}

impl Ahead {
    fn nothing() -> Self {
        Self { roots: std::ptr::null(), words: std::ptr::null() }
    }

    /// Ask for as much as belongs to the 128 words of one step in two: a block is passed over twice.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn step(&mut self) {
        let fetch = |at: &mut *const u64, words: usize| {
            if !at.is_null() {
                (0..words).step_by(8).for_each(|i| _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(i).cast()));
                *at = at.wrapping_add(words);
            }
        };
        fetch(&mut self.roots, BLOCK_WORDS);
        fetch(&mut self.words, WORDS);
    }
}

/// Forward transform; the caller has checked the processor through `Backend::detect`.
pub(super) fn forward(a: &mut [u64], t: Tables<'_>) {
    assert!(a.len() == t.n && t.n >= MIN_LEN);
    let roots = Roots::new(&t);
    // SAFETY: only reached with a `Backend` from `detect`, so the features exist; lengths are asserted above and every
    // node covers a sub-range of `a` and of the tables.
    unsafe {
        let (a, c) = (a.as_mut_ptr(), &Consts::new(t.modulus));
        // Values start below 4q and gain 2q a level; twice their bound, 38q, must stay below 2^52.
        if t.modulus.value() < 1 << LAZY_BITS && t.n <= 1 << 17 {
            forward_node::<true>(a, t.n, 1, roots, c);
        } else {
            forward_node::<false>(a, t.n, 1, roots, c);
        }
    }
}

/// Inverse transform; the caller has checked the processor through `Backend::detect`.
pub(super) fn inverse(a: &mut [u64], t: Tables<'_>, last: LastLevel) {
    assert!(a.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: as for `forward`.
    unsafe {
        let a = a.as_mut_ptr();
        inverse_root((a, a), t, &last);
    }
}

/// Inverse transform of `src` into `a`; the caller has checked the processor through `Backend::detect`.
pub(super) fn inverse_from(a: &mut [u64], src: &[u64], t: Tables<'_>, last: LastLevel) {
    assert!(a.len() == t.n && src.len() == t.n && t.n >= MIN_LEN);
    // SAFETY: as for `forward`; `src` is as long as `a`.
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

/// A node `p` of the transform tree and its `len` words.
#[derive(Clone, Copy)]
struct Node {
    a: *mut u64,
    len: usize,
    p: usize,
}

/// Levels (2 or 3) that one pass over a node of `len > 64` words takes, so that exactly six remain for 64 words.
fn levels(len: usize) -> u32 {
    if (len.ilog2() - 6).is_multiple_of(3) { 3 } else { 2 }
}

/// # Safety
/// `a` must be valid for `len` words, `p` must be the node of that range in tables of matching length, features present.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_node<const LAZY: bool>(a: *mut u64, len: usize, p: usize, roots: Roots, c: &Consts) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        if len > BLOCK {
            let r = levels(len);
            forward_pass::<LAZY>(r, Node { a, len, p }, roots.tw, c, &mut Ahead::nothing());
            for i in 0..1 << r {
                forward_node::<LAZY>(a.add(i * (len >> r)), len >> r, (p << r) + i, roots, c);
            }
            return;
        }
        let mut ahead = Ahead { roots: roots.block(p * (len / WORDS)).0, ..Ahead::nothing() };
        let mut cur = len;
        while cur > WORDS {
            let r = levels(cur);
            for b in 0..len / cur {
                let node = Node { a: a.add(b * cur), len: cur, p: p * (len / cur) + b };
                forward_pass::<LAZY>(r, node, roots.tw, c, &mut ahead);
            }
            cur >>= r;
        }
        forward_last::<LAZY>(a, len, p * (len / WORDS), roots, c);
    }
}

/// Two or three levels over one node.
///
/// # Safety
/// `a` valid for `len` words, `(p + 1) << (r - 1)` at most the table length, `len >> r` a multiple of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass<const LAZY: bool>(r: u32, node: Node, tw: Tw, c: &Consts, ahead: &mut Ahead) {
    // SAFETY: the caller's promise.
    unsafe {
        if r == 3 {
            forward_pass8::<LAZY>(node, tw, c, ahead);
        } else {
            forward_pass4::<LAZY>(node, tw, c, ahead);
        }
    }
}

/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass8<const LAZY: bool>(Node { a, len, p }: Node, tw: Tw, c: &Consts, ahead: &mut Ahead) {
    let s = len / 8;
    for j in (0..s).step_by(16) {
        let p = opaque(p);
        ahead.step();
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
unsafe fn forward_pass4<const LAZY: bool>(Node { a, len, p }: Node, tw: Tw, c: &Consts, ahead: &mut Ahead) {
    let s = len / 4;
    for j in (0..s).step_by(32) {
        let p = opaque(p);
        ahead.step();
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
/// `a` valid for `len` words, a multiple of 128; the nodes must be blocks of `roots`.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_last<const LAZY: bool>(a: *mut u64, len: usize, first: usize, roots: Roots, c: &Consts) {
    for b in (0..len / WORDS).step_by(2) {
        let (p, q) = (roots.block(first + b), roots.block(first + b + 1));
        // SAFETY: 128 words and two blocks of twiddles are accessed.
        unsafe {
            let a = a.add(WORDS * b);
            let (mut v, mut o) = (halves(gather(a, 8)), halves(gather(a.add(WORDS), 8)));
            (v, o) = (ct::<2, LAZY>(v, [p.splat(0, 0); 4], c), ct::<2, LAZY>(o, [q.splat(0, 0); 4], c));
            (v, o) = (down(v), down(o));
            let t = |p: Block| {
                let (t0, t1) = (p.splat(1, 0), p.splat(1, 1));
                [t0, t1, t0, t1]
            };
            (v, o) = (ct::<2, LAZY>(v, t(p), c), ct::<2, LAZY>(o, t(q), c));
            (v, o) = (down(v), down(o));
            let t = |p: Block| [p.splat(2, 0), p.splat(2, 1), p.splat(2, 2), p.splat(2, 3)];
            (v, o) = (ct::<4, LAZY>(v, t(p), c), ct::<4, LAZY>(o, t(q), c));
            (v, o) = (perfect(v), perfect(o));
            let t = |p: Block| [p.two(0), p.two(2), p.two(4), p.two(6)];
            (v, o) = (ct_short::<LAZY>(v, t(p), c), ct_short::<LAZY>(o, t(q), c));
            (v, o) = (perfect(v), perfect(o));
            let t = |p: Block| [p.four(0), p.four(4), p.four(8), p.four(12)];
            (v, o) = (ct_short::<LAZY>(v, t(p), c), ct_short::<LAZY>(o, t(q), c));
            (v, o) = (perfect(v), perfect(o));
            let t = |p: Block| [p.eight(0), p.eight(8), p.eight(16), p.eight(24)];
            if LAZY {
                (v.0, o.0) = (settle(v.0, c), settle(o.0, c));
            }
            (v, o) = (ct_short::<false>(v, t(p), c), ct_short::<false>(o, t(q), c));
            (v, o) = (perfect(reduce(v, c)), perfect(reduce(o, c)));
            scatter(a, 8, flat(v));
            scatter(a.add(WORDS), 8, flat(o));
        }
    }
}

/// From any dirty value to a clean one below `2q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn settle<const R: usize>(x: [__m512i; R], c: &Consts) -> [__m512i; R] {
    let zero = _mm512_setzero_si512();
    let h: [_; R] = from_fn(|i| _mm512_madd52hi_epu64(zero, x[i], c.ratio));
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

/// From `src` into `a`, which may be the same.
///
/// # Safety
/// As for [`forward_node`]; `src` must be readable for `len` words.
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
/// As for [`forward_pass`].
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
/// As for [`forward_pass`].
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
            let join = |(x, y): Pairs| [x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3]];
            scatter(a.add(j), s, join(v));
            scatter(a.add(j + 8), s, join(o));
        }
    }
}

/// # Safety
/// As for [`forward_pass`].
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

#[inline]
fn neighbours(v: [__m512i; 8]) -> Pairs {
    ([v[0], v[2], v[4], v[6]], [v[1], v[3], v[5], v[7]])
}

/// The first six inverse levels of every 64 words. `first` is the node of the first 64.
///
/// # Safety
/// As for [`forward_last`]; `src` must be readable for `len` words.
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
            let (mut v, mut o) = (neighbours(gather(src, 8)), neighbours(gather(src.add(WORDS), 8)));
            let (even, odd) = ([14, 12, 10, 8, 6, 4, 2, 0], [15, 13, 11, 9, 7, 5, 3, 1]);
            (v, o) = (shuffle(v, even, odd), shuffle(o, even, odd));
            let t = |p: Block| [p.eight(24), p.eight(16), p.eight(8), p.eight(0)];
            (v, o) = (gs_short::<LAZY>(v, t(p), c), gs_short::<LAZY>(o, t(q), c));
            (v, o) = (unshuffle(v), unshuffle(o));
            let t = |p: Block| [p.four(12), p.four(8), p.four(4), p.four(0)];
            (v, o) = (gs_short::<LAZY>(v, t(p), c), gs_short::<LAZY>(o, t(q), c));
            (v, o) = (unshuffle(v), unshuffle(o));
            let t = |p: Block| [p.two(6), p.two(4), p.two(2), p.two(0)];
            (v, o) = (gs_short::<LAZY>(v, t(p), c), gs_short::<LAZY>(o, t(q), c));
            (v, o) = (unshuffle(v), unshuffle(o));
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
            for (a, (x, y)) in [(a, v), (a.add(WORDS), o)] {
                scatter(a, 8, x);
                scatter(a.add(32), 8, y);
            }
        }
    }
}
