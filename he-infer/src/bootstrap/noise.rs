//! The predicted error, and by how much double precision magnifies it for the second run.

use super::Order;
use super::layout::Layout;
use crate::ckks::{CkksError, NoiseModel, ParamsLiteral};

/// How much of the rounding noise inside the modular reduction reaches its result: the root of the sum of squares of the
/// derivatives with respect to everything that is rounded. For the integer 0, where most slots are, that is about 84 (66 for `T_4`,
/// 25 for sums of the polynomial, 17 for `T_8`, and the angle doublings); for the worst integer 125, both as measured at `2^16`.
const GAIN: f64 = 125.0;
/// The same over all integers, root of the mean square.
const MEAN_GAIN: f64 = 90.0;

/// [`super::Bootstrapper::error`].
pub(super) fn error(params: &ParamsLiteral, layout: &Layout) -> (f64, f64) {
    let reduced = layout.reduced_at - layout.eval_mod.depth();
    let scale = params.q.get(reduced + 1).map_or(1.0, |q| *q as f64);
    let gain = match layout.order {
        Order::SlotsFirst => GAIN,
        Order::RaiseFirst => MEAN_GAIN * (2.0 * layout.slots as f64).sqrt(),
    };
    let noise = NoiseModel::of(params);
    let (deviation, systematic) = (noise.rounding(scale) * layout.ratio * gain, layout.eval_mod.error());
    match layout.magnification {
        None => (deviation, systematic),
        Some(m) => {
            let last = noise.rounding(params.default_scale) * (layout.copies as f64).sqrt();
            (NoiseModel::sum(&[deviation / m, last]), systematic / m)
        }
    }
}

/// `2^k` such that the errors of the first run, also of complex slots, are expected to stay below one half in every slot: they are
/// Laplace-distributed (see [`super::Bootstrapper::error`]). Beyond it the second run still corrects, with less precision.
pub(super) fn magnification(params: &ParamsLiteral, first_run: &Layout) -> Result<f64, CkksError> {
    let (deviation, systematic) = error(params, first_run);
    let tail = (2.0 * f64::from(params.log_n - 1).exp2()).ln() / 2f64.sqrt();
    let largest = tail * 2f64.sqrt() * deviation + systematic;
    let magnification = (0.5 / largest).log2().floor().exp2();
    if first_run.order == Order::RaiseFirst || magnification < 2.0 {
        let detail = format!(
            "double precision needs slots to coefficients first and a first run with an error below 1/4, found {:?} and \
             {largest:.3}",
            first_run.order
        );
        return Err(CkksError::Bootstrap { detail });
    }
    Ok(magnification)
}
