//! The rungs before encryption.

use std::sync::atomic::Ordering;

use anyhow::bail;
use he_infer::{
    plan::Packing,
    run::{NoObserver, Prepared, execute},
    slots::{ClearSlots, ClearVec},
};
use hetrain_export::interp::{self, Interpreter};
use rayon::prelude::*;

use super::{BurnLogits, Job, Ladder, Record, Rung};
use crate::data::input_of;
use crate::progress::Count;

/// Images handled between two writes.
const CHUNK: usize = 64;

/// A rung computed by Burn.
pub(super) fn burn_rung(
    job: &Job<'_>,
    ladder: &mut Ladder,
    rung: Rung,
    logits: &BurnLogits<'_>,
) -> anyhow::Result<()> {
    let missing = ladder.missing(rung, job.samples);
    let mut count = Count::new(rung.title(), missing.len());
    for part in missing.chunks(250) {
        stopped(job)?;
        let set = job.test.subset(part);
        for (&sample, logits) in part.iter().zip(logits(&set)?) {
            ladder.push(Record::new(rung, sample, label(job, sample), &logits, 0))?;
        }
        count.add(part.len());
    }
    count.finish();
    Ok(())
}

/// The folded graph, with excursions counted.
pub(super) fn graph_rung(job: &Job<'_>, ladder: &mut Ladder) -> anyhow::Result<()> {
    let graph = &job.artifact.graph;
    let interpreter = Interpreter::new(graph)?;
    let missing = ladder.missing(Rung::Graph, job.samples);
    each(job, ladder, Rung::Graph, &missing, |sample| {
        let values = interpreter.run(&input_of(job.test, sample))?;
        let outside = graph.iter().map(|(id, _)| interp::excursions(graph, id, &values)).sum();
        Ok((values.last().cloned().unwrap_or_default(), outside))
    })
}

/// The packed program on clear slots.
pub(super) fn packed_rung(job: &Job<'_>, ladder: &mut Ladder) -> anyhow::Result<()> {
    let program = &job.program;
    let missing = ladder.missing(Rung::Packed, job.packed);
    if missing.is_empty() {
        return Ok(());
    }
    let slots = ClearSlots::of(program);
    let prepared = Prepared::new(&slots, program)?;
    if program.images_per_run() == 1 {
        return each(job, ladder, Rung::Packed, &missing, |sample| {
            let logits = packed(program, &slots, &prepared, &[input_of(job.test, sample)])?;
            Ok((logits.into_iter().next().unwrap_or_default(), 0))
        });
    }
    let mut count = Count::new(Rung::Packed.title(), missing.len());
    // A run of the batch layout takes all threads by itself.
    let beside = if job.options.packing == Packing::Image { job.threads } else { 1 };
    let runs: Vec<&[usize]> = missing.chunks(program.images_per_run()).collect();
    for some in runs.chunks(beside) {
        stopped(job)?;
        let run = |part: &&[usize]| {
            let images: Vec<Vec<f64>> = part.iter().map(|&s| input_of(job.test, s)).collect();
            packed(program, &slots, &prepared, &images)
        };
        let results = some.par_iter().map(run).collect::<anyhow::Result<Vec<_>>>()?;
        for (&sample, logits) in some.iter().copied().flatten().zip(results.iter().flatten()) {
            ladder.push(Record::new(Rung::Packed, sample, label(job, sample), logits, 0))?;
            count.add(1);
        }
    }
    count.finish();
    Ok(())
}

/// Logits of some images by the packed program.
fn packed(
    program: &he_infer::plan::Program,
    slots: &ClearSlots,
    prepared: &Prepared<ClearSlots>,
    images: &[Vec<f64>],
) -> anyhow::Result<Vec<Vec<f64>>> {
    let result: Vec<Vec<f64>> =
        execute(slots, program, prepared, fresh(program, slots, images)?, &mut NoObserver)?
            .into_iter()
            .map(|v| v.slots)
            .collect();
    Ok(program.unpack(program.nodes.len().saturating_sub(1), &result, images.len()))
}

/// The program's input for some images.
pub(super) fn fresh(
    program: &he_infer::plan::Program,
    slots: &ClearSlots,
    images: &[Vec<f64>],
) -> anyhow::Result<Vec<ClearVec>> {
    let (level, scale) = program.input_level_scale();
    Ok(program.pack(images)?.into_iter().map(|v| slots.fresh(v, level, scale)).collect())
}

/// Compute the missing images of a rung on all threads.
fn each(
    job: &Job<'_>,
    ladder: &mut Ladder,
    rung: Rung,
    missing: &[usize],
    logits: impl Fn(usize) -> anyhow::Result<(Vec<f64>, u64)> + Sync,
) -> anyhow::Result<()> {
    let mut count = Count::new(rung.title(), missing.len());
    for part in missing.chunks(CHUNK) {
        stopped(job)?;
        let results: Vec<(Vec<f64>, u64)> =
            part.par_iter().map(|&s| logits(s)).collect::<anyhow::Result<_>>()?;
        for (&sample, (logits, excursions)) in part.iter().zip(results) {
            ladder.push(Record::new(rung, sample, label(job, sample), &logits, excursions))?;
        }
        count.add(part.len());
    }
    count.finish();
    Ok(())
}

/// The label of a test image.
pub(super) fn label(job: &Job<'_>, sample: usize) -> u16 {
    job.test.label(sample).unwrap_or_default()
}

/// Whether the user wants to stop.
pub(super) fn stopped(job: &Job<'_>) -> anyhow::Result<()> {
    if job.stop.load(Ordering::Relaxed) {
        bail!(crate::error::RunError::VerifyInterrupted { folder: job.folder.clone() });
    }
    Ok(())
}
