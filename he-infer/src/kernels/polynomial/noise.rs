//! How noise passes through a scheme: every rescaled sum rounds once, and later steps multiply what it left.
//!
//! The derivative of the result by the input and by the result of every step is carried along at sample points, so noise
//! that reaches the result on several ways (all powers hold that of the input) adds up with its signs, as it does in a run.

use std::collections::BTreeMap;

use hetrain_export::Basis;

use super::scheme::{Scheme, Sum, factors};

/// A number and its derivatives by the noise of the input and of every step.
#[derive(Clone)]
struct Dual {
    value: f64,
    gains: Vec<f64>,
}

/// A step that rounds, with its scale as `base · 2^(exponent · drift)`: see [`Noise::variances`].
#[derive(Clone, Copy, Debug)]
struct Step {
    power: bool,
    exponent: f64,
}

/// The scales a variance is asked for, and what one rounding leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scales {
    /// A prime of the chain; powers have about this scale.
    pub(crate) prime: f64,
    /// The input on `[−1, 1]`.
    pub(crate) input: f64,
    /// The result.
    pub(crate) result: f64,
    /// Deviation of a rounding in a slot, times scale.
    pub(crate) rounding: f64,
}

/// Squared derivatives of a polynomial's result at sample points.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    steps: Vec<Step>,
    points: Vec<Point>,
}

#[derive(Clone, Debug)]
struct Point {
    weight: f64,
    input: f64,
    /// Of each step, and their sums over powers and over other steps.
    steps: Vec<f64>,
    powers: f64,
    sums: f64,
}

impl Noise {
    /// Derivatives at weighted points of `[−1, 1]`.
    pub(crate) fn new(scheme: &Scheme, points: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut steps: Vec<Step> =
            scheme.powers.keys().map(|&i| Step { power: true, exponent: i as f64 }).collect();
        sum_steps(&scheme.root, 0.0, &mut steps);
        let square = |x: &f64| x * x;
        let points = points.map(|(x, weight)| {
            let gains = evaluate(scheme, x, steps.len()).gains;
            let (input, rest) = gains.split_first().unwrap_or((&0.0, &[]));
            let (powers, sums) = rest.split_at(scheme.powers.len().min(rest.len()));
            Point {
                weight,
                input: square(input),
                steps: rest.iter().map(square).collect(),
                powers: powers.iter().map(square).sum(),
                sums: sums.iter().map(square).sum(),
            }
        });
        Self { points: points.collect(), steps }
    }

    /// Variance of the result at each point, with the point's weight, for an input with noise variance `input`.
    ///
    /// Powers multiply scales and divide by primes, so the scale of power `i` is `prime · 2^(i · drift)` with
    /// `drift = log₂(input scale / prime)`; the quotient by it makes up for that.
    pub(crate) fn variances(&self, input: f64, scales: Scales) -> Vec<(f64, f64)> {
        let own = |scale: f64| (scales.rounding / scale).powi(2);
        let (power, sum) = (own(scales.prime), own(scales.result));
        let drift = (scales.input / scales.prime).log2();
        let drifted: Vec<f64> = if drift.abs() < 1e-3 {
            Vec::new()
        } else {
            let base = |s: &Step| if s.power { power } else { sum };
            self.steps.iter().map(|s| base(s) * (-2.0 * s.exponent * drift).exp2()).collect()
        };
        let at = |p: &Point| {
            let steps: f64 = match drifted.as_slice() {
                [] => p.powers * power + p.sums * sum,
                drifted => p.steps.iter().zip(drifted).map(|(g, v)| g * v).sum(),
            };
            p.input * input + steps
        };
        self.points.iter().map(|p| (p.weight, at(p))).collect()
    }
}

/// Steps of a sum in the order a [`Trace`] meets them: quotients before the sum they belong to.
fn sum_steps(sum: &Sum, exponent: f64, steps: &mut Vec<Step>) {
    for (m, quotient) in &sum.products {
        sum_steps(quotient, exponent - *m as f64, steps);
    }
    steps.push(Step { power: false, exponent });
}

/// Value and derivatives at `x`.
fn evaluate(scheme: &Scheme, x: f64, steps: usize) -> Dual {
    let mut t = Trace { steps, met: 0, powers: BTreeMap::new() };
    let mut input = t.constant(x);
    t.rounds(&mut input);
    t.powers.insert(1, input);
    for &i in scheme.powers.keys() {
        let (a, b) = factors(i);
        let mut power = t.constant(0.0);
        let chebyshev = scheme.basis == Basis::Chebyshev;
        if let (Some(ta), Some(tb)) = (t.powers.get(&a), t.powers.get(&b)) {
            add_product(&mut power, if chebyshev { 2.0 } else { 1.0 }, ta, tb);
        }
        match a - b {
            _ if !chebyshev => {}
            0 => power.value -= 1.0,
            c => t.powers.get(&c).into_iter().for_each(|tc| add_multiple(&mut power, -1.0, tc)),
        }
        t.rounds(&mut power);
        t.powers.insert(i, power);
    }
    t.sum(&scheme.root)
}

/// An evaluation that carries derivatives.
struct Trace {
    /// Steps in all, and steps met.
    steps: usize,
    met: usize,
    powers: BTreeMap<usize, Dual>,
}

impl Trace {
    fn constant(&self, value: f64) -> Dual {
        Dual { value, gains: vec![0.0; self.steps + 1] }
    }

    /// This result takes new noise.
    fn rounds(&mut self, result: &mut Dual) {
        result.gains.iter_mut().skip(self.met).take(1).for_each(|g| *g = 1.0);
        self.met += 1;
    }

    fn sum(&mut self, sum: &Sum) -> Dual {
        let mut result = self.constant(sum.constant);
        for (m, quotient) in &sum.products {
            let quotient = self.sum(quotient);
            if let Some(t) = self.powers.get(m) {
                add_product(&mut result, 1.0, &quotient, t);
            }
        }
        for (i, c) in &sum.terms {
            self.powers.get(i).into_iter().for_each(|t| add_multiple(&mut result, *c, t));
        }
        self.rounds(&mut result);
        result
    }
}

fn add_product(to: &mut Dual, times: f64, a: &Dual, b: &Dual) {
    to.value += times * a.value * b.value;
    for ((g, x), y) in to.gains.iter_mut().zip(&a.gains).zip(&b.gains) {
        *g += times * (x * b.value + y * a.value);
    }
}

fn add_multiple(to: &mut Dual, c: f64, a: &Dual) {
    to.value += c * a.value;
    to.gains.iter_mut().zip(&a.gains).for_each(|(g, x)| *g += c * x);
}
