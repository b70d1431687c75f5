//! The procedure itself. `run_tally.rs` counts its work, function by function.

use super::{Bootstrapper, Order};
use crate::HeError;
use crate::ckks::{Ciphertext, CkksError, EvalKeys};
use crate::slots::CkksSlots;

impl Bootstrapper<'_> {
    /// Refresh a ciphertext with real slots in [-1, 1] at the default scale.
    ///
    /// # Errors
    /// A ciphertext below [`Bootstrapper::input_level`] or of another scale, or missing keys.
    pub fn bootstrap(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, HeError> {
        let run = |[ct]: [&Ciphertext; 1], shrink: f64| match self.layout.order {
            Order::SlotsFirst => {
                let slots = self.to_slots(ct, keys)?;
                Ok([self.reduce(&self.twice_real(&slots, keys)?, keys, shrink)?])
            }
            Order::RaiseFirst => {
                let z = self.run_complex(ct, keys, 0.5 * shrink)?;
                Ok([self.twice_real(&z, keys)?])
            }
        };
        let [out] = self.refine([ct], true, keys, run)?;
        Ok(out)
    }

    /// Refresh two real ciphertexts in one run (about 0.65 of the time of two). With [`super::Order::RaiseFirst`] the squares of two
    /// slots must not add up to more than 1.
    ///
    /// # Errors
    /// As for [`Bootstrapper::bootstrap`], or ciphertexts of different levels.
    pub fn bootstrap_pair(
        &self,
        pair: [&Ciphertext; 2],
        keys: &EvalKeys,
    ) -> Result<[Ciphertext; 2], HeError> {
        self.refine(pair, true, keys, |[a, b], shrink| {
            let joined = self.join(a, b)?;
            match self.layout.order {
                Order::SlotsFirst => {
                    let [real, imaginary] = self.twice_parts(&self.to_slots(&joined, keys)?, keys)?;
                    Ok([self.reduce(&real, keys, shrink)?, self.reduce(&imaginary, keys, shrink)?])
                }
                Order::RaiseFirst => {
                    let z = self.run_complex(&joined, keys, 0.5 * shrink)?;
                    self.twice_parts(&z, keys)
                }
            }
        })
    }

    /// Refresh a ciphertext with complex slots at the default scale, real and imaginary parts in [-1, 1] (with
    /// [`super::Order::RaiseFirst`], which reduces coefficients, numbers of absolute value 1 at most). The time is that of
    /// [`Bootstrapper::bootstrap_pair`]. The noise of each half reaches both parts of the result: half a bit less precision.
    ///
    /// # Errors
    /// As for [`Bootstrapper::bootstrap`].
    pub fn bootstrap_complex(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, HeError> {
        let [out] =
            self.refine([ct], false, keys, |[ct], shrink| Ok([self.run_complex(ct, keys, shrink)?]))?;
        Ok(out)
    }

    /// One run, or for double precision a second one on what the first got wrong (Bae et al. 2022, Meta-BTS):
    /// `c_1 = run(c_0)`, then `c_1 + 2^-k run(2^k (c_0 - c_1))`.
    ///
    /// Neither factor costs a level: `2^k` is an integer, and for `2^-k` the second modular reduction ends at a scale
    /// smaller by `2^k`. Its last rounding is then one at the default scale, which is what limits the precision. The second
    /// run does not see what differs between copies of a value, nor imaginary parts of `real` slots: that noise of the first
    /// run is removed before.
    fn refine<const N: usize>(
        &self,
        input: [&Ciphertext; N],
        real: bool,
        keys: &EvalKeys,
        run: impl Fn([&Ciphertext; N], f64) -> Result<[Ciphertext; N], HeError>,
    ) -> Result<[Ciphertext; N], HeError> {
        let Some(magnification) = self.layout.magnification else { return run(input, 1.0) };
        let each = 1.0 / self.layout.copies as f64;
        let mut out = run(input, if real { 0.5 * each } else { each })?;
        for half in &mut out {
            if real {
                *half = self.twice_real(half, keys)?;
            }
            self.add_copies(half, keys)?;
        }
        let (ctx, level) = (self.context, self.input_level());
        let mut errors = out.clone();
        for (e, c0) in errors.iter_mut().zip(input) {
            let mut difference = ctx.drop_to_level(c0, level)?;
            ctx.sub_assign(&mut difference, &ctx.drop_to_level(e, level)?)?;
            *e = ctx.mul_const(&difference, magnification, 1.0)?;
        }
        for (out, correction) in out.iter_mut().zip(run(errors.each_ref(), 1.0 / magnification)?) {
            ctx.add_assign(out, &correction)?;
        }
        Ok(out)
    }

    /// Complex slots in one run, times `shrink`.
    fn run_complex(&self, ct: &Ciphertext, keys: &EvalKeys, shrink: f64) -> Result<Ciphertext, HeError> {
        let [real, imaginary] = self.twice_parts(&self.to_slots(ct, keys)?, keys)?;
        let parts = [self.reduce(&real, keys, shrink)?, self.reduce(&imaginary, keys, shrink)?];
        let mut out = self.join(&parts[0], &parts[1])?;
        if self.layout.order == Order::RaiseFirst {
            for m in &self.down {
                out = self.context.apply_transform(m, &out, keys)?;
            }
        }
        Ok(out)
    }

    /// From a ciphertext to one at the top whose slots `(I + m) / 2K` hold complex numbers: the original slots, or
    /// with [`Order::RaiseFirst`] its coefficients.
    fn to_slots(&self, ct: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, HeError> {
        let ctx = self.context;
        if ct.level() < self.input_level() {
            let (level, available) = (self.input_level(), ct.level());
            return Err(CkksError::LevelTooHigh { operation: "bootstrap", level, available }.into());
        }
        let mut ct = ctx.drop_to_level(ct, self.input_level())?;
        match self.layout.order {
            Order::SlotsFirst => {
                for m in &self.down {
                    ct = ctx.apply_transform(m, &ct, keys)?;
                }
            }
            Order::RaiseFirst => {
                ct.set_exact_scale(ctx.default_scale())?;
                if ct.level() > 0 {
                    let q = ctx.modulus_at(ct.level()).unwrap_or(1) as f64;
                    ct =
                        ctx.rescale(&ctx.mul_const(&ct, 1.0, self.layout.bottom_scale * q / ct.scale())?)?;
                }
            }
        }
        let mut ct = ctx.raise_modulus(&ct, keys)?;
        self.add_copies(&mut ct, keys)?;
        for m in &self.up {
            ct = ctx.apply_transform(m, &ct, keys)?;
        }
        Ok(ct)
    }

    /// Remove the integers and multiply by `shrink`, which costs nothing; the scale returns to the default one.
    fn reduce(&self, real: &Ciphertext, keys: &EvalKeys, shrink: f64) -> Result<Ciphertext, HeError> {
        let e = CkksSlots::new(self.context, keys);
        let primes = &self.context.literal().q;
        let factor = self.layout.ratio * shrink;
        let mut out = self.layout.eval_mod.apply(&e, real, primes, self.context.default_scale() * factor)?;
        // The slots hold z / ratio at scale Δ ratio shrink.
        out.divide_message(1.0 / factor)?;
        Ok(out)
    }

    /// The trace to the subring of repeated slots: each becomes the sum of all copies of its value.
    fn add_copies(&self, ct: &mut Ciphertext, keys: &EvalKeys) -> Result<(), HeError> {
        for &step in &self.layout.trace {
            let turned = self.context.rotate(ct, step, keys)?;
            self.context.add_assign(ct, &turned)?;
        }
        Ok(())
    }

    /// `a + i b`.
    fn join(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, HeError> {
        let mut joined = self.context.mul_i(b)?;
        self.context.add_assign(&mut joined, a)?;
        Ok(joined)
    }

    /// `z + conj z`.
    fn twice_real(&self, z: &Ciphertext, keys: &EvalKeys) -> Result<Ciphertext, HeError> {
        let mut real = self.context.conjugate(z, keys)?;
        self.context.add_assign(&mut real, z)?;
        Ok(real)
    }

    /// Twice the real and the imaginary part.
    fn twice_parts(&self, z: &Ciphertext, keys: &EvalKeys) -> Result<[Ciphertext; 2], HeError> {
        let ctx = self.context;
        let mirrored = ctx.conjugate(z, keys)?;
        let mut real = mirrored.clone();
        ctx.add_assign(&mut real, z)?;
        // -i (z - conj z) = 2 Im z
        let mut imaginary = mirrored;
        ctx.sub_assign(&mut imaginary, z)?;
        Ok([real, ctx.mul_i(&imaginary)?])
    }
}
