//! A polynomial that follows from a function and an interval, and is not trained.

use burn::module::Module;
use burn::tensor::Tensor;
use hetrain_export::{Basis, Interval, Polynomial};

use super::Function;
use crate::LayerError;
use crate::pointwise::{self, Series};

/// The Chebyshev interpolant of a function on the interval its inputs are trained to stay in. One of its degree is within a small
/// factor of the best (Trefethen 2013, Approximation Theory and Approximation Practice, ch. 16). In place of `1/x`, whose interpolant is
/// wrong by as much at the upper end, where it is small, as at the lower, it is the polynomial whose largest *relative* error is least.
#[derive(Module, Debug)]
pub struct Fixed {
    #[module(skip)]
    function: Function,
    #[module(skip)]
    degree: usize,
}

impl Fixed {
    /// `function` by a polynomial of `degree`.
    pub(super) fn new(function: Function, degree: usize) -> Self {
        Self { function, degree }
    }

    /// The polynomial for inputs in `interval`.
    ///
    /// # Errors
    /// An interval on which the function is not finite.
    pub fn polynomial(&self, interval: Interval) -> Result<Polynomial, LayerError> {
        let f: &dyn Fn(f64) -> f64 = match self.function {
            Function::Inverse if interval.lo > 0.0 => &|x| nearest_inverse(x, self.degree, interval),
            function => &move |x| function.at(x),
        };
        Ok(Polynomial::interpolate(f, self.degree, interval)?)
    }

    /// Levels.
    pub(super) fn depth(&self) -> usize {
        (usize::BITS - self.degree.leading_zeros()) as usize + 1
    }

    /// The polynomial for `interval` at `x`, NaN where the function has none, by Clenshaw's recurrence. On a training device `x` is held
    /// in the interval: outside, powers of degree 30 grow beyond all numbers before the penalty can bring them back.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>, interval: Interval) -> Tensor<D> {
        let Ok(polynomial) = self.polynomial(interval) else { return x.mul_scalar(f64::NAN) };
        debug_assert_eq!(polynomial.basis(), Basis::Chebyshev);
        let held = x.is_autodiff();
        if let Some(y) = pointwise::series(&x, || Some(Series::new(&polynomial).held(held))) {
            return y;
        }
        let x = if held { x.clamp(interval.lo, interval.hi) } else { x };
        let t = x.sub_scalar(interval.centre()).div_scalar(interval.half_width());
        let [first, rest @ ..] = polynomial.coeffs() else { return t.zeros_like() };
        let (mut b1, mut b2): (Option<Tensor<D>>, Option<Tensor<D>>) = (None, None);
        for &c in rest.iter().rev() {
            let next = match (&b1, &b2) {
                (None, _) => t.full_like(c),
                (Some(b1), None) => (t.clone() * b1.clone()).mul_scalar(2.0).add_scalar(c),
                (Some(b1), Some(b2)) => (t.clone() * b1.clone()).mul_scalar(2.0) - b2.clone() + c,
            };
            (b1, b2) = (Some(next), b1);
        }
        match (b1, b2) {
            (None, _) => t.full_like(*first),
            (Some(b1), None) => t * b1 + *first,
            (Some(b1), Some(b2)) => t * b1 - b2 + *first,
        }
    }
}

