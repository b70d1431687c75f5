//! What is done at each node, and how its result lies in vectors.

use std::sync::Arc;

use hetrain_export::{Graph, Node, NodeId, Op, interp};

use super::PlanOptions;
use super::layout::{Layout, NOWHERE};
use super::linear::{LinearMap, interleaved};
use super::program::{Packing, Step};
use super::shared::Shared;
use super::tokens::{Demands, demands};
use super::weights::{bias_values, for_each_weight};
use crate::HeError;
use crate::slots::ScalarMatrix;

/// The layout of a node's result, and what is done for it; nodes that are alike share both.
pub(super) type Placed = (Layout, Arc<Step>);

/// Layout and step of every node.
pub(super) fn steps(graph: &Graph, slots: usize, options: PlanOptions) -> Result<Vec<Placed>, HeError> {
    let PlanOptions { packing, images, .. } = options;
    if !images.is_power_of_two() || images > slots || (images > 1 && packing == Packing::Batch) {
        return Err(HeError::Together { images, slots });
    }
    // As for one image in fewer slots; then each slot becomes one for every image.
    let mut steps: Vec<Placed> = Vec::with_capacity(graph.nodes().len());
    let demands = match packing {
        Packing::Image => demands(graph, slots / images)?,
        Packing::Batch => Demands::default(),
    };
    // The first of every kind of node, and of which kind each node is. Blocks of sketched networks are all alike.
    let mut firsts: Vec<usize> = Vec::new();
    let mut kinds: Vec<usize> = Vec::new();
    for (id, node) in graph.iter() {
        let like = |first: &usize| repeats(graph, [*first, id.0], &demands, &steps);
        let kind = firsts.iter().position(like);
        let known = kind.and_then(|kind| steps.get(*firsts.get(kind)?).cloned());
        let step = match known {
            Some(known) => known,
            None => {
                firsts.push(id.0);
                let (layout, step) = step_of(graph, (id.0, node), slots / images, packing, &demands, &steps)?;
                (layout, Arc::new(step))
            }
        };
        kinds.push(kind.unwrap_or(firsts.len().saturating_sub(1)));
        steps.push(step);
    }
    if images == 1 {
        return Ok(steps);
    }
    let wide = |(layout, step): &Placed| {
        let step = match Step::clone(step) {
            Step::Linear(map) => Step::Linear(map.interleaved(images)),
            Step::Bias(values) => Step::Bias(values.interleaved(images)),
            Step::Scores(tokens) => Step::Scores(tokens.interleaved(images)),
            Step::Mixed { tokens, factors } => {
                Step::Mixed { tokens: tokens.interleaved(images), factors: interleaved(&factors, images) }
            }
            Step::Quadratic { coeffs } => Step::Quadratic { coeffs: coeffs.map(|c| c.interleaved(images)) },
            Step::Polynomial { poly, fill } => Step::Polynomial { poly, fill: fill.interleaved(images) },
            other => other,
        };
        (layout.interleaved(images), Arc::new(step))
    };
    let wide: Vec<Placed> = firsts.iter().filter_map(|first| steps.get(*first)).map(wide).collect();
    Ok(kinds.into_iter().filter_map(|kind| wide.get(kind).cloned()).collect())
}

/// Whether node `b` does with as many operands in the same layouts, with the same numbers and for the same readers, what `a` does.
fn repeats(graph: &Graph, [a, b]: [usize; 2], demands: &Demands, before: &[Placed]) -> bool {
    let (Some(first), Some(node)) = (graph.nodes().get(a), graph.nodes().get(b)) else { return false };
    let alike = |(x, y): (&NodeId, &NodeId)| {
        let shapes = graph.node(*x).map(|n| &n.shape) == graph.node(*y).map(|n| &n.shape);
        let at = |id: &NodeId| before.get(id.0).map(|(layout, _)| layout);
        shapes && at(x) == at(y)
    };
    let tensors = |n: &Node| n.op.tensors().into_iter().map(|t| graph.tensors().get(t)).collect::<Vec<_>>();
    node.op.name() == first.op.name()
        && node.shape == first.shape
        && node.inputs.len() == first.inputs.len()
        && !node.inputs.is_empty()
        && first.inputs.iter().zip(&node.inputs).all(alike)
        && demands.layouts.get(&a) == demands.layouts.get(&b)
        && demands.tokens.get(&a) == demands.tokens.get(&b)
        && demands.scores.contains(&a) == demands.scores.contains(&b)
        && tensors(first) == tensors(node)
        && first.op.anonymous() == node.op.anonymous()
}

