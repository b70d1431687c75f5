//! From the YAML tree to a [`RunConfig`], collecting every mistake on the way.

use he_infer::plan::Bootstrapping;
use hetrain_datasets::{Augment, DatasetConfig, known, nearest as nearest_dataset};
use hetrain_layers::{ActivationKind, AttentionKind, BlockKind, ModelName, NormKind, Size};

use super::{
    model::*,
    section::{Mistake, Mistakes, Section},
    sequence::phases,
    tree::{Node, Value},
};

const ROOT: [&str; 8] = ["name", "seed", "model", "data", "phases", "checkpoint", "he", "verify"];
const ARCHITECTURE: [&str; 5] = ["name", "model", "input", "classes", "he"];
const TRANSFORMER: [&str; 7] = ["attention", "norm", "width", "heads", "blocks", "hidden", "block"];
const DATA: [&str; 17] = [
    "name",
    "dir",
    "size",
    "channels",
    "classes",
    "class_names",
    "length",
    "rare",
    "tokens",
    "train_limit",
    "test_limit",
    "batch",
    "validation",
    "validation_limit",
    "calibration",
    "normalise",
    "augment",
];

/// Read and check a network without data.
///
/// # Errors
/// All mistakes, in the order of the file.
pub(super) fn architecture(root: &Node) -> Result<Architecture, Mistakes> {
    let mut mistakes = Mistakes::new();
    let mut s = Section::open(Some(root), "", &ARCHITECTURE, &mut mistakes);
    for key in ["name", "model"] {
        if !s.has(key) {
            s.add(None, key, "is missing".into(), format!("add `{key}:`; see configs/bert_base.yaml"));
        }
    }
    let name = run_name(&mut s);
    let model = model(&mut s);
    let need = "[channels, height, width]";
    let whole = |v: &f64| (*v >= 1.0 && v.fract() == 0.0).then_some(*v as usize);
    let found = s.reals_or_none("input", need).unwrap_or_default();
    let sizes: Vec<usize> = found.iter().filter_map(whole).collect();
    let input = match sizes[..] {
        [c, h, w] if found.len() == 3 => [c, h, w],
        _ => {
            s.reject(
                "input",
                "needs three whole numbers of at least 1".into(),
                "write `[channels, height, width]`",
            );
            [1; 3]
        }
    };
    let classes = s.whole("classes", 2, 2, 1 << 20) as usize;
    // How precise untrained values would be says little; their price is known anyway.
    let he = he(&mut s, 0, 0);
    if mistakes.is_empty() { Ok(Architecture { name, model, input, classes, he }) } else { Err(mistakes) }
}

/// Read and check everything.
///
/// # Errors
/// All mistakes, in the order of the file.
pub(super) fn resolve(root: &Node) -> Result<RunConfig, Mistakes> {
    let mut mistakes = Mistakes::new();
    let without_data = root.get("input").is_some() && root.get("data").is_none();
    let known: &[&str] = if without_data { &ARCHITECTURE } else { &ROOT };
    let mut s = Section::open(Some(root), "", known, &mut mistakes);
    if without_data {
        let what = "describes a network without data, of which there is a price only";
        s.add(
            None,
            "input",
            what.into(),
            "`hetrain estimate --config` prints it; to train, name `data:` and `phases:`",
        );
        return Err(mistakes);
    }
    for key in ["name", "model", "data", "phases"] {
        if !s.has(key) {
            s.add(None, key, "is missing".into(), format!("add `{key}:`; see configs/quickstart.yaml"));
        }
    }
    let name = run_name(&mut s);
    let seed = s.whole("seed", 1, 0, u64::MAX);
    let model = model(&mut s);
    let data = data(&mut s);
    let checkpoint = {
        let mut c = s.group("checkpoint", &["minutes", "steps"]);
        let minutes = c.real("minutes", 5.0, |v| v > 0.0 && v <= 5.0, "a number above 0, at most 5");
        CheckpointSettings { minutes, steps: c.whole_or_none("steps", 1, 1 << 40).map(|v| v as usize) }
    };
    let he = he(&mut s, 12, 4);
    let verify = s.has("verify").then(|| {
        let mut v = s.group("verify", &["samples", "packed", "encrypted"]);
        let samples = v.whole_or_none("samples", 1, 1 << 40).map(|n| n as usize);
        let packed = v.whole_or_none("packed", 1, 1 << 40).map(|n| n as usize);
        let encrypted = v.whole("encrypted", 100, 0, 1 << 40) as usize;
        // Each rung's samples are among those of the rung before.
        let rungs = [("samples", samples), ("packed", packed), ("encrypted", Some(encrypted))];
        let given: Vec<(&str, usize)> = rungs.into_iter().filter_map(|(key, n)| Some((key, n?))).collect();
        for (&(before, most), &(key, found)) in given.iter().zip(given.iter().skip(1)) {
            if found > most {
                let help = format!("its samples are among those; raise `{before}` or lower `{key}`");
                v.reject(key, format!("needs at most the {most} of `{before}`, found {found}"), &help);
            }
        }
        VerifySettings { samples, packed, encrypted }
    });
    let phases = phases(root, &model, &mut mistakes);
    if verify.is_some() && phases.last().is_some_and(|p| !p.kind.ends_polynomial()) {
        mistakes.push(Mistake {
            at: root.get("verify").map(|n| n.at),
            key: "verify".into(),
            what: "the network is still the original one at the end, which cannot run encrypted".into(),
            help: "remove it, or add a `replace` phase".into(),
        });
    }
    if mistakes.is_empty() {
        Ok(RunConfig { name, seed, model, data, phases, checkpoint, he, verify })
    } else {
        mistakes.sort_by_key(|m| m.at.map_or((1, None), |at| (0, Some(at))));
        mistakes.dedup();
        Err(mistakes)
    }
}

