//! Where everything of a bootstrap takes place, from parameters alone: preparing and pricing read the same description.
//!
//! From level 0 on the left to the top on the right:
//!
//! ```text
//! slots first   slots to coefficients │ application │ modular reduction │ coefficients to slots │
//!                            input_level       output_level         reduced_at             top, trace
//! raise first   scale │ application │ slots to coefficients │ modular reduction │ coefficients to slots │
//!            input_level       output_level                                 reduced_at             top, trace
//! ```

use super::dft::Direction;
use super::eval_mod::EvalMod;
use super::noise;
use super::sparsity::sparsities;
use super::{BootstrapParams, Order, Precision};
use crate::ckks::{CkksError, KeyForm, KeySpec, ParamsLiteral, Sparsity, TransformPlan};
use crate::slots::cheapest_plan;

/// One matrix before its numbers.
pub(super) struct Placed {
    /// Level of the ciphertexts it takes.
    pub level: usize,
    pub scale_in: f64,
    pub scale_out: f64,
    pub sparsity: Sparsity,
    pub plan: TransformPlan,
}

/// One of the two Fourier transforms.
pub(super) struct Transform {
    pub direction: Direction,
    /// Stages of each matrix.
    pub groups: Vec<usize>,
    /// The entries of each matrix are multiplied by this.
    pub factor: f64,
    /// In the order of application.
    pub matrices: Vec<Placed>,
}

/// A whole bootstrap.
pub(super) struct Layout {
    pub order: Order,
    /// Slots to coefficients.
    pub down: Transform,
    /// Coefficients to slots.
    pub up: Transform,
    pub eval_mod: EvalMod,
    /// Steps that, rotated and added one after the other, join the copies of all values.
    pub trace: Vec<i32>,
    /// Values that a ciphertext repeats, and how often.
    pub slots: usize,
    pub copies: usize,
    pub top: usize,
    pub input_level: usize,
    /// Level after coefficients to slots.
    pub reduced_at: usize,
    pub output_level: usize,
    /// Scale of the ciphertext whose modulus is raised, and `q_0` over it.
    pub bottom_scale: f64,
    pub ratio: f64,
    /// `2^k` for the second run of double precision.
    pub magnification: Option<f64>,
}

impl Layout {
    /// # Errors
    /// [`CkksError::Bootstrap`] if chain, groups or precision do not fit.
    pub fn new(params: &ParamsLiteral, boot: &BootstrapParams) -> Result<Self, CkksError> {
        let (down_groups, up_groups) = (&boot.slots_to_coefficients, &boot.coefficients_to_slots);
        let log_slots = check_groups(params, boot)?;
        let order = boot.order;
        let slots_first = order == Order::SlotsFirst;
        let eval_mod = EvalMod::new(boot.range, boot.log_ratio, boot.degree, boot.doublings, boot.spread);
        let (delta, q0) = (params.default_scale, params.q.first().map_or(1.0, |q| *q as f64));
        let mut bottom_scale = q0 / f64::from(boot.log_ratio).exp2();
        // Nearly equal scales are taken for each other before the modular reduction, exactly: the ratio takes it up.
        if !slots_first && (bottom_scale / delta - 1.0).abs() < 2f64.powi(-20) {
            bottom_scale = delta;
        }
        let input_level = match order {
            Order::SlotsFirst => down_groups.len(),
            Order::RaiseFirst => usize::from(bottom_scale != delta),
        };
        let below_up = eval_mod.depth() + if slots_first { 0 } else { down_groups.len() };
        let top = params.max_level();
        check_levels(input_level + below_up + up_groups.len(), top)?;
        let reduced_at = top - up_groups.len();
        let (slots, copies) = (1usize << log_slots, 1usize << (params.log_n as usize - 1 - log_slots));
        let place = |direction, groups: &[usize], factor, from: usize, (scale, last): (f64, f64)| {
            let place = |(i, sparsity): (usize, Sparsity)| {
                let level = from - i;
                let scale_out = if i + 1 == groups.len() { last } else { scale };
                let plan = cheapest_plan(params, level, &sparsity);
                Placed { level, scale_in: scale, scale_out, sparsity, plan }
            };
            let matrices = sparsities(direction, groups).into_iter().enumerate().map(place).collect();
            Transform { direction, groups: groups.to_vec(), factor, matrices }
        };
        let (down_at, down_to) =
            if slots_first { (input_level, bottom_scale) } else { (reduced_at - eval_mod.depth(), delta) };
        // The trace multiplies by the number of copies.
        let factor = (0.5 / boot.range as f64 / copies as f64).powf(1.0 / up_groups.len() as f64);
        let wide = EvalMod::input_scale(&params.q, reduced_at);
        let mut made = Self {
            order,
            down: place(Direction::SlotsToCoefficients, down_groups, 1.0, down_at, (delta, down_to)),
            up: place(Direction::CoefficientsToSlots, up_groups, factor, top, (q0, wide)),
            eval_mod,
            trace: (0..copies.ilog2()).map(|i| (slots << i) as i32).collect(),
            slots,
            copies,
            top,
            input_level,
            reduced_at,
            output_level: reduced_at - below_up,
            bottom_scale,
            ratio: q0 / bottom_scale,
            magnification: None,
        };
        if boot.precision == Precision::Double {
            made.magnification = Some(noise::magnification(params, &made)?);
        }
        Ok(made)
    }

