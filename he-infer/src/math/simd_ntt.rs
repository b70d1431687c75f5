//! AVX-512-IFMA transforms, forward, and what both directions share: radix 8 and 4, blocks of 32 KiB finished inside the first-level cache, six levels in registers.
//!
//! Node `p` of the transform tree covers `len` consecutive words and uses twiddle `W[p]`; its children are `2p`, `2p + 1`.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "constant indices into arrays of registers")]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::buffer::AlignedWords;
use super::modulus::Modulus;
use super::ntt::Tables;
use super::simd_butterfly::*;

/// Words of a sub-transform that fits the first-level cache.
pub(super) const BLOCK: usize = 4096;

/// Primes below `2^LAZY_BITS` leave room for a whole forward transform without any reduction before the last level.
const LAZY_BITS: u32 = 45;

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
                    // The kernels hold one row of eight words in each lane.
                    let per_row = count / 8;
                    for (i, w) in roots.iter().enumerate() {
                        out[at + 8 * (i % per_row) + i / per_row] = m.to_mont(*w);
                    }
                    at + count
                }
            };
        }
    }
    out
}

/// Raw pointers to the tables of one transform.
#[derive(Clone, Copy)]
pub(super) struct Roots {
    pub(super) tw: Tw,
    blocks: *const u64,
    /// Number of blocks, which is the number of the first one's node.
    count: usize,
}

impl Roots {
    pub(super) fn new(t: &Tables<'_>) -> Self {
        let count = t.n / WORDS;
        assert!(t.w.len() == count && t.companion.len() == count && t.blocks.len() == count * BLOCK_WORDS);
        Self { tw: Tw { w: t.w.as_ptr(), s: t.companion.as_ptr() }, blocks: t.blocks.as_ptr(), count }
    }

    /// Twiddles below node `p`; to be read only if that is one of the blocks.
    pub(super) fn block(self, p: usize) -> Block {
        Block(self.blocks.wrapping_add(p.wrapping_sub(self.count).wrapping_mul(BLOCK_WORDS)))
    }
}

/// What the six levels in registers will read from memory: each step of a pass over a block of at most [`BLOCK`] words, which itself
/// works on the first-level cache, asks for a little of it, so that memory is busy all the time. At `n = 2^16` with tables of many
/// primes an inverse transform took a fifth longer without.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Twiddles, if any.
    pub(super) roots: *const u64,
    /// Words to be transformed, if any.
    pub(super) words: *const u64,
}

impl Ahead {
    pub(super) fn nothing() -> Self {
        Self { roots: std::ptr::null(), words: std::ptr::null() }
    }

    /// Ask for as much as belongs to the 128 words of one step in two: a block is passed over twice.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn step(&mut self) {
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

/// Forward transform, to below `2q` unless `REDUCED`; the caller has checked the processor through `Backend::detect`.
pub(super) fn forward<const REDUCED: bool>(a: &mut [u64], t: Tables<'_>) {
    assert!(a.len() == t.n && t.n >= MIN_LEN);
    let roots = Roots::new(&t);
    // SAFETY: only reached with a `Backend` from `detect`, so the features exist; lengths are asserted above and every
    // node covers a sub-range of `a` and of the tables.
    unsafe {
        let (a, c) = (a.as_mut_ptr(), &Consts::new(t.modulus));
        // Values start below 4q, are raised by 36q and gain or lose less than 2q at each of sixteen levels: none becomes negative, and all
        // stay below 72q < 2^52.
        if t.modulus.value() < 1 << LAZY_BITS && t.n <= 1 << 17 {
            forward_node::<true, REDUCED>(a, t.n, 1, roots, c);
        } else {
            forward_node::<false, REDUCED>(a, t.n, 1, roots, c);
        }
    }
}

/// A node `p` of the transform tree and its `len` words.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) a: *mut u64,
    pub(super) len: usize,
    pub(super) p: usize,
}

