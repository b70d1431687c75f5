//! Reading one entry of `phases`: which settings each kind knows, and their defaults.

use hetrain_layers::Operator;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    model::*,
    resolve::augment,
    section::{Mistakes, Section},
    tree::{Node, plain},
};

/// Settings of every kind of phase.
const COMMON: &[&str] = &[
    "kind",
    "epochs",
    "optimizer",
    "schedule",
    "clip",
    "label_smoothing",
    "dropout",
    "teacher",
    "distill",
    "ema",
    "augment",
    "keep",
];
/// Share of a phase after which the clamp goes, if nothing else is said.
const CLAMP_OFF: f64 = 0.66;
/// Settings of phases that may begin with features from elsewhere.
const START: &[&str] = &["start"];
/// Settings of phases that watch ranges; those have a phase before them, or a network from elsewhere.
const RANGE: &[&str] = &["range_weight", "interval", "clamp", "clamp_off", "statistics"];
/// Settings of phases that train quadratics.
const QUADRATIC: &[&str] = &["coef_lr", "margin"];
/// Settings of `replace` only.
const REPLACE: &[&str] = &["ramp", "order", "operators"];

fn keys(kind: PhaseKind) -> Vec<&'static str> {
    let parts: &[&[&str]] = match kind {
        PhaseKind::Pretrain => &[COMMON, START],
        PhaseKind::RangeAware => &[COMMON, RANGE],
        PhaseKind::Polish => &[COMMON, START, RANGE, QUADRATIC],
        PhaseKind::Replace => &[COMMON, RANGE, QUADRATIC, REPLACE],
    };
    parts.concat()
}

impl Serialize for PhaseSettings {
    /// Writes the settings the kind knows, so that what is written can be read again.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for key in keys(self.kind) {
            match key {
                "kind" => map.serialize_entry(key, &self.kind)?,
                "epochs" => map.serialize_entry(key, &self.epochs)?,
                "optimizer" => map.serialize_entry(key, &self.optimizer)?,
                "schedule" => map.serialize_entry(key, &self.schedule)?,
                "clip" => map.serialize_entry(key, &self.clip)?,
                "label_smoothing" => map.serialize_entry(key, &self.label_smoothing)?,
                "dropout" => map.serialize_entry(key, &self.dropout)?,
                "start" => map.serialize_entry(key, &self.start)?,
                "teacher" => map.serialize_entry(key, &self.teacher)?,
                "distill" => map.serialize_entry(key, &self.distill)?,
                "ema" => map.serialize_entry(key, &self.ema)?,
                "statistics" => map.serialize_entry(key, &self.statistics)?,
                "augment" => {
                    if let Some(augment) = &self.augment {
                        map.serialize_entry(key, augment)?;
                    }
                }
                "keep" => map.serialize_entry(key, &self.keep)?,
                "range_weight" => map.serialize_entry(key, &self.range_weight)?,
                "interval" => map.serialize_entry(key, &self.interval)?,
                "clamp" => map.serialize_entry(key, &self.clamp)?,
                "clamp_off" => map.serialize_entry(key, &self.clamp_off)?,
                "coef_lr" => map.serialize_entry(key, &self.coef_lr)?,
                "margin" => map.serialize_entry(key, &self.margin)?,
                "ramp" => map.serialize_entry(key, &self.ramp)?,
                "order" => map.serialize_entry(key, &self.order)?,
                "operators" => map.serialize_entry(key, &self.operators)?,
                _ => {}
            }
        }
        map.end()
    }
}

