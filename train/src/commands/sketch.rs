//! Networks that exist as a configuration only, for whoever wants to know what one would cost before training it.

use std::path::Path;

use hetrain_export::{Graph, Interval, NodeId, Op, RangeStats, fold};
use hetrain_layers::{HeModel, RangeProbe};

use crate::{
    config::{Architecture, Described, HeSettings},
    data::{self, TrainingData},
    device::DeviceName,
    error::RunError,
};

/// A configured network whose weights are sketched, and the normalisation before it.
pub struct Sketch {
    /// The network.
    pub model: HeModel,
    /// What the encrypted run may assume.
    pub he: HeSettings,
    normalise: (Vec<f64>, Vec<f64>),
}

impl Sketch {
    /// For a described run or network. Files of data are read only where name and settings do not tell what a sample is: of texts and
    /// of image folders without `size`, `channels` and classes.
    ///
    /// # Errors
    /// Data errors, a network that does not exist for the data.
    pub fn new(described: &Described, data_dir: Option<&Path>) -> Result<Self, RunError> {
        let device = DeviceName::Cpu.open()?;
        match described {
            Described::Run(config) => {
                data::kind(config)?;
                config.data.source.check()?;
                let (shape, classes) = match config.data.source.form() {
                    Some(form) => form,
                    None => {
                        let data = TrainingData::load(config, data_dir)?;
                        (data.train.shape, data.train.classes)
                    }
                };
                let model = config.model.sized(shape, classes).sketch(&device)?;
                Ok(Self::plain(model, shape, &config.he))
            }
            Described::Architecture(Architecture { model, input, classes, he, .. }) => {
                let model = model.sized(*input, *classes).sketch(&device)?;
                Ok(Self::plain(model, *input, he))
            }
        }
    }

    /// Normalisation is part of the first layer and costs nothing, so any will do.
    fn plain(model: HeModel, shape: [usize; 3], he: &HeSettings) -> Self {
        Self { model, he: he.clone(), normalise: (vec![0.0; shape[0]], vec![1.0; shape[0]]) }
    }

    /// The folded graph of the network as it would be after training, with the ranges batch norm would give. (The untrained
    /// network's own values say nothing: its quadratics are not fitted yet and explode in deep networks.)
    ///
    /// # Errors
    /// A normalisation for other channels.
    pub fn graph(&self) -> anyhow::Result<Graph> {
        let (mean, std) = &self.normalise;
        (0..self.model.operators()).for_each(|i| self.model.set_blend(i, 1.0));
        let mut graph = fold(&self.model.lower(mean, std)?)?;
        let ranges = assumed(&graph);
        graph.set_ranges(ranges);
        Ok(graph)
    }
}

/// Ranges of values with mean 0 and deviation 1. Before a polynomial they are those of its interval. Before a
/// square they are moved as its interval was when the affine part of
/// the quadratic went into the layers before: else every square would seem to double the noise, and deep networks to drown.
fn assumed(graph: &Graph) -> Vec<RangeStats> {
    let Interval { lo: min, hi: max } = RangeProbe::INTERVAL;
    let usual = RangeStats { min, max, std: 1.0, ..RangeStats::empty("assumed") };
    let mut ranges = vec![usual.clone(); graph.nodes().len()];
    for (id, node) in graph.iter() {
        if let (Op::Mul, [a, b]) = (&node.op, node.inputs.as_slice())
            && a == b
            && let Some(side) = ranges.get(a.0).cloned()
            && let Some(range) = ranges.get_mut(id.0)
        {
            // A square of normal values: mean σ², deviation √2·σ².
            let (square, max) = (side.mean * side.mean + side.std * side.std, side.max_abs().powi(2));
            *range = RangeStats { min: 0.0, max, mean: square, std: square * 2f64.sqrt(), ..usual.clone() };
        }
        if let (Op::Add, [a, b]) = (&node.op, node.inputs.as_slice())
            && let (Some(a), Some(b)) = (ranges.get(a.0).cloned(), ranges.get(b.0).cloned())
            && let Some(range) = ranges.get_mut(id.0)
        {
            // Independent sides: a stream grows with every branch that is added to it, and the norms that read it divide by that.
            let (mean, std) = (a.mean + b.mean, a.std.hypot(b.std));
            *range = RangeStats { min: mean + std * min, max: mean + std * max, mean, std, ..usual.clone() };
        }
        if let Op::Square { intervals } = &node.op
            && let (Some(moved), Some(source)) = (intervals.first(), node.inputs.first())
            && let Some(range) = ranges.get_mut(source.0)
        {
            let std = moved.half_width() / RangeProbe::INTERVAL.half_width();
            *range = RangeStats { min: moved.lo, max: moved.hi, mean: moved.centre(), std, ..usual.clone() };
        }
        if let (Op::Polynomial { poly }, Some(source)) = (&node.op, node.inputs.first())
            && let Some(range) = ranges.get_mut(source.0)
        {
            let Interval { lo: min, hi: max } = poly.interval();
            let (mean, std) = (poly.interval().centre(), poly.interval().half_width() / 4.0);
            *range = RangeStats { min, max, mean, std, ..usual.clone() };
        }
        if let (Op::MatMul { factors: None, .. } | Op::Distance { .. }, [a, b]) =
            (&node.op, node.inputs.as_slice())
        {
            // A sum of products is as large as its terms if one side is smaller by the root of their number: the layer that the
            // factor of an attention went into.
            let terms = graph.node(*b).and_then(|n| n.shape.get(1)).copied().unwrap_or(1);
            let small = from_layer(graph, *a).or_else(|| from_layer(graph, *b)).unwrap_or_default();
            for id in small {
                if let Some(range) = ranges.get_mut(id.0) {
                    let by = 1.0 / (terms as f64).sqrt();
                    let (min, max, std) = (by * usual.min, by * usual.max, by * usual.std);
                    *range = RangeStats { min, max, std, ..usual.clone() };
                }
            }
        }
    }
    ranges
}

/// `id` and what it is another name of, back to a linear layer; `None` if it comes from no such layer.
fn from_layer(graph: &Graph, mut id: NodeId) -> Option<Vec<NodeId>> {
    let mut names = vec![id];
    while graph.node(id)?.op.only_names() {
        id = *graph.node(id)?.inputs.first()?;
        names.push(id);
    }
    matches!(graph.node(id)?.op, Op::Conv2d { .. } | Op::Linear { .. }).then_some(names)
}
