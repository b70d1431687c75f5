//! Exact division of polynomials by `P`, by a prime, or by both (rescaling, and the end of a key switch).

use super::context::{Context, Divider, GadgetTables};
use super::par;
use crate::math::poly::RnsPoly;
use crate::math::vector;

/// One exact division: `out = kept times + convert(sources) + add`, see [`Divider`].
pub(super) struct Division<'a> {
    /// Residues at the primes that stay, transformed.
    pub kept: Vec<&'a [u64]>,
    /// Residues at the primes divided by, transformed, with their modulus numbers.
    pub sources: Vec<(usize, &'a [u64])>,
    /// Added to the result (at the primes that stay).
    pub add: Option<Vec<&'a [u64]>>,
    /// Where the result goes.
    pub out: Vec<&'a mut [u64]>,
}

impl Context {
    /// Carry out exact divisions that share their constants.
    pub(super) fn divide(&self, divider: &Divider, jobs: Vec<Division<'_>>) {
        let mut lifted: Vec<_> = jobs.iter().map(|job| self.scratch_poly(job.sources.len())).collect();
        // In both rounds all jobs meet at one modulus, so that its table of roots is read from memory once.
        type Sources<'k> = Vec<(&'k [u64], &'k mut [u64])>;
        let mut work: Vec<(usize, u64, Sources<'_>)> = Vec::new();
        for (job, ys) in jobs.iter().zip(&mut lifted) {
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
                if let Some(plan) = self.plans.get(t) {
                    plan.inverse_from(y, x, factor);
                }
            }
        });
        type Kept<'k> = (&'k [u64], &'k mut [u64], Option<&'k [u64]>);
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
        for size in par::groups(kept, self.n) {
            work.push((first, limbs.iter_mut().map(|l| l.by_ref().take(size).collect()).collect()));
            first += size;
        }
        par::for_each(work, |(first, lists)| {
            let mut lifts: Vec<RnsPoly> = lists.iter().map(|list| self.scratch_poly(list.len())).collect();
            for (lift, ys) in lifts.iter_mut().zip(&lifted) {
                let targets = (first..).zip(lift.iter_mut());
                divider.convert.convert_many(self.backend, targets, &ys.iter().collect::<Vec<_>>());
            }
            let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
            for k in 0..vector::GROUP {
                let Some(plan) = self.plans.get(first + k) else { return };
                let times = divider.times.as_ref().and_then(|t| t.get(first + k)).copied();
                for (lift, list) in lifts.iter_mut().zip(&mut lists) {
                    let Some((kept, out, add)) = list.next() else { continue };
                    let lift = lift.limb_mut(k);
                    plan.forward_lazily(lift);
                    vector::mul_add(self.backend, plan.modulus(), out, kept, times, lift, add);
                }
            }
        });
    }

    /// Divide polynomials over `q_0..q_level, p_0..` by `P` (`rescale` false) or by `q_level P` (true).
    pub(super) fn divide_by_special<'p>(
        &self,
        pairs: impl IntoIterator<Item = (&'p RnsPoly, &'p mut RnsPoly)>,
        level: usize,
        tables: &GadgetTables,
        rescale: bool,
    ) {
        let keep = if rescale { level } else { level + 1 };
        let divider = if rescale { tables.by_qp.get(level) } else { Some(&tables.by_p) };
        let Some(divider) = divider else { return };
        let basis = self.extended_basis(level, tables.gadget.specials);
        let jobs = pairs.into_iter().map(|(u, out)| {
            let mut kept = u.iter().collect::<Vec<_>>();
            let sources = kept.split_off(keep);
            let sources = basis.iter().skip(keep).copied().zip(sources).collect();
            Division { kept, sources, add: None, out: out.limbs_mut() }
        });
        self.divide(divider, jobs.collect());
    }
}
