//! Compares what a file holds with what a model needs.

use std::collections::BTreeMap;

use super::Array;
use super::safetensors::Found;
use crate::WeightProblem;

/// Whose names and layouts the file uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Paths in our modules; every tensor must be there.
    Own,
    /// Ours, of a network with other polynomials: only what its original form computes with is taken.
    Original,
    /// PyTorch's; coefficients of quadratics may be absent, matrices are `[out, in]`.
    Pytorch,
}

impl Naming {
    /// Name in the file of our tensor `own`.
    fn name(self, own: &str) -> String {
        match self {
            Self::Own => return own.into(),
            // A batch norm has factor and summand itself, other norms beside what else they have.
            Self::Original => return own.replace(".form.scale.", ".form."),
            Self::Pytorch => {}
        }
        let own = own.replace(".gamma", ".weight").replace(".beta", ".bias");
        let mut parts: Vec<&str> = own.split('.').collect();
        let [.., layer, inner, _] = parts.as_mut_slice() else { return own };
        if *layer == "downsample" {
            // A sequence there, whose members have numbers.
            *inner = if *inner == "conv" { "0" } else { "1" };
            return parts.join(".");
        }
        // `conv1.conv.weight` and `conv1.bn.weight` are `conv1.weight` and `bn1.weight` there.
        let outer = match (layer.strip_prefix("conv"), *inner) {
            (Some(number), "bn") => format!("bn{number}"),
            (Some(_), "conv") | (None, "fc") => (*layer).to_string(),
            _ => return own,
        };
        *layer = &outer;
        parts.remove(parts.len() - 2);
        parts.join(".")
    }

    fn optional(self, own: &str) -> bool {
        match self {
            Self::Own => false,
            Self::Original => polynomial(own),
            Self::Pytorch => own.contains(".coef."),
        }
    }

    /// What nobody needs: PyTorch's counters, polynomials in place of which there are others.
    fn ignored(self, name: &str) -> bool {
        match self {
            Self::Own => false,
            Self::Original => polynomial(name),
            Self::Pytorch => name.ends_with(".num_batches_tracked"),
        }
    }
}

/// Whether a path of ours leads to a polynomial, or to statistics of a norm's: activations, what weighs in attention, norms but for factors
/// and summands, which the original has too.
fn polynomial(path: &str) -> bool {
    let (mut parts, end) = (path.split('.'), path.rsplit('.').next().unwrap_or_default());
    parts.any(|part| match part {
        "act" | "weigh" => true,
        "form" => !matches!(end, "gamma" | "beta"),
        _ => false,
    })
}

/// Tensors for the paths in `model`, or everything that does not fit; the layer `apart` is neither taken nor looked at.
pub(super) fn fit(
    model: BTreeMap<String, Array>,
    mut found: Found,
    naming: Naming,
    apart: Option<&str>,
) -> Result<BTreeMap<String, Array>, Vec<WeightProblem>> {
    let (mut table, mut problems) = (BTreeMap::new(), Vec::new());
    if naming == Naming::Original {
        // Polynomials of another form can have tensors of the same name.
        let own = found.tensors.into_iter().filter(|(name, _)| !polynomial(name));
        found.tensors = own.map(|(name, tensor)| (naming.name(&name), tensor)).collect();
    }
    if naming == Naming::Pytorch {
        // Wrappers for training on several devices put every name under `module.`.
        let strip = |k: String| k.strip_prefix("module.").map(str::to_string).unwrap_or(k);
        found.tensors = found.tensors.into_iter().map(|(k, v)| (strip(k), v)).collect();
        found.foreign = found.foreign.into_iter().map(|(k, v)| (strip(k), v)).collect();
    }
    for (own, needed) in model {
        let name = naming.name(&own);
        if apart.is_some_and(|layer| own.split('.').next() == Some(layer)) {
            found.tensors.remove(&name);
            found.foreign.remove(&name);
            continue;
        }
        let matrix = naming == Naming::Pytorch && needed.shape.len() == 2;
        let needs: Vec<usize> =
            if matrix { needed.shape.iter().rev().copied().collect() } else { needed.shape.clone() };
        if let Some(problem) = found.kind_problem(&name) {
            found.foreign.remove(&name);
            problems.push(problem);
            continue;
        }
        match found.tensors.remove(&name) {
            None if naming.optional(&own) => {}
            None => problems.push(WeightProblem::Missing { name, needs }),
            Some(got) if got.shape != needs => {
                problems.push(WeightProblem::Shape { name, needs, got: got.shape });
            }
            Some(got) if got.data.iter().any(|v| !v.is_finite()) => {
                problems.push(WeightProblem::NotFinite { name });
            }
            Some(got) => {
                table.insert(own, if matrix { transpose(&got) } else { got });
            }
        }
    }
    let rest = found.tensors.into_iter().map(|(name, a)| (name, a.shape));
    problems.extend(
        rest.filter(|(n, _)| !naming.ignored(n)).map(|(name, got)| WeightProblem::Unexpected { name, got }),
    );
    let kinds = found.foreign.into_iter().filter(|(n, _)| !naming.ignored(n));
    problems.extend(kinds.map(|(name, got)| WeightProblem::Kind { name, got }));
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(a: &Array) -> Array {
    let columns = a.shape.last().copied().unwrap_or(1).max(1);
    let data = (0..columns).flat_map(|c| a.data.iter().skip(c).step_by(columns).copied()).collect();
    Array { shape: a.shape.iter().rev().copied().collect(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_paths_have_the_names_pytorch_gives() {
        for (own, theirs) in [
            ("conv1.conv.weight", "conv1.weight"),
            ("conv1.bn.gamma", "bn1.weight"),
            ("conv1.bn.running_var", "bn1.running_var"),
            ("layer1.0.conv2.conv.weight", "layer1.0.conv2.weight"),
            ("layer1.0.conv2.bn.beta", "layer1.0.bn2.bias"),
            ("layer2.0.downsample.conv.weight", "layer2.0.downsample.0.weight"),
            ("layer2.0.downsample.bn.gamma", "layer2.0.downsample.1.weight"),
            ("layer2.0.downsample.bn.running_mean", "layer2.0.downsample.1.running_mean"),
            ("linear.weight", "linear.weight"),
            ("linear.bias", "linear.bias"),
            ("fc1.fc.weight", "fc1.weight"),
            ("fc1.bn.beta", "fc1.bn.bias"),
            ("layer1.0.act.coef.raw", "layer1.0.act.coef.raw"),
        ] {
            assert_eq!(Naming::Pytorch.name(own), theirs);
            assert_eq!(Naming::Own.name(own), own);
        }
    }

    #[test]
    fn matrices_are_turned() {
        let a = Array { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let t = transpose(&a);
        assert_eq!(
            (t.shape.as_slice(), t.data.as_slice()),
            (&[3, 2][..], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0][..])
        );
    }
}
