//! Where ciphertexts are bootstrapped.
//!
//! Between nodes that every path from input to output crosses (outside residual blocks), a plan is a chain; which of these nodes
//! to refresh, and at which level each is needed, is a shortest path over (node, level) with the regions between them as edges
//! (Ebel, Garimella, Reagen 2025), priced by the cost model. An edge's price is that of all its nodes, each at the lowest level
//! its readers allow, so falling levels, cheaper layers and fewer bootstraps are weighed against each other.
//!
//! A region that is too deep for one bootstrap (a norm with a polynomial and the attention behind it) is given more of them inside,
//! where they cost least: at layers of few ciphertexts, such as the mean squares that a polynomial is computed of.

use std::collections::BTreeMap;
use std::rc::Rc;

use hetrain_export::{Graph, Node, NodeId, Op};

use super::levels::{self, Levels};
use super::prices::Prices;
use super::scales;
use super::steps::Placed;
use crate::HeError;
use crate::bootstrap::{BootstrapCost, BootstrapParams};
use crate::ckks::ParamsLiteral;

/// How a program refreshes ciphertexts.
#[derive(Clone, Debug)]
pub struct Refreshing {
    /// What is prepared.
    pub params: BootstrapParams,
    /// What it costs, and between which levels it works.
    pub cost: BootstrapCost,
    /// Scale at which its input lies in `[-1, 1]`.
    pub scale: f64,
}

impl Refreshing {
    /// For a chain made for it.
    pub(crate) fn new(chain: &ParamsLiteral, params: BootstrapParams) -> Result<Self, HeError> {
        let cost = BootstrapCost::new(chain, &params)?;
        Ok(Self { params, cost, scale: chain.default_scale })
    }

    /// Levels a result must have, and has afterwards.
    fn levels(&self) -> (usize, usize) {
        (self.cost.input_level, self.cost.output_level)
    }
}

/// Whether the scale of a node's result can be chosen, for it must be that of the bootstrap: it is a linear layer or a sum, and what is
/// added to it comes from the input, linear layers, squares of such, or quadratics.
pub(super) fn can_refresh(graph: &Graph, id: usize) -> bool {
    let linear = |n: &Node| n.op.is_linear() || n.op == Op::Add;
    let here = graph.nodes().get(id).is_some_and(|n| linear(n) && !scales::passes(&n.op));
    let fits = |n: &Node| match n.op {
        Op::Square { .. } => n.inputs.first().is_some_and(|i| from_layer(graph, *i)),
        Op::Quadratic { .. } | Op::Input => true,
        _ => linear(n),
    };
    here && scales::same_scales(graph, id).into_iter().filter_map(|id| graph.nodes().get(id)).all(fits)
}

/// Whether a node is a linear layer, or only shifts or renames the result of one.
fn from_layer(graph: &Graph, id: NodeId) -> bool {
    let mut node = graph.node(id);
    while let Some(passed) = node.filter(|n| scales::passes(&n.op)) {
        node = passed.inputs.first().and_then(|i| graph.node(*i));
    }
    node.is_some_and(|n| n.op.is_linear())
}

/// Nodes that every path crosses: no edge leads over them.
fn crossings(graph: &Graph) -> Vec<usize> {
    let mut last = vec![0; graph.nodes().len()];
    for (id, node) in graph.iter() {
        for input in &node.inputs {
            if let Some(l) = last.get_mut(input.0) {
                *l = id.0;
            }
        }
    }
    let mut reach = 0;
    let mut found = Vec::new();
    for (id, last) in last.into_iter().enumerate() {
        if reach <= id {
            found.push(id);
        }
        reach = reach.max(last);
    }
    found
}

/// What follows a crossing if its value is needed at one level.
#[derive(Clone)]
struct Best {
    seconds: f64,
    /// Level at which the next crossing's value is needed, and whether that one is refreshed.
    next: usize,
    refreshed: bool,
    /// Nodes on the way there that are refreshed too.
    inside: Rc<[usize]>,
}

/// The way between two crossings.
#[derive(Clone)]
struct Region {
    /// Level at which the first one's value is needed.
    level: usize,
    seconds: f64,
    /// Nodes that are refreshed on the way.
    inside: Rc<[usize]>,
}

