//! Polynomials of one vector at minimal depth, with exact scales.
//!
//! Division by the largest power (or Chebyshev polynomial) of two below the degree, as Paterson–Stockmeyer with exact
//! target scales (Bossuat et al. 2021): `p = q·T_{2^k} + r`, `q` evaluated one level above the target at scale
//! `S·q_l/S_T`, so that the product lands exactly on `S`. Depth `⌈log₂(d + 1)⌉`.

use std::collections::BTreeMap;

use hetrain_export::{Basis, Polynomial};

use crate::HeError;
use crate::slots::SlotEvaluator;

/// Coefficients of a quadratic per slot, prepared: `c₂ ⊙ x² + c₁ ⊙ x + c₀`, two levels.
pub(crate) struct Quadratic<E: SlotEvaluator> {
    pub(crate) c2: Vec<E::Factor>,
    pub(crate) c1: Vec<E::Factor>,
    pub(crate) c0: Vec<E::Summand>,
}

/// Apply a quadratic that could not be folded into a square.
pub(crate) fn quadratic<E: SlotEvaluator>(
    e: &E,
    x: &[E::Vec],
    weights: &Quadratic<E>,
) -> Result<Vec<E::Vec>, HeError> {
    x.iter()
        .zip(&weights.c2)
        .zip(&weights.c1)
        .zip(&weights.c0)
        .map(|(((x, c2), c1), c0)| {
            let square = e.square(x)?;
            let x = e.drop_to(x, e.level(&square))?;
            let sum = e.dot_plain(&[(&square, c2), (&x, c1)])?;
            e.add_plain(&e.rescale(&sum)?, c0)
        })
        .collect()
}

/// Apply `poly`; the result has exactly `scale_out` and lies `poly.depth()` levels below `x`. `primes` is the modulus chain.
pub(crate) fn polynomial<E: SlotEvaluator>(
    e: &E,
    x: &E::Vec,
    poly: &Polynomial,
    primes: &[u64],
    scale_out: f64,
) -> Result<E::Vec, HeError> {
    let out_level = e.level(x).checked_sub(poly.depth()).ok_or(HeError::NoLevelLeft { level: e.level(x) })?;
    // In [−1, 1] every power stays there and keeps the scale of a prime; outside, the scales of powers drift apart.
    let (unit, coeffs) = match poly.basis() {
        Basis::Monomial => {
            let r = poly.interval().max_abs();
            let powers = std::iter::successors(Some(1.0), |p| Some(p * r));
            (e.divide(x, r)?, poly.coeffs().iter().zip(powers).map(|(c, p)| c * p).collect())
        }
        Basis::Chebyshev => {
            let i = poly.interval();
            let (q, below) = (prime(primes, e.level(x))?, prime(primes, e.level(x).saturating_sub(1))?);
            // The interval's map to [−1, 1] costs one level, which also brings the scale to that of the next prime.
            let y = e.rescale(&e.mul_const(x, 1.0 / i.half_width(), below * q / e.scale(x))?)?;
            (e.add_const(&y, -i.centre() / i.half_width())?, poly.coeffs().to_vec())
        }
    };
    let mut powers = Powers { e, primes, basis: poly.basis(), known: BTreeMap::from([(1, unit)]), top: 0 };
    powers.top = powers.known.get(&1).map_or(0, |t| e.level(t));
    powers.eval(&coeffs, out_level, scale_out)
}

fn prime(primes: &[u64], level: usize) -> Result<f64, HeError> {
    primes.get(level).map(|&q| q as f64).ok_or(HeError::NoLevelLeft { level })
}

/// Levels below the input at which `T_i` becomes available: `⌈log₂ i⌉`.
fn depth_of(i: usize) -> usize {
    if i <= 1 { 0 } else { (usize::BITS - (i - 1).leading_zeros()) as usize }
}

struct Powers<'a, E: SlotEvaluator> {
    e: &'a E,
    primes: &'a [u64],
    basis: Basis,
    known: BTreeMap<usize, E::Vec>,
    top: usize,
}

