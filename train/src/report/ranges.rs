//! Activation inputs against the intervals in which the polynomials are valid.

use hetrain_export::{Artifact, Graph, Node};

use super::html::{count, digits, escape};
use super::input::{ActivationRange, Phase};
use super::svg::{Axis, bottom, extent, line, picture, rect, text};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 212.0;
const RIGHT: f64 = WIDTH - 268.0;
const ROW: f64 = 19.0;
const HEAD: f64 = 8.0;

/// A bar of the picture: what was seen, and where it should stay.
struct Bar {
    /// Name of the activation, in the first of its bars.
    group: Option<String>,
    name: String,
    seen: [f64; 2],
    interval: [f64; 2],
    note: String,
}

/// Ranges at the end of each phase (or after the last epoch, while a phase runs), grouped by activation.
pub fn training(phases: &[Phase]) -> String {
    let ends: Vec<(&str, &[ActivationRange])> = phases
        .iter()
        .filter_map(|p| {
            let end = p.end.as_ref().map(|e| e.ranges.as_slice()).filter(|r| !r.is_empty());
            let last = || p.epochs.last().map(|e| e.ranges.as_slice());
            Some((p.kind.as_str(), end.or_else(last)?))
        })
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for range in ends.iter().flat_map(|(_, ranges)| *ranges) {
        if !names.contains(&range.name.as_str()) {
            names.push(&range.name);
        }
    }
    let mut bars = Vec::new();
    for name in names {
        let mut group = Some(name.to_string());
        for (kind, ranges) in &ends {
            for r in ranges.iter().filter(|r| r.name == name) {
                let of = |v: Option<f64>| v.unwrap_or(f64::NAN);
                bars.push(Bar {
                    group: group.take(),
                    name: (*kind).into(),
                    seen: [of(r.min), of(r.max)],
                    interval: [of(r.lo), of(r.hi)],
                    note: String::new(),
                });
            }
        }
    }
    draw(&bars, "activation inputs at the end of each phase")
}

/// Ranges of the exported graph. Folding scales activations, so these are other units than in training.
pub fn exported(artifact: &Artifact) -> String {
    let graph = &artifact.graph;
    let bars: Vec<Bar> = graph.nodes().iter().filter_map(|node| node_bar(graph, node)).collect();
    draw(&bars, "activation inputs of the exported graph on calibration data")
}

fn node_bar(graph: &Graph, node: &Node) -> Option<Bar> {
    let intervals = node.op.intervals();
    let interval = extent(intervals.iter().flat_map(|i| [i.lo, i.hi]))?;
    let input = node.inputs.first().and_then(|i| graph.node(*i)).and_then(|n| n.range.as_ref());
    let note = match &node.range {
        Some(range) if range.outside > 0 => {
            format!("{} of {} outside", count(range.outside as usize), count(range.count as usize))
        }
        _ if intervals.len() > 1 => format!("{} intervals", intervals.len()),
        _ => String::new(),
    };
    Some(Bar {
        group: Some(node.name.clone()),
        name: String::new(),
        seen: input.map_or([f64::NAN; 2], |r| [r.min, r.max]),
        interval,
        note,
    })
}

/// Whether a value lies outside, NaN and unknown ends included.
fn leaves(bar: &Bar) -> bool {
    let ([min, max], [lo, hi]) = (bar.seen, bar.interval);
    !(lo <= min && max <= hi)
}

fn draw(bars: &[Bar], what: &str) -> String {
    let Some([lo, hi]) = extent(bars.iter().flat_map(|b| b.seen.into_iter().chain(b.interval))) else {
        return String::new();
    };
    let pad = 0.03 * (hi - lo);
    let x = Axis::linear([lo - pad, hi + pad], LEFT, RIGHT);
    let height = HEAD + ROW * bars.len() as f64;
    let mut body = String::new();
    for t in x.ticks(8) {
        body.push_str(&line("grid", [x.at(t), HEAD], [x.at(t), height]));
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = HEAD + ROW * i as f64;
        let centre = y + 0.5 * ROW;
        if let Some(group) = &bar.group {
            if i > 0 && !bar.name.is_empty() {
                body.push_str(&line("axis", [0.0, y], [RIGHT, y]));
            }
            body.push_str(&text("name", [0.0, centre + 4.0], "start", group));
        }
        body.push_str(&text("tick", [LEFT - 8.0, centre + 4.0], "end", &bar.name));
        let span = |class: &str, [from, to]: [f64; 2], half: f64| {
            if !(from.is_finite() && to.is_finite()) {
                return String::new();
            }
            let width = (x.at(to) - x.at(from)).max(1.0);
            rect(class, [x.at(from), centre - half], [width, 2.0 * half])
        };
        body.push_str(&span("interval", bar.interval, 6.5));
        body.push_str(&span(if leaves(bar) { "bad" } else { "seen" }, bar.seen, 3.0));
        let words = |[a, b]: [f64; 2]| format!("{} … {}", digits(a), digits(b)).replace('-', "−");
        let note = if bar.note.is_empty() { String::new() } else { format!(" · {}", bar.note) };
        let label = format!("{} in {}{note}", words(bar.seen), words(bar.interval));
        let class = if leaves(bar) { "alarm" } else { "tick" };
        body.push_str(&text(class, [RIGHT + 10.0, centre + 4.0], "start", &label));
    }
    body.push_str(&bottom(&x, [LEFT, RIGHT], height + 2.0, 8));
    let legend = "<span class=\"legend\"><span><i class=\"k interval\"></i>interval</span><span><i class=\"k \
                  seen\"></i>seen</span><span><i class=\"k bad\"></i>seen, leaves the interval</span></span>";
    let heading = escape(&capital(what));
    let svg = picture(WIDTH, height + 28.0, what, &body);
    format!("<figure><figcaption><b>{heading}</b>{legend}</figcaption>{svg}</figure>")
}

fn capital(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
