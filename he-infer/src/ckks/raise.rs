//! From level 0 to the top, through a sparse ephemeral secret (Bossuat, Troncoso-Pastoriza, Hubaux 2022).
//!
//! Read modulo the large modulus, `c0 + c1 s` is the message plus a multiple `q_0 I` that grows with the weight of the secret.
//! So the ciphertext is switched to a secret of weight 32 modulo `q_0` first, and back to the main one modulo `Q`; the key of
//! the way there has modulus `q_0 p_0` only, for which the sparse secret is secure.

use super::ciphertext::Ciphertext;
use super::context::Context;
use super::divide::Division;
use super::error::CkksError;
use super::keys::{EvalKeys, KeyName, SwitchKey};
use super::par;
use crate::math::poly::RnsPoly;
use crate::math::vector;

impl Context {
    /// The ciphertext at level 0 as one at the top level whose message is `m / q_0 + I` with small integer polynomial `I`:
    /// the recorded scale becomes `q_0`.
    ///
    /// # Errors
    /// A foreign ciphertext or missing keys.
    pub(crate) fn raise_modulus(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        const OP: &str = "raise_modulus";
        self.check_ct(OP, ct)?;
        let top = self.max_level();
        let to = keys.find(OP, KeyName::ToSparse, 0)?;
        let from = keys.find(OP, KeyName::FromSparse, top)?;
        for key in [to, from] {
            self.check_key(OP, "encapsulation key", key, ct)?;
        }
        let c1 = self.centred_at_first(ct.c1.limb(0));
        let [mut d0, d1] = self.switch_small(&c1, to, 0, None);
        if let Some(plan) = self.plans.first() {
            for limb in d0.iter_mut() {
                vector::add_assign(self.backend, plan.modulus(), limb, ct.c0.limb(0));
            }
        }
        let (c0, c1) = (self.centred_at_first(d0.limb(0)), self.centred_at_first(d1.limb(0)));
        let mut lifted = self.scratch_poly(top + 1);
        let work: Vec<_> = lifted.limbs_mut().into_iter().zip(&self.plans).collect();
        par::for_each(work, |(limb, plan)| {
            vector::from_signed(self.backend, plan.modulus(), limb, &c0, plan.modulus().radix());
            plan.forward(limb);
        });
        let [c0, c1] = self.switch_small(&c1, from, top, Some(&lifted));
        let scale = self.modulus_at(0).unwrap_or(1) as f64;
        Ok(Ciphertext { c0, c1, level: top, scale, id: self.id(), owner: ct.owner })
    }

    /// Centred coefficients of a transformed polynomial modulo `q_0`.
    fn centred_at_first(&self, limb: &[u64]) -> Vec<i64> {
        let Some(plan) = self.plans.first() else { return Vec::new() };
        let mut x = limb.to_vec();
        plan.inverse(&mut x);
        x.into_iter().map(|x| plan.modulus().centred(x)).collect()
    }

    /// Switch an integer polynomial below `q_0` with a key of one digit, over `q_0..q_level`; `add` goes to the first half.
    fn switch_small(&self, x: &[i64], key: &SwitchKey, level: usize, add: Option<&RnsPoly>) -> [RnsPoly; 2] {
        let basis = self.extended_basis(level, 1);
        let (mut u0, mut u1) = (self.scratch_poly(basis.len()), self.scratch_poly(basis.len()));
        let work: Vec<_> = u0.limbs_mut().into_iter().zip(u1.limbs_mut()).zip(&basis).collect();
        par::for_each(work, |((u0, u1), t)| {
            let Some(plan) = self.plans.get(*t) else { return };
            let mut lifted = self.scratch_poly(1);
            for lifted in lifted.iter_mut() {
                vector::from_signed(self.backend, plan.modulus(), lifted, x, plan.modulus().radix());
                plan.forward_lazily(lifted);
                self.key_product(*t, &[lifted], key, u0, u1);
            }
        });
        let mut out = [self.scratch_poly(level + 1), self.scratch_poly(level + 1)];
        let special = self.max_level() + 1;
        let adds = [add.map(|a| a.iter().collect()), None];
        let jobs = [&u0, &u1].into_iter().zip(adds).zip(&mut out).map(|((u, add), out)| {
            let mut kept: Vec<&[u64]> = u.iter().collect();
            let sources = kept.split_off(level + 1).into_iter().map(|x| (special, x)).collect();
            Division { kept, sources, add, out: out.limbs_mut() }
        });
        self.divide(&self.small.by_p, jobs.collect());
        out
    }

    /// Every slot times the imaginary unit: a product with `X^(n/2)`, exact and free of levels.
    ///
    /// # Errors
    /// A foreign ciphertext.
    pub fn mul_i(&self, ct: &Ciphertext) -> Result<Ciphertext, CkksError> {
        self.check_ct("mul_i", ct)?;
        let mut out = self.blank_ct(ct.level, ct.scale, ct.owner);
        for (out, x) in [(&mut out.c0, &ct.c0), (&mut out.c1, &ct.c1)] {
            let work: Vec<_> = out.limbs_mut().into_iter().zip(x.iter()).zip(&self.plans).collect();
            par::for_each_limb(self.n, work, |((out, x), plan)| {
                // Residue i belongs to the root psi^(2 brv(i) + 1); brv(i) is even in the first half.
                let m = plan.modulus();
                let unit = m.pow(plan.root(), self.n as u64 / 2);
                let (even, odd) = out.split_at_mut(self.n / 2);
                let (x_even, x_odd) = x.split_at(self.n / 2);
                vector::mul_const(self.backend, m, even, x_even, m.to_mont(unit));
                vector::mul_const(self.backend, m, odd, x_odd, m.to_mont(m.neg(unit)));
            });
        }
        Ok(out)
    }
}
