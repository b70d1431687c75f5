//! The price of a bootstrap from its parameters alone: nothing is encoded, no table is built.
//!
//! The modular reduction is counted by running it on a [`CostCounter`], the matrices from where their diagonals are.

use std::collections::BTreeSet;

use super::dft::Direction;
use super::eval_mod::EvalMod;
use super::sparsity::sparsities;
use super::{BootstrapParams, check_levels};
use crate::HeError;
use crate::ckks::{Gadget, Hoisting, KeySpec, ParamsLiteral, Sparsity, TransformPlan};
use crate::math::poly::limb_stride;
use crate::slots::{CostCounter, CostVec, SlotEvaluator, Tally, cheapest_plan, transform_tally};

/// One of the matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixCost {
    /// Level of the ciphertexts it takes.
    pub level: usize,
    /// Where its diagonals are.
    pub sparsity: Sparsity,
    /// How it is carried out.
    pub plan: TransformPlan,
    /// Work.
    pub work: Tally,
}

/// What a bootstrap takes.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapCost {
    /// Level a ciphertext must have at least.
    pub input_level: usize,
    /// Level of the result.
    pub output_level: usize,
    /// Work for one ciphertext.
    pub one: Tally,
    /// Work for two real ciphertexts in one run.
    pub pair: Tally,
    /// The matrices in the order of application: slots to coefficients, then coefficients to slots.
    pub matrices: Vec<MatrixCost>,
    /// Keys.
    pub keys: KeySpec,
    /// Bytes of these keys in memory.
    pub key_bytes: u64,
    /// Bytes of the prepared matrices.
    pub matrix_bytes: u64,
}

impl BootstrapCost {
    /// Price bootstrapping `params` as `boot` says. Takes milliseconds.
    ///
    /// # Errors
    /// [`crate::ckks::CkksError::Bootstrap`] if the chain or the groups do not fit, as when it is prepared.
    pub fn new(params: &ParamsLiteral, boot: &BootstrapParams) -> Result<Self, HeError> {
        let (down, up) = (&boot.slots_to_coefficients, &boot.coefficients_to_slots);
        let eval_mod = EvalMod::new(boot.range, boot.log_ratio, boot.degree, boot.doublings);
        let slots = 1usize << (params.log_n - 1);
        let top = params.max_level();
        check_levels(boot, slots, top, eval_mod.depth())?;
        let reduced_at = top - up.len();
        let levels = (1..=down.len()).rev().chain((reduced_at + 1..=top).rev());
        let patterns = sparsities(Direction::SlotsToCoefficients, down)
            .into_iter()
            .chain(sparsities(Direction::CoefficientsToSlots, up));
        let matrix = |(level, sparsity)| {
            let plan = cheapest_plan(params, level, &sparsity);
            MatrixCost { level, plan, work: transform_tally(params, level, &sparsity, plan), sparsity }
        };
        let matrices: Vec<MatrixCost> = levels.zip(patterns).map(matrix).collect();
        let mut shared = matrices.iter().fold(raise(top), |sum, m| sum.plus(&m.work));
        let steps = |m: &MatrixCost| m.sparsity.rotations(m.plan, slots).into_iter();
        let rotations = matrices.iter().flat_map(|m| steps(m).map(|step| (step, m.level))).collect();
        let matrix_bytes = matrices.iter().map(|m| matrix_bytes(params, m)).sum();
        let limbs = reduced_at + 1;
        let gadget = params.gadget(reduced_at);
        shared.decompose(limbs, gadget);
        shared.apply_key(limbs, gadget);
        shared.rotations += 1;
        let (reduced, output_level) = reduce(params, boot, &eval_mod, reduced_at)?;
        // Real part: an addition. Of a pair: joined and parted by the imaginary unit, each two more element-wise passes.
        let join = |passes: usize, limbs: usize| Tally {
            pointwise: (2 * passes * limbs) as u64,
            ..Tally::default()
        };
        let one = shared.plus(&join(1, limbs)).plus(&reduced);
        let parted = join(4, limbs).plus(&join(2, down.len() + 1));
        let pair = shared.plus(&parted).plus(&reduced).plus(&reduced);
        let level = Some(reduced_at);
        let keys = KeySpec {
            relin_level: level,
            conjugation_level: level,
            rotations,
            encapsulation: true,
            ..KeySpec::default()
        };
        let key_bytes = key_bytes(params, &keys);
        Ok(Self { input_level: down.len(), output_level, one, pair, matrices, keys, key_bytes, matrix_bytes })
    }
}

