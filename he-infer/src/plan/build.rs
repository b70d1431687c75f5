//! Puts a program together: levels, parameters, layouts, one step per node, the exact key set.

use std::sync::Arc;

use hetrain_export::{Graph, Node, Op};

use super::deviation::Deviations;
use super::facts::facts;
use super::layout::Layout;
use super::levels::{self, Levels};
use super::linear::{LinearMap, bias_values, for_each_weight};
use super::noise::{self, Predicted};
use super::params::{self, Chain};
use super::program::{Packing, PlannedNode, Program, Step};
use crate::HeError;
use crate::run::{self, Prepared};
use crate::slots::{CostCounter, CostVec, ScalarMatrix};

/// What the person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// How samples lie in ciphertexts.
    pub packing: Packing,
    /// Bits of precision the logits must keep, relative to their range.
    pub precision_bits: u32,
}

/// The smallest secure parameters for `graph` (folded, with ranges), without planning the run: a quick answer to whether
/// there is one.
///
/// # Errors
/// As [`plan`].
pub fn parameters(graph: &Graph, options: PlanOptions) -> Result<Chain, HeError> {
    let levels = levels::assign(graph)?;
    let facts = facts(graph, &levels)?;
    params::search(graph, &facts, &levels, options.precision_bits, options.packing == Packing::Batch)
}

/// Plan `graph` (folded, with ranges) for an encrypted run.
///
/// # Errors
/// Operations without an encrypted form, missing ranges, or a depth no secure parameter set holds.
pub fn plan(graph: Arc<Graph>, options: PlanOptions) -> Result<Program, HeError> {
    let levels = levels::assign(&graph)?;
    let mut facts = facts(&graph, &levels)?;
    let batch = options.packing == Packing::Batch;
    let chain = params::search(&graph, &facts, &levels, options.precision_bits, batch)?;
    let predicted = noise::predict(&graph, &facts, &levels, &chain.nominal(batch))?;
    let mut nodes: Vec<PlannedNode> = Vec::with_capacity(graph.nodes().len());
    for (((_, node), level), (p, f)) in graph.iter().zip(&levels).zip(predicted.iter().zip(&facts)) {
        let planned = node_of(&graph, node, *level, p, f.bound, &chain, options.packing, &nodes)?;
        nodes.push(planned);
    }
    // Scales are fixed; with the layouts known, errors are known better.
    for (node, facts) in nodes.iter().zip(&mut facts) {
        if let Step::Linear(map) = &node.step {
            facts.packed(map);
        }
    }
    let predicted = noise::predict(&graph, &facts, &levels, &chain.nominal(batch))?;
    for (node, predicted) in nodes.iter_mut().zip(predicted) {
        node.bits = predicted.bits(predicted.errors.worst(node.layout.elements()));
        node.reach = predicted.reach;
        node.errors = predicted.errors;
    }
    let mut program = Program {
        graph: Arc::clone(&graph),
        chain,
        packing: options.packing,
        nodes,
        rotations: Vec::new(),
        relin_level: None,
    };
    // Run the program on the counter: the keys are exactly what the run will ask for.
    let counter = program.counter();
    let prepared = Prepared::new(&counter, &program)?;
    run::execute(&counter, &program, &prepared, program.fresh_cost(), &mut run::NoObserver)?;
    program.rotations = counter.rotations();
    program.relin_level = counter.relin_level();
    Ok(program)
}

impl Program {
    /// A cost counter over this program's parameters.
    pub(crate) fn counter(&self) -> CostCounter {
        CostCounter::of(self.chain.params.literal())
    }

    /// The input of a counting run.
    pub(crate) fn fresh_cost(&self) -> Vec<CostVec> {
        let (level, scale) = self.input_level_scale();
        vec![CostVec { level, scale }; self.input_vectors()]
    }
}

#[expect(clippy::too_many_arguments, reason = "everything a node's plan depends on, each once")]
fn node_of(
    graph: &Graph,
    node: &Node,
    level: Levels,
    predicted: &Predicted,
    bound: f64,
    chain: &Chain,
    packing: Packing,
    before: &[PlannedNode],
) -> Result<PlannedNode, HeError> {
    let slots = chain.slots();
    let arg = |i: usize| node.inputs.get(i).and_then(|id| before.get(id.0)).map(|n| &n.layout);
    let from = arg(0).cloned().unwrap_or_else(|| Layout::raster(0, slots));
    let image = |shape: &[usize]| <[usize; 3]>::try_from(shape).ok();
    let layout = match (&node.op, image(&node.shape)) {
        (Op::Input, _) => Layout::input(&node.shape, slots),
        (Op::Conv2d { geometry, .. }, Some(shape)) => from.strided(shape, geometry.stride),
        (Op::AvgPool { stride, .. }, Some(shape)) => from.strided(shape, *stride),
        (Op::Linear { .. }, _) => Layout::raster(node.shape.iter().product(), slots),
        _ => from.clone(),
    };
    if node.op == Op::Add && arg(1).is_some_and(|b| *b != layout) && packing == Packing::Image {
        return Err(HeError::Unfriendly {
            node: node.name.clone(),
            op: "add of two differently packed inputs",
        });
    }
    let spread = |values: Vec<f64>| layout.pack(&values);
    let bias = || Ok::<_, HeError>(bias_values(graph, node)?.unwrap_or_default());
    let linear = |graph: &Graph| -> Result<Step, HeError> {
        Ok(match packing {
            Packing::Image => Step::Linear(LinearMap::new(graph, node, &from, &layout)?),
            Packing::Batch => {
                let mut rows = vec![Vec::new(); layout.elements()];
                for_each_weight(graph, node, &mut |o, i, w| {
                    if let Some(row) = rows.get_mut(o) {
                        row.push((i, w));
                    }
                })?;
                Step::Sums { matrix: ScalarMatrix { rows }, bias: bias()? }
            }
        })
    };
    let step = match &node.op {
        Op::Input => Step::Input,
        Op::Conv2d { .. } | Op::Linear { .. } | Op::Affine { .. } | Op::AvgPool { .. } => linear(graph)?,
        Op::Bias { .. } => match packing {
            Packing::Image => Step::Bias(spread(bias()?)),
            Packing::Batch => Step::BiasConst(bias()?),
        },
        Op::Flatten => Step::Alias,
        Op::Add => Step::Add,
        Op::Square { .. } => Step::Square,
        Op::Quadratic { coeffs, .. } if packing == Packing::Image => {
            let c = graph.tensor(node, coeffs)?.to_f64();
            let plane = node.shape.iter().skip(1).product::<usize>().max(1);
            let of = |k: usize| {
                let per_channel = c.chunks_exact(3).filter_map(|q| q.get(k).copied());
                spread(per_channel.flat_map(|v| std::iter::repeat_n(v, plane)).collect())
            };
            Step::Quadratic { coeffs: [of(0), of(1), of(2)] }
        }
        Op::Polynomial { poly } => Step::Polynomial(poly.clone()),
        op => return Err(HeError::Unfriendly { node: node.name.clone(), op: op.name() }),
    };
    Ok(PlannedNode {
        name: node.name.clone(),
        op: node.op.name(),
        inputs: node.inputs.iter().map(|i| i.0).collect(),
        step,
        level_in: level.operands,
        level: level.result,
        scale: predicted.scale,
        layout,
        bound,
        reach: predicted.reach,
        bits: 0.0,
        errors: Deviations::default(),
    })
}
