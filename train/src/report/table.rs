//! The ladder on a terminal.

use super::html::{bytes, percent, seconds};
use super::ladder::LadderSummary;

/// Heading of the whole table, in its upper edge.
const HEADING: &str = "accuracy ladder";

/// The ladder as a box of text with accuracy on equal images, latency, key and memory figures below. The last line has no line end, so that a caller
/// can append to it.
///
/// Two columns explain themselves: their words stand in the row above the first value.
pub fn box_table(summary: &LadderSummary) -> String {
    let samples = summary.rungs.first().map_or(0, |r| r.samples);
    let titles = summary.rungs.iter().map(|r| match r.samples {
        n if n == samples => r.title.clone(),
        1 => format!("{}, 1 image", r.title),
        n => format!("{}, {n} images", r.title),
    });
    let accuracy = summary.rungs.iter().map(|r| r.accuracy().map(percent));
    let agree: Vec<_> = summary.rungs.iter().map(|r| r.agreement().map(percent)).collect();
    let error: Vec<_> = summary
        .rungs
        .iter()
        .map(|r| match (r.max_logit_error, r.bits) {
            (Some(0.0), _) => Some("0".into()),
            (Some(e), Some(b)) if r.rung == "encrypted" => Some(format!("{e:.1e}  ({b:.1} bits)")),
            (e, _) => e.map(|e| format!("{e:.1e}")),
        })
        .collect();
    let first = agree.iter().zip(&error).position(|(a, e)| a.is_some() || e.is_some());
    let mut columns = [
        titles.collect::<Vec<_>>(),
        accuracy.map(|a| a.unwrap_or_else(|| "–".into())).collect(),
        explained(agree, first, "agree"),
        explained(error, first, "max |Δlogit|"),
    ];
    // A column whose first value stands in the first row has its words in a row of their own.
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    for column in &mut columns {
        let missing = rows - column.len();
        column.splice(0..0, std::iter::repeat_n(String::new(), missing));
    }
    let [titles, accuracy, agree, error] = columns;
    let width = |column: &[String], least: usize| {
        column.iter().map(|c| c.chars().count()).max().unwrap_or(0).max(least)
    };
    let widths =
        [width(&titles, HEADING.len() + 1), width(&accuracy, 8), width(&agree, 9), width(&error, 19)];
    let [title, rest @ ..] = widths;

    let edge = |left: &str, middle: &str, right: &str, first: String| {
        let rest: String = rest.iter().map(|w| format!("{middle}{}", "─".repeat(w + 2))).collect();
        format!("  {left}{first}{rest}{right}\n")
    };
    let mut out = edge("┌", "┬", "┐", format!(" {HEADING} {}", "─".repeat(title - HEADING.len())));
    for (((t, a), g), e) in titles.iter().zip(&accuracy).zip(&agree).zip(&error) {
        let [tw, aw, gw, ew] = widths;
        // Numbers end at the same place, words begin at the same place.
        let g = if g.ends_with('%') { format!("{g:>8}") } else { g.clone() };
        out.push_str(&format!("  │ {t:<tw$} │ {a:>aw$} │ {g:<gw$} │ {e:<ew$} │\n"));
    }
    out.push_str(&edge("└", "┴", "┘", "─".repeat(title + 2)));
    for rung in summary.rungs.iter().filter(|r| r.excursions > 0) {
        let values = if rung.excursions == 1 { "value" } else { "values" };
        out.push_str(&format!(
            "  warning: {} {values} left their interval in: {}\n",
            rung.excursions, rung.title
        ));
    }
    if let Some(words) = summary.same_images() {
        out.push_str(&format!("  {words}\n"));
    }
    summary.foretold().iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    out.push_str(&price(summary));
    out
}

/// The line below the box.
fn price(summary: &LadderSummary) -> String {
    let t = &summary.timing;
    if summary.encrypted().is_some() && t.infer_seconds == 0.0 {
        // Every image was kept from a verification that was cut before it could write its times.
        return "  latency was not measured; remove ladder.jsonl to verify again".into();
    }
    if summary.encrypted().is_some() {
        let (image, keys, peak) = (seconds(t.image_seconds()), bytes(t.key_bytes), bytes(t.peak_bytes));
        let what = if t.images_per_run > 1 { "encrypted in batches:" } else { "latency" };
        let with = threads(summary);
        return format!("  {what} {image}/image {with} · keys {keys} · peak memory {peak}");
    }
    let latency = seconds(t.estimated_seconds / t.images_per_run.max(1) as f64);
    let peak = bytes(t.estimated_peak_bytes);
    format!("  not run encrypted; estimated latency {latency}/image · estimated peak memory {peak}")
}

/// The threads behind a latency. Images that run beside each other slow each other down, so such a latency is not that of
/// one image alone.
fn threads(summary: &LadderSummary) -> String {
    let beside = summary.timing.images_per_run == 1 && summary.encrypted().is_some_and(|r| r.samples > 1);
    match summary.threads {
        1 => "with 1 thread".into(),
        n if beside => format!("with {n} threads (--threads 1 -o DIR measures one alone)"),
        n => format!("with {n} threads"),
    }
}

/// A column's cells with `words` in the row above row `first`, or in front of all rows.
fn explained(cells: Vec<Option<String>>, first: Option<usize>, words: &str) -> Vec<String> {
    let mut column: Vec<String> = cells.into_iter().map(Option::unwrap_or_default).collect();
    match first {
        None => {}
        Some(0) => column.insert(0, words.into()),
        Some(first) => {
            if let Some(cell) = column.get_mut(first - 1) {
                *cell = words.into();
            }
        }
    }
    column
}
