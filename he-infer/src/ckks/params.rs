//! Parameters: an unchecked literal becomes [`CkksParams`] (checked, 128-bit secure) or [`ToyParams`] (INSECURE).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::CkksError;
use super::security::{TABLE_ERROR_STD, max_log_qp};
use crate::math::{packed, primes, sampling};

/// What a user or planner writes down; nothing is checked yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamsLiteral {
    /// Ring degree `2^log_n`; `2^(log_n - 1)` slots.
    pub log_n: u32,
    /// Ciphertext primes, level 0 first; a ciphertext at level `l` uses `q[0..=l]`.
    pub q: Vec<u64>,
    /// Special primes of key switching.
    pub p: Vec<u64>,
    /// Most ciphertext primes per key-switching digit.
    pub alpha: usize,
    /// Scale at which data are encrypted and to which linear layers return.
    pub default_scale: f64,
}

/// How a switching key cuts a polynomial into digits: primes per digit, and special primes that absorb the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gadget {
    /// Ciphertext primes per digit.
    pub alpha: usize,
    /// Special primes, the first ones of the list.
    pub specials: usize,
}

impl ParamsLiteral {
    /// The gadget of a switching key for ciphertexts up to `level`: the cheapest whose digits the special primes cover and
    /// whose modulus the security table allows.
    ///
    /// A key for few limbs needs few special primes (level classes): at four limbs, one digit and four special primes make
    /// two thirds of the work of eight. A key for a middle level can afford more of them than one for the top, hence fewer
    /// digits. Prices are in transforms, for degree `2^16` (a transform, a conversion step, a key limb from memory); they are
    /// part of what makes two key files compatible. Where nothing fits, all special primes are taken,
    /// which the checks of the parameters then refuse.
    #[must_use]
    pub fn gadget(&self, level: usize) -> Gadget {
        self.sizes().gadget(level)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let bits = |primes: &[u64]| primes.iter().map(|q| (*q as f64).log2()).collect();
        Sizes { log_n: self.log_n, q: bits(&self.q), p: bits(&self.p), alpha: self.alpha }
    }

    /// Bytes of one half of a switching key with this gadget for ciphertexts up to `level`.
    pub(crate) fn half_key_bytes(&self, level: usize, gadget: Gadget) -> u64 {
        let specials = self.p.split_at(gadget.specials.min(self.p.len())).0;
        (level + 1).div_ceil(gadget.alpha) as u64
            * (self.polynomial_bytes(level) + self.packed_bytes(specials))
    }

    /// Bytes of a polynomial over `q_0..q_level` in a file.
    pub(crate) fn polynomial_bytes(&self, level: usize) -> u64 {
        self.packed_bytes(self.q.split_at((level + 1).min(self.q.len())).0)
    }

    fn packed_bytes(&self, primes: &[u64]) -> u64 {
        primes.iter().map(|q| 8 * packed::words(1 << self.log_n, packed::width(*q)) as u64).sum()
    }

    /// Generate primes for a chain: `q_0` of `first_bits`, `levels` primes around `2^scale_bits` (alternating above and
    /// below), `special` primes just below `2^special_bits`, all `1 mod 2^(log_n + 1)`; default scale `2^scale_bits`.
    ///
    /// The result may be short of primes if too many are asked for; the check finds that.
    #[must_use]
    pub fn generate(
        log_n: u32,
        first_bits: u32,
        scale_bits: u32,
        levels: usize,
        special_bits: u32,
        special: usize,
        alpha: usize,
    ) -> Self {
        let k = log_n + 1;
        let p = primes::below(special_bits, k, special, &[]);
        let mut q = primes::below(first_bits, k, 1, &p);
        let taken: Vec<u64> = p.iter().chain(&q).copied().collect();
        q.extend(primes::around(scale_bits, k, levels, &taken));
        Self { log_n, q, p, alpha, default_scale: 2f64.powi(scale_bits as i32) }
    }