impl<E: SlotEvaluator> Powers<'_, E> {
    /// `x^i` or `T_i(x)`.
    fn get(&mut self, i: usize) -> Result<E::Vec, HeError> {
        if let Some(t) = self.known.get(&i) {
            return Ok(t.clone());
        }
        let a = 1usize << (depth_of(i) - 1);
        let b = i - a;
        let (ta, tb) = (self.get(a)?, self.get(b)?);
        let level = self.e.level(&ta).min(self.e.level(&tb));
        let (ta, tb) = (self.e.drop_to(&ta, level)?, self.e.drop_to(&tb, level)?);
        let product = if a == b { self.e.square(&ta)? } else { self.e.mul(&ta, &tb)? };
        let t = match self.basis {
            Basis::Monomial => product,
            Basis::Chebyshev => {
                // T_{a+b} = 2 T_a T_b − T_{a−b}
                let double = self.e.add(&product, &product)?;
                if a == b {
                    self.e.add_const(&double, -1.0)?
                } else {
                    let other = self.get(a - b)?;
                    let other =
                        self.rescaled_to(&other, -1.0, self.e.level(&double), self.e.scale(&double))?;
                    self.e.add(&double, &other)?
                }
            }
        };
        self.known.insert(i, t.clone());
        Ok(t)
    }

    /// `c·v` at exactly `level` and `scale`; `v` must lie above `level`.
    fn rescaled_to(&self, v: &E::Vec, c: f64, level: usize, scale: f64) -> Result<E::Vec, HeError> {
        let v = self.e.drop_to(v, level + 1)?;
        let q = prime(self.primes, level + 1)?;
        self.e.rescale(&self.e.mul_const(&v, c, scale * q / self.e.scale(&v))?)
    }

    fn eval(&mut self, coeffs: &[f64], level: usize, scale: f64) -> Result<E::Vec, HeError> {
        let degree = coeffs.iter().rposition(|c| *c != 0.0).unwrap_or(0);
        let deepest = (1..=degree).map(depth_of).max().unwrap_or(0);
        if self.top >= level + 1 + deepest && degree < 8 || degree <= 1 {
            return self.leaf(coeffs, degree, level, scale);
        }
        let m = 1usize << (usize::BITS - 1 - degree.leading_zeros());
        let coeffs = coeffs.get(..=degree).unwrap_or(coeffs);
        let (low, high) = coeffs.split_at(m);
        let (mut r, mut q) = (low.to_vec(), high.to_vec());
        if self.basis == Basis::Chebyshev {
            // T_{m+j} = 2 T_m T_j − T_{m−j}
            for (j, c) in high.iter().enumerate().skip(1) {
                if let (Some(qj), Some(rj)) = (q.get_mut(j), r.get_mut(m - j)) {
                    *qj = 2.0 * c;
                    *rj -= c;
                }
            }
        }
        let t = self.get(m)?;
        let t = self.e.drop_to(&t, level + 1)?;
        let prime = prime(self.primes, level + 1)?;
        let q = self.eval(&q, level + 1, scale * prime / self.e.scale(&t))?;
        let product = self.e.mul(&q, &t)?;
        let r = self.eval(&r, level, scale)?;
        self.e.add(&product, &r)
    }

    /// `Σ cᵢ Tᵢ` with every term brought to one level and scale before a single rescaling.
    fn leaf(&mut self, coeffs: &[f64], degree: usize, level: usize, scale: f64) -> Result<E::Vec, HeError> {
        let q = prime(self.primes, level + 1)?;
        let mut acc: Option<E::Vec> = None;
        for (i, &c) in coeffs.iter().enumerate().take(degree + 1).skip(1) {
            // A constant polynomial still needs a vector to stand on: keep the linear term, times zero.
            if c == 0.0 && !(i == degree && acc.is_none()) {
                continue;
            }
            let t = self.get(i)?;
            let t = self.e.drop_to(&t, level + 1)?;
            let term = self.e.mul_const(&t, c, scale * q / self.e.scale(&t))?;
            acc = Some(match acc {
                None => term,
                Some(a) => self.e.add(&a, &term)?,
            });
        }
        let acc = match acc {
            Some(a) => a,
            None => {
                let t = self.get(1)?;
                let t = self.e.drop_to(&t, level + 1)?;
                self.e.mul_const(&t, 0.0, scale * q / self.e.scale(&t))?
            }
        };
        self.e.add_const(&self.e.rescale(&acc)?, coeffs.first().copied().unwrap_or(0.0))
    }
}

/// `Σ cᵢ Tᵢ(x)` for `x` in [-1, 1].
pub(crate) fn chebyshev<E: SlotEvaluator>(
    e: &E,
    x: &E::Vec,
    coeffs: &[f64],
    primes: &[u64],
    scale_out: f64,
) -> Result<E::Vec, HeError> {
    let depth = depth_of(coeffs.len());
    let out = e.level(x).checked_sub(depth).ok_or(HeError::NoLevelLeft { level: e.level(x) })?;
    let known = BTreeMap::from([(1, x.clone())]);
    Powers { e, primes, basis: Basis::Chebyshev, known, top: e.level(x) }.eval(coeffs, out, scale_out)
}