/// Most bootstraps inside a region.
const INSIDE: usize = 2;

/// Seconds of a run without refreshes, on one thread.
pub(crate) fn seconds(graph: &Graph, steps: &[Placed], chain: &ParamsLiteral) -> Result<f64, HeError> {
    let last = graph.nodes().len().saturating_sub(1);
    let region = Prices::new(graph, steps, chain).region(0, last, 0, usize::MAX, None)?;
    Ok(region.map_or(f64::INFINITY, |region| region.seconds))
}

/// Levels of every node with the cheapest refreshes, and the seconds of a run on one thread; `None` if there are none that
/// suffice.
pub(crate) fn place(
    graph: &Graph,
    steps: &[Placed],
    chain: &ParamsLiteral,
    refreshing: &Refreshing,
) -> Result<Option<(Vec<Levels>, f64)>, HeError> {
    let crossings = crossings(graph);
    let (bottom, top) = refreshing.levels();
    let prices = Prices::new(graph, steps, chain);
    let Some(&output) = crossings.last() else { return Ok(None) };
    // From the output backwards: for each crossing, the best for each level its value may be needed at.
    let mut after: BTreeMap<usize, Best> = BTreeMap::new();
    after.insert(0, Best { seconds: 0.0, next: 0, refreshed: false, inside: Rc::default() });
    let mut table = vec![(output, after)];
    for pair in crossings.windows(2).rev() {
        let &[from, to] = pair else { continue };
        let Some((_, after)) = table.last() else { continue };
        let mut here: BTreeMap<usize, Best> = BTreeMap::new();
        let mut regions: BTreeMap<usize, Option<Region>> = BTreeMap::new();
        for (&need, best) in after {
            let plain = (need, false, 0.0);
            let fresh = (prices.can_refresh(to) && need <= top && to != output).then(|| {
                let price = prices.refresh(to, refreshing);
                (bottom, true, price)
            });
            for (base, refreshed, price) in std::iter::once(plain).chain(fresh) {
                let region = match regions.get(&base) {
                    Some(known) => known.clone(),
                    None => {
                        let found = prices.region(from, to, base, top, Some(refreshing))?;
                        regions.insert(base, found.clone());
                        found
                    }
                };
                let Some(Region { level, seconds, inside }) = region else { continue };
                let total = best.seconds + seconds + price;
                let candidate = Best { seconds: total, next: need, refreshed, inside };
                let known = here.entry(level).or_insert(candidate.clone());
                if total < known.seconds {
                    *known = candidate;
                }
            }
        }
        table.push((from, here));
    }
    let Some((_, start)) = table.last() else { return Ok(None) };
    let Some((&level, first)) = start.iter().min_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds)) else {
        return Ok(None);
    };
    let mut levels = vec![Levels::default(); graph.nodes().len()];
    let (mut need, seconds) = (level, first.seconds);
    let mut last = None;
    for (id, bests) in table.iter().rev() {
        if let Some((refreshed, next)) = last.replace((false, 0)) {
            need = next;
            if let Some(l) = levels.get_mut(*id) {
                l.refreshed = refreshed;
            }
        }
        let Some(best) = bests.get(&need) else { break };
        for id in best.inside.iter() {
            if let Some(l) = levels.get_mut(*id) {
                l.refreshed = true;
            }
        }
        last = Some((best.refreshed, best.next));
    }
    levels::walk(graph, &mut levels, 0..graph.nodes().len(), Some(bottom))?;
    Ok(Some((levels, seconds)))
}

