//! Puts a program together: levels, parameters, layouts, one step per node, the exact key set.

use std::sync::Arc;

use hetrain_export::{Graph, Node, Op, interp};
use serde::{Deserialize, Serialize};

use super::facts::{Facts, facts};
use super::layout::{Layout, NOWHERE};
use super::levels::{self, Levels};
use super::linear::{LinearMap, bias_values, for_each_weight, interleaved};
use super::noise::{self, Nominal, Predicted};
use super::params::{self, Chain, sure_bits};
use super::program::{Keep, Packing, PlannedNode, Program, Step};
use super::refresh::{self, Refreshing};
use super::tokens::{Demands, demands};
use crate::HeError;
use crate::bootstrap::BootstrapParams;
use crate::run::{self, Prepared};
use crate::slots::{CostCounter, CostVec, ScalarMatrix};

/// Whether ciphertexts may be bootstrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrapping {
    /// Depth is bounded by the ring.
    #[default]
    Never,
    /// Where no ring holds the depth (image packing), where it costs least.
    Auto,
    /// Always (image packing), and as late as possible: what [`Auto`](Self::Auto) is compared with.
    WhenEmpty,
}

/// What the person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// How samples lie in ciphertexts.
    pub packing: Packing,
    /// Images to a run of the image packing, a power of two: they are interleaved and share everything.
    pub images: usize,
    /// Bits of precision the logits must keep, relative to their range.
    pub precision_bits: u32,
    /// Whether ciphertexts may be bootstrapped.
    pub bootstrapping: Bootstrapping,
}

/// Parameters, levels and bootstraps.
struct Frame {
    chain: Chain,
    levels: Vec<Levels>,
    refreshing: Option<Refreshing>,
    steps: Arc<[(Layout, Step)]>,
}

/// The smallest secure parameters for `graph` (folded, with ranges), without planning the run: a quick answer to whether
/// there is one.
///
/// # Errors
/// As [`plan`].
pub fn parameters(graph: &Graph, options: PlanOptions) -> Result<Chain, HeError> {
    Ok(frame(graph, options)?.chain)
}

/// Primes of a chain that is surely cheaper without bootstraps.
const SHALLOW: usize = 12;

/// The smallest ring that holds the whole depth, or, where that is allowed and faster, a shorter chain with bootstraps.
fn frame(graph: &Graph, options: PlanOptions) -> Result<Frame, HeError> {
    if options.bootstrapping == Bootstrapping::WhenEmpty && options.packing == Packing::Image {
        return Ok(refreshed(graph, options, None)?.0);
    }
    let direct = leveled(graph, options);
    if options.bootstrapping == Bootstrapping::Never || options.packing == Packing::Batch {
        return direct;
    }
    // What fits between two bootstraps needs none.
    if direct.as_ref().is_ok_and(|direct| direct.chain.primes().len() <= SHALLOW) {
        return direct;
    }
    let with = refreshed(graph, options, direct.as_ref().ok());
    match (direct, with) {
        (Ok(direct), Ok((with, seconds))) => {
            let whole = refresh::seconds(graph, &direct.steps, direct.chain.params.literal())?;
            Ok(if whole <= seconds { direct } else { with })
        }
        (Ok(direct), Err(_)) => Ok(direct),
        (Err(_), with) => Ok(with?.0),
    }
}

/// The smallest ring that holds the whole depth.
fn leveled(graph: &Graph, options: PlanOptions) -> Result<Frame, HeError> {
    let levels = levels::assign(graph)?;
    let facts = facts(graph, &levels)?;
    let batch = options.packing == Packing::Batch;
    let chain = params::search(graph, &facts, &levels, options.precision_bits, batch)?;
    let steps = steps(graph, chain.slots(), options)?.into();
    Ok(Frame { chain, levels, refreshing: None, steps })
}

/// The chain for bootstrapping, with bootstraps where they cost least, and the seconds of a run.
fn refreshed(graph: &Graph, options: PlanOptions, direct: Option<&Frame>) -> Result<(Frame, f64), HeError> {
    let chain = Chain::deep()?;
    let refreshing = Refreshing::new(chain.params.literal(), BootstrapParams::d16())?;
    let steps = match direct.filter(|direct| direct.chain.slots() == chain.slots()) {
        Some(direct) => Arc::clone(&direct.steps),
        None => steps(graph, chain.slots(), options)?.into(),
    };
    let depth = levels::assign(graph)?.iter().map(|l| l.operands).max().unwrap_or(0);
    let too_deep =
        |found: String| HeError::TooDeep { depth, bits: options.precision_bits, max_log_n: 16, found };
    let place = match options.bootstrapping {
        Bootstrapping::WhenEmpty => refresh::when_empty,
        _ => refresh::place,
    };
    let placed = place(graph, &steps, chain.params.literal(), &refreshing)?;
    let Some((levels, seconds)) = placed else {
        return Err(too_deep("some part between two possible bootstraps is too deep".into()));
    };
    let frame = Frame { chain, levels, refreshing: Some(refreshing), steps };
    let found = sure_bits(&frame.predict(graph, &frame.facts(graph)?, false)?);
    if found < f64::from(options.precision_bits) {
        return Err(too_deep(format!("{found:.1} bits with bootstraps")));
    }
    Ok((frame, seconds))
}

