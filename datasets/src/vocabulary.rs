//! Numbers for what a text is made of: its characters, or tokens of several.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{
    DataError, ImageSet,
    byte_pairs::{BytePairs, MOST},
};

/// Stands for every rare character.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// What the channels and the classes of a text stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Characters(Vec<char>),
    BytePairs(Box<BytePairs>),
}

impl Vocabulary {
    /// The characters that count, in order: those `seen` has at least `rare` times, and one for all others. Where every character
    /// counts (`rare` of 1), those of `test` do too.
    pub(crate) fn of_characters(seen: &str, test: &str, rare: usize) -> Self {
        let mut counts: BTreeMap<char, usize> = BTreeMap::new();
        seen.chars().for_each(|c| *counts.entry(c).or_default() += 1);
        if rare <= 1 {
            // Nothing is unknown: the test's characters are the text's.
            test.chars().for_each(|c| *counts.entry(c).or_default() += 1);
        } else {
            let before = counts.len();
            counts.retain(|_, count| *count >= rare);
            if counts.len() < before || test.chars().any(|c| !counts.contains_key(&c)) {
                counts.insert(UNKNOWN, rare);
            }
        }
        Self(Kind::Characters(counts.into_keys().collect()))
    }

    /// `size` tokens of bytes that often follow each other in `text`; fewer, if it has no more.
    ///
    /// # Errors
    /// [`DataError::Vocabulary`]; none is known.
    pub(crate) fn of_byte_pairs(text: &str, size: usize) -> Result<Self, DataError> {
        Ok(Self(Kind::BytePairs(BytePairs::learn(text, size)?.into())))
    }

    /// The vocabulary of these [`names`](Self::names) and [`merges`](Self::merges); `None` if they are no names of a text's
    /// characters.
    ///
    /// # Errors
    /// [`DataError::Vocabulary`] for merges that make no tokens, or others than the names say.
    pub fn from_parts(names: &[String], merges: &[[u16; 2]]) -> Result<Option<Self>, DataError> {
        if merges.is_empty() {
            // Their numbers have 16 bits.
            if names.len() >= MOST {
                return Ok(None);
            }
            let characters: Option<Vec<char>> = names.iter().map(|name| unescaped(name)).collect();
            return Ok(characters.map(|all| Self(Kind::Characters(all))));
        }
        let made = Self(Kind::BytePairs(BytePairs::from_merges(merges)?.into()));
        let own = made.names();
        if let Some(token) = (0..own.len().max(names.len())).find(|i| own.get(*i) != names.get(*i)) {
            let said = |names: &[String]| names.get(token).map_or("none".into(), |name| format!("`{name}`"));
            let need = format!("token {token} as its merges make it, {}", said(&own));
            return Err(DataError::Vocabulary { need, found: said(names) });
        }
        Ok(Some(made))
    }

    /// One name for each, in order, escaped as in source code; different ones for different tokens.
    pub fn names(&self) -> Vec<String> {
        match &self.0 {
            Kind::Characters(all) => all.iter().map(|c| c.escape_default().to_string()).collect(),
            Kind::BytePairs(pairs) => pairs.tokens().iter().map(|bytes| escaped(bytes)).collect(),
        }
    }

    /// Of tokens, how those after the 256 bytes are made, each of two before it; empty of characters.
    pub fn merges(&self) -> &[[u16; 2]] {
        match &self.0 {
            Kind::Characters(_) => &[],
            Kind::BytePairs(pairs) => pairs.merges(),
        }
    }

    /// Whether each stands for one character.
    pub fn is_of_characters(&self) -> bool {
        matches!(self.0, Kind::Characters(_))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Characters(all) => all.len(),
            Kind::BytePairs(pairs) => pairs.tokens().len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of a text; of a character never seen that of the unknown one, if there is one.
    ///
    /// # Errors
    /// [`DataError::UnknownCharacter`]; never of tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u16>, DataError> {
        let characters = match &self.0 {
            Kind::Characters(all) => all,
            Kind::BytePairs(pairs) => return pairs.encode(text),
        };
        let numbers: BTreeMap<char, u16> = characters.iter().copied().zip(0..).collect();
        let unknown = numbers.get(&UNKNOWN);
        let number = |(place, character)| {
            let known = || characters.iter().collect::<String>().escape_debug().to_string();
            let number = numbers.get(&character).or(unknown).copied();
            number.ok_or_else(|| DataError::UnknownCharacter { character, place, known: known() })
        };
        text.chars().enumerate().map(number).collect()
    }

