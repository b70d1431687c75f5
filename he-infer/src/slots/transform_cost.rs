//! The price of a linear transform before its matrix exists, and the cheapest way to carry it out.
//!
//! With `b` babies, `g` giant sums, `d` diagonals and `M = L + K` (`L = level + 1` limbs, `K` special primes):
//!
//! | | double hoisting | single hoisting |
//! |---|---|---|
//! | once | decompose | decompose |
//! | each baby but the first | inner product | inner product, two divisions by `P` |
//! | sums | `2 d M` MACs | `2 d L` MACs |
//! | each giant but the last | division by `P`, decompose, inner product | decompose, inner product, two divisions by `P` |
//! | at the end | two divisions by `P q` | rescale |

use super::price::{self, UnitCosts};
use super::tally::Tally;
use crate::ckks::{Hoisting, ParamsLiteral, Sparsity, TransformPlan};

/// A plan this much slower than the fastest is taken if it needs fewer keys: keys are what fills the memory (the fastest plans of
/// preset `d16` need 4.5 GB of them for 4 % of the time of a bootstrap).
const KEY_TOLERANCE: f64 = 1.2;

/// Work of `Context::apply_transform` at `level`.
#[must_use]
pub fn transform_tally(
    params: &ParamsLiteral,
    level: usize,
    sparsity: &Sparsity,
    plan: TransformPlan,
) -> Tally {
    let gadget = params.gadget(level);
    let (limbs, specials, slots) = (level + 1, gadget.specials, 1 << (params.log_n - 1));
    let (babies, giants) = sparsity.steps(plan.babies);
    let (keyed, giants) = (babies - 1, giants.saturating_sub(1));
    let mut t = Tally { rotations: (keyed + giants) as u64, ..Tally::default() };
    let mut pointwise = 0;
    t.decompose(limbs, gadget);
    let width = match plan.hoisting {
        Hoisting::Double => limbs + specials,
        Hoisting::Single => limbs,
    };
    for _ in 0..keyed {
        match plan.hoisting {
            Hoisting::Double => {
                t.inner_product(limbs, gadget);
                // Both halves are permuted, limb by limb in cache.
                pointwise += width;
            }
            Hoisting::Single => t.apply_key(limbs, gadget),
        }
    }
    // Plaintexts come from memory; without a tile in cache so do the babies.
    pointwise += sparsity.diagonals() * width * sparsity.words_per_limb(slots) / (2 * slots);
    if plan.hoisting == Hoisting::Single {
        pointwise += limbs * (keyed + 1);
    }
    for _ in 0..giants {
        t.decompose(limbs, gadget);
        match plan.hoisting {
            Hoisting::Double => {
                t.inner_product(limbs, gadget);
                t.divide(1, limbs, specials);
            }
            Hoisting::Single => t.apply_key(limbs, gadget),
        }
        // Permuted and added to the next sum.
        pointwise += 2 * width;
    }
    match plan.hoisting {
        Hoisting::Double => t.divide(2, level, specials + 1),
        Hoisting::Single => t.rescale(limbs),
    }
    t.spread_macs = 2 * (sparsity.diagonals() * width) as u64;
    t.pointwise += pointwise as u64;
    t
}

/// The plan to use for a matrix at `level`: the fastest by [`price::reference`], or one nearly as fast with fewer keys. It is the
/// same on every machine.
///
/// Of the matrices of preset `d16`, single hoisting wins at level 1 only: 19.5 ms against 20.4 measured, for 32 diagonals and 4
/// babies. At levels 2 and 3 it takes 1.13 and 1.24 times as long with the same babies, at
/// the top 1.2 to 1.4 times.
#[must_use]
pub fn cheapest_plan(params: &ParamsLiteral, level: usize, sparsity: &Sparsity) -> TransformPlan {
    let costs = UnitCosts { log_n: params.log_n, ..price::reference().clone() };
    let priced: Vec<_> = candidates(sparsity)
        .map(|plan| {
            let keys = sparsity.rotations(plan, 1 << (params.log_n - 1)).len();
            (costs.seconds(&transform_tally(params, level, sparsity, plan)), keys, plan)
        })
        .collect();
    let fastest = priced.iter().map(|p| p.0).fold(f64::INFINITY, f64::min);
    let near = priced.into_iter().filter(|p| p.0 <= fastest * KEY_TOLERANCE);
    let best = near.min_by(|a, b| a.1.cmp(&b.1).then(a.0.total_cmp(&b.0)));
    best.map_or(TransformPlan { babies: 1, hoisting: Hoisting::Single }, |p| p.2)
}

/// Every power of two up to all diagonals in one sum, hoisted both ways.
fn candidates(sparsity: &Sparsity) -> impl Iterator<Item = TransformPlan> {
    let most = sparsity.present.len().max(1).next_power_of_two().ilog2();
    (0..=most).flat_map(|log| {
        [Hoisting::Double, Hoisting::Single].map(|hoisting| TransformPlan { babies: 1 << log, hoisting })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::d16;

    #[test]
    fn the_chosen_plan_is_the_cheapest_within_the_tolerance_for_keys() {
        let params = d16();
        let costs = price::reference();
        for (level, diagonals) in [(1, 32), (3, 63), (8, 9), (27, 31), (29, 16)] {
            let sparsity = Sparsity { stride: 1, present: vec![true; diagonals], period: 1 << 15 };
            let price = |plan| costs.seconds(&transform_tally(&params, level, &sparsity, plan));
            let keys = |plan| sparsity.rotations(plan, 1 << 15).len();
            let chosen = cheapest_plan(&params, level, &sparsity);
            for plan in candidates(&sparsity) {
                assert!(price(chosen) <= KEY_TOLERANCE * price(plan), "level {level}: {chosen:?}, {plan:?}");
                let faster = price(plan) <= price(chosen) && keys(plan) <= keys(chosen);
                assert!(!faster || plan == chosen, "level {level}: {chosen:?} not better than {plan:?}");
            }
        }
    }
}
