//! Scales and predicted noise of every node, before any ciphertext exists.
//!
//! Variances per coefficient (Kim–Papadimitriou–Polyakov 2022): fresh `σ²`, rounding `(1 + h)/12`, plaintext rounding `1/12`, key
//! switch `β N σ² D²/(12 P²) + (1 + h)/12`, with `h = 2N/3` for a uniform ternary secret. In slots, the real part has
//! `√(N/2)` times the coefficients' deviation.

use hetrain_export::{Basis, Graph, Node, Op, Polynomial, RangeStats};

use super::levels::Levels;
use crate::HeError;
use crate::kernels::polynomial::{Noise, Scales, scheme_of};

/// Error deviation of fresh encryptions.
const SIGMA: f64 = 3.2;
/// Room between the largest value seen in calibration and the modulus: a factor of two, and the sign.
const HEADROOM: f64 = 4.0;

/// Ring and modulus chain as nominal numbers, so that many can be tried without searching primes.
#[derive(Clone, Debug)]
pub(crate) struct Nominal {
    pub(crate) log_n: u32,
    pub(crate) primes: Vec<f64>,
    /// Bits of the special modulus.
    pub(crate) log_p: f64,
    pub(crate) alpha: usize,
    /// Bits of a scale prime: the amplitude (value times scale) whose powers keep it.
    pub(crate) scale_bits: f64,
    /// Largest amplitude of a linear layer's result, in bits.
    pub(crate) amplitude: f64,
    pub(crate) batch: bool,
}

/// What the noise model needs to know of a node, independent of parameters.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Largest magnitude.
    pub(crate) bound: f64,
    /// Root mean square.
    pub(crate) rms: f64,
    /// Largest minus smallest value.
    pub(crate) spread: f64,
    /// Norm of the largest row, and number of weights in it.
    pub(crate) gain: f64,
    pub(crate) terms: f64,
    /// How a polynomial passes noise on.
    pub(crate) polynomial: Option<Noise>,
}

/// Scale, noise deviation (in units of the message) and bits of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Predicted {
    pub(crate) scale: f64,
    pub(crate) sigma: f64,
    pub(crate) bits: f64,
}

