//! Composite sign (Lee, Lee, No, Kim 2021): minimax polynomials in a row, each pushing its input further towards ±1.
//!
//! With `ReLU(x) = x (1 + sign(x)) / 2` this is the accuracy reference for networks that were not trained with polynomials.
//! It is deep: degrees `{15, 15, 27}`, which give the ReLU on `[−1, 1]` an error of `2^-13`, take 4 + 4 + 5 levels, and one
//! more for the product.

use super::{chebyshev, prime, scheme};
use crate::HeError;
use crate::slots::{Combination, SlotEvaluator};

/// Exchange steps before a minimax search gives up; ten are usual.
const EXCHANGES: usize = 100;
/// Samples of the error between two extrema.
const SAMPLES: usize = 64;

/// An approximation of the sign on `smallest <= |x| <= 1` by composed odd polynomials.
#[derive(Clone, Debug, PartialEq)]
pub struct CompositeSign {
    /// Chebyshev coefficients on `[−1, 1]`, first applied first.
    stages: Vec<Vec<f64>>,
    smallest: f64,
    error: f64,
}

impl CompositeSign {
    /// The composition of minimax polynomials of these degrees (the odd part of each) for inputs down to
    /// `smallest`.
    #[must_use]
    pub fn new(smallest: f64, degrees: &[usize]) -> Self {
        let (mut from, mut error) = (smallest, 1.0);
        let mut stages = Vec::with_capacity(degrees.len());
        for (i, &degree) in degrees.iter().enumerate() {
            let (mut coeffs, e) = minimax(degree.div_ceil(2), from);
            if i + 1 < degrees.len() {
                // Results lie in ±[1 − e, 1 + e]; divided by 1 + e they stay in [−1, 1].
                coeffs.iter_mut().for_each(|c| *c /= 1.0 + e);
                from = (1.0 - e) / (1.0 + e);
            }
            error = e;
            stages.push(coeffs);
        }
        Self { stages, smallest, error }
    }

    /// The composition whose ReLU is best on `[−1, 1]`.
    ///
    /// Below the smallest input the sign is wrong, which the ReLU hardly notices as its input is small; above, the error
    /// grows as the smallest input falls. The best is where both are equal.
    #[must_use]
    pub fn for_relu(degrees: &[usize]) -> Self {
        let (mut low, mut high) = (-40.0f64, 0.0f64);
        for _ in 0..24 {
            let middle = 0.5 * (low + high);
            let sign = Self::new(middle.exp2(), degrees);
            if sign.gap() > 0.5 * sign.error {
                high = middle;
            } else {
                low = middle;
            }
        }
        Self::new(high.exp2(), degrees)
    }

    /// Largest error of the ReLU below the smallest input.
    fn gap(&self) -> f64 {
        let error = |i: u32| {
            let x = self.smallest * f64::from(i) / 256.0;
            0.5 * x * (1.0 - self.eval(x)).abs()
        };
        (0..=256).map(error).fold(0.0, f64::max)
    }

    /// Largest error of the ReLU on `[−1, 1]`.
    #[must_use]
    pub fn relu_error(&self) -> f64 {
        self.gap().max(0.5 * self.error)
    }

    /// Largest error for `smallest <= |x| <= 1`.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Levels of [`CompositeSign::sign`]; [`CompositeSign::relu`] takes one more.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.stages.iter().map(|c| scheme::depth(c)).sum()
    }

    /// The approximation at `x` in `[−1, 1]`.
    #[must_use]
    pub fn eval(&self, x: f64) -> f64 {
        self.stages.iter().fold(x, |x, c| clenshaw(c, x))
    }

    /// Approximate sign of `x` in `[−1, 1]`, whose scale should be near that of a prime; exactly `scale_out`.
    ///
    /// # Errors
    /// Too few levels.
    pub fn sign<E: SlotEvaluator>(
        &self,
        e: &E,
        x: &E::Vec,
        primes: &[u64],
        scale_out: f64,
    ) -> Result<E::Vec, HeError> {
        let mut x = x.clone();
        for (i, c) in self.stages.iter().enumerate() {
            let scale = if i + 1 == self.stages.len() {
                scale_out
            } else {
                let level = e.level(&x);
                // Powers of a stage keep the scale of the primes they are divided by.
                prime(primes, level.checked_sub(scheme::depth(c)).ok_or(HeError::NoLevelLeft { level })?)?
            };
            x = chebyshev(e, &x, c, primes, scale)?;
        }
        Ok(x)
    }

    /// `x (1 + sign(x)) / 2` for `x` in `[−1, 1]`, one level below the sign; exactly `scale_out`.
    ///
    /// # Errors
    /// Too few levels.
    pub fn relu<E: SlotEvaluator>(
        &self,
        e: &E,
        x: &E::Vec,
        primes: &[u64],
        scale_out: f64,
    ) -> Result<E::Vec, HeError> {
        let top = e.level(x);
        let level = top.checked_sub(self.depth()).ok_or(HeError::NoLevelLeft { level: top })?;
        let high = scale_out * prime(primes, level)?;
        // Half the sign, by reading it at twice its scale.
        let half = e.divide(&self.sign(e, x, primes, 0.5 * high / e.scale(x))?, 2.0)?;
        let sum = Combination { times: 1, products: vec![(x, &half)], terms: vec![(x, 0.5)], constant: 0.0 };
        e.combine(&sum, level, scale_out)
    }
}

