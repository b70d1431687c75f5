//! Butterflies of the AVX-512-IFMA transforms, four at a time on eight registers, and the shuffles between them.
//!
//! What limits the speed is the small window of the vector schedulers, not the number of instructions: independent
//! butterflies are therefore written stage by stage, and twiddles are memory operands so that sixteen vectors of data stay
//! in registers.
//!
//! A value is *dirty* if it is wrong by a multiple of `2^52`. The multiplier reads the low 52 bits only, so a factor may be
//! dirty; whatever is compared (in a conditional subtraction) may not, nor the result of a transform.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "constant indices into arrays of registers")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::array::from_fn;

use super::modulus::Modulus;

#[derive(Clone, Copy)]
pub(super) struct Consts {
    pub(super) neg_q: __m512i,
    pub(super) q: __m512i,
    pub(super) q2: __m512i,
    /// `32 q`.
    pub(super) q32: __m512i,
    pub(super) mask: __m512i,
    pub(super) two: __m512i,
    /// `floor(2^52 / q)`.
    pub(super) ratio: __m512i,
    /// `q^-1 mod 2^52`.
    pub(super) q_inv: __m512i,
    /// A multiple of `q`, more than lazy forward levels take away.
    pub(super) offset: __m512i,
}

impl Consts {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(m: &Modulus) -> Self {
        let q = m.value();
        Self {
            offset: _mm512_set1_epi64(36 * q as i64),
            q_inv: _mm512_set1_epi64(m.inverse_mod_radix() as i64),
            neg_q: _mm512_set1_epi64(((1 << 52) - q) as i64),
            q: _mm512_set1_epi64(q as i64),
            q2: _mm512_set1_epi64(2 * q as i64),
            q32: _mm512_set1_epi64(32 * q as i64),
            mask: _mm512_set1_epi64((1 << 52) - 1),
            two: _mm512_set1_epi64(2),
            ratio: _mm512_set1_epi64(((1 << 52) / q) as i64),
        }
    }
}

/// A vector of twiddles and their Shoup companions.
pub(super) type Twiddle = (__m512i, __m512i);

/// Eight vectors as the first and second inputs of four butterflies.
pub(super) type Pairs = ([__m512i; 4], [__m512i; 4]);

/// `x w mod q` in `[0, 2q)`, dirty; so may be `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn shoup(x: [__m512i; 4], w: [Twiddle; 4], c: &Consts) -> [__m512i; 4] {
    let zero = _mm512_setzero_si512();
    let h: [_; 4] = from_fn(|i| _mm512_madd52hi_epu64(zero, x[i], w[i].1));
    let l: [_; 4] = from_fn(|i| _mm512_madd52lo_epu64(zero, x[i], w[i].0));
    from_fn(|i| _mm512_madd52lo_epu64(l[i], h[i], c.neg_q))
}

/// `y` if `x` is negative, else the smaller one. Both must be below `2^62`, `x` above `-2^52` and `y` not negative.
///
/// It compares them as doubles: there these order like integers, a negative `x` is not a number, and then the instruction
/// returns its second operand. It runs beside the multipliers; the minimum of integers occupies them on Zen 4. (Rust rules
/// out the mode that takes the smallest doubles for zero.)
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn smaller(x: __m512i, y: __m512i) -> __m512i {
    _mm512_castpd_si512(_mm512_min_pd(_mm512_castsi512_pd(x), _mm512_castsi512_pd(y)))
}

/// `x - m` if that is not negative, else `x`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn fold(x: __m512i, m: __m512i) -> __m512i {
    smaller(_mm512_sub_epi64(x, m), x)
}

