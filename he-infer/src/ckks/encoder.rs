//! Real and complex vectors to plaintext polynomials and back.
//!
//! `m = round(scale * inverse_special_fft(slots))`. Values are held as 62-bit integers times a power of two, so scales far
//! above `2^62` (constants added to unrescaled products) work; below that the rounding is exact to one unit.
//!
//! Sparse packing needs no special encoder: a vector repeated with period `2^k` has coefficients only at multiples of
//! `slots / 2^k`, the same polynomial that a transform over `2^k` slots would give.

use super::context::{Context, check_scale};
use super::error::CkksError;
use super::par;
use crate::math::buffer::AlignedWords;
use crate::math::modulus::Modulus;
use crate::math::ntt::Plan;
use crate::math::poly::RnsPoly;
use crate::math::special_fft::{SpecialFft, largest, round_words};
use crate::math::{masking, vector};

/// Encoded vector as integers: level-independent, `8 n` bytes. Expand it where it is used.
#[derive(Clone)]
pub struct Coefficients {
    /// Signed integers as words.
    values: AlignedWords,
    /// Each coefficient is `values[i] * 2^shift`.
    shift: u32,
    scale: f64,
    /// Bits of the largest coefficient including sign.
    bits: f64,
    id: u64,
}

/// A plaintext in transformed form, to be encrypted, added or subtracted.
#[derive(Clone)]
pub struct Plaintext {
    pub(crate) poly: RnsPoly,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) id: u64,
}

/// What every kind of plaintext can be asked.
macro_rules! plaintext_accessors {
    ($name:ident) => {
        impl $name {
            /// Highest ciphertext level this plaintext can be combined with.
            #[must_use]
            pub fn level(&self) -> usize {
                self.level
            }

            /// Exact factor between message and polynomial.
            #[must_use]
            pub fn scale(&self) -> f64 {
                self.scale
            }
        }
    };
}
pub(super) use plaintext_accessors;

plaintext_accessors!(Plaintext);

/// What turns words into the integers they stand for.
#[derive(Clone, Copy)]
pub(super) struct Lift {
    /// Each is to be multiplied by `2^shift`.
    shift: u32,
    /// All are below `2^50`, and `shift` is 0.
    short: bool,
}

impl Coefficients {
    pub(super) fn lift(&self) -> Lift {
        Lift { shift: self.shift, short: self.bits < 51.0 }
    }

    /// Signed integers as words.
    pub(super) fn words(&self) -> &[u64] {
        &self.values
    }

    /// Exact factor between message and polynomial.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Whether every coefficient is zero (the plaintext then contributes nothing and can be skipped).
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.values.iter().all(|v| *v == 0)
    }
}

impl Context {
    /// Encode at most `slots` real values (missing ones are zero) for encryption, addition or subtraction at any level up to
    /// `level`.
    ///
    /// # Errors
    /// Too many or non-finite values, a level above the top, a bad scale, or scaled values that do not fit the modulus at
    /// `level`.
    pub fn encode(&self, values: &[f64], level: usize, scale: f64) -> Result<Plaintext, CkksError> {
        self.expand(&self.encode_coefficients(values, scale)?, level)
    }

    /// The level-independent part of encoding: transform, scale and round.
    ///
    /// # Errors
    /// Too many or non-finite values, or a bad scale.
    pub fn encode_coefficients(&self, values: &[f64], scale: f64) -> Result<Coefficients, CkksError> {
        self.coefficients_of_slots(&self.fft, values, &[], scale)
    }

    /// Encode complex slots `re + i im` (at most `slots` of each, missing parts are zero); as [`Context::encode`] otherwise.
    ///
    /// # Errors
    /// As for [`Context::encode`].
    pub fn encode_complex(
        &self,
        re: &[f64],
        im: &[f64],
        level: usize,
        scale: f64,
    ) -> Result<Plaintext, CkksError> {
        self.expand(&self.encode_complex_coefficients(re, im, scale)?, level)
    }

    /// The level-independent part of encoding complex slots `re + i im`, for any of the `expand` functions.
    ///
    /// # Errors
    /// As for [`Context::encode_coefficients`].
    pub fn encode_complex_coefficients(
        &self,
        re: &[f64],
        im: &[f64],
        scale: f64,
    ) -> Result<Coefficients, CkksError> {
        self.coefficients_of_slots(&self.fft, re, im, scale)
    }

