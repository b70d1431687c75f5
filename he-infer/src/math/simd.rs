//! AVX-512-IFMA bodies of the kernels in [`super::vector`].
//!
//! The public functions here are safe to call only through a `Backend` from `detect`; they are private to `math` and every
//! call site checks `Backend::is_ifma` first.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "tails shorter than one vector")]

use std::arch::x86_64::*;

use super::modulus::{FACTOR, Modulus, fold_steps};
use super::simd_butterfly::{fold, smaller};
use super::vector::{Spread, scalar};

/// Reduction constants of one prime in every lane.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    pub q: __m512i,
    pub q_inv: __m512i,
    folds: u32,
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(m: &Modulus, terms: usize) -> Self {
        Self::with_factors(m, terms, FACTOR)
    }

    /// For sums of `terms` products of a reduced residue and a number up to `factor`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn with_factors(m: &Modulus, terms: usize, factor: u64) -> Self {
        let folds = fold_steps(terms, factor);
        Self { q: splat(m.value()), q_inv: splat(m.inverse_mod_radix()), folds }
    }

    /// Montgomery reduction of lazily accumulated halves, fully reduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce(&self, lo: __m512i, hi: __m512i) -> __m512i {
        self.fold_from(self.reduce_one(lo, hi), 0)
    }

    /// The same, but below `4q` only: enough for what a forward transform takes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_loosely(&self, lo: __m512i, hi: __m512i) -> __m512i {
        self.fold_from(self.reduce_one(lo, hi), 2)
    }

    /// Subtract multiples of `q`, down to `2^lowest q`, where they fit.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn fold_from(&self, mut r: __m512i, lowest: u32) -> __m512i {
        for shift in (lowest..self.folds).rev() {
            let m = _mm512_sllv_epi64(self.q, splat(u64::from(shift)));
            // Sums of many products lie beyond what `fold` compares: there `m` must stay below `2^52`.
            r = if shift < 2 { fold(r, m) } else { _mm512_min_epu64(r, _mm512_sub_epi64(r, m)) };
        }
        r
    }

    /// The first step of it: what [`fold_steps`] counts the rest of.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce_one(&self, lo: __m512i, hi: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let hi = _mm512_add_epi64(hi, _mm512_srli_epi64::<52>(lo));
        // The multiplier reads the low 52 bits only, so `lo` needs no mask.
        let m = _mm512_madd52lo_epu64(zero, lo, self.q_inv);
        let r = _mm512_sub_epi64(hi, _mm512_madd52hi_epu64(zero, m, self.q));
        smaller(r, _mm512_add_epi64(r, self.q))
    }

    /// `a b 2^-52 mod q`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, a: __m512i, b: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        self.reduce_one(_mm512_madd52lo_epu64(zero, a, b), _mm512_madd52hi_epu64(zero, a, b))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn sub(&self, a: __m512i, b: __m512i) -> __m512i {
        let d = _mm512_sub_epi64(a, b);
        smaller(d, _mm512_add_epi64(d, self.q))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn add(&self, a: __m512i, b: __m512i) -> __m512i {
        fold(_mm512_add_epi64(a, b), self.q)
    }

    /// From below `4q` to below `q`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn fold_sum(&self, x: __m512i) -> __m512i {
        fold(fold(x, _mm512_add_epi64(self.q, self.q)), self.q)
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x as i64)
}