/// Levels (2 or 3) that one pass over a node of `len > 64` words takes, so that exactly six remain for 64 words.
pub(super) fn levels(len: usize) -> u32 {
    if (len.ilog2() - 6).is_multiple_of(3) { 3 } else { 2 }
}

/// # Safety
/// `a` must be valid for `len` words, `p` must be the node of that range in tables of matching length, features present.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_node<const LAZY: bool, const REDUCED: bool>(
    a: *mut u64,
    len: usize,
    p: usize,
    roots: Roots,
    c: &Consts,
) {
    // SAFETY: sub-ranges below partition `a[..len]`; node indices stay inside the subtree of `p`.
    unsafe {
        if len > BLOCK {
            let r = levels(len);
            let (node, ahead) = (Node { a, len, p }, &mut Ahead::nothing());
            if p == 1 {
                forward_pass::<LAZY, true>(r, node, roots.tw, c, ahead);
            } else {
                forward_pass::<LAZY, false>(r, node, roots.tw, c, ahead);
            }
            for i in 0..1 << r {
                forward_node::<LAZY, REDUCED>(a.add(i * (len >> r)), len >> r, (p << r) + i, roots, c);
            }
            return;
        }
        let mut ahead = Ahead { roots: roots.block(p * (len / WORDS)).0, ..Ahead::nothing() };
        let mut cur = len;
        while cur > WORDS {
            let r = levels(cur);
            for b in 0..len / cur {
                let node = Node { a: a.add(b * cur), len: cur, p: p * (len / cur) + b };
                if p == 1 && cur == len {
                    forward_pass::<LAZY, true>(r, node, roots.tw, c, &mut ahead);
                } else {
                    forward_pass::<LAZY, false>(r, node, roots.tw, c, &mut ahead);
                }
            }
            cur >>= r;
        }
        forward_last::<LAZY, REDUCED>(a, len, p * (len / WORDS), roots, c);
    }
}

/// Two or three levels over one node.
///
/// # Safety
/// `a` valid for `len` words, `(p + 1) << (r - 1)` at most the table length, `len >> r` a multiple of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass<const LAZY: bool, const ROOT: bool>(
    r: u32,
    node: Node,
    tw: Tw,
    c: &Consts,
    ahead: &mut Ahead,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if r == 3 {
            forward_pass8::<LAZY, ROOT>(node, tw, c, ahead);
        } else {
            forward_pass4::<LAZY, ROOT>(node, tw, c, ahead);
        }
    }
}

