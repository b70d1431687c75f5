//! Generation of keys. Keys are independent tasks of the current rayon pool; results do not depend on its size.

use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::context::Context;
use super::error::CkksError;
use super::key_id::KeyId;
use super::keys::{EvalKeys, KeyForm, KeyName, KeySpec, PublicKey, SecretKey, SwitchKey};
use super::par;
use super::params::Gadget;
use crate::math::modulus::Modulus;
use crate::math::packed::{self, PackedPoly};
use crate::math::permute::Permutation;
use crate::math::poly::RnsPoly;
use crate::math::sampling::{self, Expander, Seed, TILE};
use crate::math::{masking, vector};

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
    /// Bytes of key polynomials in memory.
    pub memory: u64,
}

/// Weight of the ephemeral secret that bootstrapping passes through (Bossuat, Troncoso-Pastoriza, Hubaux 2022). It is used
/// with moduli inside [`max_sparse_bits`] only.
pub(crate) const SPARSE_WEIGHT: usize = 32;

/// Largest `log2(q_0 p_0)` under which a ternary secret of weight 32 keeps 128 bits, by `log_n` (the figures of the paper
/// above for `2^16` and of published parameter sets for `2^15`).
pub(crate) fn max_sparse_bits(log_n: u32) -> Option<f64> {
    match log_n {
        16.. => Some(121.0),
        15 => Some(84.0),
        _ => None,
    }
}

/// The polynomials a switching key leads between, transformed, Montgomery form.
struct Route<'a> {
    from: Source<'a>,
    to: &'a RnsPoly,
    /// `to` is replaced by its image under `X -> X^(1/g)`.
    galois: Option<u64>,
    owner: KeyId,
    /// A key of one digit and one special prime, for polynomials below `q_0`.
    small: bool,
}

/// What a switching key switches from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Square(&'a RnsPoly),
    Plain(&'a RnsPoly),
}

impl Context {
    /// Draw a secret key, and after it the number that names it.
    pub fn secret_key(&self, rng: &mut (impl CryptoRng + ?Sized)) -> SecretKey {
        let mut coefficients = Zeroizing::new(vec![0i8; self.n]);
        sampling::ternary(rng, &mut coefficients);
        self.secret_from_coefficients(coefficients, KeyId::draw(rng))
    }

    pub(crate) fn secret_from_coefficients(
        &self,
        coefficients: Zeroizing<Vec<i8>>,
        owner: KeyId,
    ) -> SecretKey {
        let mut transformed = RnsPoly::zero(self.n, self.plans.len());
        for (limb, plan) in transformed.iter_mut().zip(&self.plans) {
            let m = plan.modulus();
            vector::from_small(self.backend, m, limb, &coefficients);
            plan.forward(limb);
            vector::mul_const_assign(self.backend, m, limb, m.radix_squared());
        }
        SecretKey { coefficients, transformed, id: self.id(), owner }
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
        sampling::centred_binomial(self.backend, rng, &mut error);
        let seed = sampling::random_seed(rng);
        let mut key = self.public_from_seed(RnsPoly::zero(self.n, self.max_level() + 2), seed, secret.owner);
        for (t, (limb, a)) in key.b.iter_mut().zip(key.a.iter()).enumerate() {
            let Some(plan) = self.plans.get(t) else { continue };
            let m = plan.modulus();
            masking::lift_small(self.backend, m, limb, &error, m.radix_squared());
            plan.forward(limb);
            // b = e 2^52 - a s, with a in Montgomery form.
            masking::mask_assign(self.backend, m, limb, a, secret.transformed.limb(t), None);
        }
        Ok(key)
    }

    /// Complete a public key from its `b` half and the seed of the other.
    pub(crate) fn public_from_seed(&self, b: RnsPoly, seed: Seed, owner: KeyId) -> PublicKey {
        let mut a = RnsPoly::zero(self.n, b.limbs());
        let uniform = Expander::new(self.backend, &seed);
        for (t, (limb, plan)) in a.iter_mut().zip(&self.plans).enumerate() {
            uniform.fill(plan.modulus(), t as u64, limb);
        }
        PublicKey { b, a, seed, id: self.id(), owner }
    }

