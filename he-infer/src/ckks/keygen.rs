//! Generation of keys. Keys are independent tasks of the current rayon pool; results do not depend on its size.

use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::context::Context;
use super::error::CkksError;
use super::keys::{EvalKeys, GaloisKey, KeySpec, PublicKey, SecretKey, SwitchKey};
use super::par;
use crate::math::permute::Permutation;
use crate::math::poly::{RnsPoly, limb_stride};
use crate::math::sampling::{self, Seed};
use crate::math::vector;

/// A generator seeded by the operating system, for production use.
///
/// # Errors
/// [`CkksError::Entropy`] if the operating system supplies none.
pub fn os_rng() -> Result<ChaCha20Rng, CkksError> {
    sampling::os_rng().map_err(|e| CkksError::Entropy { reason: e.to_string() })
}

/// Sizes of a set of evaluation keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBytes {
    /// Bytes of the seed-compressed file [`crate::wire`] writes, exactly.
    pub stored: u64,
    /// Bytes of key polynomials in memory, padding included.
    pub memory: u64,
}

/// What a switching key switches from.
#[derive(Clone, Copy)]
enum Source {
    /// `s^2` to `s`.
    Square,
    /// `s` to `s(X^(1/g))`.
    Galois(u64),
}

impl Context {
    /// Draw a secret key.
    pub fn secret_key(&self, rng: &mut (impl CryptoRng + ?Sized)) -> SecretKey {
        let mut coefficients = Zeroizing::new(vec![0i8; self.n]);
        sampling::ternary(rng, &mut coefficients);
        self.secret_from_coefficients(coefficients)
    }

    pub(crate) fn secret_from_coefficients(&self, coefficients: Zeroizing<Vec<i8>>) -> SecretKey {
        let mut transformed = RnsPoly::zero(self.n, self.plans.len());
        for (limb, plan) in transformed.iter_mut().zip(&self.plans) {
            let m = plan.modulus();
            vector::from_small(self.backend, m, limb, &coefficients);
            plan.forward(limb);
            vector::mul_const_assign(self.backend, m, limb, m.radix_squared());
        }
        SecretKey { coefficients, transformed, id: self.id() }
    }

