//! What a bootstrap does to the values it refreshes.

use hetrain_export::Graph;
#[cfg(doc)]
use hetrain_export::Node;

use super::facts::Facts;
use super::levels::Levels;
use super::scales::refreshed_bound;
use crate::bootstrap::BootstrapParams;

/// What the model needs to know of a bootstrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refresh {
    /// Scale at which its input lies in `[-1, 1]`.
    pub(crate) scale: f64,
    /// Deviation of its error in a slot.
    pub(crate) deviation: f64,
    /// Its error without noise.
    pub(crate) sine: Sine,
}

/// The error of a sine in place of its argument, `κ(sx - x³)` for `x` between -1 and 1. It is the same function in every slot and every
/// run, so no sum averages it away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sine {
    /// `κ`.
    pub(crate) cubic: f64,
    /// `s`, [`crate::bootstrap::BootstrapParams::spread`].
    pub(crate) spread: f64,
}

impl Sine {
    /// Of a bootstrap.
    pub(crate) fn of(params: &BootstrapParams) -> Self {
        let cubic = std::f64::consts::TAU.powi(2) / 6.0 * (-2.0 * f64::from(params.log_ratio)).exp2();
        Self { cubic, spread: params.spread }
    }

    /// Mean square of the error, from means of the second, fourth and sixth power of `x`.
    pub(super) fn mean_square(self, [second, fourth, sixth]: [f64; 3]) -> f64 {
        let s = self.spread;
        self.cubic * self.cubic * (s * s * second - 2.0 * s * fourth + sixth).max(0.0)
    }

    /// The spread that leaves the least of all bootstraps' errors in the output, if it was measured what the output has of them.
    pub(crate) fn best_spread(graph: &Graph, facts: &[Facts], levels: &[Levels]) -> Option<f64> {
        let (mut third, mut first) = (0.0, 0.0);
        for (id, node) in graph.iter().filter(|(id, _)| levels.get(id.0).is_some_and(|l| l.refreshed)) {
            let (Some(bent), Some(bound)) = (node.bent, refreshed_bound(graph, facts, levels, id.0)) else {
                continue;
            };
            let divisor = Refresh::divisor(bound);
            let [square, product, _] = in_output(bent, facts.get(id.0)?.bound / divisor);
            third += divisor * divisor * product;
            first += divisor * divisor * square;
        }
        (first > 0.0).then(|| (third / first).clamp(0.0, 0.75))
    }
}

/// What the output has of `x` and `x³`, where [`Node::bent`] has it for the largest value as 1, which is `x = ratio`.
pub(super) fn in_output(bent: [f64; 3], ratio: f64) -> [f64; 3] {
    let [first, both, third] = bent;
    [first * ratio.powi(2), both * ratio.powi(4), third * ratio.powi(6)]
}

impl Refresh {
    /// By what values are divided before a bootstrap, if those of calibration reach `bound`: twice as large ones are still reduced
    /// correctly, with less precision.
    pub(crate) fn divisor(bound: f64) -> f64 {
        1.25 * bound
    }
}
