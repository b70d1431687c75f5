//! The first half of a key switch: a polynomial is cut into digits, and the digits are raised to `Q_l P`.

use super::context::{Context, GadgetTables};
use super::keys::{KeyForm, SwitchKey};
use super::par;
use super::poly_ops::Part;
use crate::math::convert::BasisConverter;
use crate::math::key_product::{self, Finish, Term};
use crate::math::packed;
use crate::math::poly::RnsPoly;
use crate::math::sampling::{Expander, TILE};

/// A polynomial cut into digits: coefficients, premultiplied for base conversion.
pub(super) struct Digits<'a> {
    /// The polynomial itself, transformed: what its digits are modulo their own primes.
    own: Vec<&'a [u64]>,
    ys: RnsPoly,
    pub level: usize,
    pub tables: &'a GadgetTables,
    /// All digits at all moduli, if many products share them: limb `position * count + j`.
    raised: Option<RnsPoly>,
}

impl Digits<'_> {
    /// Number of digits.
    pub fn count(&self) -> usize {
        self.ys.limbs().div_ceil(self.tables.gadget.alpha)
    }

    /// Whether modulus number `t` is one of those that digit `j` consists of.
    fn owns(&self, j: usize, t: usize) -> bool {
        t <= self.level && t / self.tables.gadget.alpha == j
    }

    /// What digits other than `t`'s own are to be raised into at the moduli of `group`, unless they are there already.
    fn blank<'s>(&'s self, context: &Context, group: &[usize]) -> Raised<'s> {
        match &self.raised {
            Some(all) => Raised::Shared(all),
            None => Raised::Here(context.scratch_poly(group.len() * self.count())),
        }
    }
}

/// Raised digits at a group of moduli.
pub(super) enum Raised<'a> {
    /// Limb `k * count + j` is digit `j` at the group's modulus `k`.
    Here(RnsPoly),
    /// The same for all positions of the basis.
    Shared(&'a RnsPoly),
}

impl GadgetTables {
    /// Conversion of digit `j` at `level`, where the last digit may have fewer limbs than the others.
    fn raising(&self, j: usize, level: usize) -> Option<&BasisConverter> {
        let present = self.gadget.alpha.min((level + 1).checked_sub(j * self.gadget.alpha)?);
        self.raise.get(j)?.get(present.checked_sub(1)?)
    }

    /// What the coefficients of limb `i` are multiplied with before they are converted.
    fn premultiplier(&self, i: usize, level: usize) -> u64 {
        let digit = self.raising(i / self.gadget.alpha, level);
        digit.and_then(|c| c.premultipliers().get(i % self.gadget.alpha)).copied().unwrap_or(1)
    }
}

