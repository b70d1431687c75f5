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

/// Twiddles of the butterflies that span `half` numbers, `half` of them.
pub(super) struct Stage {
    half: usize,
    pub(super) re: Vec<f64>,
    pub(super) im: Vec<f64>,
}

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
        #[cfg(target_arch = "x86_64")]
        if self.vectors() {
            let (mut from_re, mut from_im) = (re.to_vec(), im.to_vec());
            return super::simd_fft::decode(&self.stages, (&mut from_re, &mut from_im), (re, im));
        }
        let _ = self.backend;
        bit_reverse_permute(re);
        bit_reverse_permute(im);
        for s in &self.stages {
            decode_pass(s, re, im);
        }
    }

    /// Slots in `re`, `im` to coefficients in `out_re`, `out_im`, all of `slots` values: the exact inverse of
    /// [`SpecialFft::decode`] up to rounding. The inputs are overwritten.
    pub fn encode(&self, re: &mut [f64], im: &mut [f64], out_re: &mut [f64], out_im: &mut [f64]) {
        // A power of two, so that scaling is exact wherever it happens.
        let scale = 1.0 / self.slots as f64;
        #[cfg(target_arch = "x86_64")]
        if self.vectors() {
            return super::simd_fft::encode(&self.stages, (re, im), (out_re, out_im), scale);
        }
        for s in self.stages.iter().rev() {
            encode_pass(s, re, im);
        }
        for (out, x) in [(out_re, re), (out_im, im)] {
            bit_reverse_permute(x);
            out.iter_mut().zip(x).for_each(|(o, x)| *o = *x * scale);
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn vectors(&self) -> bool {
        self.backend.is_ifma() && self.slots >= 64
    }
}

/// Replace the bits of every double in `values` by those of the 64-bit integer nearest to it times `factor`.
pub fn round_words(backend: Backend, values: &mut [u64], factor: f64) {
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_fft::round(values, factor);
    }
    let _ = backend;
    round_scalar(values, factor);
}

#[inline(always)]
pub(super) fn round_scalar(values: &mut [u64], factor: f64) {
    for v in values {
        *v = (f64::from_bits(*v) * factor).round() as i64 as u64;
    }
}

/// The largest magnitude; in eight lanes, so that it vectorises.
#[must_use]
pub fn largest(values: &[f64]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let larger = |m: f64, x: f64| if x.abs() > m { x.abs() } else { m };
    let mut most = [0.0; 8];
    for chunk in chunks {
        for (m, x) in most.iter_mut().zip(chunk) {
            *m = larger(*m, *x);
        }
    }
    most.iter().chain(rest).fold(0.0, |m, x| larger(m, *x))
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

fn decode_pass(stage: &Stage, re: &mut [f64], im: &mut [f64]) {
    let Stage { half, re: wr, im: wi } = stage;
    for (re, im) in re.chunks_exact_mut(2 * *half).zip(im.chunks_exact_mut(2 * *half)) {
        let ((ar, br), (ai, bi)) = (re.split_at_mut(*half), im.split_at_mut(*half));
        for ((((ar, ai), br), bi), (wr, wi)) in ar.iter_mut().zip(ai).zip(br).zip(bi).zip(wr.iter().zip(wi)) {
            let (vr, vi) = (*br * wr - *bi * wi, *br * wi + *bi * wr);
            let (ur, ui) = (*ar, *ai);
            (*ar, *ai, *br, *bi) = (ur + vr, ui + vi, ur - vr, ui - vi);
        }
    }
}

fn encode_pass(stage: &Stage, re: &mut [f64], im: &mut [f64]) {
    let Stage { half, re: wr, im: wi } = stage;
    for (re, im) in re.chunks_exact_mut(2 * *half).zip(im.chunks_exact_mut(2 * *half)) {
        let ((ar, br), (ai, bi)) = (re.split_at_mut(*half), im.split_at_mut(*half));
        for ((((ar, ai), br), bi), (wr, wi)) in ar.iter_mut().zip(ai).zip(br).zip(bi).zip(wr.iter().zip(wi)) {
            let (dr, di) = (*ar - *br, *ai - *bi);
            (*ar, *ai) = (*ar + *br, *ai + *bi);
            (*br, *bi) = (dr * wr + di * wi, di * wr - dr * wi);
        }
    }
}

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
        let [mut x, mut y, mut u, mut v] = [x, y, vec![0.0; slots], vec![0.0; slots]];
        fft.encode(&mut x, &mut y, &mut u, &mut v);
        let [x, y] = [u, v];
        assert!(x.iter().zip(&re).chain(y.iter().zip(&im)).all(|(a, b)| (a - b).abs() < 1e-12));
    }
    #[test]
    fn both_backends_give_the_same_bits() {
        for log in 5..16 {
            let slots = 1usize << log;
            let x: Vec<f64> = (0..slots).map(|i| (i as f64 * 0.7).sin()).collect();
            let y: Vec<f64> = (0..slots).map(|i| (i as f64 * 0.3).cos()).collect();
            let run = |backend| {
                let fft = SpecialFft::new(slots, backend);
                let (mut a, mut b) = (x.clone(), y.clone());
                let (mut c, mut d) = (vec![0.0; slots], vec![0.0; slots]);
                fft.encode(&mut a, &mut b, &mut c, &mut d);
                let (mut e, mut f) = (c.clone(), d.clone());
                fft.decode(&mut e, &mut f);
                let mut words: Vec<u64> = c.iter().map(|x| (x * 1e6).to_bits()).collect();
                words[..5].copy_from_slice(&[0.5, -0.5, 1.5, -2.5, 0.49999999999999994].map(f64::to_bits));
                round_words(backend, &mut words, 1.0);
                assert_eq!(words[..5], [1, -1, 2, -3, 0].map(|x: i64| x as u64));
                [c, d, e, f, words.iter().map(|w| *w as i64 as f64).collect()]
            };
            let fast = run(Backend::detect());
            assert!(fast == run(Backend::scalar()), "{log}");
            assert!(fast[2].iter().zip(&x).chain(fast[3].iter().zip(&y)).all(|(a, b)| (a - b).abs() < 1e-11));
            assert!(largest(&fast[0]) == fast[0].iter().fold(0.0, |m: f64, x| m.max(x.abs())));
        }
    }
}
