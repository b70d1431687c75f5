//! The page's tables and words: header, ladder, phases, parameters, timings.

use hetrain_export::ExportError;

use super::html::{bytes, count, date, digits, escape, percent, seconds, table};
use super::input::{Phase, RunFiles};
use super::ladder::{LadderSummary, ParametersSummary, TimingSummary};

/// Name, model, data, date, machine and the figures that matter most.
///
/// # Errors
/// A graph that has no digest.
pub fn header(files: &RunFiles) -> Result<String, ExportError> {
    let mut facts =
        vec![("model", escape(&files.config.model.name)), ("data", escape(&files.config.data.name))];
    if let Some(artifact) = &files.artifact {
        facts.push(("weights", count(artifact.graph.parameters())));
        let digest: String = artifact.digest()?.chars().take(16).collect();
        facts.push(("artifact", format!("<code>{digest}</code>")));
    }
    if let Some(seed) = files.config.seed {
        facts.push(("seed", seed.to_string()));
    }
    if let Some(at) = files.trained_at {
        facts.push(("trained", format!("<span title=\"last change of metrics.jsonl\">{}</span>", date(at))));
    }
    if let Some(ladder) = &files.ladder {
        let threads =
            if ladder.threads == 1 { "1 thread".into() } else { format!("{} threads", ladder.threads) };
        facts.push(("verified on", format!("{}, {threads}", escape(&ladder.machine))));
    }
    let facts: String = facts.iter().map(|(k, v)| format!("<span><em>{k}</em> {v}</span>")).collect();
    let cards: String = files
        .ladder
        .as_ref()
        .map(figures)
        .unwrap_or_default()
        .iter()
        .map(|(figure, words)| {
            format!("<div class=\"card\"><b>{}</b>{}</div>", escape(figure), escape(words))
        })
        .collect();
    let name = escape(&files.config.name);
    Ok(format!("<h1>{name}</h1><p class=\"facts\">{facts}</p><div class=\"cards\">{cards}</div>"))
}

/// Large figures of a verified run.
fn figures(ladder: &LadderSummary) -> Vec<(String, &'static str)> {
    let accuracy = |rung: &str| ladder.rungs.iter().find(|r| r.rung == rung)?.accuracy();
    let mut out = Vec::new();
    if let Some(a) = ladder.encrypted().and_then(|r| r.accuracy()) {
        out.push((percent(a), "accuracy, encrypted"));
        out.push((seconds(ladder.timing.image_seconds()), "per image, encrypted"));
        out.push((bytes(ladder.timing.peak_bytes), "peak memory"));
    }
    if let Some(a) = accuracy("original") {
        out.insert(out.len().min(1), (percent(a), "accuracy, original"));
    }
    out.push((format!("{}-bit", ladder.parameters.security), "security"));
    out
}

/// The accuracy ladder, or that there is none yet.
///
/// # Errors
/// A graph that has no digest.
pub fn ladder(files: &RunFiles) -> Result<String, ExportError> {
    let Some(ladder) = &files.ladder else {
        return Ok(missing(
            "Verification has not been run: `hetrain verify-encrypted` adds the accuracy under encryption.",
        ));
    };
    let mut notes = String::new();
    if let Some(artifact) = &files.artifact
        && artifact.digest()? != ladder.model_digest
    {
        notes.push_str(&warning(
            "This ladder was measured on another model than the one in the run folder now.",
        ));
    }
    if let Some(divergence) = &ladder.divergence {
        notes.push_str(&warning(&format!("Two rungs part: {divergence}")));
    }
    if ladder.encrypted().is_none() {
        notes.push_str(&missing("No image was run encrypted."));
    }
    let dash = || "–".to_string();
    let rows: Vec<Vec<String>> = ladder
        .rungs
        .iter()
        .map(|r| {
            let class = if r.excursions > 0 { " class=\"alarm\"" } else { "" };
            vec![
                escape(&r.title),
                r.accuracy().map_or_else(dash, |a| format!("<b>{}</b>", percent(a))),
                format!("{} / {}", count(r.correct), count(r.samples)),
                r.agreement().map_or_else(dash, percent),
                r.max_logit_error.map_or_else(dash, small),
                r.bits.map_or_else(dash, digits),
                format!("<span{class}>{}</span>", count(r.excursions as usize)),
            ]
        })
        .collect();
    let head = ["rung", "accuracy", "correct", "agrees with above", "max |Δlogit|", "bits", "excursions"];
    let foot = "<p class=\"note\">Each rung computes the same network on the same images and is compared with the rung \
                above it. Bits: precision of the logits, relative to their range. Excursions: values that left the \
                interval of their polynomial.</p>";
    let same = ladder.same_images().map_or_else(String::new, |words| {
        format!("<p class=\"note\">Not every image was run encrypted: {}.</p>", escape(&words))
    });
    Ok(format!("{notes}{}{same}{foot}", table(&head, 1, &rows)))
}

