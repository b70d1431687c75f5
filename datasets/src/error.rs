//! Everything that can go wrong while finding, reading or fetching a data set.
//!
//! Every message names the place, what was needed and what was found; a `help:` line says what to do.

use std::{fmt::Write as _, io, path::PathBuf};

use crate::known::{known, remedy};

/// One folder that was searched for a data set, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub dir: PathBuf,
    /// Files that are not in it; `None` when there is no such folder.
    pub missing: Option<Vec<&'static str>>,
}

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No data set has this name.
    #[error("no data set is called `{name}`\n  known: {}{}", names(), nearest_line(*nearest))]
    UnknownDataset {
        /// The name asked for.
        name: String,
        /// The known name that differs least from it.
        nearest: Option<&'static str>,
    },
    /// A folder named for data does not exist; the data set lies elsewhere.
    #[error("{}: no such folder, though it is named as one of data\n  help: correct `--data-dir`, `dir` in the config or HETRAIN_DATA, whichever names it, or leave it out: {} has the files", dir.display(), found.display())]
    NoFolder {
        /// The folder named.
        dir: PathBuf,
        /// Where the files are.
        found: PathBuf,
    },
    /// The files of a data set are in none of the places searched.
    #[error("the files of data set `{name}` were not found\n  need: {}{}\n  help: {}", files.join(", "), places(looked), remedy(name))]
    Missing {
        /// The data set.
        name: String,
        /// File names needed.
        files: Vec<&'static str>,
        /// Every folder looked at, in order.
        looked: Vec<Place>,
    },
    /// A setting has a value that cannot be used.
    #[error(
        "setting `{key}` of the data set\n  need: {need}\n  found: {found}\n  help: change or remove `{key}`"
    )]
    Setting {
        /// The setting.
        key: &'static str,
        /// What it has to be.
        need: String,
        /// What it is.
        found: String,
    },
    /// A text has a character that its vocabulary lacks.
    #[error(
        "the text has {character:?} at position {place}, which the model has never seen\n  help: it knows {known}"
    )]
    UnknownCharacter {
        /// The character.
        character: char,
        /// Characters before it.
        place: usize,
        /// All characters of the vocabulary, escaped.
        known: String,
    },
    /// The tokens of a vocabulary contradict each other.
    #[error(
        "vocabulary of a text\n  need: {need}\n  found: {found}\n  help: fetch the model file again, or export it again"
    )]
    Vocabulary {
        /// What it has to be.
        need: String,
        /// What it is.
        found: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}\n  help: {}", path.display(), io_help(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What stands where a file is needed cannot be read as one.
    #[error("{}: {found}\n  need: a regular file\n  help: put the file itself there; pipes and devices are not read", path.display())]
    NoFile {
        /// Where it stands.
        path: PathBuf,
        /// What stands there.
        found: &'static str,
    },
    /// An IDX file starts with the wrong number.
    #[error("{}: wrong magic number\n  need: {expected:#010x}\n  found: {found:#010x}\n  help: this is not an IDX file of unsigned bytes with this many dimensions; check that images and labels are not swapped", path.display())]
    Magic {
        /// The file.
        path: PathBuf,
        /// The number such a file starts with.
        expected: u32,
        /// The number it starts with.
        found: u32,
    },
    /// A file ends too early.
    #[error("{}: truncated\n  need: {need} bytes\n  found: {found} bytes\n  help: fetch the file again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes its header promises, the header included.
        need: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A file goes on after its last record.
    #[error("{}: bytes after the last record\n  need: {need} bytes\n  found: more\n  help: fetch the file again, or correct the count in its header", path.display())]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Bytes its header promises, the header included.
        need: u64,
    },
    /// A header describes images that cannot be held.
    #[error("{}: dimensions {dims:?}\n  need: each at least 1, and the product within memory\n  help: fetch the file again", path.display())]
    Dimensions {
        /// The file.
        path: PathBuf,
        /// Count, height and width as the header states them.
        dims: Vec<u32>,
    },
    /// A file of images and its file of labels differ in count.
    #[error("{} has {image_count} images, {} has {label_count} labels\n  help: take both files from the same source", images.display(), labels.display())]
    Counts {
        /// File of images.
        images: PathBuf,
        /// Its count.
        image_count: usize,
        /// File of labels.
        labels: PathBuf,
        /// Its count.
        label_count: usize,
    },
    /// A label is no class number.
    #[error("{}: label {label} in record {record}\n  need: 0 to {}\n  help: correct the label, or set the number of classes with `classes`", path.display(), classes.saturating_sub(1))]
    Label {
        /// The file.
        path: PathBuf,
        /// Record, counted from 0.
        record: usize,
        /// The label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A file of fixed records has a length that is no multiple of the record.
    #[error("{}: {length} bytes\n  need: a multiple of {record}, at least one record\n  help: fetch the file again", path.display())]
    RecordLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
        /// Bytes of one record.
        record: u64,
    },
    /// A line of a text file cannot be understood.
    #[error("{}:{line}: `{found}`\n  need: {need}\n  help: correct the line or fetch the file again", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What the line has to be.
        need: &'static str,
        /// The line, shortened.
        found: String,
    },
    /// An image cannot be decoded.
    #[error("{}: {source}\n  need: a PNG or JPEG image\n  help: fetch the file again or convert it", path.display())]
    Decode {
        /// The image (inside an archive: archive path and member).
        path: PathBuf,
        /// The cause.
        source: image::ImageError,
    },
    /// Two images or parts that have to be alike differ in shape.
    #[error("{}: shape {found:?}\n  need: {need:?} (channels, height, width)\n  help: {}", path.display(), if *resizable { "set `size: [height, width]` and `channels: 1` or `3`" } else { "take all files from the same source" })]
    Shape {
        /// The image or file.
        path: PathBuf,
        /// Shape of the others.
        need: [usize; 3],
        /// Its shape.
        found: [usize; 3],
        /// Whether the setting `size` can make them alike.
        resizable: bool,
    },
    /// A list names images that do not exist.
    #[error("{}: {} listed images do not exist\n  first: {}\n  help: complete the images or remove the lines", list.display(), absent.len(), absent.iter().take(5).cloned().collect::<Vec<_>>().join(", "))]
    Absent {
        /// The list.
        list: PathBuf,
        /// Every image it names that is not there.
        absent: Vec<String>,
    },
    /// An image stands in two lists, so that a model would be tested on what it learned.
    #[error("{file} stands in {} and in {}\n  need: each image in one list only\n  help: remove it from one of them", first.display(), second.display())]
    ListedTwice {
        /// The image.
        file: String,
        /// The list read first.
        first: PathBuf,
        /// The other list.
        second: PathBuf,
    },
    /// A part of a data set has no samples.
    #[error("{}: no samples for the part `{part}`\n  need: at least one\n  help: check the files and lists of this part", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// `train` or `test`.
        part: &'static str,
    },
    /// The fields of an image set contradict each other.
    #[error("image set of shape {shape:?}: {pixels} pixel values and {labels} labels\n  need: {} values per label, labels below {classes}, `white` above 0\n  help: build the set from whole samples", shape.iter().product::<usize>())]
    Inconsistent {
        /// Channels, height, width.
        shape: [usize; 3],
        /// Number of classes.
        classes: usize,
        /// Pixel values held.
        pixels: usize,
        /// Labels held.
        labels: usize,
    },
    /// A sample number is past the end of its set.
    #[error("sample {index} of {len}\n  need: 0 to {}\n  help: ask for samples that exist", len.saturating_sub(1))]
    Sample {
        /// The sample asked for.
        index: usize,
        /// Samples in the set.
        len: usize,
    },
    /// A fetched file is not the expected one. Nothing was left on disk.
    #[error("{}: wrong sha256, nothing was kept\n  need: {expected}\n  found: {found}\n  help: try again; if it stays, the source has changed: fetch the file by hand and check where it came from", path.display())]
    Checksum {
        /// Where the file would have been put.
        path: PathBuf,
        /// The published checksum.
        expected: String,
        /// The checksum of what arrived.
        found: String,
    },
    /// Fetching failed.
    #[error(
        "{url}: {reason}\n  help: check the network, or fetch the file by hand and name its folder with `--data-dir`"
    )]
    Download {
        /// Address asked for.
        url: String,
        /// The cause.
        reason: String,
    },
    /// A data set has no source it could be fetched from.
    #[error("data set `{name}` cannot be downloaded\n  help: {}", remedy(name))]
    NotDownloadable {
        /// The data set.
        name: String,
    },
}

fn names() -> String {
    known().iter().map(|k| k.name).collect::<Vec<_>>().join(", ")
}

fn nearest_line(nearest: Option<&'static str>) -> String {
    nearest.map(|n| format!("\n  help: did you mean `{n}`?")).unwrap_or_default()
}

fn places(looked: &[Place]) -> String {
    let mut text = String::new();
    for place in looked {
        let _ = write!(text, "\n  looked in {}: ", place.dir.display());
        match &place.missing {
            None => text.push_str("no such folder"),
            Some(files) => {
                let _ = write!(text, "without {}", files.join(", "));
            }
        }
    }
    if looked.is_empty() {
        text.push_str("\n  looked in: no folder was named");
    }
    text
}

fn io_help(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::InvalidData => {
            "a text has to be UTF-8: save it so; of other files, check that they are whole"
        }
        _ => "check that the file exists, is readable and is whole",
    }
}

/// Attach the path to an I/O error.
pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> DataError + '_ {
    move |source| DataError::Io { path: path.to_path_buf(), source }
}