/// Eight words of a slice starting at `j`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(x: &[u64], j: usize) -> __m512i {
    debug_assert!(j + 8 <= x.len());
    // SAFETY: every caller iterates `j` in steps of 8 below a length not exceeding `x.len()`.
    unsafe { _mm512_loadu_si512(x.as_ptr().add(j).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(x: &mut [u64], j: usize, v: __m512i) {
    debug_assert!(j + 8 <= x.len());
    // SAFETY: every caller iterates `j` in steps of 8 below a length not exceeding `x.len()`.
    unsafe { _mm512_storeu_si512(x.as_mut_ptr().add(j).cast(), v) }
}

/// Define a safe entry point `name` that calls `body` compiled with AVX-512.
macro_rules! entry {
    ($name:ident => $body:path, ($($arg:ident: $ty:ty),*)) => {
        pub(super) fn $name($($arg: $ty),*) {
            #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
            fn inner($($arg: $ty),*) {
                $body($($arg),*)
            }
            // SAFETY: callers hold a `Backend` from `detect` that reported these features.
            unsafe { inner($($arg),*) }
        }
    };
}

// Simple loops: the scalar source, vectorised by the compiler under these features.
entry!(add_assign => scalar::add_assign, (m: &Modulus, a: &mut [u64], b: &[u64]));
entry!(sub_assign => scalar::sub_assign, (m: &Modulus, a: &mut [u64], b: &[u64]));
entry!(neg_assign => scalar::neg_assign, (m: &Modulus, a: &mut [u64]));
entry!(add_const_assign => scalar::add_const_assign, (m: &Modulus, a: &mut [u64], c: u64));

entry!(from_small => scalar::from_small, (m: &Modulus, out: &mut [u64], values: &[i8]));
entry!(from_signed => from_signed_v, (m: &Modulus, out: &mut [u64], values: &[i64], c: u64));

entry!(mul_const_assign => mul_const_assign_v, (m: &Modulus, a: &mut [u64], c: u64));
entry!(mul_const => mul_const_v, (m: &Modulus, out: &mut [u64], a: &[u64], c: u64));
entry!(mul_add => mul_add_v,
    (m: &Modulus, out: &mut [u64], x: &[u64], c: Option<u64>, y: &[u64], z: Option<&[u64]>));
entry!(dot => dot_v, (m: &Modulus, out: &mut [u64], terms: &[(&[u64], &[u64])], last: Option<u64>));
entry!(dot_pair => dot_pair_v,
    (m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[(&[u64], &[u64], &[u64])]));
entry!(dot_spread => dot_spread_v,
    (m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[Spread<'_>]));
entry!(linear_combination => linear_combination_v,
    (m: &Modulus, out: &mut [u64], ys: &[&[u64]], c: &[u64], v: Option<&[u64]>, d: u64));
entry!(rounded_weighted_sum => rounded_weighted_sum_v, (v: &mut [u64], ys: &[&[u64]], inverses: &[f64]));
/// Largest multiple of eight not above any of the lengths.
pub(super) fn whole(lens: impl IntoIterator<Item = usize>) -> usize {
    lens.into_iter().min().unwrap_or(0) & !7
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_const_assign_v(m: &Modulus, a: &mut [u64], c: u64) {
    let (l, k) = (Lanes::new(m, 1), splat(c));
    let n = whole([a.len()]);
    for j in (0..n).step_by(8) {
        let r = l.mul(load(a, j), k);
        store(a, j, r);
    }
    scalar::mul_const_assign(m, &mut a[n..], c);
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_const_v(m: &Modulus, out: &mut [u64], a: &[u64], c: u64) {
    let (l, k) = (Lanes::new(m, 1), splat(c));
    let n = whole([a.len(), out.len()]);
    for j in (0..n).step_by(8) {
        store(out, j, l.mul(load(a, j), k));
    }
    scalar::mul_const(m, &mut out[n..], &a[n..], c);
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_add_v(m: &Modulus, out: &mut [u64], x: &[u64], c: Option<u64>, y: &[u64], z: Option<&[u64]>) {
    let (l, k) = (Lanes::new(m, 1), c.map(|c| splat(c)));
    let n = whole([out.len(), x.len(), y.len(), z.map_or(usize::MAX, <[u64]>::len)]);
    for j in (0..n).step_by(8) {
        let x = load(x, j);
        let mut r = _mm512_add_epi64(k.map_or(x, |k| l.mul(x, k)), load(y, j));
        if let Some(z) = z {
            r = _mm512_add_epi64(r, load(z, j));
        }
        store(out, j, l.fold_sum(r));
    }
    scalar::mul_add(m, &mut out[n..], &x[n..], c, &y[n..], z.map(|z| &z[n..]));
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn dot_v(m: &Modulus, out: &mut [u64], terms: &[(&[u64], &[u64])], last: Option<u64>) {
    let l = Lanes::new(m, terms.len());
    let zero = _mm512_setzero_si512();
    let n = whole(terms.iter().map(|(x, y)| x.len().min(y.len())).chain([out.len()]));
    let finish = |lo, hi| {
        let r = l.reduce(lo, hi);
        last.map_or(r, |c| l.mul(r, splat(c)))
    };
    let pairs = n & !15;
    for j in (0..pairs).step_by(16) {
        let (mut lo0, mut hi0, mut lo1, mut hi1) = (zero, zero, zero, zero);
        for (x, y) in terms {
            let (a, b, c, d) = (load(x, j), load(y, j), load(x, j + 8), load(y, j + 8));
            lo0 = _mm512_madd52lo_epu64(lo0, a, b);
            hi0 = _mm512_madd52hi_epu64(hi0, a, b);
            lo1 = _mm512_madd52lo_epu64(lo1, c, d);
            hi1 = _mm512_madd52hi_epu64(hi1, c, d);
        }
        store(out, j, finish(lo0, hi0));
        store(out, j + 8, finish(lo1, hi1));
    }
    if pairs < out.len() {
        let tails: Vec<_> = terms.iter().map(|(x, y)| (&x[pairs..], &y[pairs..])).collect();
        scalar::dot(m, &mut out[pairs..], &tails, last);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn dot_pair_v(m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[(&[u64], &[u64], &[u64])]) {
    let l = Lanes::new(m, terms.len());
    let zero = _mm512_setzero_si512();
    let shortest = terms.iter().map(|(x, y, z)| x.len().min(y.len()).min(z.len()));
    let n = whole(shortest.chain([out0.len(), out1.len()]));
    for j in (0..n).step_by(8) {
        let (mut lo0, mut hi0, mut lo1, mut hi1) = (zero, zero, zero, zero);
        for (x, y, z) in terms {
            let (a, b, c) = (load(x, j), load(y, j), load(z, j));
            lo0 = _mm512_madd52lo_epu64(lo0, a, b);
            hi0 = _mm512_madd52hi_epu64(hi0, a, b);
            lo1 = _mm512_madd52lo_epu64(lo1, a, c);
            hi1 = _mm512_madd52hi_epu64(hi1, a, c);
        }
        store(out0, j, l.reduce(lo0, hi0));
        store(out1, j, l.reduce(lo1, hi1));
    }
    if n < out0.len() {
        let tails: Vec<_> = terms.iter().map(|(x, y, z)| (&x[n..], &y[n..], &z[n..])).collect();
        scalar::dot_pair(m, &mut out0[n..], &mut out1[n..], &tails);
    }
}

/// Eight residues from word `j`, of which `plain` holds one per run of `2^log_run`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn spread(plain: &[u64], j: usize, log_run: u32) -> __m512i {
    let at = j >> log_run;
    match log_run {
        0 => load(plain, j),
        1 | 2 => {
            let words = 8 >> log_run;
            let order = if log_run == 1 {
                _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3)
            } else {
                _mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1)
            };
            let from = &plain[at..at + words];
            // SAFETY: the mask reads just the words of `from`.
            let held = unsafe { _mm512_maskz_loadu_epi64((1 << words) - 1, from.as_ptr().cast()) };
            _mm512_permutexvar_epi64(order, held)
        }
        _ => splat(plain[at]),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn dot_spread_v(m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[Spread<'_>]) {
    let l = Lanes::new(m, terms.len());
    let zero = _mm512_setzero_si512();
    let shortest = terms.iter().map(|t| t.x.len().min(t.y.len()).min(t.plain.len() << t.log_run));
    let n = whole(shortest.chain([out0.len(), out1.len()]));
    for j in (0..n).step_by(8) {
        let (mut lo0, mut hi0, mut lo1, mut hi1) = (zero, zero, zero, zero);
        for t in terms {
            let a = spread(t.plain, j, t.log_run);
            let (b, c) = (load(t.x, j), load(t.y, j));
            lo0 = _mm512_madd52lo_epu64(lo0, a, b);
            hi0 = _mm512_madd52hi_epu64(hi0, a, b);
            lo1 = _mm512_madd52lo_epu64(lo1, a, c);
            hi1 = _mm512_madd52hi_epu64(hi1, a, c);
        }
        store(out0, j, l.reduce(lo0, hi0));
        store(out1, j, l.reduce(lo1, hi1));
    }
    debug_assert!(n == out0.len(), "callers pass whole vectors of eight");
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn rounded_weighted_sum_v(v: &mut [u64], ys: &[&[u64]], inverses: &[f64]) {
    let n = whole(ys.iter().map(|y| y.len()).chain([v.len()]));
    for j in (0..n).step_by(8) {
        let mut sum = _mm512_set1_pd(0.5);
        for (y, inv) in ys.iter().zip(inverses) {
            // Product and sum are rounded separately, as in the scalar body.
            let p = _mm512_mul_pd(_mm512_cvtepu64_pd(load(y, j)), _mm512_set1_pd(*inv));
            sum = _mm512_add_pd(sum, p);
        }
        store(v, j, _mm512_cvttpd_epu64(sum));
    }
    if n < v.len() {
        let tails: Vec<_> = ys.iter().map(|y| &y[n..]).collect();
        scalar::rounded_weighted_sum(&mut v[n..], &tails, inverses);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn linear_combination_v(m: &Modulus, out: &mut [u64], ys: &[&[u64]], c: &[u64], v: Option<&[u64]>, d: u64) {
    let terms: Vec<_> = ys.iter().zip(c).chain(v.iter().map(|v| (v, &d))).collect();
    let n = whole(terms.iter().map(|(y, _)| y.len()).chain([out.len()]));
    let (l, zero) = (Lanes::new(m, terms.len()), _mm512_setzero_si512());
    for j in (0..n).step_by(8) {
        let (mut lo, mut hi) = (zero, zero);
        for (y, c) in &terms {
            lo = _mm512_madd52lo_epu64(lo, load(y, j), splat(**c));
            hi = _mm512_madd52hi_epu64(hi, load(y, j), splat(**c));
        }
        store(out, j, l.reduce(lo, hi));
    }
    let tails: Vec<_> = ys.iter().map(|y| &y[n..]).collect();
    scalar::linear_combination(m, &mut out[n..], &tails, c, v.map(|v| &v[n..]), d);
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn from_signed_v(m: &Modulus, out: &mut [u64], values: &[i64], c: u64) {
    let (l, k, zero) = (Lanes::new(m, 1), splat(c), _mm512_setzero_si512());
    let n = whole([out.len(), values.len()]);
    for j in (0..n).step_by(8) {
        let v = load(bytemuck::cast_slice(values), j);
        let r = l.mul(l.reduce(_mm512_abs_epi64(v), zero), k);
        store(out, j, _mm512_mask_blend_epi64(_mm512_movepi64_mask(v), r, l.sub(zero, r)));
    }
    scalar::from_signed(m, &mut out[n..], &values[n..], c);
}
