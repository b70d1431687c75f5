//! Networks that exist as a configuration only, for whoever wants to know what one would cost before training it.

use burn::module::Module;
use hetrain_export::{Graph, Interval, Op, RangeStats, fold};
use hetrain_layers::{HeModel, RangeProbe};

use crate::data::TrainingData;

/// The folded graph of `model` as it would be after training, with the ranges batch norm would give. (The untrained network's
/// own values say nothing: its quadratics are not fitted yet and explode in deep networks.)
///
/// # Errors
/// A normalisation for other channels.
pub fn untrained(data: &TrainingData, model: &HeModel) -> anyhow::Result<Graph> {
    let polynomial = model.deep_copy().valid();
    (0..polynomial.activations()).for_each(|i| polynomial.set_blend(i, 1.0));
    let (mean, std) = data.mean_std()?;
    let mut graph = fold(&polynomial.lower(&mean, &std)?)?;
    let ranges = assumed(&graph);
    graph.set_ranges(ranges);
    Ok(graph)
}

/// Ranges of values with mean 0 and deviation 1. Before a square they are moved as its interval was when the affine part of
/// the quadratic went into the layers before: else every square would seem to double the noise, and deep networks to drown.
fn assumed(graph: &Graph) -> Vec<RangeStats> {
    let Interval { lo: min, hi: max } = RangeProbe::INTERVAL;
    let usual = RangeStats { min, max, std: 1.0, ..RangeStats::empty("assumed") };
    let mut ranges = vec![usual.clone(); graph.nodes().len()];
    for node in graph.nodes() {
        if let Op::Square { intervals } = &node.op
            && let (Some(moved), Some(source)) = (intervals.first(), node.inputs.first())
            && let Some(range) = ranges.get_mut(source.0)
        {
            let std = moved.half_width() / RangeProbe::INTERVAL.half_width();
            *range = RangeStats { min: moved.lo, max: moved.hi, mean: moved.centre(), std, ..usual.clone() };
        }
    }
    ranges
}