    /// Generate the evaluation keys `spec` asks for. Each step gets a key for every level it is named with.
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
        let ephemeral =
            if spec.encapsulation { Some(self.sparse_secret(&master, secret.owner)?) } else { None };
        let sparse = ephemeral.as_ref().unwrap_or(secret);
        // Should a generator state ever be used twice, equal seeds must mean equal keys: two that share `a` and `e` but not what they are
        // multiplied with would give the secret away. So seeds are bound to the parameters, to the form of keys (5: divided by `P`) and
        // to the key, not to its position.
        let label = format!("evaluation-keys-5 {:02x?}", self.digest);
        let master = Zeroizing::new(sampling::derive_seed(&master, &label, 0));
        let made = par::map(wanted, |(name, level)| {
            let index = name.code() << 16 | level as u64;
            let public = sampling::derive_seed(&master, "switch-key-a", index);
            let errors = Zeroizing::new(sampling::derive_seed(&master, "switch-key-error", index));
            let (s, t, owner) = (&secret.transformed, &sparse.transformed, secret.owner);
            let route = match name {
                KeyName::Relin => Route { from: Source::Square(s), to: s, galois: None, owner, small: false },
                KeyName::ToSparse => {
                    Route { from: Source::Plain(s), to: t, galois: None, owner, small: true }
                }
                KeyName::FromSparse => {
                    Route { from: Source::Plain(t), to: s, galois: None, owner, small: true }
                }
                KeyName::Conjugation | KeyName::Rotation(_) => {
                    let galois = self.galois_of(name);
                    Route { from: Source::Plain(s), to: s, galois, owner, small: false }
                }
            };
            Ok((name, self.switch_key(name, &route, level, (public, spec.form), &errors)?))
        });
        let mut keys = EvalKeys::of(secret.owner);
        for made in made {
            let (name, key) = made?;
            keys.insert(name, key);
        }
        Ok(keys)
    }

    /// A ternary secret of weight [`SPARSE_WEIGHT`] that lives as long as the key generation.
    fn sparse_secret(&self, master: &Seed, owner: KeyId) -> Result<SecretKey, CkksError> {
        let bits: f64 = self.plans_of_small_basis().map(|q| (q as f64).log2()).sum();
        let limit = max_sparse_bits(self.log_n()).unwrap_or(0.0);
        if self.is_secure() && bits > limit {
            return Err(CkksError::InsecureSparse { log_n: self.log_n(), bits, limit });
        }
        let seed = Zeroizing::new(sampling::derive_seed(master, "ephemeral-secret", 0));
        let mut coefficients = Zeroizing::new(vec![0i8; self.n]);
        sampling::sparse_ternary(&mut ChaCha20Rng::from_seed(*seed), SPARSE_WEIGHT, &mut coefficients);
        Ok(self.secret_from_coefficients(coefficients, owner))
    }

    /// The primes under which the ephemeral secret is used.
    fn plans_of_small_basis(&self) -> impl Iterator<Item = u64> {
        self.literal.q.iter().take(1).chain(self.literal.p.iter().take(1)).copied()
    }

    /// Exponent of the automorphism a key belongs to.
    fn galois_of(&self, name: KeyName) -> Option<u64> {
        match name {
            KeyName::Rotation(step) => Some(self.galois_element(step)),
            KeyName::Conjugation => Some(2 * self.n as u64 - 1),
            KeyName::Relin | KeyName::ToSparse | KeyName::FromSparse => None,
        }
    }

    /// Gadget of a key.
    pub(crate) fn gadget_of(&self, name: KeyName, level: usize) -> Gadget {
        match name {
            KeyName::ToSparse | KeyName::FromSparse => self.small.gadget,
            _ => self.gadget_tables(level).gadget,
        }
    }

    /// A key with room for its halves and the permutation it needs.
    pub(crate) fn blank_key(
        &self,
        name: KeyName,
        level: usize,
        (seed, form): (Seed, KeyForm),
        owner: KeyId,
    ) -> Result<SwitchKey, CkksError> {
        let gadget = self.gadget_of(name, level);
        let permutation = match self.galois_of(name) {
            Some(g) => Some(Permutation::new(self.n, g).ok_or(CkksError::Tables { prime: g })?),
            None => None,
        };
        let digits = (level + 1).div_ceil(gadget.alpha);
        let halves = if form == KeyForm::Expanded { 2 } else { 1 };
        let basis = self.extended_basis(level, gadget.specials);
        let primes = basis.iter().filter_map(|t| self.modulus(*t)).map(Modulus::value);
        let primes = primes.flat_map(|q| std::iter::repeat_n(q, halves * digits));
        let limbs = PackedPoly::recycled(self.n, primes, &self.scratch);
        Ok(SwitchKey { limbs, form, level, gadget, seed, id: self.id(), owner, permutation })
    }

    /// Sizes of the keys for `spec`, without generating them.
    ///
    /// # Errors
    /// [`CkksError::LevelTooHigh`] for a level above the top.
    pub fn key_bytes(&self, spec: &KeySpec) -> Result<KeyBytes, CkksError> {
        let mut total = KeyBytes { stored: crate::wire::eval_keys_overhead(), memory: 0 };
        let halves = if spec.form == KeyForm::Expanded { 2 } else { 1 };
        for (name, level) in self.resolve_spec(spec)? {
            let gadget = self.gadget_of(name, level);
            let half = self.literal.half_key_bytes(level, gadget);
            total.stored += crate::wire::SWITCH_KEY_OVERHEAD + half;
            total.memory += halves * half;
        }
        Ok(total)
    }

    /// The distinct keys of a specification, in a fixed order, each with its level.
    fn resolve_spec(&self, spec: &KeySpec) -> Result<Vec<(KeyName, usize)>, CkksError> {
        let mut wanted = std::collections::BTreeSet::new();
        let named = spec.relin_level.map(|l| (KeyName::Relin, l)).into_iter();
        let named = named.chain(spec.conjugation_level.map(|l| (KeyName::Conjugation, l)));
        let pair = [(KeyName::ToSparse, 0), (KeyName::FromSparse, self.max_level())];
        let named = named.chain(pair.into_iter().filter(|_| spec.encapsulation));
        let rotations = spec.rotations.iter().map(|(s, l)| (KeyName::Rotation(self.normalise_step(*s)), *l));
        for (name, level) in named.chain(rotations.filter(|(name, _)| *name != KeyName::Rotation(0))) {
            self.check_level("eval_keys", level)?;
            wanted.insert((name, level));
        }
        Ok(wanted.into_iter().collect())
    }

    /// `b_j = -a_j t + e_j + P W_j u` from `u` to `t`, in Montgomery form; `W_j` is 1 for keys of small polynomials. Modulo the primes of
    /// the ciphertext both halves are held divided by `P`: what is uniform stays so, and the division that ends a key switch is done.
    fn switch_key<'k>(
        &self,
        name: KeyName,
        route: &Route<'k>,
        level: usize,
        (seed, form): (Seed, KeyForm),
        errors: &Seed,
    ) -> Result<SwitchKey, CkksError> {
        let mut key = self.blank_key(name, level, (seed, form), route.owner)?;
        let (digits, gadget, step) = (key.digits(), key.gadget, key.step());
        let factors = if route.small { &self.small } else { self.gadget_tables(level) };
        let mut error = Zeroizing::new(vec![0i8; digits * self.n]);
        for (j, e) in error.chunks_exact_mut(self.n).enumerate() {
            sampling::centred_binomial_from_seed(self.backend, errors, j as u64, e);
        }
        let target = route.galois.and_then(|g| Permutation::new(self.n, inverse_mod_2n(g, self.n)));
        let basis = self.extended_basis(level, gadget.specials);
        let uniform = Expander::new(self.backend, &seed);
        let mut limbs = key.limbs.limbs_mut().into_iter();
        let work: Vec<_> =
            basis.iter().map(|t| (*t, limbs.by_ref().take(step * digits).collect::<Vec<_>>())).collect();
        par::for_each(work, |(t, mut pairs)| {
            let Some(plan) = self.plans.get(t) else { return };
            let m = plan.modulus();
            let s = route.to.limb(t);
            let error_times = match factors.p_inverse.get(t).filter(|_| t <= level) {
                Some(inverse) => m.mont_mul(m.radix_squared(), *inverse),
                None => m.radix_squared(),
            };
            let mut scratch = Zeroizing::new([[0u64; TILE]; 2]);
            let [rotated, source] = &mut *scratch;
            let mut uniform_half = [0u64; TILE];
            let packed = packed::words(TILE.min(self.n), packed::width(m.value()));
            let mut written = vec![0; packed];
            // `b` unpacked; it begins as the error, which it overwrites.
            let mut plain = self.scratch_poly(1);
            let plain = plain.limb_mut(0);
            for (j, (halves, e)) in pairs.chunks_exact_mut(step).zip(error.chunks_exact(self.n)).enumerate() {
                let mut halves: Vec<_> = halves.iter_mut().map(|half| half.chunks_mut(packed)).collect();
                masking::lift_small(self.backend, m, plain, e, error_times);
                plan.forward(plain);
                // The rest runs tile by tile, so that everything but `s` and the key itself stays in the first-level cache.
                for (tile, (b, s_tile)) in plain.chunks_mut(TILE).zip(s.chunks(TILE)).enumerate() {
                    let a = uniform_half.split_at_mut(b.len()).0;
                    uniform.tile(m, SwitchKey::stream(j, t), tile, a);
                    let under = match &target {
                        None => s_tile,
                        Some(permutation) => {
                            let rotated = rotated.split_at_mut(b.len()).0;
                            permutation.apply_from(self.backend, tile * TILE, rotated, s);
                            rotated
                        }
                    };
                    let mut add = None;
                    if t / gadget.alpha == j && t <= level {
                        // In Montgomery form, as the sources are.
                        let part = |u: &'k RnsPoly| u.limb(t).chunks(TILE).nth(tile).unwrap_or(&[]);
                        add = Some(match route.from {
                            Source::Plain(u) => part(u),
                            Source::Square(u) => {
                                let source = source.split_at_mut(b.len()).0;
                                vector::dot(self.backend, m, source, &[(part(u), part(u))], None);
                                &*source
                            }
                        });
                    }
                    masking::mask_assign(self.backend, m, b, a, under, add);
                    for (half, x) in halves.iter_mut().filter_map(Iterator::next).zip([&*b, &*a]) {
                        packed::pack(self.backend, packed::width(m.value()), &mut written, x);
                        packed::write_once(self.backend, half, &written);
                    }
                }
            }
        });
        Ok(key)
    }

    /// Fill the `a` halves of a switching key from its seed, if they are held.
    pub(crate) fn expand_switch_key(&self, key: &mut SwitchKey) {
        if key.form == KeyForm::Seeded {
            return;
        }
        let (seed, digits) = (key.seed, key.digits());
        let basis = self.extended_basis(key.level, key.gadget.specials);
        let uniform = Expander::new(self.backend, &seed);
        let work: Vec<_> =
            key.limbs.limbs_mut().into_iter().enumerate().filter(|(i, _)| i % 2 == 1).collect();
        par::for_each(work, |(i, limb)| {
            let (t, j) = (i / 2 / digits.max(1), i / 2 % digits.max(1));
            let Some(t) = basis.get(t).copied() else { return };
            let Some(m) = self.modulus(t) else { return };
            let tile = TILE.min(self.n);
            let packed = packed::words(tile, packed::width(m.value()));
            let (mut made, mut written) = (vec![0; tile], vec![0; packed]);
            for (at, limb) in limb.chunks_mut(packed).enumerate() {
                uniform.tile(m, SwitchKey::stream(j, t), at, &mut made);
                packed::pack(self.backend, packed::width(m.value()), &mut written, &made);
                packed::write_once(self.backend, limb, &written);
            }
        });
    }
}

/// Inverse of an odd number modulo `2n`.
fn inverse_mod_2n(g: u64, n: usize) -> u64 {
    let mut inv = g;
    for _ in 0..5 {
        inv = inv.wrapping_mul(2u64.wrapping_sub(g.wrapping_mul(inv)));
    }
    inv & (2 * n as u64 - 1)
}
