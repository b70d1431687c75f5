//! Residues in double precision, four at a time: the arithmetic below the AVX2 kernels.
//!
//! AVX2 has no wide integer multiplier, but a fused multiply-add gives both halves of a product exactly: with `p = fl(x w)`
//! and `h` near `x w / q`, `x w - h q = fma(-h, q, p) + fma(x, w, -p)` and every step is exact because the intermediate
//! values are integers below `2^53`. Residues are signed here, so sums and differences need no correction.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]

use std::arch::x86_64::*;

use super::modulus::Modulus;

/// Four doubles that hold integers.
pub(super) type F = __m256d;

/// Constants of one prime in every lane.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub q: F,
    pub q_inv: F,
    /// `1.5 * 2^52`: adding and subtracting it rounds to the nearest integer.
    magic: F,
    /// `2^52`: its bits, xored with a small integer, are that integer as a double above `2^52`.
    offset: F,
}

/// A constant factor, centred, and its quotient by `q`.
#[derive(Clone, Copy)]
pub(super) struct Factor(pub F, pub F);

/// The two doubles of a [`Factor`] for the reduced residue `w`.
pub(super) fn factor_parts(m: &Modulus, w: u64) -> (f64, f64) {
    let w = m.centred(w) as f64;
    (w, w / m.value() as f64)
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn new(m: &Modulus) -> Self {
        Self {
            q: _mm256_set1_pd(m.value() as f64),
            q_inv: _mm256_set1_pd(1.0 / m.value() as f64),
            magic: _mm256_set1_pd(1.5 * (1u64 << 52) as f64),
            offset: _mm256_set1_pd((1u64 << 52) as f64),
        }
    }

    /// A factor from its reduced residue.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn factor(&self, m: &Modulus, w: u64) -> Factor {
        let (w, ratio) = factor_parts(m, w);
        Factor(_mm256_set1_pd(w), _mm256_set1_pd(ratio))
    }

    /// Four words below `2^52`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn lift(&self, x: __m256i) -> F {
        let shifted = _mm256_or_si256(x, _mm256_castpd_si256(self.offset));
        _mm256_sub_pd(_mm256_castsi256_pd(shifted), self.offset)
    }

    /// The words of integers in `[0, 2^52)`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn lower(&self, x: F) -> __m256i {
        _mm256_castpd_si256(_mm256_xor_pd(_mm256_add_pd(x, self.offset), self.offset))
    }

    /// `x w` modulo `q` for `|x| < 2^52`. The result is at most `(1/2 + |x| / 2^54) q` in absolute value if `|x| < 4q`, and
    /// below `q` for any other `|x| < 2^51`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn mul(&self, x: F, w: Factor) -> F {
        let p = _mm256_mul_pd(x, w.0);
        let h = _mm256_sub_pd(_mm256_fmadd_pd(x, w.1, self.magic), self.magic);
        let low = _mm256_fmsub_pd(x, w.0, p);
        _mm256_add_pd(_mm256_fnmadd_pd(h, self.q, p), low)
    }

    /// `x y` modulo `q` for reduced operands, below `q` in absolute value.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn mul_any(&self, x: F, y: F) -> F {
        let p = _mm256_mul_pd(x, y);
        let h = _mm256_sub_pd(_mm256_fmadd_pd(p, self.q_inv, self.magic), self.magic);
        let low = _mm256_fmsub_pd(x, y, p);
        _mm256_add_pd(_mm256_fnmadd_pd(h, self.q, p), low)
    }

    /// `x` modulo `q`, at most `q/2` in absolute value up to rounding, for `|x| < 2^53`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn centre(&self, x: F) -> F {
        let h = _mm256_sub_pd(_mm256_fmadd_pd(x, self.q_inv, self.magic), self.magic);
        _mm256_fnmadd_pd(h, self.q, x)
    }

    /// The fully reduced words of integers below `2^53` in absolute value.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn canonical(&self, x: F) -> __m256i {
        let r = self.centre(x);
        let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(r, _mm256_setzero_pd());
        self.lower(_mm256_add_pd(r, _mm256_and_pd(negative, self.q)))
    }
}

/// Four words of a slice starting at `j`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load4(x: &[u64], j: usize) -> __m256i {
    debug_assert!(j + 4 <= x.len());
    // SAFETY: every caller iterates `j` in steps of 4 below a length not exceeding `x.len()`.
    unsafe { _mm256_loadu_si256(x.as_ptr().add(j).cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store4(x: &mut [u64], j: usize, v: __m256i) {
    debug_assert!(j + 4 <= x.len());
    // SAFETY: every caller iterates `j` in steps of 4 below a length not exceeding `x.len()`.
    unsafe { _mm256_storeu_si256(x.as_mut_ptr().add(j).cast(), v) }
}
