//! Addition, multiplication, relinearisation and rescaling.
//!
//! Rules: operands must have equal levels, and for additions equal scales up to `2^-30` relative. A product has the product of
//! the scales and keeps its level; [`Context::rescale`] divides by the top prime and drops one level.

use super::ciphertext::Ciphertext;
use super::context::{Context, Divider, check_scale, check_scales};
use super::divide::Division;
use super::encoder::Plaintext;
use super::error::CkksError;
use super::factor::PlaintextMul;
use super::key_id::{KeyId, check_owners};
use super::keys::{EvalKeys, KeyName};
use super::keyswitch::{Addend, Switch};
use super::par;
use super::poly_ops::Part;
use crate::math::modulus::Modulus;
use crate::math::poly::RnsPoly;
use crate::math::vector;

type Pairs<'a> = [(&'a Ciphertext, &'a Ciphertext)];

/// Words of plaintexts that a thread makes before it reads them again: they and the ciphertexts' limbs share the caches.
const CACHED_WORDS: usize = 1 << 18;

impl Context {
    pub(super) fn check_ct(&self, operation: &'static str, ct: &Ciphertext) -> Result<(), CkksError> {
        self.check_id(operation, "ciphertext", ct.id)
    }

    fn check_same(&self, operation: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<(), CkksError> {
        self.check_ct(operation, a)?;
        self.check_ct(operation, b)?;
        check_owners(operation, ("first ciphertext", a.owner), ("other ciphertext", b.owner))?;
        if a.level == b.level {
            Ok(())
        } else {
            Err(CkksError::LevelMismatch { operation, left: a.level, right: b.level })
        }
    }

    fn check_plain(
        &self,
        operation: &'static str,
        ct: &Ciphertext,
        level: usize,
        id: u64,
    ) -> Result<(), CkksError> {
        self.check_ct(operation, ct)?;
        self.check_id(operation, "plaintext", id)?;
        if ct.level > level {
            return Err(CkksError::LevelTooHigh { operation, level: ct.level, available: level });
        }
        Ok(())
    }

    /// A ciphertext with arbitrary contents, to be overwritten completely.
    pub(super) fn blank_ct(&self, level: usize, scale: f64, owner: KeyId) -> Ciphertext {
        let blank = || self.scratch_poly(level + 1);
        Ciphertext { c0: blank(), c1: blank(), level, scale, id: self.id(), owner }
    }

    /// Apply `f` to matching limbs of `a` and `b`.
    fn zip_limbs(
        &self,
        a: &mut RnsPoly,
        b: &RnsPoly,
        f: impl Fn(&Modulus, &mut [u64], &[u64]) + Sync + Send,
    ) {
        let work: Vec<_> = a.limbs_mut().into_iter().zip(b.iter()).zip(&self.plans).collect();
        par::for_each_limb(self.n, work, |((x, y), plan)| f(plan.modulus(), x, y));
    }

    /// A copy of the lowest limbs of `a`, as a ciphertext at `level`.
    pub(super) fn copy_at(&self, a: &Ciphertext, level: usize) -> Ciphertext {
        let mut out = self.blank_ct(level, a.scale, a.owner);
        let to = out.c0.limbs_mut().into_iter().chain(out.c1.limbs_mut());
        let from = a.c0.iter().take(level + 1).chain(a.c1.iter().take(level + 1));
        par::for_each_limb(self.n, to.zip(from).collect(), |(to, from)| to.copy_from_slice(from));
        out
    }

    /// `a += b`.
    ///
    /// # Errors
    /// Different parameters, keys, levels or scales.
    pub fn add_assign(&self, a: &mut Ciphertext, b: &Ciphertext) -> Result<(), CkksError> {
        self.check_same("add", a, b)?;
        check_scales("add", a.scale, b.scale)?;
        self.zip_limbs(&mut a.c0, &b.c0, |m, x, y| vector::add_assign(self.backend, m, x, y));
        self.zip_limbs(&mut a.c1, &b.c1, |m, x, y| vector::add_assign(self.backend, m, x, y));
        Ok(())
    }

    /// `a + b`.
    ///
    /// # Errors
    /// As for [`Context::add_assign`].
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let mut out = self.copy_at(a, a.level);
        self.add_assign(&mut out, b)?;
        Ok(out)
    }

    /// `a -= b`.
    ///
    /// # Errors
    /// As for [`Context::add_assign`].
    pub fn sub_assign(&self, a: &mut Ciphertext, b: &Ciphertext) -> Result<(), CkksError> {
        self.check_same("sub", a, b)?;
        check_scales("sub", a.scale, b.scale)?;
        self.zip_limbs(&mut a.c0, &b.c0, |m, x, y| vector::sub_assign(self.backend, m, x, y));
        self.zip_limbs(&mut a.c1, &b.c1, |m, x, y| vector::sub_assign(self.backend, m, x, y));
        Ok(())
    }

