//! A polynomial that knows where it is valid.

mod chebyshev;

use serde::{Deserialize, Serialize};

use crate::{ExportError, Interval};

/// The basis coefficients refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// `x⁰, x¹, x², …` in the input itself.
    Monomial,
    /// Chebyshev polynomials of the first kind in `(2x − lo − hi)/(hi − lo)`.
    Chebyshev,
}

/// A polynomial with its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawPolynomial")]
pub struct Polynomial {
    basis: Basis,
    coeffs: Vec<f64>,
    interval: Interval,
}

/// A [`Polynomial`] as it stands in a file.
#[derive(Deserialize)]
#[serde(rename = "Polynomial", deny_unknown_fields)]
struct RawPolynomial {
    basis: Basis,
    coeffs: Vec<f64>,
    interval: Interval,
}

impl TryFrom<RawPolynomial> for Polynomial {
    type Error = ExportError;

    fn try_from(raw: RawPolynomial) -> Result<Self, ExportError> {
        Self::new(raw.basis, raw.coeffs, raw.interval)
    }
}

impl Polynomial {
    /// Make a polynomial from coefficients, lowest degree first; trailing exact zeros are dropped.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] when there is no coefficient or one is not finite.
    pub fn new(basis: Basis, mut coeffs: Vec<f64>, interval: Interval) -> Result<Self, ExportError> {
        if coeffs.is_empty() || coeffs.iter().any(|c| !c.is_finite()) {
            return Err(ExportError::Invalid {
                what: "polynomial".into(),
                why: format!("needs at least one finite coefficient, got {coeffs:?}"),
            });
        }
        while coeffs.len() > 1 && coeffs.last() == Some(&0.0) {
            coeffs.pop();
        }
        Ok(Self { basis, coeffs, interval })
    }

    /// Basis of the coefficients.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// Coefficients, lowest degree first.
    pub fn coeffs(&self) -> &[f64] {
        &self.coeffs
    }

    /// Where the polynomial is valid.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// Degree.
    pub fn degree(&self) -> usize {
        self.coeffs.len() - 1
    }

    /// Levels of an encrypted evaluation: `⌈log₂(degree + 1)⌉`, and one more to map the interval to `[−1, 1]` in the
    /// Chebyshev basis (unless folded into the layer before).
    pub fn depth(&self) -> usize {
        let generic = (usize::BITS - self.degree().leading_zeros()).max(1) as usize;
        match self.basis {
            Basis::Monomial => generic,
            Basis::Chebyshev => generic + 1,
        }
    }

    /// Value at `x` (Horner or Clenshaw).
    pub fn eval(&self, x: f64) -> f64 {
        match self.basis {
            Basis::Monomial => self.coeffs.iter().rev().fold(0.0, |acc, c| acc * x + c),
            Basis::Chebyshev => chebyshev::clenshaw(&self.coeffs, self.to_unit(x)),
        }
    }

    /// Map the interval to `[−1, 1]`.
    pub fn to_unit(&self, x: f64) -> f64 {
        (x - self.interval.centre()) / self.interval.half_width()
    }

    /// Chebyshev interpolation of `f` with `degree + 1` nodes on `interval`.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] when `f` is not finite at a node.
    pub fn interpolate(
        f: impl Fn(f64) -> f64,
        degree: usize,
        interval: Interval,
    ) -> Result<Self, ExportError> {
        Self::new(Basis::Chebyshev, chebyshev::interpolate(f, degree, interval), interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_products() {
        let i = Interval::new(-1.0, 1.0).unwrap();
        let depth = |d: usize| Polynomial::new(Basis::Monomial, vec![1.0; d + 1], i).unwrap().depth();
        assert_eq!([1, 2, 3, 4, 7, 8, 15].map(depth), [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn trailing_zeros_do_not_cost_levels() {
        let p = Polynomial::new(Basis::Monomial, vec![1.0, 2.0, 0.0, 0.0], Interval::new(-1.0, 1.0).unwrap())
            .unwrap();
        assert_eq!(p.degree(), 1);
    }

    #[test]
    fn a_file_gives_no_polynomial_that_could_not_be_made() {
        let p = Polynomial::new(Basis::Chebyshev, vec![1.0, 0.5], Interval::new(-1.0, 2.0).unwrap()).unwrap();
        let text = serde_json::to_string(&p).unwrap();
        assert_eq!(text, r#"{"basis":"chebyshev","coeffs":[1.0,0.5],"interval":{"lo":-1.0,"hi":2.0}}"#);
        assert_eq!(serde_json::from_str::<Polynomial>(&text).unwrap(), p);
        for (from, to) in
            [("[1.0,0.5]", "[]"), ("\"hi\":2.0", "\"hi\":-1.0"), ("\"lo\"", "\"more\":0.0,\"lo\"")]
        {
            assert!(serde_json::from_str::<Polynomial>(&text.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn interpolation_meets_a_smooth_function_on_an_asymmetric_interval() {
        let i = Interval::new(-1.5, 4.0).unwrap();
        let p = Polynomial::interpolate(f64::exp, 20, i).unwrap();
        for k in 0..=50 {
            let x = i.lo + (i.hi - i.lo) * f64::from(k) / 50.0;
            assert!((p.eval(x) - x.exp()).abs() < 1e-9, "at {x}");
        }
    }
}
