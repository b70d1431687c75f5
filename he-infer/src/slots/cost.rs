//! The planned program without numbers: counts the work, and which rotation keys it needs at which levels.
//!
//! What each step counts is written in [`super::tally`]; unit costs ([`super::CostTable`]) turn counts into time.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::tally::Tally;
use super::{Combination, Refresh, ScalarMatrix, SlotEvaluator, check_combination, no_bootstrap, same_scale};
use crate::HeError;
use crate::ckks::{Gadget, Held, ParamsLiteral};
use crate::plan::Refreshing;

/// Level and scale of a vector that has no numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostVec {
    /// Rescalings left.
    pub level: usize,
    /// Scale the ciphertext would have.
    pub scale: f64,
}

/// A known vector that multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostFactor {
    vec: CostVec,
    /// What each of its limbs takes to transform, in 64ths of a whole one.
    transform: u64,
}

impl From<CostVec> for CostFactor {
    /// One that is held as residues.
    fn from(vec: CostVec) -> Self {
        Self { vec, transform: 0 }
    }
}

#[derive(Default)]
struct State {
    tally: Tally,
    rotations: BTreeMap<i32, usize>,
    relin_level: Option<usize>,
}

/// Counts work and keys.
pub struct CostCounter {
    slots: usize,
    primes: Vec<u64>,
    gadgets: Vec<Gadget>,
    /// With the work for one vector and for two.
    refresh: Option<(Refresh, [Tally; 2])>,
    held: Held,
    state: Mutex<State>,
}

impl CostCounter {
    /// For vectors of `slots` over `primes` (lowest level first), with the gadget of a key for each level. A key that serves
    /// a range of levels keeps the gadget of its highest; what that costs more at the others is not counted.
    pub fn new(slots: usize, primes: &[u64], gadgets: Vec<Gadget>) -> Self {
        Self {
            slots,
            primes: primes.to_vec(),
            gadgets,
            refresh: None,
            held: Held::Residues,
            state: Mutex::default(),
        }
    }

    /// For the slots, primes and gadgets of a parameter set.
    pub fn of(params: &ParamsLiteral) -> Self {
        let gadgets = (0..params.q.len()).map(|level| params.gadget(level)).collect();
        Self::new(1 << (params.log_n - 1), &params.q, gadgets)
    }

