//! Levels, time and precision per node of the program.

use hetrain_export::Graph;

use super::html::{count, digits, escape, seconds, table};
use super::ladder::LadderSummary;
use super::svg::{picture, rect};

const BAR: f64 = 150.0;
const PIP: f64 = 8.0;

/// The table of a verified program: levels as squares, time as bars.
pub fn verified(summary: &LadderSummary) -> String {
    let nodes = &summary.nodes;
    let top = nodes.iter().map(|n| n.level_in.max(n.level_out)).max().unwrap_or(0);
    let longest = nodes
        .iter()
        .flat_map(|n| [Some(n.seconds_estimated), n.seconds_measured])
        .flatten()
        .filter(|s| s.is_finite())
        .fold(0.0, f64::max);
    let optional = |s: Option<f64>, f: fn(f64) -> String| s.map_or_else(|| "–".into(), f);
    let mut rows: Vec<Vec<String>> = nodes
        .iter()
        .map(|n| {
            vec![
                escape(&n.name),
                escape(&n.op),
                pips(n.level_in, n.level_out, top),
                bars(n.seconds_estimated, n.seconds_measured, longest),
                optional(n.seconds_measured, seconds),
                seconds(n.seconds_estimated),
                count(n.rotations as usize),
                count(n.ciphertexts),
                optional(n.bits_measured, digits),
                digits(n.bits_predicted),
            ]
        })
        .collect();
    let measured: Vec<f64> = nodes.iter().filter_map(|n| n.seconds_measured).collect();
    let total = (measured.len() == nodes.len() && !nodes.is_empty()).then(|| measured.iter().sum());
    let mut sum = vec!["<b>all nodes</b>".to_string(), String::new(), String::new(), String::new()];
    sum.push(optional(total, seconds));
    sum.push(seconds(nodes.iter().map(|n| n.seconds_estimated).sum()));
    sum.push(count(nodes.iter().map(|n| n.rotations).sum::<u64>() as usize));
    sum.extend(std::iter::repeat_n(String::new(), 3));
    rows.push(sum);
    let head = [
        "node",
        "operation",
        "levels",
        "time",
        "measured",
        "estimated",
        "rotations",
        "ciphertexts",
        "bits",
        "predicted",
    ];
    let legend = "<p class=\"legend\"><span><i class=\"k pip\"></i>level left</span><span><i class=\"k \
                  spent\"></i>level spent here</span><span><i class=\"k seen\"></i>seconds measured</span><span><i \
                  class=\"k interval\"></i>seconds estimated</span></p>";
    format!("{legend}{}", table(&head, 4, &rows))
}

/// The table of a graph that was not planned: operations, shapes and the levels they will take.
pub fn planned(graph: &Graph) -> String {
    let shape = |s: &[usize]| s.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
    let depth = |d: Option<usize>| d.map_or_else(|| "cannot run encrypted".into(), |d| d.to_string());
    let rows: Vec<Vec<String>> = graph
        .nodes()
        .iter()
        .map(|n| vec![escape(&n.name), n.op.name().into(), shape(&n.shape), depth(n.op.depth())])
        .collect();
    table(&["node", "operation", "result", "levels"], 2, &rows)
}

/// Squares for the levels left after a node, those it spends, and those spent before.
fn pips(level_in: usize, level_out: usize, top: usize) -> String {
    let square = |i: usize| {
        let class = match i {
            i if i < level_out => "pip",
            i if i < level_in => "spent",
            _ => "gone",
        };
        rect(class, [i as f64 * (PIP + 2.0), 1.0], [PIP, PIP])
    };
    let body: String = (0..top).map(square).collect();
    let words = format!("level {level_in} to {level_out}");
    let svg = fixed(
        picture((top as f64 * (PIP + 2.0)).max(1.0), PIP + 2.0, &words, &body),
        top as f64 * (PIP + 2.0),
    );
    format!("<span class=\"pips\">{svg}<small>{level_in} → {level_out}</small></span>")
}

/// Measured above estimated.
fn bars(estimated: f64, measured: Option<f64>, longest: f64) -> String {
    let width = |s: f64| if longest > 0.0 && s.is_finite() { BAR * s / longest } else { 0.0 };
    let mut body = rect("interval", [0.0, 8.0], [width(estimated), 5.0]);
    if let Some(s) = measured {
        body.push_str(&rect("seen", [0.0, 1.0], [width(s), 6.0]));
    }
    fixed(picture(BAR, 14.0, "seconds measured and estimated", &body), BAR)
}

/// A picture of `width` pixels that does not grow with the page.
fn fixed(svg: String, width: f64) -> String {
    svg.replacen("<svg ", &format!("<svg class=\"fixed\" style=\"width:{width:.0}px\" "), 1)
}
