//! Rotations and conjugation, single and hoisted (Halevi, Shoup 2018).
//!
//! A Galois key switches `s` to `s(X^(1/g))`; the automorphism `X -> X^g` is applied last, as a permutation of the two result
//! polynomials. The raised digits therefore do not depend on the rotation, and many rotations share one decomposition.

use super::ciphertext::Ciphertext;
use super::context::Context;
use super::digits::Digits;
use super::error::CkksError;
use super::keys::{EvalKeys, KeyName, SwitchKey};
use super::keyswitch::{Addend, Switch};
use super::params::{Gadget, ParamsLiteral};
use crate::math::poly::limb_stride;
use crate::math::vector;

/// Most rotations of ring degree `n` that are computed beside each other: at each modulus they share the table of roots and the digits, which
/// then need not be written to memory. At small degrees the residues of two stay in the caches, those of more do not.
fn together(n: usize) -> usize {
    if n <= 1 << 14 { 2 } else { 8 }
}

/// Bytes that rotations of one ciphertext at `level` take besides their results: coefficients to divide by `P`, and what they become modulo the
/// group of primes that one thread works on; others hold groups of their own.
pub(crate) fn turning_bytes(params: &ParamsLiteral, level: usize, rotations: usize) -> u64 {
    let n = 1usize << params.log_n;
    let limbs = 2 * rotations.min(together(n)) * (params.gadget(level).specials + vector::GROUP);
    (limbs * limb_stride(n) * size_of::<u64>()) as u64
}

/// A key and the place of its rotation.
type Turn<'a> = (&'a SwitchKey, &'a mut Option<Ciphertext>);

/// The digits of a ciphertext raised to the extended basis: what all its rotations share.
pub struct Decomposition<'a> {
    ct: &'a Ciphertext,
    digits: Digits<'a>,
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
        let mut outs: Vec<Option<Ciphertext>> = steps.iter().map(|_| None).collect();
        // Keys of different level classes need different decompositions.
        let mut classes: Vec<(Gadget, Vec<Turn<'_>>)> = Vec::new();
        self.check_ct("rotate", ct)?;
        for (step, out) in steps.iter().zip(&mut outs) {
            let step = self.normalise_step(*step);
            if step == 0 {
                *out = Some(ct.clone());
                continue;
            }
            let key = keys.find("rotate", KeyName::Rotation(step), ct.level)?;
            self.check_key("rotate", "rotation key", key, ct)?;
            match classes.iter_mut().find(|(gadget, _)| *gadget == key.gadget) {
                Some((_, turns)) => turns.push((key, out)),
                None => classes.push((key.gadget, vec![(key, out)])),
            }
        }
        for (gadget, mut turns) in classes {
            let mut digits = self.digits_of(&ct.c1, ct.level, self.tables_of(gadget));
            if turns.len() > together(self.n) {
                self.raise_all(&mut digits);
            }
            for turns in turns.chunks_mut(together(self.n)) {
                let made = self.turn(ct, &digits, turns.iter().map(|(key, _)| *key).collect());
                turns.iter_mut().zip(made).for_each(|((_, out), ct)| **out = Some(ct));
            }
        }
        Ok(outs.into_iter().flatten().collect())
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
        let mut digits = self.digits_of(&ct.c1, ct.level, self.tables_of(gadget));
        self.raise_all(&mut digits);
        Ok(Decomposition { ct, digits })
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
        self.check_key(OP, "rotation key", key, ct)?;
        if key.gadget != shared.digits.tables.gadget {
            return self.rotate(ct, step, keys);
        }
        Ok(self.turn_one(ct, &shared.digits, key))
    }

    fn galois(
        &self,
        operation: &'static str,
        ct: &Ciphertext,
        key: &SwitchKey,
    ) -> Result<Ciphertext, CkksError> {
        self.check_key(operation, "rotation key", key, ct)?;
        Ok(self.turn_one(ct, &self.digits_of(&ct.c1, ct.level, self.tables_of(key.gadget)), key))
    }

    fn turn_one(&self, ct: &Ciphertext, digits: &Digits<'_>, key: &SwitchKey) -> Ciphertext {
        let mut out = self.blank_ct(ct.level, ct.scale, ct.owner);
        self.switch(
            digits,
            false,
            &[Switch { key, add: [Addend::Poly(&ct.c0), Addend::Nothing] }],
            vec![&mut out],
        );
        out
    }

    /// The rotations that belong to `keys`.
    fn turn(&self, ct: &Ciphertext, digits: &Digits<'_>, keys: Vec<&SwitchKey>) -> Vec<Ciphertext> {
        let mut outs: Vec<_> = keys.iter().map(|_| self.blank_ct(ct.level, ct.scale, ct.owner)).collect();
        let jobs: Vec<_> = keys
            .into_iter()
            .map(|key| Switch { key, add: [Addend::Poly(&ct.c0), Addend::Nothing] })
            .collect();
        self.switch(digits, false, &jobs, outs.iter_mut().collect());
        outs
    }
}
