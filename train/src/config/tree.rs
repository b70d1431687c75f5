//! A YAML document as a tree in which every value knows where it was written.
//!
//! Typed deserialisation stops at the first mistake. A run configuration is read from this tree instead, so that one
//! run of the program reports every mistake with its line, and `--set a.b=c` can change any value before it is typed.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::ConfigError;

/// Where a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file; line and column count from 1.
    File {
        /// Line.
        line: u64,
        /// Column.
        column: u64,
    },
    /// On the command line, with `--set`.
    Override,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { line, column } => write!(f, "line {line}, column {column}"),
            Self::Override => f.write_str("--set"),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub at: Place,
}

/// The kinds of YAML values.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Real(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Node)>),
}

/// A number as one would write it: `6`, `0.35`, `1e308`.
pub fn plain(x: f64) -> String {
    format!("{x:?}").trim_end_matches(".0").to_string()
}

impl fmt::Display for Value {
    /// The value as a message shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Real(v) => f.write_str(&plain(*v)),
            Self::Text(v) => write!(f, "the text `{v}`"),
            Self::List(v) => {
                let items: Vec<String> = v.iter().map(|n| n.value.to_string()).collect();
                write!(f, "the list [{}]", items.join(", "))
            }
            Self::Map(_) => f.write_str("a group of settings"),
        }
    }
}

impl Node {
    /// Read a document. An empty one is an empty mapping.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] with the position.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let spanned: Spanned<Value> = serde_saphyr::from_str(text)
            .map_err(|e| ConfigError::Syntax { origin: origin.into(), why: e.to_string() })?;
        let node = Self::from(spanned);
        Ok(if matches!(node.value, Value::Null) {
            Self { value: Value::Map(Vec::new()), ..node }
        } else {
            node
        })
    }

    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Apply one `--set path=value`: `data.batch=32`, `phases.1.epochs=3`. The value is YAML.
    ///
    /// # Errors
    /// [`ConfigError::Override`] for text without `=`, a list entry that does not exist, or a path through a plain value.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let bad = |why: String| ConfigError::Override { assignment: assignment.into(), why };
        let (path, text) = assignment.split_once('=').ok_or_else(|| bad("there is no `=`".into()))?;
        let mut value = Self::parse(text, assignment)?;
        if text.trim().is_empty() {
            value.value = Value::Null;
        }
        value.move_to(Place::Override);
        let mut here = self;
        for part in path.split('.') {
            if part.is_empty() {
                return Err(bad("the path has an empty part".into()));
            }
            here = match &mut here.value {
                Value::List(items) => {
                    let count = items.len();
                    part.parse::<usize>().ok().and_then(|i| items.get_mut(i)).ok_or_else(|| {
                        bad(format!("`{part}` is no entry of the list, which has {count}, counted from 0"))
                    })?
                }
                Value::Map(entries) => {
                    let index = entries.iter().position(|(k, _)| k == part).unwrap_or_else(|| {
                        let empty = Self { value: Value::Map(Vec::new()), at: Place::Override };
                        entries.push((part.to_string(), empty));
                        entries.len() - 1
                    });
                    entries.get_mut(index).map(|(_, v)| v).ok_or_else(|| bad("the entry vanished".into()))?
                }
                other => return Err(bad(format!("there is {other} where `{part}` would be looked for"))),
            };
        }
        *here = value;
        Ok(())
    }

    fn move_to(&mut self, at: Place) {
        self.at = at;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|n| n.move_to(at)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, n)| n.move_to(at)),
            _ => {}
        }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(s: Spanned<Value>) -> Self {
        let at = Place::File { line: s.referenced.line(), column: s.referenced.column() };
        Self { value: s.value, at }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
                Ok(Value::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
                Ok(Value::Int(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
                Ok(Value::Int(v.into()))
            }
            fn visit_i128<E>(self, v: i128) -> Result<Value, E> {
                Ok(Value::Int(v))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
                Ok(Value::Real(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Value, E> {
                Ok(Value::Text(v.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
                Value::deserialize(d)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Spanned<Value>>()? {
                    items.push(item.into());
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    entries.push((key, map.next_value::<Spanned<Value>>()?.into()));
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines() {
        let root = Node::parse("name: x\ndata:\n  batch: 64\n  mean: [0.5, 1]\n", "t").unwrap();
        let batch = root.get("data").unwrap().get("batch").unwrap();
        assert!(matches!(batch.value, Value::Int(64)));
        assert!(matches!(batch.at, Place::File { line: 3, .. }), "{:?}", batch.at);
        assert_eq!(root.get("data").unwrap().get("mean").unwrap().value.to_string(), "the list [0.5, 1]");
    }

    #[test]
    fn numbers_are_shown_as_one_would_write_them() {
        assert_eq!([6.0, 0.35, -1e308, 2e-9, 100.0].map(plain), ["6", "0.35", "-1e308", "2e-9", "100"]);
    }

    #[test]
    fn an_override_reaches_into_lists_and_makes_missing_groups() {
        let mut root = Node::parse("phases:\n  - {kind: pretrain, epochs: 3}\n", "t").unwrap();
        root.set("phases.0.epochs=7").unwrap();
        root.set("he.precision_bits=10").unwrap();
        let Value::List(phases) = &root.get("phases").unwrap().value else { panic!() };
        assert!(matches!(phases[0].get("epochs").unwrap().value, Value::Int(7)));
        assert_eq!(root.get("he").unwrap().get("precision_bits").unwrap().at, Place::Override);
        assert!(root.set("phases.4.epochs=7").unwrap_err().to_string().contains("which has 1"));
        assert!(root.set("nonsense").is_err());
    }
}
