//! Opening data files. A named pipe or a device in place of one would be waited for forever, so only files are opened.

use std::{
    fs::{self, File, FileType},
    io::{self, Read},
    path::Path,
};

use crate::{DataError, error::io as failed};

/// Open the file at `path`.
///
/// # Errors
/// [`DataError::NoFile`] for a folder, pipe, socket or device; [`DataError::Io`].
pub(crate) fn open(path: &Path) -> Result<File, DataError> {
    let kind = fs::metadata(path).map_err(failed(path))?.file_type();
    if !kind.is_file() {
        return Err(DataError::NoFile { path: path.to_path_buf(), found: name(kind) });
    }
    File::open(path).map_err(failed(path))
}

/// All bytes of the file at `path`.
///
/// # Errors
/// As [`open`].
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(failed(path))?;
    Ok(bytes)
}

/// The text in the file at `path`.
///
/// # Errors
/// As [`open`]; text that is not UTF-8.
pub(crate) fn text(path: &Path) -> Result<String, DataError> {
    String::from_utf8(bytes(path)?)
        .map_err(|e| failed(path)(io::Error::new(io::ErrorKind::InvalidData, e.utf8_error())))
}

/// What a path leads to that is no file.
fn name(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "no regular file" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_folders_are_not() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a");
        fs::write(&path, "text").unwrap();
        assert_eq!(text(&path).unwrap(), "text");
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(bytes(&path).unwrap(), [0xff]);
        assert!(matches!(text(&path), Err(DataError::Io { .. })));
        assert!(matches!(open(&tmp.path().join("b")), Err(DataError::Io { .. })));
        assert!(matches!(open(tmp.path()), Err(DataError::NoFile { found: "a folder", .. })));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = bytes(&path).unwrap_err().to_string();
        assert!(error.contains("pipe: a named pipe") && error.contains("help: "), "{error}");
        assert!(matches!(open(Path::new("/dev/zero")), Err(DataError::NoFile { found: "a device", .. })));
    }
}
