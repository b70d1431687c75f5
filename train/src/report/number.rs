//! Numbers in JSON that may be infinite or NaN: those become words, since a lost NaN would hide a failed run.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Write a number, or its word.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { value.serialize(serializer) } else { serializer.collect_str(value) }
}

/// Read a number or its word.
///
/// # Errors
/// A word that is no number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Number::deserialize(deserializer)?.value()
}

/// A number, or the word for one that JSON cannot hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Word(String),
}

impl Number {
    fn value<E: Error>(self) -> Result<f64, E> {
        match self {
            Self::Finite(value) => Ok(value),
            Self::Word(word) => word.parse().map_err(|_| E::custom(format!("`{word}` is no number"))),
        }
    }
}

/// The same for numbers that may be absent.
pub mod option {
    use super::{Deserialize, Deserializer, Error as _, Number, Serializer};

    /// Write a number, its word, or null.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Read a number, its word, or null.
    ///
    /// # Errors
    /// A word that is no number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::<Number>::deserialize(deserializer)
            .map_err(|e| D::Error::custom(format!("needs a number or null: {e}")))?
            .map(Number::value)
            .transpose()
    }
}