impl Frame {
    fn facts(&self, graph: &Graph) -> Result<Vec<Facts>, HeError> {
        let mut facts = facts(graph, &self.levels)?;
        for ((_, step), facts) in self.steps.iter().zip(&mut facts) {
            facts.packed(step);
        }
        Ok(facts)
    }

    fn predict(&self, graph: &Graph, facts: &[Facts], batch: bool) -> Result<Vec<Predicted>, HeError> {
        let refresh = self.refreshing.as_ref();
        let refresh = refresh.map(|r| noise::Refresh { scale: r.scale, error: r.cost.error });
        noise::predict(graph, facts, &self.levels, &Nominal { refresh, ..self.chain.nominal(batch) })
    }
}

/// Plan `graph` (folded, with ranges) for an encrypted run.
///
/// # Errors
/// Operations without an encrypted form, missing ranges, or a depth no secure parameter set holds.
pub fn plan(graph: Arc<Graph>, options: PlanOptions) -> Result<Program, HeError> {
    let frame = frame(&graph, options)?;
    let facts = frame.facts(&graph)?;
    let predicted = frame.predict(&graph, &facts, options.packing == Packing::Batch)?;
    let Frame { chain, levels, refreshing, steps } = frame;
    let planned =
        graph.nodes().iter().zip(steps.iter().cloned()).zip(&levels).zip(predicted.into_iter().zip(&facts));
    let nodes = planned.map(|(((node, (layout, step)), level), (predicted, facts))| PlannedNode {
        name: node.name.clone(),
        op: node.op.name(),
        inputs: node.inputs.iter().map(|i| i.0).collect(),
        step,
        level_in: level.operands,
        level: level.result,
        scale: predicted.scale,
        bound: facts.bound,
        reach: predicted.reach,
        bits: predicted.bits(predicted.errors.worst(layout.elements())),
        errors: predicted.errors,
        refreshed: level.refreshed,
        layout,
    });
    let mut program = Program {
        nodes: nodes.collect(),
        graph: Arc::clone(&graph),
        chain,
        packing: options.packing,
        rotations: Vec::new(),
        relin_level: None,
        refreshing,
        keep: Keep::Residues,
    };
    program.choose_keep();
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
            .refreshing(self.refreshing.as_ref())
            .holding(self.keep.held())
    }

    /// The input of a counting run.
    pub(crate) fn fresh_cost(&self) -> Vec<CostVec> {
        let (level, scale) = self.input_level_scale();
        vec![CostVec { level, scale }; self.input_vectors()]
    }
}

/// Layout and step of every node.
pub(super) fn steps(
    graph: &Graph,
    slots: usize,
    options: PlanOptions,
) -> Result<Vec<(Layout, Step)>, HeError> {
    let PlanOptions { packing, images, .. } = options;
    if !images.is_power_of_two() || images > slots || (images > 1 && packing == Packing::Batch) {
        return Err(HeError::Together { images, slots });
    }
    // As for one image in fewer slots; then each slot becomes one for every image.
    let mut steps: Vec<(Layout, Step)> = Vec::with_capacity(graph.nodes().len());
    let demands = match packing {
        Packing::Image => demands(graph, slots / images)?,
        Packing::Batch => Demands::default(),
    };
    for (id, node) in graph.iter() {
        let step = step_of(graph, (id.0, node), slots / images, packing, &demands, &steps)?;
        steps.push(step);
    }
    if images == 1 {
        return Ok(steps);
    }
    let wide = |(layout, step): (Layout, Step)| {
        let step = match step {
            Step::Linear(map) => Step::Linear(map.interleaved(images)),
            Step::Bias(values) => Step::Bias(interleaved(&values, images)),
            Step::Scores(tokens) => Step::Scores(tokens.interleaved(images)),
            Step::Mixed(tokens) => Step::Mixed(tokens.interleaved(images)),
            Step::Quadratic { coeffs } => Step::Quadratic { coeffs: coeffs.map(|c| interleaved(&c, images)) },
            other => other,
        };
        (layout.interleaved(images), step)
    };
    Ok(steps.into_iter().map(wide).collect())
}

