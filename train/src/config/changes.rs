//! In which settings two configurations train something different.

use std::collections::BTreeSet;

use serde_json::Value;

use he_infer::plan::Bootstrapping;

use super::{model::*, tree::plain};

impl RunConfig {
    /// The configuration with everything that does not decide what is trained (name, checkpoint times, the encrypted run,
    /// verification) set to what it is by default.
    pub(super) fn decisive(&self) -> Self {
        Self {
            name: String::new(),
            checkpoint: CheckpointSettings { minutes: 5.0, steps: None },
            he: HeSettings {
                security: 128,
                bootstrap: Bootstrapping::Auto,
                precision_bits: 12,
                layout: LayoutKind::Image,
                input: InputKind::Sample,
            },
            verify: None,
            ..self.clone()
        }
    }

    /// Every setting in which `now` trains something else than this configuration, with both values:
    /// `` `phases[1].epochs` (20, now 25) ``. Nothing when both train the same, or `now` goes on with further phases.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let (old, mut now) = (self.decisive(), now.decisive());
        if now.phases.starts_with(&old.phases) {
            now.phases.truncate(old.phases.len());
        }
        let mut found = Vec::new();
        if old != now {
            let value = |config| serde_json::to_value(config).unwrap_or_default();
            compare("", &value(&old), &value(&now), &mut found);
        }
        found
    }
}

fn compare(path: &str, old: &Value, now: &Value, found: &mut Vec<String>) {
    match (old, now) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let at = |group: &serde_json::Map<String, Value>| group.get(key).cloned().unwrap_or_default();
                compare(&path, &at(a), &at(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let at = |list: &[Value]| list.get(i).cloned().unwrap_or_default();
                compare(&format!("{path}[{i}]"), &at(a), &at(b), found);
            }
        }
        _ if old == now => {}
        _ => found.push(format!("`{path}` ({}, now {})", shown(old), shown(now))),
    }
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Object(_) => "a group of settings".into(),
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => n.as_f64().map(plain).unwrap_or_default(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
name: a
model: { name: cnn-s }
data: { name: digits, batch: 16 }
phases:
  - { kind: pretrain, epochs: 4 }
  - { kind: replace, epochs: 5, interval: [-6, 6] }
";

    fn read(text: &str) -> RunConfig {
        RunConfig::parse(text, "t", &[]).unwrap()
    }

    #[test]
    fn only_what_is_trained_counts() {
        let other = RUN.replace("name: a", "name: b\nhe: { precision_bits: 9, layout: batch }\nverify: {}");
        assert_eq!(read(RUN).changes(&read(&other)), Vec::<String>::new());
        assert_eq!(read(RUN).digest().unwrap(), read(&other).digest().unwrap());
    }

    #[test]
    fn changed_settings_are_named_with_both_values() {
        let other = RUN.replace("epochs: 5", "epochs: 7").replace("-6, 6", "-1e308, 6") + "seed: 9\n";
        let found = read(RUN).changes(&read(&other));
        let parts = [
            "`phases[1].epochs` (5, now 7)",
            "`phases[1].interval[0]` (-6, now -1e308)",
            "`seed` (1, now 9)",
        ];
        assert_eq!(found, parts);
        let shorter = RUN.replace("  - { kind: replace, epochs: 5, interval: [-6, 6] }\n", "");
        assert_eq!(read(RUN).changes(&read(&shorter)), ["`phases[1]` (a group of settings, now nothing)"]);
    }
}
