//! The planned program on plain numbers: what the encrypted run would give without noise.

use rayon::prelude::*;

use super::{Combination, Refresh, ScalarMatrix, SlotEvaluator, check_combination, no_bootstrap, same_scale};
use crate::HeError;
use crate::plan::Program;

/// Slots of a vector in the clear, with the level and scale the ciphertext would have.
#[derive(Clone, Debug, PartialEq)]
pub struct ClearVec {
    /// The numbers.
    pub slots: Vec<f64>,
    /// Rescalings left.
    pub level: usize,
    /// Scale the ciphertext would have.
    pub scale: f64,
}

/// Known numbers to multiply with.
pub struct ClearFactor {
    /// What repeats over the slots.
    values: Vec<f64>,
    level: usize,
    scale: f64,
}

/// Evaluates on `f64` slots, following the levels and scales of the modulus chain.
pub struct ClearSlots {
    slots: usize,
    primes: Vec<u64>,
    refresh: Option<Refresh>,
}

impl ClearSlots {
    /// Vectors of `slots` numbers over a chain of primes, lowest level first.
    pub fn new(slots: usize, primes: &[u64]) -> Self {
        Self { slots, primes: primes.to_vec(), refresh: None }
    }

    /// For the slots, primes and bootstraps of a program.
    pub fn of(program: &Program) -> Self {
        let refresh = Refresh::of(program.refreshing.as_ref());
        Self { refresh, ..Self::new(program.slots(), program.chain.primes()) }
    }

    /// A fresh vector, zero-padded.
    pub fn fresh(&self, mut values: Vec<f64>, level: usize, scale: f64) -> ClearVec {
        values.resize(self.slots, 0.0);
        ClearVec { slots: values, level, scale }
    }

    fn repeating(&self, mut values: Vec<f64>, period: usize, level: usize, scale: f64) -> ClearFactor {
        values.resize(period, 0.0);
        values.shrink_to_fit();
        ClearFactor { values, level, scale }
    }

    fn prime(&self, level: usize) -> Result<f64, HeError> {
        match self.primes.get(level) {
            Some(&q) if level > 0 => Ok(q as f64),
            _ => Err(HeError::NoLevelLeft { level }),
        }
    }

    fn alike(&self, what: &'static str, a: (usize, f64), b: (usize, f64)) -> Result<(), HeError> {
        if a.0 == b.0 && same_scale(a.1, b.1) {
            Ok(())
        } else {
            Err(HeError::Operands { what, left: a, right: b })
        }
    }
}

impl SlotEvaluator for ClearSlots {
    type Vec = ClearVec;
    type Factor = ClearFactor;
    type Summand = ClearVec;

    fn slots(&self) -> usize {
        self.slots
    }

    fn level(&self, a: &ClearVec) -> usize {
        a.level
    }

    fn scale(&self, a: &ClearVec) -> f64 {
        a.scale
    }

    fn factor(
        &self,
        values: &dyn Fn() -> Vec<f64>,
        level: usize,
        scale: f64,
    ) -> Result<ClearFactor, HeError> {
        Ok(self.repeating(values(), self.slots, level, scale))
    }

    fn factors(
        &self,
        count: usize,
        period: usize,
        values: &(dyn Fn(usize) -> Vec<f64> + Sync),
        level: usize,
        scale: f64,
    ) -> Result<Vec<ClearFactor>, HeError> {
        let one = |i| self.repeating(values(i), period.clamp(1, self.slots), level, scale);
        Ok((0..count).into_par_iter().map(one).collect())
    }

    fn summand(&self, values: &dyn Fn() -> Vec<f64>, level: usize, scale: f64) -> Result<ClearVec, HeError> {
        Ok(self.fresh(values(), level, scale))
    }

    fn add(&self, a: &ClearVec, b: &ClearVec) -> Result<ClearVec, HeError> {
        self.alike("add", (a.level, a.scale), (b.level, b.scale))?;
        let slots = a.slots.iter().zip(&b.slots).map(|(x, y)| x + y).collect();
        Ok(ClearVec { slots, ..*a })
    }

    fn sub(&self, a: &ClearVec, b: &ClearVec) -> Result<ClearVec, HeError> {
        self.alike("sub", (a.level, a.scale), (b.level, b.scale))?;
        let slots = a.slots.iter().zip(&b.slots).map(|(x, y)| x - y).collect();
        Ok(ClearVec { slots, ..*a })
    }

    fn add_plain(&self, a: &ClearVec, p: &ClearVec) -> Result<ClearVec, HeError> {
        self.add(a, p)
    }

    fn add_const(&self, a: &ClearVec, c: f64) -> Result<ClearVec, HeError> {
        Ok(ClearVec { slots: a.slots.iter().map(|x| x + c).collect(), ..*a })
    }

    fn mul_const(&self, a: &ClearVec, c: f64, scale: f64) -> Result<ClearVec, HeError> {
        Ok(ClearVec {
            slots: a.slots.iter().map(|x| x * c).collect(),
            level: a.level,
            scale: a.scale * scale,
        })
    }