/// Levels of every node when a ciphertext is refreshed as late as it can be, whatever it holds and the layers cost: what [`place`]
/// is compared with. The layers between still work at the lowest levels their readers allow.
pub(crate) fn when_empty(
    graph: &Graph,
    steps: &[Placed],
    chain: &ParamsLiteral,
    refreshing: &Refreshing,
) -> Result<Option<(Vec<Levels>, f64)>, HeError> {
    let (bottom, top) = refreshing.levels();
    let output = graph.nodes().len().saturating_sub(1);
    let walked = |refreshed: &[usize], to: usize| -> Result<Option<Vec<Levels>>, HeError> {
        let mut levels = vec![Levels::default(); to + 1];
        for (id, level) in levels.iter_mut().enumerate() {
            level.refreshed = refreshed.contains(&id);
        }
        levels::walk(graph, &mut levels, 0..to + 1, Some(bottom))?;
        Ok(levels.iter().all(|l| l.operands <= top && l.result <= top).then_some(levels))
    };
    let places: Vec<usize> =
        crossings(graph).into_iter().filter(|&id| id != output && can_refresh(graph, id)).collect();
    let mut refreshed: Vec<usize> = Vec::new();
    let levels = loop {
        if let Some(levels) = walked(&refreshed, output)? {
            break levels;
        }
        let mut latest = None;
        for &place in places.iter().filter(|&p| refreshed.last().is_none_or(|last| p > last)) {
            let with: Vec<usize> = refreshed.iter().copied().chain([place]).collect();
            if walked(&with, place)?.is_none() {
                break;
            }
            latest = Some(with);
        }
        match latest {
            Some(with) => refreshed = with,
            None => return Ok(None),
        }
    };
    let prices = Prices::new(graph, steps, chain);
    let mut seconds = 0.0;
    for (id, level) in levels.iter().enumerate() {
        seconds += prices.node(id, level.operands)?;
        if level.refreshed {
            seconds += prices.refresh(id, refreshing);
        }
    }
    Ok(Some((levels, seconds)))
}

impl Prices<'_> {
    /// What it takes to have the result of `to` at level `base` after `from`, with as few bootstraps inside as will do, of these the
    /// cheapest; `None` if some level exceeds `top`.
    fn region(
        &self,
        from: usize,
        to: usize,
        base: usize,
        top: usize,
        refreshing: Option<&Refreshing>,
    ) -> Result<Option<Region>, HeError> {
        if let Some(region) = self.with_inside(from, to, [base, top], &[], refreshing)? {
            return Ok(Some(region));
        }
        if refreshing.is_none() {
            return Ok(None);
        }
        let places: Vec<usize> = (from + 1..to).filter(|&id| self.can_refresh(id)).collect();
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        for _ in 0..INSIDE {
            let longer = |set: &Vec<usize>| {
                let after = set.last().copied().unwrap_or(0);
                let set = set.clone();
                places.iter().filter(move |&&id| id > after).map(move |&id| [&set[..], &[id]].concat())
            };
            sets = sets.iter().flat_map(longer).collect();
            let mut cheapest: Option<Region> = None;
            for set in &sets {
                let Some(region) = self.with_inside(from, to, [base, top], set, refreshing)? else {
                    continue;
                };
                if cheapest.as_ref().is_none_or(|known| region.seconds < known.seconds) {
                    cheapest = Some(region);
                }
            }
            if cheapest.is_some() {
                return Ok(cheapest);
            }
        }
        Ok(None)
    }

    /// The same with these bootstraps inside.
    fn with_inside(
        &self,
        from: usize,
        to: usize,
        [base, top]: [usize; 2],
        inside: &[usize],
        refreshing: Option<&Refreshing>,
    ) -> Result<Option<Region>, HeError> {
        let mut levels = vec![Levels::default(); to + 1];
        if let Some(l) = levels.last_mut() {
            l.result = base;
        }
        for (id, level) in levels.iter_mut().enumerate() {
            level.refreshed = inside.contains(&id);
        }
        let bottom = refreshing.map(|r| r.levels().0);
        levels::walk(self.graph, &mut levels, from + 1..to + 1, bottom)?;
        // What the readers of a refreshed node need are their operands' levels.
        if levels.iter().any(|l| l.operands > top || l.result > top) {
            return Ok(None);
        }
        let mut seconds = 0.0;
        for (id, level) in levels.iter().enumerate().skip(from + 1) {
            seconds += self.node(id, level.operands)?;
        }
        if let Some(refreshing) = refreshing {
            seconds += inside.iter().map(|&id| self.refresh(id, refreshing)).sum::<f64>();
        }
        Ok(levels.get(from).map(|l| Region { level: l.result, seconds, inside: inside.into() }))
    }
}