/// Switching to the sparse secret at level 0, and back after centred lifts to the top.
fn raise(top: usize) -> Tally {
    let mut t = Tally::default();
    let single = |level: usize| Gadget { alpha: level + 1, specials: 1 };
    for level in [0, top] {
        // The integer polynomial at every prime of the key, and the other half at those of the ciphertext.
        let limbs = level as u64 + 1;
        t.ntts += 1 + (limbs + 1) + limbs;
        t.pointwise += 2 * limbs + 1;
        t.apply_key(level + 1, single(level));
    }
    t
}

/// Work of the modular reduction, and the level after it.
fn reduce(
    params: &ParamsLiteral,
    boot: &BootstrapParams,
    eval_mod: &EvalMod,
    level: usize,
) -> Result<(Tally, usize), HeError> {
    // One relinearisation key serves all its levels, with the gadget of the highest.
    let gadgets = vec![params.gadget(level); params.q.len()];
    let counter = CostCounter::new(1 << (params.log_n - 1), &params.q, gadgets);
    let y = CostVec { level, scale: EvalMod::input_scale(&params.q, level) };
    let scale = params.default_scale * f64::from(boot.log_ratio).exp2();
    let out = eval_mod.apply(&counter, &y, &params.q, scale)?;
    Ok((counter.tally(), counter.level(&out)))
}

/// Bytes of a prepared matrix.
fn matrix_bytes(params: &ParamsLiteral, m: &MatrixCost) -> u64 {
    let specials = match m.plan.hoisting {
        Hoisting::Double => params.gadget(m.level).specials,
        Hoisting::Single => 0,
    };
    let words = m.sparsity.words_per_limb(1 << (params.log_n - 1)) * (m.level + 1 + specials);
    8 * (m.sparsity.diagonals() * words) as u64
}

/// Bytes in memory of the keys `spec` names.
fn key_bytes(params: &ParamsLiteral, spec: &KeySpec) -> u64 {
    let limbs =
        |level: usize, gadget: Gadget| (level + 1).div_ceil(gadget.alpha) * (level + 1 + gadget.specials);
    let switch = |level: usize| limbs(level, params.gadget(level));
    let rotations: BTreeSet<_> = spec.rotations.iter().collect();
    let named = spec.relin_level.into_iter().chain(spec.conjugation_level);
    let ordinary: usize = rotations.iter().map(|r| r.1).chain(named).map(switch).sum();
    // The keys to and from the sparse secret have one digit and one special prime.
    let pair = if spec.encapsulation { 2 + (params.max_level() + 2) } else { 0 };
    let words = 2 * (ordinary + pair) * limb_stride(1 << params.log_n);
    8 * words as u64
}

#[cfg(test)]
mod tests {
    use super::super::Bootstrapper;
    use super::*;
    use crate::ckks::{Context, ToyParams, d16, toy_deep};
    use crate::slots::{UnitCosts, reference};

    #[test]
    fn keys_levels_and_bytes_are_those_of_the_prepared_bootstrap() {
        for groups in [[3, 3, 3], [4, 3, 2]] {
            let params = toy_deep(10, 4);
            let boot = BootstrapParams::with_groups(groups.to_vec(), groups.to_vec());
            let ctx = Context::insecure(&ToyParams::new(params.clone()).unwrap()).unwrap();
            let made = Bootstrapper::new(&ctx, &boot).unwrap();
            let cost = BootstrapCost::new(&params, &boot).unwrap();
            assert_eq!(cost.keys, made.keys());
            assert_eq!((cost.input_level, cost.output_level), (made.input_level(), made.output_level()));
            assert_eq!(cost.matrix_bytes, made.bytes());
            assert_eq!(cost.key_bytes, ctx.key_bytes(&cost.keys).unwrap().memory);
        }
    }

    #[test]
    fn chains_and_groups_that_do_not_fit_are_refused() {
        let groups = |k: usize| BootstrapParams::with_groups(vec![k; 3], vec![3; 3]);
        assert!(BootstrapCost::new(&toy_deep(10, 4), &groups(3)).is_ok());
        assert!(BootstrapCost::new(&toy_deep(10, 4), &groups(4)).is_err());
        assert!(BootstrapCost::new(&toy_deep(10, 0), &groups(3)).is_err());
    }

    #[test]
    fn two_in_one_run_cost_less_than_two_runs() {
        let cost = BootstrapCost::new(&d16(), &BootstrapParams::d16()).unwrap();
        let costs: &UnitCosts = reference();
        let (one, pair) = (costs.seconds(&cost.one), costs.seconds(&cost.pair));
        assert!(one < pair && pair < 1.6 * one, "{one} {pair}");
    }
}
