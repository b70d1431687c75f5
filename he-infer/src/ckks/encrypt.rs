//! Encryption and decryption.
//!
//! A raw decryption contains the noise of the computation. Given to someone who also sees the ciphertext it leaks information
//! about the secret key (Li, Micciancio 2021: IND-CPA-D). Keep [`Context::decrypt`] results on the client; to publish
//! results use [`Context::decrypt_for_publication`].

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::ciphertext::{Ciphertext, SeededCiphertext};
use super::context::Context;
use super::encoder::Plaintext;
use super::error::CkksError;
use super::key_id::check_owners;
use super::keys::{PublicKey, SecretKey};
use super::par;
use crate::math::poly::RnsPoly;
use crate::math::sampling::{self, Expander, TILE};
use crate::math::{masking, vector};

/// How strongly a published decryption hides the noise (Li et al. 2022).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublicationPolicy {
    /// Bound on the standard deviation of the noise in a slot, for any input; never from a measured run. The parts of
    /// [`super::NoiseModel`] are deviations, and its `sum` holds for independent ones only: add the deviations of parts
    /// that depend on one another (anything computed from one ciphertext twice), and use the largest messages allowed.
    pub noise_bound: f64,
    /// Number of decryptions that will ever be published under this key.
    pub published: u64,
    /// Statistical security parameter `s`; at least 30.
    pub security_bits: u32,
}

/// A decryption that is safe to show.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Slot values, rounded to multiples of `resolution`.
    pub values: Vec<f64>,
    /// Standard deviation of the noise that was added, in slots.
    pub flooding: f64,
    /// Rounding step, the power of two next below the flooding deviation.
    pub resolution: f64,
}

