//! Axes and lines as SVG. Colours are classes, so that the page's style sheet decides about dark and light.

use super::html::{escape, value};

/// A stretch of numbers mapped to a stretch of the picture.
#[derive(Clone, Debug)]
pub struct Axis {
    lo: f64,
    hi: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// `[lo, hi]` drawn from `from` to `to`; an empty stretch is widened.
    pub fn linear([lo, hi]: [f64; 2], from: f64, to: f64) -> Self {
        let pad = if hi > lo { 0.0 } else { 0.5 * lo.abs().max(1.0) };
        Self { lo: lo - pad, hi: hi + pad, log: false, from, to }
    }

    /// The same with a logarithmic scale; both ends must be positive.
    pub fn log([lo, hi]: [f64; 2], from: f64, to: f64) -> Self {
        let [lo, hi] = if hi > lo * 1.5 { [lo, hi] } else { [lo / 1.25, hi * 1.25] };
        Self { lo, hi, log: true, from, to }
    }

    /// Where `x` is drawn.
    pub fn at(&self, x: f64) -> f64 {
        let share = if self.log {
            (x / self.lo).ln() / (self.hi / self.lo).ln()
        } else {
            (x - self.lo) / (self.hi - self.lo)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round numbers to label, at most about `most`.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if self.log { self.log_ticks(most) } else { self.linear_ticks(most) }
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let rough = (self.hi - self.lo) / most.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.lo / step - 1e-9).ceil();
        // Multiples of the step, counted, so that zero is zero.
        let all = (0..=2 * most).map(|i| (first + i as f64) * step);
        all.take_while(|t| *t <= self.hi + 1e-9 * step).collect()
    }

    fn log_ticks(&self, most: usize) -> Vec<f64> {
        let powers = self.lo.log10().floor() as i32..=self.hi.log10().ceil() as i32;
        let pick = |factors: &[f64]| -> Vec<f64> {
            let all = powers.clone().flat_map(|p| factors.iter().map(move |f| f * 10f64.powi(p)));
            all.filter(|t| (self.lo..=self.hi).contains(t)).collect()
        };
        let fine = pick(&[1.0, 2.0, 5.0]);
        if fine.len() <= most + 2 { fine } else { pick(&[1.0]) }
    }
}

/// The smallest stretch that holds all finite values.
pub fn extent(values: impl IntoIterator<Item = f64>) -> Option<[f64; 2]> {
    let mut finite = values.into_iter().filter(|v| v.is_finite());
    let first = finite.next()?;
    Some(finite.fold([first, first], |[lo, hi], v| [lo.min(v), hi.max(v)]))
}

/// A picture of `width` by `height` with `body`; `what` is read to those who cannot see it.
pub fn picture(width: f64, height: f64, what: &str, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
        escape(what)
    )
}

/// A straight line.
pub fn line(class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>")
}

/// A box from the corner `[x, y]`.
pub fn rect(class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2]) -> String {
    let (width, height) = (width.max(0.0), height.max(0.0));
    format!("<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>")
}

/// Words that begin (`start`), end (`end`) or stand (`middle`) at a point.
pub fn text(class: &str, [x, y]: [f64; 2], anchor: &str, words: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(words)
    )
}

/// Connected points; points that are not finite interrupt the line.
pub fn polyline(class: &str, points: &[[f64; 2]]) -> String {
    let mut out = String::new();
    for part in points.split(|p| p.iter().any(|v| !v.is_finite())) {
        match part {
            [] => {}
            [[x, y]] => out.push_str(&dot(class, [*x, *y])),
            _ => {
                let list: Vec<String> = part.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
                out.push_str(&format!("<polyline class=\"{class}\" points=\"{}\"/>", list.join(" ")));
            }
        }
    }
    out
}

/// A small disc.
pub fn dot(class: &str, [x, y]: [f64; 2]) -> String {
    format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>")
}

/// Horizontal grid lines of `y` with labels left of `from`, ending in `unit`.
pub fn grid(y: &Axis, from: f64, to: f64, unit: &str) -> String {
    let one = |t: f64| {
        let at = y.at(t);
        let label = text("tick", [from - 6.0, at + 4.0], "end", &format!("{}{unit}", value(t)));
        format!("{}{label}", line("grid", [from, at], [to, at]))
    };
    y.ticks(6).into_iter().map(one).collect()
}

/// The line below a picture with labelled ticks of `x`.
pub fn bottom(x: &Axis, [from, to]: [f64; 2], y: f64, most: usize) -> String {
    let tick = |t: f64| {
        let at = x.at(t);
        format!(
            "{}{}",
            line("axis", [at, y], [at, y + 4.0]),
            text("tick", [at, y + 17.0], "middle", &value(t))
        )
    };
    let ticks: String = x.ticks(most).into_iter().map(tick).collect();
    format!("{}{ticks}", line("axis", [from, y], [to, y]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Axis::linear([-0.3, 10.2], 0.0, 1.0).ticks(6), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Axis::log([0.04, 3.0], 0.0, 1.0).ticks(6), [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]);
        assert_eq!(Axis::log([1e-4, 3.0], 0.0, 1.0).ticks(6).len(), 5);
    }

    #[test]
    fn an_empty_stretch_has_a_width() {
        let axis = Axis::linear([1.0, 1.0], 0.0, 10.0);
        assert!((axis.at(1.0) - 5.0).abs() < 1e-9);
        assert!(extent([f64::NAN]).is_none());
    }
}
