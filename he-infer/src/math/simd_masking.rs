//! AVX-512-IFMA bodies of the passes in [`super::masking`].
#![expect(unsafe_code, reason = "vector loads and target features")]
#![expect(clippy::indexing_slicing, reason = "tails shorter than one vector")]

use std::arch::x86_64::*;

use super::masking::scalar;
use super::modulus::Modulus;
use super::simd::{Lanes, load, splat, store};

pub(super) fn mask_assign(m: &Modulus, b: &mut [u64], a: &[u64], s: &[u64], add: Option<&[u64]>) {
    // SAFETY: only reached with a `Backend` from `detect`, which reported these features.
    unsafe { mask_assign_v(m, b, a, s, add) }
}

pub(super) fn cover_assign(m: &Modulus, x: &mut [u64], v: &[u64], k: &[u64], c: u64, add: Option<&[u64]>) {
    // SAFETY: as above.
    unsafe { cover_assign_v(m, x, v, k, c, add) }
}

pub(super) fn lift_signed(m: &Modulus, out: &mut [u64], values: &[i64], c: u64) {
    // SAFETY: as above.
    unsafe { lift_signed_v(m, out, values, c) }
}

pub(super) fn lift_small(m: &Modulus, out: &mut [u64], values: &[i8], c: u64) {
    // SAFETY: as above.
    unsafe { lift_small_v(m, out, values, c) }
}

/// Largest multiple of eight not above any of the lengths.
fn whole(lens: impl IntoIterator<Item = usize>) -> usize {
    lens.into_iter().min().unwrap_or(0) & !7
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mask_assign_v(m: &Modulus, b: &mut [u64], a: &[u64], s: &[u64], add: Option<&[u64]>) {
    let l = Lanes::new(m, 1);
    let n = whole([b.len(), a.len(), s.len(), add.map_or(usize::MAX, <[u64]>::len)]);
    for j in (0..n).step_by(8) {
        let mut r = l.sub(load(b, j), l.mul(load(a, j), load(s, j)));
        if let Some(add) = add {
            r = l.add(r, load(add, j));
        }
        store(b, j, r);
    }
    scalar::mask_assign(m, &mut b[n..], &a[n..], &s[n..], add.map(|x| &x[n..]));
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn cover_assign_v(m: &Modulus, x: &mut [u64], v: &[u64], k: &[u64], c: u64, add: Option<&[u64]>) {
    let (l, factor) = (Lanes::new(m, 1), splat(c));
    let n = whole([x.len(), v.len(), k.len(), add.map_or(usize::MAX, <[u64]>::len)]);
    for j in (0..n).step_by(8) {
        let sum = l.add(load(x, j), l.mul(load(v, j), load(k, j)));
        let mut r = l.mul(sum, factor);
        if let Some(add) = add {
            r = l.add(r, load(add, j));
        }
        store(x, j, r);
    }
    scalar::cover_assign(m, &mut x[n..], &v[n..], &k[n..], c, add.map(|x| &x[n..]));
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn lift_signed_v(m: &Modulus, out: &mut [u64], values: &[i64], c: u64) {
    let (l, k) = (Lanes::new(m, 1), splat(c));
    let n = whole([out.len(), values.len()]);
    for j in (0..n).step_by(8) {
        store(out, j, lift(&l, load(bytemuck::cast_slice(values), j), k));
    }
    scalar::lift_signed(m, &mut out[n..], &values[n..], c);
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn lift_small_v(m: &Modulus, out: &mut [u64], values: &[i8], c: u64) {
    let (l, k) = (Lanes::new(m, 1), splat(c));
    let n = whole([out.len(), values.len()]);
    for j in (0..n).step_by(8) {
        // SAFETY: `j + 8 <= values.len()`; the load reads eight bytes.
        let v = unsafe { _mm_loadu_si64(values.as_ptr().add(j).cast()) };
        store(out, j, lift(&l, _mm512_cvtepi8_epi64(v), k));
    }
    scalar::lift_small(m, &mut out[n..], &values[n..], c);
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn lift(l: &Lanes, v: __m512i, k: __m512i) -> __m512i {
    let r = l.mul(_mm512_abs_epi64(v), k);
    _mm512_mask_blend_epi64(_mm512_movepi64_mask(v), r, l.sub(_mm512_setzero_si512(), r))
}
