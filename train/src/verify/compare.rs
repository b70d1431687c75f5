//! Each rung beside the one before: accuracy, agreement, largest difference of logits, bits.

use super::{
    BurnRungs, Job, Ladder, Record, Rung,
    encrypted::{COMPARED, Measured},
    machine,
};
use crate::report::{LadderSummary, NodeSummary, ParametersSummary, RungSummary, TimingSummary};

/// Largest difference of logits, and whether the classes agree. Values that are not finite differ by infinity.
pub(super) fn difference(a: &Record, b: &Record) -> (f64, bool) {
    let worst = a
        .logits
        .iter()
        .zip(&b.logits)
        .map(|(x, y)| match (x, y) {
            (Some(x), Some(y)) => (x - y).abs(),
            _ => f64::INFINITY,
        })
        .fold(0.0, f64::max);
    (worst, a.argmax().is_some() && a.argmax() == b.argmax())
}

/// Whether a value of the image left its interval in the clear, after which whatever comes out of a square is worthless.
pub(super) fn left(ladder: &Ladder, sample: usize) -> bool {
    ladder.get(Rung::Graph, sample).is_some_and(|g| g.excursions > 0)
}

/// Largest minus smallest logit of a rung, over the first `samples` images, those that left an interval apart.
pub(super) fn spread(ladder: &Ladder, rung: Rung, samples: usize) -> f64 {
    let (lo, hi) = ladder
        .rung(rung, samples)
        .filter(|r| !left(ladder, r.sample))
        .flat_map(|r| r.logits.iter().flatten())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    (hi - lo).max(f64::MIN_POSITIVE)
}

/// Mean of `−ln p` of the labels; infinite if any logit is not finite.
fn nats<'a>(records: impl Iterator<Item = &'a Record>) -> f64 {
    let of = |record: &Record| -> f64 {
        let Some(logits) = record.logits.iter().copied().collect::<Option<Vec<f64>>>() else {
            return f64::INFINITY;
        };
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|v| (v - largest).exp()).sum();
        largest + sum.ln() - logits.get(usize::from(record.label)).copied().unwrap_or(f64::NEG_INFINITY)
    };
    let (count, sum) = records.fold((0, 0.0), |(count, sum), record| (count + 1, sum + of(record)));
    sum / f64::from(count.max(1))
}

fn rung_summary(ladder: &Ladder, rung: Rung, before: Option<Rung>) -> Option<RungSummary> {
    // Everything verified so far counts, also what an earlier verification did beyond today's request.
    let records: Vec<&Record> = ladder.rung(rung, usize::MAX).collect();
    if records.is_empty() {
        return None;
    }
    let mut summary = RungSummary {
        rung: rung.name().into(),
        title: rung.title().into(),
        samples: records.len(),
        correct: records.iter().filter(|r| r.correct()).count(),
        agree: None,
        correct_before: None,
        max_logit_error: None,
        bits: None,
        excursions: records.iter().map(|r| r.excursions).sum(),
        nats: None,
        nats_everywhere: None,
    };
    if let Some(before) = before {
        let pairs: Vec<(f64, bool)> =
            records.iter().filter_map(|r| Some(difference(r, ladder.get(before, r.sample)?))).collect();
        let correct = |r: &&&Record| ladder.get(before, r.sample).is_some_and(Record::correct);
        summary.correct_before = Some(records.iter().filter(correct).count());
        // Differences are those of the other images, if there are any; the warning below the table counts what left.
        let stayed = records.iter().zip(&pairs).filter(|(r, _)| !left(ladder, r.sample));
        let worst = stayed.map(|(_, p)| p.0).reduce(f64::max);
        // Worthless results count as disagreements.
        let is_wild = |r: &Record| rung == Rung::Encrypted && left(ladder, r.sample);
        let agree = records.iter().zip(&pairs).filter(|(r, p)| p.1 && !is_wild(r)).count();
        summary.agree = Some(agree);
        if before != Rung::Original {
            summary.max_logit_error = worst;
            summary.bits = worst.map(|worst| -(worst / spread(ladder, before, usize::MAX)).log2());
        }
    }
    Some(summary)
}

