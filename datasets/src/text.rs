//! Text: windows of a fixed length, and for each position what follows there, a character or a token of several.
//!
//! A window is an "image" of one column: a channel for each token of the vocabulary, a row for each position, 1 where the token
//! stands. Of one file the first nine tenths of the text are to learn from, the last tenth is for the test; of two, one is
//! for each. The last twentieth of what is to learn from is to choose by.

use std::path::{Path, PathBuf};

use crate::{
    DataError, DatasetConfig, ImageSet, Splits, Vocabulary,
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

/// Where the vocabulary comes from.
enum Source<'a> {
    /// The characters of the text, those rarer than this as one.
    Characters(usize),
    /// So many tokens, learned from the part to train on.
    BytePairs(usize),
    /// From elsewhere: whoever reads the text knows no other.
    Given(&'a Vocabulary),
}

/// Read all parts, in the vocabulary given or in one of the text.
pub(crate) fn load(
    set: &'static Known,
    config: &DatasetConfig,
    roots: &[PathBuf],
    vocabulary: Option<&Vocabulary>,
) -> Result<Splits, DataError> {
    let length = config.length.unwrap_or(LENGTH);
    let source = |rare: usize| match (vocabulary, config.tokens) {
        (Some(vocabulary), _) => Source::Given(vocabulary),
        (None, Some(tokens)) => Source::BytePairs(tokens),
        (None, None) => Source::Characters(config.rare.unwrap_or(rare)),
    };
    if set.name == "wikitext-2" {
        let folder = find(set, TWO, roots)?;
        let [learn, test] = ["valid.txt", "test.txt"].map(|name| folder.join(name));
        let [seen, unseen] = [file::text(&learn)?, file::text(&test)?];
        return split(set.name, [&seen, &unseen], length, &source(5), &learn);
    }
    let path = find(set, ONE, roots)?.join("input.txt");
    let text = file::text(&path)?;
    split(set.name, all_but_one_of(10, &text), length, &source(1), &path)
}

/// All but the last of `parts` equal parts of the characters, and the rest.
fn all_but_one_of(parts: usize, text: &str) -> [&str; 2] {
    let count = text.chars().count() / parts * (parts - 1);
    text.split_at(text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)).into()
}

fn split(
    name: &str,
    [seen, test]: [&str; 2],
    length: usize,
    source: &Source<'_>,
    path: &Path,
) -> Result<Splits, DataError> {
    let place = path.display();
    // Each part has a window and the character after it.
    let count = [seen, test].map(|part| part.chars().count());
    if count[0] < 90 * (length + 1) || count[1] <= length {
        let need = format!("a text of at least {} characters in {place}", 100 * (length + 1));
        return setting("length", need, count.iter().sum::<usize>());
    }
    let [train, validation] = all_but_one_of(20, seen);
    let vocabulary = match *source {
        Source::Characters(rare) => Vocabulary::of_characters(seen, test, rare),
        Source::BytePairs(tokens) => Vocabulary::of_byte_pairs(train, tokens)?,
        Source::Given(vocabulary) => vocabulary.clone(),
    };
    let classes = vocabulary.len();
    match *source {
        Source::Characters(_) if !(2..=256).contains(&classes) => {
            let need = format!(
                "2 to 256 different characters in {place} (`rare` makes them fewer, or set `tokens`)"
            );
            return setting("name", need, classes);
        }
        Source::BytePairs(tokens) if classes < tokens => {
            let need =
                format!("at most the {classes} tokens that {place} has: others do not occur in it twice");
            return setting("tokens", need, tokens);
        }
        _ => {}
    }
    let parts = [train, validation, test].map(|part| vocabulary.encode(part));
    let [train, validation, test] = parts;
    let (train, validation, test) = (train?, validation?, test?);
    let shortest = [&train, &validation, &test].map(Vec::len).into_iter().min().unwrap_or_default();
    if shortest <= length {
        let need = format!("less than the {shortest} tokens of the shortest part of {place}");
        return setting("length", need, length);
    }
    Ok(Splits {
        name: name.to_owned(),
        // Overlapping by half: batches to learn from begin up to so much later, in every epoch elsewhere.
        train: windows(&train, length, length.div_ceil(2), classes),
        test: windows(&test, length, length, classes),
        validation: Some(windows(&validation, length, length, classes)),
        class_names: vocabulary.names(),
        vocabulary: Some(vocabulary),
    })
}

