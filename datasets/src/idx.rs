//! IDX files: MNIST, Fashion-MNIST and every set in the same four files, plain or gzip.
//!
//! A file is `magic, count, [height, width], bytes`, all numbers big-endian 32 bits; the magic is
//! `0x0000_08dd` with `dd` dimensions (LeCun, Bottou, Bengio, Haffner 1998).

use std::{
    io::{BufRead, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    DataError, DatasetConfig, ImageSet, Splits,
    digits::numerals,
    error::io,
    file,
    known::Known,
    locate::{Need, find, present},
};

macro_rules! need {
    ($part:literal, $what:literal, $dims:literal) => {
        Need {
            label: concat!($part, "-", $what, "-", $dims, "-ubyte[.gz]"),
            any_of: &[
                concat!($part, "-", $what, "-", $dims, "-ubyte"),
                concat!($part, "-", $what, "-", $dims, "-ubyte.gz"),
                concat!($part, "-", $what, ".", $dims, "-ubyte"),
                concat!($part, "-", $what, ".", $dims, "-ubyte.gz"),
            ],
        }
    };
}

const NEEDS: [Need; 4] = [
    need!("train", "images", "idx3"),
    need!("train", "labels", "idx1"),
    need!("t10k", "images", "idx3"),
    need!("t10k", "labels", "idx1"),
];

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Read the four files.
pub(crate) fn load(
    set: &'static Known,
    config: &DatasetConfig,
    roots: &[PathBuf],
) -> Result<Splits, DataError> {
    let dir = find(set, &NEEDS, roots)?;
    let [train_images, train_labels, test_images, test_labels] =
        NEEDS.map(|need| present(&dir, need.any_of).unwrap_or_else(|| dir.join(need.label)));
    let train = read_part(&train_images, &train_labels, "train")?;
    let test = read_part(&test_images, &test_labels, "test")?;
    if train.shape != test.shape {
        let path = test_images;
        return Err(DataError::Shape { path, need: train.shape, found: test.shape, resizable: false });
    }

    let largest = train.labels.iter().chain(&test.labels).max().map_or(0, |&l| usize::from(l));
    let stated = config.classes.or(config.class_names.as_ref().map(Vec::len));
    // Drop-ins for the known sets have their 10 classes; a label beyond them is damage unless the config says otherwise.
    let classes = stated.unwrap_or(if set.name == "idx" { 10.max(largest + 1) } else { 10 });
    for (part, path) in [(&train, &train_labels), (&test, &test_labels)] {
        if let Some(record) = part.labels.iter().position(|&l| usize::from(l) >= classes) {
            let label = part.label(record).map_or(0, usize::from);
            return Err(DataError::Label { path: path.clone(), record, label, classes });
        }
    }
    let class_names = match &config.class_names {
        Some(names) => names.clone(),
        None if set.name == "fashion-mnist" && classes == FASHION.len() => {
            FASHION.map(str::to_owned).to_vec()
        }
        None => numerals(classes),
    };
    Ok(Splits {
        name: set.name.to_owned(),
        train: ImageSet { classes, ..train },
        test: ImageSet { classes, ..test },
        validation: None,
        class_names,
        vocabulary: None,
    })
}

/// Images and labels of one part; `classes` is left for the caller to fill in.
fn read_part(images: &Path, labels: &Path, part: &'static str) -> Result<ImageSet, DataError> {
    let (dims, pixels) = read_idx::<3>(images)?;
    let (_, label_bytes) = read_idx::<1>(labels)?;
    let [image_count, height, width] = dims;
    if image_count != label_bytes.len() {
        return Err(DataError::Counts {
            images: images.to_path_buf(),
            image_count,
            labels: labels.to_path_buf(),
            label_count: label_bytes.len(),
        });
    }
    if image_count == 0 {
        return Err(DataError::Empty { path: images.to_path_buf(), part });
    }
    let labels = label_bytes.into_iter().map(u16::from).collect();
    Ok(ImageSet {
        shape: [1, height, width],
        classes: 0,
        white: 255.0,
        pixels,
        tokens: Vec::new(),
        step: 0,
        labels,
    })
}

/// Dimensions and bytes of a file with `D` dimensions.
fn read_idx<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), DataError> {
    let mut reader = open(path)?;
    let (header, cut) = read_at_most(&mut reader, path, 4 + 4 * D as u64)?;
    let mut words = header.chunks_exact(4).map(|b| b.iter().fold(0u32, |n, &x| (n << 8) | u32::from(x)));
    let expected = 0x0800 + D as u32;
    if let Some(found) = words.next()
        && found != expected
    {
        return Err(DataError::Magic { path: path.to_path_buf(), expected, found });
    }
    let stated: Vec<u32> = words.collect();
    let (header_len, found) = (4 + 4 * D as u64, header.len() as u64);
    let Ok(stated) = <[u32; D]>::try_from(stated) else {
        return Err(DataError::Truncated { path: path.to_path_buf(), need: header_len, found });
    };
    let dims = stated.map(|n| n as usize);
    let body = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n < isize::MAX as usize);
    let sides_are_real = dims.iter().skip(1).all(|&d| d > 0);
    let Some(body) = body.filter(|_| sides_are_real) else {
        return Err(DataError::Dimensions { path: path.to_path_buf(), dims: stated.to_vec() });
    };

    // Memory follows the bytes that arrive, not the number the header promises.
    let (bytes, cut) =
        if cut { (Vec::new(), true) } else { read_at_most(&mut reader, path, body as u64 + 1)? };
    let need = header_len + body as u64;
    if bytes.len() < body || cut {
        return Err(DataError::Truncated {
            path: path.to_path_buf(),
            need,
            found: header_len + bytes.len() as u64,
        });
    }
    if bytes.len() > body {
        return Err(DataError::TrailingBytes { path: path.to_path_buf(), need });
    }
    Ok((dims, bytes))
}

/// Open a file, unpacking it if its first two bytes say gzip.
fn open(path: &Path) -> Result<Box<dyn Read>, DataError> {
    let mut file = BufReader::with_capacity(1 << 16, file::open(path)?);
    let packed = file.fill_buf().map_err(io(path))?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Up to `limit` bytes, and whether the stream broke off inside a gzip member.
fn read_at_most(reader: &mut dyn Read, path: &Path, limit: u64) -> Result<(Vec<u8>, bool), DataError> {
    let mut bytes = Vec::new();
    match reader.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok((bytes, false)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok((bytes, true)),
        Err(e) => Err(io(path)(e)),
    }
}

#[cfg(test)]
#[path = "idx_tests.rs"]
mod tests;