fn step_of(
    graph: &Graph,
    (id, node): (usize, &Node),
    slots: usize,
    packing: Packing,
    demands: &Demands,
    before: &[Placed],
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
        (Op::Row { row }, Some([c, _, w])) => {
            let h = shape().get(1).copied().unwrap_or(1);
            from.renamed((0..c * w).map(|e| (e / w * h + row) * w + e % w))
        }
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
    if packing == Packing::Image {
        let unfit = |op| Err(HeError::Unfriendly { node: node.name.clone(), op });
        match &node.op {
            // Zeros that are not computed would become the constant, and the run would not know.
            Op::Bias { .. } | Op::Affine { .. } | Op::Quadratic { .. } | Op::Polynomial { .. }
                if from.positions().contains(&NOWHERE) =>
            {
                return unfit("a constant after a causal mask");
            }
            _ => {}
        }
    }
    let spread = |values: Vec<f64>| Shared::new(layout.pack(&[values]));
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
        Op::Transpose { .. } | Op::Causal | Op::Row { .. } if packing == Packing::Image => Step::Alias,
        Op::Add => Step::Add,
        Op::Mul if arg(1).is_some_and(|b| multiplies(graph, node, packing, &layout, b)) => Step::Mul,
        Op::MatMul { .. } | Op::Distance { .. } => {
            let tokens = demands.tokens.get(&id).copied().ok_or_else(unfriendly)?;
            match &node.op {
                _ if demands.scores.contains(&id) => Step::Scores(tokens),
                Op::MatMul { factors: Some(name), .. } => {
                    Step::Mixed { tokens, factors: tokens.factors(&graph.tensor(node, name)?.to_f64()) }
                }
                _ => Step::Mixed { tokens, factors: Vec::new() },
            }
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
        Op::Polynomial { poly } => {
            // Slots of no element hold zero, and a polynomial far outside its interval overflows.
            let empty = packing == Packing::Image && !poly.interval().contains(0.0) && !from.is_full();
            let fill = if empty { filling(&from, poly.interval().centre()) } else { Shared::empty() };
            Step::Polynomial { poly: poly.clone(), fill }
        }
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

/// `value` in every slot of no element, zero in the others.
fn filling(layout: &Layout, value: f64) -> Shared<Vec<f64>> {
    let taken = layout.pack(&[vec![1.0; layout.elements()]]);
    Shared::new(taken.into_iter().map(|v| v.into_iter().map(|t| value * (1.0 - t)).collect()).collect())
}

/// Whether the slots of `b` lie where those of `a` are to be multiplied with them.
fn multiplies(graph: &Graph, node: &Node, packing: Packing, a: &Layout, b: &Layout) -> bool {
    let Some(shape) = node.inputs.get(1).and_then(|i| graph.node(*i)).map(|n| &n.shape) else { return false };
    if packing == Packing::Batch {
        // A vector is an element, and one of the second meets as many neighbours of the first.
        let each = a.elements() / b.elements().max(1);
        return (0..a.elements()).all(|e| interp::repeated(&node.shape, shape, e) == e / each.max(1));
    }
    let each = a.vectors() / b.vectors().max(1);
    let met = |e: usize, place: usize| {
        let mut other = b.places(interp::repeated(&node.shape, shape, e));
        let (vector, slot) = (place / a.slots(), place % a.slots());
        other.any(|p| p / b.slots() == vector / each.max(1) && (p % b.slots()) == slot % b.period())
    };
    a.vectors() == each * b.vectors() && (0..a.elements()).all(|e| a.places(e).all(|place| met(e, place)))
}
