//! Arithmetic on vectors of slots: one program, three evaluators.
//!
//! | evaluator | a vector is | for |
//! |---|---|---|
//! | [`ClearSlots`] | `f64` slots | the rung of the ladder before encryption |
//! | [`CostCounter`] | level and scale only | time, memory and the exact rotation keys, before paying |
//! | [`CkksSlots`] | a ciphertext | the encrypted run |
//!
//! Kernels (`crate::kernels`) are generic over [`SlotEvaluator`], so the plan, the simulation and the run cannot disagree:
//! they execute the same lines. Levels and scales ride on the vectors and follow the same rules in all three; operands
//! that do not fit are an error in each.

mod clear;
mod cost;
mod encrypted;
mod price;
mod tally;
mod transform_cost;

pub use clear::{ClearSlots, ClearVec};
pub use cost::{CostCounter, CostFactor, CostVec};
pub use encrypted::CkksSlots;
pub use price::{CostTable, UnitCosts, reference};
pub use tally::Tally;
pub use transform_cost::{cheapest_plan, transform_tally};

use rayon::prelude::*;

use crate::HeError;
pub use crate::ckks::Combination;

/// A sparse matrix of scalars for the batch layout: row `r` holds `(input vector, weight)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScalarMatrix {
    /// One entry list per output vector.
    pub rows: Vec<Vec<(usize, f64)>>,
}

/// Everything a kernel may do with slot vectors, and nothing else.
pub trait SlotEvaluator: Sync {
    /// A vector of slots with its level and scale.
    type Vec: Clone + Send + Sync;
    /// A vector of known numbers, ready to be multiplied in at one level and scale.
    type Factor: Send + Sync;
    /// A vector of known numbers, ready to be added at one level and scale.
    type Summand: Send + Sync;

    /// Slots per vector.
    fn slots(&self) -> usize;
    /// Level of a vector: how many rescalings are left.
    fn level(&self, a: &Self::Vec) -> usize;
    /// Scale of a vector.
    fn scale(&self, a: &Self::Vec) -> f64;

    /// Prepare known numbers for multiplication. `values` is called only by evaluators that need them.
    ///
    /// # Errors
    /// Values too large for the level.
    fn factor(
        &self,
        values: &dyn Fn() -> Vec<f64>,
        level: usize,
        scale: f64,
    ) -> Result<Self::Factor, HeError>;
    /// Prepare `count` vectors for multiplication, which all repeat after `period` slots.
    ///
    /// # Errors
    /// As [`SlotEvaluator::factor`].
    fn factors(
        &self,
        count: usize,
        _period: usize,
        values: &(dyn Fn(usize) -> Vec<f64> + Sync),
        level: usize,
        scale: f64,
    ) -> Result<Vec<Self::Factor>, HeError> {
        (0..count).into_par_iter().map(|i| self.factor(&|| values(i), level, scale)).collect()
    }
    /// Prepare known numbers for addition.
    ///
    /// # Errors
    /// Values too large for the level.
    fn summand(
        &self,
        values: &dyn Fn() -> Vec<f64>,
        level: usize,
        scale: f64,
    ) -> Result<Self::Summand, HeError>;

