//! Typed reading of one group of settings, which collects mistakes instead of stopping at the first.

use super::tree::{Node, Place, Value};

/// One mistake: where, what is needed, what was found, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was written; `None` when something is missing.
    pub at: Option<Place>,
    /// Full path of the setting: `phases[1].interval`.
    pub key: String,
    /// Need and finding, in one fragment.
    pub what: String,
    /// The remedy.
    pub help: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.key)?;
        if let Some(at) = self.at {
            write!(f, " ({at})")?;
        }
        write!(f, ": {}\n    help: {}", self.what, self.help)
    }
}

/// Mistakes found so far.
pub type Mistakes = Vec<Mistake>;

/// The known name that differs least from `name`, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k))
        .min_by_key(|(d, _)| *d)
        .filter(|(d, k)| *d <= 1 + k.len() / 3)
        .map(|(_, k)| k)
}

/// A group of settings under one path.
pub struct Section<'a> {
    node: Option<&'a Node>,
    path: String,
    mistakes: &'a mut Mistakes,
}

impl<'a> Section<'a> {
    /// Open the group `node` at `path`, whose settings are `keys`; every other key is a mistake.
    pub fn open(node: Option<&'a Node>, path: &str, keys: &[&str], mistakes: &'a mut Mistakes) -> Self {
        let mut section = Self { node, path: path.to_string(), mistakes };
        match node.map(|n| (&n.value, n.at)) {
            None => {}
            Some((Value::Map(entries), _)) => {
                for (key, value) in entries {
                    if !keys.contains(&key.as_str()) {
                        let help = match nearest(key, keys) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!("known here: {}", keys.join(", ")),
                        };
                        section.add(Some(value.at), key, "unknown setting".into(), help);
                    }
                }
            }
            Some((other, at)) => {
                let what = format!("needs a group of settings, found {other}");
                section.mistakes.push(Mistake {
                    at: Some(at),
                    key: path.to_string(),
                    what,
                    help: format!("write it as `{{ {}: … }}`", keys.first().unwrap_or(&"key")),
                });
                section.node = None;
            }
        }
        section
    }

    /// Report a mistake at `key`.
    pub fn add(&mut self, at: Option<Place>, key: &str, what: String, help: impl Into<String>) {
        let key = self.full(key);
        self.mistakes.push(Mistake { at, key, what, help: help.into() });
    }

    /// Report a mistake about the value at `key`, at the place it was written.
    pub fn reject(&mut self, key: &str, what: String, help: impl Into<String>) {
        let at = self.get(key).map(|n| n.at);
        self.add(at, key, what, help);
    }

    /// The value at `key`; an explicit null counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.and_then(|n| n.get(key)).filter(|n| !matches!(n.value, Value::Null))
    }

    /// Whether `key` was written.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Open the group under `key`.
    pub fn group(&mut self, key: &str, keys: &[&str]) -> Section<'_> {
        let path = self.full(key);
        Section::open(self.get(key), &path, keys, self.mistakes)
    }

    /// A whole number in `lo..=hi`.
    pub fn whole(&mut self, key: &str, default: u64, lo: u64, hi: u64) -> u64 {
        self.whole_or_none(key, lo, hi).unwrap_or(default)
    }

    /// A whole number in `lo..=hi`, if written.
    pub fn whole_or_none(&mut self, key: &str, lo: u64, hi: u64) -> Option<u64> {
        let node = self.get(key)?;
        let need = if hi == u64::MAX {
            format!("a whole number of at least {lo}")
        } else {
            format!("a whole number from {lo} to {hi}")
        };
        let found = match node.value {
            Value::Int(v) => u64::try_from(v).ok().filter(|v| (lo..=hi).contains(v)),
            _ => None,
        };
        if found.is_none() {
            self.wrong(key, node, &need);
        }
        found
    }

    /// A number for which `fits` holds; `need` says in words what fits.
    pub fn real(&mut self, key: &str, default: f64, fits: impl Fn(f64) -> bool, need: &str) -> f64 {
        self.real_or_none(key, fits, need).unwrap_or(default)
    }

    /// A number for which `fits` holds, if written.
    pub fn real_or_none(&mut self, key: &str, fits: impl Fn(f64) -> bool, need: &str) -> Option<f64> {
        let node = self.get(key)?;
        let found = number(node).filter(|v| v.is_finite() && fits(*v));
        if found.is_none() {
            self.wrong(key, node, need);
        }
        found
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(node) = self.get(key) else { return default };
        if let Value::Bool(v) = node.value {
            return v;
        }
        self.wrong(key, node, "true or false");
        default
    }

    /// Text, if written; a number or truth value is not taken for text.
    pub fn text_or_none(&mut self, key: &str, need: &str) -> Option<String> {
        let node = self.get(key)?;
        if let Value::Text(v) = &node.value
            && !v.trim().is_empty()
        {
            return Some(v.clone());
        }
        self.wrong(key, node, need);
        None
    }

    /// One of a few names, if written.
    pub fn choice_or_none<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let names: Vec<&str> = choices.iter().map(|c| c.0).collect();
        if let Value::Text(v) = &node.value {
            if let Some(c) = choices.iter().find(|c| c.0 == v.as_str()) {
                return Some(c.1);
            }
            let help = match nearest(v, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write one of {}", names.join(", ")),
            };
            self.reject(key, format!("needs one of {}, found `{v}`", names.join(", ")), help);
        } else {
            self.wrong(key, node, &format!("one of {}", names.join(", ")));
        }
        None
    }

    /// Some of a few names, if written.
    pub fn choices_or_none<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        let node = self.get(key)?;
        let names: Vec<&str> = choices.iter().map(|c| c.0).collect();
        let one = |item: &Node| match &item.value {
            Value::Text(v) => choices.iter().find(|c| c.0 == v.as_str()).map(|c| c.1),
            _ => None,
        };
        if let Value::List(items) = &node.value
            && let Some(found) = items.iter().map(one).collect::<Option<Vec<T>>>().filter(|f| !f.is_empty())
        {
            return Some(found);
        }
        self.wrong(key, node, &format!("a list of some of {}", names.join(", ")));
        None
    }

    /// A list of numbers, if written.
    pub fn reals_or_none(&mut self, key: &str, need: &str) -> Option<Vec<f64>> {
        let node = self.get(key)?;
        if let Value::List(items) = &node.value {
            let found: Option<Vec<f64>> = items.iter().map(number).collect();
            if let Some(v) = found.filter(|v| !v.is_empty() && v.iter().all(|x| x.is_finite())) {
                return Some(v);
            }
        }
        self.wrong(key, node, need);
        None
    }

    /// Report that the value at `key` is not what is needed.
    pub fn wrong(&mut self, key: &str, node: &Node, need: &str) {
        let what = format!("needs {need}, found {}", node.value);
        self.add(Some(node.at), key, what, format!("change `{key}` to {need}"));
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Int(v) => Some(v as f64),
        Value::Real(v) => Some(v),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("epoch", &["epochs", "clip"]), Some("epochs"));
        assert_eq!(nearest("lable_smoothing", &["label_smoothing", "clip"]), Some("label_smoothing"));
        assert_eq!(nearest("zzz", &["epochs", "clip"]), None);
    }

    #[test]
    fn all_mistakes_of_a_section_are_kept() {
        let node = Node::parse("epochs: -3\nclipp: 1\nflip: maybe\n", "t").unwrap();
        let mut mistakes = Vec::new();
        let mut s = Section::open(Some(&node), "phases[0]", &["epochs", "clip", "flip"], &mut mistakes);
        assert_eq!(s.whole("epochs", 5, 1, u64::MAX), 5);
        assert!(!s.flag("flip", false));
        let text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3);
        assert!(text[0].contains("phases[0].clipp") && text[0].contains("did you mean `clip`"), "{text:?}");
        assert!(text[1].contains("line 1") && text[1].contains("found -3"), "{text:?}");
    }
}
