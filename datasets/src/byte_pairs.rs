//! Byte-pair encoding (Sennrich, Haddow and Birch 2016, arXiv:1508.07909) of bytes (Radford et al. 2019): the two tokens that follow
//! each other most often become one, again and again.
//!
//! Tokens 0 to 255 are the bytes, so that no text has an unknown one. Token `256 + k` is made by merge `k` of two tokens before
//! it, and of those that could be made in a text the one with the smallest number is made first. No token reaches beyond a
//! word: letters, digits or signs with the space before them, or white space (the pattern of GPT-2).

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use tokenizers::{
    Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Trainer,
    models::bpe::{BPE, BpeTrainer, Vocab},
    pre_tokenizers::byte_level::ByteLevel,
};

use crate::DataError;

/// Most tokens there can be: their numbers have 16 bits.
pub(crate) const MOST: usize = 1 << 16;
/// Most bytes of a token. Merges name the merges before them, so that a few could make tokens of any length.
const LONGEST: usize = 64;
/// Bytes of a text that are cut into words at once, up to the next end of a line.
const PIECE: usize = 1 << 16;
/// Most bytes of a word to learn from: one of a megabyte (a text without spaces) would take hours.
const WORD: usize = 1 << 10;

/// A vocabulary of byte pairs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BytePairs {
    merges: Vec<[u16; 2]>,
    /// Bytes of each token.
    tokens: Vec<Vec<u8>>,
    model: BPE,
}

impl BytePairs {
    /// The `size` tokens of a text, or fewer if no others occur in it twice. The same text gives the same tokens.
    ///
    /// # Errors
    /// [`DataError::Vocabulary`]; none is known.
    pub(crate) fn learn(text: &str, size: usize) -> Result<Self, DataError> {
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(size)
            .min_frequency(2)
            .max_token_length(Some(LONGEST + 1))
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
            .build();
        let cut = |word: &String| -> Vec<String> {
            let letters: Vec<char> = word.chars().collect();
            letters.chunks(WORD).map(|part| part.iter().collect()).collect()
        };
        let feed = |piece: &str| Ok(words(piece)?.iter().flat_map(cut).collect());
        let mut model = BPE::default();
        trainer.feed(pieces(text), feed).and_then(|()| trainer.train(&mut model)).map_err(unexpected)?;
        let learned = serde_json::to_value(&model).and_then(Learned::deserialize);
        let learned = learned.map_err(|e| unexpected(e.into()))?;
        // The trainer numbers the bytes as their characters come.
        let mut numbers: HashMap<String, u16> =
            byte_characters().iter().map(char::to_string).zip(0u16..).collect();
        let mut merges = Vec::with_capacity(learned.merges.len());
        for (first, second) in learned.merges {
            let made = format!("{first}{second}");
            let (Some(&a), Some(&b)) = (numbers.get(&first), numbers.get(&second)) else { continue };
            if let Ok(next) = u16::try_from(numbers.len())
                && !numbers.contains_key(&made)
            {
                numbers.insert(made, next);
                merges.push([a, b]);
            }
        }
        Self::from_merges(&merges)
    }

    /// The vocabulary whose tokens these merges make.
    ///
    /// # Errors
    /// [`DataError::Vocabulary`] for merges of tokens that do not exist yet, and those that make a token twice or one that is too
    /// long.
    pub(crate) fn from_merges(merges: &[[u16; 2]]) -> Result<Self, DataError> {
        let wrong = |need: &str, found: String| Err(DataError::Vocabulary { need: need.into(), found });
        if merges.len() > MOST - 256 {
            return wrong("at most 65280 merges", format!("{} merges", merges.len()));
        }
        let letters = byte_characters();
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let mut names: Vec<String> = letters.iter().map(char::to_string).collect();
        let mut known: HashSet<String> = names.iter().cloned().collect();
        let mut pairs = Vec::with_capacity(merges.len());
        for (k, &[a, b]) in merges.iter().enumerate() {
            let halves = names.get(usize::from(a)).zip(names.get(usize::from(b)));
            let Some((first, second)) = halves else {
                return wrong("merges of tokens made before", format!("merge {k} of {a} and {b}"));
            };
            let (made, pair) = (format!("{first}{second}"), (first.clone(), second.clone()));
            let bytes: Vec<u8> =
                [a, b].iter().filter_map(|t| tokens.get(usize::from(*t))).flatten().copied().collect();
            if bytes.len() > LONGEST {
                let need = format!("tokens of at most {LONGEST} bytes");
                return wrong(&need, format!("{} made by merge {k}", bytes.len()));
            }
            if !known.insert(made.clone()) {
                return wrong("different tokens", format!("merge {k}, which makes one there is"));
            }
            names.push(made);
            tokens.push(bytes);
            pairs.push(pair);
        }
        // Every merge's halves and result are among the names, which the builder relies on.
        let vocabulary: Vocab = names.into_iter().zip(0..).collect();
        let model = BPE::builder().vocab_and_merges(vocabulary, pairs).build().map_err(unexpected)?;
        Ok(Self { merges: merges.to_vec(), tokens, model })
    }