/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_pass8<const LAZY: bool, const ROOT: bool>(
    Node { a, len, p }: Node,
    tw: Tw,
    c: &Consts,
    ahead: &mut Ahead,
) {
    let s = len / 8;
    for j in (0..s).step_by(16) {
        let p = opaque(p);
        ahead.step();
        // SAFETY: `j + 16 <= s`, so all accesses lie inside the node's range.
        unsafe {
            let mut v = halves(gather(a.add(j), s));
            let mut o = halves(gather(a.add(j + 8), s));
            if LAZY && ROOT {
                (v.0, o.0) = (raise(v.0, c), raise(o.0, c));
            }
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
unsafe fn forward_pass4<const LAZY: bool, const ROOT: bool>(
    Node { a, len, p }: Node,
    tw: Tw,
    c: &Consts,
    ahead: &mut Ahead,
) {
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
            if LAZY && ROOT {
                (v.0, o.0) = (raise(v.0, c), raise(o.0, c));
            }
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

/// First inputs of the first level, so large that no difference of a lazy transform is negative.
#[inline]
#[target_feature(enable = "avx512f")]
fn raise(x: [__m512i; 4], c: &Consts) -> [__m512i; 4] {
    x.map(|x| _mm512_add_epi64(x, c.offset))
}

/// The last six levels of every 64 words, then full reduction or, unless `REDUCED`, to below `2q`. `first` is the node of the first 64.
///
/// Two blocks take turns in the order in which instructions stand here: what is shuffled or reduced of the one runs beside the
/// multiplications of the other, which the processor does not look far enough ahead to find.
///
/// # Safety
/// `a` valid for `len` words, a multiple of 128; the nodes must be blocks of `roots`.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
unsafe fn forward_last<const LAZY: bool, const REDUCED: bool>(
    a: *mut u64,
    len: usize,
    first: usize,
    roots: Roots,
    c: &Consts,
) {
    for b in (0..len / WORDS).step_by(2) {
        let (p, q) = (roots.block(first + b), roots.block(first + b + 1));
        // SAFETY: 128 words and two blocks of twiddles are accessed.
        unsafe {
            let a = a.add(WORDS * b);
            let one = |v: Pairs, p: Block| down(ct::<2, LAZY>(v, [p.splat(0, 0); 4], c));
            let two = |v: Pairs, p: Block| {
                let (t0, t1) = (p.splat(1, 0), p.splat(1, 1));
                down(ct::<2, LAZY>(v, [t0, t1, t0, t1], c))
            };
            let three = |v: Pairs, p: Block| {
                flat(ct::<4, LAZY>(v, [p.splat(2, 0), p.splat(2, 1), p.splat(2, 2), p.splat(2, 3)], c))
            };
            let four = |v: [__m512i; 8], p: Block| down(ct_short::<LAZY>(halves(v), [p.rows(3, 0); 4], c));
            let five = |v: Pairs, p: Block| {
                let (t0, t1) = (p.rows(4, 0), p.rows(4, 1));
                down(ct_short::<LAZY>(v, [t0, t1, t0, t1], c))
            };
            let six = |(mut x, y): Pairs, p: Block| {
                if LAZY {
                    x = settle_raised(x, c);
                }
                flat(ct_short::<LAZY>((x, y), [p.rows(5, 0), p.rows(5, 1), p.rows(5, 2), p.rows(5, 3)], c))
            };
            let (v, o) = (halves(gather(a, 8)), halves(gather(a.add(WORDS), 8)));
            let v = two(one(v, p), p);
            let o = one(o, q);
            let v = three(v, p);
            let o = two(o, q);
            let v = exchange::<1>(v);
            let o = three(o, q);
            let v = four(exchange::<4>(exchange::<2>(v)), p);
            let o = exchange::<2>(exchange::<1>(o));
            let v = five(v, p);
            let o = four(exchange::<4>(o), q);
            let v = six(v, p);
            let o = five(o, q);
            let v = exchange::<1>(reduce::<REDUCED>(v, c));
            let o = six(o, q);
            scatter(a, 8, exchange::<4>(exchange::<2>(v)));
            scatter(a.add(WORDS), 8, transpose(reduce::<REDUCED>(o, c)));
        }
    }
}

/// From any dirty value to a clean one in `[q, 3q)`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn settle_raised(x: [__m512i; 4], c: &Consts) -> [__m512i; 4] {
    let h: [_; 4] = from_fn(|i| _mm512_madd52hi_epu64(_mm512_set1_epi64(-1), x[i], c.ratio));
    from_fn(|i| _mm512_and_si512(_mm512_madd52lo_epu64(x[i], h[i], c.neg_q), c.mask))
}

/// From any dirty value to a clean one below `2q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn settle<const R: usize>(x: [__m512i; R], c: &Consts) -> [__m512i; R] {
    let zero = _mm512_setzero_si512();
    let h: [_; R] = from_fn(|i| _mm512_madd52hi_epu64(zero, x[i], c.ratio));
    from_fn(|i| _mm512_and_si512(_mm512_madd52lo_epu64(x[i], h[i], c.neg_q), c.mask))
}

/// From below `4q` to below `2q`, or `q` if `REDUCED`.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce<const REDUCED: bool>(x: [__m512i; 8], c: &Consts) -> [__m512i; 8] {
    let x = x.map(|x| fold(x, c.q2));
    if REDUCED { x.map(|x| fold(x, c.q)) } else { x }
}
