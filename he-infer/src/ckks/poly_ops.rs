//! The step of polynomial evaluation: products and constant multiples of ciphertexts in one sum.

use super::ciphertext::Ciphertext;
use super::context::{Context, check_scale, check_scales};
use super::error::CkksError;
use super::key_id::check_owners;
use super::keys::{EvalKeys, KeyName};
use super::keyswitch::{Addend, Switch};
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

/// One polynomial of such a sum, made limb by limb where it is used: a product that goes to memory and comes back costs more time
/// than computing it.
#[derive(Default)]
pub(super) struct Part<'a> {
    /// Left and right halves to multiply.
    pub products: Vec<(&'a RnsPoly, &'a RnsPoly)>,
    /// Integer factor of the products.
    pub times: u32,
    /// Polynomials and their integer multipliers.
    pub terms: Vec<(&'a RnsPoly, f64)>,
    pub constant: f64,
}

impl<'a> Part<'a> {
    /// The three polynomials `(Σ a₀b₀, Σ a₀b₁ + a₁b₀, Σ a₁b₁)` of a sum of products, times `times`.
    pub fn tensor(pairs: &[(&'a Ciphertext, &'a Ciphertext)], times: u32) -> [Self; 3] {
        let crossed = pairs.iter().flat_map(|(a, b)| [(&a.c0, &b.c1), (&a.c1, &b.c0)]);
        let products = [
            pairs.iter().map(|(a, b)| (&a.c0, &b.c0)).collect(),
            crossed.collect(),
            pairs.iter().map(|(a, b)| (&a.c1, &b.c1)).collect(),
        ];
        products.map(|products| Self { products, times, ..Self::default() })
    }
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
        let [mut lower, mut upper, square] = Part::tensor(&sum.products, sum.times);
        lower.terms = terms.iter().map(|(v, c)| (&v.c0, *c)).collect();
        lower.constant = constant;
        upper.terms = terms.iter().map(|(v, c)| (&v.c1, *c)).collect();
        if sum.products.is_empty() {
            let mut out = self.blank_ct(level, high, first.owner);
            for (out, part) in [(&mut out.c0, &lower), (&mut out.c1, &upper)] {
                let work: Vec<_> = out.limbs_mut().into_iter().enumerate().collect();
                par::for_each(work, |(i, out)| self.part_limb(part, i, 1, out));
            }
            let mut out = self.rescale(&out)?;
            out.scale = scale;
            return Ok(out);
        }
        let key = keys.find(OP, KeyName::Relin, level)?;
        self.check_key(OP, "relinearisation key", key, first)?;
        let tables = self.tables_of(key.gadget);
        let mut d2 = self.scratch_poly(level + 1);
        let digits = self.digits_of_part(&square, &mut d2, level, tables);
        let factors = self.rescale_factors(level, tables);
        let mut out = self.blank_ct(level - 1, scale, first.owner);
        let add = [&lower, &upper].map(|part| Addend::Part(part, Some(&factors)));
        self.switch(&digits, true, &[Switch { key, add }], vec![&mut out]);
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

    /// Limb `i` of `part`, times the reduced `factor`.
    pub(super) fn part_limb(&self, part: &Part<'_>, i: usize, factor: u64, out: &mut [u64]) {
        let Some(m) = self.plans.get(i).map(|plan| *plan.modulus()) else { return };
        let times = m.mul(u64::from(part.times), factor);
        if part.terms.is_empty() {
            self.product_limb(part, i, &m, times, out);
        } else {
            self.combined_limb(part, i, &m, (times, factor), out);
        }
        if part.constant != 0.0 {
            let c = m.mul(m.from_f64_rounded(part.constant), factor);
            vector::add_const_assign(self.backend, &m, out, c);
        }
    }

    /// `times Σ products` in limb `i`.
    fn product_limb(&self, part: &Part<'_>, i: usize, m: &Modulus, times: u64, out: &mut [u64]) {
        for (round, chunk) in part.products.chunks(vector::MAX_LAZY_TERMS).enumerate() {
            let pairs: Vec<_> = chunk.iter().map(|(a, b)| (a.limb(i), b.limb(i))).collect();
            if round == 0 {
                vector::dot(self.backend, m, out, &pairs, Some(times));
                continue;
            }
            for extra in self.scratch_poly(1).iter_mut() {
                vector::dot(self.backend, m, extra, &pairs, Some(times));
                vector::add_assign(self.backend, m, out, extra);
            }
        }
    }

    /// `times Σ products + factor Σ constant term` in limb `i`, with at least one term.
    fn combined_limb(
        &self,
        part: &Part<'_>,
        i: usize,
        m: &Modulus,
        (times, factor): (u64, u64),
        out: &mut [u64],
    ) {
        let ys: Vec<&[u64]> = part.terms.iter().map(|(v, _)| v.limb(i)).collect();
        let constant = |c: &f64| m.to_mont(m.mul(m.from_f64_rounded(*c), factor));
        let cs: Vec<u64> = part.terms.iter().map(|(_, c)| constant(c)).collect();
        let mut sum = self.scratch_poly(1);
        if !part.products.is_empty() {
            self.product_limb(part, i, m, times, sum.limb_mut(0));
        }
        let products = (!part.products.is_empty()).then(|| sum.limb(0));
        vector::linear_combination(self.backend, m, out, &ys, &cs, products, m.to_mont(1));
    }
}
