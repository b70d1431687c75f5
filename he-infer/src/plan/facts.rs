//! What the noise model needs to know of each node, independent of parameters.

use hetrain_export::{Basis, Graph, Node, Op, Polynomial, RangeStats};

use super::deviation::grouped;
use super::levels::Levels;
use super::program::Step;
use super::tokens::scores_of;
use super::weights::{for_each_weight, sketched};
use crate::HeError;
use crate::kernels::polynomial::{Noise, scheme_of};

/// Facts of one node.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Largest magnitude.
    pub(crate) bound: f64,
    /// Root mean square.
    pub(crate) rms: f64,
    /// Means of the second, fourth and sixth power.
    pub(crate) powers: [f64; 3],
    /// Largest minus smallest value, or the largest magnitude where that is more.
    pub(crate) reach: f64,
    /// By what the variance of the input's noise is multiplied, for shares of the elements: squared norms of rows, squared
    /// slopes over the values seen in calibration.
    pub(crate) gains: Vec<(f64, f64)>,
    /// Products in a row of a linear layer; mean squared curvature of a quadratic.
    pub(crate) terms: f64,
    /// Variance of the own roundings of a linear layer or a product of matrices, in those of one rescaling.
    pub(crate) folds: f64,
    /// Mean square of the factors of a product of matrices.
    pub(crate) factors: f64,
    /// How a polynomial passes noise on.
    pub(crate) polynomial: Option<Noise>,
}

/// Points at which values are sampled, and groups that rows are collected in.
const POINTS: u32 = 33;
/// Rotate-and-add steps after a rescaling are not known before there is a layout; two of them, where there are many.
const FOLDS: f64 = 4.0;

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
            let input = node.inputs.first().and_then(|i| graph.nodes().get(i.0)).map(range_of).transpose()?;
            let bound = range.max_abs().max(f64::MIN_POSITIVE);
            let mut facts = Facts {
                bound,
                rms: (range.mean * range.mean + range.std * range.std).sqrt(),
                powers: [2, 4, 6].map(|power| mean_power(&range, power)),
                reach: (range.max - range.min).max(bound),
                gains: vec![(1.0, 1.0)],
                terms: 1.0,
                folds: FOLDS,
                factors: 1.0,
                polynomial: None,
            };
            match (&node.op, input) {
                (Op::Polynomial { poly }, Some(input)) => {
                    facts.polynomial = Some(polynomial_noise(poly, level.operands, &input));
                }
                (Op::Square { .. }, Some(input)) => facts.gains = slopes(&[[0.0, 0.0, 1.0]], &input),
                (Op::Quadratic { coeffs, .. }, Some(input)) => {
                    let c = graph.tensor(node, coeffs)?.to_f64();
                    let c = c.as_chunks::<3>().0;
                    facts.gains = slopes(c, &input);
                    facts.terms = c.iter().map(|c| c[2] * c[2]).sum::<f64>() / c.len().max(1) as f64;
                }
                (op, _) if op.only_names() => {}
                (Op::Bias { .. }, _) => {}
                (Op::MatMul { .. } | Op::Distance { .. }, _) => {
                    let second = node.inputs.get(1).and_then(|i| graph.node(*i));
                    let terms = second.and_then(|n| n.shape.get(1)).copied().unwrap_or(1);
                    facts.terms = terms as f64;
                    if let Op::MatMul { factors: Some(name), .. } = &node.op {
                        let factors = graph.tensor(node, name)?.to_f64();
                        facts.factors =
                            factors.iter().map(|f| f * f).sum::<f64>() / factors.len().max(1) as f64;
                    }
                    if scores_of(graph, node).is_none() {
                        // The features are summed by rotations, which the layout does not change.
                        facts.folds = (2 * terms.next_power_of_two() - 1) as f64;
                    }
                }
                (op, _) if op.is_linear() => rows(graph, node, &mut facts)?,
                _ => {}
            }
            Ok(facts)
        })
        .collect()
}

impl Facts {
    /// What the layout adds to the knowledge of a layer.
    pub(crate) fn packed(&mut self, step: &Step) {
        let sums = match step {
            Step::Linear(map) => map.folds.len(),
            Step::Scores(tokens) => tokens.feature_folds().count(),
            Step::Mixed { tokens, .. } => tokens.copy_folds().count(),
            _ => return,
        };
        // A fold doubles the variance and rotates once more.
        self.folds = (1.0 + sums as f64).exp2() - 1.0;
    }
}

/// Norms of the rows of a linear layer, and the number of weights in the longest.
fn rows(graph: &Graph, node: &Node, facts: &mut Facts) -> Result<(), HeError> {
    if sketched(graph, node).is_some()
        && let Op::Conv2d { weight, .. } | Op::Linear { weight, .. } = &node.op
    {
        // Noise is amplified as values are, by what the ranges say of the weights that are not there.
        let std =
            |n: Option<&Node>| n.and_then(|n| n.range.as_ref()).map_or(1.0, |r| r.std.max(f64::MIN_POSITIVE));
        let input = node.inputs.first().and_then(|i| graph.node(*i));
        facts.terms = graph.tensor(node, weight)?.shape().iter().skip(1).product::<usize>() as f64;
        facts.gains = vec![(1.0, (std(Some(node)) / std(input)).powi(2))];
        return Ok(());
    }
    let elements = node.shape.iter().product();
    let (mut norms, mut counts) = (vec![(1.0, 0.0f64); elements], vec![0.0f64; elements]);
    for_each_weight(graph, node, &mut |o, _, w| {
        if let (Some(n), Some(c)) = (norms.get_mut(o), counts.get_mut(o)) {
            n.1 += w * w;
            *c += 1.0;
        }
    })?;
    facts.gains = grouped(norms, POINTS as usize);
    facts.terms = counts.iter().copied().fold(0.0, f64::max);
    Ok(())
}

/// Squared slopes of `c₀ + c₁x + c₂x²` over the channels and the values they see.
fn slopes(channels: &[[f64; 3]], range: &RangeStats) -> Vec<(f64, f64)> {
    let of = |c: &[f64; 3]| {
        let c = *c;
        sampled(range).map(move |(x, weight)| (weight, (c[1] + 2.0 * c[2] * x).powi(2)))
    };
    grouped(channels.iter().flat_map(of).collect(), POINTS as usize)
}

/// Values with weights, as a normal distribution with the mean and deviation of the data, within its range.
fn sampled(range: &RangeStats) -> impl Iterator<Item = (f64, f64)> {
    (0..POINTS).map(move |i| {
        let x = range.min + (range.max - range.min) * f64::from(i) / f64::from(POINTS - 1);
        let distance = (x - range.mean) / range.std.max(f64::MIN_POSITIVE);
        (x, (-0.5 * distance * distance).exp().max(1e-12))
    })
}

/// Mean of a power of the values seen in calibration.
fn mean_power(range: &RangeStats, power: i32) -> f64 {
    let (sum, weights) =
        sampled(range).fold((0.0, 0.0), |(s, w), (x, weight)| (s + weight * x.powi(power), w + weight));
    sum / weights
}

/// How `poly` passes noise on over the values seen in calibration.
fn polynomial_noise(poly: &Polynomial, level: usize, range: &RangeStats) -> Noise {
    let (centre, reach) = match poly.basis() {
        Basis::Monomial => (0.0, poly.interval().max_abs()),
        Basis::Chebyshev => (poly.interval().centre(), poly.interval().half_width()),
    };
    let points = sampled(range).map(|(x, weight)| ((x - centre) / reach, weight));
    Noise::new(&scheme_of(poly, level), points)
}