/// The whole ladder with what was measured now beside the plan's price, or both as an `earlier` verification wrote them.
pub(super) fn summary(
    job: &Job<'_>,
    ladder: &Ladder,
    burn: &BurnRungs<'_>,
    measured: Option<&Measured>,
    earlier: Option<LadderSummary>,
    divergence: Option<String>,
) -> anyhow::Result<LadderSummary> {
    let mut rungs = Vec::new();
    let mut before = None;
    for rung in Rung::ALL {
        if let Some(mut summary) = rung_summary(ladder, rung, before) {
            if job.test.targets() > 1 {
                summary.nats = Some(nats(ladder.rung(rung, usize::MAX)));
                summary.nats_everywhere = burn.nats.get(&rung).copied();
            }
            rungs.push(summary);
            before = Some(rung);
        }
    }
    let e = &job.estimate;
    let fresh = measured.filter(|m| m.runs > 0);
    // What was measured on nodes of another plan says nothing about these.
    let earlier = earlier.filter(|old| {
        old.timing.images_per_run == e.images_per_run
            && old.nodes.iter().map(|n| &n.name).eq(e.nodes.iter().map(|n| &n.name))
    });
    // Times that are kept stay with everything they belong to: machine, threads, and the estimate they were set beside.
    let kept = earlier.as_ref().filter(|e| fresh.is_none() && e.timing.infer_seconds > 0.0);
    // What is measured is the worst of these images.
    let compared = job.encrypted.clamp(1, COMPARED);
    let nodes = e
        .nodes
        .iter()
        .enumerate()
        .map(|(i, n)| {
            let old = earlier.as_ref().and_then(|e| e.nodes.get(i));
            NodeSummary {
                name: n.name.clone(),
                op: n.op.into(),
                level_in: n.level_in,
                level_out: n.level_out,
                ciphertexts: n.ciphertexts,
                rotations: n.rotations,
                seconds_estimated: kept
                    .and_then(|e| e.nodes.get(i))
                    .map_or(n.seconds, |o| o.seconds_estimated),
                seconds_measured: fresh
                    .and_then(|m| m.node_seconds.get(i).copied())
                    .or(old.and_then(|o| o.seconds_measured)),
                bits_predicted: job.program.nodes.get(i).map_or(n.bits, |node| node.bits_over(compared)),
                bits_measured: measured
                    .and_then(|m| m.node_bits.get(&i).copied())
                    .or(old.and_then(|o| o.bits_measured)),
            }
        })
        .collect();
    let timing = kept.map(|e| e.timing.clone()).unwrap_or_else(|| {
        let m = fresh.cloned().unwrap_or_default();
        TimingSummary {
            key_seconds: m.key_seconds,
            weights_seconds: m.weights_seconds,
            encode_encrypt_seconds: m.encrypt_seconds,
            infer_seconds: m.infer_seconds,
            decrypt_seconds: m.decrypt_seconds,
            seconds_per_image: m.seconds_per_image,
            images_per_run: e.images_per_run,
            key_bytes: e.key_bytes,
            peak_bytes: m.peak_bytes.unwrap_or(0),
            estimated_seconds: e.seconds,
            estimated_peak_bytes: if m.runs > 0 { m.estimated_peak_bytes } else { e.peak_bytes },
        }
    });
    let provenance = &job.artifact.provenance;
    Ok(LadderSummary {
        model: if provenance.run.is_empty() {
            job.model.display().to_string()
        } else {
            provenance.run.clone()
        },
        model_digest: job.artifact.digest()?,
        data: job.data.clone(),
        characters_per_token: job.characters_per_token,
        machine: kept.map_or_else(machine::describe, |e| e.machine.clone()),
        threads: kept.map_or(job.threads, |e| e.threads),
        rungs,
        parameters: ParametersSummary {
            log_n: e.log_n,
            log_qp: e.log_qp,
            log_qp_limit: e.log_qp_limit,
            levels: e.levels,
            scale_bits: job.program.chain.scale_bits,
            security: 128,
            packing: format!("{:?}", job.options.packing).to_lowercase(),
            rotation_keys: e.rotation_keys,
            predicted_bits: e.bits,
        },
        nodes,
        timing,
        divergence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_foretold_as_well_as_their_probabilities_say() {
        let record = |logits: &[f64], label| Record::new(Rung::Graph, 0, label, logits, 0);
        let three = record(&[0.0, 3f64.ln(), 700.0 - 710.0], 1);
        let even = record(&[800.0, 800.0], 0);
        let want = [-(3.0 / (4.0 + (-10f64).exp())).ln(), 2f64.ln()];
        assert!((nats([&three, &even].into_iter()) - (want[0] + want[1]) / 2.0).abs() < 1e-12);
        assert_eq!(nats([&three, &record(&[f64::NAN, 0.0], 0)].into_iter()), f64::INFINITY);
    }
}
