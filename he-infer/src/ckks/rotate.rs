//! Rotations and conjugation, single and hoisted (Halevi, Shoup 2018).
//!
//! A Galois key switches `s` to `s(X^(1/g))`; the automorphism `X -> X^g` is applied last, as a permutation of the two result
//! polynomials. The raised digits therefore do not depend on the rotation, and many rotations share one decomposition.

use super::ciphertext::Ciphertext;
use super::context::{Context, GadgetTables};
use super::error::CkksError;
use super::keys::{EvalKeys, KeyName, SwitchKey};
use super::keyswitch::{Digits, grouped};
use super::par;
use super::params::Gadget;
use crate::math::poly::RnsPoly;
use crate::math::vector;

/// The digits of a ciphertext raised to the extended basis: what all its rotations share.
pub struct Decomposition<'a> {
    ct: &'a Ciphertext,
    tables: &'a GadgetTables,
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
        self.galois("rotate", ct, keys.find("rotate", KeyName::Rotation(step), ct.level)?)
    }

    /// Complex conjugation of every slot.
    ///
    /// # Errors
    /// As for [`Context::rotate`].
    pub fn conjugate(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        self.check_ct("conjugate", ct)?;
        self.galois("conjugate", ct, keys.find("conjugate", KeyName::Conjugation, ct.level)?)
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
        // Keys of different level classes need different decompositions.
        let mut shared: Vec<(Gadget, usize, Option<Decomposition<'_>>)> = Vec::new();
        let mut place = Vec::with_capacity(steps.len());
        for step in steps {
            let step = self.normalise_step(*step);
            if step == 0 {
                place.push(None);
                continue;
            }
            let gadget = keys.find("rotate", KeyName::Rotation(step), ct.level)?.gadget;
            let known = shared.iter().position(|(g, ..)| *g == gadget);
            let at = known.unwrap_or_else(|| {
                shared.push((gadget, 0, None));
                shared.len() - 1
            });
            shared.iter_mut().skip(at).take(1).for_each(|(_, uses, _)| *uses += 1);
            place.push(Some(at));
        }
        for (gadget, uses, decomposition) in &mut shared {
            if *uses > 1 {
                *decomposition = Some(self.decompose_for(ct, *gadget)?);
            }
        }
        let jobs: Vec<_> = steps.iter().zip(place).collect();
        par::map(jobs, |(step, at)| match at.and_then(|at| shared.get(at)) {
            Some((_, _, Some(decomposition))) => self.rotate_decomposed(decomposition, *step, keys),
            _ => self.rotate(ct, *step, keys),
        })
        .into_iter()
        .collect()
    }

    /// Raise the digits of a ciphertext once, for any number of [`Context::rotate_decomposed`] with keys of its level.
    ///
    /// # Errors
    /// A foreign ciphertext.
    pub fn decompose<'a>(&'a self, ct: &'a Ciphertext) -> Result<Decomposition<'a>, CkksError> {
        self.decompose_for(ct, self.gadget_tables(ct.level).gadget)
    }

    fn decompose_for<'a>(
        &'a self,
        ct: &'a Ciphertext,
        gadget: Gadget,
    ) -> Result<Decomposition<'a>, CkksError> {
        self.check_ct("decompose", ct)?;
        let tables = self.tables_of(gadget);
        let c1: Vec<&[u64]> = ct.c1.iter().collect();
        let digits = self.digits_of(&c1, ct.level, tables);
        let raised = self.raise_all(&digits);
        Ok(Decomposition { ct, tables, raised })
    }

    /// Every digit at every modulus of the extended basis it does not own: limb `position * digits + j`.
    pub(super) fn raise_all(&self, digits: &Digits<'_>) -> RnsPoly {
        let basis = self.extended_basis(digits.level, digits.tables.gadget.specials);
        let count = digits.count();
        let mut raised = self.scratch_poly(basis.len() * count);
        let mut limbs = raised.limbs_mut().into_iter();
        let mut take = |n: usize| -> Vec<_> { limbs.by_ref().take(n).collect() };
        let work: Vec<_> = grouped(&basis).map(|(_, g)| (g, take(g.len() * count))).collect();
        par::for_each(work, |(group, outs)| self.raise_group(digits, group, outs));
        raised
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
        let key = keys.find(OP, KeyName::Rotation(step), ct.level)?;
        self.check_id(OP, "rotation key", key.id)?;
        if key.gadget != shared.tables.gadget {
            return self.rotate(ct, step, keys);
        }
        let alpha = key.gadget.alpha;
        let basis = self.extended_basis(ct.level, key.gadget.specials);
        let count = (ct.level + 1).div_ceil(alpha);
        let (mut u0, mut u1) = (self.scratch_poly(basis.len()), self.scratch_poly(basis.len()));
        let work: Vec<_> = u0.limbs_mut().into_iter().zip(u1.limbs_mut()).zip(basis).enumerate().collect();
        par::for_each(work, |(i, ((u0, u1), t))| {
            let Some(plan) = self.plans.get(t) else { return };
            let position = self.key_position(key, t);
            let terms: Vec<_> = (0..count)
                .map(|j| {
                    let own = t <= ct.level && t / alpha == j;
                    let x = if own { ct.c1.limb(t) } else { shared.raised.limb(i * count + j) };
                    let (b, a) = key.pair(position, j);
                    (x, b, a)
                })
                .collect();
            vector::dot_pair(self.backend, plan.modulus(), u0, u1, &terms);
        });
        Ok(self.finish_galois(ct, key, &u0, &u1))
    }

    fn galois(
        &self,
        operation: &'static str,
        ct: &Ciphertext,
        key: &SwitchKey,
    ) -> Result<Ciphertext, CkksError> {
        self.check_id(operation, "rotation key", key.id)?;
        let c1: Vec<&[u64]> = ct.c1.iter().collect();
        let digits = self.digits_of(&c1, ct.level, self.tables_of(key.gadget));
        let (u0, u1) = self.inner_product(&digits, &c1, key);
        Ok(self.finish_galois(ct, key, &u0, &u1))
    }

    /// Divide by `P`, add `c0`, permute.
    fn finish_galois(&self, ct: &Ciphertext, key: &SwitchKey, u0: &RnsPoly, u1: &RnsPoly) -> Ciphertext {
        let level = ct.level;
        let add = [Some(ct.c0.iter().collect()), None];
        let tables = self.tables_of(key.gadget);
        let mut out = self.blank_ct(level, ct.scale);
        let outs = [out.c0.limbs_mut(), out.c1.limbs_mut()];
        self.divide_by_special([u0, u1], level, tables, false, add, outs, key.permutation.as_ref());
        out
    }
}
