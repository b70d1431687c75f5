//! Ciphertexts: two polynomials in transformed form, with their level and exact scale.

use super::context::check_scales;
use super::error::CkksError;
use super::key_id::KeyId;
use crate::math::poly::RnsPoly;
use crate::math::sampling::Seed;

/// An encryption `(c0, c1)` with `c0 + c1 s = scale * message + noise` over `q_0..q_level`.
#[derive(Clone)]
pub struct Ciphertext {
    pub(crate) c0: RnsPoly,
    pub(crate) c1: RnsPoly,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) id: u64,
    pub(crate) owner: KeyId,
}

impl Ciphertext {
    /// Remaining rescalings.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Exact factor between message and plaintext polynomial.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The key it is encrypted under.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.owner
    }

    /// Replace the recorded scale by an equal one up to floating-point rounding (`2^-30` relative), as computed by a
    /// planner with its own order of operations.
    ///
    /// # Errors
    /// [`CkksError::ScaleMismatch`] if `scale` differs by more than `2^-30`: that would change the message.
    pub fn set_exact_scale(&mut self, scale: f64) -> Result<(), CkksError> {
        check_scales("set_exact_scale", self.scale, scale)?;
        self.scale = scale;
        Ok(())
    }

    /// Reinterpret the message as divided by `factor`, by multiplying the recorded scale: free and exact.
    ///
    /// # Errors
    /// [`CkksError::BadScale`] if the resulting scale is not a finite number of at least 1.
    pub fn divide_message(&mut self, factor: f64) -> Result<(), CkksError> {
        super::context::check_scale("divide_message", self.scale * factor)?;
        self.scale *= factor;
        Ok(())
    }
}

/// A fresh secret-key encryption whose second half is a seed: half the size on the way to the server.
#[derive(Clone)]
pub struct SeededCiphertext {
    pub(crate) c0: RnsPoly,
    pub(crate) seed: Seed,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) id: u64,
    pub(crate) owner: KeyId,
}

impl SeededCiphertext {
    /// Remaining rescalings.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Exact factor between message and plaintext polynomial.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The key it is encrypted under.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.owner
    }
}
