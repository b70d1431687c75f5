//! Text, character by character: windows of a fixed length, and for each position the character that follows.
//!
//! A window is an "image" of one column: a channel for each character of the vocabulary, a row for each position, 1 where the
//! character stands. The first nine tenths of the text are to learn from (the last tenth of these to choose by), the last
//! tenth is for the test.

use std::path::{Path, PathBuf};

use crate::{
    DataError, DatasetConfig, ImageSet, Splits,
    config::setting,
    file,
    known::Known,
    locate::{Need, find},
};

const NEEDS: &[Need] = &[Need { label: "input.txt", any_of: &["input.txt"] }];

/// Positions of a window, if nothing else is said.
const LENGTH: usize = 64;

/// Read all parts.
pub(crate) fn load(
    set: &'static Known,
    config: &DatasetConfig,
    roots: &[PathBuf],
) -> Result<Splits, DataError> {
    let path = find(set, NEEDS, roots)?.join("input.txt");
    split(set.name, &file::text(&path)?, config.length.unwrap_or(LENGTH), &path)
}

fn split(name: &str, text: &str, length: usize, path: &Path) -> Result<Splits, DataError> {
    let characters: Vec<char> = text.chars().collect();
    let mut vocabulary = characters.clone();
    vocabulary.sort_unstable();
    vocabulary.dedup();
    // Each part has a window and the character after it.
    let need = 100 * (length + 1);
    if characters.len() < need {
        let path = path.display();
        return setting(
            "length",
            format!("a text of at least {need} characters in {path}"),
            characters.len(),
        );
    }
    if !(2..=256).contains(&vocabulary.len()) {
        let need = format!("2 to 256 different characters in {}", path.display());
        return setting("name", need, vocabulary.len());
    }
    let index = |c: &char| vocabulary.binary_search(c).unwrap_or_default() as u8;
    let tokens: Vec<u8> = characters.iter().map(index).collect();
    let (seen, test) = tokens.split_at(tokens.len() / 10 * 9);
    let (train, validation) = seen.split_at(seen.len() / 10 * 9);
    let windows = |part: &[u8], step: usize| windows(part, length, step, vocabulary.len());
    Ok(Splits {
        name: name.to_owned(),
        // Overlapping by half: every character is seen with a long past and with a short one.
        train: windows(train, length.div_ceil(2)),
        test: windows(test, length),
        validation: Some(windows(validation, length)),
        class_names: vocabulary.iter().map(|c| c.escape_default().to_string()).collect(),
    })
}

/// Every `step`-th window that fits with the character after it.
fn windows(tokens: &[u8], length: usize, step: usize, classes: usize) -> ImageSet {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for window in tokens.windows(length + 1).step_by(step) {
        let (past, next) = (window.iter().take(length), window.iter().skip(1));
        let start = pixels.len();
        pixels.resize(start + classes * length, 0);
        for (position, &token) in past.enumerate() {
            if let Some(pixel) = pixels.get_mut(start + usize::from(token) * length + position) {
                *pixel = 1;
            }
        }
        labels.extend(next);
    }
    ImageSet { shape: [classes, length, 1], classes, white: 1.0, pixels, labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, length: usize) -> Result<Splits, DataError> {
        split("text", text, length, Path::new("input.txt"))
    }

    #[test]
    fn windows_say_where_each_character_stands_and_what_follows() {
        let text = "abcab".repeat(100);
        let splits = of(&text, 4).unwrap();
        assert_eq!(splits.class_names, ["a", "b", "c"]);
        let set = &splits.train;
        assert!(set.check().is_ok() && set.shape == [3, 4, 1] && set.targets() == 4);
        // "abca" and what follows each character of it.
        assert_eq!(set.pixels_of(0).unwrap(), [1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0]);
        assert_eq!((set.labels_of(0).unwrap(), set.label(0)), (&[1, 2, 0, 1][..], Some(1)));
        // 405 characters, a window every second; 45 and 50 characters, a window every fourth.
        let sizes = [&splits.train, splits.validation.as_ref().unwrap(), &splits.test].map(ImageSet::len);
        assert_eq!(sizes, [201, 11, 12]);
    }

    #[test]
    fn a_text_that_is_too_short_or_too_varied_is_refused() {
        assert!(of("", 4).unwrap_err().to_string().contains("at least 500 characters"));
        assert!(of(&"a".repeat(500), 4).unwrap_err().to_string().contains("different characters"));
        let varied: String = (0..600).filter_map(|i| char::from_u32(0x4e00 + i)).collect();
        assert!(of(&varied, 4).is_err());
    }
}
