//! Hybrid key switching (Han, Ki 2020): raise digits to `Q_l P`, multiply with the key, divide by `P`.
//!
//! Work is ordered by limb: for one prime, all digits are converted, transformed and multiplied while they are in cache, so
//! the raised digits never go to memory and each key limb is read once, in storage order.
//! Transforms at `L1 = level + 1` limbs, `K` special primes: `L1 + sum_j (L1 - |D_j| + K) + 2 (K + L1)`.

use super::context::{Context, Divider, GadgetTables};
use super::keys::SwitchKey;
use super::par;
use crate::math::permute::Permutation;
use crate::math::poly::RnsPoly;
use crate::math::vector;

/// A polynomial cut into digits: premultiplied coefficients and the correction counts of base conversion.
pub(super) struct Digits<'a> {
    ys: RnsPoly,
    vs: RnsPoly,
    pub level: usize,
    pub tables: &'a GadgetTables,
}

impl Digits<'_> {
    /// Number of digits.
    pub fn count(&self) -> usize {
        self.vs.limbs()
    }

    /// The digit that modulus number `t` belongs to, if it is one of the ciphertext's.
    pub fn owner(&self, t: usize) -> Option<usize> {
        (t <= self.level).then_some(t / self.tables.gadget.alpha)
    }
}

/// One exact division: `out = (kept - lift(sources)) / divisor + add`.
pub(super) struct Division<'a> {
    /// Residues at the primes that stay, transformed.
    pub kept: Vec<&'a [u64]>,
    /// Residues at the primes divided by, transformed, with their modulus numbers.
    pub sources: Vec<(usize, &'a [u64])>,
    /// Added to the result (at the primes that stay).
    pub add: Option<Vec<&'a [u64]>>,
    /// Where the result goes.
    pub out: Vec<&'a mut [u64]>,
    /// Applied to the result.
    pub permutation: Option<&'a Permutation>,
}

/// Consecutive moduli that are converted to together, each group with the position of its first.
pub(super) fn grouped(basis: &[usize]) -> impl Iterator<Item = (usize, &[usize])> {
    let mut at = 0;
    vector::groups(basis.len()).map(move |size| {
        let first = at;
        at += size;
        (first, basis.get(first..at).unwrap_or(&[]))
    })
}

impl Context {
    /// A polynomial with arbitrary contents in recycled memory.
    pub(super) fn scratch_poly(&self, limbs: usize) -> RnsPoly {
        RnsPoly::recycled(self.n, limbs, &self.scratch)
    }

