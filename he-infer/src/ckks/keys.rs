//! Key material: secret, public and evaluation keys.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::context::Context;
use super::error::CkksError;
use super::key_id::KeyId;
use super::params::Gadget;
use crate::math::packed::PackedPoly;
use crate::math::permute::Permutation;
use crate::math::poly::RnsPoly;
use crate::math::sampling::Seed;

/// The secret key: a uniform ternary polynomial. Overwritten when dropped; cannot be printed or cloned.
pub struct SecretKey {
    pub(crate) coefficients: Zeroizing<Vec<i8>>,
    /// Transformed, Montgomery form, over every modulus.
    pub(super) transformed: RnsPoly,
    pub(crate) id: u64,
    pub(crate) owner: KeyId,
}

impl SecretKey {
    /// The number that its public keys and ciphertexts carry.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.owner
    }
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
    pub(crate) owner: KeyId,
}

impl PublicKey {
    /// The key it encrypts for.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.owner
    }
}

/// How evaluation keys are held in memory. Half of each is a function of a public seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyForm {
    /// Both halves: the faster form on one thread.
    #[default]
    Expanded,
    /// One half and the seed, from which the other is made whenever it is used, in cache. Half the memory, and half the traffic
    /// where several threads share a memory that is slower than their AES instructions.
    Seeded,
}

/// A hybrid key-switching key for levels up to [`SwitchKey::level`].
///
/// Expanded, limb `(t * digits + j) * 2` of the storage is `b_j` and the next one `a_j`, for limb `t` of the basis
/// `q_0..q_level, p_0..`: the order in which the inner product reads them. Seeded, `b_j` is limb `t * digits + j`. Montgomery
/// form, packed. `a` is a function of the seed.
pub(crate) struct SwitchKey {
    pub limbs: PackedPoly,
    pub form: KeyForm,
    pub level: usize,
    pub gadget: Gadget,
    pub seed: Seed,
    pub id: u64,
    pub owner: KeyId,
    /// The automorphism applied after switching, for rotations and conjugation.
    pub permutation: Option<Permutation>,
}

impl SwitchKey {
    /// Digits of a polynomial at the key's level.
    pub fn digits(&self) -> usize {
        (self.level + 1).div_ceil(self.gadget.alpha)
    }

    /// Stream of the expansion that makes `a_j` at modulus number `t`.
    pub fn stream(j: usize, t: usize) -> u64 {
        (j as u64) << 16 | t as u64
    }

    /// Limbs from one `b` to the next.
    pub fn step(&self) -> usize {
        match self.form {
            KeyForm::Expanded => 2,
            KeyForm::Seeded => 1,
        }
    }

    /// The packed `b_j` at limb position `t`, and `a_j` if it is held.
    pub(super) fn halves(&self, t: usize, j: usize) -> (&[u64], Option<&[u64]>) {
        let at = self.step() * (t * self.digits() + j);
        (self.limbs.limb(at), (self.form == KeyForm::Expanded).then(|| self.limbs.limb(at + 1)))
    }
}

/// Which key of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyName {
    /// From `s^2` to `s`.
    Relin,
    /// From `s` to `s(X^-1)`.
    Conjugation,
    /// From `s` to `s(X^(1/g))` for a step in `1..slots`.
    Rotation(i32),
    /// From `s` to a sparse ephemeral secret, for polynomials modulo `q_0`.
    ToSparse,
    /// From that secret back to `s` at the top level, for polynomials whose coefficients are below `q_0`.
    FromSparse,
}

impl KeyName {
    /// A number for each name.
    pub(super) fn code(self) -> u64 {
        let (kind, step) = match self {
            KeyName::Relin => (0, 0),
            KeyName::Conjugation => (1, 0),
            KeyName::Rotation(step) => (2, step as u32),
            KeyName::ToSparse => (3, 0),
            KeyName::FromSparse => (4, 0),
        };
        kind << 32 | u64::from(step)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyName::Relin => f.write_str("relinearisation"),
            KeyName::Conjugation => f.write_str("conjugation"),
            KeyName::Rotation(step) => write!(f, "rotation by {step}"),
            KeyName::ToSparse | KeyName::FromSparse => f.write_str("sparse-secret encapsulation"),
        }
    }
}

/// Which evaluation keys a computation needs, each with the highest level it is used at.
///
/// A step may be named at several levels: each becomes a key of its own, and an operation uses the one of the lowest level
/// that serves it. Keys for low levels are much smaller and faster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// Level of the relinearisation key, if ciphertexts are multiplied.
    pub relin_level: Option<usize>,
    /// `(step, level)` of each left rotation; steps count modulo the slots, step 0 needs no key and is ignored.
    pub rotations: Vec<(i32, usize)>,
    /// Level of the conjugation key, if needed.
    pub conjugation_level: Option<usize>,
    /// The pair of keys that lead through a sparse ephemeral secret and back, for bootstrapping.
    pub encapsulation: bool,
    /// How they are held in memory; in files all are seeded.
    pub form: KeyForm,
}

impl KeySpec {
    /// What both specifications ask for.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.relin_level = self.relin_level.max(other.relin_level);
        self.conjugation_level = self.conjugation_level.max(other.conjugation_level);
        self.encapsulation |= other.encapsulation;
        if other.form == KeyForm::Seeded {
            self.form = KeyForm::Seeded;
        }
        self.rotations.extend(
            other.rotations.iter().filter(|r| !self.rotations.contains(r)).copied().collect::<Vec<_>>(),
        );
        self
    }
}

/// Keys the server needs: relinearisation, rotations, conjugation, encapsulation; each for ciphertexts up to its level.
#[derive(Default)]
pub struct EvalKeys {
    owner: KeyId,
    keys: BTreeMap<(KeyName, usize), SwitchKey>,
}

impl EvalKeys {
    /// An empty set for what is encrypted under `owner`.
    pub(crate) fn of(owner: KeyId) -> Self {
        Self { owner, keys: BTreeMap::new() }
    }

    /// The key they were made from.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.owner
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What the set holds, as one would ask for it (of several relinearisation or conjugation keys, the highest).
    #[must_use]
    pub fn spec(&self) -> KeySpec {
        let mut spec = KeySpec::default();
        for (name, key) in self.iter() {
            spec.form = key.form;
            match name {
                KeyName::Relin => spec.relin_level = spec.relin_level.max(Some(key.level)),
                KeyName::Conjugation => spec.conjugation_level = spec.conjugation_level.max(Some(key.level)),
                KeyName::Rotation(step) => spec.rotations.push((step, key.level)),
                KeyName::ToSparse | KeyName::FromSparse => spec.encapsulation = true,
            }
        }
        spec
    }

    /// The cheapest key of this name for a ciphertext at `level`.
    pub(crate) fn find(
        &self,
        operation: &'static str,
        name: KeyName,
        level: usize,
    ) -> Result<&SwitchKey, CkksError> {
        if let Some((_, key)) = self.keys.range((name, level)..=(name, usize::MAX)).next() {
            return Ok(key);
        }
        Err(match self.keys.range((name, 0)..(name, level)).next_back() {
            Some(((_, available), _)) => CkksError::LevelTooHigh { operation, level, available: *available },
            None => CkksError::MissingKey { operation, key: name.to_string() },
        })
    }

    pub(crate) fn insert(&mut self, name: KeyName, key: SwitchKey) {
        self.keys.insert((name, key.level), key);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyName, &SwitchKey)> {
        self.keys.iter().map(|((name, _), key)| (*name, key))
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