/// Phases with the network each kept.
pub fn phases(phases: &[Phase]) -> String {
    if phases.is_empty() {
        return missing("Nothing has been trained yet.");
    }
    let dash = || "–".to_string();
    let rows: Vec<Vec<String>> = phases
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let end = p.end.as_ref();
            let of = |v: Option<f64>, f: fn(f64) -> String| v.map_or_else(dash, f);
            vec![
                format!("{}. {}", i + 1, escape(&p.kind)),
                if end.is_some() {
                    "finished".into()
                } else {
                    "<span class=\"alarm\">not finished</span>".into()
                },
                count(p.epochs.last().map_or(0, |e| e.epoch + 1)),
                end.and_then(|e| e.epoch).map_or_else(dash, |e| count(e + 1)),
                of(end.and_then(|e| e.validation_accuracy), percent),
                of(end.and_then(|e| e.validation_loss), digits),
                if p.seconds > 0.0 { seconds(p.seconds) } else { dash() },
            ]
        })
        .collect();
    table(
        &["phase", "state", "epochs", "kept epoch", "validation accuracy", "validation loss", "time"],
        2,
        &rows,
    )
}

/// Parameters of the encrypted run.
pub fn parameters(p: &ParametersSummary) -> String {
    let rows = [
        ("ring degree N", format!("2<sup>{}</sup>", p.log_n)),
        ("modulus log₂ QP", format!("{} of {} allowed", digits(p.log_qp), digits(p.log_qp_limit))),
        ("security", format!("{} bits", p.security)),
        ("levels", count(p.levels)),
        ("scale", format!("2<sup>{}</sup>", p.scale_bits)),
        ("packing", escape(&p.packing)),
        ("rotation keys", count(p.rotation_keys)),
        ("predicted precision", format!("{} bits", digits(p.predicted_bits))),
    ];
    table(&["parameter", "value"], 1, &rows.map(|(k, v)| vec![k.into(), v]))
}

/// Times and sizes, measured and estimated.
pub fn timing(t: &TimingSummary, encrypted: bool) -> String {
    let measured = |text: String| if encrypted { text } else { "–".into() };
    let images = count(t.images_per_run);
    let rows = vec![
        vec!["keys".into(), measured(seconds(t.key_seconds)), String::new()],
        vec!["weights".into(), measured(seconds(t.weights_seconds)), String::new()],
        vec![
            format!("encode and encrypt ({images} per run)"),
            measured(seconds(t.encode_encrypt_seconds)),
            String::new(),
        ],
        vec![
            "<b>encrypted inference</b>, per run".into(),
            measured(seconds(t.infer_seconds)),
            seconds(t.estimated_seconds),
        ],
        vec!["decrypt and decode".into(), measured(seconds(t.decrypt_seconds)), String::new()],
        vec![
            "per image, keys and weights apart".into(),
            measured(seconds(t.seconds_per_image)),
            String::new(),
        ],
        vec!["evaluation keys".into(), measured(bytes(t.key_bytes)), String::new()],
        vec!["peak memory".into(), measured(bytes(t.peak_bytes)), bytes(t.estimated_peak_bytes)],
    ];
    table(&["", "measured", "estimated"], 1, &rows)
}

/// A remark that something does not exist yet; words between backticks become code.
pub fn missing(words: &str) -> String {
    let parts = words.split('`').enumerate();
    let marked =
        parts.map(|(i, p)| if i % 2 == 1 { format!("<code>{}</code>", escape(p)) } else { escape(p) });
    format!("<p class=\"missing\">{}</p>", marked.collect::<String>())
}

/// A small number as `1.2e−7`.
fn small(x: f64) -> String {
    if x == 0.0 { "0".into() } else { format!("{x:.1e}").replace('-', "−") }
}

fn warning(words: &str) -> String {
    format!("<p class=\"warning\">{}</p>", escape(words))
}