    /// Cut the transformed polynomial `c` (limbs `q_0..q_level`) into digits as keys with these tables expect.
    pub(super) fn digits_of<'a>(&self, c: &[&[u64]], level: usize, tables: &'a GadgetTables) -> Digits<'a> {
        let alpha = tables.gadget.alpha;
        let mut ys = self.scratch_poly(level + 1);
        let mut vs = self.scratch_poly((level + 1).div_ceil(alpha));
        let converter = |j: usize| {
            let present = alpha.min(level + 1 - j * alpha);
            tables.raise.get(j).and_then(|c| c.get(present - 1))
        };
        let work: Vec<_> = ys.limbs_mut().into_iter().zip(c).zip(&self.plans).enumerate().collect();
        par::for_each(work, |(i, ((y, x), plan))| {
            y.copy_from_slice(x);
            let factor = converter(i / alpha).and_then(|c| c.premultipliers().get(i % alpha));
            plan.inverse_scaled(y, factor.copied().unwrap_or(1));
        });
        let limbs = ys.iter().collect::<Vec<_>>();
        let work: Vec<_> = vs.limbs_mut().into_iter().zip(limbs.chunks(alpha)).enumerate().collect();
        par::for_each(work, |(j, (v, ys))| {
            if let Some(c) = converter(j) {
                c.correction(self.backend, ys, v);
            }
        });
        Digits { ys, vs, level, tables }
    }

    /// Every digit modulo each modulus number of `group`, transformed: limb `position * count + j` of the result. Limbs that a
    /// digit itself consists of are left as they are.
    pub(super) fn raise_group(&self, digits: &Digits<'_>, group: &[usize], mut out: Vec<&mut [u64]>) {
        let alpha = digits.tables.gadget.alpha;
        let count = digits.count();
        let mut by_digit: Vec<Vec<(usize, &mut [u64])>> = (0..count).map(|_| Vec::new()).collect();
        for (t, limbs) in group.iter().zip(out.chunks_mut(count.max(1))) {
            for ((j, limb), list) in limbs.iter_mut().enumerate().zip(&mut by_digit) {
                if digits.owner(*t) != Some(j) {
                    list.push((*t, &mut **limb));
                }
            }
        }
        for (j, targets) in by_digit.into_iter().enumerate() {
            let range = j * alpha..((j + 1) * alpha).min(digits.level + 1);
            let converter = digits.tables.raise.get(j).and_then(|c| c.get(range.len().wrapping_sub(1)));
            let Some(converter) = converter else { continue };
            let ys: Vec<&[u64]> = range.map(|i| digits.ys.limb(i)).collect();
            converter.convert_many(self.backend, targets, &ys, digits.vs.limb(j));
        }
        // One modulus after the other, so that its table of roots is read from memory once for all digits.
        for (t, limbs) in group.iter().zip(out.chunks_mut(count.max(1))) {
            let Some(plan) = self.plans.get(*t) else { continue };
            for (j, limb) in limbs.iter_mut().enumerate() {
                if digits.owner(*t) != Some(j) {
                    plan.forward(limb);
                }
            }
        }
    }

    /// Position in `key` of modulus number `t`.
    pub(super) fn key_position(&self, key: &SwitchKey, t: usize) -> usize {
        if t <= self.max_level() { t } else { t - self.max_level() + key.level }
    }

    /// `(sum_j d_j b_j, sum_j d_j a_j)` over `q_0..q_level, p_0..`, transformed.
    pub(super) fn inner_product(
        &self,
        digits: &Digits<'_>,
        c: &[&[u64]],
        key: &SwitchKey,
    ) -> (RnsPoly, RnsPoly) {
        let basis = self.extended_basis(digits.level, key.gadget.specials);
        let count = digits.count();
        let (mut u0, mut u1) = (self.scratch_poly(basis.len()), self.scratch_poly(basis.len()));
        let (mut limbs0, mut limbs1) = (u0.limbs_mut().into_iter(), u1.limbs_mut().into_iter());
        let mut take =
            |n: usize| -> Vec<_> { limbs0.by_ref().take(n).zip(limbs1.by_ref().take(n)).collect() };
        let work: Vec<_> = grouped(&basis).map(|(_, group)| (group, take(group.len()))).collect();
        par::for_each(work, |(group, outs)| {
            let mut raised = self.scratch_poly(group.len() * count);
            self.raise_group(digits, group, raised.limbs_mut());
            for (i, (t, (u0, u1))) in group.iter().zip(outs).enumerate() {
                let Some(plan) = self.plans.get(*t) else { return };
                let own = digits.owner(*t);
                let position = self.key_position(key, *t);
                let terms: Vec<_> = (0..count)
                    .map(|j| {
                        let (b, a) = key.pair(position, j);
                        let own = (Some(j) == own).then(|| c.get(*t).copied().unwrap_or(&[]));
                        (own.unwrap_or(raised.limb(i * count + j)), b, a)
                    })
                    .collect();
                vector::dot_pair(self.backend, plan.modulus(), u0, u1, &terms);
            }
        });
        (u0, u1)
    }

    /// Carry out exact divisions that share their constants.
    pub(super) fn divide(&self, divider: &Divider, jobs: Vec<Division<'_>>) {
        let mut lifted: Vec<_> =
            jobs.iter().map(|job| (self.scratch_poly(job.sources.len()), self.scratch_poly(1))).collect();
        // In both rounds all jobs meet at one modulus, so that its table of roots is read from memory once.
        type Sources<'k> = Vec<(&'k [u64], &'k mut [u64])>;
        let mut work: Vec<(usize, u64, Sources<'_>)> = Vec::new();
        for (job, (ys, _)) in jobs.iter().zip(&mut lifted) {
            let sources = job.sources.iter().zip(ys.limbs_mut()).zip(divider.convert.premultipliers());
            for (k, (((t, x), y), factor)) in sources.enumerate() {
                match work.get_mut(k) {
                    Some((_, _, list)) => list.push((x, y)),
                    None => work.push((*t, *factor, vec![(x, y)])),
                }
            }
        }
        par::for_each(work, |(t, factor, list)| {
            for (x, y) in list {
                y.copy_from_slice(x);
                if let Some(plan) = self.plans.get(t) {
                    plan.inverse_scaled(y, factor);
                }
            }
        });
        for (ys, v) in &mut lifted {
            for v in v.limbs_mut() {
                divider.convert.correction(self.backend, &ys.iter().collect::<Vec<_>>(), v);
            }
        }
        type Kept<'k> = (&'k [u64], &'k mut [u64], Option<&'k [u64]>);
        let permutations: Vec<_> = jobs.iter().map(|job| job.permutation).collect();
        // First modulus of each group, and for each job its limbs there.
        let kept = jobs.iter().map(|job| job.kept.len()).max().unwrap_or(0);
        let mut work: Vec<(usize, Vec<Vec<Kept<'_>>>)> = Vec::new();
        let mut limbs: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let add = job.add;
                let pairs = job.kept.into_iter().zip(job.out).enumerate();
                pairs.map(move |(i, (kept, out))| (kept, out, add.as_ref().and_then(|a| a.get(i).copied())))
            })
            .collect();
        let mut first = 0;
        for size in vector::groups(kept) {
            work.push((first, limbs.iter_mut().map(|l| l.by_ref().take(size).collect()).collect()));
            first += size;
        }
        par::for_each(work, |(first, lists)| {
            let mut lifts: Vec<RnsPoly> = lists.iter().map(|list| self.scratch_poly(list.len())).collect();
            for (lift, (ys, v)) in lifts.iter_mut().zip(&lifted) {
                let targets = lift.limbs_mut().into_iter().enumerate().map(|(k, out)| (first + k, out));
                divider.convert.convert_many(
                    self.backend,
                    targets,
                    &ys.iter().collect::<Vec<_>>(),
                    v.limb(0),
                );
            }
            let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
            for k in 0..vector::GROUP {
                let (Some(plan), Some(inverse)) = (self.plans.get(first + k), divider.inverse.get(first + k))
                else {
                    return;
                };
                for ((lift, list), permutation) in lifts.iter_mut().zip(&mut lists).zip(&permutations) {
                    let Some((kept, out, add)) = list.next() else { continue };
                    let lift = lift.limb_mut(k);
                    plan.forward(lift);
                    let (b, m) = (self.backend, plan.modulus());
                    match permutation {
                        None => vector::sub_mul_add(b, m, out, kept, lift, *inverse, add),
                        Some(p) => p.scatter_sub_mul_add(b, m, out, (kept, lift), *inverse, add),
                    }
                }
            }
        });
    }

    /// Divide two polynomials over `q_0..q_level, p_0..` by `P` (`rescale` false) or by `q_level P` (true).
    #[expect(clippy::too_many_arguments, reason = "one struct more would not say more")]
    pub(super) fn divide_by_special(
        &self,
        u: [&RnsPoly; 2],
        level: usize,
        tables: &GadgetTables,
        rescale: bool,
        add: [Option<Vec<&[u64]>>; 2],
        out: [Vec<&mut [u64]>; 2],
        permutation: Option<&Permutation>,
    ) {
        let keep = if rescale { level } else { level + 1 };
        let divider = if rescale { tables.by_qp.get(level) } else { Some(&tables.by_p) };
        let Some(divider) = divider else { return };
        let basis = self.extended_basis(level, tables.gadget.specials);
        let jobs = u.into_iter().zip(add).zip(out).map(|((u, add), out)| {
            let mut kept = u.iter().collect::<Vec<_>>();
            let sources = kept.split_off(keep);
            let sources = basis.iter().skip(keep).copied().zip(sources).collect();
            Division { kept, sources, add, out, permutation }
        });
        self.divide(divider, jobs.collect());
    }

    /// Divide one polynomial over `q_0..q_level, p_0..` by `P`.
    pub(super) fn divide_one_by_special(
        &self,
        u: &RnsPoly,
        level: usize,
        tables: &GadgetTables,
        out: Vec<&mut [u64]>,
    ) {
        let basis = self.extended_basis(level, tables.gadget.specials);
        let mut kept = u.iter().collect::<Vec<_>>();
        let sources = kept.split_off(level + 1);
        let sources = basis.iter().skip(level + 1).copied().zip(sources).collect();
        self.divide(&tables.by_p, vec![Division { kept, sources, add: None, out, permutation: None }]);
    }
}