impl Context {
    /// Encrypt with the secret key. Halves the upload: the second polynomial is a 32-byte seed.
    ///
    /// # Errors
    /// A plaintext or key of other parameters.
    pub fn encrypt_symmetric(
        &self,
        plain: &Plaintext,
        secret: &SecretKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<SeededCiphertext, CkksError> {
        self.check_id("encrypt", "plaintext", plain.id)?;
        self.check_id("encrypt", "secret key", secret.id)?;
        let mut error = Zeroizing::new(vec![0i8; self.n]);
        sampling::centred_binomial(self.backend, rng, &mut error);
        let seed = sampling::random_seed(rng);
        let uniform = Expander::new(self.backend, &seed);
        let mut c0 = self.scratch_poly(plain.level + 1);
        let work: Vec<_> = c0.limbs_mut().into_iter().zip(&self.plans).enumerate().collect();
        par::for_each(work, |(t, (c0, plan))| {
            let m = plan.modulus();
            masking::lift_small(self.backend, m, c0, &error, m.radix());
            plan.forward(c0);
            let others = secret.transformed.limb(t).chunks(TILE).zip(plain.poly.limb(t).chunks(TILE));
            for (tile, (c0, (s, plain))) in c0.chunks_mut(TILE).zip(others).enumerate() {
                let mut a = [0; TILE];
                let a = a.split_at_mut(c0.len()).0;
                uniform.tile(m, t as u64, tile, a);
                masking::mask_assign(self.backend, m, c0, a, s, Some(plain));
            }
        });
        let (level, scale) = (plain.level, plain.scale);
        Ok(SeededCiphertext { c0, seed, level, scale, id: self.id(), owner: secret.owner })
    }

    /// Expand the seed of a secret-key encryption; anyone can do it.
    ///
    /// # Errors
    /// A ciphertext of other parameters.
    pub fn expand_ciphertext(&self, seeded: &SeededCiphertext) -> Result<Ciphertext, CkksError> {
        self.check_id("expand_ciphertext", "ciphertext", seeded.id)?;
        let mut out = self.blank_ct(seeded.level, seeded.scale, seeded.owner);
        let uniform = Expander::new(self.backend, &seeded.seed);
        let halves = out.c0.limbs_mut().into_iter().zip(seeded.c0.iter()).zip(out.c1.limbs_mut());
        let work: Vec<_> = halves.zip(&self.plans).enumerate().collect();
        par::for_each(work, |(t, (((c0, from), c1), plan))| {
            c0.copy_from_slice(from);
            uniform.fill(plan.modulus(), t as u64, c1);
        });
        Ok(out)
    }

    /// Encrypt with the public key: over one extra prime that is divided away, which leaves little more than rounding noise.
    ///
    /// # Errors
    /// A plaintext or key of other parameters.
    pub fn encrypt_public(
        &self,
        plain: &Plaintext,
        key: &PublicKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Ciphertext, CkksError> {
        self.check_id("encrypt", "plaintext", plain.id)?;
        self.check_id("encrypt", "public key", key.id)?;
        let level = plain.level;
        let mut small = [0; 3].map(|_| Zeroizing::new(vec![0i8; self.n]));
        let [v, e0, e1] = &mut small;
        sampling::ternary(rng, v);
        sampling::centred_binomial(self.backend, rng, e0);
        sampling::centred_binomial(self.backend, rng, e1);
        let special = self.max_level() + 1;
        let Some(p0) = self.plans.get(special) else { return Err(CkksError::Tables { prime: 0 }) };
        // Both halves x = v k + e are divided by p_0: (x - [x]_p0) / p_0 with the centred remainder. The remainder and the
        // error are short integers, so their difference costs one transform per limb.
        let m = p0.modulus();
        let [mut mask, mut rest] = [(); 2].map(|()| Zeroizing::new(vec![0; self.n]));
        masking::lift_small(self.backend, m, &mut mask, v, m.radix());
        p0.forward(&mut mask);
        let mut lift = |key: &RnsPoly, e: &[i8]| {
            vector::dot(self.backend, m, &mut rest, &[(&mask, key.limb(special))], None);
            p0.inverse(&mut rest);
            let mut wide = Zeroizing::new(vec![0; self.n]);
            masking::lift_small(self.backend, m, &mut wide, e, m.radix());
            vector::add_assign(self.backend, m, &mut rest, &wide);
            let short = rest.iter().zip(e).map(|(r, e)| i64::from(*e) - m.centred(*r));
            Zeroizing::new(short.collect::<Vec<i64>>())
        };
        let (short0, short1) = (lift(&key.b, e0), lift(&key.a, e1));
        let mut out = self.blank_ct(level, plain.scale, key.owner);
        let halves = out.c0.limbs_mut().into_iter().zip(out.c1.limbs_mut());
        let work: Vec<_> = halves.zip(&self.plans).zip(&self.small.p_inverse).enumerate().collect();
        let init = || Zeroizing::new(vec![0; self.n]);
        par::for_each_init(work, init, |mask, (t, (((c0, c1), plan), inverse))| {
            let m = plan.modulus();
            masking::lift_small(self.backend, m, mask, v, m.radix());
            plan.forward(mask);
            let halves =
                [(c0, &short0, key.b.limb(t), Some(plain.poly.limb(t))), (c1, &short1, key.a.limb(t), None)];
            for (out, short, k, add) in halves {
                masking::lift_signed(self.backend, m, out, short, m.radix());
                plan.forward(out);
                masking::cover_assign(self.backend, m, out, (mask, k), *inverse, add);
            }
        });
        Ok(out)
    }

    /// Decrypt to `slots` real values. For the client only: see the module page.
    ///
    /// # Errors
    /// A ciphertext or key of other parameters, or a ciphertext of another key.
    pub fn decrypt(&self, secret: &SecretKey, ct: &Ciphertext) -> Result<Vec<f64>, CkksError> {
        let (mut re, mut im) = self.decrypt_coefficients(secret, ct)?;
        self.slots_from_coefficients(&mut re, &mut im, ct.scale);
        Ok(re)
    }

    /// Real and imaginary parts of every slot; imaginary parts of real data measure noise. For the client only.
    ///
    /// # Errors
    /// As for [`Context::decrypt`].
    pub fn decrypt_complex(
        &self,
        secret: &SecretKey,
        ct: &Ciphertext,
    ) -> Result<(Vec<f64>, Vec<f64>), CkksError> {
        let (mut re, mut im) = self.decrypt_coefficients(secret, ct)?;
        self.slots_from_coefficients(&mut re, &mut im, ct.scale);
        Ok((re, im))
    }

    fn decrypt_coefficients(
        &self,
        secret: &SecretKey,
        ct: &Ciphertext,
    ) -> Result<(Vec<f64>, Vec<f64>), CkksError> {
        self.check_ct("decrypt", ct)?;
        self.check_id("decrypt", "secret key", secret.id)?;
        check_owners("decrypt", ("ciphertext", ct.owner), ("secret key", secret.owner))?;
        let mut message = RnsPoly::zero(self.n, self.limbs_to_decode(ct.level, ct.scale));
        let work: Vec<_> = message.limbs_mut().into_iter().zip(&self.plans).enumerate().collect();
        par::for_each(work, |(t, (limb, plan))| {
            let m = plan.modulus();
            vector::dot(self.backend, m, limb, &[(ct.c1.limb(t), secret.transformed.limb(t))], None);
            vector::add_assign(self.backend, m, limb, ct.c0.limb(t));
        });
        Ok(self.centred_coefficients(message))
    }

    /// Decrypt a result that others will see: add Gaussian noise of deviation `sqrt(12 tau slots) 2^(s/2)` times the noise
    /// bound, then round.
    ///
    /// What a decryption tells apart is the length of its whole noise vector, `sqrt(slots)` times the deviation in one slot;
    /// the divergence of one published vector from a noiseless one is then `2^-s / (24 tau)`.
    /// Precision cost: about `(s + log2(tau) + log2(slots)) / 2 + 2` bits below what the computation itself achieved (23 bits
    /// for one result at `s` = 30 with `2^13` slots), so the scale must leave that head-room. Noise is added to the polynomial
    /// before decoding.
    ///
    /// # Errors
    /// As for [`Context::decrypt`]; [`CkksError::OutOfRange`] for `security_bits` below 30, [`CkksError::NotFinite`] for a
    /// bad noise bound.
    pub fn decrypt_for_publication(
        &self,
        secret: &SecretKey,
        ct: &Ciphertext,
        policy: PublicationPolicy,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Published, CkksError> {
        const OP: &str = "decrypt_for_publication";
        let (bits, bound) = (policy.security_bits, policy.noise_bound);
        if !(30..=128).contains(&bits) {
            let (index, limit) = (bits as usize, 129);
            return Err(CkksError::OutOfRange {
                operation: OP,
                what: "security_bits (30..=128)",
                index,
                limit,
            });
        }
        if !bound.is_finite() || bound <= 0.0 {
            return Err(CkksError::NotFinite { operation: OP, index: 0, value: bound });
        }
        let vectors = policy.published.max(1) as f64;
        let flooding =
            (12.0 * vectors * self.slots() as f64).sqrt() * 2f64.powf(f64::from(bits) / 2.0) * bound;
        let (mut re, mut im) = self.decrypt_coefficients(secret, ct)?;
        // A coefficient deviation d gives sqrt(n/2) d / scale in the real part of a slot.
        let per_coefficient = flooding * ct.scale / (self.n as f64 / 2.0).sqrt();
        for x in re.iter_mut().chain(&mut im) {
            *x += sampling::standard_normal(rng) * per_coefficient;
        }
        self.slots_from_coefficients(&mut re, &mut im, ct.scale);
        let resolution = 2f64.powf(flooding.log2().floor());
        let values = re.iter().map(|x| (x / resolution).round() * resolution).collect();
        Ok(Published { values, flooding, resolution })
    }
}