fn step_of(
    graph: &Graph,
    (id, node): (usize, &Node),
    slots: usize,
    packing: Packing,
    demands: &Demands,
    before: &[(Layout, Step)],
) -> Result<(Layout, Step), HeError> {
    let unfriendly = || HeError::Unfriendly { node: node.name.clone(), op: node.op.name() };
    let arg = |i: usize| node.inputs.get(i).and_then(|id| before.get(id.0)).map(|(layout, _)| layout);
    let from = arg(0).cloned().unwrap_or_else(|| Layout::raster(0, slots));
    let image = |shape: &[usize]| <[usize; 3]>::try_from(shape).ok();
    let shape = || node.inputs.first().and_then(|i| graph.node(*i)).map_or(&[][..], |n| n.shape.as_slice());
    let layout = match (&node.op, image(&node.shape)) {
        _ if demands.layouts.contains_key(&id) => demands.layouts.get(&id).cloned().ok_or_else(unfriendly)?,
        (Op::Input, Some(shape)) => patches(graph, id, shape, slots),
        (Op::Input, _) => Layout::input(&node.shape, slots),
        (Op::Conv2d { geometry, .. }, Some(shape)) => from.strided(shape, geometry.stride),
        (Op::AvgPool { stride, .. }, Some(shape)) => from.strided(shape, *stride),
        (Op::Linear { .. }, _) => Layout::raster(node.shape.iter().product(), slots),
        (Op::RowSum { .. }, _) => Layout::input(&node.shape, slots),
        (Op::Transpose { axes }, _) => from.renamed(interp::sources(shape(), *axes).into_iter()),
        (Op::Reshape { .. }, _) => from.renamed(0..from.elements()),
        (Op::Causal, Some([_, _, n])) => {
            let source = |e: usize| if e % n <= e / n % n { e } else { NOWHERE };
            from.renamed((0..from.elements()).map(source))
        }
        _ => from.clone(),
    };
    if node.op == Op::Add && arg(1).is_some_and(|b| *b != layout) && packing == Packing::Image {
        return Err(HeError::Unfriendly {
            node: node.name.clone(),
            op: "add of two differently packed inputs",
        });
    }
    let spread = |values: Vec<f64>| layout.pack(&[values]);
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
        Op::Conv2d { .. }
        | Op::Linear { .. }
        | Op::Affine { .. }
        | Op::AvgPool { .. }
        | Op::RowSum { .. } => linear(graph)?,
        Op::Bias { .. } => match packing {
            Packing::Image => Step::Bias(spread(bias()?)),
            Packing::Batch => Step::BiasConst(bias()?),
        },
        Op::Flatten | Op::Reshape { .. } => Step::Alias,
        Op::Transpose { .. } | Op::Causal if packing == Packing::Image => Step::Alias,
        Op::Add => Step::Add,
        Op::Mul if arg(1).is_some_and(|b| multiplies(graph, node, &layout, b)) => Step::Mul,
        Op::MatMul { .. } => {
            let tokens = demands.tokens.get(&id).copied().ok_or_else(unfriendly)?;
            if demands.scores.contains(&id) { Step::Scores(tokens) } else { Step::Mixed(tokens) }
        }
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
        _ => return Err(unfriendly()),
    };
    Ok((layout, step))
}

/// The layout of an input image: by patches, if that is how its only reader takes it.
fn patches(graph: &Graph, id: usize, shape: [usize; 3], slots: usize) -> Layout {
    let mut readers = graph.nodes().iter().filter(|n| n.inputs.iter().any(|i| i.0 == id));
    let patch = match (readers.next(), readers.next()) {
        (Some(reader), None) => match &reader.op {
            Op::Conv2d { weight, geometry: g, .. } if g.dilation == [1; 2] && g.groups == 1 => {
                let kernel = graph.tensors().get(weight).map(|t| t.shape().to_vec()).unwrap_or_default();
                let square = g.stride[0] == g.stride[1] && g.padding[0] == g.padding[1] && g.stride[0] > 1;
                (square && kernel.get(2..) == Some(&g.stride)).then_some((g.stride[0], g.padding[0]))
            }
            _ => None,
        },
        _ => None,
    };
    let by_patches = patch.and_then(|(patch, padding)| Layout::patches(shape, patch, padding, slots));
    by_patches.unwrap_or_else(|| Layout::input(&shape, slots))
}

/// Whether the slots of `b` lie where those of `a` are to be multiplied with them.
fn multiplies(graph: &Graph, node: &Node, a: &Layout, b: &Layout) -> bool {
    let Some(shape) = node.inputs.get(1).and_then(|i| graph.node(*i)).map(|n| &n.shape) else { return false };
    let each = a.vectors() / b.vectors().max(1);
    let met = |e: usize, place: usize| {
        let mut other = b.places(interp::repeated(&node.shape, shape, e));
        let (vector, slot) = (place / a.slots(), place % a.slots());
        other.any(|p| p / b.slots() == vector / each.max(1) && (p % b.slots()) == slot % b.period())
    };
    a.vectors() == each * b.vectors() && (0..a.elements()).all(|e| a.places(e).all(|place| met(e, place)))
}
