//! Versioned files and messages for parameters, keys and ciphertexts.
//!
//! ```text
//! magic "HETRCKKS" · version u16 · object u8 · 0 u8 · 0 u32 · parameter digest [32] · payload length u64
//! payload (little endian; limb after limb, residues at the width of their prime: `math::packed`)
//! first 16 bytes of SHA-256 over everything before
//! ```
//! The payload of a key, and each ciphertext of a list, begins with the number of the key it belongs to.
//! Keys and fresh ciphertexts keep only the seed of their uniform half: half the size. Every length is checked against the
//! parameters before memory is allocated, and every residue against its prime. Decoders return errors on any input.
//!
//! The checksum finds accidents, not attackers: ciphertexts are malleable, so transport needs authentication. A secret key is
//! written in the clear; the caller must protect the file. Writers write to any `Write`; to replace a file safely, write to
//! a temporary one and rename it.
mod error;
mod frame;
mod read;
mod write;

pub use error::WireError;
pub use frame::Object;
pub use read::{
    StoredParams, read_ciphertexts, read_eval_keys, read_params, read_public_key, read_secret_key,
    read_seeded_ciphertexts,
};
pub use write::{
    write_ciphertexts, write_eval_keys, write_params, write_public_key, write_secret_key,
    write_seeded_ciphertexts, write_toy_params,
};

/// Version this crate writes; newer ones are refused.
///
/// Version 3 put the [`crate::ckks::KeyId`] into keys and ciphertexts, version 4 packs residues, version 5 holds evaluation keys divided
/// by `P`; what lacks them is refused, so parameters are read in all versions, secret keys from version 3, evaluation keys from version
/// 5 and everything else from version 4.
pub const FORMAT_VERSION: u16 = 5;

/// Most ciphertexts in one list.
pub const MAX_LIST: u32 = 1 << 20;

/// Bytes of one switching key besides its residues: kind, step, level, gadget, seed.
pub(crate) const SWITCH_KEY_OVERHEAD: u64 = 4 + 4 + 4 + 4 + 32;

/// Bytes of one ciphertext besides its residues and seed: key id, level, scale.
pub(super) const CIPHERTEXT_OVERHEAD: u64 = 8 + 4 + 8;

/// Bytes of an evaluation-key file besides the keys: frame, key id and count.
pub(crate) fn eval_keys_overhead() -> u64 {
    frame::HEADER_BYTES + 8 + 4 + frame::CHECKSUM_BYTES as u64
}
