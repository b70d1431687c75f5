//! Reduction modulo one, homomorphically: `sin(2 pi x) / 2 pi` near integers.
//!
//! `a cos(2 pi (x - 1/4) / 2^rho)` by an even Chebyshev polynomial, then `rho` times `y <- 2 y^2 - a^(2^(i+1))`, which doubles
//! the angle. With `a = (1 / 2 pi)^(1 / 2^rho)` the factor `1 / 2 pi` comes out at the end. The coefficients are fitted by least
//! squares on the arguments that occur, neighbourhoods of the integers below `K` (Han, Ki 2020), not on the whole interval.
//!
//! The sine's own error, `c x^3` at the edge, is spread by an amplitude slightly above one: a quarter of it remains. Half of
//! it remains where slots are sums of many small arguments, which need the same amplitude as large ones.
//!
//! # Where the noise comes from, and the wide double
//!
//! Most integers are small, so most `y = x / K` are near 0, where `u = T_2(y) = 2 y^2 - 1` is flat: the polynomial depends on `u`
//! thirty times as steeply as on `y` itself would justify, and the rounding noise of `u` would cost three bits of the result
//! (worst slot at ring degree `2^16` with 50-bit primes throughout: 12.5 bits). So `y` comes at a larger scale, `u` is kept eight
//! bits above its neighbours, and the next doubling `T_4 = 2 u^2 - 1` is rescaled by two small primes. That takes 16 bits of
//! modulus in all and one more limb. The second of the small primes is the larger one, since integer constants are rounded
//! at its level.

use crate::HeError;
use crate::kernels::chebyshev_given_powers;
use crate::slots::{Combination, SlotEvaluator};

/// Chebyshev nodes per neighbourhood of an integer.
const NODES: usize = 6;

/// The approximation for `|x| < K`.
#[derive(Clone, Debug)]
pub(super) struct EvalMod {
    coefficients: Vec<f64>,
    doublings: usize,
    /// Subtracted by the first angle doubling; squared from one to the next.
    constant: f64,
    range: f64,
    /// Largest error without any noise, relative to the largest fractional part.
    error: f64,
}

impl EvalMod {
    /// For integers up to `range` with fractional parts up to `2^-log_ratio`; [`super::BootstrapParams::spread`].
    pub(super) fn new(range: usize, log_ratio: u32, degree: usize, doublings: usize, spread: f64) -> Self {
        let (k, rho) = (range as f64, 2f64.powi(doublings as i32));
        let eps = 2f64.powi(-(log_ratio as i32));
        // x - sin(2 pi x) / 2 pi is c x^3 with c = (2 pi)^2 / 6; minus 3/4 c eps^2 x, it is at most c eps^3 / 4 up to eps;
        // minus c eps^2 x / 2, it is at most c eps^2 x / 2.
        let spread = 1.0 + spread * (std::f64::consts::TAU * eps).powi(2) / 6.0;
        let amplitude = (spread / std::f64::consts::TAU).powf(1.0 / rho);
        let mut rows = Vec::new();
        let top = range as i32 - 1;
        for i in -top..=top {
            for node in 0..NODES {
                let offset = eps * (std::f64::consts::PI * (node as f64 + 0.5) / NODES as f64).cos();
                let y = (f64::from(i) + offset - 0.25) / k;
                let value = amplitude * (std::f64::consts::TAU * k * y / rho).cos();
                let even: Vec<f64> = (0..=degree / 2).map(|j| (2.0 * j as f64 * y.acos()).cos()).collect();
                rows.push((even, value));
            }
        }
        let mut coefficients = vec![0.0; degree + 1];
        for (c, x) in coefficients.iter_mut().step_by(2).zip(least_squares(rows, degree / 2 + 1)) {
            *c = x;
        }
        let mut made =
            Self { coefficients, doublings, constant: amplitude * amplitude, range: k, error: 0.0 };
        let grid = (-top..=top).flat_map(|i| (-32..=32).map(move |z| (f64::from(i), f64::from(z) / 32.0)));
        made.error = grid.map(|(i, z)| (made.fraction(i + z * eps) / eps - z).abs()).fold(0.0, f64::max);
        made
    }

    /// What comes out for `x`, in the clear.
    fn fraction(&self, x: f64) -> f64 {
        let angle = ((x - 0.25) / self.range).acos();
        let mut y: f64 =
            self.coefficients.iter().enumerate().map(|(j, c)| c * (j as f64 * angle).cos()).sum();
        let mut constant = self.constant;
        for _ in 0..self.doublings {
            y = 2.0 * y * y - constant;
            constant *= constant;
        }
        y
    }

    /// Largest error without any noise, for full-scale slots.
    pub(super) fn error(&self) -> f64 {
        self.error
    }

