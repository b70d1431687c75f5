//! Scales and predicted noise of every node, before any ciphertext exists: expectations, as a run shows them; the planner's margin over them
//! is in [`super::params`]. What operations add is in [`super::errors`].

use hetrain_export::Graph;

use super::deviation::{Deviations, Variance};
use super::errors::Rules;
use super::facts::Facts;
use super::levels::Levels;
use super::scales::Scaling;
use super::sine::{Refresh, in_output};
use crate::HeError;

/// Room between the largest value seen in calibration and the modulus: a factor of two, and the sign.
pub(super) const HEADROOM: f64 = 4.0;

/// Ring and modulus chain as nominal numbers, so that many can be tried without searching primes.
#[derive(Clone, Debug)]
pub(crate) struct Nominal {
    pub(crate) log_n: u32,
    pub(crate) primes: Vec<f64>,
    /// For keys of each level, the sum over digits of the square of digit over special primes.
    pub(crate) digits: Vec<f64>,
    /// Bits of a scale prime: the amplitude (value times scale) whose powers keep it.
    pub(crate) scale_bits: f64,
    /// Largest amplitude of a linear layer's result, in bits.
    pub(crate) amplitude: f64,
    pub(crate) batch: bool,
    /// Scale and error of bootstraps, if there are any.
    pub(crate) refresh: Option<Refresh>,
}

/// Scale of a node, and its errors in units of the message.
#[derive(Clone, Debug)]
pub(crate) struct Predicted {
    pub(crate) scale: f64,
    pub(crate) errors: Deviations,
    /// What readers see: with the error of a bootstrap, if there is one.
    pub(crate) read: Deviations,
    /// What bits count against: the range of values seen in calibration.
    pub(crate) reach: f64,
    /// Whether the largest value has its head-room under the modulus.
    pub(crate) fits: bool,
}

impl Predicted {
    /// An error as bits of precision.
    pub(crate) fn bits(&self, error: f64) -> f64 {
        if self.fits { -(error / self.reach).log2() } else { f64::NEG_INFINITY }
    }
}

/// Scales and noise of every node.
#[expect(clippy::indexing_slicing, reason = "facts, levels and nodes have one entry per node")]
pub(crate) fn predict(
    graph: &Graph,
    facts: &[Facts],
    levels: &[Levels],
    chain: &Nominal,
) -> Result<Vec<Predicted>, HeError> {
    let scaling = Scaling { graph, facts, levels, chain };
    let rules = Rules::new(scaling);
    let measured = graph.nodes().iter().any(|n| !n.carried.is_empty());
    let mut out: Vec<Predicted> = Vec::with_capacity(graph.nodes().len());
    // Variance of what each node, and its bootstrap, adds to the errors it reads.
    let mut own: Vec<f64> = Vec::with_capacity(graph.nodes().len());
    // Mean square of what the output has of the bootstraps' errors without noise.
    let mut bends = 0.0;
    for (id, node) in graph.iter() {
        let (f, level) = (&facts[id.0], levels[id.0]);
        let (scale, mut errors) = rules.outcome(id.0, &out, 1.0)?;
        let mut added = if measured { rules.outcome(id.0, &out, 0.0)?.1.mean().total() } else { 0.0 };
        // Above, errors of the elements read are independent of each other. After some layers they are not: what sums of them
        // really are was measured, if it was.
        let arrived: f64 = node.carried.iter().zip(&own).map(|(gain, own)| gain * own).sum();
        let independent = errors.mean().total() - added;
        if arrived > 0.0 && independent > 0.0 && independent.is_finite() {
            errors = rules.outcome(id.0, &out, arrived / independent)?.1;
        }
        if id == graph.output() {
            // What bootstraps bend, arrives too.
            errors = errors.map(|v| Variance { normal: v.normal + bends, ..v });
        }
        let read = match chain.refresh.filter(|_| level.refreshed) {
            Some(refresh) => {
                let divisor = refresh.scale / scale;
                let [second, fourth, sixth] = f.powers;
                let powers = [second, fourth / divisor.powi(2), sixth / divisor.powi(4)];
                let own = (divisor * refresh.deviation).powi(2) + refresh.sine.mean_square(powers);
                added += own;
                if let Some(bent) = node.bent {
                    bends += divisor.powi(2) * refresh.sine.mean_square(in_output(bent, f.bound / divisor));
                }
                errors.clone().map(|v| Variance { normal: v.normal, rounded: v.rounded + own })
            }
            None => errors.clone(),
        };
        own.push(added);
        let fits = (scale * f.bound * HEADROOM).log2() <= scaling.log_q(level.result)
            && errors.mean().total().is_finite();
        out.push(Predicted { scale, errors, read, reach: f.reach, fits });
    }
    Ok(out)
}
