//! Where a polynomial is valid, and what values really pass through a node.

use serde::{Deserialize, Serialize};

use crate::ExportError;

/// A number for people, with `decimals` digits behind the point; in scientific form where that would be long, or lose it.
pub fn brief(x: f64, decimals: usize) -> String {
    if x == 0.0 || (1e-3..1e6).contains(&x.abs()) {
        format!("{x:.decimals$}")
    } else {
        format!("{x:.decimals$e}")
    }
}

/// A closed interval `[lo, hi]` on which a polynomial was fitted or trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawInterval")]
pub struct Interval {
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

/// An [`Interval`] as it stands in a file.
#[derive(Deserialize)]
#[serde(rename = "Interval", deny_unknown_fields)]
struct RawInterval {
    lo: f64,
    hi: f64,
}

impl TryFrom<RawInterval> for Interval {
    type Error = ExportError;

    fn try_from(raw: RawInterval) -> Result<Self, ExportError> {
        Self::new(raw.lo, raw.hi)
    }
}

impl Interval {
    /// Make `[lo, hi]`.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] unless both ends are finite and `lo < hi`.
    pub fn new(lo: f64, hi: f64) -> Result<Self, ExportError> {
        if !(lo.is_finite() && hi.is_finite() && lo < hi) {
            return Err(ExportError::Invalid {
                what: format!("interval [{lo:?}, {hi:?}]"),
                why: "needs two finite ends, the lower first".into(),
            });
        }
        Ok(Self { lo, hi })
    }

    /// Whether `x` lies inside; NaN does not.
    pub fn contains(&self, x: f64) -> bool {
        self.lo <= x && x <= self.hi
    }

    /// Middle of the interval.
    pub fn centre(&self) -> f64 {
        0.5 * (self.lo + self.hi)
    }

    /// Half the width.
    pub fn half_width(&self) -> f64 {
        0.5 * (self.hi - self.lo)
    }

    /// The same centre, `factor` times as wide.
    pub fn widened(&self, factor: f64) -> Self {
        let (c, h) = (self.centre(), self.half_width() * factor);
        Self { lo: c - h, hi: c + h }
    }

    /// Largest absolute value inside.
    pub fn max_abs(&self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }
}

/// Statistics of the values seen at one node over a stated sample of data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeStats {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Values seen.
    pub count: u64,
    /// Values outside the node's interval (0 where it has none).
    pub outside: u64,
    /// Digest of the data the statistics were measured on.
    pub data_digest: String,
}

impl RangeStats {
    /// Statistics of nothing yet, for data with this digest.
    pub fn empty(data_digest: impl Into<String>) -> Self {
        Self {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
            std: 0.0,
            count: 0,
            outside: 0,
            data_digest: data_digest.into(),
        }
    }

    /// Take in more values (Chan's pairwise update of mean and deviation).
    pub fn update(&mut self, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let m2 = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
        let old = self.count as f64;
        let total = old + n;
        let delta = mean - self.mean;
        let m2 = self.std * self.std * old + m2 + delta * delta * old * n / total;
        self.mean += delta * n / total;
        self.std = (m2 / total).sqrt();
        self.count += values.len() as u64;
        for &v in values {
            // NaN must not hide: it turns both ends into NaN and fails every later comparison.
            self.min = if v.is_nan() { v } else { self.min.min(v) };
            self.max = if v.is_nan() { v } else { self.max.max(v) };
        }
    }

    /// Largest absolute value seen.
    pub fn max_abs(&self) -> f64 {
        self.min.abs().max(self.max.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_printed_with_hundreds_of_digits() {
        let texts = [10.2, 0.0, -999_999.0, 1e308, -2e-7, f64::NAN].map(|x| brief(x, 3));
        assert_eq!(texts, ["10.200", "0.000", "-999999.000", "1.000e308", "-2.000e-7", "NaN"]);
        let error = Interval::new(1e308, -1e308).unwrap_err().to_string();
        assert!(error.starts_with("interval [1e308, -1e308]"), "{error}");
    }

    #[test]
    fn an_interval_needs_order_and_finite_ends() {
        assert!(Interval::new(1.0, -1.0).is_err());
        assert!(Interval::new(0.0, f64::INFINITY).is_err());
        assert!(!Interval::new(-1.0, 2.0).unwrap().contains(f64::NAN));
    }

    #[test]
    fn statistics_in_parts_equal_statistics_at_once() {
        let v: Vec<f64> = (0..100).map(|i| (f64::from(i) * 0.7).sin()).collect();
        let (mut a, mut b) = (RangeStats::empty("d"), RangeStats::empty("d"));
        a.update(&v);
        v.chunks(7).for_each(|c| b.update(c));
        assert!((a.mean - b.mean).abs() < 1e-12 && (a.std - b.std).abs() < 1e-12);
        assert_eq!((a.min, a.max, a.count), (b.min, b.max, b.count));
    }
}
