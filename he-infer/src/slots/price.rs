//! Unit costs: what turns a [`Tally`] into seconds.
//!
//! A multiply-add at ring degree `2^14` reads its operands from the caches, at `2^16` from memory. So a table holds the
//! costs of several ring degrees, each measured there.

use serde::{Deserialize, Serialize};

use super::Tally;

/// Seconds per element of each kind of work at one ring degree, on one thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitCosts {
    /// log₂ of the ring degree.
    pub log_n: u32,
    /// One butterfly of a transform.
    pub butterfly: f64,
    /// One multiply-add of a base conversion.
    pub conversion_mac: f64,
    /// One multiply-add with a key.
    pub key_mac: f64,
    /// One multiply-add with a prepared plaintext.
    pub plain_mac: f64,
    /// One multiply-add with a compact plaintext of a linear transform.
    pub spread_mac: f64,
    /// One multiply-add with a scalar, blocked over ciphertexts.
    pub scalar_mac: f64,
    /// One element of other element-wise work.
    pub pointwise: f64,
    /// Encoding: seconds per butterfly of the encoder's complex transform.
    pub encode: f64,
    /// Key generation: seconds per word of a key file, whether the other half is kept or not.
    pub key_word: f64,
}

impl UnitCosts {
    /// Seconds of counted work at ring degree `2^log_n` (preparation of plaintexts not included).
    #[must_use]
    pub fn seconds(&self, t: &Tally) -> f64 {
        let (n, log_n) = ((1u64 << self.log_n) as f64, f64::from(self.log_n));
        let transforms = (t.ntts as f64 + t.small_ntts as f64 / 64.0) * 0.5 * log_n * self.butterfly;
        let linear = t.conversion_macs as f64 * self.conversion_mac
            + t.key_macs as f64 * self.key_mac
            + t.plain_macs as f64 * self.plain_mac
            + t.spread_macs as f64 * self.spread_mac
            + t.scalar_macs as f64 * self.scalar_mac
            + t.pointwise as f64 * self.pointwise;
        n * (transforms + linear)
    }

    /// Seconds to encode the plaintexts counted in `t`.
    #[must_use]
    pub fn encoding(&self, t: &Tally) -> f64 {
        let transform = 0.5 * (1u64 << self.log_n) as f64 * f64::from(self.log_n);
        transform * (t.plains as f64 * self.encode + t.plain_limbs as f64 * self.butterfly)
    }

    /// Between `self` and `other`: `share` of the latter, for ring degree `2^log_n`.
    fn towards(&self, other: &UnitCosts, share: f64, log_n: u32) -> UnitCosts {
        let mix = |a: f64, b: f64| a + share * (b - a);
        UnitCosts {
            log_n,
            butterfly: mix(self.butterfly, other.butterfly),
            conversion_mac: mix(self.conversion_mac, other.conversion_mac),
            key_mac: mix(self.key_mac, other.key_mac),
            plain_mac: mix(self.plain_mac, other.plain_mac),
            spread_mac: mix(self.spread_mac, other.spread_mac),
            scalar_mac: mix(self.scalar_mac, other.scalar_mac),
            pointwise: mix(self.pointwise, other.pointwise),
            encode: mix(self.encode, other.encode),
            key_word: mix(self.key_word, other.key_word),
        }
    }
}

/// Unit costs of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostTable {
    /// What was measured: processor and instruction set.
    pub machine: String,
    /// Costs at the ring degrees that were measured, at least one, smallest first.
    pub rings: Vec<UnitCosts>,
}

impl CostTable {
    /// Costs at ring degree `2^log_n`: interpolated between the nearest that were measured, or the nearest where `log_n` is
    /// beyond all of them.
    #[must_use]
    pub fn at(&self, log_n: u32) -> UnitCosts {
        let below = self.rings.iter().rev().find(|r| r.log_n <= log_n);
        let above = self.rings.iter().find(|r| r.log_n >= log_n);
        match (below, above) {
            (Some(a), Some(b)) if a.log_n < b.log_n => {
                a.towards(b, f64::from(log_n - a.log_n) / f64::from(b.log_n - a.log_n), log_n)
            }
            (Some(r), _) | (None, Some(r)) => UnitCosts { log_n, ..r.clone() },
            (None, None) => UnitCosts { log_n, ..reference().clone() },
        }
    }
}

/// The costs by which plans are compared where the choice must be the same on every machine, because keys depend on it:
/// those of the reference machine (`docs/benchmarks.md`) at ring degree `2^16`. Only their ratios matter.
#[must_use]
pub fn reference() -> &'static UnitCosts {
    const REFERENCE: UnitCosts = UnitCosts {
        log_n: 16,
        butterfly: 0.17e-9,
        conversion_mac: 0.10e-9,
        key_mac: 0.60e-9,
        plain_mac: 0.60e-9,
        spread_mac: 0.20e-9,
        scalar_mac: 0.25e-9,
        pointwise: 0.85e-9,
        encode: 0.40e-9,
        key_word: 6.8e-9,
    };
    &REFERENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_between_measured_rings_are_interpolated_and_beyond_them_kept() {
        let ring = |log_n, key_mac| UnitCosts { log_n, key_mac, ..reference().clone() };
        let table = CostTable { machine: String::new(), rings: vec![ring(13, 1.0), ring(15, 3.0)] };
        for (log_n, want) in [(10, 1.0), (13, 1.0), (14, 2.0), (15, 3.0), (17, 3.0)] {
            let costs = table.at(log_n);
            assert_eq!((costs.log_n, costs.key_mac), (log_n, want));
        }
    }
}
