//! The side that computes and learns nothing: program, weights, evaluation keys, ciphertexts.
//!
//! This file must not be able to name the secret key's type; it imports from the engine only what is public knowledge.

use std::sync::Arc;

use super::executor::{NoObserver, Observer, Prepared, execute};
use crate::HeError;
use crate::ckks::{Ciphertext, Context, EvalKeys};
use crate::plan::Program;
use crate::slots::CkksSlots;

/// A server of one program with one client's evaluation keys.
pub struct Server<'a> {
    program: Arc<Program>,
    keys: &'a EvalKeys,
    slots: CkksSlots<'a>,
    prepared: Prepared<CkksSlots<'a>>,
}

impl<'a> Server<'a> {
    /// Prepare the program's weights in the current thread pool.
    ///
    /// # Errors
    /// Weights that do not fit the parameters.
    pub fn new(program: Arc<Program>, context: &'a Context, keys: &'a EvalKeys) -> Result<Self, HeError> {
        let mut slots = CkksSlots::new(context, keys).holding(program.keep.held());
        if let Some(refreshing) = &program.refreshing {
            slots = slots.refreshing(&refreshing.params)?;
        }
        let prepared = Prepared::new(&slots, &program)?;
        Ok(Self { program, keys, slots, prepared })
    }

    /// From fresh ciphertexts to result ciphertexts.
    ///
    /// # Errors
    /// Ciphertexts of another program or key, missing keys.
    pub fn infer(&self, input: Vec<Ciphertext>) -> Result<Vec<Ciphertext>, HeError> {
        self.infer_observed(input, &mut NoObserver)
    }

    /// As [`Server::infer`], telling `observer` of every node.
    ///
    /// # Errors
    /// As [`Server::infer`], and whatever the observer reports.
    pub fn infer_observed<O>(
        &self,
        input: Vec<Ciphertext>,
        observer: &mut O,
    ) -> Result<Vec<Ciphertext>, HeError>
    where
        O: Observer<CkksSlots<'a>>,
    {
        self.keys.check_owner("infer", &input)?;
        execute(&self.slots, &self.program, &self.prepared, input, observer)
    }
}
