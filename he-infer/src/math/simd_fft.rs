//! The encoder's transform with AVX-512: two levels per pass, blocks finished inside the first-level cache, and the three
//! shortest levels in registers together with the bit reversal.
//!
//! Products and sums are rounded separately in the order of the portable passes, so that results are bit-identical.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "registers and stages of constant number")]

use std::arch::x86_64::*;

use super::ntt::bit_reverse;
use super::special_fft::{Stage, round_scalar};

/// Real and imaginary parts of eight numbers.
type Complex = (__m512d, __m512d);

/// Complex numbers of a block that fits the first-level cache, as a power of two.
const LOG_BLOCK: usize = 11;

/// The permutation of eight numbers by reversing three bits.
const REVERSED: [usize; 8] = [0, 4, 2, 6, 1, 5, 3, 7];

/// Real and imaginary parts in memory.
#[derive(Clone, Copy)]
struct Data {
    re: *mut f64,
    im: *mut f64,
}

impl Data {
    /// # Safety
    /// Eight numbers at `at` must be readable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(self, at: usize) -> Complex {
        // SAFETY: promised by the caller.
        unsafe { (_mm512_loadu_pd(self.re.add(at)), _mm512_loadu_pd(self.im.add(at))) }
    }

    /// # Safety
    /// Eight numbers at `at` must be writable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(self, at: usize, x: Complex) {
        // SAFETY: promised by the caller.
        unsafe {
            _mm512_storeu_pd(self.re.add(at), x.0);
            _mm512_storeu_pd(self.im.add(at), x.1);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(x: Complex, y: Complex) -> Complex {
    (_mm512_add_pd(x.0, y.0), _mm512_add_pd(x.1, y.1))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sub(x: Complex, y: Complex) -> Complex {
    (_mm512_sub_pd(x.0, y.0), _mm512_sub_pd(x.1, y.1))
}

/// Sum, and difference times the conjugate of `w`.
#[inline]
#[target_feature(enable = "avx512f")]
fn split(x: Complex, y: Complex, w: Complex) -> (Complex, Complex) {
    let d = sub(x, y);
    let re = _mm512_add_pd(_mm512_mul_pd(d.0, w.0), _mm512_mul_pd(d.1, w.1));
    let im = _mm512_sub_pd(_mm512_mul_pd(d.1, w.0), _mm512_mul_pd(d.0, w.1));
    (add(x, y), (re, im))
}

/// `x` plus and minus `y w`.
#[inline]
#[target_feature(enable = "avx512f")]
fn join(x: Complex, y: Complex, w: Complex) -> (Complex, Complex) {
    let re = _mm512_sub_pd(_mm512_mul_pd(y.0, w.0), _mm512_mul_pd(y.1, w.1));
    let im = _mm512_add_pd(_mm512_mul_pd(y.0, w.1), _mm512_mul_pd(y.1, w.0));
    (add(x, (re, im)), sub(x, (re, im)))
}

/// Eight twiddles of a stage.
#[inline]
#[target_feature(enable = "avx512f")]
fn twiddles(s: &Stage, j: usize) -> Complex {
    let (re, im) = (&s.re[j..j + 8], &s.im[j..j + 8]);
    // SAFETY: the slices hold eight numbers.
    unsafe { (_mm512_loadu_pd(re.as_ptr()), _mm512_loadu_pd(im.as_ptr())) }
}

/// One twiddle of a stage in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn twiddle(s: &Stage, j: usize) -> Complex {
    (_mm512_set1_pd(s.re[j]), _mm512_set1_pd(s.im[j]))
}

fn check(stages: &[Stage], lens: [usize; 4]) -> usize {
    let n = 1usize << stages.len();
    assert!(stages.len() >= 6 && lens == [n; 4]);
    assert!(stages.iter().enumerate().all(|(i, s)| s.re.len() == 1 << i && s.im.len() == 1 << i));
    n
}

/// Slots in `re`, `im` to coefficients times `scale` in `out_re`, `out_im`; the inputs are overwritten.
pub(super) fn encode(
    stages: &[Stage],
    (re, im): (&mut [f64], &mut [f64]),
    (out_re, out_im): (&mut [f64], &mut [f64]),
    scale: f64,
) {
    let n = check(stages, [re.len(), im.len(), out_re.len(), out_im.len()]);
    let x = Data { re: re.as_mut_ptr(), im: im.as_mut_ptr() };
    let out = Data { re: out_re.as_mut_ptr(), im: out_im.as_mut_ptr() };
    // SAFETY: only reached with a `Backend` from `detect`, so the features exist; all four arrays and the tables have the
    // lengths that `check` asserts.
    unsafe { encode_v(stages, x, out, n, scale) }
}

/// Coefficients in `re`, `im` to slots in `out_re`, `out_im`.
pub(super) fn decode(
    stages: &[Stage],
    (re, im): (&mut [f64], &mut [f64]),
    (out_re, out_im): (&mut [f64], &mut [f64]),
) {
    let n = check(stages, [re.len(), im.len(), out_re.len(), out_im.len()]);
    let x = Data { re: re.as_mut_ptr(), im: im.as_mut_ptr() };
    let out = Data { re: out_re.as_mut_ptr(), im: out_im.as_mut_ptr() };
    // SAFETY: as for `encode`.
    unsafe { decode_v(stages, x, out, n) }
}

/// # Safety
/// Arrays of `n = 2^stages` numbers, at least 64; stage `i` has `2^i` twiddles; features present.
#[target_feature(enable = "avx512f")]
unsafe fn encode_v(stages: &[Stage], x: Data, out: Data, n: usize, scale: f64) {
    // SAFETY: all accesses below stay inside blocks that partition the arrays.
    unsafe {
        let mut top = stages.len();
        while top > LOG_BLOCK {
            for at in (0..n).step_by(1 << top) {
                encode_pass(stages, x, at, top);
            }
            top -= 2;
        }
        for at in (0..n).step_by(1 << top) {
            let mut level = top;
            while level > 4 {
                for at in (at..at + (1 << top)).step_by(1 << level) {
                    encode_pass(stages, x, at, level);
                }
                level -= 2;
            }
            if level == 4 {
                for at in (at..at + (1 << top)).step_by(16) {
                    let (a, b) = split(x.load(at), x.load(at + 8), twiddles(&stages[3], 0));
                    x.store(at, a);
                    x.store(at + 8, b);
                }
            }
        }
        let scale = _mm512_set1_pd(scale);
        let bits = stages.len() as u32 - 6;
        for h in 0..n / 64 {
            let mut rows = [x.load(0); 8];
            for (row, jj) in rows.iter_mut().zip(REVERSED) {
                *row = x.load(8 * (jj * (n / 64) + h));
            }
            let mut t = transpose(rows);
            for k in 0..4 {
                (t[k], t[k + 4]) = split(t[k], t[k + 4], twiddle(&stages[2], k));
            }
            for k in [0, 1, 4, 5] {
                (t[k], t[k + 2]) = split(t[k], t[k + 2], twiddle(&stages[1], k & 1));
            }
            for k in [0, 2, 4, 6] {
                (t[k], t[k + 1]) = split(t[k], t[k + 1], twiddle(&stages[0], 0));
            }
            for (t, k) in t.into_iter().zip(REVERSED) {
                let scaled = (_mm512_mul_pd(t.0, scale), _mm512_mul_pd(t.1, scale));
                out.store(k * (n / 8) + 8 * bit_reverse(h, bits), scaled);
            }
        }
    }
}

/// # Safety
/// As for [`encode_v`].
#[target_feature(enable = "avx512f")]
unsafe fn decode_v(stages: &[Stage], x: Data, out: Data, n: usize) {
    // SAFETY: all accesses below stay inside blocks that partition the arrays.
    unsafe {
        let bits = stages.len() as u32 - 6;
        for h in 0..n / 64 {
            let mut t = [x.load(0); 8];
            for (t, k) in t.iter_mut().zip(REVERSED) {
                *t = x.load(k * (n / 8) + 8 * bit_reverse(h, bits));
            }
            for k in [0, 2, 4, 6] {
                (t[k], t[k + 1]) = join(t[k], t[k + 1], twiddle(&stages[0], 0));
            }
            for k in [0, 1, 4, 5] {
                (t[k], t[k + 2]) = join(t[k], t[k + 2], twiddle(&stages[1], k & 1));
            }
            for k in 0..4 {
                (t[k], t[k + 4]) = join(t[k], t[k + 4], twiddle(&stages[2], k));
            }
            for (row, jj) in transpose(t).into_iter().zip(REVERSED) {
                out.store(8 * (jj * (n / 64) + h), row);
            }
        }
        // The same levels as encoding, in reverse.
        let full = stages.len();
        let top = if full <= LOG_BLOCK { full } else { LOG_BLOCK - (full - LOG_BLOCK) % 2 };
        for at in (0..n).step_by(1 << top) {
            let mut level = 3;
            if (top - level) % 2 == 1 {
                level = 4;
                for at in (at..at + (1 << top)).step_by(16) {
                    let (a, b) = join(out.load(at), out.load(at + 8), twiddles(&stages[3], 0));
                    out.store(at, a);
                    out.store(at + 8, b);
                }
            }
            while level < top {
                level += 2;
                for at in (at..at + (1 << top)).step_by(1 << level) {
                    decode_pass(stages, out, at, level);
                }
            }
        }
        let mut level = top;
        while level < full {
            level += 2;
            for at in (0..n).step_by(1 << level) {
                decode_pass(stages, out, at, level);
            }
        }
    }
}

/// Levels `level` and `level - 1` of encoding on the block of `2^level` numbers at `at`.
///
/// # Safety
/// The block must lie inside the arrays; `5 <= level <= stages`; table lengths as for [`encode_v`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn encode_pass(stages: &[Stage], x: Data, at: usize, level: usize) {
    let quarter = 1usize << (level - 2);
    let (long, short) = (&stages[level - 1], &stages[level - 2]);
    for j in (0..quarter).step_by(8) {
        let place = |k: usize| at + j + k * quarter;
        // SAFETY: `j + 8 <= quarter`, so all accesses lie inside the block.
        unsafe {
            let (a, c) = split(x.load(place(0)), x.load(place(2)), twiddles(long, j));
            let (b, d) = split(x.load(place(1)), x.load(place(3)), twiddles(long, j + quarter));
            let w = twiddles(short, j);
            let ((a, b), (c, d)) = (split(a, b, w), split(c, d, w));
            x.store(place(0), a);
            x.store(place(1), b);
            x.store(place(2), c);
            x.store(place(3), d);
        }
    }
}

