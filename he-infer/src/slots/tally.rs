//! What the steps of the engine count, by the algorithms of `ckks::keyswitch` and friends.
//!
//! With `L = level + 1` limbs, `K` special primes and `β` digits `D_j` of at most `α` limbs:
//!
//! | step | NTTs | base-conversion MACs / N | key MACs / N |
//! |---|---|---|---|
//! | decompose | `L + Σ(L − D_j + K)` | `Σ D_j (L − D_j + K)` | |
//! | inner product with a key | | | `2β(L + K)` |
//! | divide one polynomial by P | `K + L` | `KL` | |
//! | rescale | `2(1 + level)` | | |
//!
//! A product that is rescaled at once divides by `P·q` in one step: its rescaling adds no transforms.

use crate::ckks::Gadget;

/// Work counted, in units of one length-N vector operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Number-theoretic transforms of one limb.
    pub ntts: u64,
    /// Transforms of plaintexts that are held as coefficients, in 64ths of one limb's.
    pub small_ntts: u64,
    /// Multiply-adds of base conversions, in limbs.
    pub conversion_macs: u64,
    /// Multiply-adds with keys, in limbs.
    pub key_macs: u64,
    /// Multiply-adds with prepared plaintexts, in limbs; ciphertexts and plaintexts come from memory.
    pub plain_macs: u64,
    /// Multiply-adds with the compact plaintexts of a linear transform, in limbs; the ciphertexts' tile is in cache.
    pub spread_macs: u64,
    /// Multiply-adds with scalars, in limbs.
    pub scalar_macs: u64,
    /// Other element-wise work, in passes over a limb in memory.
    pub pointwise: u64,
    /// Rotations.
    pub rotations: u64,
    /// Products of two ciphertexts.
    pub products: u64,
    /// Relinearisations: sums of products share one.
    pub relinearisations: u64,
    /// Prepared plaintexts, in limbs (memory).
    pub plain_limbs: u64,
    /// Prepared plaintexts.
    pub plains: u64,
}

impl Tally {
    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Tally) -> Tally {
        self.zip(before, |now, then| now - then)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Tally) -> Tally {
        self.zip(other, |a, b| a + b)
    }

    fn zip(&self, other: &Tally, f: impl Fn(u64, u64) -> u64) -> Tally {
        Tally {
            ntts: f(self.ntts, other.ntts),
            small_ntts: f(self.small_ntts, other.small_ntts),
            conversion_macs: f(self.conversion_macs, other.conversion_macs),
            key_macs: f(self.key_macs, other.key_macs),
            plain_macs: f(self.plain_macs, other.plain_macs),
            spread_macs: f(self.spread_macs, other.spread_macs),
            scalar_macs: f(self.scalar_macs, other.scalar_macs),
            pointwise: f(self.pointwise, other.pointwise),
            rotations: f(self.rotations, other.rotations),
            products: f(self.products, other.products),
            relinearisations: f(self.relinearisations, other.relinearisations),
            plain_limbs: f(self.plain_limbs, other.plain_limbs),
            plains: f(self.plains, other.plains),
        }
    }

    /// Cut a polynomial of `limbs` limbs into digits and raise them.
    pub(crate) fn decompose(&mut self, limbs: usize, gadget: Gadget) {
        self.ntts += limbs as u64;
        let mut left = limbs;
        while left > 0 {
            let digit = left.min(gadget.alpha.max(1));
            left -= digit;
            let new = (limbs - digit + gadget.specials) as u64;
            self.ntts += new;
            self.conversion_macs += digit as u64 * new;
        }
    }

    /// Multiply raised digits with a key.
    pub(crate) fn inner_product(&mut self, limbs: usize, gadget: Gadget) {
        let digits = limbs.div_ceil(gadget.alpha.max(1)) as u64;
        self.key_macs += 2 * digits * (limbs + gadget.specials) as u64;
    }

    /// Divide `polynomials` over `limbs` primes and `by` others by those others.
    pub(crate) fn divide(&mut self, polynomials: usize, limbs: usize, by: usize) {
        self.ntts += (polynomials * (by + limbs)) as u64;
        self.conversion_macs += (polynomials * by * limbs) as u64;
    }

    /// The inner product and both divisions by `P`, with the result written: what a rotation costs after its decomposition.
    pub(crate) fn apply_key(&mut self, limbs: usize, gadget: Gadget) {
        self.inner_product(limbs, gadget);
        self.divide(2, limbs, gadget.specials);
        self.pointwise += 2 * limbs as u64;
    }

    /// Divide a ciphertext of `limbs` limbs by its last prime.
    pub(crate) fn rescale(&mut self, limbs: usize) {
        self.ntts += 2 * limbs as u64;
        self.pointwise += 2 * limbs.saturating_sub(1) as u64;
    }
}