    /// `log2` of the largest modulus `QP` that any key uses.
    #[must_use]
    pub fn log_qp(&self) -> f64 {
        let at = |level: usize| {
            bits(self.q.split_at(level + 1).0) + bits(self.p.split_at(self.gadget(level).specials).0)
        };
        (0..self.q.len()).map(at).fold(0.0, f64::max)
    }

    /// Highest level (number of rescalings a fresh ciphertext allows).
    #[must_use]
    pub fn max_level(&self) -> usize {
        self.q.len().saturating_sub(1)
    }

    /// Structural checks common to secure and toy parameters.
    fn check(&self) -> Result<(), CkksError> {
        if !(6..=17).contains(&self.log_n) {
            return Err(CkksError::RingDegree { log_n: self.log_n });
        }
        for (need, found, ok) in [
            ("between 1 and 64 ciphertext primes", self.q.len(), (1..=64).contains(&self.q.len())),
            ("between 1 and 15 special primes", self.p.len(), (1..=15).contains(&self.p.len())),
            ("alpha between 1 and 16", self.alpha, (1..=16).contains(&self.alpha)),
        ] {
            if !ok {
                return Err(CkksError::BadChain { need, found });
            }
        }
        if !self.default_scale.is_finite() || self.default_scale < 1.0 {
            return Err(CkksError::BadScale { operation: "parameters", scale: self.default_scale });
        }
        let mut seen: Vec<u64> = Vec::new();
        for &prime in self.q.iter().chain(&self.p) {
            let problem = if prime >= 1 << 50 {
                "is not below 2^50"
            } else if prime < 1 << 13 {
                "is too small"
            } else if seen.contains(&prime) {
                "appears twice"
            } else if !(prime - 1).is_multiple_of(2 << self.log_n) {
                "is not 1 modulo 2n"
            } else if !primes::is_prime(prime) {
                "is not prime"
            } else {
                seen.push(prime);
                continue;
            };
            return Err(CkksError::BadPrime { prime, problem });
        }
        for level in 0..self.q.len() {
            let gadget = self.gadget(level);
            if !self.sizes().digits_covered(level + 1, gadget, 0.0) {
                let log_p = bits(self.p.split_at(gadget.specials).0);
                let digits = self.q.split_at(level + 1).0.chunks(gadget.alpha).map(bits).enumerate();
                let (digit, log_digit) = digits.fold((0, 0.0), |a, b| if b.1 > a.1 { b } else { a });
                return Err(CkksError::SpecialTooSmall { log_p, digit, log_digit });
            }
        }
        Ok(())
    }

    /// SHA-256 over a canonical byte form, with the security claim as part of it.
    fn digest(&self, secure: bool) -> [u8; 32] {
        let mut h = Sha256::new();
        h.update(b"hetrain-ckks-params-v1");
        h.update([u8::from(secure)]);
        h.update(self.log_n.to_le_bytes());
        h.update((self.alpha as u64).to_le_bytes());
        h.update(self.default_scale.to_bits().to_le_bytes());
        for list in [&self.q, &self.p] {
            h.update((list.len() as u64).to_le_bytes());
            list.iter().for_each(|q| h.update(q.to_le_bytes()));
        }
        h.finalize().into()
    }
}

/// Bits of the primes of a chain: what gadgets and their noise depend on.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub log_n: u32,
    pub q: Vec<f64>,
    pub p: Vec<f64>,
    pub alpha: usize,
}

