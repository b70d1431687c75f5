//! Bootstrapping: a ciphertext without levels becomes one with levels and the same message.
//!
//! ```text
//! slots to coefficients ─► switch to a sparse secret ─► raise the modulus ─► coefficients to slots ─► remove multiples of q_0
//!   (Δ to q_0 / 2^r)                                      (scale q_0)          (real and imaginary)     (back to Δ)
//! ```
//! Slots to coefficients comes first, at the lowest levels where it is cheap, and the modular reduction acts on slots
//! (Cheon et al. 2018; Chen, Chillotti, Song 2019; Bossuat et al. 2021, 2022). Two real ciphertexts share one run as real and
//! imaginary part. Slots must lie in [-1, 1]; larger ones come back wrong, without a warning: the planner divides by the
//! calibrated bound first.

mod cost;
mod dft;
mod eval_mod;
mod sparsity;

use crate::HeError;
use crate::ckks::{Ciphertext, CkksError, Context, EvalKeys, KeySpec, LinearTransform, NoiseModel};
use crate::slots::{CkksSlots, cheapest_plan};
pub use cost::{BootstrapCost, MatrixCost};
use dft::Direction;
use eval_mod::EvalMod;

/// How a parameter set bootstraps.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapParams {
    /// Fourier stages per matrix of slots to coefficients, and of coefficients to slots, in the order of application. Their
    /// sums are the logarithm of the slots; one level each.
    pub slots_to_coefficients: Vec<usize>,
    /// As above.
    pub coefficients_to_slots: Vec<usize>,
    /// `log2(q_0 / scale)` at level 0. Larger means less error from the sine and more from noise.
    pub log_ratio: u32,
    /// Bound of the integers that raising the modulus adds: 16 for an ephemeral secret of weight 32. They are roundings of a sum
    /// of 32 uniform numbers; one of `2^16` reaches 16 with probability `2^17 2^-32 / 32! = 2^-132`.
    pub range: usize,
    /// Degree of the cosine's polynomial (even) and the number of angle doublings after it.
    pub degree: usize,
    /// As above.
    pub doublings: usize,
}

impl BootstrapParams {
    /// For the deep preset [`crate::ckks::d16`]: 13 levels afterwards.
    #[must_use]
    pub fn d16() -> Self {
        Self::with_groups(vec![5, 5, 5], vec![4, 4, 4, 3])
    }

    /// The default modular reduction with the given matrices.
    #[must_use]
    pub fn with_groups(slots_to_coefficients: Vec<usize>, coefficients_to_slots: Vec<usize>) -> Self {
        Self {
            slots_to_coefficients,
            coefficients_to_slots,
            log_ratio: 10,
            range: 16,
            degree: 30,
            doublings: 3,
        }
    }
}

/// Everything that bootstrapping under one context needs besides keys.
pub struct Bootstrapper<'a> {
    context: &'a Context,
    down: Vec<LinearTransform>,
    up: Vec<LinearTransform>,
    eval_mod: EvalMod,
    log_ratio: u32,
    /// Level after coefficients to slots.
    reduced_at: usize,
}

impl<'a> Bootstrapper<'a> {
    /// Prepare the matrices. The chain of `context` must hold, from the bottom: one level per matrix of slots to
    /// coefficients, levels for the application, levels for the modular reduction and one level per matrix of coefficients
    /// to slots.
    ///
    /// # Errors
    /// [`CkksError::Bootstrap`] if the chain or the groups do not fit, or an encoding error.
    pub fn new(context: &'a Context, params: &BootstrapParams) -> Result<Self, HeError> {
        let (down_groups, up_groups) = (&params.slots_to_coefficients, &params.coefficients_to_slots);
        let eval_mod = EvalMod::new(params.range, params.log_ratio, params.degree, params.doublings);
        let top = context.max_level();
        check_levels(params, context.slots(), top, eval_mod.depth())?;
        let q0 = context.modulus_at(0).unwrap_or(1) as f64;
        let p0 = context.literal().p.first().map_or(1.0, |p| *p as f64);
        if p0 < q0 / 2.0 {
            let detail = format!("the first special prime ({p0}) must not be below half of q_0 ({q0})");
            return Err(CkksError::Bootstrap { detail }.into());
        }
        let delta = context.default_scale();
        let start = q0 / f64::from(params.log_ratio).exp2();
        let mut down = Vec::new();
        for (i, m) in dft::matrices(Direction::SlotsToCoefficients, down_groups, 1.0).iter().enumerate() {
            let level = down_groups.len() - i;
            let out = if level == 1 { start } else { delta };
            let plan = cheapest_plan(context.literal(), level, &m.sparsity());
            down.push(context.linear_transform(m, level, delta, out, plan)?);
        }
        let constant = (0.5 / params.range as f64).powf(1.0 / up_groups.len() as f64);
        let reduced_at = top - up_groups.len();
        let wide = EvalMod::input_scale(&context.literal().q, reduced_at);
        let mut up = Vec::new();
        for (i, m) in dft::matrices(Direction::CoefficientsToSlots, up_groups, constant).iter().enumerate() {
            let out = if i + 1 == up_groups.len() { wide } else { q0 };
            let plan = cheapest_plan(context.literal(), top - i, &m.sparsity());
            up.push(context.linear_transform(m, top - i, q0, out, plan)?);
        }
        Ok(Self { context, down, up, eval_mod, log_ratio: params.log_ratio, reduced_at })
    }

