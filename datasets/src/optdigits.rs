//! Optical recognition of handwritten digits (UCI): text lines of 64 values 0 to 16 and the class.
//!
//! Alpaydin, Kaynak 1998, doi:10.24432/C50P49.

use std::path::{Path, PathBuf};

use crate::{
    DataError, ImageSet, Splits,
    digits::numerals,
    file,
    known::Known,
    locate::{Need, find},
};

const NEEDS: &[Need] = &[
    Need { label: "optdigits.tra", any_of: &["optdigits.tra"] },
    Need { label: "optdigits.tes", any_of: &["optdigits.tes"] },
];

/// Read both parts.
pub(crate) fn load(set: &'static Known, roots: &[PathBuf]) -> Result<Splits, DataError> {
    let dir = find(set, NEEDS, roots)?;
    Ok(Splits {
        name: set.name.to_owned(),
        train: read(&dir.join("optdigits.tra"), "train")?,
        test: read(&dir.join("optdigits.tes"), "test")?,
        validation: None,
        class_names: numerals(10),
        vocabulary: None,
    })
}

fn read(path: &Path, part: &'static str) -> Result<ImageSet, DataError> {
    let text = file::text(path)?;
    let mut set = ImageSet {
        shape: [1, 8, 8],
        classes: 10,
        white: 16.0,
        pixels: Vec::new(),
        tokens: Vec::new(),
        step: 0,
        labels: Vec::new(),
    };
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let values: Option<Vec<u8>> = line.split(',').map(|v| v.trim().parse().ok()).collect();
        match values.as_deref().and_then(|v| v.split_last()) {
            Some((&label, pixels)) if pixels.len() == 64 && label < 10 && pixels.iter().all(|&p| p <= 16) => {
                set.pixels.extend_from_slice(pixels);
                set.labels.push(label.into());
            }
            _ => {
                return Err(DataError::Line {
                    path: path.to_path_buf(),
                    line: i + 1,
                    need: "64 whole numbers 0 to 16 and a class 0 to 9, separated by commas",
                    found: line.chars().take(60).collect(),
                });
            }
        }
    }
    if set.is_empty() {
        return Err(DataError::Empty { path: path.to_path_buf(), part });
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::known::by_name;

    fn line(value: u8, label: u8) -> String {
        format!("{}{label}\n", format!("{value},").repeat(64))
    }

    fn read_text(text: &str) -> Result<ImageSet, DataError> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("optdigits.tra");
        fs::write(&path, text).unwrap();
        read(&path, "train")
    }

    #[test]
    fn good_files_are_read() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir(tmp.path().join("optdigits")).unwrap();
        fs::write(tmp.path().join("optdigits/optdigits.tra"), line(3, 7) + &line(16, 0)).unwrap();
        fs::write(tmp.path().join("optdigits/optdigits.tes"), line(0, 9)).unwrap();
        let splits = load(by_name("optdigits").unwrap(), &[tmp.path().into()]).unwrap();
        assert_eq!(splits.train.labels, [7, 0]);
        assert_eq!(splits.train.pixels_of(1).as_deref(), Some(&[16u8; 64][..]));
        assert_eq!(splits.test.labels, [9]);
        splits.train.check().unwrap();
    }

    #[test]
    fn bad_lines_are_named() {
        for bad in
            [line(17, 0), line(0, 10), "1,2,3\n".into(), line(0, 1).replace("0,0,", "0,x,"), "a,b".into()]
        {
            let error = read_text(&(line(1, 1) + &bad)).unwrap_err();
            assert!(matches!(error, DataError::Line { line: 2, .. }), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_an_error() {
        assert!(matches!(read_text("\n"), Err(DataError::Empty { part: "train", .. })));
    }
}
