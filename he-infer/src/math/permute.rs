//! The automorphism `X -> X^g` in transformed form: a permutation of the residues.
//!
//! `out[i] = in[j]` with `2 brv(j) + 1 = g (2 brv(i) + 1) mod 2n`. Aligned blocks of eight map to aligned blocks of eight,
//! so a table holds one block number and one of at most eight lane patterns per block.

use super::backend::Backend;
use super::modulus::Modulus;
use super::ntt::bit_reverse;
use super::vector;

/// A Galois permutation of transformed residues of one ring degree.
#[derive(Clone)]
pub struct Permutation {
    blocks: Vec<u32>,
    /// The inverse of `blocks`: where each block goes.
    to: Vec<u32>,
    ids: Vec<u8>,
    lanes: [[u64; 8]; 8],
}

impl Permutation {
    /// Table for `X -> X^galois` at ring degree `n`; `None` unless `n >= 64` is a power of two and `galois` is odd.
    #[must_use]
    pub fn new(n: usize, galois: u64) -> Option<Self> {
        if n < 64 || !n.is_power_of_two() || galois.is_multiple_of(2) {
            return None;
        }
        let log_n = n.trailing_zeros();
        let mask = 2 * n as u64 - 1;
        let source = |i: usize| {
            let e = (2 * bit_reverse(i, log_n) as u64 + 1).wrapping_mul(galois) & mask;
            bit_reverse((e / 2) as usize, log_n)
        };
        let mut patterns: Vec<[u64; 8]> = Vec::with_capacity(8);
        let (mut blocks, mut ids) = (Vec::with_capacity(n / 8), Vec::with_capacity(n / 8));
        for b in 0..n / 8 {
            let src: [usize; 8] = std::array::from_fn(|l| source(8 * b + l));
            let lanes = src.map(|s| s as u64 % 8);
            let id = match patterns.iter().position(|p| *p == lanes) {
                Some(id) => id,
                None => {
                    patterns.push(lanes);
                    patterns.len() - 1
                }
            };
            blocks.push((src.first()? / 8) as u32);
            ids.push(id as u8);
        }
        let mut lanes = [[0; 8]; 8];
        if patterns.len() > lanes.len() {
            return None;
        }
        for (dst, src) in lanes.iter_mut().zip(patterns) {
            *dst = src;
        }
        let mut to = vec![0; blocks.len()];
        for (i, b) in blocks.iter().enumerate() {
            *to.get_mut(*b as usize)? = i as u32;
        }
        Some(Self { blocks, to, ids, lanes })
    }

    /// Ring degree.
    #[must_use]
    pub fn n(&self) -> usize {
        8 * self.to.len()
    }