/// Cooley–Tukey butterflies, inputs and outputs below `4q`. The second inputs may be dirty; outputs are clean in
/// butterflies below `CLEAN` and dirty in the others.
///
/// With `LAZY` nothing is folded or masked: everything may be dirty, and outputs differ from the first input, at least `2q`, by less than
/// that.
///
/// The product is accumulated on top of the folded input `u`; the second output is `2u + 2q` (`LAZY`: `2u`) minus the first.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn ct<const CLEAN: usize, const LAZY: bool>((x, y): Pairs, w: [Twiddle; 4], c: &Consts) -> Pairs {
    let zero = _mm512_setzero_si512();
    let h: [_; 4] = from_fn(|i| _mm512_madd52hi_epu64(zero, y[i], w[i].1));
    let u: [_; 4] = from_fn(|i| if LAZY { x[i] } else { fold(x[i], c.q2) });
    // The multipliers are the bottleneck once nothing is folded, additions before.
    let twice = |u| if LAZY { _mm512_add_epi64(u, u) } else { _mm512_madd52lo_epu64(c.q2, u, c.two) };
    let t = u.map(twice);
    let l: [_; 4] = from_fn(|i| _mm512_madd52lo_epu64(u[i], y[i], w[i].0));
    let l: [_; 4] = from_fn(|i| _mm512_madd52lo_epu64(l[i], h[i], c.neg_q));
    let x: [_; 4] = from_fn(|i| if i < CLEAN && !LAZY { _mm512_and_si512(l[i], c.mask) } else { l[i] });
    pin((x, from_fn(|i| _mm512_sub_epi64(t[i], x[i]))))
}

/// Gentleman–Sande butterflies with the negated twiddles of mirrored nodes, inputs and outputs below `2q`. The inputs may be
/// dirty in butterflies from `CLEAN` on; sums are clean and products dirty.
///
/// With `LAZY` nothing is folded or masked: inputs may be dirty and up to `32q`, sums reach `64q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn gs<const CLEAN: usize, const LAZY: bool>((x, y): Pairs, w: [Twiddle; 4], c: &Consts) -> Pairs {
    let t: [_; 4] = from_fn(|i| _mm512_add_epi64(y[i], if LAZY { c.q32 } else { c.q2 }));
    let s: [_; 4] = from_fn(|i| _mm512_add_epi64(x[i], y[i]));
    let d: [_; 4] = from_fn(|i| _mm512_sub_epi64(t[i], x[i]));
    if LAZY {
        return pin((s, shoup(d, w, c)));
    }
    let s: [_; 4] = from_fn(|i| if i < CLEAN { s[i] } else { _mm512_and_si512(s[i], c.mask) });
    let s: [_; 4] = from_fn(|i| fold(s[i], c.q2));
    pin((s, shoup(d, w, c)))
}

/// `add` plus the Montgomery product of `x` and twiddles in Montgomery form, the product in `(-q, q)`; clean if `add` is. `x` may be
/// dirty.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn montgomery(add: [__m512i; 4], x: [__m512i; 4], w: [__m512i; 4], c: &Consts) -> [__m512i; 4] {
    let zero = _mm512_setzero_si512();
    let l: [_; 4] = from_fn(|i| _mm512_madd52lo_epu64(zero, x[i], w[i]));
    let m: [_; 4] = from_fn(|i| _mm512_madd52lo_epu64(zero, l[i], c.q_inv));
    let h: [_; 4] = from_fn(|i| _mm512_madd52hi_epu64(add[i], x[i], w[i]));
    from_fn(|i| _mm512_sub_epi64(h[i], _mm512_madd52hi_epu64(zero, m[i], c.q)))
}

/// [`ct`] with twiddles in Montgomery form, which take one multiplication more and half the memory. Outputs are clean if the first inputs
/// are. With `LAZY` outputs differ from the first input by less than `q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn ct_short<const LAZY: bool>((x, y): Pairs, w: [__m512i; 4], c: &Consts) -> Pairs {
    // Both outputs lie around the first input, which is raised by `q` if it need not be large enough to keep them positive.
    let u: [_; 4] = from_fn(|i| if LAZY { x[i] } else { _mm512_add_epi64(fold(x[i], c.q2), c.q) });
    let t: [_; 4] = from_fn(|i| _mm512_add_epi64(u[i], u[i]));
    let x = montgomery(u, y, w, c);
    pin((x, from_fn(|i| _mm512_sub_epi64(t[i], x[i]))))
}