/// `p(x)` for the `p` of `degree` with the least `max |1 − x·p(x)|` on a positive interval: `1 − x·p(x)` is 1 at 0 and small on the
/// interval, and of such polynomials Chebyshev's `T(x)/T(0)`, moved to the interval, is the smallest (as in Chebyshev's iteration; Golub and
/// Varga 1961).
fn nearest_inverse(x: f64, degree: usize, interval: Interval) -> f64 {
    let n = degree as f64 + 1.0;
    let at = |x: f64| (x - interval.centre()) / interval.half_width();
    let inside = (n * at(x).clamp(-1.0, 1.0).acos()).cos();
    let sign = if degree.is_multiple_of(2) { -1.0 } else { 1.0 };
    (1.0 - inside / (sign * (n * (-at(0.0)).acosh()).cosh())) / x
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::attention::{DECAY_DEGREE, INVERSE_DEGREE};
    use crate::norm::ROOT_DEGREE;

    #[test]
    fn the_degrees_in_use_are_as_near_as_they_are_said_to_be() {
        for (function, degree, lo, hi, relative, bound) in [
            (Function::InverseRoot, ROOT_DEGREE, 0.125, 8.0, true, 2e-4),
            (Function::Inverse, INVERSE_DEGREE, 0.25, 25.0, true, 4e-3),
            (Function::Decay, DECAY_DEGREE, 0.0, 16.0, false, 6e-7),
            (Function::Decay, DECAY_DEGREE, 0.0, 32.0, false, 3e-4),
        ] {
            let p = Fixed::new(function, degree).polynomial(Interval::new(lo, hi).unwrap()).unwrap();
            let error =
                |x: f64| (p.eval(x) - function.at(x)).abs() / if relative { function.at(x) } else { 1.0 };
            let worst = (0..=2000).map(|i| error(lo + (hi - lo) * f64::from(i) / 2000.0)).fold(0.0, f64::max);
            assert!(worst < bound && worst > 0.1 * bound, "{function:?} on [{lo}, {hi}]: {worst:e}");
        }
    }

    /// Results and slopes of the values `xs`, as maps or as what Burn's own operations compute.
    fn mapped<const D: usize>(
        xs: &[f32],
        shape: [usize; D],
        f: impl Fn(Tensor<D>) -> Tensor<D>,
    ) -> Vec<[f64; 2]> {
        let x =
            Tensor::from_data(TensorData::new(xs.to_vec(), shape), &Device::flex().autodiff()).require_grad();
        let y = f(x.clone());
        let slopes = x.grad(&y.clone().powi_scalar(2).sum().backward()).unwrap();
        let host = |t: Tensor<D>| t.into_data().try_to_vec::<f32>().unwrap();
        let pairs = host(y).into_iter().zip(host(slopes));
        // Of the square, so that what arrives from behind is not one everywhere.
        pairs.map(|(y, d)| [f64::from(y), f64::from(d) / (2.0 * f64::from(y))]).collect()
    }

    #[test]
    fn tensors_are_mapped_by_the_polynomial_and_its_gradient() {
        let interval = Interval::new(0.5, 6.0).unwrap();
        for degree in [1, 2, 7, 15] {
            let fixed = Fixed::new(Function::InverseRoot, degree);
            let polynomial = fixed.polynomial(interval).unwrap();
            // More than a block of lanes, the last two outside.
            let xs: Vec<f32> = (0..19).map(|i| 0.51 + 0.3 * i as f32).chain([0.2, 6.4]).collect();
            let ways = [
                mapped(&xs, [xs.len()], |x| fixed.forward(x, interval)),
                mapped(&xs, [1, 3, xs.len() / 3], |x| fixed.forward(x, interval)),
            ];
            for got in ways {
                for ([y, d], x) in got.into_iter().zip(xs.iter().map(|x| f64::from(*x))) {
                    let held = x.clamp(interval.lo, interval.hi);
                    assert!((polynomial.eval(held) - y).abs() < 1e-5, "degree {degree} at {x}");
                    let difference = (polynomial.eval(x + 1e-4) - polynomial.eval(x - 1e-4)) / 2e-4;
                    let slope = if held == x { difference } else { 0.0 };
                    assert!((slope - d).abs() < 1e-3, "degree {degree} at {x}: {d}, not {slope}");
                }
            }
        }
    }

    #[test]
    fn gelu_in_one_pass_is_gelu() {
        let xs: Vec<f32> = (0..400).map(|i| 0.07 * (i as f32 - 199.7)).collect();
        let burns = mapped(&xs, [xs.len()], |x| Function::Gelu.of(x));
        let ours = mapped(&xs, [2, 2, xs.len() / 4], |x| Function::Gelu.of(x));
        for (([y, d], [y_burn, d_burn]), x) in ours.into_iter().zip(burns).zip(xs) {
            assert!((y - y_burn).abs() < 4e-6, "at {x}: {y}, not {y_burn}");
            // Where the value is next to nothing, so is what arrives for the slope.
            assert!((d - d_burn).abs() < 1e-4 || y_burn.abs() < 1e-3, "at {x}: {d}, not {d_burn}");
        }
    }
}
