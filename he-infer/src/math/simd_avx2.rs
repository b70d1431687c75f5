//! AVX2 bodies of the kernels in [`super::vector`], [`super::permute`] and [`super::gemm`].
//!
//! The scalar definitions speak of Montgomery form, a factor `2^52` between words and values. Products are exact residues
//! here, so that factor is taken out of constants beforehand or out of sums at the end; results are bit-identical.
#![expect(unsafe_code, reason = "target features")]
#![expect(clippy::indexing_slicing, reason = "tails shorter than one vector and arrays of constant size")]

use std::arch::x86_64::*;

use super::gemm::{GROUP_ROWS, RowGroup, STRIP};
use super::modulus::Modulus;
use super::simd_avx2_field::{F, Factor, Field, load4, store4};
use super::vector::{Spread, scalar};

/// Define a safe entry point `name` that calls `body` compiled with AVX2 and FMA.
macro_rules! entry {
    ($name:ident => $body:path, ($($arg:ident: $ty:ty),*)) => {
        pub(super) fn $name($($arg: $ty),*) {
            #[target_feature(enable = "avx2,fma")]
            fn inner($($arg: $ty),*) {
                $body($($arg),*)
            }
            // SAFETY: callers hold an AVX2 `Backend`, made only after checking for these features.
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

entry!(mul_const_assign => mul_const_assign_v, (m: &Modulus, a: &mut [u64], c: u64));
entry!(mul_const => mul_const_v, (m: &Modulus, out: &mut [u64], a: &[u64], c: u64));
entry!(mul_add => mul_add_v,
    (m: &Modulus, out: &mut [u64], x: &[u64], c: Option<u64>, y: &[u64], z: Option<&[u64]>));
entry!(dot => dot_v, (m: &Modulus, out: &mut [u64], terms: &[(&[u64], &[u64])], last: Option<u64>));
entry!(dot_pair => dot_pair_v,
    (m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[(&[u64], &[u64], &[u64])]));
entry!(rounded_weighted_sum => rounded_weighted_sum_v, (v: &mut [u64], ys: &[&[u64]], inverses: &[f64]));
entry!(linear_combination => linear_combination_v,
    (m: &Modulus, out: &mut [u64], ys: &[&[u64]], c: &[u64], v: Option<&[u64]>, d: u64));
entry!(permute => permute_v, (out: &mut [u64], x: &[u64], blocks: &[u32], ids: &[u8], lanes: &[[u64; 8]; 8]));
entry!(strip => strip_v, (m: &Modulus, packed: &[u64], group: &RowGroup, out: &mut [[u64; STRIP]; GROUP_ROWS]));

/// Signed words stay with the portable code: they come once per plaintext.
pub(super) fn from_signed(m: &Modulus, out: &mut [u64], values: &[i64], c: u64) {
    scalar::from_signed(m, out, values, c);
}

/// Spread factors stay with the dot product of pairs: runs are written out, a tile at a time.
pub(super) fn dot_spread(m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[Spread<'_>]) {
    let n = out0.len();
    let plain: Vec<Vec<u64>> = terms
        .iter()
        .map(|t| (0..n).map(|i| t.plain.get(i >> t.log_run).copied().unwrap_or(0)).collect())
        .collect();
    let terms: Vec<_> = terms.iter().zip(&plain).map(|(t, p)| (&p[..], t.x, t.y)).collect();
    dot_pair(m, out0, out1, &terms);
}

/// Products below `q` that a sum of doubles holds without loss, less one for what it already held.
const CHUNK: usize = 6;

/// Largest multiple of four not above any of the lengths.
fn whole(lens: impl IntoIterator<Item = usize>) -> usize {
    lens.into_iter().min().unwrap_or(0) & !3
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn read(f: &Field, x: &[u64], j: usize) -> F {
    f.lift(load4(x, j))
}

/// The factor of a constant in Montgomery form.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn factor(f: &Field, m: &Modulus, c_mont: u64) -> Factor {
    f.factor(m, m.from_mont(c_mont))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul_const_assign_v(m: &Modulus, a: &mut [u64], c: u64) {
    let f = Field::new(m);
    let (k, n) = (factor(&f, m, c), whole([a.len()]));
    for j in (0..n).step_by(4) {
        let x = f.mul(read(&f, a, j), k);
        store4(a, j, f.canonical(x));
    }
    scalar::mul_const_assign(m, &mut a[n..], c);
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul_const_v(m: &Modulus, out: &mut [u64], a: &[u64], c: u64) {
    let f = Field::new(m);
    let (k, n) = (factor(&f, m, c), whole([a.len(), out.len()]));
    for j in (0..n).step_by(4) {
        store4(out, j, f.canonical(f.mul(read(&f, a, j), k)));
    }
    scalar::mul_const(m, &mut out[n..], &a[n..], c);
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul_add_v(m: &Modulus, out: &mut [u64], x: &[u64], c: Option<u64>, y: &[u64], z: Option<&[u64]>) {
    let f = Field::new(m);
    let k = c.map(|c| factor(&f, m, c));
    let n = whole([out.len(), x.len(), y.len(), z.map_or(usize::MAX, <[u64]>::len)]);
    for j in (0..n).step_by(4) {
        let x = read(&f, x, j);
        let mut r = _mm256_add_pd(k.map_or(x, |k| f.mul(x, k)), read(&f, y, j));
        if let Some(z) = z {
            r = _mm256_add_pd(r, read(&f, z, j));
        }
        store4(out, j, f.canonical(r));
    }
    scalar::mul_add(m, &mut out[n..], &x[n..], c, &y[n..], z.map(|z| &z[n..]));
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_v(m: &Modulus, out: &mut [u64], terms: &[(&[u64], &[u64])], last: Option<u64>) {
    let f = Field::new(m);
    // The products leave out the 2^-52 of a Montgomery reduction.
    let k = factor(&f, m, last.map_or(1, |c| m.from_mont(c)));
    let n = whole(terms.iter().map(|(x, y)| x.len().min(y.len())).chain([out.len()]));
    for j in (0..n).step_by(4) {
        let mut sum = _mm256_setzero_pd();
        for part in terms.chunks(CHUNK) {
            for (x, y) in part {
                sum = _mm256_add_pd(sum, f.mul_any(read(&f, x, j), read(&f, y, j)));
            }
            sum = f.centre(sum);
        }
        store4(out, j, f.canonical(f.mul(sum, k)));
    }
    if n < out.len() {
        let tails: Vec<_> = terms.iter().map(|(x, y)| (&x[n..], &y[n..])).collect();
        scalar::dot(m, &mut out[n..], &tails, last);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_pair_v(m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[(&[u64], &[u64], &[u64])]) {
    let f = Field::new(m);
    let k = factor(&f, m, 1);
    let shortest = terms.iter().map(|(x, y, z)| x.len().min(y.len()).min(z.len()));
    let n = whole(shortest.chain([out0.len(), out1.len()]));
    for j in (0..n).step_by(4) {
        let (mut s0, mut s1) = (_mm256_setzero_pd(), _mm256_setzero_pd());
        for part in terms.chunks(CHUNK) {
            for (x, y, z) in part {
                let a = read(&f, x, j);
                s0 = _mm256_add_pd(s0, f.mul_any(a, read(&f, y, j)));
                s1 = _mm256_add_pd(s1, f.mul_any(a, read(&f, z, j)));
            }
            (s0, s1) = (f.centre(s0), f.centre(s1));
        }
        store4(out0, j, f.canonical(f.mul(s0, k)));
        store4(out1, j, f.canonical(f.mul(s1, k)));
    }
    if n < out0.len() {
        let tails: Vec<_> = terms.iter().map(|(x, y, z)| (&x[n..], &y[n..], &z[n..])).collect();
        scalar::dot_pair(m, &mut out0[n..], &mut out1[n..], &tails);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn rounded_weighted_sum_v(v: &mut [u64], ys: &[&[u64]], inverses: &[f64]) {
    // Any prime: only the conversions are used.
    let Some(f) = Modulus::new(3).map(|m| Field::new(&m)) else { return };
    let n = whole(ys.iter().map(|y| y.len()).chain([v.len()]));
    for j in (0..n).step_by(4) {
        let mut sum = _mm256_set1_pd(0.5);
        for (y, inv) in ys.iter().zip(inverses) {
            // Product and sum are rounded separately, as in the scalar body.
            sum = _mm256_add_pd(sum, _mm256_mul_pd(read(&f, y, j), _mm256_set1_pd(*inv)));
        }
        let whole = _mm256_round_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(sum);
        store4(v, j, f.lower(whole));
    }
    if n < v.len() {
        let tails: Vec<_> = ys.iter().map(|y| &y[n..]).collect();
        scalar::rounded_weighted_sum(&mut v[n..], &tails, inverses);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn linear_combination_v(m: &Modulus, out: &mut [u64], ys: &[&[u64]], c: &[u64], v: Option<&[u64]>, d: u64) {
    let f = Field::new(m);
    let last = factor(&f, m, d);
    let n = whole(ys.iter().map(|y| y.len()).chain(v.map(<[u64]>::len)).chain([out.len()]));
    let factors: Vec<Factor> = c.iter().map(|c| factor(&f, m, *c)).collect();
    for j in (0..n).step_by(4) {
        let mut sum = v.map_or(_mm256_setzero_pd(), |v| f.mul(read(&f, v, j), last));
        for (ys, factors) in ys.chunks(CHUNK).zip(factors.chunks(CHUNK)) {
            for (y, c) in ys.iter().zip(factors) {
                sum = _mm256_add_pd(sum, f.mul(read(&f, y, j), *c));
            }
            sum = f.centre(sum);
        }
        store4(out, j, f.canonical(sum));
    }
    if n < out.len() {
        let tails: Vec<_> = ys.iter().map(|y| &y[n..]).collect();
        scalar::linear_combination(m, &mut out[n..], &tails, c, v.map(|v| &v[n..]), d);
    }
}

/// How four of eight words are picked: positions within either half as pairs of 32-bit lanes, and which half.
#[derive(Clone, Copy)]
struct Pick {
    within: __m256i,
    upper: __m256i,
}

#[inline]
#[target_feature(enable = "avx2")]
fn pick(lanes: &[u64]) -> Pick {
    let (mut within, mut upper) = ([0u64; 4], [0u64; 4]);
    for ((w, u), l) in within.iter_mut().zip(&mut upper).zip(lanes) {
        let low = 2 * (l & 3);
        *w = low | ((low + 1) << 32);
        *u = if *l >= 4 { u64::MAX } else { 0 };
    }
    Pick { within: load4(&within, 0), upper: load4(&upper, 0) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn permute_v(out: &mut [u64], x: &[u64], blocks: &[u32], ids: &[u8], lanes: &[[u64; 8]; 8]) {
    let mut picks = [[pick(&[0; 4]); 2]; 8];
    for (p, l) in picks.iter_mut().zip(lanes) {
        *p = [pick(&l[..4]), pick(&l[4..])];
    }
    for (i, (b, id)) in blocks.iter().zip(ids).enumerate() {
        let (src, dst) = (8 * *b as usize, 8 * i);
        assert!(src + 8 <= x.len() && dst + 8 <= out.len());
        let (lo, hi) = (load4(x, src), load4(x, src + 4));
        for (k, p) in picks[usize::from(id & 7)].iter().enumerate() {
            let low = _mm256_permutevar8x32_epi32(lo, p.within);
            let high = _mm256_permutevar8x32_epi32(hi, p.within);
            store4(out, dst + 4 * k, _mm256_blendv_epi8(low, high, p.upper));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn strip_v(m: &Modulus, packed: &[u64], group: &RowGroup, out: &mut [[u64; STRIP]; GROUP_ROWS]) {
    let f = Field::new(m);
    let (k, rows) = (factor(&f, m, 1), group.rows.len());
    for (r, out) in out.iter_mut().enumerate().take(rows) {
        let mut sums = [_mm256_setzero_pd(); STRIP / 4];
        for (c, inputs) in group.inputs.chunks(CHUNK).enumerate() {
            for (i, input) in inputs.iter().enumerate() {
                let x = &packed[*input as usize * STRIP..][..STRIP];
                let w = _mm256_set1_pd(group.weights[(c * CHUNK + i) * rows + r] as f64);
                for (s, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_add_pd(*sum, f.mul_any(read(&f, x, 4 * s), w));
                }
            }
            for sum in &mut sums {
                *sum = f.centre(*sum);
            }
        }
        for (s, sum) in sums.into_iter().enumerate() {
            store4(out, 4 * s, f.canonical(f.mul(sum, k)));
        }
    }
}