    /// `a + b`; equal levels and scales.
    ///
    /// # Errors
    /// Levels or scales that differ.
    fn add(&self, a: &Self::Vec, b: &Self::Vec) -> Result<Self::Vec, HeError>;
    /// `a − b`; equal levels and scales.
    ///
    /// # Errors
    /// Levels or scales that differ.
    fn sub(&self, a: &Self::Vec, b: &Self::Vec) -> Result<Self::Vec, HeError>;
    /// `a + p`.
    ///
    /// # Errors
    /// Levels or scales that differ.
    fn add_plain(&self, a: &Self::Vec, p: &Self::Summand) -> Result<Self::Vec, HeError>;
    /// `a + c` in every slot.
    ///
    /// # Errors
    /// A constant too large for the level.
    fn add_const(&self, a: &Self::Vec, c: f64) -> Result<Self::Vec, HeError>;
    /// `c·a`, the constant rounded at `scale`; not rescaled.
    ///
    /// # Errors
    /// A constant too large for the level.
    fn mul_const(&self, a: &Self::Vec, c: f64, scale: f64) -> Result<Self::Vec, HeError>;
    /// `a / by`, by multiplying the recorded scale: free and exact.
    ///
    /// # Errors
    /// A scale that would leave the usable range.
    fn divide(&self, a: &Self::Vec, by: f64) -> Result<Self::Vec, HeError>;
    /// `Σ aᵢ ⊙ pᵢ`, not rescaled.
    ///
    /// # Errors
    /// Levels or scales that differ, or an empty sum.
    fn dot_plain(&self, terms: &[(&Self::Vec, &Self::Factor)]) -> Result<Self::Vec, HeError>;
    /// `a ⊙ a`, relinearised and rescaled.
    ///
    /// # Errors
    /// No level left.
    fn square(&self, a: &Self::Vec) -> Result<Self::Vec, HeError>;
    /// `a ⊙ b`, relinearised and rescaled; equal levels.
    ///
    /// # Errors
    /// No level left, or levels that differ.
    fn mul(&self, a: &Self::Vec, b: &Self::Vec) -> Result<Self::Vec, HeError>;
    /// A sum of products and constant multiples, relinearised once and rescaled once: exactly `scale`, at `level - 1`.
    /// Operands lie at or above `level`; every product has the scale `scale · q_level`.
    ///
    /// # Errors
    /// No level left, operands below `level`, products of another scale, constants that do not fit, or an empty sum.
    fn combine(
        &self,
        sum: &Combination<'_, Self::Vec>,
        level: usize,
        scale: f64,
    ) -> Result<Self::Vec, HeError>;
    /// Divide the scale by the top prime and fall one level.
    ///
    /// # Errors
    /// No level left.
    fn rescale(&self, a: &Self::Vec) -> Result<Self::Vec, HeError>;
    /// Fall to `level` without changing the numbers.
    ///
    /// # Errors
    /// A level above the present one.
    fn drop_to(&self, a: &Self::Vec, level: usize) -> Result<Self::Vec, HeError>;
    /// Slot `i` of the result is slot `i + step` of `a`.
    ///
    /// # Errors
    /// No key for the step.
    fn rotate(&self, a: &Self::Vec, step: i32) -> Result<Self::Vec, HeError>;
    /// The same vector with exactly this scale recorded, from which its own differs by rounding of the last bits only. Such
    /// differences pass through linear layers and double with every square, so deep programs remove them.
    ///
    /// # Errors
    /// A scale that is another one.
    fn settle(&self, a: Self::Vec, scale: f64) -> Result<Self::Vec, HeError>;
    /// The same numbers at a higher level: bootstraps, each for two vectors where there are two. They lie within `divisor`, and the
    /// scale is that of the bootstrap over it.
    ///
    /// # Errors
    /// An evaluator that was not prepared for it, a level too low, or another scale.
    fn refresh(&self, a: &[Self::Vec], divisor: f64) -> Result<Vec<Self::Vec>, HeError>;
    /// Several rotations of one vector, decomposed once (hoisting).
    ///
    /// # Errors
    /// No key for a step.
    fn rotate_many(&self, a: &Self::Vec, steps: &[i32]) -> Result<Vec<Self::Vec>, HeError>;
    /// `Σ wᵢ·aᵢ` for every row, weights rounded at `scale`; not rescaled.
    ///
    /// # Errors
    /// Levels or scales that differ.
    fn weighted_sums(
        &self,
        inputs: &[Self::Vec],
        matrix: &ScalarMatrix,
        scale: f64,
    ) -> Result<Vec<Self::Vec>, HeError>;
}

/// Refusal of an evaluator that cannot refresh.
fn no_bootstrap() -> HeError {
    HeError::Foreign { why: "a bootstrap, which this evaluator was not prepared for".into() }
}

/// Levels of a bootstrap for the evaluators without ciphertexts, which ask of operands what it asks.
#[derive(Clone, Copy, Debug)]
struct Refresh {
    from: usize,
    to: usize,
    scale: f64,
}

impl Refresh {
    fn of(refreshing: Option<&crate::plan::Refreshing>) -> Option<Self> {
        refreshing.map(|r| Self { from: r.cost.input_level, to: r.cost.output_level, scale: r.scale })
    }

    /// The level of the result.
    fn level(self, a: (usize, f64), divisor: f64) -> Result<usize, HeError> {
        if a.0 >= self.from && same_scale(a.1 * divisor, self.scale) {
            Ok(self.to)
        } else {
            let right = (self.from, self.scale / divisor);
            Err(HeError::Operands { what: "refresh", left: a, right })
        }
    }
}

/// Largest relative difference of scales that may be added: half an ulp of a 30-bit message.
pub(crate) const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// What the evaluators without ciphertexts ask of a combination, as the engine does.
fn check_combination<E: SlotEvaluator>(
    e: &E,
    primes: &[u64],
    sum: &Combination<'_, E::Vec>,
    level: usize,
    scale: f64,
) -> Result<(), HeError> {
    let q = match primes.get(level) {
        Some(&q) if level > 0 => q as f64,
        _ => return Err(HeError::NoLevelLeft { level }),
    };
    if sum.products.is_empty() && sum.terms.is_empty() {
        return Err(HeError::EmptySum);
    }
    let refuse = |a: &E::Vec, have: f64, want: f64| {
        let (left, right) = ((e.level(a), have), (level, want));
        Err(HeError::Operands { what: "combine", left, right })
    };
    for (a, b) in &sum.products {
        let product = e.scale(a) * e.scale(b);
        if !same_scale(product, scale * q) || e.level(a) < level || e.level(b) < level {
            return refuse(a, product, scale * q);
        }
    }
    match sum.terms.iter().find(|(v, _)| e.level(v) < level) {
        Some((v, _)) => refuse(v, e.scale(v), e.scale(v)),
        None => Ok(()),
    }
}

/// Whether two scales may be added.
pub(crate) fn same_scale(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() <= SCALE_TOLERANCE
}