    /// What a number stands for, in UTF-8, of a token perhaps a part of a character; `None` past the end.
    pub fn bytes(&self, number: u16) -> Option<Cow<'_, [u8]>> {
        match &self.0 {
            Kind::Characters(all) => {
                all.get(usize::from(number)).map(|c| Cow::Owned(c.to_string().into_bytes()))
            }
            Kind::BytePairs(pairs) => {
                pairs.tokens().get(usize::from(number)).map(|bytes| Cow::Borrowed(bytes.as_slice()))
            }
        }
    }

    /// The number of what stands where there is no text: a line break, or the first character where there is none.
    pub fn blank(&self) -> u16 {
        match &self.0 {
            Kind::Characters(all) => all.iter().position(|c| *c == '\n').unwrap_or_default() as u16,
            Kind::BytePairs(_) => u16::from(b'\n'),
        }
    }

    /// Characters of the text for each label of `set`, on average; `None` where each is one.
    ///
    /// What a model loses at a token, divided by this, is what it loses at a character, which models of different tokens can be
    /// compared by.
    pub fn characters_per_token(&self, set: &ImageSet) -> Option<f64> {
        let some = !self.is_of_characters() && !set.labels.is_empty();
        some.then(|| self.characters(&set.labels) as f64 / set.labels.len() as f64)
    }

    /// Characters of the text that these numbers stand for: as many as begin in it.
    pub fn characters(&self, numbers: &[u16]) -> usize {
        match &self.0 {
            Kind::Characters(_) => numbers.len(),
            Kind::BytePairs(pairs) => {
                let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
                let counts: Vec<usize> =
                    pairs.tokens().iter().map(|t| t.iter().filter(begins).count()).collect();
                numbers.iter().filter_map(|n| counts.get(usize::from(*n))).sum()
            }
        }
    }
}

/// Bytes as in source code; every other sequence of bytes gives another.
fn escaped(bytes: &[u8]) -> String {
    let mut name = String::new();
    for chunk in bytes.utf8_chunks() {
        name.extend(chunk.valid().chars().flat_map(char::escape_default));
        name.extend(chunk.invalid().iter().copied().flat_map(std::ascii::escape_default).map(char::from));
    }
    name
}

/// The character that `char::escape_default` made `name` of.
fn unescaped(name: &str) -> Option<char> {
    let mut letters = name.chars();
    let one = match (letters.next()?, letters.next()) {
        (letter, None) => return Some(letter),
        ('\\', Some('n')) => '\n',
        ('\\', Some('r')) => '\r',
        ('\\', Some('t')) => '\t',
        ('\\', Some(letter @ ('\\' | '\'' | '"'))) => letter,
        ('\\', Some('u')) => {
            let code = name.strip_prefix("\\u{")?.strip_suffix('}')?;
            return char::from_u32(u32::from_str_radix(code, 16).ok()?);
        }
        _ => return None,
    };
    letters.next().is_none().then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_back_from_their_names() {
        for letter in ['a', ' ', '\n', '\t', '\'', '"', '\\', 'é', '語'] {
            assert_eq!(unescaped(&letter.escape_default().to_string()), Some(letter));
        }
        assert!(["", "cat", "\\x", "\\u{zz}"].iter().all(|name| unescaped(name).is_none()));
        let all = Vocabulary::of_characters("ba\nc", "é", 1);
        assert_eq!(Vocabulary::from_parts(&all.names(), &[]).unwrap(), Some(all.clone()));
        assert_eq!((all.encode("cab").unwrap(), all.blank()), (vec![3, 1, 2], 0));
        assert!(all.encode("ax").unwrap_err().to_string().contains("'x' at position 1"));
        assert_eq!(Vocabulary::from_parts(&["cat".into()], &[]).unwrap(), None);
    }

    #[test]
    fn tokens_come_back_from_their_merges_and_must_have_their_names() {
        let text = "die Größe der Größe, die Größe";
        let tokens = Vocabulary::of_byte_pairs(text, 265).unwrap();
        let mut names = tokens.names();
        assert_eq!((names.len(), tokens.merges().len()), (265, 9));
        assert_eq!([&names[10], &names[0x5c], &names[0xc3]], ["\\n", "\\\\", "\\xc3"]);
        assert_eq!(Vocabulary::from_parts(&names, tokens.merges()).unwrap(), Some(tokens.clone()));
        let numbers = tokens.encode(text).unwrap();
        assert!(numbers.len() < 20 && tokens.characters(&numbers) == text.chars().count());
        assert_eq!(tokens.characters(&tokens.encode("😀é").unwrap()), 2);
        assert!(Vocabulary::from_parts(&names[..264], tokens.merges()).is_err());
        names[260] = "a".into();
        let error = Vocabulary::from_parts(&names, tokens.merges()).unwrap_err().to_string();
        assert!(error.contains("token 260") && error.contains("found: `a`"), "{error}");
    }
}