    /// Make a public encryption key for `secret`.
    ///
    /// # Errors
    /// [`CkksError::Foreign`] if the secret key belongs to other parameters.
    pub fn public_key(
        &self,
        secret: &SecretKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<PublicKey, CkksError> {
        self.check_id("public_key", "secret key", secret.id)?;
        let mut error = Zeroizing::new(vec![0i8; self.n]);
        sampling::centred_binomial(rng, &mut error);
        let seed = sampling::random_seed(rng);
        let mut key = self.public_from_seed(RnsPoly::zero(self.n, self.max_level() + 2), seed);
        for (t, (limb, a)) in key.b.iter_mut().zip(key.a.iter()).enumerate() {
            let Some(plan) = self.plans.get(t) else { continue };
            let m = plan.modulus();
            let mut e = Zeroizing::new(vec![0; self.n]);
            vector::from_small(self.backend, m, &mut e, &error);
            plan.forward(&mut e);
            // limb = e 2^52 - a s, with a stored in Montgomery form.
            vector::dot(self.backend, m, limb, &[(a, secret.transformed.limb(t))], false);
            vector::mul_const_assign(self.backend, m, &mut e, m.radix_squared());
            vector::sub_assign(self.backend, m, &mut e, limb);
            limb.copy_from_slice(&e);
        }
        Ok(key)
    }

    /// Complete a public key from its `b` half and the seed of the other.
    pub(crate) fn public_from_seed(&self, b: RnsPoly, seed: Seed) -> PublicKey {
        let mut a = RnsPoly::zero(self.n, b.limbs());
        for (t, (limb, plan)) in a.iter_mut().zip(&self.plans).enumerate() {
            sampling::uniform(self.backend, plan.modulus(), &seed, t as u64, limb);
        }
        PublicKey { b, a, seed, id: self.id() }
    }

    /// Generate the evaluation keys `spec` asks for. Repeated rotation steps get one key at the highest level named.
    ///
    /// # Errors
    /// [`CkksError::Foreign`] for a secret key of other parameters, [`CkksError::LevelTooHigh`] for a level above the top.
    pub fn eval_keys(
        &self,
        secret: &SecretKey,
        spec: &KeySpec,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<EvalKeys, CkksError> {
        const OP: &str = "eval_keys";
        self.check_id(OP, "secret key", secret.id)?;
        let wanted = self.resolve_spec(spec)?;
        let master = Zeroizing::new(sampling::random_seed(rng));
        let jobs: Vec<_> = wanted.into_iter().enumerate().collect();
        let made = par::map(jobs, |(index, (name, level))| {
            let source = self.key_source(name);
            let public = sampling::derive_seed(&master, "switch-key-a", index as u64);
            let errors = Zeroizing::new(sampling::derive_seed(&master, "switch-key-error", index as u64));
            (name, self.switch_key(secret, source, level, public, &errors))
        });
        let mut keys = EvalKeys::default();
        for (name, key) in made {
            self.insert_key(&mut keys, name, key)?;
        }
        Ok(keys)
    }

    /// Put a switching key where its name says, with the permutation it needs.
    pub(crate) fn insert_key(
        &self,
        keys: &mut EvalKeys,
        name: KeyName,
        switch: SwitchKey,
    ) -> Result<(), CkksError> {
        match self.key_source(name) {
            Source::Square => keys.relin = Some(switch),
            Source::Galois(g) => {
                let tables = CkksError::Tables { prime: g };
                let permutation = Permutation::new(self.n, g).ok_or(tables)?;
                let key = GaloisKey { switch, permutation };
                match name {
                    KeyName::Rotation(step) => drop(keys.rotations.insert(step, key)),
                    _ => keys.conjugation = Some(key),
                }
            }
        }
        Ok(())
    }

    fn key_source(&self, name: KeyName) -> Source {
        match name {
            KeyName::Relin => Source::Square,
            KeyName::Rotation(step) => Source::Galois(self.galois_element(step)),
            KeyName::Conjugation => Source::Galois(2 * self.n as u64 - 1),
        }
    }

    /// Sizes of the keys for `spec`, without generating them.
    ///
    /// # Errors
    /// [`CkksError::LevelTooHigh`] for a level above the top.
    pub fn key_bytes(&self, spec: &KeySpec) -> Result<KeyBytes, CkksError> {
        let mut total = KeyBytes { stored: crate::wire::eval_keys_overhead(), memory: 0 };
        for (_, level) in self.resolve_spec(spec)? {
            let limbs = (self.digits(level) * (level + 1 + self.specials())) as u64;
            total.stored += crate::wire::SWITCH_KEY_OVERHEAD + limbs * self.n as u64 * 8;
            total.memory += 2 * limbs * limb_stride(self.n) as u64 * 8;
        }
        Ok(total)
    }

    /// The distinct keys of a specification, in a fixed order, each with its level.
    fn resolve_spec(&self, spec: &KeySpec) -> Result<Vec<(KeyName, usize)>, CkksError> {
        let mut wanted = std::collections::BTreeMap::new();
        let named = spec.relin_level.map(|l| (KeyName::Relin, l)).into_iter();
        let named = named.chain(spec.conjugation_level.map(|l| (KeyName::Conjugation, l)));
        let rotations = spec.rotations.iter().map(|(s, l)| (KeyName::Rotation(self.normalise_step(*s)), *l));
        for (name, level) in named.chain(rotations.filter(|(name, _)| *name != KeyName::Rotation(0))) {
            self.check_level("eval_keys", level)?;
            let entry = wanted.entry(name).or_insert(level);
            *entry = level.max(*entry);
        }
        Ok(wanted.into_iter().collect())
    }

    /// `b_j = -a_j t + e_j + P W_j u` for the source `u` and target `t` of `source`, in Montgomery form.
    fn switch_key(
        &self,
        secret: &SecretKey,
        source: Source,
        level: usize,
        seed: Seed,
        errors: &Seed,
    ) -> SwitchKey {
        let digits = self.digits(level);
        let blank = RnsPoly::zero(self.n, 2 * digits * (level + 1 + self.specials()));
        let mut key = SwitchKey { limbs: blank, level, digits, seed, id: self.id() };
        let mut error = Zeroizing::new(vec![0i8; digits * self.n]);
        sampling::centred_binomial(&mut ChaCha20Rng::from_seed(*errors), &mut error);
        let target = match source {
            Source::Square => None,
            Source::Galois(g) => Permutation::new(self.n, inverse_mod_2n(g, self.n)),
        };
        let alpha = self.literal.alpha;
        let basis = self.extended_basis(level);
        let mut limbs = key.limbs.limbs_mut().into_iter();
        let work: Vec<_> =
            basis.iter().map(|t| (*t, limbs.by_ref().take(2 * digits).collect::<Vec<_>>())).collect();
        par::for_each(work, |(t, mut pairs)| {
            let Some(plan) = self.plans.get(t) else { return };
            let m = plan.modulus();
            let s = secret.transformed.limb(t);
            let mut rotated = Zeroizing::new(Vec::new());
            if let Some(p) = &target {
                rotated.resize(self.n, 0);
                p.apply(self.backend, &mut rotated, s);
            }
            let under = if rotated.is_empty() { s } else { &rotated };
            let mut product = Zeroizing::new(vec![0; self.n]);
            for (j, (pair, e)) in pairs.chunks_exact_mut(2).zip(error.chunks_exact(self.n)).enumerate() {
                let [b, a] = pair else { continue };
                sampling::uniform(self.backend, m, &seed, (j as u64) << 16 | t as u64, a);
                vector::from_small(self.backend, m, b, e);
                plan.forward(b);
                vector::mul_const_assign(self.backend, m, b, m.radix_squared());
                vector::dot(self.backend, m, &mut product, &[(a, under)], false);
                vector::sub_assign(self.backend, m, b, &product);
                if t / alpha == j && t <= level {
                    // Add P u 2^52; `secret.transformed` is s 2^52 already.
                    let p = self.p_mod_q.get(t).copied().unwrap_or(0);
                    match source {
                        Source::Square => vector::dot(self.backend, m, &mut product, &[(s, s)], false),
                        Source::Galois(_) => product.copy_from_slice(s),
                    }
                    vector::mul_const_assign(self.backend, m, &mut product, p);
                    vector::add_assign(self.backend, m, b, &product);
                }
            }
        });
        key
    }

    /// Fill the `a` halves of a switching key from its seed.
    pub(crate) fn expand_switch_key(&self, key: &mut SwitchKey) {
        let (seed, digits, level) = (key.seed, key.digits, key.level);
        let basis = self.extended_basis(level);
        let work: Vec<_> =
            key.limbs.limbs_mut().into_iter().enumerate().filter(|(i, _)| i % 2 == 1).collect();
        par::for_each(work, |(i, limb)| {
            let (t, j) = (i / 2 / digits.max(1), i / 2 % digits.max(1));
            let Some(plan) = basis.get(t).and_then(|t| self.plans.get(*t)) else { return };
            let stream = (j as u64) << 16 | basis.get(t).copied().unwrap_or(0) as u64;
            sampling::uniform(self.backend, plan.modulus(), &seed, stream, limb);
        });
    }
}

/// Which key of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyName {
    Relin,
    Conjugation,
    Rotation(i32),
}

/// Inverse of an odd number modulo `2n`.
fn inverse_mod_2n(g: u64, n: usize) -> u64 {
    let mut inv = g;
    for _ in 0..5 {
        inv = inv.wrapping_mul(2u64.wrapping_sub(g.wrapping_mul(inv)));
    }
    inv & (2 * n as u64 - 1)
}