impl Sizes {
    fn gadget(&self, level: usize) -> Gadget {
        const CONVERT: f64 = 0.075;
        const KEY: f64 = 0.37;
        let limbs = (level + 1).min(self.q.len());
        let used = self.q.split_at(limbs).0;
        let cost = |g: &Gadget| {
            let (l, k) = (limbs as f64, g.specials as f64);
            let digits = used.chunks(g.alpha).map(|d| d.len() as f64);
            let raise: f64 = digits.clone().map(|d| (l - d + k) * (1.0 + CONVERT * d)).sum();
            l + raise + 2.0 * (k + l) + 2.0 * k * l * CONVERT + 2.0 * digits.count() as f64 * (l + k) * KEY
        };
        let all = (1..=self.p.len())
            .flat_map(|specials| (1..=self.alpha).map(move |alpha| Gadget { alpha, specials }))
            .filter(|g| self.modulus_allowed(limbs, g.specials));
        let cheapest = |slack: f64| {
            let covered = all.clone().filter(move |g| self.digits_covered(limbs, *g, slack));
            covered.min_by(|a, b| cost(a).total_cmp(&cost(b)))
        };
        let whole = Gadget { alpha: self.alpha, specials: self.p.len() };
        cheapest(SLACK).or_else(|| cheapest(0.0)).unwrap_or(whole)
    }

    /// Whether the security table allows a key over `limbs` ciphertext primes and `specials` special ones. Where the
    /// ciphertext modulus alone is beyond the table, which only toys can have, nothing is limited.
    fn modulus_allowed(&self, limbs: usize, specials: usize) -> bool {
        let limit = max_log_qp(self.log_n).map_or(0.0, f64::from) - error_margin();
        let (q, p) = (self.q.split_at(limbs).0, self.p.split_at(specials).0);
        sum(&self.q) > limit || sum(q) + sum(p) <= limit
    }

    fn digits_covered(&self, limbs: usize, gadget: Gadget, slack: f64) -> bool {
        let special = sum(self.p.split_at(gadget.specials).0);
        self.q.split_at(limbs).0.chunks(gadget.alpha).all(|d| sum(d) + slack <= special + 1e-9)
    }

    /// Noise of a key switch at `level`: the sum over its digits of the square of digit over special primes, as much more as digits
    /// that are raised without correction exceed the others.
    pub fn digit_noise(&self, level: usize) -> f64 {
        let gadget = self.gadget(level);
        let special = sum(self.p.get(..gadget.specials).unwrap_or(&self.p));
        let used = self.q.get(..=level).unwrap_or(&self.q);
        let digits = used.chunks(gadget.alpha.max(1)).map(|digit| {
            let exact = raised_exactly(self.log_n, digit, special);
            let more = if exact { 0.0 } else { approximate_bits(self.log_n, digit.len()) };
            (2.0 * (sum(digit) - special + more)).exp2()
        });
        digits.sum()
    }
}

/// Key-switching noise stays below the rounding noise with this many bits between digit and special primes.
const SLACK: f64 = 4.0;

/// Whether a digit, given by the bits of its primes, has to be raised exactly. Most have so many bits fewer than the special primes
/// that its noise would stay below the rounding noise without the correction too.
pub(super) fn raised_exactly(log_n: u32, digit: &[f64], special: f64) -> bool {
    sum(digit) + approximate_bits(log_n, digit.len()) + SLACK > special
}

/// How many bits the noise grows if a digit `d` of `k` primes is raised without correction. Its coefficients lie around `k d / 2`
/// then, not around zero: the slot at the root nearest to one sees `2 n / pi` times that, where it saw `sqrt(n / 12) d`.
fn approximate_bits(log_n: u32, k: usize) -> f64 {
    (k as f64 * (12.0 * f64::from(log_n).exp2()).sqrt() / std::f64::consts::PI).log2()
}

fn sum(bits: &[f64]) -> f64 {
    bits.iter().sum()
}

fn bits(primes: &[u64]) -> f64 {
    primes.iter().map(|q| (*q as f64).log2()).sum()
}

/// What counts is the modulus relative to the errors: ours are 0.013 bits smaller than the table's.
fn error_margin() -> f64 {
    (TABLE_ERROR_STD / sampling::ERROR_STD).log2()
}

/// Checked parameters inside the 128-bit security table.
#[derive(Clone, PartialEq)]
pub struct CkksParams {
    literal: ParamsLiteral,
}