impl Context {
    /// Consecutive moduli that are converted to together, each group with the position of its first.
    pub(super) fn grouped<'b>(
        &self,
        basis: &'b [usize],
    ) -> impl Iterator<Item = (usize, &'b [usize])> + use<'b> {
        let mut at = 0;
        par::groups(basis.len(), self.n).map(move |size| {
            let first = at;
            at += size;
            (first, basis.get(first..at).unwrap_or(&[]))
        })
    }

    /// A polynomial with arbitrary contents in recycled memory.
    pub(super) fn scratch_poly(&self, limbs: usize) -> RnsPoly {
        RnsPoly::recycled(self.n, limbs, &self.scratch)
    }

    /// Cut the transformed polynomial `c` (limbs `q_0..q_level`) into digits as keys with these tables expect.
    pub(super) fn digits_of<'a>(&self, c: &'a RnsPoly, level: usize, tables: &'a GadgetTables) -> Digits<'a> {
        let own: Vec<&[u64]> = c.iter().take(level + 1).collect();
        let mut ys = self.scratch_poly(level + 1);
        let work: Vec<_> = ys.limbs_mut().into_iter().zip(&own).zip(&self.plans).enumerate().collect();
        par::for_each(work, |(i, ((y, x), plan))| plan.inverse_from(y, x, tables.premultiplier(i, level)));
        Digits { own, ys, level, tables, raised: None }
    }

    /// The same for a polynomial that is computed on the way, into `c`.
    pub(super) fn digits_of_part<'a>(
        &self,
        part: &Part<'_>,
        c: &'a mut RnsPoly,
        level: usize,
        tables: &'a GadgetTables,
    ) -> Digits<'a> {
        let mut ys = self.scratch_poly(level + 1);
        let work: Vec<_> =
            ys.limbs_mut().into_iter().zip(c.limbs_mut()).zip(&self.plans).enumerate().collect();
        par::for_each(work, |(i, ((y, x), plan))| {
            self.part_limb(part, i, 1, x);
            plan.inverse_from(y, x, tables.premultiplier(i, level));
        });
        Digits { own: c.iter().take(level + 1).collect(), ys, level, tables, raised: None }
    }

    /// Raise all digits now, for many products with them.
    pub(super) fn raise_all(&self, digits: &mut Digits<'_>) {
        let basis = self.extended_basis(digits.level, digits.tables.gadget.specials);
        let count = digits.count();
        let mut raised = self.scratch_poly(basis.len() * count);
        let mut limbs = raised.limbs_mut().into_iter();
        let work: Vec<_> =
            self.grouped(&basis).map(|(_, g)| (g, limbs.by_ref().take(g.len() * count).collect())).collect();
        par::for_each(work, |(group, mut outs): (_, Vec<&mut [u64]>)| {
            self.convert_group(digits, group, &mut outs);
            for (t, limbs) in group.iter().zip(outs.chunks_mut(count.max(1))) {
                self.transform_at(digits, *t, limbs);
            }
        });
        digits.raised = Some(raised);
    }

    /// The digits modulo each modulus number of `group`, transformed.
    pub(super) fn raise_group<'d>(&self, digits: &'d Digits<'_>, group: &[usize]) -> Raised<'d> {
        let mut raised = self.convert_digits(digits, group);
        for (k, t) in group.iter().enumerate() {
            self.transform_digits(digits, &mut raised, k, *t);
        }
        raised
    }

    /// The first step of [`Context::raise_group`]: all conversions, one pass over the digits for the whole group.
    pub(super) fn convert_digits<'d>(&self, digits: &'d Digits<'_>, group: &[usize]) -> Raised<'d> {
        let mut raised = digits.blank(self, group);
        if let Raised::Here(limbs) = &mut raised {
            self.convert_group(digits, group, &mut limbs.limbs_mut());
        }
        raised
    }

    /// The second step at modulus number `t`, the group's `k`.
    pub(super) fn transform_digits(&self, digits: &Digits<'_>, raised: &mut Raised<'_>, k: usize, t: usize) {
        if let Raised::Here(limbs) = raised {
            let count = digits.count();
            let mut limbs: Vec<_> = limbs.iter_mut().skip(k * count).take(count).collect();
            self.transform_at(digits, t, &mut limbs);
        }
    }

    fn transform_at(&self, digits: &Digits<'_>, t: usize, limbs: &mut [&mut [u64]]) {
        let Some(plan) = self.plans.get(t) else { return };
        for (j, limb) in limbs.iter_mut().enumerate() {
            if !digits.owns(j, t) {
                plan.forward_lazily(limb);
            }
        }
    }

    fn convert_group(&self, digits: &Digits<'_>, group: &[usize], out: &mut [&mut [u64]]) {
        let alpha = digits.tables.gadget.alpha;
        let count = digits.count();
        let mut by_digit: Vec<Vec<(usize, &mut [u64])>> = (0..count).map(|_| Vec::new()).collect();
        for (t, limbs) in group.iter().zip(out.chunks_mut(count.max(1))) {
            for ((j, limb), list) in limbs.iter_mut().enumerate().zip(&mut by_digit) {
                if !digits.owns(j, *t) {
                    list.push((*t, &mut **limb));
                }
            }
        }
        for (j, targets) in by_digit.into_iter().enumerate() {
            let range = j * alpha..((j + 1) * alpha).min(digits.level + 1);
            let Some(converter) = digits.tables.raising(j, digits.level) else { continue };
            let ys: Vec<&[u64]> = range.map(|i| digits.ys.limb(i)).collect();
            converter.convert_many(self.backend, targets, &ys);
        }
    }

    /// Digits at modulus number `t`, which is `position` in the basis and the group's `k`.
    pub(super) fn digits_at<'d>(
        &self,
        digits: &'d Digits<'_>,
        raised: &'d Raised<'_>,
        (position, k, t): (usize, usize, usize),
    ) -> Vec<&'d [u64]> {
        let count = digits.count();
        let (limbs, first) = match raised {
            Raised::Here(limbs) => (limbs, k * count),
            Raised::Shared(all) => (*all, position * count),
        };
        let own = digits.own.get(t).copied().unwrap_or(&[]);
        (0..count).map(|j| if digits.owns(j, t) { own } else { limbs.limb(first + j) }).collect()
    }

    /// `u0 = sum_j d_j b_j` and `u1 = sum_j d_j a_j` at modulus number `t`, from the digits there; divided by `P` if `t` is no
    /// special prime, because the key is.
    pub(super) fn key_product(
        &self,
        t: usize,
        parts: &[&[u64]],
        key: &SwitchKey,
        u0: &mut [u64],
        u1: &mut [u64],
    ) {
        let Some(plan) = self.plans.get(t) else { return };
        self.key_terms(t, parts, key, |first, both, terms| {
            let n = terms.first().map_or(0, |(x, ..)| x.len());
            let [u0, u1] = [&mut *u0, &mut *u1].map(|u| u.get_mut(first..first + n).unwrap_or(&mut []));
            key_product::dot_pair(self.backend, plan.modulus(), both, u0, u1, terms);
        });
    }

    /// The same products, and what follows.
    pub(super) fn finished_key_product(
        &self,
        t: usize,
        parts: &[&[u64]],
        key: &SwitchKey,
        finish: &Finish<'_>,
        [out0, out1]: [&mut [u64]; 2],
    ) {
        let Some(plan) = self.plans.get(t) else { return };
        self.key_terms(t, parts, key, |first, both, terms| {
            let outs = [&mut *out0, &mut *out1];
            key_product::finished_dot_pair(self.backend, plan.modulus(), both, first, terms, finish, outs);
        });
    }

    /// Digits with their factors, from a word on: everything at once, or, if half of the key has yet to be made, tile by tile. The flag
    /// says whether the second half is packed too.
    fn key_terms(
        &self,
        t: usize,
        parts: &[&[u64]],
        key: &SwitchKey,
        mut f: impl FnMut(usize, bool, &[Term<'_>]),
    ) {
        let Some(plan) = self.plans.get(t) else { return };
        let m = plan.modulus();
        let position = if t <= self.max_level() { t } else { t - self.max_level() + key.level };
        let halves: Vec<_> = (0..parts.len()).map(|j| key.halves(position, j)).collect();
        if key.form == KeyForm::Expanded {
            let terms: Vec<_> =
                parts.iter().zip(&halves).map(|(x, (b, a))| (*x, *b, a.unwrap_or(&[]))).collect();
            return f(0, true, &terms);
        }
        let uniform = Expander::new(self.backend, &key.seed);
        let size = TILE.min(self.n);
        let packed_size = packed::words(size, packed::width(m.value()));
        let mut made = vec![0; parts.len() * size];
        for tile in 0..self.n / size {
            for (j, a) in made.chunks_exact_mut(size).enumerate() {
                uniform.tile(m, SwitchKey::stream(j, t), tile, a);
            }
            let terms: Vec<_> = parts
                .iter()
                .zip(&halves)
                .zip(made.chunks_exact(size))
                .map(|((x, (b, _)), a)| (packed::nth(x, size, tile), packed::nth(b, packed_size, tile), a))
                .collect();
            f(tile * size, false, &terms);
        }
    }
}