/// [`gs`] with twiddles in Montgomery form. Inputs must be clean; outputs are. With `LAZY` inputs are up to `32q`, sums reach `64q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn gs_short<const LAZY: bool>((x, y): Pairs, w: [__m512i; 4], c: &Consts) -> Pairs {
    let t: [_; 4] = from_fn(|i| _mm512_add_epi64(y[i], if LAZY { c.q32 } else { c.q2 }));
    let d: [_; 4] = from_fn(|i| _mm512_sub_epi64(t[i], x[i]));
    let s: [_; 4] = from_fn(|i| _mm512_add_epi64(x[i], y[i]));
    let s: [_; 4] = from_fn(|i| if LAZY { s[i] } else { fold(s[i], c.q2) });
    pin((s, montgomery([c.q; 4], d, w, c)))
}

/// Last inverse butterflies: both outputs multiplied by a constant and fully reduced. The inputs may be dirty; they are below `2q`, with
/// `LAZY` `32q`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn gs_final<const LAZY: bool>((x, y): Pairs, sum: Twiddle, diff: Twiddle, c: &Consts) -> Pairs {
    let s: [_; 4] = from_fn(|i| _mm512_add_epi64(x[i], y[i]));
    let t: [_; 4] = from_fn(|i| _mm512_add_epi64(y[i], if LAZY { c.q32 } else { c.q2 }));
    let d: [_; 4] = from_fn(|i| _mm512_sub_epi64(t[i], x[i]));
    let (s, d) = clean((shoup(s, [sum; 4], c), shoup(d, [diff; 4], c)), c);
    (from_fn(|i| fold(s[i], c.q)), from_fn(|i| fold(d[i], c.q)))
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn clean((x, y): Pairs, c: &Consts) -> Pairs {
    (from_fn(|i| _mm512_and_si512(x[i], c.mask)), from_fn(|i| _mm512_and_si512(y[i], c.mask)))
}

/// From butterflies `(i, i + 4)` of eight vectors to `(i, i + 2)`, or from those to `(i, i + 1)`. Keeps a clean half of the
/// first inputs in front.
#[inline]
pub(super) fn down((x, y): Pairs) -> Pairs {
    ([x[0], y[0], x[1], y[1]], [x[2], y[2], x[3], y[3]])
}

/// The way back; products become the last two butterflies.
#[inline]
pub(super) fn up((x, y): Pairs) -> Pairs {
    ([x[0], x[2], y[0], y[2]], [x[1], x[3], y[1], y[3]])
}

/// Results of four butterflies, of which the compiler learns nothing but that they lie in registers. Without it the compiler
/// mixes the butterflies of several levels and spills many more registers, across cache lines.
#[inline]
#[target_feature(enable = "avx512f")]
fn pin((mut x, mut y): Pairs) -> Pairs {
    // SAFETY: no instruction is executed.
    unsafe {
        asm!(
            "/* {} {} {} {} {} {} {} {} */",
            inout(zmm_reg) x[0], inout(zmm_reg) x[1], inout(zmm_reg) x[2], inout(zmm_reg) x[3],
            inout(zmm_reg) y[0], inout(zmm_reg) y[1], inout(zmm_reg) y[2], inout(zmm_reg) y[3],
            options(nomem, nostack, preserves_flags)
        );
    };
    (x, y)
}

/// `p`, of which the compiler learns nothing: it then reads the twiddles of that node where they are used, as memory
/// operands, instead of keeping them all in registers across a loop and spilling data.
#[inline]
pub(super) fn opaque(mut p: usize) -> usize {
    // SAFETY: no instruction is executed.
    unsafe { asm!("/* {0} */", inout(reg) p, options(nomem, nostack, preserves_flags)) };
    p
}

/// Both tables as raw pointers; indices below `n` are valid.
#[derive(Clone, Copy)]
pub(super) struct Tw {
    pub(super) w: *const u64,
    pub(super) s: *const u64,
}

