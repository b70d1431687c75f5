//! Scales and predicted noise of every node, before any ciphertext exists.
//!
//! Variances per coefficient (Kim–Papadimitriou–Polyakov 2022): fresh `σ²`, rounding `(1 + h)/12`, plaintext rounding `1/12`, key
//! switch `N σ² Σ D²/(12 P²) + (1 + h)/12` over the digits `D` of the key's level, with `h = 2N/3` for a uniform ternary secret. In
//! slots, the real part has `√(N/2)` times the coefficients' deviation. These are expectations, as a run shows them; the
//! planner's margin over them is in [`super::params`].

use std::collections::BTreeSet;

use hetrain_export::{Basis, Graph, Node, Op};

use super::deviation::{Deviations, Variance};
use super::facts::Facts;
use super::levels::Levels;
use crate::HeError;
use crate::bootstrap::BootstrapParams;
use crate::kernels::polynomial::Scales;
use crate::math::sampling::ERROR_STD;

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
    fn mean_square(self, [second, fourth, sixth]: [f64; 3]) -> f64 {
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
fn in_output(bent: [f64; 3], ratio: f64) -> [f64; 3] {
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
    let n = (1u64 << chain.log_n) as f64;
    let h = 2.0 * n / 3.0;
    let slot = (n / 2.0).sqrt();
    let rounding = slot * ((1.0 + h) / 12.0).sqrt();
    let square = |x: f64| x * x;
    let q = |level: usize| chain.primes.get(level).copied().ok_or(HeError::NoLevelLeft { level });
    // log2 of Q_level.
    let log_q = |level: usize| chain.primes.iter().take(level + 1).map(|p| p.log2()).sum::<f64>();
    let switch = |level: usize| {
        let digits = chain.digits.get(level).copied().unwrap_or(0.0);
        slot * (digits * n * ERROR_STD * ERROR_STD / 12.0 + (1.0 + h) / 12.0).sqrt()
    };
    // The scale of a layer whose square must have a scale that it cannot choose.
    let before_square = |id: usize, known: &[Predicted]| -> Result<Option<f64>, HeError> {
        let Some(square) = next_square(graph, id) else { return Ok(None) };
        if !matches!(graph.nodes()[square].op, Op::Square { .. }) {
            return Ok(None);
        }
        let refreshed = || {
            let bound = refreshed_bound(graph, facts, levels, square)?;
            Some(chain.refresh?.scale / Refresh::divisor(bound))
        };
        let must = partner_scale(graph, square, known).or_else(refreshed);
        must.map(|scale| Ok((scale * q(levels[square].operands)?).sqrt())).transpose()
    };
    let mut out: Vec<Predicted> = Vec::with_capacity(graph.nodes().len());
    let measured = graph.nodes().iter().any(|n| !n.carried.is_empty());
    // Variance of what each node, and its bootstrap, adds to the errors it reads.
    // Mean square of what the output has of the bootstraps' errors without noise.
    let mut bends = 0.0;
    let mut own: Vec<f64> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.iter() {
        let (f, level) = (&facts[id.0], levels[id.0]);
        // The scale a layer that can choose should give its result.
        let free = |limit: f64| match (refreshed_bound(graph, facts, levels, id.0), chain.refresh) {
            (Some(bound), Some(refresh)) => refresh.scale / Refresh::divisor(bound),
            _ => match polynomial_reach(graph, id.0) {
                Some(reach) => chain.scale_bits.min(limit).exp2() / reach,
                None => chain.amplitude.min(limit).exp2() / f.bound,
            },
        };
        let room = log_q(level.result) - HEADROOM.log2() - 1.0;
        let limit = match next_square(graph, id.0) {
            // A square right at the bottom must still fit q_0.
            Some(s) if levels[s].result == 0 => {
                0.5 * (q(levels[s].operands)?.log2() + log_q(0) - HEADROOM.log2() - 1.0)
            }
            _ => room,
        };
        // Scale and errors, if variances of what is read were `share` of what they are.
        let of = |share: f64| -> Result<(f64, Deviations), HeError> {
            let arg = |i: usize| {
                let (x, f) = (&out[node.inputs[i].0], &facts[node.inputs[i].0]);
                (x.scale, x.read.mean().times(share), f)
            };
            Ok(match &node.op {
                Op::Input => {
                    let scale = free(limit);
                    let normal = square(slot * ERROR_STD / scale);
                    (scale, Deviations::even(Variance { normal, rounded: 0.0 }))
                }
                Op::Conv2d { .. }
                | Op::Linear { .. }
                | Op::Affine { .. }
                | Op::AvgPool { .. }
                | Op::RowSum { .. } => {
                    let (from, noise, fx) = arg(0);
                    let scale = match partner_scale(graph, id.0, &out) {
                        Some(scale) => scale,
                        None => before_square(id.0, &out)?.unwrap_or_else(|| free(limit)),
                    };
                    let factor = scale * q(level.operands)? / from;
                    let turned = if chain.batch { 0.0 } else { square(switch(level.operands) / from) };
                    // Batch weights are single integers; packed ones are polynomials with rounded coefficients, whose real part
                    // in a slot is what meets a real value.
                    let weight = if chain.batch { 1.0 / 12.0 } else { n / 24.0 } / square(factor);
                    let folds = if chain.batch { 1.0 } else { f.folds };
                    let (plain, rounded) =
                        (f.terms * square(fx.rms) * weight, folds * square(rounding / scale));
                    let passed = noise.total() + turned;
                    let of = |gain: f64| Variance { normal: gain * passed + plain, rounded };
                    (scale, Deviations::new(f.gains.iter().map(|(share, gain)| (*share, of(*gain)))))
                }
                Op::Square { .. } => {
                    let (from, noise, _) = arg(0);
                    let scale = from * from / q(level.operands)?;
                    let own = Variance { normal: 0.0, rounded: square(rounding / scale) };
                    (scale, amplified(&f.gains, noise, own))
                }
                Op::Quadratic { .. } => {
                    let (from, noise, fx) = arg(0);
                    let scale = partner_scale(graph, id.0, &out).unwrap_or_else(|| free(limit));
                    // The square at its scale, then two products with rounded plaintexts and a rescaling.
                    let high = from * from / q(level.operands)?;
                    let factor = |from: f64| scale * from.recip() * q(level.result + 1).unwrap_or(1.0);
                    let weight =
                        n / 24.0 * (square(square(fx.rms) / factor(high)) + square(fx.rms / factor(from)));
                    let rounded = f.terms * square(rounding / high) + square(rounding / scale);
                    (scale, amplified(&f.gains, noise, Variance { normal: weight, rounded }))
                }
                Op::Polynomial { poly } => {
                    let (from, noise, _) = arg(0);
                    let scale = free(limit);
                    let prime = chain.scale_bits.exp2();
                    // Noise and scale of the input on [−1, 1]; the map of a Chebyshev interval rounds once more.
                    let (reach, map, input) = match poly.basis() {
                        Basis::Monomial => (poly.interval().max_abs(), 0.0, None),
                        Basis::Chebyshev => (poly.interval().half_width(), rounding / prime, Some(prime)),
                    };
                    let input_scale = input.unwrap_or(from * reach);
                    let scales = Scales { prime, input: input_scale, result: scale, rounding };
                    // Drift doubles with every level: too much of it leaves powers without digits, or without room.
                    let drift = (input_scale / prime).log2().abs() * poly.degree() as f64;
                    let usable = f.polynomial.as_ref().filter(|_| drift < 0.5 * chain.scale_bits);
                    let errors = usable.map(|n| {
                        let normal =
                            n.variances(noise.normal / square(reach), Scales { rounding: 0.0, ..scales });
                        let rounded = n.variances(noise.rounded / square(reach) + map * map, scales);
                        let both = normal.into_iter().zip(rounded);
                        Deviations::new(
                            both.map(|((w, normal), (_, rounded))| (w, Variance { normal, rounded })),
                        )
                    });
                    let unusable = Variance { normal: f64::INFINITY, rounded: 0.0 };
                    (scale, errors.unwrap_or_else(|| Deviations::even(unusable)))
                }
                Op::Add => {
                    let ((scale, a, _), (_, b, _)) = (arg(0), arg(1));
                    let (normal, rounded) = (a.normal + b.normal, a.rounded + b.rounded);
                    (scale, Deviations::even(Variance { normal, rounded }))
                }
                Op::Mul | Op::MatMul { .. } | Op::Distance { .. } => {
                    let ((from, a, fa), (other, mut b, fb)) = (arg(0), arg(1));
                    let scale = from * other / q(level.operands)?;
                    let (mut terms, mut own) = (1.0, square(rounding / scale));
                    if node.inputs[0] == node.inputs[1] {
                        // The error of a square is twice, not √2 times, that of its side.
                        terms = 2.0;
                    }
                    if node.op != Op::Mul {
                        // The second operand is rotated to every offset, the products are summed by rotations.
                        b.normal += square(switch(level.operands) / other);
                        terms = f.terms;
                        own *= f.folds;
                    }
                    let mut rms = fb.rms;
                    if matches!(node.op, Op::MatMul { factors: Some(_), .. }) {
                        // Rotated, multiplied with rounded plaintexts and rescaled once more.
                        let weight = n / 24.0 * square(fb.rms / q(level.operands + 1)?);
                        b.normal = f.factors * b.normal + weight;
                        b.rounded = f.factors * b.rounded + square(rounding / other);
                        rms *= f.factors.sqrt();
                    }
                    // A square of a difference has twice the difference as its slope, on either side.
                    let distance = 4.0 * (square(fa.rms) + square(rms));
                    let both = |a: f64, b: f64| match node.op {
                        Op::Distance { .. } => terms * distance * (a + b),
                        _ => terms * (square(rms) * a + square(fa.rms) * b),
                    };
                    let (normal, rounded) = (both(a.normal, b.normal), both(a.rounded, b.rounded) + own);
                    (scale, Deviations::even(Variance { normal, rounded }))
                }
                Op::Bias { .. }
                | Op::Flatten
                | Op::Transpose { .. }
                | Op::Reshape { .. }
                | Op::Causal
                | Op::Row { .. } => {
                    let x = &out[node.inputs[0].0];
                    (x.scale, x.read.clone().map(|v| v.times(share)))
                }
                Op::Relu | Op::MaxPool { .. } => {
                    return Err(HeError::Unfriendly { node: node.name.clone(), op: node.op.name() });
                }
            })
        };
        let (scale, mut errors) = of(1.0)?;
        let mut added = if measured { of(0.0)?.1.mean().total() } else { 0.0 };
        // Above, errors of the elements read are independent of each other. After some layers they are not: what sums of them
        // really are was measured, if it was.
        let arrived: f64 = node.carried.iter().zip(&own).map(|(gain, own)| gain * own).sum();
        let independent = errors.mean().total() - added;
        if arrived > 0.0 && independent > 0.0 && independent.is_finite() {
            errors = of(arrived / independent)?.1;
        }
        if id == graph.output() {
            // What bootstraps bend, arrives too.
            errors = errors.map(|v| Variance { normal: v.normal + bends, ..v });
        }
        let read = match chain.refresh.filter(|_| level.refreshed) {
            Some(refresh) => {
                let divisor = refresh.scale / scale;
                let [second, fourth, sixth] = f.powers;
                let powers = [second, fourth / square(divisor), sixth / square(square(divisor))];
                let own = square(divisor * refresh.deviation) + refresh.sine.mean_square(powers);
                added += own;
                if let Some(bent) = node.bent {
                    bends += square(divisor) * refresh.sine.mean_square(in_output(bent, f.bound / divisor));
                }
                errors.clone().map(|v| Variance { normal: v.normal, rounded: v.rounded + own })
            }
            None => errors.clone(),
        };
        own.push(added);
        let fits =
            (scale * f.bound * HEADROOM).log2() <= log_q(level.result) && errors.mean().total().is_finite();
        out.push(Predicted { scale, errors, read, reach: f.reach, fits });
    }
    Ok(out)
}

/// Errors of an element-wise function: those of its input, amplified, and its own.
fn amplified(gains: &[(f64, f64)], input: Variance, own: Variance) -> Deviations {
    let of = |gain: f64| Variance {
        normal: gain * input.normal + own.normal,
        rounded: gain * input.rounded + own.rounded,
    };
    Deviations::new(gains.iter().map(|(share, gain)| (*share, of(*gain))))
}

/// The largest bound of the bootstrapped nodes that must have the same scale as `id`.
fn refreshed_bound(graph: &Graph, facts: &[Facts], levels: &[Levels], id: usize) -> Option<f64> {
    let refreshed = |id: &usize| levels.get(*id).is_some_and(|l| l.refreshed);
    let bounds = same_scales(graph, id).into_iter().filter(refreshed).filter_map(|id| facts.get(id));
    bounds.map(|f| f.bound).reduce(f64::max)
}

/// The nodes whose scale is that of `id`, because they are added to it or are it under another name: around residual blocks, the
/// whole way through a network.
pub(super) fn same_scales(graph: &Graph, id: usize) -> BTreeSet<usize> {
    let (mut found, mut open) = (BTreeSet::from([id]), vec![id]);
    let follows = |node: &Node| node.op == Op::Add || passes(&node.op);
    while let Some(id) = open.pop() {
        let inputs = graph.nodes().get(id).filter(|n| follows(n)).into_iter().flat_map(|n| &n.inputs);
        let readers = graph.iter().filter(|(_, n)| follows(n) && n.inputs.iter().any(|i| i.0 == id));
        for next in inputs.map(|i| i.0).chain(readers.map(|(reader, _)| reader.0)) {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

/// The reach of the polynomial that reads `id`, directly or through nodes that only rename or shift.
fn polynomial_reach(graph: &Graph, id: usize) -> Option<f64> {
    let (reader, node) =
        graph.nodes().iter().enumerate().find(|(_, n)| n.inputs.iter().any(|i| i.0 == id))?;
    match &node.op {
        Op::Polynomial { poly } => Some(poly.interval().max_abs()),
        op if passes(op) => polynomial_reach(graph, reader),
        _ => None,
    }
}

/// Nodes that only rename or shift.
pub(super) fn passes(op: &Op) -> bool {
    op.only_names() || matches!(op, Op::Bias { .. })
}

/// The square or product that reads `id`, directly or through nodes that only rename or shift.
fn next_square(graph: &Graph, id: usize) -> Option<usize> {
    let (reader, node) =
        graph.nodes().iter().enumerate().find(|(_, n)| n.inputs.iter().any(|i| i.0 == id))?;
    match &node.op {
        Op::Square { .. } | Op::Mul | Op::MatMul { .. } | Op::Distance { .. } => Some(reader),
        op if passes(op) => next_square(graph, reader),
        _ => None,
    }
}

/// If `id` ends in an addition whose other operand already has a scale: that scale, so that the two can be added.
fn partner_scale(graph: &Graph, id: usize, known: &[Predicted]) -> Option<f64> {
    graph.nodes().iter().enumerate().find_map(|(reader, node)| {
        if !node.inputs.iter().any(|i| i.0 == id) {
            None
        } else if matches!(node.op, Op::Add | Op::Distance { .. }) {
            let other = node.inputs.iter().find(|i| i.0 != id)?;
            known.get(other.0).map(|p| p.scale)
        } else if passes(&node.op) {
            partner_scale(graph, reader, known)
        } else {
            None
        }
    })
}