    /// `a - b`.
    ///
    /// # Errors
    /// As for [`Context::add_assign`].
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let mut out = self.copy_at(a, a.level);
        self.sub_assign(&mut out, b)?;
        Ok(out)
    }

    /// `-a`.
    ///
    /// # Errors
    /// A ciphertext of other parameters.
    pub fn negate(&self, a: &Ciphertext) -> Result<Ciphertext, CkksError> {
        self.check_ct("negate", a)?;
        let mut out = self.copy_at(a, a.level);
        for poly in [&mut out.c0, &mut out.c1] {
            for (x, plan) in poly.iter_mut().zip(&self.plans) {
                vector::neg_assign(self.backend, plan.modulus(), x);
            }
        }
        Ok(out)
    }

    /// `a + plain`; the plaintext may be at a higher level but must have the same scale.
    ///
    /// # Errors
    /// Different parameters or scales, or a plaintext below the level of `a`.
    pub fn add_plain(&self, a: &Ciphertext, plain: &Plaintext) -> Result<Ciphertext, CkksError> {
        self.check_plain("add_plain", a, plain.level, plain.id)?;
        check_scales("add_plain", a.scale, plain.scale)?;
        let mut out = self.copy_at(a, a.level);
        self.zip_limbs(&mut out.c0, &plain.poly, |m, x, y| vector::add_assign(self.backend, m, x, y));
        Ok(out)
    }

    /// `a - plain`.
    ///
    /// # Errors
    /// As for [`Context::add_plain`].
    pub fn sub_plain(&self, a: &Ciphertext, plain: &Plaintext) -> Result<Ciphertext, CkksError> {
        self.check_plain("sub_plain", a, plain.level, plain.id)?;
        check_scales("sub_plain", a.scale, plain.scale)?;
        let mut out = self.copy_at(a, a.level);
        self.zip_limbs(&mut out.c0, &plain.poly, |m, x, y| vector::sub_assign(self.backend, m, x, y));
        Ok(out)
    }

    /// Add the real constant `c` to every slot (exact up to rounding at the ciphertext's scale).
    ///
    /// # Errors
    /// A foreign ciphertext, a non-finite constant, or one that does not fit the modulus.
    pub fn add_const(&self, a: &Ciphertext, c: f64) -> Result<Ciphertext, CkksError> {
        self.check_ct("add_const", a)?;
        let residues = self.constant("add_const", c, a.scale, a.level)?;
        let mut out = self.copy_at(a, a.level);
        let work: Vec<_> = out.c0.limbs_mut().into_iter().zip(&self.plans).zip(residues).collect();
        par::for_each_limb(self.n, work, |((x, plan), r)| {
            vector::add_const_assign(self.backend, plan.modulus(), x, r);
        });
        Ok(out)
    }

    /// Multiply by the integer `round(c * const_scale)`; the scale is multiplied by `const_scale`. With `const_scale` 1
    /// this is multiplication by an integer without cost in scale.
    ///
    /// # Errors
    /// A foreign ciphertext, a bad scale, a non-finite constant, or one that does not fit the modulus.
    pub fn mul_const(&self, a: &Ciphertext, c: f64, const_scale: f64) -> Result<Ciphertext, CkksError> {
        self.check_ct("mul_const", a)?;
        check_scale("mul_const", const_scale)?;
        let residues = self.constant("mul_const", c, const_scale, a.level)?;
        let mut out = self.blank_ct(a.level, a.scale * const_scale, a.owner);
        for (out, a) in [(&mut out.c0, &a.c0), (&mut out.c1, &a.c1)] {
            let limbs = out.limbs_mut().into_iter().zip(a.iter());
            let work: Vec<_> = limbs.zip(&self.plans).zip(&residues).collect();
            par::for_each_limb(self.n, work, |(((out, x), plan), r)| {
                let m = plan.modulus();
                vector::mul_const(self.backend, m, out, x, m.to_mont(*r));
            });
        }
        Ok(out)
    }

    /// Residues of `round(c * scale)` at every prime up to `level`.
    fn constant(
        &self,
        operation: &'static str,
        c: f64,
        scale: f64,
        level: usize,
    ) -> Result<Vec<u64>, CkksError> {
        if !c.is_finite() {
            return Err(CkksError::NotFinite { operation, index: 0, value: c });
        }
        let (needed, available) = ((c * scale).abs().max(1.0).log2() + 1.0, self.log_q(level));
        if needed >= available {
            return Err(CkksError::Overflow { operation, needed, available, level });
        }
        Ok(self.level_plans(level).map(|p| p.modulus().from_f64_rounded(c * scale)).collect())
    }

    /// `a * plain`, not rescaled.
    ///
    /// # Errors
    /// Different parameters, or a plaintext below the level of `a`.
    pub fn mul_plain(&self, a: &Ciphertext, plain: &PlaintextMul) -> Result<Ciphertext, CkksError> {
        self.dot_plain(&[(a, plain)])
    }

    /// `sum_t a_t * plain_t`, accumulated lazily with one reduction, not rescaled.
    ///
    /// # Errors
    /// No terms, different parameters, keys or levels, products of different scales, or plaintexts below the level.
    pub fn dot_plain(&self, terms: &[(&Ciphertext, &PlaintextMul)]) -> Result<Ciphertext, CkksError> {
        const OP: &str = "dot_plain";
        let Some((first, plain)) = terms.first() else { return Err(CkksError::Empty { operation: OP }) };
        let scale = first.scale * plain.scale;
        for (a, p) in terms {
            self.check_same(OP, first, a)?;
            self.check_plain(OP, a, p.level, p.id)?;
            check_scales(OP, scale, a.scale * p.scale)?;
        }
        // Plaintexts made for the occasion should be in cache when they are read.
        let made = terms.iter().map(|(_, p)| p.scratch()).max().unwrap_or(0);
        let at_once = CACHED_WORDS.checked_div(made).map_or(vector::MAX_LAZY_TERMS, |terms| terms.max(8));
        let mut out = self.blank_ct(first.level, scale, first.owner);
        let limbs = out.c0.limbs_mut().into_iter().zip(out.c1.limbs_mut());
        let work: Vec<_> = limbs.zip(&self.plans).enumerate().collect();
        par::for_each(work, |(i, ((o0, o1), plan))| {
            let m = plan.modulus();
            let (mut s0, mut s1) = (self.scratch_poly(1), self.scratch_poly(1));
            for (round, chunk) in terms.chunks(at_once).enumerate() {
                if round == 0 {
                    self.dot_limb(m, i, chunk, o0, o1);
                    continue;
                }
                for (s0, s1) in s0.iter_mut().zip(s1.iter_mut()) {
                    self.dot_limb(m, i, chunk, s0, s1);
                    vector::add_assign(self.backend, m, o0, s0);
                    vector::add_assign(self.backend, m, o1, s1);
                }
            }
        });
        Ok(out)
    }

    /// Limb `i` of `sum_t a_t * plain_t`.
    fn dot_limb(
        &self,
        m: &Modulus,
        i: usize,
        terms: &[(&Ciphertext, &PlaintextMul)],
        o0: &mut [u64],
        o1: &mut [u64],
    ) {
        let mut scratch = self.scratch.take(terms.iter().map(|(_, p)| p.scratch()).sum());
        let mut rest = &mut scratch[..];
        let parts = terms.iter().map(|(a, p)| {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(p.scratch());
            rest = others;
            (self.factor_limb(p, i, own), p.log_run(), a.c0.limb(i), a.c1.limb(i))
        });
        let parts: Vec<_> = parts.collect();
        if parts.iter().all(|(_, log_run, ..)| *log_run == 0) {
            let parts: Vec<_> = parts.into_iter().map(|(plain, _, x, y)| (plain, x, y)).collect();
            return vector::dot_pair(self.backend, m, o0, o1, &parts);
        }
        let spread = |(plain, log_run, x, y)| vector::Spread { plain, log_run, x, y };
        let parts: Vec<_> = parts.into_iter().map(spread).collect();
        vector::dot_spread(self.backend, m, o0, o1, &parts);
    }

    /// `a * b` relinearised, not rescaled.
    ///
    /// # Errors
    /// Different parameters, keys or levels, or a relinearisation key that is missing or below the level.
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        self.products("mul", &[(a, b)], keys, false)
    }

    /// `a * b` relinearised and rescaled, with one base conversion for both (faster than the two steps).
    ///
    /// # Errors
    /// As for [`Context::mul`], and [`CkksError::NoLevelLeft`] at level 0.
    pub fn mul_rescale(
        &self,
        a: &Ciphertext,
        b: &Ciphertext,
        keys: &EvalKeys,
    ) -> Result<Ciphertext, CkksError> {
        self.products("mul_rescale", &[(a, b)], keys, true)
    }

    /// `a^2` relinearised, not rescaled.
    ///
    /// # Errors
    /// As for [`Context::mul`].
    pub fn square(&self, a: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        self.products("square", &[(a, a)], keys, false)
    }

    /// `a^2` relinearised and rescaled.
    ///
    /// # Errors
    /// As for [`Context::mul_rescale`].
    pub fn square_rescale(&self, a: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        self.products("square_rescale", &[(a, a)], keys, true)
    }

    /// `sum_t a_t * b_t` with one relinearisation, not rescaled.
    ///
    /// # Errors
    /// No terms, different parameters, keys, levels or product scales, or a missing key.
    pub fn sum_of_products(&self, pairs: &Pairs<'_>, keys: &EvalKeys) -> Result<Ciphertext, CkksError> {
        self.products("sum_of_products", pairs, keys, false)
    }

    /// `sum_t a_t * b_t` with one relinearisation and one rescale.
    ///
    /// # Errors
    /// As for [`Context::sum_of_products`], and [`CkksError::NoLevelLeft`] at level 0.
    pub fn sum_of_products_rescale(
        &self,
        pairs: &Pairs<'_>,
        keys: &EvalKeys,
    ) -> Result<Ciphertext, CkksError> {
        self.products("sum_of_products_rescale", pairs, keys, true)
    }

    fn products(
        &self,
        operation: &'static str,
        pairs: &Pairs<'_>,
        keys: &EvalKeys,
        rescale: bool,
    ) -> Result<Ciphertext, CkksError> {
        let Some((first, second)) = pairs.first() else { return Err(CkksError::Empty { operation }) };
        let (level, scale) = (first.level, first.scale * second.scale);
        for (a, b) in pairs {
            self.check_same(operation, first, a)?;
            self.check_same(operation, first, b)?;
            check_scales(operation, scale, a.scale * b.scale)?;
        }
        if rescale && level == 0 {
            return Err(CkksError::NoLevelLeft { operation });
        }
        let key = keys.find(operation, KeyName::Relin, level)?;
        self.check_key(operation, "relinearisation key", key, first)?;
        let tables = self.tables_of(key.gadget);
        let factors = rescale.then(|| self.rescale_factors(level, tables));
        let [lower, upper, square] = Part::tensor(pairs, 1);
        let scale = if rescale { scale / self.modulus_at(level).unwrap_or(1) as f64 } else { scale };
        let mut out = self.blank_ct(level - usize::from(rescale), scale, first.owner);
        let mut d2 = self.scratch_poly(level + 1);
        let digits = self.digits_of_part(&square, &mut d2, level, tables);
        let add = [&lower, &upper].map(|part| Addend::Part(part, factors.as_deref()));
        self.switch(&digits, rescale, &[Switch { key, add }], vec![&mut out]);
        Ok(out)
    }

    /// Divide by the top prime: level falls by one, scale becomes `scale / q_level` exactly.
    ///
    /// # Errors
    /// A foreign ciphertext, or [`CkksError::NoLevelLeft`].
    pub fn rescale(&self, a: &Ciphertext) -> Result<Ciphertext, CkksError> {
        self.check_ct("rescale", a)?;
        let (level, none) = (a.level, CkksError::NoLevelLeft { operation: "rescale" });
        let (Some(divider), Some(q), true) = (self.by_q.get(level), self.modulus_at(level), level > 0) else {
            return Err(none);
        };
        let mut out = self.blank_ct(level - 1, a.scale / q as f64, a.owner);
        self.rescale_into(divider, a, &mut out);
        Ok(out)
    }

    fn rescale_into(&self, divider: &Divider, a: &Ciphertext, out: &mut Ciphertext) {
        let job = |poly, out| {
            let mut kept: Vec<&[u64]> = RnsPoly::iter(poly).collect();
            let sources = kept.split_off(a.level).into_iter().map(|x| (a.level, x)).collect();
            Division { kept, sources, add: None, out }
        };
        let jobs = vec![job(&a.c0, out.c0.limbs_mut()), job(&a.c1, out.c1.limbs_mut())];
        self.divide(divider, jobs);
    }

    /// Discard primes down to `level`; message and scale stay.
    ///
    /// # Errors
    /// A foreign ciphertext, or a `level` above that of `a`.
    pub fn drop_to_level(&self, a: &Ciphertext, level: usize) -> Result<Ciphertext, CkksError> {
        self.check_ct("drop_to_level", a)?;
        if level > a.level {
            return Err(CkksError::LevelTooHigh { operation: "drop_to_level", level, available: a.level });
        }
        Ok(self.copy_at(a, level))
    }
}
