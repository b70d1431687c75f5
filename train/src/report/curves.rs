//! Training curves: loss and accuracy over epochs, phases as bands.

use super::html::escape;
use super::input::{Epoch, Phase};
use super::svg::{Axis, bottom, dot, extent, grid, picture, polyline, rect, text};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 276.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 10.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = HEIGHT - 38.0;
/// More points than this along a line cannot be seen.
const MOST_POINTS: usize = 1500;

/// A named line over all phases; a NaN interrupts it.
struct Series {
    class: &'static str,
    name: &'static str,
    points: Vec<[f64; 2]>,
}

/// Both pictures with their legends.
pub fn curves(phases: &[Phase]) -> String {
    format!("{}{}", loss(phases), accuracy(phases))
}

/// First epoch of each phase on the common axis.
fn starts(phases: &[Phase]) -> Vec<f64> {
    let mut at = 0.0;
    let begin = |p: &Phase| {
        let start = at;
        at += p.width();
        start
    };
    phases.iter().map(begin).collect()
}

/// One value per epoch, drawn where the epoch ends; lines do not cross from phase to phase.
fn per_epoch(phases: &[Phase], factor: f64, of: impl Fn(&Epoch) -> Option<f64>) -> Vec<[f64; 2]> {
    let mut points = Vec::new();
    for (phase, start) in phases.iter().zip(starts(phases)) {
        let one = |e: &Epoch| [start + (e.epoch + 1) as f64, factor * of(e).unwrap_or(f64::NAN)];
        points.extend(phase.epochs.iter().map(one));
        points.push([f64::NAN; 2]);
    }
    points
}

fn loss(phases: &[Phase]) -> String {
    let mut steps = Vec::new();
    for (phase, start) in phases.iter().zip(starts(phases)) {
        let stride = phase.steps.len().div_ceil(MOST_POINTS).max(1);
        steps.extend(phase.steps.iter().step_by(stride).map(|(x, y)| [start + x, *y]));
        steps.push([f64::NAN; 2]);
    }
    let series = [
        Series { class: "l0", name: "minimised, single steps", points: steps },
        Series {
            class: "l1",
            name: "minimised, mean of the epoch",
            points: per_epoch(phases, 1.0, |e| e.loss),
        },
        Series { class: "l2", name: "against the labels", points: per_epoch(phases, 1.0, |e| e.task) },
        Series { class: "l3", name: "validation", points: per_epoch(phases, 1.0, |e| e.validation_loss) },
    ];
    let Some([lo, hi]) = extent(series.iter().flat_map(|s| s.points.iter().map(|p| p[1]))) else {
        return String::new();
    };
    let log = lo > 0.0;
    let y = if log { Axis::log([lo, hi], BOTTOM, TOP) } else { Axis::linear([lo, hi], BOTTOM, TOP) };
    let heading = if log { "Loss (logarithmic)" } else { "Loss" };
    frame(phases, heading, &series, &y, "", &[])
}

fn accuracy(phases: &[Phase]) -> String {
    let series = [
        Series {
            class: "l2",
            name: "training, as augmented",
            points: per_epoch(phases, 100.0, |e| e.train_accuracy),
        },
        Series {
            class: "l3",
            name: "validation",
            points: per_epoch(phases, 100.0, |e| e.validation_accuracy),
        },
    ];
    let mut values: Vec<f64> =
        series.iter().flat_map(|s| s.points.iter().map(|p| p[1])).filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (Some(&least), Some(&most)) = (values.first(), values.last()) else { return String::new() };
    // The first epochs lie far below all others and would press these into one line.
    let low = values.get(values.len() / 10).copied().unwrap_or(least);
    let best = |p: &Phase| {
        p.epochs
            .iter()
            .flat_map(|e| [e.train_accuracy, e.validation_accuracy])
            .flatten()
            .fold(f64::NAN, f64::max)
    };
    // What a phase reached is never cut off.
    let reached = phases.iter().map(|p| 100.0 * best(p)).fold(most, f64::min);
    let floor = (low - 0.25 * (most - low)).min(reached - 1.0).max(least).floor();
    let y = Axis::linear([floor, most.ceil().min(100.0)], BOTTOM, TOP);
    let kept: Vec<[f64; 2]> = phases
        .iter()
        .zip(starts(phases))
        .filter_map(|(p, start)| {
            let end = p.end.as_ref()?;
            Some([start + (end.epoch? + 1) as f64, 100.0 * end.validation_accuracy?])
        })
        .collect();
    let heading = if least < floor {
        format!("Accuracy (values below {floor:.0} % are cut off)")
    } else {
        "Accuracy".into()
    };
    frame(phases, &heading, &series, &y, " %", &kept)
}

/// A picture with bands, axes, lines, marks at kept networks, and the legend above it.
fn frame(
    phases: &[Phase],
    heading: &str,
    series: &[Series],
    y: &Axis,
    unit: &str,
    kept: &[[f64; 2]],
) -> String {
    let epochs: f64 = phases.iter().map(Phase::width).sum();
    let x = Axis::linear([0.0, epochs], LEFT, RIGHT);
    let mut body = String::new();
    for (i, (phase, start)) in phases.iter().zip(starts(phases)).enumerate() {
        let (from, to) = (x.at(start), x.at(start + phase.width()));
        let class = if i % 2 == 0 { "band0" } else { "band1" };
        body.push_str(&rect(class, [from, TOP - 27.0], [to - from, BOTTOM - TOP + 27.0]));
        // A name that has no room is left to the table of phases.
        if to - from > 7.0 * phase.kind.len() as f64 {
            body.push_str(&text("phase", [0.5 * (from + to), TOP - 12.0], "middle", &phase.kind));
        }
    }
    body.push_str(&grid(y, LEFT, RIGHT, unit));
    body.push_str(&bottom(&x, [LEFT, RIGHT], BOTTOM, 12));
    body.push_str(&text("tick", [RIGHT, HEIGHT - 4.0], "end", "epochs"));
    let id = if unit.is_empty() { "clip-loss" } else { "clip-accuracy" };
    let area = rect("", [LEFT, TOP - 5.0], [RIGHT - LEFT + 5.0, BOTTOM - TOP + 5.0]);
    body.push_str(&format!("<clipPath id=\"{id}\">{area}</clipPath><g clip-path=\"url(#{id})\">"));
    for s in series {
        let points: Vec<[f64; 2]> = s.points.iter().map(|[px, py]| [x.at(*px), y.at(*py)]).collect();
        body.push_str(&polyline(s.class, &points));
    }
    kept.iter().for_each(|[px, py]| body.push_str(&dot("kept", [x.at(*px), y.at(*py)])));
    body.push_str("</g>");
    let mut legend = String::new();
    for s in series.iter().filter(|s| s.points.iter().any(|p| p[1].is_finite())) {
        legend.push_str(&format!("<span><i class=\"k {}\"></i>{}</span>", s.class, escape(s.name)));
    }
    if !kept.is_empty() {
        legend.push_str("<span><i class=\"k kept\"></i>kept network</span>");
    }
    let heading = escape(heading);
    format!(
        "<figure><figcaption><b>{heading}</b><span class=\"legend\">{legend}</span></figcaption>{}</figure>",
        picture(WIDTH, HEIGHT, &format!("{heading} over epochs"), &body)
    )
}
