//! Where two rungs part: the first node whose value differs by more than the plan allows.

use he_infer::plan::Packing;
use hetrain_export::{brief, interp};

use super::{
    Job, Ladder, Rung,
    compare::{difference, spread},
    encrypted::{diagnose, packed_nodes},
};
use crate::data::input_of;

/// Relative difference above which two exact evaluations (f64) count as parted.
const EXACT: f64 = 1e-6;

/// Explain the first sample on which neighbouring rungs part; `None` when none do.
pub(super) fn explain(job: &Job<'_>, ladder: &Ladder) -> anyhow::Result<Option<String>> {
    if let Some(text) = outside(job, ladder)? {
        return Ok(Some(text));
    }
    let exact = parted(job, ladder, Rung::Graph, Rung::Packed, EXACT);
    if let (Some(sample), Packing::Image) = (exact, job.options.packing) {
        let graph = interp::evaluate(&job.artifact.graph, &input_of(job.test, sample))?;
        let packed = packed_nodes(job, &[sample])?.pop().unwrap_or_default();
        // What the client computes is no part of the program.
        let before = graph.len().saturating_sub(job.program.nodes.len());
        for ((node, a), b) in job.program.nodes.iter().zip(graph.iter().skip(before)).zip(&packed) {
            let worst = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            if worst.is_nan() || worst > EXACT * node.bound {
                return Ok(Some(format!(
                    "image {sample}: the packed program leaves the folded graph at node `{}` by {worst:.3e} (values reach {})",
                    node.name,
                    brief(node.bound, 3)
                )));
            }
        }
    }
    let allowed = (-f64::from(job.options.precision_bits)).exp2();
    let Some(sample) = parted(job, ladder, Rung::Packed, Rung::Encrypted, allowed) else { return Ok(None) };
    if job.options.packing == Packing::Batch {
        return Ok(Some(format!(
            "image {sample}: the encrypted logits leave the packed program's by more than {allowed:.1e} of their range"
        )));
    }
    let packed = packed_nodes(job, &[sample])?.pop().unwrap_or_default();
    let bits = diagnose(job, sample, packed)?;
    let first = bits.iter().find(|(i, b)| {
        let predicted = job.program.nodes.get(*i).map_or(0.0, |n| n.bits);
        b.is_nan() || *b < predicted.min(f64::from(job.options.precision_bits)) - 2.0
    });
    Ok(Some(match first.and_then(|(i, b)| Some((job.program.nodes.get(*i)?, b))) {
        Some((node, bits)) => format!(
            "image {sample}: the encrypted run leaves the packed program at node `{}`: {bits:.1} bits agree, {:.1} were predicted",
            node.name, node.bits
        ),
        None => format!(
            "image {sample}: the encrypted logits differ by more than {allowed:.1e} of their range, though every node keeps its predicted bits"
        ),
    }))
}

/// The first image whose values leave an interval, with the node.
fn outside(job: &Job<'_>, ladder: &Ladder) -> anyhow::Result<Option<String>> {
    let Some(record) = ladder.rung(Rung::Graph, job.samples).find(|r| r.excursions > 0) else {
        return Ok(None);
    };
    let images = ladder.rung(Rung::Graph, job.samples).filter(|r| r.excursions > 0).count();
    let graph = &job.artifact.graph;
    let values = interp::evaluate(graph, &input_of(job.test, record.sample))?;
    let node = graph
        .iter()
        .find(|(id, _)| interp::excursions(graph, *id, &values) > 0)
        .map_or("?", |(_, n)| &n.name);
    Ok(Some(format!(
        "{images} of {} images leave an interval, the first is image {} at node `{node}` ({} values)",
        job.samples, record.sample, record.excursions
    )))
}

/// The first image on which two rungs choose another class or differ by more than `allowed` of the logits' range.
fn parted(job: &Job<'_>, ladder: &Ladder, before: Rung, rung: Rung, allowed: f64) -> Option<usize> {
    let range = spread(ladder, before, job.samples);
    ladder.rung(rung, job.samples).find_map(|r| {
        let (worst, agree) = difference(r, ladder.get(before, r.sample)?);
        (!agree || worst > allowed * range).then_some(r.sample)
    })
}