/// Every `step`-th window of `length` of `text` that fits with the token after it, of `classes` different ones.
pub fn windows(text: &[u16], length: usize, step: usize, classes: usize) -> ImageSet {
    let (mut tokens, mut labels) = (Vec::new(), Vec::new());
    for window in text.windows(length + 1).step_by(step) {
        tokens.extend(window.iter().take(length));
        labels.extend(window.iter().skip(1));
    }
    let step = if step < length { step } else { 0 };
    ImageSet { shape: [classes, length, 1], classes, white: 1.0, pixels: Vec::new(), tokens, step, labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, length: usize) -> Result<Splits, DataError> {
        split("text", all_but_one_of(10, text), length, &Source::Characters(1), Path::new("input.txt"))
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
        // 418 characters, a window every second; 32 and 50 characters, a window every fourth.
        let sizes = [&splits.train, splits.validation.as_ref().unwrap(), &splits.test].map(ImageSet::len);
        assert_eq!(sizes, [207, 7, 12]);
    }

    #[test]
    fn rare_characters_are_one() {
        let (seen, test) = ("abcab".repeat(100) + "x", "abyab".repeat(20));
        let splits = split("two", [&seen, &test], 4, &Source::Characters(2), Path::new("valid.txt")).unwrap();
        assert_eq!(splits.class_names, ["a", "b", "c", "\\u{fffd}"]);
        // "abya" and the "b" after it.
        assert_eq!(splits.test.labels_of(0).unwrap(), &[1, 3, 0, 1]);
        // Where every character counts, those of the test do too.
        let all = split("two", [&seen, &test], 4, &Source::Characters(1), Path::new("valid.txt")).unwrap();
        assert_eq!(all.train.classes, 5);
    }

    #[test]
    fn a_text_that_is_too_short_or_too_varied_is_refused() {
        assert!(of("", 4).unwrap_err().to_string().contains("at least 500 characters"));
        assert!(of(&"a".repeat(500), 4).unwrap_err().to_string().contains("different characters"));
        let varied: String = (0..600).filter_map(|i| char::from_u32(0x4e00 + i)).collect();
        assert!(of(&varied, 4).is_err());
    }

    #[test]
    fn tokens_are_learned_from_the_part_to_train_on() {
        let path = Path::new("input.txt");
        let read = |text: &str, source| split("text", all_but_one_of(10, text), 4, &source, path);
        let text = ["to be or not to be, ".repeat(100), "zzyx ".repeat(100)].concat();
        let splits = read(&text, Source::BytePairs(260)).unwrap();
        let vocabulary = splits.vocabulary.unwrap();
        assert_eq!((splits.train.classes, vocabulary.len()), (260, 260));
        assert!(vocabulary.names().iter().all(|name| !name.contains("zz")));
        assert!(splits.test.check().is_ok() && splits.test.pixels_of(0).unwrap().len() == 4 * 260);
        let test = all_but_one_of(10, &text)[1];
        assert_eq!(splits.test.labels[..4], vocabulary.encode(test).unwrap()[1..5]);
        // Another text, for whom knows this vocabulary.
        let other = read(&"never before ".repeat(50), Source::Given(&vocabulary)).unwrap();
        assert_eq!((other.vocabulary.as_ref(), other.test.classes), (Some(&vocabulary), 260));
        let refused = |text: &str, tokens| read(text, Source::BytePairs(tokens)).unwrap_err().to_string();
        let error = refused(&text, 5000);
        assert!(error.contains("`tokens`") && error.contains("tokens that input.txt has"), "{error}");
        // A repeated letter is a few long tokens.
        assert!(refused(&"a".repeat(600), 262).contains("of the shortest part"));
        assert!(refused("", 300).contains("at least 500 characters"));
    }
}
