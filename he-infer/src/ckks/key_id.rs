//! Which secret a key or ciphertext belongs to.

use std::fmt;

use rand::CryptoRng;

use super::ciphertext::Ciphertext;
use super::context::Context;
use super::error::CkksError;
use super::keys::{EvalKeys, SwitchKey};

/// A random number drawn when a key pair is made, carried by all its keys and by everything encrypted under it.
///
/// It is public, tells nothing about the key, and finds mix-ups rather than forgeries: anyone can write another number into a
/// file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyId(pub(crate) u64);

impl KeyId {
    pub(super) fn draw(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(rng.next_u64())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Require two operands of one key.
pub(super) fn check_owners(
    operation: &'static str,
    (left, left_key): (&'static str, KeyId),
    (right, right_key): (&'static str, KeyId),
) -> Result<(), CkksError> {
    if left_key == right_key {
        Ok(())
    } else {
        Err(CkksError::ForeignKey { operation, left, left_key, right, right_key })
    }
}

impl Context {
    /// A key of these parameters and of the ciphertext's owner.
    pub(super) fn check_key(
        &self,
        operation: &'static str,
        object: &'static str,
        key: &SwitchKey,
        ct: &Ciphertext,
    ) -> Result<(), CkksError> {
        self.check_id(operation, object, key.id)?;
        check_owners(operation, ("ciphertext", ct.owner), (object, key.owner))
    }
}

impl EvalKeys {
    /// Check that `cts` are encrypted under the key these keys were made from, before anything is computed.
    ///
    /// # Errors
    /// [`CkksError::ForeignKey`].
    pub fn check_owner(&self, operation: &'static str, cts: &[Ciphertext]) -> Result<(), CkksError> {
        let keys = ("evaluation keys", self.key_id());
        cts.iter().try_for_each(|ct| check_owners(operation, ("ciphertext", ct.owner), keys))
    }
}
