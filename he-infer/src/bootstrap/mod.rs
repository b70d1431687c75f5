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
//!
//! # Variants
//!
//! At the preset [`crate::ckks::d16`], worst slot of full-scale inputs; times and keys in docs/benchmarks.md.
//!
//! | | time | levels | bits |
//! |---|---|---|---|
//! | real slots | 1 | 13 | 17.3 |
//! | complex slots ([`Bootstrapper::bootstrap_complex`]) | 1.3 | 13 | 16.9 |
//! | complex slots, raising first ([`Order::RaiseFirst`], Cheon et al. 2018) | 1.6 | 13 | 12.4 |
//! | `2^10` values, repeated ([`BootstrapParams::d16_sparse`]) | 0.9 | 14 | 17.1 |
//! | double precision ([`Precision::Double`], Bae et al. 2022) | 2.1 | 13 | 24.9 |
//! | `2^10` values, double precision | 1.8 | 14 | 23.2 |
//!
//! *Complex slots* need no other order: their real and imaginary parts are as many real coefficients. Raising first only
//! spares the levels below the application, and needs as many above it.
//!
//! *Repeated values* are a polynomial in a power of X. What raising adds at the other powers is removed by the trace, a rotation
//! and an addition for each halving of the slots, at the top level; the factor that this multiplies by goes into the matrices of coefficients
//! to slots, which are those of the smaller transform. The copies come back equal up to noise. Double precision loses half a bit for
//! each halving: noise that differs between copies cannot be corrected and has to be averaged away first.

mod cost;
mod dft;
mod eval_mod;
mod layout;
mod noise;
mod params;
mod run;
mod run_tally;
mod sparsity;

use crate::HeError;
use crate::ckks::{CkksError, Context, KeySpec, LinearTransform};
pub use cost::{BootstrapCost, MatrixCost};
use layout::{Layout, Transform};
pub use params::{BootstrapParams, Order, Precision};

/// Everything that bootstrapping under one context needs besides keys.
pub struct Bootstrapper<'a> {
    context: &'a Context,
    layout: Layout,
    down: Vec<LinearTransform>,
    up: Vec<LinearTransform>,
}

impl<'a> Bootstrapper<'a> {
    /// Prepare the matrices. The chain of `context` must hold, from the bottom: one level per matrix of slots to
    /// coefficients, levels for the application, levels for the modular reduction and one level per matrix of coefficients
    /// to slots. With [`Order::RaiseFirst`] the matrices of slots to coefficients lie between the application and the modular
    /// reduction; below it is one level for the scale, or none if `q_0 / 2^log_ratio` is the default scale.
    ///
    /// # Errors
    /// [`CkksError::Bootstrap`] if chain, groups or precision do not fit, or an encoding error.
    pub fn new(context: &'a Context, params: &BootstrapParams) -> Result<Self, HeError> {
        let layout = Layout::new(context.literal(), params)?;
        let (down, up) = (prepare(context, &layout.down)?, prepare(context, &layout.up)?);
        Ok(Self { context, layout, down, up })
    }

    /// Level a ciphertext must have at least.
    #[must_use]
    pub fn input_level(&self) -> usize {
        self.layout.input_level
    }

    /// Level of the result.
    #[must_use]
    pub fn output_level(&self) -> usize {
        self.layout.output_level
    }

    /// Keys it needs.
    #[must_use]
    pub fn keys(&self) -> KeySpec {
        let matrices = self.down.iter().chain(&self.up).flat_map(LinearTransform::rotations);
        self.layout.keys(self.context.literal(), matrices)
    }

    /// Predicted error of a real slot: its deviation, and the largest error of the modular reduction itself at full scale.
    ///
    /// An expectation, not a bound: it must not feed [`crate::ckks::PublicationPolicy`]. Roundings meet the secret's value in
    /// their slot, so the error is Laplace-distributed: the largest of `n` slots is about `ln n / sqrt(2)` deviations. The
    /// deviation is that of one rounding at the scale of the modular reduction, times `2^r`, times the gain of the worst
    /// integer, or with [`Order::RaiseFirst`] times the mean gain and the root of twice the slots, because every slot adds up
    /// all coefficients.
    /// The parts of complex slots have `sqrt(2)` of the deviation with [`Order::SlotsFirst`]. Double precision divides both
    /// figures by `2^k` and adds one rounding at the default scale, times the root of the number of copies of a value.
    #[must_use]
    pub fn error(&self) -> (f64, f64) {
        noise::error(self.context.literal(), &self.layout)
    }

    /// Bytes of prepared plaintexts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.down.iter().chain(&self.up).map(LinearTransform::bytes).sum()
    }
}

fn prepare(context: &Context, transform: &Transform) -> Result<Vec<LinearTransform>, CkksError> {
    let made = dft::matrices(transform.direction, &transform.groups, transform.factor);
    let prepare = |(m, at): (_, &layout::Placed)| {
        context.linear_transform(m, at.level, at.scale_in, at.scale_out, at.plan)
    };
    made.iter().zip(&transform.matrices).map(prepare).collect()
}
