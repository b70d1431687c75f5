//! The frame around every object: header, length accounting and checksum.

use std::fmt;
use std::io::{Read, Write};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::FORMAT_VERSION;
use super::error::WireError;
use crate::ckks::KeyId;
use crate::math::backend::Backend;
use crate::math::modulus::Modulus;
use crate::math::packed::{self, TILE};

const MAGIC: [u8; 8] = *b"HETRCKKS";
pub(super) const HEADER_BYTES: u64 = 8 + 2 + 1 + 1 + 4 + 32 + 8;
pub(super) const CHECKSUM_BYTES: usize = 16;

/// Kind of a stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Object {
    /// Parameters.
    Params = 1,
    /// A secret key.
    SecretKey = 2,
    /// A public key.
    PublicKey = 3,
    /// Evaluation keys.
    EvalKeys = 4,
    /// Ciphertexts in full.
    Ciphertexts = 5,
    /// Fresh ciphertexts with seeds.
    SeededCiphertexts = 6,
}

impl Object {
    fn from_byte(b: u8) -> Option<Self> {
        use Object::{Ciphertexts, EvalKeys, Params, PublicKey, SecretKey, SeededCiphertexts};
        [Params, SecretKey, PublicKey, EvalKeys, Ciphertexts, SeededCiphertexts]
            .into_iter()
            .find(|o| *o as u8 == b)
    }

    /// Oldest version that can still be read: nothing named its key before version 3, residues were not packed before version 4, and
    /// evaluation keys mean something else since version 5.
    fn oldest_version(self) -> u16 {
        match self {
            Self::Params => 1,
            Self::SecretKey => 3,
            Self::PublicKey | Self::Ciphertexts | Self::SeededCiphertexts => 4,
            Self::EvalKeys => 5,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Params => "parameters",
            Self::SecretKey => "a secret key",
            Self::PublicKey => "a public key",
            Self::EvalKeys => "evaluation keys",
            Self::Ciphertexts => "ciphertexts",
            Self::SeededCiphertexts => "fresh ciphertexts with seeds",
        })
    }
}

/// Writes a frame: header first, then payload pieces, then the checksum.
pub(super) struct FrameWriter<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> FrameWriter<W> {
    pub fn start(inner: W, object: Object, digest: &[u8; 32], payload: u64) -> Result<Self, WireError> {
        let mut frame = Self { inner, hash: Sha256::new() };
        frame.bytes(&MAGIC)?;
        frame.bytes(&FORMAT_VERSION.to_le_bytes())?;
        frame.bytes(&[object as u8, 0, 0, 0, 0, 0])?;
        frame.bytes(digest)?;
        frame.bytes(&payload.to_le_bytes())?;
        Ok(frame)
    }

    pub fn bytes(&mut self, b: &[u8]) -> Result<(), WireError> {
        self.hash.update(b);
        Ok(self.inner.write_all(b)?)
    }

    pub fn u32(&mut self, x: u32) -> Result<(), WireError> {
        self.bytes(&x.to_le_bytes())
    }

    pub fn key_id(&mut self, key: KeyId) -> Result<(), WireError> {
        self.words(&[key.0])
    }

    pub fn words(&mut self, words: &[u64]) -> Result<(), WireError> {
        let mut buffer = [0u8; 8192];
        for chunk in words.chunks(buffer.len() / 8) {
            for (dst, src) in buffer.as_chunks_mut::<8>().0.iter_mut().zip(chunk) {
                *dst = src.to_le_bytes();
            }
            self.bytes(buffer.split_at(8 * chunk.len()).0)?;
        }
        Ok(())
    }

