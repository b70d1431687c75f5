//! Polynomials of one vector at minimal depth, with exact scales.
//!
//! A [`Scheme`] says what is multiplied and added; [`run`] carries it out with exact target scales (Bossuat et al. 2021): in
//! `p = Σ qᵢ·T_{mᵢ} + r` at scale `S` below the prime `q_l`, quotient `i` is evaluated at scale `S·q_l/S_{mᵢ}`, so that its
//! product lands on `S·q_l` as the remainder's integer constants do, and the rescaled sum has exactly the scale `S`.

mod noise;
mod scheme;
mod sign;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use hetrain_export::{Basis, Polynomial};

use crate::HeError;
use crate::plan::Shared;
use crate::slots::{Combination, SlotEvaluator};
pub(crate) use noise::{Noise, Scales};
pub(crate) use scheme::{Scheme, Sum};
pub use sign::CompositeSign;

/// Coefficients of a quadratic per slot, prepared: `c₂ ⊙ x² + c₁ ⊙ x + c₀`, two levels.
pub(crate) struct Quadratic<E: SlotEvaluator> {
    pub(crate) c2: Shared<E::Factor>,
    pub(crate) c1: Shared<E::Factor>,
    pub(crate) c0: Shared<E::Summand>,
}

/// Apply a quadratic that could not be folded into a square.
pub(crate) fn quadratic<E: SlotEvaluator>(
    e: &E,
    x: &[E::Vec],
    weights: &Quadratic<E>,
) -> Result<Vec<E::Vec>, HeError> {
    x.iter()
        .zip(weights.c2.iter())
        .zip(weights.c1.iter())
        .zip(weights.c0.iter())
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
    let i = poly.interval();
    // In [−1, 1] every power stays there and keeps the scale of a prime; outside, the scales of powers drift apart.
    match poly.basis() {
        Basis::Monomial => run(
            e,
            &e.divide(x, i.max_abs())?,
            &scheme_of(poly, e.level(x)),
            BTreeMap::new(),
            primes,
            scale_out,
        ),
        Basis::Chebyshev => {
            // The interval's map to [−1, 1] costs one level, which also brings the scale to that of the next prime.
            let level = e.level(x);
            let map = Combination {
                times: 1,
                products: Vec::new(),
                terms: vec![(x, 1.0 / i.half_width())],
                constant: -i.centre() / i.half_width(),
            };
            let unit = e.combine(&map, level, prime(primes, level.saturating_sub(1))?)?;
            chebyshev(e, &unit, poly.coeffs(), primes, scale_out)
        }
    }
}

/// The scheme by which [`polynomial`] evaluates `poly` for an input at `level`, on the input mapped to `[−1, 1]`.
pub(crate) fn scheme_of(poly: &Polynomial, level: usize) -> Scheme {
    match poly.basis() {
        Basis::Monomial => {
            let r = poly.interval().max_abs();
            let powers = std::iter::successors(Some(1.0), |p| Some(p * r));
            let coeffs: Vec<f64> = poly.coeffs().iter().zip(powers).map(|(c, p)| c * p).collect();
            Scheme::new(Basis::Monomial, &coeffs, level)
        }
        Basis::Chebyshev => Scheme::new(Basis::Chebyshev, poly.coeffs(), level.saturating_sub(1)),
    }
}

/// `Σ cᵢ·Tᵢ(x)` for `x` in `[−1, 1]`, whose scale should be near that of a prime. The result has exactly `scale_out` and lies
/// `⌈log₂(d + 1)⌉` levels below `x` for degree `d` without leading zeros (one level below for a constant).
pub(crate) fn chebyshev<E: SlotEvaluator>(
    e: &E,
    x: &E::Vec,
    coeffs: &[f64],
    primes: &[u64],
    scale_out: f64,
) -> Result<E::Vec, HeError> {
    run(e, x, &Scheme::new(Basis::Chebyshev, coeffs, e.level(x)), BTreeMap::new(), primes, scale_out)
}

