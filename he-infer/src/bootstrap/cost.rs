//! The price of a bootstrap from its parameters alone: nothing is encoded, no table is built.

use std::collections::BTreeSet;

use super::BootstrapParams;
use super::layout::Layout;
use super::noise;
use super::run_tally::RunTally;
use crate::HeError;
use crate::ckks::{Gadget, Hoisting, KeyForm, KeySpec, ParamsLiteral, Sparsity, TransformPlan};
use crate::slots::Tally;

/// One of the matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixCost {
    /// Level of the ciphertexts it takes.
    pub level: usize,
    /// Where its diagonals are.
    pub sparsity: Sparsity,
    /// How it is carried out.
    pub plan: TransformPlan,
    /// Work of applying it once.
    pub work: Tally,
}

/// What a bootstrap takes.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapCost {
    /// Level a ciphertext must have at least.
    pub input_level: usize,
    /// Level of the result.
    pub output_level: usize,
    /// Work for one real ciphertext, both runs of double precision included.
    pub one: Tally,
    /// Work for two real ciphertexts in one run.
    pub pair: Tally,
    /// Work for one ciphertext with complex slots.
    pub complex: Tally,
    /// The matrices in the order of application.
    pub matrices: Vec<MatrixCost>,
    /// Keys.
    pub keys: KeySpec,
    /// Bytes of these keys in memory.
    pub key_bytes: u64,
    /// Bytes of the prepared matrices.
    pub matrix_bytes: u64,
    /// [`super::Bootstrapper::error`].
    pub error: (f64, f64),
}

impl BootstrapCost {
    /// Price bootstrapping `params` as `boot` says. Takes milliseconds.
    ///
    /// # Errors
    /// [`crate::ckks::CkksError::Bootstrap`] if chain, groups or precision do not fit, as when it is prepared.
    pub fn new(params: &ParamsLiteral, boot: &BootstrapParams) -> Result<Self, HeError> {
        let layout = Layout::new(params, boot)?;
        let run = RunTally::new(params, &layout)?;
        let matrices: Vec<MatrixCost> = layout
            .transforms()
            .into_iter()
            .flat_map(|t| &t.matrices)
            .map(|m| MatrixCost {
                level: m.level,
                sparsity: m.sparsity.clone(),
                plan: m.plan,
                work: run.matrix(m),
            })
            .collect();
        let slots = 1usize << (params.log_n - 1);
        let steps = |m: &MatrixCost| m.sparsity.rotations(m.plan, slots).into_iter();
        let keys = layout.keys(params, matrices.iter().flat_map(|m| steps(m).map(|step| (step, m.level))));
        Ok(Self {
            input_level: layout.input_level,
            output_level: layout.output_level,
            one: run.bootstrap(),
            pair: run.bootstrap_pair(),
            complex: run.bootstrap_complex(),
            key_bytes: key_bytes(params, &keys),
            matrix_bytes: matrices.iter().map(|m| matrix_bytes(params, m)).sum(),
            matrices,
            keys,
            error: noise::error(params, &layout),
        })
    }
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
    let switch = |level: usize| params.half_key_bytes(level, params.gadget(level));
    let rotations: BTreeSet<_> = spec.rotations.iter().collect();
    let named = spec.relin_level.into_iter().chain(spec.conjugation_level);
    let ordinary: u64 = rotations.iter().map(|r| r.1).chain(named).map(switch).sum();
    // The keys to and from the sparse secret have one digit and one special prime.
    let whole = Gadget { alpha: params.max_level() + 1, specials: 1 };
    let pair = [0, params.max_level()].map(|level| params.half_key_bytes(level, whole));
    let pair = if spec.encapsulation { pair.iter().sum() } else { 0 };
    let halves = if spec.form == KeyForm::Expanded { 2 } else { 1 };
    halves * (ordinary + pair)
}

#[cfg(test)]
mod tests {
    use super::super::Bootstrapper;
    use super::*;
    use crate::ckks::{Context, ToyParams, d16, toy_deep};
    use crate::slots::{UnitCosts, reference};

    #[test]
    fn keys_levels_and_bytes_are_those_of_the_prepared_bootstrap() {
        let groups = |down: &[usize], up: &[usize]| BootstrapParams::with_groups(down.to_vec(), up.to_vec());
        let other_ratio = |boot: BootstrapParams| BootstrapParams { log_ratio: 9, ..boot.raise_first() };
        let params = toy_deep(10, 4);
        let ctx = Context::insecure(&ToyParams::new(params.clone()).unwrap()).unwrap();
        for full in [
            groups(&[3, 3, 3], &[3, 3, 3]),
            groups(&[4, 3, 2], &[4, 3, 2]),
            groups(&[3, 2], &[2, 2, 1]),
            groups(&[4], &[2, 1, 1]),
        ] {
            let variants = [
                full.clone(),
                full.clone().double_precision(),
                full.clone().raise_first(),
                other_ratio(full),
            ];
            for boot in variants {
                let made = Bootstrapper::new(&ctx, &boot).unwrap();
                let cost = BootstrapCost::new(&params, &boot).unwrap();
                assert_eq!(cost.keys, made.keys(), "{boot:?}");
                let levels = (cost.input_level, cost.output_level);
                assert_eq!(levels, (made.input_level(), made.output_level()), "{boot:?}");
                assert_eq!(cost.matrix_bytes, made.bytes(), "{boot:?}");
                assert_eq!(cost.key_bytes, ctx.key_bytes(&cost.keys).unwrap().memory, "{boot:?}");
            }
        }
    }

    #[test]
    fn chains_groups_and_precisions_that_do_not_fit_are_refused() {
        let groups = |k: usize| BootstrapParams::with_groups(vec![k; 3], vec![3; 3]);
        assert!(BootstrapCost::new(&toy_deep(10, 4), &groups(3)).is_ok());
        assert!(BootstrapCost::new(&toy_deep(10, 4), &groups(4)).is_err());
        assert!(BootstrapCost::new(&toy_deep(10, 0), &groups(3)).is_err());
        let double = groups(3).raise_first().double_precision();
        assert!(BootstrapCost::new(&toy_deep(10, 4), &double).is_err());
    }

    #[test]
    fn variants_cost_what_they_do_more_or_less_than_the_default() {
        let price = |boot: BootstrapParams| BootstrapCost::new(&d16(), &boot).unwrap();
        let costs: &UnitCosts = reference();
        let seconds = |t: &Tally| costs.seconds(t);
        let full = price(BootstrapParams::d16());
        let (one, pair) = (seconds(&full.one), seconds(&full.pair));
        assert!(one < pair && pair < 1.6 * one, "two in one run: {one} {pair}");
        let complex = seconds(&full.complex);
        assert!((complex / pair - 1.0).abs() < 0.02, "complex slots: {complex} {pair}");
        let double = price(BootstrapParams::d16().double_precision());
        let twice = seconds(&double.one);
        assert!(twice > 2.0 * one && twice < 2.3 * one, "two runs: {one} {twice}");
        assert_eq!(double.keys, full.keys);
        let raised = price(BootstrapParams::d16().raise_first());
        let last = seconds(&raised.complex);
        assert!(last > complex && raised.key_bytes > full.key_bytes, "high matrices: {complex} {last}");
        assert_eq!(raised.output_level - raised.input_level, full.output_level - full.input_level);
        let sparse = price(BootstrapParams::d16_sparse(10));
        let few = seconds(&sparse.one);
        assert!(few < one && sparse.key_bytes < full.key_bytes, "2^10 values: {one} {few}");
    }
}
