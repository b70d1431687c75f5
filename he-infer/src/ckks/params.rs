//! Parameters: an unchecked literal becomes [`CkksParams`] (checked, 128-bit secure) or [`ToyParams`] (INSECURE).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::CkksError;
use super::security::{TABLE_ERROR_STD, max_log_qp};
use crate::math::{primes, sampling};

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
    /// The gadget of a switching key for ciphertexts up to `level`: the cheapest whose digits the special primes cover.
    ///
    /// A key for few limbs needs few special primes (level classes): at four limbs, one digit and four special primes make
    /// two thirds of the work of eight. Prices are nanoseconds per coefficient of a transform, a conversion step and a key
    /// word from memory, for degree `2^16`; part of the file format, since a key file does not repeat its gadget.
    #[must_use]
    pub fn gadget(&self, level: usize) -> Gadget {
        const NTT: f64 = 1.0;
        const CONVERT: f64 = 0.05;
        const KEY: f64 = 0.32;
        // Key-switching noise stays below the rounding noise with this many bits between digit and special primes.
        const SLACK: f64 = 4.0;
        let bits = |x: &[u64]| x.iter().map(|q| (*q as f64).log2()).sum::<f64>();
        let limbs = (level + 1).min(self.q.len());
        let used = self.q.split_at(limbs).0;
        let cost = |g: Gadget| {
            let (l, k) = (limbs as f64, g.specials as f64);
            let digits = used.chunks(g.alpha).map(|d| d.len() as f64);
            let raise: f64 = digits.clone().map(|d| (l - d + k) * (NTT + CONVERT * d)).sum();
            l + raise
                + 2.0 * (k + l) * NTT
                + 2.0 * k * l * CONVERT
                + 2.0 * digits.count() as f64 * (l + k) * KEY
        };
        let whole = Gadget { alpha: self.alpha, specials: self.p.len() };
        let fits = |g: &Gadget| {
            let special = bits(self.p.split_at(g.specials).0);
            used.chunks(g.alpha).all(|d| bits(d) + SLACK <= special)
        };
        let smaller = (1..=self.p.len())
            .flat_map(|specials| (1..=self.alpha).map(move |alpha| Gadget { alpha, specials }));
        let all = std::iter::once(whole).chain(smaller.filter(fits));
        all.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(whole)
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

    /// `log2` of the whole modulus `QP`.
    #[must_use]
    pub fn log_qp(&self) -> f64 {
        self.q.iter().chain(&self.p).map(|q| (*q as f64).log2()).sum()
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
        let bits = |x: &[u64]| x.iter().map(|q| (*q as f64).log2()).sum::<f64>();
        let log_p = bits(&self.p);
        for (digit, primes) in self.q.chunks(self.alpha).enumerate() {
            if bits(primes) > log_p + 1e-9 {
                return Err(CkksError::SpecialTooSmall { log_p, digit, log_digit: bits(primes) });
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
        if log_qp + (TABLE_ERROR_STD / sampling::ERROR_STD).log2() > f64::from(limit) {
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
        weak.alpha = 3;
        assert!(matches!(CkksParams::new(twice), Err(CkksError::BadPrime { problem: "appears twice", .. })));
        assert!(matches!(CkksParams::new(even), Err(CkksError::BadPrime { .. })));
        assert!(matches!(CkksParams::new(weak), Err(CkksError::SpecialTooSmall { .. })));
        let generated = ParamsLiteral::generate(13, 40, 30, 4, 45, 1, 1);
        assert_eq!(CkksParams::new(generated).unwrap().literal().max_level(), 4);
    }
}