    /// Both transforms in the order of application.
    pub fn transforms(&self) -> [&Transform; 2] {
        match self.order {
            Order::SlotsFirst => [&self.down, &self.up],
            Order::RaiseFirst => [&self.up, &self.down],
        }
    }

    /// All keys, given the rotations of the matrices.
    pub fn keys(&self, params: &ParamsLiteral, matrices: impl IntoIterator<Item = (i32, usize)>) -> KeySpec {
        let trace = self.trace.iter().map(|step| (*step, self.top));
        let mut all: Vec<_> = matrices.into_iter().chain(trace).collect();
        all.sort_unstable();
        all.dedup();
        // The key for the next higher level serves as well where it is cut into the same digits.
        let gadget = |level: usize| params.gadget(level);
        let next = all.iter().skip(1).map(Some).chain([None]);
        let rotations = all.iter().zip(next).filter(|((step, level), next)| {
            !next.is_some_and(|(other, above)| other == step && gadget(*above) == gadget(*level))
        });
        let level = Some(self.reduced_at);
        KeySpec {
            relin_level: level,
            conjugation_level: level,
            rotations: rotations.map(|(key, _)| *key).collect(),
            encapsulation: true,
            // Gigabytes, each read once or a few times: made from its seed as fast as it comes from memory.
            form: KeyForm::Seeded,
        }
    }
}

/// Whether the groups fit the ring, and the special primes `q_0`. Logarithm of the values.
fn check_groups(params: &ParamsLiteral, boot: &BootstrapParams) -> Result<usize, CkksError> {
    let (down, up) = (&boot.slots_to_coefficients, &boot.coefficients_to_slots);
    let most = (params.log_n as usize).saturating_sub(1);
    let stages = |groups: &[usize]| groups.iter().fold(0, |sum: usize, g| sum.saturating_add(*g));
    let log_slots = stages(up);
    if stages(down) != log_slots || log_slots == 0 || log_slots > most {
        let detail = format!(
            "groups {down:?} and {up:?} must both add up to the logarithm of the values, from 1 to {most}"
        );
        return Err(CkksError::Bootstrap { detail });
    }
    if up.iter().chain(down).any(|g| *g == 0) {
        let detail = format!("groups {down:?} and {up:?} must not contain 0");
        return Err(CkksError::Bootstrap { detail });
    }
    let first = |primes: &[u64]| primes.first().map_or(1.0, |p| *p as f64);
    let (p0, q0) = (first(&params.p), first(&params.q));
    if p0 < q0 / 2.0 {
        let detail = format!("the first special prime ({p0}) must not be below half of q_0 ({q0})");
        return Err(CkksError::Bootstrap { detail });
    }
    Ok(log_slots)
}

/// Whether a chain with `top` levels has one for the application besides the `need`ed ones.
fn check_levels(need: usize, top: usize) -> Result<(), CkksError> {
    if top > need {
        return Ok(());
    }
    let detail =
        format!("{need} levels are needed and at least one for the application, the chain has {top}");
    Err(CkksError::Bootstrap { detail })
}
