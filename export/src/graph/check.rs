//! Everything in a graph that keeps it from running encrypted, found at once.

use super::{Graph, Op};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The encrypted run is impossible.
    Error,
    /// It will run, but at a price worth knowing.
    Warning,
}

/// One finding with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable code: `H001`.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The node, or the whole graph.
    pub node: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(
            f,
            "{severity}[{}]: {} at node `{}`\n  help: {}",
            self.code, self.message, self.node, self.help
        )
    }
}

/// Degree above which a polynomial is called expensive.
const HIGH_DEGREE: usize = 31;

/// All HE-unfriendliness of `graph`, in node order.
pub fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |code, severity, node: &str, message: String, help: &str| {
        findings.push(Finding { code, severity, node: node.into(), message, help: help.into() });
    };
    for node in graph.nodes() {
        match &node.op {
            Op::Relu => add(
                "H001",
                Severity::Error,
                &node.name,
                "ReLU is not a polynomial".into(),
                "add a `replace` phase (`activation: poly2`); it trains a quadratic in its place, at 1 level",
            ),
            Op::MaxPool { .. } => add(
                "H002",
                Severity::Error,
                &node.name,
                "max pooling is not a polynomial".into(),
                "use average pooling or a strided convolution, and train a few epochs",
            ),
            Op::Polynomial { poly } if poly.degree() > HIGH_DEGREE => add(
                "H003",
                Severity::Warning,
                &node.name,
                format!("a polynomial of degree {} needs {} levels", poly.degree(), poly.depth()),
                "train with a smaller range; half the interval is worth half the degree",
            ),
            Op::Quadratic { .. } | Op::Square { .. } if node.op.intervals().is_empty() => add(
                "H004",
                Severity::Error,
                &node.name,
                "the activation has no interval".into(),
                "train a phase with an activation range, so that excursions can be seen",
            ),
            _ => {}
        }
        if let Some(range) = &node.range
            && !(range.min.is_finite() && range.max.is_finite())
        {
            add(
                "H005",
                Severity::Error,
                &node.name,
                format!("values are not finite on the calibration data ([{}, {}])", range.min, range.max),
                "the training diverged; lower the learning rate or raise `range_weight`",
            );
        }
    }
    findings
}
