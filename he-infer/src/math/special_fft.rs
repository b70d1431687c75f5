//! The encoder's complex transform between slots and polynomial coefficients (Cheon, Kim, Kim, Song 2017).
//!
//! With `w_t = m_t + i m_(t+n)` for `t < n = N/2`, slot `j` is `sum_t w_t zeta^(5^j t)`, `zeta = exp(i pi / N)`. Real and
//! imaginary parts live in separate arrays so that the loops vectorise; twiddles are precomputed per stage.

use super::backend::Backend;
use super::ntt::bit_reverse;

/// Tables for `slots` complex slots.
pub struct SpecialFft {
    slots: usize,
    stages: Vec<Stage>,
    backend: Backend,
}

struct Stage {
    half: usize,
    re: Vec<f64>,
    im: Vec<f64>,
}

/// One butterfly pass over all blocks of `2 * half`.
type Pass = fn(usize, &[f64], &[f64], &mut [f64], &mut [f64]);

impl SpecialFft {
    /// Tables for `slots` slots (a power of two; the ring degree is twice that).
    #[must_use]
    pub fn new(slots: usize, backend: Backend) -> Self {
        let mut stages = Vec::new();
        let mut len = 2;
        while len <= slots {
            let order = 4 * len;
            let mut power = 1usize;
            let angles: Vec<f64> = (0..len / 2)
                .map(|_| {
                    let angle = std::f64::consts::TAU * power as f64 / order as f64;
                    power = power * 5 % order;
                    angle
                })
                .collect();
            stages.push(Stage {
                half: len / 2,
                re: angles.iter().map(|a| a.cos()).collect(),
                im: angles.iter().map(|a| a.sin()).collect(),
            });
            len *= 2;
        }
        Self { slots, stages, backend }
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Coefficients to slots, in place; both arrays hold `slots` values.
    pub fn decode(&self, re: &mut [f64], im: &mut [f64]) {
        bit_reverse_permute(re);
        bit_reverse_permute(im);
        for s in &self.stages {
            self.pass(decode_pass_wide, decode_pass)(s.half, &s.re, &s.im, re, im);
        }
    }

    /// Slots to coefficients, in place (exact inverse of [`SpecialFft::decode`] up to rounding).
    pub fn encode(&self, re: &mut [f64], im: &mut [f64]) {
        for s in self.stages.iter().rev() {
            self.pass(encode_pass_wide, encode_pass)(s.half, &s.re, &s.im, re, im);
        }
        bit_reverse_permute(re);
        bit_reverse_permute(im);
        let scale = 1.0 / self.slots as f64;
        re.iter_mut().chain(im).for_each(|x| *x *= scale);
    }

    fn pass(&self, wide: Pass, portable: Pass) -> Pass {
        if self.backend.is_ifma() { wide } else { portable }
    }
}

fn bit_reverse_permute(x: &mut [f64]) {
    let bits = x.len().trailing_zeros();
    for i in 0..x.len() {
        let j = bit_reverse(i, bits);
        if i < j {
            x.swap(i, j);
        }
    }
}

#[inline(always)]
pub(super) fn decode_pass(half: usize, wr: &[f64], wi: &[f64], re: &mut [f64], im: &mut [f64]) {
    for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
        let ((ar, br), (ai, bi)) = (re.split_at_mut(half), im.split_at_mut(half));
        for ((((ar, ai), br), bi), (wr, wi)) in ar.iter_mut().zip(ai).zip(br).zip(bi).zip(wr.iter().zip(wi)) {
            let (vr, vi) = (*br * wr - *bi * wi, *br * wi + *bi * wr);
            let (ur, ui) = (*ar, *ai);
            (*ar, *ai, *br, *bi) = (ur + vr, ui + vi, ur - vr, ui - vi);
        }
    }
}

#[inline(always)]
pub(super) fn encode_pass(half: usize, wr: &[f64], wi: &[f64], re: &mut [f64], im: &mut [f64]) {
    for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
        let ((ar, br), (ai, bi)) = (re.split_at_mut(half), im.split_at_mut(half));
        for ((((ar, ai), br), bi), (wr, wi)) in ar.iter_mut().zip(ai).zip(br).zip(bi).zip(wr.iter().zip(wi)) {
            let (dr, di) = (*ar - *br, *ai - *bi);
            (*ar, *ai) = (*ar + *br, *ai + *bi);
            (*br, *bi) = (dr * wr + di * wi, di * wr - dr * wi);
        }
    }
}

#[cfg(target_arch = "x86_64")]
use super::simd::{decode_pass_wide, encode_pass_wide};
#[cfg(not(target_arch = "x86_64"))]
use {decode_pass as decode_pass_wide, encode_pass as encode_pass_wide};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_evaluates_at_powers_of_five_and_encode_inverts_it() {
        let slots = 32;
        let fft = SpecialFft::new(slots, Backend::detect());
        let re: Vec<f64> = (0..slots).map(|i| (i as f64).sin()).collect();
        let im: Vec<f64> = (0..slots).map(|i| (i as f64).cos()).collect();
        let (mut x, mut y) = (re.clone(), im.clone());
        fft.decode(&mut x, &mut y);
        let mut power = 1usize;
        for j in 0..slots {
            let (mut a, mut b) = (0.0, 0.0);
            for t in 0..slots {
                let (s, c) = (std::f64::consts::PI * (power * t) as f64 / (2 * slots) as f64).sin_cos();
                a += re[t] * c - im[t] * s;
                b += re[t] * s + im[t] * c;
            }
            assert!((a - x[j]).abs() < 1e-11 && (b - y[j]).abs() < 1e-11);
            power = power * 5 % (4 * slots);
        }
        fft.encode(&mut x, &mut y);
        assert!(x.iter().zip(&re).chain(y.iter().zip(&im)).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
