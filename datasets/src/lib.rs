//! Images and texts in their original formats, and seeded batches of them.
//!
//! ```text
//! DatasetConfig ──load──► Splits { train, test, validation? }      integers, as stored
//!                            └─ ImageSet ──Batcher──► ImageBatch   f32, shuffled, augmented
//!                                  ├─ validation_split             a part to choose by
//!                                  └─ Calibration::sample          the samples ranges are measured on
//! ```
//! Nothing here depends on a training framework, and nothing keeps state between batches: order and
//! augmentation are functions of `(seed, epoch, sample)`.
//!
//! ```
//! use hetrain_datasets::{Batcher, DatasetConfig, Normalise, load};
//!
//! let splits = load(&DatasetConfig::named("digits"), None, 42)?;
//! let batcher = Batcher::new(&splits.train, 64, 42, &Normalise::measure(&splits.train), None)?;
//! let batch = batcher.batch(0, 0);
//! assert_eq!(batch.shape, [64, 1, 8, 8]);
//! # Ok::<(), hetrain_datasets::DataError>(())
//! ```
#![forbid(unsafe_code)]

mod augment;
mod batch;
mod byte_pairs;
mod calibration;
mod cifar;
mod cifar_jpeg;
mod config;
mod decode;
mod digits;
#[cfg(feature = "download")]
mod download;
mod error;
mod file;
mod idx;
mod image_folder;
mod install;
mod known;
mod load;
mod locate;
mod normalise;
mod optdigits;
mod resize;
mod seeded;
mod set;
mod text;
mod vocabulary;

pub use augment::Augment;
pub use batch::{Batcher, ImageBatch};
pub use calibration::{Calibration, validation_split};
pub use config::DatasetConfig;
#[cfg(feature = "download")]
pub use download::{Progress, download, download_from};
pub use error::{DataError, Place};
pub use install::{file_sha256, install_verified};
pub use known::{Known, known, nearest};
pub use load::{load, load_in};
pub use locate::{cache_dir, weights};
pub use normalise::Normalise;
pub use set::{ImageSet, Splits};
pub use text::windows;
pub use vocabulary::Vocabulary;