/// The same with some `Tᵢ(x)` given, not lower than `⌈log₂ i⌉` levels below `x`: for callers who know them more precisely than `x`.
pub(crate) fn chebyshev_given_powers<E: SlotEvaluator>(
    e: &E,
    x: &E::Vec,
    known: impl IntoIterator<Item = (usize, E::Vec)>,
    coeffs: &[f64],
    primes: &[u64],
    scale_out: f64,
) -> Result<E::Vec, HeError> {
    let scheme = Scheme::new(Basis::Chebyshev, coeffs, e.level(x));
    run(e, x, &scheme, known.into_iter().collect(), primes, scale_out)
}

fn prime(primes: &[u64], level: usize) -> Result<f64, HeError> {
    primes.get(level).map(|&q| q as f64).ok_or(HeError::NoLevelLeft { level })
}

/// Evaluate `scheme` at `x`; `known` holds powers that need not be computed.
fn run<E: SlotEvaluator>(
    e: &E,
    x: &E::Vec,
    scheme: &Scheme,
    known: BTreeMap<usize, E::Vec>,
    primes: &[u64],
    scale_out: f64,
) -> Result<E::Vec, HeError> {
    let top = e.level(x);
    if top < scheme.depth() {
        return Err(HeError::NoLevelLeft { level: top });
    }
    let mut run = Run { e, x, primes, top, powers: known };
    for (&i, &depth) in &scheme.powers {
        if run.powers.contains_key(&i) {
            continue;
        }
        let power = run.power(scheme.basis, i, depth)?;
        run.powers.insert(i, power);
    }
    run.sum(&scheme.root, scale_out)
}

struct Run<'a, E: SlotEvaluator> {
    e: &'a E,
    x: &'a E::Vec,
    primes: &'a [u64],
    /// Level of `x`.
    top: usize,
    powers: BTreeMap<usize, E::Vec>,
}

impl<E: SlotEvaluator> Run<'_, E> {
    fn get(&self, i: usize) -> Result<&E::Vec, HeError> {
        if i == 1 { Ok(self.x) } else { self.powers.get(&i).ok_or(HeError::EmptySum) }
    }

    /// `x^i` or `T_i(x)` at the scale its factors give.
    fn power(&self, basis: Basis, i: usize, depth: usize) -> Result<E::Vec, HeError> {
        let (a, b) = scheme::factors(i);
        let (ta, tb) = (self.get(a)?, self.get(b)?);
        let mut sum = Combination { times: 1, products: vec![(ta, tb)], terms: Vec::new(), constant: 0.0 };
        if basis == Basis::Chebyshev {
            // T_{a+b} = 2 T_a T_b − T_{a−b}
            sum.times = 2;
            match a - b {
                0 => sum.constant = -1.0,
                c => sum.terms.push((self.get(c)?, -1.0)),
            }
        }
        let level = self.top + 1 - depth;
        self.e.combine(&sum, level, self.e.scale(ta) * self.e.scale(tb) / prime(self.primes, level)?)
    }

    /// `sum` at exactly `scale`.
    fn sum(&self, sum: &Sum, scale: f64) -> Result<E::Vec, HeError> {
        let level = self.top + 1 - sum.depth;
        let high = scale * prime(self.primes, level)?;
        let quotients = sum
            .products
            .iter()
            .map(|(m, q)| self.sum(q, high / self.e.scale(self.get(*m)?)))
            .collect::<Result<Vec<_>, _>>()?;
        let products = sum.products.iter().zip(&quotients).map(|((m, _), q)| Ok((self.get(*m)?, q)));
        let terms = sum.terms.iter().map(|(i, c)| Ok((self.get(*i)?, *c)));
        let combination = Combination {
            times: 1,
            products: products.collect::<Result<_, HeError>>()?,
            terms: terms.collect::<Result<_, HeError>>()?,
            constant: sum.constant,
        };
        self.e.combine(&combination, level, scale)
    }
}