/// Facts of every node.
pub(crate) fn facts(graph: &Graph, levels: &[Levels]) -> Result<Vec<Facts>, HeError> {
    let range_of =
        |node: &Node| node.range.clone().ok_or_else(|| HeError::NoRange { node: node.name.clone() });
    graph
        .nodes()
        .iter()
        .zip(levels)
        .map(|(node, level)| {
            let range = range_of(node)?;
            let (mut norms, mut counts) = (Vec::new(), Vec::new());
            if node.op.is_linear() && !matches!(node.op, Op::Bias { .. } | Op::Flatten) {
                let elements = node.shape.iter().product();
                (norms, counts) = (vec![0.0f64; elements], vec![0.0f64; elements]);
                super::linear::for_each_weight(graph, node, &mut |o, _, w| {
                    if let (Some(n), Some(c)) = (norms.get_mut(o), counts.get_mut(o)) {
                        *n += w * w;
                        *c += 1.0;
                    }
                })?;
            }
            let input = node.inputs.first().and_then(|i| graph.nodes().get(i.0));
            let polynomial = match (&node.op, input) {
                (Op::Polynomial { poly }, Some(input)) => {
                    Some(polynomial_noise(poly, level.operands, &range_of(input)?))
                }
                _ => None,
            };
            let max = |v: &[f64]| v.iter().copied().fold(0.0, f64::max);
            Ok(Facts {
                bound: range.max_abs().max(f64::MIN_POSITIVE),
                rms: (range.mean * range.mean + range.std * range.std).sqrt(),
                spread: range.max - range.min,
                gain: max(&norms).sqrt(),
                terms: max(&counts),
                polynomial,
            })
        })
        .collect()
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
    let q = |level: usize| chain.primes.get(level).copied().ok_or(HeError::NoLevelLeft { level });
    // log2 of Q_level.
    let log_q = |level: usize| chain.primes.iter().take(level + 1).map(|p| p.log2()).sum::<f64>();
    let switch = |level: usize| {
        let digits = (level + 1).div_ceil(chain.alpha) as f64;
        let digit = chain
            .primes
            .get(..=level)
            .unwrap_or(&chain.primes)
            .chunks(chain.alpha)
            .map(|d| d.iter().map(|p| p.log2()).sum::<f64>())
            .fold(0.0, f64::max);
        let ratio = (digit - chain.log_p).exp2();
        slot * (digits * n * SIGMA * SIGMA * ratio * ratio / 12.0 + (1.0 + h) / 12.0).sqrt()
    };
    let mut out: Vec<Predicted> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.iter() {
        let (f, level) = (&facts[id.0], levels[id.0]);
        let arg = |i: usize| (out[node.inputs[i].0], &facts[node.inputs[i].0]);
        // The scale a layer that can choose should give its result.
        let free = |limit: f64| match polynomial_reach(graph, id.0) {
            Some(reach) => chain.scale_bits.min(limit).exp2() / reach,
            None => chain.amplitude.min(limit).exp2() / f.bound,
        };
        let room = log_q(level.result) - HEADROOM.log2() - 1.0;
        let limit = match next_square(graph, id.0) {
            // A square right at the bottom must still fit q_0.
            Some(s) if levels[s].result == 0 => {
                0.5 * (q(levels[s].operands)?.log2() + log_q(0) - HEADROOM.log2() - 1.0)
            }
            _ => room,
        };
        // Where noise depends on the value: the deviation where it is largest.
        let mut peak = None;
        let (scale, variance) = match &node.op {
            Op::Input => {
                let scale = free(limit);
                (scale, (slot * SIGMA / scale).powi(2))
            }
            Op::Conv2d { .. } | Op::Linear { .. } | Op::Affine { .. } | Op::AvgPool { .. } => {
                let (x, fx) = arg(0);
                let scale = partner_scale(graph, id.0, &out).unwrap_or_else(|| free(limit));
                let factor = scale * q(level.operands)? / x.scale;
                let turned = if chain.batch { 0.0 } else { switch(level.operands) / x.scale };
                // Batch weights are single integers; packed ones are polynomials with rounded coefficients.
                let weight = if chain.batch { (1.0f64 / 12.0).sqrt() } else { (n / 12.0).sqrt() } / factor;
                let plain = f.terms * (fx.rms * weight).powi(2);
                let folds = if chain.batch { 1.0 } else { 4.0 };
                let end = folds * (rounding / scale).powi(2);
                (scale, f.gain * f.gain * (x.sigma * x.sigma + turned * turned) + plain + end)
            }
            Op::Square { .. } => {
                let (x, fx) = arg(0);
                let scale = x.scale * x.scale / q(level.operands)?;
                let end = (rounding.hypot(switch(level.operands) / q(level.operands)?) / scale).powi(2);
                (scale, (2.0 * fx.rms.max(0.3 * fx.bound) * x.sigma).powi(2) + end)
            }
            Op::Quadratic { .. } => {
                let (x, fx) = arg(0);
                let scale = free(limit);
                // A parabola trained on its input's range has a slope of a few times output over input range.
                let slope = 2.0 * (f.spread / fx.spread.max(f64::MIN_POSITIVE)).max(1.0);
                // Coefficients are rounded as plaintexts at the scale that takes the square to the result's.
                let factor = scale * q(level.result + 1)? * q(level.operands)? / (x.scale * x.scale);
                let weight = fx.bound * fx.bound * (n / 12.0).sqrt() / factor;
                (
                    scale,
                    (slope * x.sigma).powi(2)
                        + weight * weight
                        + 4.0 * (switch(level.operands) / scale).powi(2),
                )
            }
            Op::Polynomial { poly } => {
                let (x, _) = arg(0);
                let scale = free(limit);
                let prime = chain.scale_bits.exp2();
                // Noise and scale of the input on [−1, 1]; the map of a Chebyshev interval rounds once more.
                let (reach, map, input) = match poly.basis() {
                    Basis::Monomial => (poly.interval().max_abs(), 0.0, None),
                    Basis::Chebyshev => (poly.interval().half_width(), rounding / prime, Some(prime)),
                };
                let input_scale = input.unwrap_or(x.scale * reach);
                let scales = Scales { prime, input: input_scale, result: scale, rounding };
                let input = (x.sigma / reach).powi(2) + map * map;
                // Drift doubles with every level: too much of it leaves powers without digits, or without room.
                let drift = (input_scale / prime).log2().abs() * poly.degree() as f64;
                let usable = f.polynomial.as_ref().filter(|_| drift < 0.5 * chain.scale_bits);
                let v = usable.map(|n| n.variances(input, scales));
                peak = v.map(|v| v.peak.sqrt());
                (scale, v.map_or(f64::INFINITY, |v| v.mean))
            }
            Op::Add => {
                let ((a, _), (b, _)) = (arg(0), arg(1));
                (a.scale, a.sigma * a.sigma + b.sigma * b.sigma)
            }
            Op::Bias { .. } | Op::Flatten => {
                let (x, _) = arg(0);
                (x.scale, x.sigma * x.sigma)
            }
            Op::Relu | Op::MaxPool { .. } => {
                return Err(HeError::Unfriendly { node: node.name.clone(), op: node.op.name() });
            }
        };
        let sigma = variance.sqrt();
        let fits = (scale * f.bound * HEADROOM).log2() <= log_q(level.result);
        let bits = if fits {
            -(6.0 * peak.unwrap_or(sigma) / f.spread.max(f.bound)).log2()
        } else {
            f64::NEG_INFINITY
        };
        out.push(Predicted { scale, sigma, bits });
    }
    Ok(out)
}

