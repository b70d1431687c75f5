//! Puts a program together: levels, parameters, layouts, one step per node, the exact key set.

use std::sync::Arc;

use hetrain_export::{Graph, brief};
use serde::{Deserialize, Serialize};

use super::facts::{Facts, facts};
use super::levels::{self, Levels};
use super::noise::{Nominal, Predicted, predict};
use super::params::{self, Chain, sure_bits};
use super::program::{Keep, Packing, PlannedNode, Program};
use super::refresh::{self, Refreshing};
use super::sine::{Refresh, Sine};
use super::steps::{Placed, steps};
use super::tokens::least_slots;
use crate::HeError;
use crate::bootstrap::BootstrapParams;
use crate::run::{self, Prepared};
use crate::slots::{CostCounter, CostVec};

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
    /// Bits of precision the logits must keep, relative to their range; 0 where only the price is asked for.
    pub precision_bits: u32,
    /// Whether ciphertexts may be bootstrapped.
    pub bootstrapping: Bootstrapping,
    /// Whether the client computes the linear layers before anything else (of texts, the embedding), and encrypts their result.
    pub embedded: bool,
}

/// Parameters, levels and bootstraps.
struct Frame {
    chain: Chain,
    levels: Vec<Levels>,
    refreshing: Option<Refreshing>,
    steps: Arc<[Placed]>,
}

/// The smallest secure parameters for `graph` (folded, with ranges), without planning the run: a quick answer to whether
/// there is one.
///
/// # Errors
/// As [`plan`].
pub fn parameters(graph: &Graph, options: PlanOptions) -> Result<Chain, HeError> {
    let (_, server) = split(graph, options)?;
    Ok(frame(server.as_ref().unwrap_or(graph), options)?.chain)
}

/// What the client computes of `graph`, and what is left, if it computes anything.
fn split(graph: &Graph, options: PlanOptions) -> Result<(Option<Graph>, Option<Graph>), HeError> {
    if !options.embedded {
        return Ok((None, None));
    }
    let (client, server) = graph.split_first_layers()?.ok_or(HeError::NoFirstLayers)?;
    Ok((Some(client), Some(server)))
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

/// Most images that may share ciphertexts. More of them leave so few slots to each that nearly every weight becomes a product of its own,
/// and the batch layout takes thousands.
const MOST_TOGETHER: usize = 1024;

/// The smallest ring that holds the whole depth.
fn leveled(graph: &Graph, options: PlanOptions) -> Result<Frame, HeError> {
    let levels = levels::assign(graph)?;
    let facts = facts(graph, &levels)?;
    let batch = options.packing == Packing::Batch;
    let least_slots = options.images.saturating_mul(if batch { 1 } else { least_slots(graph) });
    if options.images > MOST_TOGETHER {
        return Err(HeError::Together { images: options.images, slots: MOST_TOGETHER });
    }
    let chain = params::search(graph, &facts, &levels, options.precision_bits, batch, least_slots)?;
    let steps = steps(graph, chain.slots(), options)?.into();
    Ok(Frame { chain, levels, refreshing: None, steps })
}

/// The chain for bootstrapping, with bootstraps where they cost least, and the seconds of a run.
fn refreshed(graph: &Graph, options: PlanOptions, direct: Option<&Frame>) -> Result<(Frame, f64), HeError> {
    let chain = Chain::deep()?;
    let params = BootstrapParams::d16().small_values();
    let refreshing = Refreshing::new(chain.params.literal(), params.clone())?;
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
    let mut frame = Frame { chain, levels, refreshing: Some(refreshing), steps };
    let facts = frame.facts(graph)?;
    if let Some(spread) = Sine::best_spread(graph, &facts, &frame.levels) {
        let params = BootstrapParams { spread, ..params };
        frame.refreshing = Some(Refreshing::new(frame.chain.params.literal(), params)?);
    }
    let found = sure_bits(&frame.predict(graph, &facts, false)?);
    if options.precision_bits > 0 && found < f64::from(options.precision_bits) {
        return Err(too_deep(format!("{found:.1} bits with bootstraps{}", widest(graph, &facts))));
    }
    Ok((frame, seconds))
}

/// Whose values reach furthest beyond what is usual for them: what bounds cost precision, since the largest value has to fit.
fn widest(graph: &Graph, facts: &[Facts]) -> String {
    let reach = |facts: &Facts| facts.bound / facts.rms;
    let usual = facts.iter().zip(graph.nodes()).filter(|(facts, _)| facts.rms > 0.0);
    let Some((facts, node)) = usual.max_by(|(a, _), (b, _)| reach(a).total_cmp(&reach(b))) else {
        return String::new();
    };
    let (bound, times) = (brief(facts.bound, 1), brief(reach(facts), 0));
    format!("; values of `{}` reach {bound}, {times} times their root mean square", node.name)
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
        let refresh =
            refresh.map(|r| Refresh { scale: r.scale, deviation: r.cost.error.0, sine: Sine::of(&r.params) });
        predict(graph, facts, &self.levels, &Nominal { refresh, ..self.chain.nominal(batch) })
    }
}

