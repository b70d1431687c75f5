//! CIFAR-10 as JPEG images in tar archives, alone or mixed with the lossless images there are.
//!
//! `jpeg-<part>.txt` has one line per image, `path label index`, in the order of the original set;
//! `jpeg-<part>.tar.gz` holds the images under these paths. JPEG pixels differ from the originals by
//! several grey values, so figures on them do not compare with published ones.

use std::{
    collections::HashMap,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use crate::{
    DataError, ImageSet, Splits, cifar,
    decode::{decode, fill_all, planes},
    error::io,
    file,
    known::{Known, by_name},
    locate::{Need, find},
};

/// How often each lossless training image stands in the mixed set.
const REPEAT: usize = 3;

/// No image of 32×32 is larger than this; an archive member that is, is not read.
const MEMBER_LIMIT: u64 = 1 << 20;

const TRAIN: [Need; 2] = [
    Need { label: "jpeg-train.tar.gz", any_of: &["jpeg-train.tar.gz"] },
    Need { label: "jpeg-train.txt", any_of: &["jpeg-train.txt"] },
];
const TEST: [Need; 2] = [
    Need { label: "jpeg-test.tar.gz", any_of: &["jpeg-test.tar.gz"] },
    Need { label: "jpeg-test.txt", any_of: &["jpeg-test.txt"] },
];

/// Read both JPEG parts.
pub(crate) fn load(set: &'static Known, roots: &[PathBuf]) -> Result<Splits, DataError> {
    let [a, b] = TRAIN;
    let [c, d] = TEST;
    let dir = find(set, &[a, b, c, d], roots)?;
    Ok(Splits {
        name: set.name.to_owned(),
        train: read(&dir, "train", 0)?,
        test: read(&dir, "test", 0)?,
        validation: None,
        class_names: cifar::CLASSES.map(str::to_owned).to_vec(),
    })
}

/// Read the mixed set: training on JPEG and three times lossless, test on lossless only.
///
/// Its training part holds the same photograph several times, so a part of it would be no fair
/// validation. Where the JPEG test images are present, those whose originals are not among the
/// lossless test images serve instead.
pub(crate) fn load_mixed(set: &'static Known, roots: &[PathBuf]) -> Result<Splits, DataError> {
    let dir = find(set, &TRAIN, roots)?;
    let lossless = match by_name("cifar10") {
        Some(known) => cifar::load(known, roots)?,
        None => return Err(DataError::UnknownDataset { name: "cifar10".to_owned(), nearest: None }),
    };
    let mut train = read(&dir, "train", 0)?;
    for _ in 0..REPEAT {
        train.pixels.extend_from_slice(&lossless.train.pixels);
        train.labels.extend_from_slice(&lossless.train.labels);
    }
    let has_test = TEST.iter().all(|need| dir.join(need.label).exists());
    // The lossless test file holds the first originals, in order.
    let validation = if has_test { Some(read(&dir, "test", lossless.test.len())?) } else { None };
    let validation = validation.filter(|set| !set.is_empty());
    Ok(Splits { name: set.name.to_owned(), train, validation, ..lossless })
}

/// One line of a list.
struct Listed {
    path: String,
    label: u8,
}

/// The images of one part whose original index is at least `from`, in list order.
fn read(dir: &Path, part: &'static str, from: usize) -> Result<ImageSet, DataError> {
    let list_path = dir.join(format!("jpeg-{part}.txt"));
    let tar_path = dir.join(format!("jpeg-{part}.tar.gz"));
    let listed = read_list(&list_path, from)?;
    if listed.is_empty() && from == 0 {
        return Err(DataError::Empty { path: list_path, part });
    }
    let files = unpack(&tar_path)?;
    let absent: Vec<String> =
        listed.iter().filter(|l| !files.contains_key(&l.path)).map(|l| l.path.clone()).collect();
    if !absent.is_empty() {
        return Err(DataError::Absent { list: list_path, absent });
    }

    let mut set = cifar::empty();
    let (shape, n) = (set.shape, set.sample_len());
    set.pixels = vec![0; listed.len() * n];
    fill_all(&listed, n, &mut set.pixels, |item, out| {
        let path = tar_path.join(&item.path);
        let image = decode(files.get(&item.path).map_or(&[][..], Vec::as_slice), &path)?;
        let found = [3, image.height() as usize, image.width() as usize];
        if found != shape {
            return Err(DataError::Shape { path, need: shape, found, resizable: false });
        }
        planes(&image, shape, out);
        Ok(())
    })?;
    set.labels = listed.iter().map(|l| l.label).collect();
    Ok(set)
}

fn read_list(path: &Path, from: usize) -> Result<Vec<Listed>, DataError> {
    let text = file::text(path)?;
    let mut listed = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let parsed = (|| {
            let (name, label, index) = (words.next()?, words.next()?, words.next()?);
            let label: u8 = label.parse().ok().filter(|&l| l < 10)?;
            let index: usize = index.parse().ok()?;
            words.next().is_none().then_some((name, label, index))
        })();
        let Some((name, label, index)) = parsed else {
            return Err(DataError::Line {
                path: path.to_path_buf(),
                line: i + 1,
                need: "path, label 0 to 9 and original index, separated by spaces",
                found: line.chars().take(60).collect(),
            });
        };
        if index >= from {
            listed.push(Listed { path: name.to_owned(), label });
        }
    }
    Ok(listed)
}

/// All files of a packed archive, by path.
fn unpack(path: &Path) -> Result<HashMap<String, Vec<u8>>, DataError> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file::open(path)?));
    let mut files = HashMap::new();
    for entry in archive.entries().map_err(io(path))? {
        let mut entry = entry.map_err(io(path))?;
        if !entry.header().entry_type().is_file() || entry.size() > MEMBER_LIMIT {
            continue;
        }
        let name = entry.path().map_err(io(path))?.to_string_lossy().trim_start_matches("./").to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(io(path))?;
        files.insert(name, bytes);
    }
    Ok(files)
}

#[cfg(test)]
#[path = "cifar_jpeg_tests.rs"]
mod tests;
