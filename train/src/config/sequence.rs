//! The phases one after the other: each begins with what those before it leave.

use hetrain_layers::{ActivationKind, Operator};

use super::{
    model::*,
    phase,
    section::{Mistake, Mistakes},
    tree::{Node, Value},
};

/// Read the phases, and see that each can begin with what those before it leave.
pub(super) fn phases(root: &Node, model: &ModelSettings, mistakes: &mut Mistakes) -> Vec<PhaseSettings> {
    let Some(node) = root.get("phases") else { return Vec::new() };
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items,
        other => {
            let found =
                if matches!(other, Value::List(_)) { "an empty list".into() } else { other.to_string() };
            mistakes.push(Mistake {
                at: Some(node.at),
                key: "phases".into(),
                what: format!("needs a list of phases, found {found}"),
                help: "write `- { kind: pretrain, epochs: 10 }`".into(),
            });
            return Vec::new();
        }
    };
    let read: Vec<Option<PhaseSettings>> =
        items.iter().enumerate().map(|(i, item)| phase::read(item, i, mistakes)).collect();
    let mut left = model.operators();
    let all = left.len();
    for (i, (phase, item)) in read.iter().zip(items).enumerate() {
        let Some(phase) = phase else { continue };
        let mut reject = |key: &str, what: String, help: &str| {
            let key = format!("phases[{i}].{key}");
            mistakes.push(Mistake { at: Some(item.at), key, what, help: help.into() });
        };
        useless(phase, model, &mut reject);
        let mut reject = |what: &str, help: &str| reject("kind", what.into(), help);
        let replaced = left.len() < all;
        match phase.kind {
            PhaseKind::Polish if i > 0 && phase.start != OtherNetwork::None => left.clear(),
            PhaseKind::Polish if !left.is_empty() => {
                let what = format!(
                    "`polish` trains polynomials, and the network still has {} here",
                    originals(model, &left)
                );
                reject(&what, "put a `replace` phase before it");
            }
            PhaseKind::Replace if !phase.operators.iter().any(|o| left.contains(o)) => {
                reject("nothing is left to replace here", "use `polish` to train on");
            }
            PhaseKind::Pretrain | PhaseKind::RangeAware if replaced => {
                reject(
                    "the phase trains the original network, which was replaced before",
                    "put it before `replace`",
                );
            }
            PhaseKind::Pretrain if i > 0 => {
                let what = "`pretrain` starts from fresh weights and would drop the phases before";
                reject(what, "put it first");
            }
            _ => {}
        }
        if phase.kind == PhaseKind::Replace {
            left.retain(|o| !phase.operators.contains(o));
            if i + 1 == items.len() && !left.is_empty() {
                let what = format!("the network still has {} at the end", originals(model, &left));
                reject(&what, "name them in a `replace` phase, or leave `operators` out");
            }
        }
    }
    read.into_iter().flatten().collect()
}

/// Reject settings that would change nothing in such a network.
fn useless(phase: &PhaseSettings, model: &ModelSettings, reject: &mut impl FnMut(&str, String, &str)) {
    let (name, transformer) = (model.name, model.name.is_transformer());
    if phase.dropout > 0.0 && !transformer {
        let what = format!("acts in the blocks of transformers, and `{name}` has none");
        reject("dropout", what, "remove the setting; `augment` is what images are varied with");
    }
    if phase.distill.attention > 0.0 && !transformer {
        let what = format!("compares weights of attention, and `{name}` has none");
        let help = "remove the setting; `features` compares what stages of the network give";
        reject("distill.attention", what, help);
    }
    if phase.kind.ends_polynomial() && phase.interval.is_some() && measures(model) {
        let activation = model.activation.as_str();
        let what =
            format!("`{activation}` is made for the interval that is measured, and nothing else has one");
        reject("interval", what, "remove the setting; `margin` is how much wider than what was seen it is");
    }
}

/// Whether all polynomials of the network are made for the intervals that are measured.
fn measures(model: &ModelSettings) -> bool {
    use ActivationKind::{Poly6, Poly14, Poly30};
    !model.name.is_transformer() && matches!(model.activation, Poly6 | Poly14 | Poly30)
}

/// What the network has that `kinds` of operators are at first.
fn originals(model: &ModelSettings, kinds: &[Operator]) -> String {
    let name = |kind: &Operator| match kind {
        Operator::Activation if model.name.is_transformer() => "GELU",
        Operator::Activation => "ReLU",
        Operator::Norm => "layer norms",
        Operator::Attention => "softmax",
    };
    kinds.iter().map(name).collect::<Vec<_>>().join(", ")
}
