//! What a user writes about a data set.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{DataError, byte_pairs::MOST, known::by_name};

/// Choice of a data set and how it is read; everything but `name` may be left out.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// A name from [`known`](crate::known).
    pub name: String,
    /// Folder of the files, or the folder above it. Relative to the working folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Images only: resize to `[height, width]`. Needed when the images of a folder differ in size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Images only: 1 for grey, 3 for red, green, blue. Otherwise what the set has, an image folder 3 if any image has colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// IDX files only: number of classes. Otherwise 10, and for `idx` one more than a larger label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// IDX files: names of the classes. Image folders: the classes and their order; otherwise those
    /// of the lists, alphabetically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
    /// Texts only: positions of a sample. Otherwise 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Texts only: characters that the text to learn from has less often count as one, `U+FFFD`, and so do those it does not have.
    /// Otherwise 1 (every character counts, and one that is only in the test is an error), for `wikitext-2` 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rare: Option<usize>,
    /// Texts only: learn this many tokens of one or more characters from the part to train on, by byte pairs. Otherwise each
    /// character is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Keep this many training samples, chosen by seed, each class in proportion; of a text, its first windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// Keep this many test samples, chosen by seed, each class in proportion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
}

impl DatasetConfig {
    /// The data set `name` with nothing else set.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Whether it is a text.
    pub fn is_text(&self) -> bool {
        matches!(self.name.as_str(), "text" | "tinyshakespeare" | "wikitext-2")
    }

    /// Whether it is a folder of images.
    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.name.as_str(), "image-folder" | "covid-ct" | "covid-xray")
    }

    /// Channels, height and width of a sample and the number of classes, where name and settings tell without the files.
    pub fn form(&self) -> Option<([usize; 3], usize)> {
        let set = by_name(&self.name)?;
        let names = self.class_names.as_ref().map(Vec::len);
        let classes = self.classes.or(names).or(set.classes)?;
        let channels = self.channels.or(set.shape.map(|s| s[0]))?;
        let [height, width] = self.size.or(set.shape.map(|s| [s[1], s[2]]))?;
        Some(([channels, height, width], classes))
    }

    /// Refuse values no reader could use, and settings the named set has no use for.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let folder = self.is_folder();
        let idx = matches!(self.name.as_str(), "idx" | "mnist" | "fashion-mnist");
        let unused = |key, need: &str| setting(key, format!("a set of {need}"), format!("`{}`", self.name));
        if self.name == "digits" && self.dir.is_some() {
            return unused("dir", "files");
        }
        if let Some(dir) = self.dir.as_deref().filter(|dir| !dir.is_dir()) {
            // Looking on in other places would be using other data than was named.
            return setting("dir", "a folder that exists", dir.display());
        }
        if self.is_text() && self.size.is_some() {
            return unused("size", "images");
        }
        if self.is_text() && self.channels.is_some() {
            return unused("channels", "images");
        }
        if !idx && self.classes.is_some() {
            return unused("classes", "IDX files");
        }
        if !idx && !folder && self.class_names.is_some() {
            return unused("class_names", "IDX files or image folders");
        }
        let of_texts = [("length", self.length), ("rare", self.rare), ("tokens", self.tokens)];
        if let Some((key, _)) = of_texts.iter().find(|(_, set)| set.is_some() && !self.is_text()) {
            return unused(key, "text");
        }
        if let Some(n) = self.tokens
            && !(257..=MOST).contains(&n)
        {
            return setting("tokens", format!("257 (the bytes and a token of two) to {MOST}"), n);
        }
        if self.tokens.is_some() && self.rare.is_some() {
            return setting("rare", "a text by character, without `tokens`", "both");
        }
        if let Some(n) = self.length
            && !(2..=4096).contains(&n)
        {
            return setting("length", "2 to 4096", n);
        }
        if let Some([h, w]) = self.size
            && !((1..=4096).contains(&h) && (1..=4096).contains(&w))
        {
            return setting("size", "[height, width], each 1 to 4096", format!("[{h}, {w}]"));
        }
        if let Some(n) = self.channels
            && n != 1
            && n != 3
        {
            return setting("channels", "1 or 3", n);
        }
        if let Some(n) = self.classes
            && !(2..=256).contains(&n)
        {
            return setting("classes", "2 to 256", n);
        }
        if let Some(names) = &self.class_names {
            let mut unique: Vec<_> = names.iter().collect();
            unique.sort_unstable();
            unique.dedup();
            if unique.len() != names.len() || !(2..=256).contains(&names.len()) {
                return setting("class_names", "2 to 256 different names", names.join(", "));
            }
            if let Some(n) = self.classes
                && n != names.len()
            {
                return setting("class_names", format!("{n} names, as `classes` says"), names.len());
            }
        }
        for (key, limit) in [("train_limit", self.train_limit), ("test_limit", self.test_limit)] {
            if limit == Some(0) {
                return setting(key, "at least 1", 0);
            }
        }
        Ok(())
    }
}

/// A refusal of one setting.
pub(crate) fn setting<T>(
    key: &'static str,
    need: impl ToString,
    found: impl ToString,
) -> Result<T, DataError> {
    Err(DataError::Setting { key, need: need.to_string(), found: found.to_string() })
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};

    use super::*;

    fn parse(pairs: &[(&'static str, &'static str)]) -> Result<DatasetConfig, Error> {
        DatasetConfig::deserialize(MapDeserializer::new(pairs.iter().copied()))
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert_eq!(parse(&[("name", "mnist")]).unwrap(), DatasetConfig::named("mnist"));
        let error = parse(&[("name", "mnist"), ("folder", "x")]).unwrap_err().to_string();
        assert!(error.contains("unknown field `folder`"), "{error}");
    }

    #[test]
    fn useless_and_impossible_settings_are_refused() {
        let base = || DatasetConfig::named("image-folder");
        let names = |n: &[&str]| Some(n.iter().map(|s| (*s).to_owned()).collect());
        let cases = [
            (DatasetConfig { size: Some([8, 8]), ..DatasetConfig::named("text") }, "size"),
            (DatasetConfig { classes: Some(3), ..base() }, "classes"),
            (
                DatasetConfig { class_names: names(&["a", "b"]), ..DatasetConfig::named("digits") },
                "class_names",
            ),
            (DatasetConfig { size: Some([0, 8]), ..base() }, "size"),
            (DatasetConfig { channels: Some(2), ..base() }, "channels"),
            (DatasetConfig { class_names: names(&["a", "a"]), ..base() }, "class_names"),
            (DatasetConfig { test_limit: Some(0), ..base() }, "test_limit"),
            (DatasetConfig { tokens: Some(512), ..base() }, "tokens"),
            (DatasetConfig { tokens: Some(256), ..DatasetConfig::named("text") }, "tokens"),
            (DatasetConfig { tokens: Some(512), rare: Some(2), ..DatasetConfig::named("text") }, "rare"),
        ];
        for (config, key) in cases {
            let error = config.check().unwrap_err();
            assert!(matches!(&error, DataError::Setting { key: k, .. } if *k == key), "{error}");
        }
        let both = DatasetConfig {
            classes: Some(3),
            class_names: names(&["a", "b"]),
            ..DatasetConfig::named("idx")
        };
        assert!(both.check().unwrap_err().to_string().contains("3 names"));
    }
}