/// How `poly` passes noise on over the values seen in calibration.
fn polynomial_noise(poly: &Polynomial, level: usize, range: &RangeStats) -> Noise {
    const POINTS: u32 = 33;
    let (centre, reach) = match poly.basis() {
        Basis::Monomial => (0.0, poly.interval().max_abs()),
        Basis::Chebyshev => (poly.interval().centre(), poly.interval().half_width()),
    };
    let points = (0..POINTS).map(|i| {
        let x = range.min + (range.max - range.min) * f64::from(i) / f64::from(POINTS - 1);
        // As a normal distribution with the mean and deviation of the data.
        let distance = (x - range.mean) / range.std.max(f64::MIN_POSITIVE);
        ((x - centre) / reach, (-0.5 * distance * distance).exp().max(1e-12))
    });
    Noise::new(&scheme_of(poly, level), points)
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
fn passes(op: &Op) -> bool {
    matches!(op, Op::Bias { .. } | Op::Flatten)
}

/// The square that reads `id`, directly or through nodes that only rename or shift.
fn next_square(graph: &Graph, id: usize) -> Option<usize> {
    let (reader, node) =
        graph.nodes().iter().enumerate().find(|(_, n)| n.inputs.iter().any(|i| i.0 == id))?;
    match &node.op {
        Op::Square { .. } => Some(reader),
        op if passes(op) => next_square(graph, reader),
        _ => None,
    }
}

/// If `id` ends in an addition whose other operand already has a scale: that scale, so that the two can be added.
fn partner_scale(graph: &Graph, id: usize, known: &[Predicted]) -> Option<f64> {
    graph.nodes().iter().enumerate().find_map(|(reader, node)| {
        if !node.inputs.iter().any(|i| i.0 == id) {
            None
        } else if node.op == Op::Add {
            let other = node.inputs.iter().find(|i| i.0 != id)?;
            known.get(other.0).map(|p| p.scale)
        } else if passes(&node.op) {
            partner_scale(graph, reader, known)
        } else {
            None
        }
    })
}