    /// Level a ciphertext must have at least.
    #[must_use]
    pub fn input_level(&self) -> usize {
        self.down.len()
    }

    /// Level of the result.
    #[must_use]
    pub fn output_level(&self) -> usize {
        self.reduced_at - self.eval_mod.depth()
    }

    /// Keys it needs.
    #[must_use]
    pub fn keys(&self) -> KeySpec {
        let rotations = self.down.iter().chain(&self.up).flat_map(LinearTransform::rotations).collect();
        let level = Some(self.reduced_at);
        KeySpec {
            relin_level: level,
            conjugation_level: level,
            rotations,
            encapsulation: true,
            ..KeySpec::default()
        }
    }

    /// Predicted error of a slot: its deviation (for the integer where it is largest), and the largest error of the modular reduction itself at full scale.
    ///
    /// An expectation, not a bound: it must not feed [`crate::ckks::PublicationPolicy`].
    /// The deviation is that of one rounding at the scale of the modular reduction, times `2^r`, times [`GAIN`].
    #[must_use]
    pub fn error(&self) -> (f64, f64) {
        let ratio = f64::from(self.log_ratio).exp2();
        let scale = self.context.modulus_at(self.output_level() + 1).unwrap_or(1) as f64;
        (NoiseModel::new(self.context).rounding(scale) * ratio * GAIN, self.eval_mod.error())
    }

    /// Bytes of prepared plaintexts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.down.iter().chain(&self.up).map(LinearTransform::bytes).sum()
    }

    /// Refresh a ciphertext with real slots in [-1, 1] at the default scale.
    ///
    /// # Errors
    /// A ciphertext below [`Bootstrapper::input_level`] or of another scale, or missing keys.
    pub fn bootstrap(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, HeError> {
        let slots = self.to_slots(ct, keys)?;
        let ctx = self.context;
        let mut real = ctx.conjugate(&slots, keys)?;
        ctx.add_assign(&mut real, &slots)?;
        self.reduce(&real, keys)
    }

    /// Refresh two real ciphertexts in one run (about 0.6 of the time of two).
    ///
    /// # Errors
    /// As for [`Bootstrapper::bootstrap`], or ciphertexts of different levels.
    pub fn bootstrap_pair(
        &self,
        pair: [&Ciphertext; 2],
        keys: &EvalKeys,
    ) -> Result<[Ciphertext; 2], HeError> {
        let ctx = self.context;
        let mut joined = ctx.mul_i(pair[1])?;
        ctx.add_assign(&mut joined, pair[0])?;
        let slots = self.to_slots(&joined, keys)?;
        let mirrored = ctx.conjugate(&slots, keys)?;
        let mut real = mirrored.clone();
        ctx.add_assign(&mut real, &slots)?;
        // -i (z - conj z) = 2 Im z
        let mut imaginary = mirrored;
        ctx.sub_assign(&mut imaginary, &slots)?;
        let imaginary = ctx.mul_i(&imaginary)?;
        Ok([self.reduce(&real, keys)?, self.reduce(&imaginary, keys)?])
    }

    /// Slots to coefficients, raise, coefficients to slots: slots `(I + m) / 2K`, complex.
    fn to_slots(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, HeError> {
        let ctx = self.context;
        if ct.level() < self.input_level() {
            let (level, available) = (self.input_level(), ct.level());
            return Err(CkksError::LevelTooHigh { operation: "bootstrap", level, available }.into());
        }
        let mut ct = ctx.drop_to_level(ct, self.input_level())?;
        for m in &self.down {
            ct = ctx.apply_transform(m, &ct, keys)?;
        }
        let mut ct = ctx.raise_modulus(&ct, keys)?;
        for m in &self.up {
            ct = ctx.apply_transform(m, &ct, keys)?;
        }
        Ok(ct)
    }

    /// Remove the integers; the scale returns to the default one.
    fn reduce(&self, real: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, HeError> {
        let ratio = f64::from(self.log_ratio).exp2();
        let e = CkksSlots::new(self.context, keys);
        let primes = &self.context.literal().q;
        let mut out = self.eval_mod.apply(&e, real, primes, self.context.default_scale() * ratio)?;
        // The slots hold z / 2^r at scale Δ 2^r.
        out.divide_message(1.0 / ratio)?;
        Ok(out)
    }
}

/// How much of the rounding noise inside the modular reduction reaches its result: the root of the sum of squares of the
/// derivatives with respect to everything that is rounded. For the integer 0, where most slots are, that is about 84 (66 for `T_4`,
/// 25 for sums of the polynomial, 17 for `T_8`, and the angle doublings); for the worst integer 125, both as measured at `2^16`.
const GAIN: f64 = 125.0;

/// Whether the groups fit the ring, and all matrices and the modular reduction a chain with `top` levels.
fn check_levels(params: &BootstrapParams, slots: usize, top: usize, depth: usize) -> Result<(), CkksError> {
    let (down, up) = (&params.slots_to_coefficients, &params.coefficients_to_slots);
    let log_slots = slots.ilog2() as usize;
    for groups in [down, up] {
        if groups.iter().sum::<usize>() != log_slots || groups.contains(&0) {
            let detail =
                format!("groups {groups:?} do not add up to the {log_slots} stages of the transform");
            return Err(CkksError::Bootstrap { detail });
        }
    }
    let need = up.len() + depth + down.len();
    if top <= need {
        let detail =
            format!("{need} levels are needed and at least one for the application, the chain has {top}");
        return Err(CkksError::Bootstrap { detail });
    }
    Ok(())
}