    fn divide(&self, a: &ClearVec, by: f64) -> Result<ClearVec, HeError> {
        Ok(ClearVec { slots: a.slots.iter().map(|x| x / by).collect(), level: a.level, scale: a.scale * by })
    }

    fn dot_plain(&self, terms: &[(&ClearVec, &ClearFactor)]) -> Result<ClearVec, HeError> {
        let (a0, p0) = terms.first().ok_or(HeError::EmptySum)?;
        let mut slots = vec![0.0; self.slots];
        for (a, p) in terms {
            self.alike("dot_plain", (a.level, a.scale * p.scale), (a0.level, a0.scale * p0.scale))?;
            self.alike("dot_plain", (a.level, 1.0), (p.level, 1.0))?;
            let period = p.values.len().max(1);
            for (s, x) in slots.chunks_mut(period).zip(a.slots.chunks(period)) {
                s.iter_mut().zip(x).zip(&p.values).for_each(|((s, x), y)| *s += x * y);
            }
        }
        Ok(ClearVec { slots, level: a0.level, scale: a0.scale * p0.scale })
    }

    fn square(&self, a: &ClearVec) -> Result<ClearVec, HeError> {
        self.mul(a, a)
    }

    fn mul(&self, a: &ClearVec, b: &ClearVec) -> Result<ClearVec, HeError> {
        self.alike("mul", (a.level, 1.0), (b.level, 1.0))?;
        let slots = a.slots.iter().zip(&b.slots).map(|(x, y)| x * y).collect();
        self.rescale(&ClearVec { slots, level: a.level, scale: a.scale * b.scale })
    }

    fn combine(
        &self,
        sum: &Combination<'_, ClearVec>,
        level: usize,
        scale: f64,
    ) -> Result<ClearVec, HeError> {
        check_combination(self, &self.primes, sum, level, scale)?;
        let mut slots = vec![0.0; self.slots];
        for (a, b) in &sum.products {
            slots.iter_mut().zip(&a.slots).zip(&b.slots).for_each(|((s, x), y)| *s += x * y);
        }
        slots.iter_mut().for_each(|s| *s = *s * f64::from(sum.times) + sum.constant);
        for (v, c) in &sum.terms {
            slots.iter_mut().zip(&v.slots).for_each(|(s, x)| *s += c * x);
        }
        Ok(ClearVec { slots, level: level - 1, scale })
    }

    fn rescale(&self, a: &ClearVec) -> Result<ClearVec, HeError> {
        let q = self.prime(a.level)?;
        Ok(ClearVec { slots: a.slots.clone(), level: a.level - 1, scale: a.scale / q })
    }

    fn drop_to(&self, a: &ClearVec, level: usize) -> Result<ClearVec, HeError> {
        if level > a.level {
            return Err(HeError::Operands {
                what: "drop_to",
                left: (a.level, a.scale),
                right: (level, a.scale),
            });
        }
        Ok(ClearVec { level, ..a.clone() })
    }

    fn settle(&self, a: ClearVec, scale: f64) -> Result<ClearVec, HeError> {
        self.alike("settle", (a.level, a.scale), (a.level, scale))?;
        Ok(ClearVec { scale, ..a })
    }

    fn refresh(&self, a: &[ClearVec], divisor: f64) -> Result<Vec<ClearVec>, HeError> {
        let refresh = self.refresh.ok_or_else(no_bootstrap)?;
        let one = |a: &ClearVec| {
            let level = refresh.level((a.level, a.scale), divisor)?;
            Ok(ClearVec { level, ..a.clone() })
        };
        a.iter().map(one).collect()
    }

    fn rotate(&self, a: &ClearVec, step: i32) -> Result<ClearVec, HeError> {
        let mut slots = a.slots.clone();
        slots.rotate_left(step.rem_euclid(self.slots as i32) as usize);
        Ok(ClearVec { slots, ..*a })
    }

    fn rotate_many(&self, a: &ClearVec, steps: &[i32]) -> Result<Vec<ClearVec>, HeError> {
        steps.iter().map(|&s| self.rotate(a, s)).collect()
    }

    fn weighted_sums(
        &self,
        inputs: &[ClearVec],
        matrix: &ScalarMatrix,
        scale: f64,
    ) -> Result<Vec<ClearVec>, HeError> {
        let first = inputs.first().ok_or(HeError::EmptySum)?;
        matrix
            .rows
            .iter()
            .map(|row| {
                let mut slots = vec![0.0; self.slots];
                for &(i, w) in row {
                    let a = inputs.get(i).ok_or(HeError::EmptySum)?;
                    self.alike("weighted_sums", (a.level, a.scale), (first.level, first.scale))?;
                    slots.iter_mut().zip(&a.slots).for_each(|(s, x)| *s += w * x);
                }
                Ok(ClearVec { slots, level: first.level, scale: first.scale * scale })
            })
            .collect()
    }
}
