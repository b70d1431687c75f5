//! Images in one folder per class, with lists that say which belong to which part.
//!
//! ```text
//! <dir>/<class>/<image>.png                    any of PNG and JPEG
//! <dir>/split/<part>_<class>.txt               one file name a line; part is train, val or test
//! ```
//! This is the layout of COVID-CT (Zhao et al. 2020, arXiv:2003.13865).

use std::{
    collections::HashMap,
    fs,
    io::BufReader,
    path::{Path, PathBuf},
};

use image::{ColorType, ImageDecoder, ImageReader};

use crate::{
    DataError, DatasetConfig, ImageSet, Splits,
    config::setting,
    decode::{decode, fill_all, planes},
    error::io,
    file,
    known::Known,
    locate::{Need, find},
};

const PARTS: [&str; 3] = ["train", "val", "test"];

/// An image of one part.
struct Listed {
    path: PathBuf,
    label: u8,
}

/// Read all parts.
pub(crate) fn load(
    set: &'static Known,
    config: &DatasetConfig,
    roots: &[PathBuf],
) -> Result<Splits, DataError> {
    let split = Need { label: "split/", any_of: &["split"] };
    let needs = match set.name {
        "covid-ct" => vec![
            Need { label: "CT_COVID/", any_of: &["CT_COVID"] },
            Need { label: "CT_NonCOVID/", any_of: &["CT_NonCOVID"] },
            split,
        ],
        "covid-xray" => vec![
            Need { label: "covid/", any_of: &["covid"] },
            Need { label: "no_findings/", any_of: &["no_findings"] },
            Need { label: "pneumonia/", any_of: &["pneumonia"] },
            split,
        ],
        _ => vec![split],
    };
    let dir = find(set, &needs, roots)?;
    let class_names = match (&config.class_names, set.name) {
        (Some(names), _) => names.clone(),
        // As its authors number them: 1 is the disease.
        (None, "covid-ct") => vec!["CT_NonCOVID".to_owned(), "CT_COVID".to_owned()],
        (None, _) => classes_of_lists(&dir.join("split"))?,
    };
    let [train, val, test] = read_lists(&dir, &class_names)?;
    let shape = common_shape(config, [&train, &val, &test].into_iter().flatten())?;
    for (part, listed) in [("train", &train), ("test", &test)] {
        if listed.is_empty() {
            return Err(DataError::Empty { path: dir.join("split"), part });
        }
    }
    let read = |listed: &[Listed]| read_part(listed, shape, class_names.len());
    Ok(Splits {
        name: set.name.to_owned(),
        train: read(&train)?,
        test: read(&test)?,
        validation: if val.is_empty() { None } else { Some(read(&val)?) },
        class_names,
        vocabulary: None,
    })
}

/// The classes the lists name, in alphabetical order.
fn classes_of_lists(split: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(split).map_err(io(split))? {
        let file = entry.map_err(io(split))?.file_name();
        let stem = file.to_str().and_then(|name| name.strip_suffix(".txt"));
        if let Some((part, class)) = stem.and_then(|s| s.split_once('_'))
            && PARTS.contains(&part)
        {
            names.push(class.to_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    if !(2..=256).contains(&names.len()) {
        let need = "2 to 256 classes, each with lists split/train_<class>.txt and split/test_<class>.txt";
        return setting("dir", need, format!("{} classes in {}", names.len(), split.display()));
    }
    Ok(names)
}

/// The images of train, val and test, classes in order. A class may lack a list, not every one.
fn read_lists(dir: &Path, classes: &[String]) -> Result<[Vec<Listed>; 3], DataError> {
    let mut parts = PARTS.map(|_| Vec::new());
    let mut seen: HashMap<PathBuf, PathBuf> = HashMap::new();
    for (label, class) in (0u8..=255).zip(classes) {
        let mut lists = 0;
        for (part, listed) in PARTS.iter().zip(&mut parts) {
            let list = dir.join("split").join(format!("{part}_{class}.txt"));
            if !list.exists() {
                continue;
            }
            lists += 1;
            let text = file::text(&list)?;
            let mut absent = Vec::new();
            for name in text.lines().map(str::trim).filter(|name| !name.is_empty()) {
                let path = dir.join(class).join(name);
                if !path.is_file() {
                    absent.push(format!("{class}/{name}"));
                } else if let Some(first) = seen.insert(path.clone(), list.clone()) {
                    return Err(DataError::ListedTwice {
                        file: format!("{class}/{name}"),
                        first,
                        second: list,
                    });
                } else {
                    listed.push(Listed { path, label });
                }
            }
            if !absent.is_empty() {
                return Err(DataError::Absent { list, absent });
            }
        }
        if lists == 0 {
            let need = "classes with lists split/<part>_<class>.txt";
            return setting("class_names", need, format!("`{class}`, which has none in {}", dir.display()));
        }
    }
    Ok(parts)
}

/// The shape all images get: the settings, else what the headers agree on.
fn common_shape<'a>(
    config: &DatasetConfig,
    listed: impl Iterator<Item = &'a Listed>,
) -> Result<[usize; 3], DataError> {
    if let (Some([height, width]), Some(channels)) = (config.size, config.channels) {
        return Ok([channels, height, width]);
    }
    let mut channels = config.channels.unwrap_or(1);
    let mut size = config.size;
    for item in listed {
        let ([height, width], color) = header(&item.path)?;
        if config.channels.is_none() && color.has_color() {
            channels = 3;
        }
        let [need_h, need_w] = *size.get_or_insert([height, width]);
        if config.size.is_none() && [need_h, need_w] != [height, width] {
            return Err(DataError::Shape {
                path: item.path.clone(),
                need: [channels, need_h, need_w],
                found: [if color.has_color() { 3 } else { 1 }, height, width],
                resizable: true,
            });
        }
    }
    let [height, width] = size.unwrap_or_default();
    Ok([channels, height, width])
}

/// Height, width and colour, from the header of an image.
fn header(path: &Path) -> Result<([usize; 2], ColorType), DataError> {
    let failed = |source| DataError::Decode { path: path.to_path_buf(), source };
    let reader =
        ImageReader::new(BufReader::new(file::open(path)?)).with_guessed_format().map_err(io(path))?;
    let decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    Ok(([height as usize, width as usize], decoder.color_type()))
}

fn read_part(listed: &[Listed], shape: [usize; 3], classes: usize) -> Result<ImageSet, DataError> {
    let n = shape.iter().product();
    let mut pixels = vec![0; listed.len() * n];
    fill_all(listed, n, &mut pixels, |item, out| {
        planes(&decode(&file::bytes(&item.path)?, &item.path)?, shape, out);
        Ok(())
    })?;
    let labels = listed.iter().map(|l| l.label.into()).collect();
    Ok(ImageSet { shape, classes, white: 255.0, pixels, tokens: Vec::new(), step: 0, labels })
}

#[cfg(test)]
#[path = "image_folder_tests.rs"]
mod tests;