fn run_name(s: &mut Section<'_>) -> String {
    let need = "the name of the run's folder: letters, digits, `-`, `_`, `.`";
    let Some(name) = s.text_or_none("name", need) else { return String::new() };
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !plain || name.starts_with('.') || name.len() > 100 {
        s.reject("name", format!("needs {need}, found `{name}`"), "use for example `mnist-lenet`");
    }
    name
}

fn model(s: &mut Section<'_>) -> ModelSettings {
    let present = s.has("model");
    let mut m = s.group("model", &[&["name", "activation"], &TRANSFORMER[..]].concat());
    if present && !m.has("name") {
        m.add(
            None,
            "name",
            "is missing".into(),
            format!("write one of {}", ModelName::ALL.map(ModelName::as_str).join(", ")),
        );
    }
    let name =
        m.choice_or_none("name", &ModelName::ALL.map(|n| (n.as_str(), n))).unwrap_or(ModelName::Lenet5);
    let activation =
        m.choice_or_none("activation", &ActivationKind::ALL.map(|a| (a.as_str(), a))).unwrap_or_default();
    let attention =
        m.choice_or_none("attention", &AttentionKind::ALL.map(|a| (a.as_str(), a))).unwrap_or_default();
    let norm = m.choice_or_none("norm", &NormKind::ALL.map(|n| (n.as_str(), n))).unwrap_or_default();
    let usual = name.size();
    let mut count = |key, usual: usize| m.whole(key, usual as u64, 1, 4096) as usize;
    let (width, heads) = (count("width", usual.width), count("heads", usual.heads));
    let blocks = count("blocks", usual.blocks);
    let hidden = m.whole_or_none("hidden", 1, 1 << 20).map(|v| v as usize);
    let block = m.choice_or_none("block", &BlockKind::ALL.map(|b| (b.as_str(), b))).unwrap_or_default();
    let size = Size { width, heads, blocks, hidden, block };
    if !size.width.is_multiple_of(size.heads) {
        let what = format!("{} heads do not divide the width {}", size.heads, size.width);
        m.reject("heads", what, "choose a width that is a multiple of the heads");
    }
    if activation == ActivationKind::Poly2Branch && !name.has_branches() {
        let what =
            format!("`{}` acts on branches of residual blocks, and `{name}` has none", activation.as_str());
        m.reject("activation", what, "write `poly2`");
    }
    let transformer = TransformerSettings { attention, norm, size };
    for key in TRANSFORMER {
        if m.has(key) && !name.is_transformer() {
            m.reject(key, format!("`{name}` has none"), "remove it, or choose a transformer: vit, gpt, bert");
        }
    }
    ModelSettings { name, activation, transformer: name.is_transformer().then_some(transformer) }
}