    /// Put the residues `x`, which stand at word `first` and after it, to where they go in `out`; `first` is a multiple of eight.
    pub(super) fn scatter(&self, first: usize, out: &mut [u64], x: &[u64]) {
        for (src, to) in x.chunks_exact(8).zip(self.to.iter().skip(first / 8)) {
            let id = self.ids.get(*to as usize).copied().unwrap_or(0);
            let lanes = self.lanes.get(usize::from(id)).copied().unwrap_or_default();
            let dst = out.get_mut(8 * *to as usize..).unwrap_or(&mut []);
            for (o, lane) in dst.iter_mut().zip(lanes) {
                *o = src.get(lane as usize).copied().unwrap_or(0);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn scatter_table(&self) -> super::simd_permute::Table<'_> {
        (&self.to, &self.ids, &self.lanes)
    }

    /// `out = permuted x`, both of the ring degree the table was made for.
    pub fn apply(&self, backend: Backend, out: &mut [u64], x: &[u64]) {
        self.apply_from(backend, 0, out, x);
    }

    /// `out = permuted (x + y)`, without a pass of its own for the sum.
    pub fn apply_sum(&self, backend: Backend, m: &Modulus, out: &mut [u64], x: &[u64], y: Option<&[u64]>) {
        let Some(y) = y else { return self.apply(backend, out, x) };
        #[cfg(target_arch = "x86_64")]
        if backend.is_ifma() {
            return super::simd_permute::permute_sum(m, out, x, Some(y), self.gather(), false);
        }
        let mut sum = x.to_vec();
        vector::add_assign(backend, m, &mut sum, y);
        self.apply(backend, out, &sum);
    }

    /// `out += permuted (x + y)`.
    pub fn add_sum(&self, backend: Backend, m: &Modulus, out: &mut [u64], x: &[u64], y: Option<&[u64]>) {
        #[cfg(target_arch = "x86_64")]
        if backend.is_ifma() {
            return super::simd_permute::permute_sum(m, out, x, y, self.gather(), true);
        }
        let mut turned = vec![0; out.len()];
        self.apply_sum(backend, m, &mut turned, x, y);
        vector::add_assign(backend, m, out, &turned);
    }

    #[cfg(target_arch = "x86_64")]
    fn gather(&self) -> super::simd_permute::Table<'_> {
        (&self.blocks, &self.ids, &self.lanes)
    }

    /// The part of permuted `x` that starts at word `first`, a multiple of eight.
    pub fn apply_from(&self, backend: Backend, first: usize, out: &mut [u64], x: &[u64]) {
        let blocks = self.blocks.get(first / 8..).unwrap_or(&[]);
        let ids = self.ids.get(first / 8..).unwrap_or(&[]);
        // One block for every eight words of output.
        let (blocks, ids) = (cut(blocks, out.len() / 8), cut(ids, out.len() / 8));
        #[cfg(target_arch = "x86_64")]
        if backend.is_ifma() {
            return super::simd_permute::permute(out, x, blocks, ids, &self.lanes);
        } else if backend.is_avx2() {
            return super::simd_avx2::permute(out, x, blocks, ids, &self.lanes);
        }
        let _ = backend;
        for ((o, b), id) in out.chunks_exact_mut(8).zip(blocks).zip(ids) {
            let src = x.get(8 * *b as usize..).unwrap_or(&[]);
            let lanes = self.lanes.get(usize::from(*id)).copied().unwrap_or_default();
            for (o, lane) in o.iter_mut().zip(lanes) {
                *o = src.get(lane as usize).copied().unwrap_or(0);
            }
        }
    }
}

/// At most the first `len` entries.
fn cut<T>(x: &[T], len: usize) -> &[T] {
    x.split_at(len.min(x.len())).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::modulus::Modulus;
    use crate::math::ntt::Plan;

    #[test]
    fn permuting_transforms_equals_transforming_the_automorphism() {
        let (n, m) = (256usize, Modulus::new(0x3ffffffdf0001).unwrap());
        let plan = Plan::new(n, m, Backend::detect()).unwrap();
        let a: Vec<u64> = (0..n as u64).map(|i| i * i + 3).collect();
        for g in [5u64, 25, 3 * 5, 2 * n as u64 - 1, 125] {
            let mut want = vec![0; n];
            for (i, v) in a.iter().enumerate() {
                let e = i * g as usize % (2 * n);
                want[e % n] = if e < n { *v } else { m.neg(*v) };
            }
            plan.forward(&mut want);
            let mut x = a.clone();
            plan.forward(&mut x);
            let p = Permutation::new(n, g).unwrap();
            for backend in Backend::all() {
                let mut out = vec![0; n];
                p.apply(backend, &mut out, &x);
                assert_eq!(out, want);
                let twice: Vec<u64> = want.iter().map(|v| m.add(*v, *v)).collect();
                p.apply_sum(backend, &m, &mut out, &x, Some(&x));
                assert_eq!(out, twice);
                p.add_sum(backend, &m, &mut out, &x, None);
                let thrice: Vec<u64> = want.iter().zip(&twice).map(|(v, w)| m.add(*v, *w)).collect();
                assert_eq!(out, thrice);
                p.add_sum(backend, &m, &mut out, &x, Some(&x));
                assert_eq!(out, twice.iter().zip(&thrice).map(|(v, w)| m.add(*v, *w)).collect::<Vec<_>>());
            }
        }
    }
}
