//! A polynomial that follows from a function and an interval, and is not trained.

use burn::module::Module;
use burn::tensor::Tensor;
use hetrain_export::{Basis, Interval, Polynomial};

use super::Function;
use crate::LayerError;

/// The Chebyshev interpolant of a function on the interval its inputs are trained to stay in. One of its degree is within a small
/// factor of the best (Trefethen 2013, Approximation Theory and Approximation Practice, ch. 16).
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
        Ok(Polynomial::interpolate(|x| self.function.at(x), self.degree, interval)?)
    }

    /// Levels.
    pub(super) fn depth(&self) -> usize {
        (usize::BITS - self.degree.leading_zeros()) as usize + 1
    }

    /// The polynomial for `interval` at `x`, NaN where the function has none, by Clenshaw's recurrence. On a training device `x` is held
    /// in the interval: outside, powers of degree 30 grow beyond all numbers before the penalty can bring them back.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>, interval: Interval) -> Tensor<D> {
        let x = if x.is_autodiff() { x.clamp(interval.lo, interval.hi) } else { x };
        let Ok(polynomial) = self.polynomial(interval) else { return x.mul_scalar(f64::NAN) };
        debug_assert_eq!(polynomial.basis(), Basis::Chebyshev);
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

    #[test]
    fn tensors_are_mapped_by_the_polynomial_and_its_gradient() {
        let device = Device::flex().autodiff();
        let interval = Interval::new(0.5, 6.0).unwrap();
        for degree in [1, 2, 7, 15] {
            let fixed = Fixed::new(Function::InverseRoot, degree);
            let polynomial = fixed.polynomial(interval).unwrap();
            let xs = [0.5_f32, 1.1, 3.0, 5.9];
            let x = Tensor::<1>::from_data(TensorData::from(xs), &device).require_grad();
            let y = fixed.forward(x.clone(), interval);
            let grads = y.clone().sum().backward();
            let slope = x.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap();
            let y = y.into_data().try_to_vec::<f32>().unwrap();
            for ((x, y), d) in xs.into_iter().map(f64::from).zip(y).zip(slope) {
                assert!((polynomial.eval(x) - f64::from(y)).abs() < 1e-5, "degree {degree} at {x}");
                let difference = (polynomial.eval(x + 1e-4) - polynomial.eval(x - 1e-4)) / 2e-4;
                assert!((difference - f64::from(d)).abs() < 1e-3, "degree {degree} at {x}: {d}");
            }
        }
    }
}
