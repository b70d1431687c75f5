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
use super::keys::{PublicKey, SecretKey};
use super::keyswitch::Division;
use super::par;
use crate::math::poly::RnsPoly;
use crate::math::{sampling, vector};

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
        sampling::centred_binomial(rng, &mut error);
        let seed = sampling::random_seed(rng);
        let mut c0 = RnsPoly::zero(self.n, plain.level + 1);
        let work: Vec<_> = c0.limbs_mut().into_iter().zip(&self.plans).enumerate().collect();
        par::for_each(work, |(t, (c0, plan))| {
            let m = plan.modulus();
            let mut a = vec![0; self.n];
            sampling::uniform(self.backend, m, &seed, t as u64, &mut a);
            let mut product = Zeroizing::new(vec![0; self.n]);
            vector::dot(self.backend, m, &mut product, &[(&a, secret.transformed.limb(t))], false);
            vector::from_small(self.backend, m, c0, &error);
            plan.forward(c0);
            vector::add_assign(self.backend, m, c0, plain.poly.limb(t));
            vector::sub_assign(self.backend, m, c0, &product);
        });
        Ok(SeededCiphertext { c0, seed, level: plain.level, scale: plain.scale, id: self.id() })
    }

    /// Expand the seed of a secret-key encryption; anyone can do it.
    ///
    /// # Errors
    /// A ciphertext of other parameters.
    pub fn expand_ciphertext(&self, seeded: &SeededCiphertext) -> Result<Ciphertext, CkksError> {
        self.check_id("expand_ciphertext", "ciphertext", seeded.id)?;
        let mut c1 = RnsPoly::zero(self.n, seeded.level + 1);
        let work: Vec<_> = c1.limbs_mut().into_iter().zip(&self.plans).enumerate().collect();
        par::for_each(work, |(t, (limb, plan))| {
            sampling::uniform(self.backend, plan.modulus(), &seeded.seed, t as u64, limb);
        });
        let c0 = seeded.c0.clone();
        Ok(Ciphertext { c0, c1, level: seeded.level, scale: seeded.scale, id: seeded.id })
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
        sampling::centred_binomial(rng, e0);
        sampling::centred_binomial(rng, e1);
        let special = self.max_level() + 1;
        let basis: Vec<usize> = (0..=level).chain([special]).collect();
        let mut masked = [&*e0, &*e1].map(|e| (Secret(RnsPoly::zero(self.n, basis.len())), e));
        for (half, (poly, e)) in masked.iter_mut().enumerate() {
            for (limb, t) in poly.0.iter_mut().zip(&basis) {
                let Some(plan) = self.plans.get(*t) else { continue };
                let m = plan.modulus();
                let mut mask = Zeroizing::new(vec![0; self.n]);
                vector::from_small(self.backend, m, &mut mask, v);
                plan.forward(&mut mask);
                let k = if half == 0 { key.b.limb(*t) } else { key.a.limb(*t) };
                let mut noise = Zeroizing::new(vec![0; self.n]);
                vector::from_small(self.backend, m, &mut noise, e);
                plan.forward(&mut noise);
                vector::dot(self.backend, m, limb, &[(&mask, k)], false);
                vector::add_assign(self.backend, m, limb, &noise);
            }
        }
        let mut out = self.blank_ct(level, plain.scale);
        let [(p0, _), (p1, _)] = &masked;
        let plain_limbs: Vec<&[u64]> = plain.poly.iter().collect();
        let outs = [out.c0.limbs_mut(), out.c1.limbs_mut()];
        let jobs = [(p0, Some(plain_limbs)), (p1, None)].into_iter().zip(outs).map(|((poly, add), out)| {
            let mut kept: Vec<&[u64]> = poly.0.iter().collect();
            let sources = kept.split_off(level + 1).into_iter().map(|x| (special, x)).collect();
            Division { kept, sources, add, out }
        });
        self.divide(&self.small.by_p, jobs.collect());
        Ok(out)
    }

    /// Decrypt to `slots` real values. For the client only: see the module page.
    ///
    /// # Errors
    /// A ciphertext or key of other parameters.
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
        let mut message = RnsPoly::zero(self.n, self.limbs_to_decode(ct.level, ct.scale));
        let work: Vec<_> = message.limbs_mut().into_iter().zip(&self.plans).enumerate().collect();
        par::for_each(work, |(t, (limb, plan))| {
            let m = plan.modulus();
            vector::dot(self.backend, m, limb, &[(ct.c1.limb(t), secret.transformed.limb(t))], false);
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

/// A polynomial that depends on encryption randomness, overwritten when dropped.
struct Secret(RnsPoly);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