    /// The polynomial of degree below `2·slots` for the slots of `fft`.
    pub(super) fn coefficients_of_slots(
        &self,
        fft: &SpecialFft,
        re: &[f64],
        im: &[f64],
        scale: f64,
    ) -> Result<Coefficients, CkksError> {
        const OP: &str = "encode";
        check_scale(OP, scale)?;
        let slots = fft.slots();
        let [mut parts, mut values] = [self.scratch.take(2 * slots), self.scratch.take(2 * slots)];
        let (to_re, to_im) = bytemuck::cast_slice_mut::<u64, f64>(&mut parts).split_at_mut(slots);
        fill(OP, to_re, re)?;
        fill(OP, to_im, im)?;
        let (out_re, out_im) = bytemuck::cast_slice_mut::<u64, f64>(&mut values).split_at_mut(slots);
        fft.encode(to_re, to_im, out_re, out_im);
        let largest = largest(bytemuck::cast_slice(&values)) * scale;
        let shift = if largest < 2f64.powi(62) { 0 } else { largest.log2().floor() as u32 - 60 };
        round_words(self.backend, &mut values, scale * 2f64.powi(-(shift as i32)));
        Ok(Coefficients { values, shift, scale, bits: largest.max(1.0).log2() + 1.0, id: self.id() })
    }

    /// Bring encoded coefficients to transformed form at `level`.
    ///
    /// # Errors
    /// A level above the top, foreign coefficients, or values that do not fit the modulus at `level`.
    pub fn expand(&self, c: &Coefficients, level: usize) -> Result<Plaintext, CkksError> {
        let poly = self.expand_with(c, level, &self.level_basis(level), |m| m.radix())?;
        Ok(Plaintext { poly, level, scale: c.scale, id: self.id() })
    }

    /// Residues for multiplication (transformed, Montgomery form) over `q_0..q_level` and the first `specials` special
    /// primes.
    ///
    /// # Errors
    /// As for [`Context::expand`]; the coefficients must fit the modulus without the special primes.
    pub(super) fn expand_extended(
        &self,
        c: &Coefficients,
        level: usize,
        specials: usize,
    ) -> Result<RnsPoly, CkksError> {
        self.expand_with(c, level, &self.extended_basis(level, specials), |m| m.radix_squared())
    }

    fn level_basis(&self, level: usize) -> Vec<usize> {
        (0..=level.min(self.max_level())).collect()
    }

    /// Residues of the coefficients times a constant (given in Montgomery form) at the moduli of `basis`, transformed.
    fn expand_with(
        &self,
        c: &Coefficients,
        level: usize,
        basis: &[usize],
        constant: impl Fn(&Modulus) -> u64 + Sync + Send,
    ) -> Result<RnsPoly, CkksError> {
        self.check_fits(c, level)?;
        let mut poly = self.scratch_poly(basis.len());
        let plans = basis.iter().filter_map(|t| self.plans.get(*t));
        let work = poly.limbs_mut().into_iter().zip(plans).collect();
        par::for_each(work, |(limb, plan)| {
            self.residues(plan, c.lift(), &c.values, constant(plan.modulus()), limb);
        });
        Ok(poly)
    }

    /// Whether encoded coefficients fit the modulus at `level`.
    pub(super) fn check_fits(&self, c: &Coefficients, level: usize) -> Result<(), CkksError> {
        const OP: &str = "encode";
        self.check_level(OP, level)?;
        self.check_id(OP, "encoded vector", c.id)?;
        let available = self.log_q(level);
        if c.bits >= available {
            return Err(CkksError::Overflow { operation: OP, needed: c.bits, available, level });
        }
        Ok(())
    }

    /// One limb of coefficients (signed, as words) times a constant given in Montgomery form, transformed.
    pub(super) fn residues(&self, plan: &Plan, lift: Lift, values: &[u64], constant: u64, limb: &mut [u64]) {
        self.lift(plan.modulus(), lift, values, constant, limb);
        plan.forward(limb);
    }

    /// The same before the transform.
    pub(super) fn lift(&self, m: &Modulus, lift: Lift, values: &[u64], constant: u64, out: &mut [u64]) {
        let values = bytemuck::cast_slice(values);
        if lift.short {
            masking::lift_signed(self.backend, m, out, values, constant);
        } else {
            let k = m.mul(constant, m.pow(2, u64::from(lift.shift)));
            vector::from_signed(self.backend, m, out, values, k);
        }
    }

    /// Decode a plaintext to `slots` real values.
    ///
    /// # Errors
    /// A plaintext of other parameters.
    pub fn decode(&self, plain: &Plaintext) -> Result<Vec<f64>, CkksError> {
        Ok(self.decode_complex(plain)?.0)
    }

    /// Decode a plaintext to the real and imaginary parts of every slot.
    ///
    /// # Errors
    /// A plaintext of other parameters.
    pub fn decode_complex(&self, plain: &Plaintext) -> Result<(Vec<f64>, Vec<f64>), CkksError> {
        self.check_id("decode", "plaintext", plain.id)?;
        let limbs = self.limbs_to_decode(plain.level, plain.scale);
        let (mut re, mut im) = self.centred_coefficients(plain.poly.head(limbs));
        self.slots_from_coefficients(&mut re, &mut im, plain.scale);
        Ok((re, im))
    }

    /// Limbs that surely hold a message below `2^60` at `scale` (all, if fewer).
    pub(super) fn limbs_to_decode(&self, level: usize, scale: f64) -> usize {
        let wanted = scale.log2() + 61.0;
        (0..level).find(|l| self.log_q(*l) > wanted).unwrap_or(level) + 1
    }

