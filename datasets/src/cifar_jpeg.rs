//! CIFAR-10 as JPEG images in tar archives, alone or mixed with the lossless images there are.
//!
//! `jpeg-<part>.txt` has one line per image, `path label index`, in the order of the original set;
//! `jpeg-<part>.tar.gz` holds the images under these paths. JPEG pixels differ from the originals by
//! several grey values, so figures on them do not compare with published ones.

use std::{
    collections::{HashMap, HashSet},
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

/// One photograph in so many is kept aside to choose by.
const ASIDE: usize = 10;

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
        train: read(&dir, "train")?.0,
        test: read(&dir, "test")?.0,
        validation: None,
        class_names: cifar::CLASSES.map(str::to_owned).to_vec(),
        vocabulary: None,
    })
}

/// Read the mixed set: training on JPEG and three times lossless, test on lossless only.
///
/// Its training part holds the same photograph several times, so a part of it would be no fair validation. Every tenth
/// photograph of the original training set is kept aside instead, in all its forms, and stands in the validation part once,
/// lossless where it is. The JPEG test images are not read: some show the lossless test images, and none may choose.
pub(crate) fn load_mixed(set: &'static Known, roots: &[PathBuf]) -> Result<Splits, DataError> {
    let dir = find(set, &TRAIN, roots)?;
    let (lossless, numbers) = match by_name("cifar10") {
        Some(known) => cifar::load_numbered(known, roots)?,
        None => return Err(DataError::UnknownDataset { name: "cifar10".to_owned(), nearest: None }),
    };
    let (jpeg, jpeg_numbers) = read(&dir, "train")?;
    let places = |numbers: &[usize], is: &dyn Fn(usize) -> bool| -> Vec<usize> {
        numbers.iter().enumerate().filter(|(_, n)| is(**n)).map(|(place, _)| place).collect()
    };
    let aside = |number: usize| number.is_multiple_of(ASIDE);
    let twice: HashSet<usize> = numbers.iter().copied().collect();
    let once = |number: usize| aside(number) && !twice.contains(&number);
    let learn = |number: usize| !aside(number);

    let mut train = jpeg.subset(&places(&jpeg_numbers, &learn));
    let again = lossless.train.subset(&places(&numbers, &learn));
    for _ in 0..REPEAT {
        append(&mut train, &again);
    }
    let mut validation = jpeg.subset(&places(&jpeg_numbers, &once));
    append(&mut validation, &lossless.train.subset(&places(&numbers, &aside)));
    let validation = Some(validation).filter(|v| !v.is_empty());
    Ok(Splits { name: set.name.to_owned(), train, validation, ..lossless })
}

fn append(set: &mut ImageSet, more: &ImageSet) {
    set.pixels.extend_from_slice(&more.pixels);
    set.labels.extend_from_slice(&more.labels);
}

/// One line of a list.
struct Listed {
    path: String,
    label: u8,
    number: usize,
}

/// The images of one part in list order, and their places in the original set.
fn read(dir: &Path, part: &'static str) -> Result<(ImageSet, Vec<usize>), DataError> {
    let list_path = dir.join(format!("jpeg-{part}.txt"));
    let tar_path = dir.join(format!("jpeg-{part}.tar.gz"));
    let listed = read_list(&list_path)?;
    if listed.is_empty() {
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
    set.labels = listed.iter().map(|l| l.label.into()).collect();
    Ok((set, listed.iter().map(|l| l.number).collect()))
}

fn read_list(path: &Path) -> Result<Vec<Listed>, DataError> {
    let text = file::text(path)?;
    let mut listed = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let parsed = (|| {
            let (name, label, index) = (words.next()?, words.next()?, words.next()?);
            let label: u8 = label.parse().ok().filter(|&l| l < 10)?;
            let number: usize = index.parse().ok()?;
            words.next().is_none().then_some((name, label, number))
        })();
        let Some((name, label, number)) = parsed else {
            return Err(DataError::Line {
                path: path.to_path_buf(),
                line: i + 1,
                need: "path, label 0 to 9 and original index, separated by spaces",
                found: line.chars().take(60).collect(),
            });
        };
        listed.push(Listed { path: name.to_owned(), label, number });
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