/// Plan `graph` (folded, with ranges) for an encrypted run.
///
/// # Errors
/// Operations without an encrypted form, missing ranges, or a depth no secure parameter set holds.
pub fn plan(graph: Arc<Graph>, options: PlanOptions) -> Result<Program, HeError> {
    let (client, server) = split(&graph, options)?;
    let graph = server.map_or(graph, Arc::new);
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
        client: client.map(Arc::new),
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
    let prepared = Prepared::counted(&counter, &program)?;
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

#[cfg(test)]
mod tests {
    use hetrain_export::{Conv2dGeometry, GraphBuilder, Interval, Op, RangeStats, Tensor};

    use super::*;

    /// Residual blocks whose activation is on the branch, so that squares and quadratics, which do not choose their scale or choose it
    /// freely, are added to the way around.
    #[test]
    fn activations_on_branches_are_brought_to_the_scale_of_the_way_around() {
        let mut b = GraphBuilder::default();
        let conv = |b: &mut GraphBuilder, name: String, x| {
            let weight = Tensor::new([2, 2, 3, 3], vec![0.1; 36]).unwrap();
            b.conv2d(&name, x, weight, None, Conv2dGeometry::new(1, 1)).unwrap()
        };
        let interval = vec![Interval::new(-9.0, 9.0).unwrap()];
        let x = b.input("image", &[2, 4, 4]).unwrap();
        let mut x = conv(&mut b, "stem".into(), x);
        for i in 0..8 {
            let y = conv(&mut b, format!("conv{i}"), x);
            let y = match i % 2 {
                0 => b.push(&format!("act{i}"), Op::Square { intervals: interval.clone() }, &[y]).unwrap(),
                _ => {
                    let coeffs = Tensor::new([2, 3], vec![0.0, 1.0, -0.1, 0.0, 1.0, 0.1]).unwrap();
                    b.quadratic(&format!("act{i}"), y, coeffs, interval.clone()).unwrap()
                }
            };
            x = b.push(&format!("add{i}"), Op::Add, &[y, x]).unwrap();
        }
        conv(&mut b, "last".into(), x);
        let mut graph = b.finish().unwrap();
        let range = RangeStats { min: -1.0, max: 1.0, std: 0.5, ..RangeStats::empty("assumed") };
        graph.set_ranges(vec![range; graph.nodes().len()]);
        let graph = Arc::new(graph);
        for bootstrapping in [Bootstrapping::Never, Bootstrapping::Auto, Bootstrapping::WhenEmpty] {
            let options = PlanOptions {
                packing: Packing::Image,
                images: 1,
                precision_bits: 8,
                bootstrapping,
                embedded: false,
            };
            let program = plan(Arc::clone(&graph), options).unwrap();
            assert_eq!(
                program.bootstraps() > 0,
                bootstrapping == Bootstrapping::WhenEmpty,
                "{bootstrapping:?}"
            );
        }
    }
}