    /// Centred integer coefficients of a transformed polynomial as floating-point numbers, split into the two halves.
    ///
    /// Balanced mixed-radix digits (Garner): each is centred, so small values have zero high digits and lose no precision.
    pub(super) fn centred_coefficients(&self, mut poly: RnsPoly) -> (Vec<f64>, Vec<f64>) {
        for (limb, plan) in poly.iter_mut().zip(&self.plans) {
            plan.inverse(limb);
        }
        let moduli: Vec<Modulus> = self.plans.iter().take(poly.limbs()).map(|p| *p.modulus()).collect();
        // For limb i: inverses of all earlier primes, ready for Montgomery products.
        let inverses: Vec<Vec<u64>> = moduli
            .iter()
            .enumerate()
            .map(|(i, m)| moduli.iter().take(i).map(|e| m.to_mont(m.inv(e.value() % m.value()))).collect())
            .collect();
        let limbs: Vec<&[u64]> = poly.iter().collect();
        let mut digits: Vec<i64> = Vec::with_capacity(moduli.len());
        let mut all: Vec<f64> = (0..self.n)
            .map(|j| {
                digits.clear();
                for ((m, inv), limb) in moduli.iter().zip(&inverses).zip(&limbs) {
                    let mut x = limb.get(j).copied().unwrap_or(0);
                    for (d, k) in digits.iter().zip(inv) {
                        x = m.mont_mul(m.sub(x, m.from_i64(*d)), *k);
                    }
                    digits.push(m.centred(x));
                }
                let pairs = digits.iter().zip(&moduli).rev();
                // Horner from the top: value = d_0 + q_0 (d_1 + q_1 (d_2 + ...)).
                pairs.fold(0.0, |acc, (d, m)| acc * m.value() as f64 + *d as f64)
            })
            .collect();
        let im = all.split_off(self.n / 2);
        (all, im)
    }

    /// Undo scaling and evaluate at the slots; the real parts end up in `re`.
    pub(super) fn slots_from_coefficients(&self, re: &mut [f64], im: &mut [f64], scale: f64) {
        re.iter_mut().chain(im.iter_mut()).for_each(|x| *x /= scale);
        self.fft.decode(re, im);
    }
}

/// Copy checked values to `to`, one per slot, and fill up with zeros.
fn fill(operation: &'static str, to: &mut [f64], values: &[f64]) -> Result<(), CkksError> {
    let (slots, given) = (to.len(), values.len());
    if given > slots {
        return Err(CkksError::TooManyValues { operation, given, slots });
    }
    if let Some((index, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        return Err(CkksError::NotFinite { operation, index, value: *value });
    }
    let (used, rest) = to.split_at_mut(given);
    used.copy_from_slice(values);
    rest.fill(0.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ToyParams, toy};
    use super::*;

    #[test]
    fn extended_plaintexts_continue_the_short_ones_over_the_special_primes() {
        let ctx = Context::insecure(&ToyParams::new(toy(6)).unwrap()).unwrap();
        let (re, im): (Vec<f64>, Vec<f64>) = (0..32).map(|i| f64::from(i).sin_cos()).unzip();
        let c = ctx.encode_complex_coefficients(&re, &im, ctx.default_scale()).unwrap();
        for level in [0, 3, ctx.max_level()] {
            let wide = ctx.expand_extended(&c, level, 2).unwrap();
            let short = ctx.expand_mul(&c, level).unwrap();
            let basis = ctx.extended_basis(level, 2);
            assert_eq!(wide.limbs(), basis.len());
            assert!((0..=level).all(|t| wide.limb(t) == ctx.factor_limb(&short, t, &mut [])));
            for (limb, t) in wide.iter().zip(&basis) {
                let (plan, mut x) = (&ctx.plans[*t], limb.to_vec());
                let m = plan.modulus();
                plan.inverse(&mut x);
                assert!(x.iter().zip(&*c.values).all(|(x, v)| m.centred(m.from_mont(*x)) == *v as i64));
            }
        }
        assert!(ctx.expand_extended(&c, ctx.max_level() + 1, 2).is_err());
    }

    #[test]
    fn repeated_vectors_are_polynomials_in_a_power_of_x() {
        let context = |log_n| Context::insecure(&ToyParams::new(toy(log_n)).unwrap()).unwrap();
        let (wide, narrow) = (context(9), context(6));
        let short: Vec<f64> = (0..32).map(|i| (f64::from(i) + 0.5).cos()).collect();
        let repeated: Vec<f64> = short.iter().copied().cycle().take(wide.slots()).collect();
        let scale = wide.default_scale();
        let sparse = wide.encode_coefficients(&repeated, scale).unwrap();
        let dense = narrow.encode_coefficients(&short, scale).unwrap();
        for (i, v) in sparse.values.iter().enumerate() {
            let (v, want) = (*v as i64, if i % 8 == 0 { dense.values[i / 8] as i64 } else { 0 });
            assert!((v - want).abs() <= 1, "{i}: {v} {want}");
        }
    }
}