    /// Primes consumed: for `u`, one more by the wide double, for the rest of the polynomial, for the angle doublings.
    pub(super) fn depth(&self) -> usize {
        2 + (self.coefficients.len().div_ceil(2)).next_power_of_two().ilog2() as usize + self.doublings
    }

    /// The scale at which `y` is wanted at `level`, so that `T_4(y)` comes out at the scale of its prime.
    pub(super) fn input_scale(primes: &[u64], level: usize) -> f64 {
        let q =
            |below: usize| level.checked_sub(below).and_then(|l| primes.get(l)).map_or(1.0, |q| *q as f64);
        ((q(1) * q(2) * q(3)).sqrt() * q(0)).sqrt()
    }

    /// `y = x / K` to the fractional part of `x`, at exactly `scale` and [`EvalMod::depth`] levels below.
    pub(super) fn apply<E: SlotEvaluator>(
        &self,
        e: &E,
        y: &E::Vec,
        primes: &[u64],
        scale: f64,
    ) -> Result<E::Vec, HeError> {
        let top = e.level(y);
        let end = top.checked_sub(self.depth()).ok_or(HeError::NoLevelLeft { level: top })?;
        let prime = |level: usize| primes.get(level).map_or(1.0, |q| *q as f64);
        let double = |y: &E::Vec, constant: f64| {
            let sum =
                Combination { times: 2, products: vec![(y, y)], terms: Vec::new(), constant: -constant };
            let level = e.level(y);
            e.combine(&sum, level, e.scale(y) * e.scale(y) / prime(level))
        };
        // Scales backwards through the doublings: each result's scale is the square of its input's over the prime.
        let mut before = scale;
        for level in (end + 1..).take(self.doublings) {
            before = (before * prime(level)).sqrt();
        }
        // T_2 and T_4 of y are the first and second Chebyshev polynomials of u.
        let wide = double(&e.add_const(y, -0.25 / self.range)?, 1.0)?;
        let two = e.rescale(&double(&wide, 1.0)?)?;
        // The same u at an ordinary scale, for where it is multiplied or added itself.
        let integer = (prime(top - 1) * prime(top) / e.scale(&wide)).max(1.0).round();
        let u = e.rescale(&e.mul_const(&wide, 1.0, integer)?)?;
        let even: Vec<f64> = self.coefficients.iter().step_by(2).copied().collect();
        let mut y = chebyshev_given_powers(e, &u, [(2, two)], &even, primes, before)?;
        let mut constant = self.constant;
        for _ in 0..self.doublings {
            y = double(&y, constant)?;
            constant *= constant;
        }
        Ok(y)
    }
}

/// Solve `min |A x - b|` for rows `(A_i, b_i)` by Householder reflections.
fn least_squares(rows: Vec<(Vec<f64>, f64)>, unknowns: usize) -> Vec<f64> {
    let (mut a, mut b): (Vec<Vec<f64>>, Vec<f64>) = rows.into_iter().unzip();
    let entry = |row: &[f64], c: usize| row.get(c).copied().unwrap_or(0.0);
    for c in 0..unknowns {
        let norm = a.iter().skip(c).map(|row| entry(row, c).powi(2)).sum::<f64>().sqrt();
        let mut v: Vec<f64> = a.iter().skip(c).map(|row| entry(row, c)).collect();
        if let Some(first) = v.first_mut() {
            *first += norm.copysign(*first);
        }
        let square: f64 = v.iter().map(|x| x * x).sum();
        if square == 0.0 {
            continue;
        }
        for k in c..unknowns {
            let dot: f64 = v.iter().zip(a.iter().skip(c)).map(|(v, row)| v * entry(row, k)).sum();
            for (v, row) in v.iter().zip(a.iter_mut().skip(c)) {
                if let Some(x) = row.get_mut(k) {
                    *x -= 2.0 * v * dot / square;
                }
            }
        }
        let dot: f64 = v.iter().zip(b.iter().skip(c)).map(|(v, b)| v * b).sum();
        v.iter().zip(b.iter_mut().skip(c)).for_each(|(v, b)| *b -= 2.0 * v * dot / square);
    }
    let mut x = vec![0.0; unknowns];
    for c in (0..unknowns).rev() {
        let Some(row) = a.get(c) else { continue };
        let known: f64 = (c + 1..unknowns).map(|k| entry(row, k) * entry(&x, k)).sum();
        let value = (b.get(c).copied().unwrap_or(0.0) - known) / entry(row, c);
        if let Some(x) = x.get_mut(c) {
            *x = value;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractional_parts_are_found_near_every_integer() {
        for (log_ratio, bits) in [(8, 15.2), (10, 18.8), (12, 20.5)] {
            let m = EvalMod::new(16, log_ratio, 30, 3, 0.75);
            assert_eq!(m.depth(), 9);
            let worst = m.error();
            assert!(-worst.log2() > bits, "ratio 2^{log_ratio}: {} bits", -worst.log2());
        }
    }
}
