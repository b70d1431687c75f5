//! Key material: secret, public and evaluation keys.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::context::Context;
use super::error::CkksError;
use crate::math::permute::Permutation;
use crate::math::poly::RnsPoly;
use crate::math::sampling::Seed;

/// The secret key: a uniform ternary polynomial. Overwritten when dropped; cannot be printed or cloned.
pub struct SecretKey {
    pub(crate) coefficients: Zeroizing<Vec<i8>>,
    /// Transformed, Montgomery form, over every modulus.
    pub(super) transformed: RnsPoly,
    pub(super) id: u64,
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.transformed.zeroize();
    }
}

/// An encryption of zero over `q_0..q_L, p_0`, with which anyone can encrypt.
pub struct PublicKey {
    /// `b = -a s + e`, Montgomery form.
    pub(crate) b: RnsPoly,
    pub(super) a: RnsPoly,
    pub(crate) seed: Seed,
    pub(crate) id: u64,
}

/// A hybrid key-switching key for levels up to [`SwitchKey::level`].
///
/// Limb `(t * digits + j) * 2` of the storage is `b_j` and the next one `a_j`, for limb `t` of the basis
/// `q_0..q_level, p_0..`: the order in which the inner product reads them. Montgomery form. `a` is expanded from the seed.
pub struct SwitchKey {
    pub(crate) limbs: RnsPoly,
    pub(crate) level: usize,
    pub(crate) digits: usize,
    pub(crate) seed: Seed,
    pub(crate) id: u64,
}

impl SwitchKey {
    /// Highest ciphertext level this key serves.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// `b_j` and `a_j` at limb position `t`.
    pub(super) fn pair(&self, t: usize, j: usize) -> (&[u64], &[u64]) {
        let at = 2 * (t * self.digits + j);
        (self.limbs.limb(at), self.limbs.limb(at + 1))
    }
}

/// A switching key from `s` to `s(X^(1/g))` and the permutation `X -> X^g` that is applied afterwards.
pub struct GaloisKey {
    pub(crate) switch: SwitchKey,
    pub(super) permutation: Permutation,
}

impl GaloisKey {
    /// Highest ciphertext level this key serves.
    #[must_use]
    pub fn level(&self) -> usize {
        self.switch.level
    }
}

/// Which evaluation keys a computation needs, each with the highest level it is used at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// Level of the relinearisation key, if ciphertexts are multiplied.
    pub relin_level: Option<usize>,
    /// `(step, level)` of each left rotation; steps count modulo the slots, step 0 needs no key and is ignored.
    pub rotations: Vec<(i32, usize)>,
    /// Level of the conjugation key, if needed.
    pub conjugation_level: Option<usize>,
}

/// Keys the server needs: relinearisation, rotations by step (in `1..slots`), conjugation.
#[derive(Default)]
pub struct EvalKeys {
    /// Switches `s^2` to `s`.
    pub relin: Option<SwitchKey>,
    /// Rotation keys by step reduced to `1..slots`.
    pub rotations: BTreeMap<i32, GaloisKey>,
    /// Complex conjugation.
    pub conjugation: Option<GaloisKey>,
}

impl EvalKeys {
    pub(super) fn relin(&self, operation: &'static str) -> Result<&SwitchKey, CkksError> {
        let missing = || CkksError::MissingKey { operation, key: "relinearisation".to_owned() };
        self.relin.as_ref().ok_or_else(missing)
    }

    pub(super) fn rotation(&self, operation: &'static str, step: i32) -> Result<&GaloisKey, CkksError> {
        let missing = || CkksError::MissingKey { operation, key: format!("rotation by {step}") };
        self.rotations.get(&step).ok_or_else(missing)
    }
}

impl Context {
    /// Rotation step reduced to `0..slots`.
    #[must_use]
    pub fn normalise_step(&self, step: i32) -> i32 {
        step.rem_euclid(self.slots() as i32)
    }

    /// Galois element `5^step mod 2n` of a left rotation.
    pub(super) fn galois_element(&self, step: i32) -> u64 {
        let mask = 2 * self.n as u64 - 1;
        (0..self.normalise_step(step)).fold(1, |g, _| (g * 5) & mask)
    }
}