/// Read phase number `index`.
pub(super) fn read(node: &Node, index: usize, mistakes: &mut Mistakes) -> Option<PhaseSettings> {
    let path = format!("phases[{index}]");
    let kind = {
        let every = keys(PhaseKind::Replace);
        // The kind decides which keys are known, so it is read first, and its own mistakes are kept.
        let mut probe_mistakes = Mistakes::new();
        let mut probe = Section::open(Some(node), &path, &every, &mut probe_mistakes);
        let kind = probe.choice_or_none("kind", &PhaseKind::ALL);
        if kind.is_none() && !probe.has("kind") {
            let help = "write `kind: pretrain`, `range_aware`, `replace` or `polish`";
            probe.add(Some(node.at), "kind", "is missing".into(), help);
        }
        if kind.is_none() {
            mistakes.append(&mut probe_mistakes);
        }
        kind?
    };
    let mut s = Section::open(Some(node), &path, &keys(kind), mistakes);
    let polynomial = kind.ends_polynomial();
    let positive = |v: f64| v > 0.0;
    let share = |v: f64| (0.0..=1.0).contains(&v);
    if !s.has("epochs") {
        s.add(
            Some(node.at),
            "epochs",
            "is missing".into(),
            "write `epochs: 10`, the passes over the training data",
        );
    }
    let epochs = s.whole("epochs", 1, 1, 100_000) as usize;
    let default_lr = match kind {
        PhaseKind::Pretrain => 2e-3,
        PhaseKind::RangeAware | PhaseKind::Replace => 1e-3,
        PhaseKind::Polish => 2e-4,
    };
    let optimizer = optimizer(&mut s, default_lr);
    let schedule = schedule(&mut s);
    let clip = s.real("clip", 1.0, |v| v >= 0.0, "a number of at least 0 (0: no clipping)");
    let label_smoothing =
        s.real("label_smoothing", 0.0, |v| (0.0..1.0).contains(&v), "a number from 0 to below 1");
    let dropout = s.real("dropout", 0.0, |v| (0.0..1.0).contains(&v), "a number from 0 to below 1");
    let default_weight = if kind == PhaseKind::Pretrain { 0.0 } else { 0.01 };
    let range_weight = s.real("range_weight", default_weight, |v| v >= 0.0, "a number of at least 0");
    let interval = interval(&mut s, kind);
    let margin = s.real("margin", 1.5, |v| v >= 1.0, "a number of at least 1");
    let ramp_need = "a number from 0 to 1, the share of the phase over which originals become polynomials";
    let ramp = s.real("ramp", 0.35, share, ramp_need);
    let order = s
        .choice_or_none(
            "order",
            &[
                ("together", Order::Together),
                ("last_first", Order::LastFirst),
                ("first_last", Order::FirstLast),
            ],
        )
        .unwrap_or(Order::Together);
    let every = Operator::ALL.map(|(_, kind)| kind);
    let operators = s.choices_or_none("operators", &Operator::ALL).unwrap_or_else(|| every.to_vec());
    let coef_lr = s.real("coef_lr", 0.1, positive, "a number above 0, the factor on the learning rate");
    let start = start(&mut s, kind);
    let teacher = teacher(&mut s, kind);
    let distill = distill(&mut s);
    let clamp = s.real_or_none("clamp", positive, "a number above 0");
    let clamp_off = s.real(
        "clamp_off",
        CLAMP_OFF,
        share,
        "a number from 0 to 1, the share of the phase after which the clamp goes",
    );
    // Phases are written with their defaults, and read again.
    if clamp.is_none() && clamp_off != CLAMP_OFF {
        let help = "say what values are clamped to, such as `clamp: 10`, or leave it out";
        s.reject("clamp_off", "has no effect without `clamp`".into(), help);
    }
    let ema = s.real_or_none("ema", |v| v > 0.0 && v < 1.0, "a number between 0 and 1, such as 0.999");
    let of = [("batch", Statistics::Batch), ("fixed", Statistics::Fixed)];
    let statistics = s.choice_or_none("statistics", &of).unwrap_or(Statistics::Batch);
    let augment = s.has("augment").then(|| augment(&mut s));
    let keep = s.choice_or_none("keep", &[("best", KeepSetting::Best), ("last", KeepSetting::Last)]);
    Some(PhaseSettings {
        kind,
        epochs,
        optimizer,
        schedule,
        clip,
        label_smoothing,
        dropout,
        range_weight,
        interval,
        margin,
        ramp: if kind == PhaseKind::Replace { ramp } else { 0.0 },
        order,
        operators,
        coef_lr: if polynomial { coef_lr } else { 1.0 },
        start,
        teacher,
        distill,
        clamp,
        clamp_off,
        ema,
        statistics,
        augment,
        keep: keep.unwrap_or(KeepSetting::Best),
    })
}

fn optimizer(s: &mut Section<'_>, default_lr: f64) -> OptimizerSettings {
    let mut o = s.group("optimizer", &["kind", "lr", "momentum", "weight_decay"]);
    let kind = o
        .choice_or_none(
            "kind",
            &[("adam", OptimizerKind::Adam), ("adamw", OptimizerKind::Adamw), ("sgd", OptimizerKind::Sgd)],
        )
        .unwrap_or(OptimizerKind::Adamw);
    OptimizerSettings {
        kind,
        lr: o.real("lr", default_lr, |v| v > 0.0, "a number above 0"),
        momentum: o.real("momentum", 0.9, |v| (0.0..1.0).contains(&v), "a number from 0 to below 1"),
        weight_decay: o.real("weight_decay", 5e-4, |v| v >= 0.0, "a number of at least 0"),
    }
}