/// Levels `level - 1` and `level` of decoding on the block of `2^level` numbers at `at`.
///
/// # Safety
/// As for [`encode_pass`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn decode_pass(stages: &[Stage], x: Data, at: usize, level: usize) {
    let quarter = 1usize << (level - 2);
    let (long, short) = (&stages[level - 1], &stages[level - 2]);
    for j in (0..quarter).step_by(8) {
        let place = |k: usize| at + j + k * quarter;
        // SAFETY: `j + 8 <= quarter`, so all accesses lie inside the block.
        unsafe {
            let w = twiddles(short, j);
            let (a, b) = join(x.load(place(0)), x.load(place(1)), w);
            let (c, d) = join(x.load(place(2)), x.load(place(3)), w);
            let (a, c) = join(a, c, twiddles(long, j));
            let (b, d) = join(b, d, twiddles(long, j + quarter));
            x.store(place(0), a);
            x.store(place(1), b);
            x.store(place(2), c);
            x.store(place(3), d);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: [Complex; 8]) -> [Complex; 8] {
    let (mut re, mut im) = ([x[0].0; 8], [x[0].1; 8]);
    for ((x, re), im) in x.iter().zip(&mut re).zip(&mut im) {
        (*re, *im) = *x;
    }
    let (re, im) = (transpose_real(re), transpose_real(im));
    let mut out = x;
    for ((x, re), im) in out.iter_mut().zip(re).zip(im) {
        *x = (re, im);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_real(r: [__m512d; 8]) -> [__m512d; 8] {
    let mut out = r;
    let mut t = r;
    for i in [0, 2, 4, 6] {
        t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    // `t[i]` with even `i` holds the even columns of two rows, `t[i + 1]` the odd ones.
    for odd in [0, 1] {
        let [a, b, c, d] = [t[odd], t[2 + odd], t[4 + odd], t[6 + odd]];
        let (u0, u1) = (_mm512_shuffle_f64x2::<0x88>(a, b), _mm512_shuffle_f64x2::<0x88>(c, d));
        let (v0, v1) = (_mm512_shuffle_f64x2::<0xdd>(a, b), _mm512_shuffle_f64x2::<0xdd>(c, d));
        out[odd] = _mm512_shuffle_f64x2::<0x88>(u0, u1);
        out[4 + odd] = _mm512_shuffle_f64x2::<0xdd>(u0, u1);
        out[2 + odd] = _mm512_shuffle_f64x2::<0x88>(v0, v1);
        out[6 + odd] = _mm512_shuffle_f64x2::<0xdd>(v0, v1);
    }
    out
}

/// The portable loop compiled with vector rounding and conversion.
pub(super) fn round(values: &mut [u64], factor: f64) {
    #[target_feature(enable = "avx512f,avx512dq")]
    fn wide(values: &mut [u64], factor: f64) {
        round_scalar(values, factor);
    }
    // SAFETY: only reached with a `Backend` from `detect`, which reported these features.
    unsafe { wide(values, factor) }
}