    /// Counts factors of linear layers as held in this form.
    #[must_use]
    pub fn holding(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    /// Counts bootstraps too. Their keys are their own affair ([`crate::bootstrap::BootstrapCost::keys`]).
    pub(crate) fn refreshing(mut self, refreshing: Option<&Refreshing>) -> Self {
        let work = |r: &Refreshing| [r.cost.one.clone(), r.cost.pair.clone()];
        self.refresh = Refresh::of(refreshing).zip(refreshing.map(work));
        self
    }

    fn gadget(&self, level: usize) -> Gadget {
        let none = Gadget { alpha: 1, specials: 1 };
        self.gadgets.get(level).or(self.gadgets.last()).copied().unwrap_or(none)
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        self.with(|s| s.tally.clone())
    }

    /// Every rotation step used, with the highest level it is used at.
    pub fn rotations(&self) -> Vec<(i32, usize)> {
        self.with(|s| s.rotations.iter().map(|(&k, &v)| (k, v)).collect())
    }

    /// Highest level of a ciphertext product, if there is one.
    pub fn relin_level(&self) -> Option<usize> {
        self.with(|s| s.relin_level)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A poisoned lock means another thread panicked while counting; its counts are still whole numbers.
        f(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn count(&self, f: impl FnOnce(&mut Tally)) {
        self.with(|s| f(&mut s.tally));
    }

    fn decompose(&self, level: usize) {
        self.count(|t| t.decompose(level + 1, self.gadget(level)));
    }

    fn apply_key(&self, level: usize) {
        self.count(|t| t.apply_key(level + 1, self.gadget(level)));
    }

    /// A sum of `products` products at `level`, relinearised and rescaled.
    fn relinearise(&self, level: usize, products: usize) {
        self.with(|s| {
            s.relin_level = s.relin_level.max(Some(level));
            s.tally.products += products as u64;
            s.tally.relinearisations += 1;
            s.tally.pointwise += 4 * products as u64 * (level as u64 + 1);
        });
        self.decompose(level);
        self.apply_key(level);
    }

    fn prime(&self, level: usize) -> Result<f64, HeError> {
        match self.primes.get(level) {
            Some(&q) if level > 0 => Ok(q as f64),
            _ => Err(HeError::NoLevelLeft { level }),
        }
    }

    fn note_rotation(&self, step: i32, level: usize) {
        let step = step.rem_euclid(self.slots as i32);
        if step == 0 {
            return;
        }
        self.with(|s| {
            s.tally.rotations += 1;
            let at = s.rotations.entry(step).or_insert(level);
            *at = level.max(*at);
        });
        self.apply_key(level);
    }

    fn alike(&self, what: &'static str, a: CostVec, b: CostVec) -> Result<(), HeError> {
        if a.level == b.level && same_scale(a.scale, b.scale) {
            Ok(())
        } else {
            Err(HeError::Operands { what, left: (a.level, a.scale), right: (b.level, b.scale) })
        }
    }

    fn plain(&self, level: usize, scale: f64) -> CostVec {
        self.count(|t| {
            t.plain_limbs += level as u64 + 1;
            t.plains += 1;
        });
        CostVec { level, scale }
    }
}

impl SlotEvaluator for CostCounter {
    type Vec = CostVec;
    type Factor = CostFactor;
    type Summand = CostVec;

    fn slots(&self) -> usize {
        self.slots
    }

    fn level(&self, a: &CostVec) -> usize {
        a.level
    }

    fn scale(&self, a: &CostVec) -> f64 {
        a.scale
    }

    fn factor(&self, _: &dyn Fn() -> Vec<f64>, level: usize, scale: f64) -> Result<CostFactor, HeError> {
        Ok(self.plain(level, scale).into())
    }

    fn factors(
        &self,
        count: usize,
        period: usize,
        _: &(dyn Fn(usize) -> Vec<f64> + Sync),
        level: usize,
        scale: f64,
    ) -> Result<Vec<CostFactor>, HeError> {
        let vec = CostVec { level, scale };
        let share = (64 * period / self.slots).max(1) as u64;
        let held = self.held == Held::Coefficients;
        self.count(|t| {
            t.plains += count as u64;
            if !held {
                t.plain_limbs += count as u64 * (level as u64 + 1) * share / 64;
            }
        });
        Ok(vec![CostFactor { vec, transform: if held { share } else { 0 } }; count])
    }

    fn summand(&self, _: &dyn Fn() -> Vec<f64>, level: usize, scale: f64) -> Result<CostVec, HeError> {
        Ok(self.plain(level, scale))
    }

    fn add(&self, a: &CostVec, b: &CostVec) -> Result<CostVec, HeError> {
        self.alike("add", *a, *b)?;
        self.count(|t| t.pointwise += 2 * (a.level as u64 + 1));
        Ok(*a)
    }

    fn sub(&self, a: &CostVec, b: &CostVec) -> Result<CostVec, HeError> {
        self.add(a, b)
    }

    fn add_plain(&self, a: &CostVec, p: &CostVec) -> Result<CostVec, HeError> {
        self.add(a, p)
    }

    fn add_const(&self, a: &CostVec, _: f64) -> Result<CostVec, HeError> {
        self.count(|t| t.pointwise += a.level as u64 + 1);
        Ok(*a)
    }

    fn mul_const(&self, a: &CostVec, _: f64, scale: f64) -> Result<CostVec, HeError> {
        self.count(|t| t.pointwise += 2 * (a.level as u64 + 1));
        Ok(CostVec { level: a.level, scale: a.scale * scale })
    }

    fn divide(&self, a: &CostVec, by: f64) -> Result<CostVec, HeError> {
        Ok(CostVec { level: a.level, scale: a.scale * by })
    }

    fn dot_plain(&self, terms: &[(&CostVec, &CostFactor)]) -> Result<CostVec, HeError> {
        let (a0, p0) = terms.first().ok_or(HeError::EmptySum)?;
        let result = CostVec { level: a0.level, scale: a0.scale * p0.vec.scale };
        for (a, p) in terms {
            self.alike("dot_plain", CostVec { level: a.level, scale: a.scale * p.vec.scale }, result)?;
        }
        let limbs = a0.level as u64 + 1;
        self.count(|t| {
            t.plain_macs += 2 * terms.len() as u64 * limbs;
            t.small_ntts += terms.iter().map(|(_, p)| p.transform).sum::<u64>() * limbs;
        });
        Ok(result)
    }

    fn square(&self, a: &CostVec) -> Result<CostVec, HeError> {
        self.mul(a, a)
    }

    fn mul(&self, a: &CostVec, b: &CostVec) -> Result<CostVec, HeError> {
        self.alike("mul", CostVec { scale: 1.0, ..*a }, CostVec { scale: 1.0, ..*b })?;
        let q = self.prime(a.level)?;
        self.relinearise(a.level, 1);
        Ok(CostVec { level: a.level - 1, scale: a.scale * b.scale / q })
    }

    fn combine(&self, sum: &Combination<'_, CostVec>, level: usize, scale: f64) -> Result<CostVec, HeError> {
        check_combination(self, &self.primes, sum, level, scale)?;
        self.count(|t| t.pointwise += 2 * sum.terms.len() as u64 * (level as u64 + 1));
        if sum.products.is_empty() {
            return self.rescale(&CostVec { level, scale }).map(|v| CostVec { scale, ..v });
        }
        self.relinearise(level, sum.products.len());
        Ok(CostVec { level: level - 1, scale })
    }

    fn rescale(&self, a: &CostVec) -> Result<CostVec, HeError> {
        let q = self.prime(a.level)?;
        self.count(|t| t.rescale(a.level + 1));
        Ok(CostVec { level: a.level - 1, scale: a.scale / q })
    }

    fn drop_to(&self, a: &CostVec, level: usize) -> Result<CostVec, HeError> {
        if level > a.level {
            return Err(HeError::Operands {
                what: "drop_to",
                left: (a.level, a.scale),
                right: (level, a.scale),
            });
        }
        Ok(CostVec { level, ..*a })
    }

    fn settle(&self, a: CostVec, scale: f64) -> Result<CostVec, HeError> {
        let settled = CostVec { scale, ..a };
        self.alike("settle", a, settled)?;
        Ok(settled)
    }

    fn refresh(&self, a: &[CostVec], divisor: f64) -> Result<Vec<CostVec>, HeError> {
        let (refresh, [one, pair]) = self.refresh.as_ref().ok_or_else(no_bootstrap)?;
        for vectors in a.chunks(2) {
            self.count(|t| *t = t.plus(if vectors.len() == 2 { pair } else { one }));
        }
        let fresh = |a: &CostVec| {
            let level = refresh.level((a.level, a.scale), divisor)?;
            Ok(CostVec { level, ..*a })
        };
        a.iter().map(fresh).collect()
    }

    fn rotate(&self, a: &CostVec, step: i32) -> Result<CostVec, HeError> {
        self.rotate_many(a, &[step]).map(|_| *a)
    }

    fn rotate_many(&self, a: &CostVec, steps: &[i32]) -> Result<Vec<CostVec>, HeError> {
        if steps.iter().any(|s| s.rem_euclid(self.slots as i32) != 0) {
            self.decompose(a.level);
        }
        for &s in steps {
            self.note_rotation(s, a.level);
        }
        Ok(vec![*a; steps.len()])
    }

    fn weighted_sums(
        &self,
        inputs: &[CostVec],
        matrix: &ScalarMatrix,
        scale: f64,
    ) -> Result<Vec<CostVec>, HeError> {
        let first = inputs.first().ok_or(HeError::EmptySum)?;
        for a in inputs {
            self.alike("weighted_sums", *a, *first)?;
        }
        let entries: usize = matrix.rows.iter().map(Vec::len).sum();
        self.count(|t| t.scalar_macs += 2 * entries as u64 * (first.level as u64 + 1));
        Ok(vec![CostVec { level: first.level, scale: first.scale * scale }; matrix.rows.len()])
    }
}