fn schedule(s: &mut Section<'_>) -> ScheduleSettings {
    let mut g = s.group("schedule", &["kind", "warmup"]);
    let kinds = [
        ("cosine", ScheduleKind::Cosine),
        ("one_cycle", ScheduleKind::OneCycle),
        ("constant", ScheduleKind::Constant),
        ("step", ScheduleKind::Step),
    ];
    let kind = g.choice_or_none("kind", &kinds).unwrap_or(ScheduleKind::Cosine);
    let default = if kind == ScheduleKind::OneCycle { 0.3 } else { 0.05 };
    let warmup = g.real(
        "warmup",
        default,
        |v| (0.0..1.0).contains(&v),
        "a number from 0 to below 1, a share of the phase",
    );
    ScheduleSettings { kind, warmup }
}

fn interval(s: &mut Section<'_>, kind: PhaseKind) -> Option<[f64; 2]> {
    let default = (kind == PhaseKind::RangeAware).then_some([-8.0, 8.0]);
    let need = "two numbers, the lower first: `[-8, 8]`";
    match s.reals_or_none("interval", need).as_deref() {
        Some(&[lo, hi]) if lo < hi => {
            if lo > 0.0 || hi < 0.0 {
                let what = format!("needs an interval that holds 0, found [{}, {}]", plain(lo), plain(hi));
                s.reject("interval", what, "activations see both signs; use for example `[-8, 8]`");
            }
            Some([lo, hi])
        }
        Some(&[lo, hi]) => {
            let help = if lo > hi { [hi, lo] } else { [-8.0, 8.0] }.map(plain);
            let what = format!("needs {need}, found [{}, {}]", plain(lo), plain(hi));
            s.reject("interval", what, format!("write `[{}, {}]`", help[0], help[1]));
            default
        }
        Some(other) => {
            let what = format!("needs {need}, found {} numbers", other.len());
            s.reject("interval", what, "write `[-8, 8]`");
            default
        }
        None => default,
    }
}

/// `run:NAME` or `file:PATH`.
fn outside(text: &str) -> Option<OtherNetwork> {
    match text.split_once(':') {
        Some(("run", name)) if !name.trim().is_empty() => Some(OtherNetwork::Run(name.trim().into())),
        Some(("file", path)) if !path.trim().is_empty() => Some(OtherNetwork::File(path.trim().into())),
        _ => None,
    }
}

fn start(s: &mut Section<'_>, kind: PhaseKind) -> OtherNetwork {
    let (need, help) = match kind {
        PhaseKind::Pretrain => (
            "`none`, `run:NAME` or `file:PATH`",
            "name a run or a file of weights of the same architecture; its last layer is not taken",
        ),
        PhaseKind::Polish => (
            "`none` or `run:NAME`",
            "name a run of the same architecture; its polynomial network is taken, but for the last layer",
        ),
        PhaseKind::RangeAware | PhaseKind::Replace => return OtherNetwork::None,
    };
    match s.text_or_none("start", need) {
        None => OtherNetwork::None,
        Some(text) if text == "none" => OtherNetwork::None,
        Some(text) => match outside(&text) {
            Some(OtherNetwork::File(_)) | None if kind == PhaseKind::Polish => {
                s.reject("start", format!("needs {need}, found `{text}`"), help);
                OtherNetwork::None
            }
            Some(network) => network,
            None => {
                s.reject("start", format!("needs {need}, found `{text}`"), help);
                OtherNetwork::None
            }
        },
    }
}

fn teacher(s: &mut Section<'_>, kind: PhaseKind) -> OtherNetwork {
    let default = if kind == PhaseKind::Pretrain { OtherNetwork::None } else { OtherNetwork::Previous };
    let need = "`none`, `previous`, `run:NAME` or `file:PATH`";
    let Some(text) = s.text_or_none("teacher", need) else { return default };
    if let Some(outside) = outside(&text) {
        return outside;
    }
    match text.as_str() {
        "none" => OtherNetwork::None,
        "previous" if kind == PhaseKind::Pretrain => {
            s.reject(
                "teacher",
                "there is no phase before pretraining".into(),
                "use `none`, `run:NAME` or `file:PATH`",
            );
            default
        }
        "previous" => OtherNetwork::Previous,
        _ => {
            s.reject(
                "teacher",
                format!("needs {need}, found `{text}`"),
                "`previous` is the original network of the phases before, or who taught the first of them",
            );
            default
        }
    }
}

fn distill(s: &mut Section<'_>) -> DistillSettings {
    let mut d = s.group("distill", &["temperature", "weight", "features", "attention"]);
    DistillSettings {
        temperature: d.real("temperature", 4.0, |v| v > 0.0, "a number above 0"),
        weight: d.real(
            "weight",
            0.9,
            |v| (0.0..=1.0).contains(&v),
            "a number from 0 to 1, the teacher's share of the loss",
        ),
        features: d.real("features", 0.0, |v| v >= 0.0, "a number of at least 0"),
        attention: d.real("attention", 0.0, |v| v >= 0.0, "a number of at least 0"),
    }
}
