//! The step of polynomial evaluation: products and constant multiples of ciphertexts in one sum.

use super::ciphertext::Ciphertext;
use super::context::{Context, check_scale, check_scales};
use super::error::CkksError;
use super::key_id::check_owners;
use super::keys::{EvalKeys, KeyName};
use super::keyswitch::Switch;
use super::par;
use crate::math::modulus::Modulus;
use crate::math::poly::RnsPoly;
use crate::math::vector;

/// `times · Σ aᵢ ⊙ bᵢ + Σ cⱼ·vⱼ + constant`, to be relinearised once and rescaled once.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination<'a, V> {
    /// Integer factor of all products.
    pub times: u32,
    /// Products.
    pub products: Vec<(&'a V, &'a V)>,
    /// Multiples, each constant rounded at the scale that brings its vector to the scale of the products.
    pub terms: Vec<(&'a V, f64)>,
    /// Added to every slot.
    pub constant: f64,
}

/// Parts of one sum that are the same for every limb.
struct Part<'a> {
    /// Left and right halves to multiply.
    products: Vec<(&'a RnsPoly, &'a RnsPoly)>,
    times: u32,
    /// Polynomials and their integer multipliers.
    terms: Vec<(&'a RnsPoly, f64)>,
    constant: f64,
}

impl Context {
    /// Evaluate `sum` at `level` and bring it to exactly `scale`, one level lower. Operands may lie above `level`; their
    /// upper limbs are not read.
    ///
    /// # Errors
    /// An empty sum, operands of other parameters or below `level`, level 0, products whose scale is not
    /// `scale · q_level`, constants that do not fit, or a missing relinearisation key.
    pub fn combine(
        &self,
        sum: &Combination<'_, Ciphertext>,
        level: usize,
        scale: f64,
        keys: &EvalKeys,
    ) -> Result<Ciphertext, CkksError> {
        const OP: &str = "combine";
        check_scale(OP, scale)?;
        let Some(q) = self.modulus_at(level).filter(|_| level > 0) else {
            return Err(CkksError::NoLevelLeft { operation: OP });
        };
        let first = sum.products.first().map(|(a, _)| *a).or(sum.terms.first().map(|(v, _)| *v));
        let Some(first) = first else { return Err(CkksError::Empty { operation: OP }) };
        // Everything is added at the scale of the products, before the one rescaling.
        let high = scale * q as f64;
        for (a, b) in &sum.products {
            self.check_operand(OP, first, a, level)?;
            self.check_operand(OP, first, b, level)?;
            check_scales(OP, high, a.scale * b.scale)?;
        }
        let mut terms = Vec::with_capacity(sum.terms.len());
        for (v, c) in &sum.terms {
            self.check_operand(OP, first, v, level)?;
            terms.push((*v, self.integer(OP, *c, high / v.scale, level)?));
        }
        let constant = self.integer(OP, sum.constant, high, level)?;
        let lower = Part {
            products: sum.products.iter().map(|(a, b)| (&a.c0, &b.c0)).collect(),
            times: sum.times,
            terms: terms.iter().map(|(v, c)| (&v.c0, *c)).collect(),
            constant,
        };
        let crossed = sum.products.iter().flat_map(|(a, b)| [(&a.c0, &b.c1), (&a.c1, &b.c0)]);
        let upper = Part {
            products: crossed.collect(),
            times: sum.times,
            terms: terms.iter().map(|(v, c)| (&v.c1, *c)).collect(),
            constant: 0.0,
        };
        if sum.products.is_empty() {
            let mut out = self.blank_ct(level, high, first.owner);
            self.add_up(&lower, None, &mut out.c0);
            self.add_up(&upper, None, &mut out.c1);
            let mut out = self.rescale(&out)?;
            out.scale = scale;
            return Ok(out);
        }
        let key = keys.find(OP, KeyName::Relin, level)?;
        self.check_key(OP, "relinearisation key", key, first)?;
        let tables = self.tables_of(key.gadget);
        let square = Part {
            products: sum.products.iter().map(|(a, b)| (&a.c1, &b.c1)).collect(),
            times: sum.times,
            terms: Vec::new(),
            constant: 0.0,
        };
        let mut d2 = self.scratch_poly(level + 1);
        self.add_up(&square, None, &mut d2);
        let factors = self.rescale_factors(level, tables);
        let mut d = [0; 2].map(|_| self.scratch_poly(level + 1));
        for (part, d) in [&lower, &upper].into_iter().zip(&mut d) {
            self.add_up(part, Some(&factors), d);
        }
        let [d0, d1] = &d;
        let mut out = self.blank_ct(level - 1, scale, first.owner);
        let digits = self.digits_of(&d2, level, tables);
        self.switch(&digits, true, &[Switch { key, add: [Some(d0), Some(d1)] }], vec![&mut out]);
        Ok(out)
    }