impl Tw {
    /// One twiddle in every lane.
    ///
    /// # Safety
    /// `p` must be below the table length.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn splat(self, p: usize) -> Twiddle {
        // SAFETY: the caller guarantees that `p` lies inside both tables.
        unsafe { (_mm512_set1_epi64(*self.w.add(p) as i64), _mm512_set1_epi64(*self.s.add(p) as i64)) }
    }
}

/// The twiddles of the last six levels of one block of 64 words.
#[derive(Clone, Copy)]
pub(super) struct Block(pub(super) *const u64);

/// Words of a [`Block`]: twiddles with companions of the first three levels, then 8, 16 and 32 in Montgomery form.
pub(super) const BLOCK_WORDS: usize = 72;

impl Block {
    /// Twiddle `i` of level `level < 3`, in every lane.
    ///
    /// # Safety
    /// The block must be readable and `i < 2^level`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn splat(self, level: usize, i: usize) -> Twiddle {
        let at = if level == 2 { 8 } else { 2 * level } + i;
        // SAFETY: the caller's promise.
        unsafe {
            let read = |at: usize| _mm512_set1_epi64(*self.0.add(at) as i64);
            (read(at), read(at + (1 << level)))
        }
    }

    /// Vector `i` of the twiddles of level `level >= 3`: one for each of the eight rows.
    ///
    /// # Safety
    /// The block must be readable, `level < 6` and `i < 2^(level - 3)`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn rows(self, level: usize, i: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(self.0.add(8 * ((1 << (level - 3)) + 1 + i)).cast()) }
    }
}

/// `R` vectors starting at `a`, `stride` words apart.
///
/// # Safety
/// All of them must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn gather<const R: usize>(a: *const u64, stride: usize) -> [__m512i; R] {
    // SAFETY: the caller's promise.
    unsafe { from_fn(|k| _mm512_loadu_si512(a.add(k * stride).cast())) }
}

/// # Safety
/// As for [`gather`], writable.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn scatter<const R: usize>(a: *mut u64, stride: usize, x: [__m512i; R]) {
    for (k, v) in x.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(a.add(k * stride).cast(), v) }
    }
}

/// Eight vectors as the rows of a matrix, transposed: row and column numbers change places bit by bit.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(v: [__m512i; 8]) -> [__m512i; 8] {
    exchange::<4>(exchange::<2>(exchange::<1>(v)))
}

/// One of the steps of [`transpose`], for numbers that differ in one bit. The later ones leave columns in the right order.
///
/// Only instructions that run beside the multipliers: a shuffle of two vectors by a third takes the place of a multiplication on Zen 4.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn exchange<const BIT: usize>(v: [__m512i; 8]) -> [__m512i; 8] {
    join(pin(halves(from_fn(|i| {
        let (a, b) = (v[i & !BIT], v[i | BIT]);
        match (BIT, i & BIT) {
            (1, 0) => _mm512_unpacklo_epi64(a, b),
            (1, _) => _mm512_unpackhi_epi64(a, b),
            (_, 0) => _mm512_shuffle_i64x2::<0x88>(a, b),
            _ => _mm512_shuffle_i64x2::<0xdd>(a, b),
        }
    }))))
}

/// Vectors `i` and `i + 4` as butterflies.
#[inline]
pub(super) fn halves(v: [__m512i; 8]) -> Pairs {
    ([v[0], v[1], v[2], v[3]], [v[4], v[5], v[6], v[7]])
}

/// The inverse of [`halves`].
#[inline]
pub(super) fn join((x, y): Pairs) -> [__m512i; 8] {
    [x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3]]
}

/// Vectors `i` and `i + 1` as butterflies.
#[inline]
pub(super) fn neighbours(v: [__m512i; 8]) -> Pairs {
    ([v[0], v[2], v[4], v[6]], [v[1], v[3], v[5], v[7]])
}

/// The inverse of [`neighbours`].
#[inline]
pub(super) fn flat((x, y): Pairs) -> [__m512i; 8] {
    [x[0], y[0], x[1], y[1], x[2], y[2], x[3], y[3]]
}
