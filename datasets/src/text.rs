//! Text, character by character: windows of a fixed length, and for each position the character that follows.
//!
//! A window is an "image" of one column: a channel for each character of the vocabulary, a row for each position, 1 where the
//! character stands. Of one file the first nine tenths of the text are to learn from, the last tenth is for the test; of two, one is
//! for each. The last tenth of what is to learn from is to choose by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{
    DataError, DatasetConfig, ImageSet, Splits,
    config::setting,
    file,
    known::Known,
    locate::{Need, find},
};

const ONE: &[Need] = &[Need { label: "input.txt", any_of: &["input.txt"] }];
const TWO: &[Need] =
    &[Need { label: "valid.txt", any_of: &["valid.txt"] }, Need { label: "test.txt", any_of: &["test.txt"] }];

/// Positions of a window, if nothing else is said.
const LENGTH: usize = 64;
/// Stands for every rare character.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// Read all parts.
pub(crate) fn load(
    set: &'static Known,
    config: &DatasetConfig,
    roots: &[PathBuf],
) -> Result<Splits, DataError> {
    let length = config.length.unwrap_or(LENGTH);
    if set.name == "wikitext-2" {
        let folder = find(set, TWO, roots)?;
        let [learn, test] = ["valid.txt", "test.txt"].map(|name| folder.join(name));
        let [seen, unseen] = [file::text(&learn)?, file::text(&test)?];
        return split(set.name, [&seen, &unseen], length, config.rare.unwrap_or(5), &learn);
    }
    let path = find(set, ONE, roots)?.join("input.txt");
    let text = file::text(&path)?;
    let test = text.chars().count() / 10 * 9;
    let at = text.char_indices().nth(test).map_or(text.len(), |(at, _)| at);
    split(set.name, text.split_at(at).into(), length, config.rare.unwrap_or(1), &path)
}

fn split(
    name: &str,
    [seen, test]: [&str; 2],
    length: usize,
    rare: usize,
    path: &Path,
) -> Result<Splits, DataError> {
    let (seen, test): (Vec<char>, Vec<char>) = (seen.chars().collect(), test.chars().collect());
    // Each part has a window and the character after it.
    let need = 90 * (length + 1);
    if seen.len() < need || test.len() <= length {
        let path = path.display();
        let need = format!("a text of at least {} characters in {path}", 100 * (length + 1));
        return setting("length", need, seen.len() + test.len());
    }
    let vocabulary = vocabulary(&seen, &test, rare);
    if !(2..=256).contains(&vocabulary.len()) {
        let need = format!("2 to 256 different characters in {} (`rare` makes them fewer)", path.display());
        return setting("name", need, vocabulary.len());
    }
    let unknown = vocabulary.binary_search(&UNKNOWN).unwrap_or_default();
    let index = |c: &char| vocabulary.binary_search(c).unwrap_or(unknown) as u16;
    let tokens = |part: &[char]| part.iter().map(index).collect::<Vec<u16>>();
    let (seen, test) = (tokens(&seen), tokens(&test));
    let (train, validation) = seen.split_at(seen.len() / 10 * 9);
    let windows = |part: &[u16], step: usize| windows(part, length, step, vocabulary.len());
    Ok(Splits {
        name: name.to_owned(),
        // Overlapping by half: every character is seen with a long past and with a short one.
        train: windows(train, length.div_ceil(2)),
        test: windows(&test, length),
        validation: Some(windows(validation, length)),
        class_names: vocabulary.iter().map(|c| c.escape_default().to_string()).collect(),
    })
}

/// The characters that count, in order; the unknown one among them where others do not.
fn vocabulary(seen: &[char], test: &[char], rare: usize) -> Vec<char> {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    seen.iter().for_each(|c| *counts.entry(*c).or_default() += 1);
    if rare <= 1 {
        // Nothing is unknown: the test's characters are the text's.
        test.iter().for_each(|c| *counts.entry(*c).or_default() += 1);
    } else {
        let before = counts.len();
        counts.retain(|_, count| *count >= rare);
        if counts.len() < before || test.iter().any(|c| !counts.contains_key(c)) {
            counts.insert(UNKNOWN, rare);
        }
    }
    counts.into_keys().collect()
}

/// Every `step`-th window of `length` of `text` that fits with the token after it, of `classes` different ones.
pub fn windows(text: &[u16], length: usize, step: usize, classes: usize) -> ImageSet {
    let (mut tokens, mut labels) = (Vec::new(), Vec::new());
    for window in text.windows(length + 1).step_by(step) {
        tokens.extend(window.iter().take(length));
        labels.extend(window.iter().skip(1));
    }
    ImageSet { shape: [classes, length, 1], classes, white: 1.0, pixels: Vec::new(), tokens, labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, length: usize) -> Result<Splits, DataError> {
        let at = text.char_indices().nth(text.chars().count() / 10 * 9).map_or(text.len(), |(at, _)| at);
        split("text", text.split_at(at).into(), length, 1, Path::new("input.txt"))
    }

    #[test]
    fn windows_say_where_each_character_stands_and_what_follows() {
        let text = "abcab".repeat(100);
        let splits = of(&text, 4).unwrap();
        assert_eq!(splits.class_names, ["a", "b", "c"]);
        let set = &splits.train;
        assert!(set.check().is_ok() && set.shape == [3, 4, 1] && set.targets() == 4);
        // "abca" and what follows each character of it.
        assert_eq!(*set.pixels_of(0).unwrap(), [1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0]);
        assert_eq!((set.labels_of(0).unwrap(), set.label(0)), (&[1, 2, 0, 1][..], Some(1)));
        // 405 characters, a window every second; 45 and 50 characters, a window every fourth.
        let sizes = [&splits.train, splits.validation.as_ref().unwrap(), &splits.test].map(ImageSet::len);
        assert_eq!(sizes, [201, 11, 12]);
    }

    #[test]
    fn rare_characters_are_one() {
        let (seen, test) = ("abcab".repeat(100) + "x", "abyab".repeat(20));
        let splits = split("two", [&seen, &test], 4, 2, Path::new("valid.txt")).unwrap();
        assert_eq!(splits.class_names, ["a", "b", "c", "\\u{fffd}"]);
        // "abya" and the "b" after it.
        assert_eq!(splits.test.labels_of(0).unwrap(), &[1, 3, 0, 1]);
        // Where every character counts, those of the test do too.
        assert_eq!(split("two", [&seen, &test], 4, 1, Path::new("valid.txt")).unwrap().train.classes, 5);
    }

    #[test]
    fn a_text_that_is_too_short_or_too_varied_is_refused() {
        assert!(of("", 4).unwrap_err().to_string().contains("at least 500 characters"));
        assert!(of(&"a".repeat(500), 4).unwrap_err().to_string().contains("different characters"));
        let varied: String = (0..600).filter_map(|i| char::from_u32(0x4e00 + i)).collect();
        assert!(of(&varied, 4).is_err());
    }
}