fn data(s: &mut Section<'_>) -> DataSettings {
    let present = s.has("data");
    let mut d = s.group("data", &DATA);
    if present && !d.has("name") {
        let names: Vec<&str> = known().iter().map(|k| k.name).collect();
        d.add(None, "name", "is missing".into(), format!("write one of {}", names.join(", ")));
    }
    let name = d.text_or_none("name", "the name of a data set").unwrap_or_default();
    if !name.is_empty() && !known().iter().any(|k| k.name == name) {
        let names: Vec<&str> = known().iter().map(|k| k.name).collect();
        let help = nearest_dataset(&name)
            .map_or_else(|| format!("known: {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
        d.reject("name", format!("no data set is called `{name}`"), help);
    }
    let pair = d.reals_or_none("size", "[height, width]");
    let size = pair.as_deref().and_then(|v| match v {
        &[h, w] if h >= 1.0 && w >= 1.0 && h.fract() == 0.0 && w.fract() == 0.0 => {
            Some([h as usize, w as usize])
        }
        _ => {
            d.reject("size", "needs two whole numbers of at least 1".into(), "write `[height, width]`");
            None
        }
    });
    let source = DatasetConfig {
        name,
        dir: d.text_or_none("dir", "a folder").map(Into::into),
        size,
        channels: d.whole_or_none("channels", 1, 3).map(|v| v as usize),
        classes: d.whole_or_none("classes", 2, 256).map(|v| v as usize),
        class_names: class_names(&mut d),
        length: d.whole_or_none("length", 2, 4096).map(|v| v as usize),
        rare: d.whole_or_none("rare", 1, 1 << 32).map(|v| v as usize),
        tokens: d.whole_or_none("tokens", 257, 65_536).map(|v| v as usize),
        train_limit: d.whole_or_none("train_limit", 1, 1 << 40).map(|v| v as usize),
        test_limit: d.whole_or_none("test_limit", 1, 1 << 40).map(|v| v as usize),
    };
    let batch = d.whole("batch", 64, 2, 65_536) as usize;
    let share = "a number above 0, at most 0.5, the share of the training data kept aside";
    let validation = d.real("validation", VALIDATION, |v| v > 0.0 && v <= 0.5, share);
    let validation_limit = d.whole_or_none("validation_limit", 1, 1 << 40).map(|v| v as usize);
    let calibration = d.whole("calibration", 1024, 16, 1 << 24) as usize;
    let normalise = normalise(&mut d);
    let augment = augment(&mut d);
    DataSettings { source, batch, validation, validation_limit, calibration, normalise, augment }
}

/// The group `augment` of a section.
pub(super) fn augment(s: &mut Section<'_>) -> Augment {
    let mut a = s.group("augment", &["flip", "crop_padding", "rotate", "cutout", "zoom", "light", "noise"]);
    let share = "a number from 0 to below 1";
    let below_one = |v: f64| (0.0..1.0).contains(&v);
    Augment {
        flip: a.flag("flip", false),
        crop_padding: a.whole("crop_padding", 0, 0, 64) as usize,
        rotate: a.real("rotate", 0.0, |v| (0.0..=180.0).contains(&v), "degrees from 0 to 180") as f32,
        cutout: a.whole("cutout", 0, 0, 4096) as usize,
        zoom: a.real("zoom", 0.0, below_one, share) as f32,
        light: a.real("light", 0.0, below_one, share) as f32,
        noise: a.real("noise", 0.0, below_one, share) as f32,
    }
}

fn class_names(d: &mut Section<'_>) -> Option<Vec<String>> {
    let node = d.get("class_names")?;
    if let Value::List(items) = &node.value {
        let name = |n: &Node| match &n.value {
            Value::Text(t) => Some(t.clone()),
            // Digits are classes too.
            number @ (Value::Int(_) | Value::Real(_)) => Some(number.to_string()),
            _ => None,
        };
        if let Some(names) = items.iter().map(name).collect() {
            return Some(names);
        }
    }
    d.wrong("class_names", node, "a list of names");
    None
}

fn normalise(d: &mut Section<'_>) -> NormaliseSetting {
    let Some(node) = d.get("normalise") else { return NormaliseSetting::Measure };
    match &node.value {
        Value::Text(t) if t == "measure" => NormaliseSetting::Measure,
        Value::Map(_) => {
            let mut n = d.group("normalise", &["mean", "std"]);
            let need = "a list of numbers, one per channel";
            let mean = n.reals_or_none("mean", need);
            let std = n.reals_or_none("std", need);
            for (key, value) in [("mean", &mean), ("std", &std)] {
                if value.is_none() && !n.has(key) {
                    n.add(None, key, "is missing".into(), "give both, or write `normalise: measure`");
                }
            }
            let (mean, std) = (mean.unwrap_or_default(), std.unwrap_or_default());
            if mean.len() != std.len() && !mean.is_empty() && !std.is_empty() {
                n.reject(
                    "std",
                    format!("needs {} numbers, as `mean` has, found {}", mean.len(), std.len()),
                    "give one per channel",
                );
            }
            if std.iter().any(|v| *v <= 0.0) {
                n.reject("std", "needs numbers above 0".into(), "give the deviation of pixels in [0, 1]");
            }
            let narrow = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect();
            NormaliseSetting::Given { mean: narrow(mean), std: narrow(std) }
        }
        _ => {
            d.wrong("normalise", node, "`measure` or `{ mean: [...], std: [...] }`");
            NormaliseSetting::Measure
        }
    }
}

fn he(s: &mut Section<'_>, usual_bits: u64, least_bits: u64) -> HeSettings {
    let mut h = s.group("he", &["security", "bootstrap", "precision_bits", "layout", "input"]);
    let security = h.whole("security", 128, 1, 1024) as u32;
    if security != 128 {
        h.reject(
            "security",
            format!("needs 128 bits, found {security}"),
            "other levels are not offered; remove the setting",
        );
    }
    let bootstrap = h
        .choice_or_none("bootstrap", &[("auto", Bootstrapping::Auto), ("never", Bootstrapping::Never)])
        .unwrap_or(Bootstrapping::Auto);
    let precision_bits = h.whole("precision_bits", usual_bits, least_bits, 30) as u32;
    let layout = h
        .choice_or_none("layout", &[("image", LayoutKind::Image), ("batch", LayoutKind::Batch)])
        .unwrap_or(LayoutKind::Image);
    let input = h
        .choice_or_none("input", &[("sample", InputKind::Sample), ("embedded", InputKind::Embedded)])
        .unwrap_or_default();
    HeSettings { security, bootstrap, precision_bits, layout, input }
}