impl CkksParams {
    /// Check a literal.
    ///
    /// # Errors
    /// Any structural fault of the chain, and [`CkksError::Insecure`] if `log2(QP)` exceeds the table for `log_n`. What
    /// counts is the modulus relative to the errors: ours are 0.013 bits smaller than the table's, which is added.
    pub fn new(literal: ParamsLiteral) -> Result<Self, CkksError> {
        literal.check()?;
        let (log_n, log_qp) = (literal.log_n, literal.log_qp());
        let limit = max_log_qp(log_n).unwrap_or(0);
        if log_qp + error_margin() > f64::from(limit) {
            return Err(CkksError::Insecure { log_n, log_qp, limit });
        }
        Ok(Self { literal })
    }

    /// The literal these parameters were checked from.
    #[must_use]
    pub fn literal(&self) -> &ParamsLiteral {
        &self.literal
    }

    /// SHA-256 that identifies these parameters in files.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.literal.digest(true)
    }
}

/// Structurally checked parameters without any security: for tests and teaching only.
#[derive(Clone, PartialEq)]
pub struct ToyParams {
    literal: ParamsLiteral,
}

impl ToyParams {
    /// Check a literal, except for its security.
    ///
    /// # Errors
    /// Any structural fault of the chain.
    pub fn new(literal: ParamsLiteral) -> Result<Self, CkksError> {
        literal.check()?;
        Ok(Self { literal })
    }

    /// The literal these parameters were checked from.
    #[must_use]
    pub fn literal(&self) -> &ParamsLiteral {
        &self.literal
    }

    /// SHA-256 that identifies these parameters in files (different from that of secure ones).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.literal.digest(false)
    }
}

fn describe(l: &ParamsLiteral, f: &mut fmt::Formatter<'_>, security: &str) -> fmt::Result {
    write!(
        f,
        "CKKS {security}: log_n {}, {} levels, log2(QP) {:.1}, default scale 2^{:.1}, alpha {}",
        l.log_n,
        l.max_level(),
        l.log_qp(),
        l.default_scale.log2(),
        l.alpha
    )
}

impl fmt::Display for CkksParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.literal, f, "128-bit")
    }
}

impl fmt::Debug for CkksParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.literal, f, "128-bit")
    }
}

impl fmt::Display for ToyParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.literal, f, "INSECURE")
    }
}

impl fmt::Debug for ToyParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.literal, f, "INSECURE")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::presets;

    #[test]
    fn presets_pass_and_larger_moduli_are_refused() {
        for p in
            [presets::s13(), presets::s13d(), presets::s14(), presets::s14d(), presets::m15(), presets::d16()]
        {
            CkksParams::new(p.clone()).unwrap();
            let mut big = p;
            big.log_n -= 1;
            assert!(matches!(CkksParams::new(big.clone()), Err(CkksError::Insecure { .. })));
            let toy = ToyParams::new(big).unwrap();
            assert!(toy.to_string().contains("INSECURE") && format!("{toy:?}").contains("INSECURE"));
        }
    }

    #[test]
    fn faults_of_the_chain_are_named() {
        let base = presets::s13d();
        let mut twice = base.clone();
        twice.q[1] = twice.q[0];
        let mut even = base.clone();
        even.q[1] += 1 << 20;
        let mut weak = base.clone();
        weak.p = vec![weak.q.remove(1)];
        assert!(matches!(CkksParams::new(twice), Err(CkksError::BadPrime { problem: "appears twice", .. })));
        assert!(matches!(CkksParams::new(even), Err(CkksError::BadPrime { .. })));
        assert!(matches!(CkksParams::new(weak), Err(CkksError::SpecialTooSmall { .. })));
        let generated = ParamsLiteral::generate(13, 40, 30, 4, 45, 1, 1);
        assert_eq!(CkksParams::new(generated).unwrap().literal().max_level(), 4);
    }
}
