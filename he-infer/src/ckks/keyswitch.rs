//! Hybrid key switching (Han, Ki 2020): raise digits to `Q_l P`, multiply with the key, divide by `P`.
//!
//! Work is ordered by limb: for one prime, all digits are converted, transformed and multiplied while they are in cache, so
//! the raised digits never go to memory and each key limb is read once, in storage order. The product at a prime that stays
//! is divided at once; only the residues at the primes divided by wait for each other.
//! Transforms at `L1 = level + 1` limbs, `K` special primes: `L1 + sum_j (L1 - |D_j| + K) + 2 (K + L1)`.

use super::ciphertext::Ciphertext;
use super::context::{Context, GadgetTables};
use super::digits::Digits;
use super::keys::SwitchKey;
use super::par;
use super::poly_ops::Part;
use crate::math::key_product::Finish;
use crate::math::poly::RnsPoly;
use crate::math::vector;

/// Results larger than this are written past the caches: the next operation would not find them there.
const FAR_BYTES: usize = 20 << 20;

/// A key to multiply with, and what is added to the two results.
pub(super) struct Switch<'a> {
    pub key: &'a SwitchKey,
    pub add: [Addend<'a>; 2],
}

/// Added over `q_0..q_level`, transformed.
#[derive(Clone, Copy)]
pub(super) enum Addend<'a> {
    Nothing,
    /// As it is; not where the key switch is rescaled.
    Poly(&'a RnsPoly),
    /// Times a factor for each modulus: before a division by `q_level` too, [`Context::rescale_factors`].
    Part(&'a Part<'a>, Option<&'a [u64]>),
}

impl Context {
    /// Add `(sum_j d_j b_j + add, sum_j d_j a_j)`, permuted by the key's automorphism, to `sums`; all over `q_0..q_level, p_0..`,
    /// transformed.
    pub(super) fn add_turned(
        &self,
        digits: &Digits<'_>,
        key: &SwitchKey,
        add: &RnsPoly,
        sums: [&mut RnsPoly; 2],
    ) {
        let Some(permutation) = &key.permutation else { return };
        let basis = self.extended_basis(digits.level, key.gadget.specials);
        let mut columns = by_modulus([sums], basis.len());
        let work: Vec<_> =
            self.grouped(&basis).map(|(at, g)| (at, g, columns.by_ref().take(g.len()).collect())).collect();
        par::for_each(work, |(at, group, sums): (_, _, Vec<_>)| {
            let raised = self.raise_group(digits, group);
            let mut products = self.scratch_poly(2);
            for ((k, t), sums) in group.iter().enumerate().zip(sums) {
                let Some(plan) = self.plans.get(*t) else { return };
                let (b, m) = (self.backend, plan.modulus());
                let parts = self.digits_at(digits, &raised, (at + k, k, *t));
                let mut halves = products.iter_mut();
                let (Some(u0), Some(u1)) = (halves.next(), halves.next()) else { return };
                self.key_product(*t, &parts, key, u0, u1);
                for [s0, s1] in sums {
                    permutation.add_sum(b, m, s0, u0, Some(add.limb(at + k)));
                    permutation.add_sum(b, m, s1, u1, None);
                }
            }
        });
    }

    /// Factors, modulo each of `q_0..q_level`, for what is added to a key switch that is rescaled at once:
    /// `(u + P d) / (P q_level)` is `u / (P q_level) + d / q_level`, and at `q_level` itself, where `u / P` is held, `d` joins it.
    pub(super) fn rescale_factors(&self, level: usize, tables: &GadgetTables) -> Vec<u64> {
        let inverses = tables.by_qp.get(level).and_then(|d| d.times.as_ref()).into_iter().flatten();
        let factors = self.level_plans(level).zip(inverses).map(|(plan, c)| plan.modulus().from_mont(*c));
        factors.chain([1]).collect()
    }

    /// What is added at modulus number `t`, if anything, made in `place` if it has to be.
    fn addend_limb<'p>(&self, add: Addend<'p>, t: usize, place: &'p mut [u64]) -> Option<&'p [u64]> {
        match add {
            Addend::Nothing => None,
            Addend::Poly(poly) => Some(poly.limb(t)),
            Addend::Part(part, factors) => {
                let factor = factors.map_or(1, |f| f.get(t).copied().unwrap_or(0));
                self.part_limb(part, t, factor, place);
                Some(place)
            }
        }
    }

    /// Multiply the digits with each key, divide by `P` (`rescale` false) or by `q_level P` (true), add, permute by the key's
    /// automorphism.
    pub(super) fn switch(
        &self,
        digits: &Digits<'_>,
        rescale: bool,
        jobs: &[Switch<'_>],
        outs: Vec<&mut Ciphertext>,
    ) {
        let (level, tables) = (digits.level, digits.tables);
        let basis = self.extended_basis(level, tables.gadget.specials);
        let (kept, divided) = basis.split_at(if rescale { level } else { level + 1 });
        let divider = if rescale { tables.by_qp.get(level) } else { Some(&tables.by_p) };
        let Some(divider) = divider else { return };

        // Coefficients at the primes divided by, premultiplied for conversion.
        let blank = |limbs: usize| -> Vec<_> {
            jobs.iter().map(|_| [0; 2].map(|_| self.scratch_poly(limbs))).collect()
        };
        let mut ys = blank(divided.len());
        let mut columns = by_modulus(ys.iter_mut().map(|[a, b]| [a, b]), divided.len());
        let work: Vec<_> =
            self.grouped(divided).map(|(at, g)| (at, g, columns.by_ref().take(g.len()).collect())).collect();
        par::for_each(work, |(at, group, outs): (_, _, Vec<_>)| {
            let mut raised = self.convert_digits(digits, group);
            let factors = divider.convert.premultipliers().iter().skip(at);
            for (((k, t), outs), factor) in group.iter().enumerate().zip(outs).zip(factors) {
                let Some(plan) = self.plans.get(*t) else { return };
                self.transform_digits(digits, &mut raised, k, *t);
                let parts = self.digits_at(digits, &raised, (kept.len() + at + k, k, *t));
                for (job, [u0, u1]) in jobs.iter().zip(outs) {
                    self.key_product(*t, &parts, job.key, u0, u1);
                    for (u, add) in [u0, u1].into_iter().zip(job.add) {
                        if *t <= level {
                            let mut made = self.scratch_poly(1);
                            if let Some(add) = self.addend_limb(add, *t, made.limb_mut(0)) {
                                vector::add_assign(self.backend, plan.modulus(), u, add);
                            }
                        }
                        plan.inverse_scaled(u, *factor);
                    }
                }
            }
        });
        drop(columns);

        let far = 2 * outs.len() * kept.len() * self.n * size_of::<u64>() > FAR_BYTES;
        let mut columns = by_modulus(outs.into_iter().map(|ct| [&mut ct.c0, &mut ct.c1]), kept.len());
        let work: Vec<_> =
            self.grouped(kept).map(|(at, g)| (at, g, columns.by_ref().take(g.len()).collect())).collect();
        par::for_each(work, |(at, group, outs): (_, _, Vec<_>)| {
            let mut raised = self.convert_digits(digits, group);
            let mut lifts = blank(group.len());
            for (lift, ys) in lifts.iter_mut().flatten().zip(ys.iter().flatten()) {
                let targets = (at..).zip(lift.iter_mut());
                divider.convert.convert_many(self.backend, targets, &ys.iter().collect::<Vec<_>>());
            }
            let mut made = self.scratch_poly(2);
            // One modulus after the other, so that its table of roots is read from memory once.
            for ((k, t), outs) in group.iter().enumerate().zip(outs) {
                let Some(plan) = self.plans.get(*t) else { return };
                self.transform_digits(digits, &mut raised, k, *t);
                let parts = self.digits_at(digits, &raised, (at + k, k, *t));
                for ((job, lifts), outs) in jobs.iter().zip(&mut lifts).zip(outs) {
                    lifts.iter_mut().for_each(|lift| plan.forward_lazily(lift.limb_mut(k)));
                    let mut places = made.iter_mut();
                    let mut addend = |add| self.addend_limb(add, *t, places.next().unwrap_or(&mut []));
                    let finish = Finish {
                        times: divider.times.as_ref().and_then(|c| c.get(at + k)).copied(),
                        adds: [0, 1].map(|h| {
                            [lifts.get(h).map(|l| l.limb(k)), job.add.get(h).and_then(|a| addend(*a))]
                        }),
                        permutation: job.key.permutation.as_ref(),
                        far,
                    };
                    self.finished_key_product(*t, &parts, job.key, &finish, outs);
                }
            }
        });
    }
}

/// The limbs of pairs of polynomials, modulus by modulus.
fn by_modulus<'p>(
    pairs: impl IntoIterator<Item = [&'p mut RnsPoly; 2]>,
    limbs: usize,
) -> impl Iterator<Item = Vec<[&'p mut [u64]; 2]>> {
    let mut rows: Vec<_> =
        pairs.into_iter().map(|[a, b]| a.limbs_mut().into_iter().zip(b.limbs_mut())).collect();
    (0..limbs).map(move |_| rows.iter_mut().filter_map(|row| row.next().map(|(a, b)| [a, b])).collect())
}
