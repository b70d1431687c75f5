//! Rotations and conjugation, single and hoisted (Halevi, Shoup 2018).
//!
//! A Galois key switches `s` to `s(X^(1/g))`; the automorphism `X -> X^g` is applied last, as a permutation of the two result
//! polynomials. The raised digits therefore do not depend on the rotation, and many rotations share one decomposition.

use super::ciphertext::Ciphertext;
use super::context::Context;
use super::error::CkksError;
use super::keys::{EvalKeys, GaloisKey};
use super::par;
use crate::math::poly::RnsPoly;
use crate::math::vector;

/// The digits of a ciphertext raised to the extended basis: what all its rotations share.
pub struct Decomposition<'a> {
    ct: &'a Ciphertext,
    /// Limb `t * digits + j`: digit `j` at basis position `t` (unused where the digit owns the limb).
    raised: RnsPoly,
}

impl Context {
    /// Rotate left by `step` slots (`out[i] = in[(i + step) mod slots]`); negative steps rotate right.
    ///
    /// # Errors
    /// A foreign ciphertext or key, a missing key, or a key below the level.
    pub fn rotate(&self, ct: &Ciphertext, step: i32, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        self.check_ct("rotate", ct)?;
        let step = self.normalise_step(step);
        if step == 0 {
            return Ok(ct.clone());
        }
        self.galois("rotate", ct, keys.rotation("rotate", step)?)
    }

    /// Complex conjugation of every slot.
    ///
    /// # Errors
    /// As for [`Context::rotate`].
    pub fn conjugate(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        self.check_ct("conjugate", ct)?;
        let missing = || CkksError::MissingKey { operation: "conjugate", key: "conjugation".to_owned() };
        self.galois("conjugate", ct, keys.conjugation.as_ref().ok_or_else(missing)?)
    }

    /// Rotate by every step with one decomposition; results in the order of `steps`.
    ///
    /// # Errors
    /// As for [`Context::rotate`].
    pub fn rotate_many(
        &self,
        ct: &Ciphertext,
        steps: &[i32],
        keys: &EvalKeys,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        let real = steps.iter().filter(|s| self.normalise_step(**s) != 0).count();
        if real < 2 {
            return steps.iter().map(|s| self.rotate(ct, *s, keys)).collect();
        }
        let shared = self.decompose(ct)?;
        par::map(steps.to_vec(), |step| self.rotate_decomposed(&shared, step, keys)).into_iter().collect()
    }

    /// Raise the digits of a ciphertext once, for any number of [`Context::rotate_decomposed`].
    ///
    /// # Errors
    /// A foreign ciphertext.
    pub fn decompose<'a>(&'a self, ct: &'a Ciphertext) -> Result<Decomposition<'a>, CkksError> {
        self.check_ct("decompose", ct)?;
        let c1: Vec<&[u64]> = ct.c1.iter().collect();
        let digits = self.digits_of(&c1, ct.level);
        let basis = self.extended_basis(ct.level);
        let count = self.digits(ct.level);
        let mut raised = self.scratch_poly(basis.len() * count);
        let mut limbs = raised.limbs_mut().into_iter();
        let work: Vec<_> =
            basis.into_iter().map(|t| (t, limbs.by_ref().take(count).collect::<Vec<_>>())).collect();
        par::for_each(work, |(t, outs)| {
            for (j, out) in outs.into_iter().enumerate() {
                if t > ct.level || t / self.literal.alpha != j {
                    self.raise_digit(&digits, j, t, out);
                }
            }
        });
        Ok(Decomposition { ct, raised })
    }

    /// One rotation of a decomposed ciphertext; identical to [`Context::rotate`].
    ///
    /// # Errors
    /// As for [`Context::rotate`].
    pub fn rotate_decomposed(
        &self,
        shared: &Decomposition<'_>,
        step: i32,
        keys: &EvalKeys,
    ) -> Result<Ciphertext, CkksError> {
        const OP: &str = "rotate";
        let (ct, step) = (shared.ct, self.normalise_step(step));
        self.check_ct(OP, ct)?;
        if step == 0 {
            return Ok(ct.clone());
        }
        let key = keys.rotation(OP, step)?;
        self.check_key(OP, key, ct.level)?;
        let basis = self.extended_basis(ct.level);
        let count = self.digits(ct.level);
        let (mut u0, mut u1) = (self.scratch_poly(basis.len()), self.scratch_poly(basis.len()));
        let work: Vec<_> = u0.limbs_mut().into_iter().zip(u1.limbs_mut()).zip(basis).enumerate().collect();
        par::for_each(work, |(i, ((u0, u1), t))| {
            let Some(plan) = self.plans.get(t) else { return };
            let position = self.key_position(&key.switch, t);
            let terms: Vec<_> = (0..count)
                .map(|j| {
                    let own = t <= ct.level && t / self.literal.alpha == j;
                    let x = if own { ct.c1.limb(t) } else { shared.raised.limb(i * count + j) };
                    let (b, a) = key.switch.pair(position, j);
                    (x, b, a)
                })
                .collect();
            vector::dot_pair(self.backend, plan.modulus(), u0, u1, &terms);
        });
        Ok(self.finish_galois(ct, key, &u0, &u1))
    }

    fn check_key(&self, operation: &'static str, key: &GaloisKey, level: usize) -> Result<(), CkksError> {
        self.check_id(operation, "rotation key", key.switch.id)?;
        if key.level() < level {
            return Err(CkksError::LevelTooHigh { operation, level, available: key.level() });
        }
        Ok(())
    }

    fn galois(
        &self,
        operation: &'static str,
        ct: &Ciphertext,
        key: &GaloisKey,
    ) -> Result<Ciphertext, CkksError> {
        self.check_key(operation, key, ct.level)?;
        let c1: Vec<&[u64]> = ct.c1.iter().collect();
        let digits = self.digits_of(&c1, ct.level);
        let (u0, u1) = self.inner_product(&digits, &c1, &key.switch);
        Ok(self.finish_galois(ct, key, &u0, &u1))
    }

    /// Divide by `P`, add `c0`, permute.
    fn finish_galois(&self, ct: &Ciphertext, key: &GaloisKey, u0: &RnsPoly, u1: &RnsPoly) -> Ciphertext {
        let level = ct.level;
        let (mut k0, mut k1) = (self.scratch_poly(level + 1), self.scratch_poly(level + 1));
        let add = [Some(ct.c0.iter().collect()), None];
        self.divide_by_special([u0, u1], level, false, add, [k0.limbs_mut(), k1.limbs_mut()]);
        let mut out = self.blank_ct(level, ct.scale);
        let limbs = out.c0.limbs_mut().into_iter().zip(k0.iter());
        let work: Vec<_> = limbs.chain(out.c1.limbs_mut().into_iter().zip(k1.iter())).collect();
        par::for_each(work, |(out, x)| key.permutation.apply(self.backend, out, x));
        out
    }
}