#[cfg(test)]
mod tests {
    use hetrain_export::{Conv2dGeometry, GraphBuilder, Interval, RangeStats, Tensor};

    use super::super::build::{Bootstrapping, PlanOptions};
    use super::super::program::Packing;
    use super::super::steps::steps;
    use super::*;
    use crate::ckks::d16;

    /// Convolutions and squares, `wide` of them with more channels, and one residual block among them.
    fn network(layers: usize, wide: usize) -> Graph {
        let mut b = GraphBuilder::default();
        let mut x = b.input("image", &[1, 4, 4]).unwrap();
        let interval = || vec![Interval::new(-9.0, 9.0).unwrap()];
        let conv = |b: &mut GraphBuilder, name: &str, x, out: usize| {
            let channels = b.shape(x)[0];
            let weight = Tensor::new([out, channels, 3, 3], vec![0.1; out * channels * 9]).unwrap();
            b.conv2d(name, x, weight, None, Conv2dGeometry::new(1, 1)).unwrap()
        };
        for i in 0..layers {
            let channels = if i < wide { 16 } else { 1 };
            let y = conv(&mut b, &format!("conv{i}"), x, channels);
            let y = b.push(&format!("act{i}"), Op::Square { intervals: interval() }, &[y]).unwrap();
            x = if i == layers / 2 {
                let z = conv(&mut b, &format!("branch{i}"), y, channels);
                let sum = b.push(&format!("add{i}"), Op::Add, &[z, y]).unwrap();
                b.push(&format!("sum{i}"), Op::Square { intervals: interval() }, &[sum]).unwrap()
            } else {
                y
            };
        }
        let mut graph = b.finish().unwrap();
        let ranges = RangeStats { min: -1.0, max: 1.0, std: 0.5, ..RangeStats::empty("assumed") };
        graph.set_ranges(vec![ranges; graph.nodes().len()]);
        graph
    }

    #[test]
    fn the_cheapest_of_all_choices_is_found() {
        let chain = d16();
        let refreshing = Refreshing::new(&chain, BootstrapParams::d16()).unwrap();
        let (bottom, top) = refreshing.levels();
        for (layers, wide) in [(5, 0), (9, 0), (9, 4), (10, 9), (11, 2)] {
            let graph = network(layers, wide);
            let options = PlanOptions {
                packing: Packing::Image,
                images: 1,
                precision_bits: 10,
                bootstrapping: Bootstrapping::Auto,
                embedded: false,
            };
            let steps = steps(&graph, 1 << 15, options).unwrap();
            let (levels, seconds) = place(&graph, &steps, &chain, &refreshing).unwrap().unwrap();
            let prices = Prices::new(&graph, &steps, &chain);
            let total = |levels: &[Levels]| -> f64 {
                let price = |(id, l): (usize, &Levels)| {
                    let fresh = if l.refreshed { prices.refresh(id, &refreshing) } else { 0.0 };
                    prices.node(id, l.operands).unwrap() + fresh
                };
                levels.iter().enumerate().map(price).sum()
            };
            assert!((total(&levels) / seconds - 1.0).abs() < 1e-9, "the price is that of the plan");
            let output = graph.nodes().len() - 1;
            let places: Vec<usize> =
                crossings(&graph).into_iter().filter(|&id| id != output && can_refresh(&graph, id)).collect();
            let mut best = f64::INFINITY;
            for choice in 0..1usize << places.len() {
                let mut levels = vec![Levels::default(); output + 1];
                for (bit, &id) in places.iter().enumerate() {
                    levels[id].refreshed = choice >> bit & 1 == 1;
                }
                levels::walk(&graph, &mut levels, 0..output + 1, Some(bottom)).unwrap();
                if levels.iter().all(|l| l.operands <= top && l.result <= top) {
                    best = best.min(total(&levels));
                }
            }
            assert!((seconds / best - 1.0).abs() < 1e-9, "{layers} layers: {seconds} found, {best} possible");
            let (late, naive) = when_empty(&graph, &steps, &chain, &refreshing).unwrap().unwrap();
            assert!((total(&late) / naive - 1.0).abs() < 1e-9 && naive >= best * (1.0 - 1e-9));
        }
    }
}
