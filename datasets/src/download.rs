//! Fetching public data sets, each file held to its published sha256 (feature `download`).

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::read::MultiGzDecoder;

use crate::{
    DataError,
    error::io,
    install::{Temporary, file_sha256, install_verified},
    known::{by_name, nearest},
};

/// No file of a known set is larger; a server that sends more is cut off and the checksum fails.
const SIZE_LIMIT: u64 = 1 << 30;

/// File names and checksums of one source.
type Files = &'static [(&'static str, &'static str)];

const MNIST: Files = &[
    ("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    ("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    ("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
];
const FASHION: Files = &[
    ("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
];
const OPTDIGITS: Files = &[
    ("optdigits.tra", "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd"),
    ("optdigits.tes", "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"),
];
const CIFAR: Files =
    &[("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")];

/// The folder inside CIFAR's archive.
const CIFAR_FOLDER: &str = "cifar-10-batches-bin";

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file being fetched.
    pub file: String,
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes in all, where the server says so.
    pub total: Option<u64>,
}

/// Fetch a data set into `cache_dir` (see [`cache_dir`](crate::cache_dir)); returns its folder.
///
/// Files that are there with the right checksum are not fetched again, so a broken download
/// continues with the next file. `load` finds the result when `cache_dir` is its data folder or the
/// user's cache.
///
/// # Errors
/// [`DataError::NotDownloadable`], [`DataError::Download`], [`DataError::Checksum`] or
/// [`DataError::Io`]; no file is ever left half-written.
pub fn download(
    name: &str,
    cache_dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, DataError> {
    download_from(name, cache_dir, None, progress)
}

/// As [`download`], from another address with the same files, such as a mirror.
///
/// # Errors
/// As [`download`].
pub fn download_from(
    name: &str,
    cache_dir: &Path,
    base: Option<&str>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, DataError> {
    let Some(known) = by_name(name) else {
        return Err(DataError::UnknownDataset { name: name.to_owned(), nearest: nearest(name) });
    };
    let (folder, files) = match name {
        "mnist" => ("mnist", MNIST),
        "fashion-mnist" => ("fashion-mnist", FASHION),
        "optdigits" => ("optdigits", OPTDIGITS),
        "cifar10" => ("cifar10", CIFAR),
        _ => return Err(DataError::NotDownloadable { name: name.to_owned() }),
    };
    let dir = cache_dir.join(folder);
    let base = base.unwrap_or(known.address).trim_end_matches('/');
    if name == "cifar10" {
        return cifar(&dir, base, files, progress);
    }
    fetch_all(files, &dir, base, progress)?;
    Ok(dir)
}

/// CIFAR-10 comes as one archive; only its unpacked folder stays.
fn cifar(
    dir: &Path,
    base: &str,
    files: Files,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, DataError> {
    let dest = dir.join(CIFAR_FOLDER);
    // The folder is renamed into place whole, so its being there is enough.
    if !dest.exists() {
        fetch_all(files, dir, base, progress)?;
        for (name, _) in files {
            let archive = dir.join(name);
            unpack_folder(&archive, CIFAR_FOLDER, &dest)?;
            fs::remove_file(&archive).map_err(io(&archive))?;
        }
    }
    Ok(dest)
}

fn fetch_all(
    files: Files,
    dir: &Path,
    base: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), DataError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .build()
        .into();
    for (name, sha256) in files {
        let dest = dir.join(name);
        if dest.exists() && file_sha256(&dest)? == *sha256 {
            continue;
        }
        let url = format!("{base}/{name}");
        let failed =
            |reason: ureq::Error| DataError::Download { url: url.clone(), reason: reason.to_string() };
        let body = agent.get(&url).call().map_err(failed)?.into_body();
        let total = body.content_length();
        let inner = body.into_with_config().limit(SIZE_LIMIT).reader();
        install_verified(
            Counting { inner, file: name, done: 0, total, progress: &mut *progress },
            sha256,
            &dest,
        )?;
    }
    Ok(())
}

/// Unpack the plain files of one folder of an archive and rename the whole into place.
fn unpack_folder(archive: &Path, folder: &str, dest: &Path) -> Result<(), DataError> {
    let temp = Temporary::beside(dest);
    fs::create_dir_all(&temp.0).map_err(io(&temp.0))?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(File::open(archive).map_err(io(archive))?));
    for entry in tar.entries().map_err(io(archive))? {
        let mut entry = entry.map_err(io(archive))?;
        let path = entry.path().map_err(io(archive))?.into_owned();
        // One plain name below the folder: nothing can be written anywhere else.
        let inside = path.parent() == Some(Path::new(folder)) && entry.header().entry_type().is_file();
        if let Some(name) = path.file_name().filter(|_| inside) {
            let target = temp.0.join(name);
            let mut file = File::create(&target).map_err(io(&target))?;
            std::io::copy(&mut entry, &mut file).map_err(io(&target))?;
            file.sync_all().map_err(io(&target))?;
        }
    }
    fs::rename(&temp.0, dest).map_err(io(dest))
}

/// Reports each read.
struct Counting<'a, R> {
    inner: R,
    file: &'a str,
    done: u64,
    total: Option<u64>,
    progress: &'a mut dyn FnMut(Progress),
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        (self.progress)(Progress { file: self.file.to_owned(), done: self.done, total: self.total });
        Ok(n)
    }
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
