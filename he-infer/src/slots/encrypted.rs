//! The planned program on ciphertexts.

use super::{Combination, ScalarMatrix, SlotEvaluator, no_bootstrap};
use crate::HeError;
use crate::bootstrap::{BootstrapParams, Bootstrapper};
use crate::ckks::{Ciphertext, Context, EvalKeys, Held, Plaintext, PlaintextMul};

/// Evaluates on ciphertexts with public evaluation keys; it cannot decrypt.
pub struct CkksSlots<'a> {
    context: &'a Context,
    keys: &'a EvalKeys,
    bootstrapper: Option<Bootstrapper<'a>>,
    held: Held,
}

impl<'a> CkksSlots<'a> {
    /// Evaluate with `keys` under the parameters of `context`.
    pub fn new(context: &'a Context, keys: &'a EvalKeys) -> Self {
        Self { context, keys, bootstrapper: None, held: Held::Residues }
    }

    /// With the factors of linear layers held in this form.
    #[must_use]
    pub fn holding(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    /// With bootstraps.
    ///
    /// # Errors
    /// Parameters of another chain.
    pub fn refreshing(mut self, params: &BootstrapParams) -> Result<Self, HeError> {
        self.bootstrapper = Some(Bootstrapper::new(self.context, params)?);
        Ok(self)
    }
}

impl SlotEvaluator for CkksSlots<'_> {
    type Vec = Ciphertext;
    type Factor = PlaintextMul;
    type Summand = Plaintext;

    fn slots(&self) -> usize {
        self.context.slots()
    }

    fn level(&self, a: &Ciphertext) -> usize {
        a.level()
    }

    fn scale(&self, a: &Ciphertext) -> f64 {
        a.scale()
    }

    fn factor(
        &self,
        values: &dyn Fn() -> Vec<f64>,
        level: usize,
        scale: f64,
    ) -> Result<PlaintextMul, HeError> {
        Ok(self.context.encode_mul(&values(), level, scale)?)
    }

    fn factors(
        &self,
        count: usize,
        period: usize,
        values: &(dyn Fn(usize) -> Vec<f64> + Sync),
        level: usize,
        scale: f64,
    ) -> Result<Vec<PlaintextMul>, HeError> {
        Ok(self.context.encode_muls(count, period, values, level, scale, self.held)?)
    }

    fn summand(&self, values: &dyn Fn() -> Vec<f64>, level: usize, scale: f64) -> Result<Plaintext, HeError> {
        Ok(self.context.encode(&values(), level, scale)?)
    }

    fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, HeError> {
        Ok(self.context.add(a, b)?)
    }

    fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, HeError> {
        Ok(self.context.sub(a, b)?)
    }

    fn add_plain(&self, a: &Ciphertext, p: &Plaintext) -> Result<Ciphertext, HeError> {
        Ok(self.context.add_plain(a, p)?)
    }

    fn add_const(&self, a: &Ciphertext, c: f64) -> Result<Ciphertext, HeError> {
        Ok(self.context.add_const(a, c)?)
    }

    fn mul_const(&self, a: &Ciphertext, c: f64, scale: f64) -> Result<Ciphertext, HeError> {
        Ok(self.context.mul_const(a, c, scale)?)
    }

    fn divide(&self, a: &Ciphertext, by: f64) -> Result<Ciphertext, HeError> {
        let mut a = a.clone();
        a.divide_message(by)?;
        Ok(a)
    }

    fn dot_plain(&self, terms: &[(&Ciphertext, &PlaintextMul)]) -> Result<Ciphertext, HeError> {
        Ok(self.context.dot_plain(terms)?)
    }

    fn square(&self, a: &Ciphertext) -> Result<Ciphertext, HeError> {
        Ok(self.context.square_rescale(a, self.keys)?)
    }

    fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, HeError> {
        Ok(self.context.mul_rescale(a, b, self.keys)?)
    }

    fn combine(
        &self,
        sum: &Combination<'_, Ciphertext>,
        level: usize,
        scale: f64,
    ) -> Result<Ciphertext, HeError> {
        Ok(self.context.combine(sum, level, scale, self.keys)?)
    }

    fn rescale(&self, a: &Ciphertext) -> Result<Ciphertext, HeError> {
        Ok(self.context.rescale(a)?)
    }

    fn drop_to(&self, a: &Ciphertext, level: usize) -> Result<Ciphertext, HeError> {
        Ok(self.context.drop_to_level(a, level)?)
    }

    fn settle(&self, mut a: Ciphertext, scale: f64) -> Result<Ciphertext, HeError> {
        a.set_exact_scale(scale)?;
        Ok(a)
    }

    fn refresh(&self, a: &[Ciphertext], divisor: f64) -> Result<Vec<Ciphertext>, HeError> {
        let bootstrapper = self.bootstrapper.as_ref().ok_or_else(no_bootstrap)?;
        let scaled = |a: &Ciphertext| -> Result<Ciphertext, HeError> {
            let mut x = a.clone();
            x.divide_message(divisor)?;
            x.set_exact_scale(self.context.default_scale())?;
            Ok(x)
        };
        let mut fresh = Vec::with_capacity(a.len());
        for vectors in a.chunks(2) {
            match vectors {
                [a, b] => fresh.extend(bootstrapper.bootstrap_pair([&scaled(a)?, &scaled(b)?], self.keys)?),
                rest => {
                    for a in rest {
                        fresh.push(bootstrapper.bootstrap(&scaled(a)?, self.keys)?);
                    }
                }
            }
        }
        for y in &mut fresh {
            // Not the reciprocal of the product before, which may differ from the planned scale in its last bit.
            y.set_exact_scale(self.context.default_scale())?;
            y.divide_message(1.0 / divisor)?;
        }
        Ok(fresh)
    }

    fn rotate(&self, a: &Ciphertext, step: i32) -> Result<Ciphertext, HeError> {
        Ok(self.context.rotate(a, step, self.keys)?)
    }

    fn rotate_many(&self, a: &Ciphertext, steps: &[i32]) -> Result<Vec<Ciphertext>, HeError> {
        Ok(self.context.rotate_many(a, steps, self.keys)?)
    }

    fn weighted_sums(
        &self,
        inputs: &[Ciphertext],
        matrix: &ScalarMatrix,
        scale: f64,
    ) -> Result<Vec<Ciphertext>, HeError> {
        Ok(self.context.matrix_const(inputs, &matrix.rows, scale)?)
    }
}