fn clenshaw(coeffs: &[f64], x: f64) -> f64 {
    let (mut b1, mut b2) = (0.0, 0.0);
    for &c in coeffs.iter().skip(1).rev() {
        (b1, b2) = (2.0 * x * b1 - b2 + c, b1);
    }
    x * b1 - b2 + coeffs.first().copied().unwrap_or(0.0)
}

/// The best approximation of 1 on `[smallest, 1]` by `terms` odd Chebyshev polynomials, and its largest error (Remez 1934).
fn minimax(terms: usize, smallest: f64) -> (Vec<f64>, f64) {
    // Extrema of the error lie about evenly in the angle of x².
    let (middle, half) = (0.5 * (1.0 + smallest * smallest), 0.5 * (1.0 - smallest * smallest));
    let at = |t: f64| (middle - half * (std::f64::consts::PI * t).cos()).sqrt().clamp(smallest, 1.0);
    let mut reference: Vec<f64> = (0..=terms).map(|i| i as f64 / terms as f64).collect();
    let mut best = (Vec::new(), f64::INFINITY);
    for _ in 0..EXCHANGES {
        let points: Vec<f64> = reference.iter().map(|&t| at(t)).collect();
        let Some((coeffs, level)) = levelled(terms, &points) else { break };
        let error = |t: f64| 1.0 - clenshaw(&coeffs, at(t));
        reference = extrema(&error, SAMPLES * terms, terms + 1);
        let worst = reference.iter().map(|&t| error(t).abs()).fold(0.0, f64::max);
        let done = worst <= level.abs() * (1.0 + 1e-9) || reference.len() < terms + 1;
        if worst < best.1 {
            best = (coeffs, worst);
        }
        if done {
            break;
        }
    }
    best
}

/// The odd polynomial whose error alternates between `±level` at the points.
fn levelled(terms: usize, points: &[f64]) -> Option<(Vec<f64>, f64)> {
    let row = |(i, &x): (usize, &f64)| -> Vec<f64> {
        let angle = x.acos();
        let odd = (0..terms).map(|k| ((2 * k + 1) as f64 * angle).cos());
        odd.chain([if i.is_multiple_of(2) { 1.0 } else { -1.0 }, 1.0]).collect()
    };
    let solution = solve(points.iter().enumerate().map(row).collect())?;
    let (level, odd) = solution.split_last()?;
    Some((odd.iter().flat_map(|&c| [0.0, c]).collect(), *level))
}

/// Solve a square system, right-hand sides last, by elimination with row pivots.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let mut solved: Vec<Vec<f64>> = Vec::with_capacity(rows.len());
    while !rows.is_empty() {
        let column = solved.len();
        let size = |r: &Vec<f64>| r.get(column).map_or(0.0, |x| x.abs());
        let at = (0..rows.len()).max_by(|&a, &b| {
            let size = |i: usize| rows.get(i).map_or(0.0, size);
            size(a).total_cmp(&size(b))
        })?;
        let mut pivot = rows.swap_remove(at);
        let lead = *pivot.get(column)?;
        if lead == 0.0 {
            return None;
        }
        pivot.iter_mut().for_each(|x| *x /= lead);
        for row in rows.iter_mut().chain(&mut solved) {
            let factor = *row.get(column)?;
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
        solved.push(pivot);
    }
    solved.iter().map(|r| r.last().copied()).collect()
}

/// Places in `[0, 1]` where `f` is largest between two changes of sign; the `most` of them in a row that matter most.
fn extrema(f: &dyn Fn(f64) -> f64, samples: usize, most: usize) -> Vec<f64> {
    let mut found: Vec<(f64, f64)> = Vec::new();
    for i in 0..=samples {
        let t = i as f64 / samples as f64;
        let value = f(t);
        match found.last_mut() {
            Some(last) if last.1.is_sign_positive() == value.is_sign_positive() => {
                if value.abs() > last.1.abs() {
                    *last = (t, value);
                }
            }
            _ => found.push((t, value)),
        }
    }
    for (t, value) in &mut found {
        // Halving steps around the sample: the error is smooth and has one peak there.
        let mut step = 0.5 / samples as f64;
        for _ in 0..30 {
            for next in [*t - step, *t + step] {
                let v = f(next);
                if (0.0..=1.0).contains(&next) && v.abs() > value.abs() {
                    (*t, *value) = (next, v);
                }
            }
            step *= 0.5;
        }
    }
    while found.len() > most {
        let (first, last) = (found.first().map_or(0.0, |f| f.1), found.last().map_or(0.0, |f| f.1));
        let weaker = if first.abs() < last.abs() { 0 } else { found.len() - 1 };
        found.remove(weaker);
    }
    found.into_iter().map(|(t, _)| t).collect()
}