    /// Residues modulo `m`, packed.
    pub fn residues(&mut self, backend: Backend, m: &Modulus, residues: &[u64]) -> Result<(), WireError> {
        let mut buffer = [0u64; TILE];
        for chunk in residues.chunks(TILE) {
            let out = buffer.split_at_mut(packed::words(chunk.len(), packed::width(m.value()))).0;
            packed::pack(backend, packed::width(m.value()), out, chunk);
            self.words(out)?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<(), WireError> {
        let sum: [u8; 32] = self.hash.finalize().into();
        self.inner.write_all(sum.split_at(CHECKSUM_BYTES).0)?;
        Ok(self.inner.flush()?)
    }
}

fn unpack_checked(backend: Backend, m: &Modulus, out: &mut [u64], words: &[u64]) -> Result<(), WireError> {
    packed::unpack::<false>(backend, packed::width(m.value()), out, words);
    if out.iter().fold(0, |a, b| a.max(*b)) < m.value() {
        Ok(())
    } else {
        Err(WireError::Corrupt { detail: "residue not below its prime" })
    }
}

/// Reads a frame and keeps account of the payload that is left.
pub(super) struct FrameReader<R> {
    inner: R,
    hash: Sha256,
    left: u64,
    pub digest: [u8; 32],
}

impl<R: Read> FrameReader<R> {
    /// Read the header and check that it announces `expected`.
    pub fn start(inner: R, expected: Object) -> Result<Self, WireError> {
        let mut frame = Self { inner, hash: Sha256::new(), left: HEADER_BYTES, digest: [0; 32] };
        if frame.array::<8>()? != MAGIC {
            return Err(WireError::NotOurs);
        }
        let version = u16::from_le_bytes(frame.array()?);
        if version > FORMAT_VERSION {
            return Err(WireError::NewerVersion { found: version, supported: FORMAT_VERSION });
        }
        let [object, rest @ ..] = frame.array::<6>()?;
        if version == 0 || rest != [0; 5] {
            return Err(WireError::Corrupt { detail: "impossible header" });
        }
        let found =
            Object::from_byte(object).ok_or(WireError::Corrupt { detail: "unknown kind of object" })?;
        if found != expected {
            return Err(WireError::WrongObject { expected, found });
        }
        let (object, oldest) = (found, found.oldest_version());
        if version < oldest {
            return Err(WireError::OlderVersion { object, found: version, oldest });
        }
        frame.digest = frame.array()?;
        frame.left = u64::from_le_bytes(frame.array()?);
        Ok(frame)
    }

    /// Require the parameter digest `expected`.
    pub fn check_digest(&self, expected: &[u8; 32]) -> Result<(), WireError> {
        if self.digest == *expected {
            return Ok(());
        }
        let hex = |d: &[u8; 32]| d.iter().take(6).map(|b| format!("{b:02x}")).collect();
        Err(WireError::OtherParameters { expected: hex(expected), found: hex(&self.digest) })
    }

    /// Require that at least `bytes` of payload are announced; call before allocating for them.
    pub fn need(&self, bytes: u64) -> Result<(), WireError> {
        if bytes <= self.left {
            Ok(())
        } else {
            Err(WireError::Corrupt { detail: "payload shorter than its content" })
        }
    }

    pub fn read(&mut self, out: &mut [u8]) -> Result<(), WireError> {
        self.need(out.len() as u64)?;
        self.inner.read_exact(out)?;
        self.left -= out.len() as u64;
        self.hash.update(&*out);
        Ok(())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        self.read(&mut out)?;
        Ok(out)
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn key_id(&mut self) -> Result<KeyId, WireError> {
        Ok(KeyId(self.u64()?))
    }

    /// A scale: finite and at least 1.
    pub fn scale(&mut self) -> Result<f64, WireError> {
        let scale = f64::from_bits(self.u64()?);
        if scale.is_finite() && scale >= 1.0 {
            Ok(scale)
        } else {
            Err(WireError::Corrupt { detail: "impossible scale" })
        }
    }

    fn words(&mut self, out: &mut [u64]) -> Result<(), WireError> {
        self.read(bytemuck::cast_slice_mut(out))?;
        out.iter_mut().for_each(|x| *x = u64::from_le(*x));
        Ok(())
    }

    /// Residues, each checked to be below the modulus.
    pub fn residues(&mut self, backend: Backend, m: &Modulus, out: &mut [u64]) -> Result<(), WireError> {
        let mut buffer = [0u64; TILE];
        for out in out.chunks_mut(TILE) {
            let packed = buffer.split_at_mut(packed::words(out.len(), packed::width(m.value()))).0;
            self.words(packed)?;
            unpack_checked(backend, m, out, packed)?;
        }
        Ok(())
    }

    /// Residues that stay packed, each checked to be below the modulus.
    pub fn packed(&mut self, backend: Backend, m: &Modulus, out: &mut [u64]) -> Result<(), WireError> {
        let mut buffer = [0u64; TILE];
        self.words(out)?;
        for out in out.chunks(packed::words(TILE, packed::width(m.value()))) {
            let residues = buffer.split_at_mut(64 * out.len() / packed::width(m.value())).0;
            unpack_checked(backend, m, residues, out)?;
        }
        Ok(())
    }

    /// Secret bytes, overwritten when dropped.
    pub fn secret(&mut self, len: usize) -> Result<Zeroizing<Vec<u8>>, WireError> {
        self.need(len as u64)?;
        let mut out = Zeroizing::new(vec![0; len]);
        self.read(&mut out)?;
        Ok(out)
    }

    /// Check that the payload is used up and the checksum agrees.
    pub fn finish(mut self) -> Result<(), WireError> {
        if self.left != 0 {
            return Err(WireError::Corrupt { detail: "payload longer than its content" });
        }
        let sum: [u8; 32] = self.hash.finalize().into();
        let mut stored = [0; CHECKSUM_BYTES];
        self.inner.read_exact(&mut stored)?;
        if sum.starts_with(&stored) {
            Ok(())
        } else {
            Err(WireError::Corrupt { detail: "checksum does not agree" })
        }
    }
}