    /// How the tokens after the bytes are made, each of two before it.
    pub(crate) fn merges(&self) -> &[[u16; 2]] {
        &self.merges
    }

    /// Bytes of each token.
    pub(crate) fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// [`DataError::Vocabulary`]; none is known.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u16>, DataError> {
        let mut tokens = Vec::new();
        for piece in pieces(text) {
            for word in words(piece).map_err(unexpected)? {
                let found = self.model.tokenize(&word).map_err(unexpected)?;
                // There are no more than 65 536.
                tokens.extend(found.iter().map(|token| token.id as u16));
            }
        }
        Ok(tokens)
    }
}

/// What of the trained model is needed.
#[derive(Deserialize)]
struct Learned {
    merges: Vec<(String, String)>,
}

/// The character by which each byte goes in the words of [`ByteLevel`].
fn byte_characters() -> [char; 256] {
    let mut others = (256..).filter_map(char::from_u32);
    std::array::from_fn(|byte| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte as u8),
        _ => others.next().unwrap_or_default(),
    })
}

/// A text in parts, each up to an end of a line: together they are the text, and each is cut into words by itself, which takes
/// many times its memory.
fn pieces(text: &str) -> impl Iterator<Item = &str> + Send {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.bytes().skip(PIECE).position(|byte| byte == b'\n').map(|at| PIECE + at + 1);
        let (piece, more) = rest.split_at(end.unwrap_or(rest.len()));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The words of a text, byte by byte in the characters of [`byte_characters`].
fn words(text: &str) -> tokenizers::Result<Vec<String>> {
    let mut cut = PreTokenizedString::from(text);
    ByteLevel::new(false, false, true).pre_tokenize(&mut cut)?;
    let words = cut.get_splits(OffsetReferential::Original, OffsetType::None);
    Ok(words.into_iter().map(|(word, ..)| word.to_owned()).collect())
}

/// What the crate `tokenizers` may say, though it has no reason to.
fn unexpected(error: tokenizers::Error) -> DataError {
    DataError::Vocabulary { need: "tokens that `tokenizers` accepts".into(), found: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "the cat and the hat: the cat's hat, that hat!\n\n  über straße, 語語\n";

    #[test]
    fn every_text_comes_back_from_its_tokens() {
        let pairs = BytePairs::learn(TEXT, 264).unwrap();
        assert_eq!(pairs, BytePairs::learn(TEXT, 264).unwrap());
        assert_eq!(pairs.tokens().len(), 264);
        assert_eq!(pairs.tokens()[256], b"at");
        let long = [&"x".repeat(3 * PIECE), "\n", &" \n".repeat(PIECE), TEXT].concat();
        for text in ["", TEXT, "never \u{0}seen\r\n\t 😀", &long] {
            let tokens = pairs.encode(text).unwrap();
            let bytes = tokens.iter().flat_map(|t| pairs.tokens()[usize::from(*t)].clone());
            assert_eq!(bytes.collect::<Vec<u8>>(), text.as_bytes());
        }
        // What was merged once is merged again, and no token crosses the end of a word.
        for (number, bytes) in pairs.tokens().iter().enumerate() {
            if let Ok(text) = std::str::from_utf8(bytes) {
                assert_eq!(pairs.encode(text).unwrap(), [number as u16], "{text:?}");
            }
        }
        assert!(pairs.tokens()[256..].iter().all(|t| !t[1..].contains(&b' ') || t.trim_ascii().is_empty()));
    }

    #[test]
    fn a_text_has_only_so_many_tokens_that_occur_twice() {
        assert_eq!(BytePairs::learn("", 300).unwrap().tokens().len(), 256);
        assert_eq!(BytePairs::learn("ab ab", 300).unwrap().tokens().len(), 257);
        // Of one long word too, in seconds.
        let word = "acgtca".repeat(50_000);
        let longest = BytePairs::learn(&word, 400).unwrap().tokens().iter().map(Vec::len).max();
        assert!(longest > Some(12) && longest <= Some(LONGEST), "{longest:?}");
    }

    #[test]
    fn merges_that_make_no_vocabulary_are_refused() {
        let refused = |merges: &[[u16; 2]]| BytePairs::from_merges(merges).unwrap_err().to_string();
        assert!(refused(&[[97, 98], [257, 97]]).contains("merge 1 of 257 and 97"));
        assert!(refused(&[[97, 98], [97, 98]]).contains("merge 1, which makes one there is"));
        assert!(refused(&[[97, 97], [256, 97], [97, 256]]).contains("merge 2"));
        let doubling: Vec<[u16; 2]> = (0..60).map(|k| if k == 0 { [0; 2] } else { [255 + k; 2] }).collect();
        assert!(refused(&doubling).contains("at most 64 bytes"));
        assert!(refused(&vec![[0, 0]; MOST]).contains("65280"));
    }
}