    fn check_operand(
        &self,
        operation: &'static str,
        first: &Ciphertext,
        a: &Ciphertext,
        level: usize,
    ) -> Result<(), CkksError> {
        self.check_ct(operation, a)?;
        check_owners(operation, ("first ciphertext", first.owner), ("other ciphertext", a.owner))?;
        if a.level < level {
            return Err(CkksError::LevelTooHigh { operation, level, available: a.level });
        }
        Ok(())
    }

    /// `c * scale`, to be rounded; fits the modulus at `level`.
    fn integer(&self, operation: &'static str, c: f64, scale: f64, level: usize) -> Result<f64, CkksError> {
        if !c.is_finite() {
            return Err(CkksError::NotFinite { operation, index: 0, value: c });
        }
        let (needed, available) = ((c * scale).abs().max(1.0).log2() + 1.0, self.log_q(level));
        if needed >= available {
            return Err(CkksError::Overflow { operation, needed, available, level });
        }
        Ok(c * scale)
    }

    /// One part of the sum in every limb of `out`, times that limb's of `factors` if given.
    fn add_up(&self, part: &Part<'_>, factors: Option<&[u64]>, out: &mut RnsPoly) {
        let work: Vec<_> = out.limbs_mut().into_iter().zip(&self.plans).enumerate().collect();
        par::for_each(work, |(i, (out, plan))| {
            let m = plan.modulus();
            let all = factors.and_then(|f| f.get(i)).copied().unwrap_or(1);
            let factor = |x: u64| m.to_mont(m.mul(x, all));
            self.limb_of(part, i, m, &factor, out);
            if part.constant != 0.0 {
                let c = m.from_mont(factor(m.from_f64_rounded(part.constant)));
                vector::add_const_assign(self.backend, m, out, c);
            }
        });
    }

    /// `factor(times) Σ products + Σ factor(constant) term` in limb `i`.
    fn limb_of(&self, part: &Part<'_>, i: usize, m: &Modulus, factor: &dyn Fn(u64) -> u64, out: &mut [u64]) {
        let mut ys: Vec<&[u64]> = part.terms.iter().map(|(v, _)| v.limb(i)).collect();
        let mut cs: Vec<u64> = part.terms.iter().map(|(_, c)| factor(m.from_f64_rounded(*c))).collect();
        let mut scratch = self.scratch_poly(2);
        let mut scratch = scratch.iter_mut();
        let (Some(sum), Some(extra)) = (scratch.next(), scratch.next()) else { return };
        let (v, d) = if part.products.is_empty() {
            match (ys.pop(), cs.pop()) {
                (Some(y), Some(c)) => (y, c),
                _ => return,
            }
        } else {
            for (round, chunk) in part.products.chunks(vector::MAX_LAZY_TERMS).enumerate() {
                let pairs: Vec<_> = chunk.iter().map(|(a, b)| (a.limb(i), b.limb(i))).collect();
                if round == 0 {
                    vector::dot(self.backend, m, sum, &pairs, Some(1));
                } else {
                    vector::dot(self.backend, m, extra, &pairs, Some(1));
                    vector::add_assign(self.backend, m, sum, extra);
                }
            }
            (&*sum, factor(u64::from(part.times)))
        };
        vector::linear_combination(self.backend, m, out, &ys, &cs, v, d);
    }
}
