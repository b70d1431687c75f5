//! Letters and numbers: what a language model by character reads and writes.

use anyhow::{Context as _, bail};
use hetrain_export::Artifact;

/// The letters of a model, in the order of its channels and of its classes.
pub struct Alphabet {
    letters: Vec<char>,
    /// Positions the model reads at once.
    length: usize,
}

impl Alphabet {
    /// That of a language model.
    ///
    /// # Errors
    /// A model that reads something else.
    pub fn of(artifact: &Artifact) -> anyhow::Result<Self> {
        let names = &artifact.provenance.classes;
        let letters: Option<Vec<char>> = names.iter().map(|name| unescaped(name)).collect();
        match (letters, artifact.graph.input_shape()) {
            (Some(letters), &[channels, length, 1]) if channels == letters.len() => {
                Ok(Self { letters, length })
            }
            (_, shape) => bail!(
                "the model of run `{}` takes images {shape:?}, not text\n  help: name a language model, such as one trained with `model: {{ name: gpt }}`",
                artifact.provenance.run
            ),
        }
    }

    /// Positions the model reads at once.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The letter of a class.
    pub fn letter(&self, class: usize) -> Option<char> {
        self.letters.get(class).copied()
    }

    /// What stands where there is no text: a line break, or the first letter of a model that does not know one.
    pub fn blank(&self) -> char {
        self.letters.iter().copied().find(|l| *l == '\n').or(self.letters.first().copied()).unwrap_or('\n')
    }

    /// Letters it has.
    pub fn letters(&self) -> usize {
        self.letters.len()
    }

    /// The classes of the letters of `text`; of those never seen that of the unknown, if the model has it.
    ///
    /// # Errors
    /// An empty text, a letter the model has never seen and has no stand-in for.
    pub fn classes(&self, text: &str) -> anyhow::Result<Vec<u16>> {
        let known = |letter: char| self.letters.iter().position(|l| *l == letter);
        let class = |(place, letter)| match known(letter).or_else(|| known(char::REPLACEMENT_CHARACTER)) {
            Some(class) => Ok(u16::try_from(class)?),
            None => bail!(
                "the text has {letter:?} at position {place}, which the model has never seen\n  help: it knows {}",
                self.letters.iter().collect::<String>().escape_debug()
            ),
        };
        let classes: Vec<u16> = text.chars().enumerate().map(class).collect::<anyhow::Result<_>>()?;
        if classes.is_empty() {
            bail!("the text is empty\n  help: give at least one letter for the model to go on from");
        }
        Ok(classes)
    }

    /// The classes at the positions of the window that ends `text`. What is missing before a shorter text is
    /// [`Alphabet::blank`].
    ///
    /// # Errors
    /// As [`Alphabet::classes`].
    pub fn window(&self, text: &str) -> anyhow::Result<Vec<u16>> {
        let classes = self.classes(text)?;
        let blank = self.classes(&self.blank().to_string())?;
        let missing = self.length.saturating_sub(classes.len());
        let seen = classes.iter().skip(classes.len().saturating_sub(self.length)).copied();
        Ok(blank.into_iter().cycle().take(missing).chain(seen).collect())
    }

    /// The input for the window that ends `text`: for each letter a channel, 1 where it stands.
    ///
    /// # Errors
    /// As [`Alphabet::classes`].
    pub fn encode(&self, text: &str) -> anyhow::Result<Vec<f64>> {
        let mut input = vec![0.0; self.letters.len() * self.length];
        for (position, class) in self.window(text)?.into_iter().enumerate() {
            let place = usize::from(class) * self.length + position;
            *input.get_mut(place).context("a letter out of place")? = 1.0;
        }
        Ok(input)
    }
}

/// The letter that `char::escape_default` made `name` of.
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
    fn letters_come_back_from_their_names() {
        for letter in ['a', ' ', '\n', '\t', '\'', '"', '\\', 'é', '語'] {
            assert_eq!(unescaped(&letter.escape_default().to_string()), Some(letter));
        }
        assert!(["", "cat", "\\x", "\\u{zz}"].iter().all(|name| unescaped(name).is_none()));
    }

    #[test]
    fn a_text_ends_where_the_window_does() {
        let alphabet = Alphabet { letters: vec!['\n', 'a', 'b'], length: 3 };
        assert_eq!(alphabet.encode("ab").unwrap(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(alphabet.encode("bbbaba").unwrap(), alphabet.encode("aba").unwrap());
        assert!(alphabet.encode("ac").unwrap_err().to_string().contains("'c' at position 1"));
        assert!(alphabet.encode("").is_err());
        let open = Alphabet { letters: vec!['a', char::REPLACEMENT_CHARACTER], length: 2 };
        assert_eq!(open.encode("az").unwrap(), [1.0, 0.0, 0.0, 1.0]);
    }
}
