//! A file arrives whole and checked, or not at all.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};

use crate::{DataError, error::io, file, set::hex};

/// Write what `reader` gives to `dest` if its sha256 is the expected one; returns the byte count.
///
/// The bytes go to a temporary file beside `dest`, which is checked, flushed to disk and renamed, so
/// that `dest` never holds part of a file. On every error the temporary file is removed and what was
/// at `dest` stays.
///
/// # Errors
/// [`DataError::Checksum`] for other bytes than expected, [`DataError::Io`] when reading or writing fails.
pub fn install_verified(mut reader: impl Read, sha256: &str, dest: &Path) -> Result<u64, DataError> {
    let dir = dest.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(io(dir))?;
    let temp = Temporary::beside(dest);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temp.0).map_err(io(&temp.0))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(io(dest)(e)),
        };
        let bytes = buffer.get(..n).unwrap_or_default();
        hash.update(bytes);
        file.write_all(bytes).map_err(io(&temp.0))?;
        total += n as u64;
    }
    let found = hex(&hash.finalize());
    if !found.eq_ignore_ascii_case(sha256) {
        return Err(DataError::Checksum { path: dest.to_path_buf(), expected: sha256.to_owned(), found });
    }
    file.sync_all().map_err(io(&temp.0))?;
    drop(file);
    fs::rename(&temp.0, dest).map_err(io(dest))?;
    Ok(total)
}

/// The sha256 of a file, in hexadecimal.
///
/// # Errors
/// [`DataError::Io`] when it cannot be read.
pub fn file_sha256(path: &Path) -> Result<String, DataError> {
    let mut file = file::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io(path))? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// A file or folder that is removed when this is dropped, unless it was renamed before.
pub(crate) struct Temporary(pub PathBuf);

impl Temporary {
    /// A name of its own in the folder of `dest`, so that renaming stays on one file system.
    pub fn beside(dest: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = dest.file_name().unwrap_or_default().to_string_lossy();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(dest.with_file_name(format!(".{name}.part-{}-{n}", process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the name says that the file is a part.
        let _ = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sha256 of `abc` (FIPS 180-2).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_right_bytes_are_installed() {
        let tmp = tempfile::tempdir().unwrap();
        let dest = tmp.path().join("new/folder/file");
        assert_eq!(install_verified(&b"abc"[..], ABC, &dest).unwrap(), 3);
        assert_eq!(fs::read(&dest).unwrap(), b"abc");
        assert_eq!(names(dest.parent().unwrap()), ["file"]);
        assert_eq!(file_sha256(&dest).unwrap(), ABC);
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing_and_names_both() {
        let tmp = tempfile::tempdir().unwrap();
        let error = install_verified(&b"abd"[..], ABC, &tmp.path().join("file")).unwrap_err();
        assert!(
            matches!(&error, DataError::Checksum { expected, found, .. } if expected == ABC && found != ABC)
        );
        let text = error.to_string();
        assert!(
            text.contains(ABC)
                && text.contains("found: a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9"),
            "{text}"
        );
        assert!(names(tmp.path()).is_empty());
    }

    #[test]
    fn a_failure_keeps_what_was_there() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
        }
        let tmp = tempfile::tempdir().unwrap();
        let dest = tmp.path().join("file");
        fs::write(&dest, "old").unwrap();
        assert!(matches!(
            install_verified((&b"ab"[..]).chain(Broken), ABC, &dest),
            Err(DataError::Io { .. })
        ));
        assert!(install_verified(&b"x"[..], ABC, &dest).is_err());
        assert_eq!(fs::read(&dest).unwrap(), b"old");
        assert_eq!(names(tmp.path()), ["file"]);
    }
}
