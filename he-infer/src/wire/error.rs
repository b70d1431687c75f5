//! What can be wrong with a file.

use std::io;

use super::frame::Object;

/// An error while reading or writing an object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes do not start like one of our files.
    #[error("not a hetrain CKKS file (wrong magic bytes); check the path")]
    NotOurs,
    /// The file comes from a later release.
    #[error("format version {found} is newer than the supported {supported}; update this program")]
    NewerVersion {
        /// Version in the file.
        found: u16,
        /// Version this crate knows.
        supported: u16,
    },
    /// The file comes from an earlier release that lacks something this one needs.
    #[error(
        "{object} of format version {found} can no longer be read, {oldest} is the oldest; make the file again"
    )]
    OlderVersion {
        /// What the file holds.
        object: Object,
        /// Version in the file.
        found: u16,
        /// Oldest version that can be read.
        oldest: u16,
    },
    /// The file holds something else.
    #[error("the file holds {found}, expected {expected}")]
    WrongObject {
        /// What was asked for.
        expected: Object,
        /// What is there.
        found: Object,
    },
    /// The object was made for other parameters.
    #[error(
        "made for other parameters (digest {found}…, here {expected}…); use the matching parameters or make it again"
    )]
    OtherParameters {
        /// First bytes of the digest here, hexadecimal.
        expected: String,
        /// First bytes of the digest in the file, hexadecimal.
        found: String,
    },
    /// The data end early.
    #[error("the data end early, the file is truncated; transfer it again")]
    Truncated,
    /// The content contradicts itself or its checksum.
    #[error("corrupt data: {detail}; transfer it again")]
    Corrupt {
        /// What failed.
        detail: &'static str,
    },
    /// An object given to a writer does not belong to the context.
    #[error("cannot write: {detail}")]
    Unwritable {
        /// Why.
        detail: &'static str,
    },
    /// Stored parameters do not pass their checks.
    #[error("stored parameters are refused")]
    Parameters(#[from] crate::ckks::CkksError),
    /// The reader or writer failed.
    #[error("input or output failed")]
    Io(#[source] io::Error),
}

impl From<io::Error> for WireError {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Io(e) }
    }
}
