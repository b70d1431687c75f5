//! One word-size prime below `2^50`: addition, multiplication, Shoup and Montgomery forms.
//!
//! Montgomery with radix `R = 2^52`: for `T = lo + 2^52 hi` and `q' = q^-1 mod R`, `T R^-1 = hi - hi52(lo q' q)` exactly,
//! because the low halves cancel (Montgomery 1985, in the subtractive form that suits `vpmadd52`).
//! Shoup: `w' = floor(w 2^52 / q)` gives `x w - hi52(x w') q` in `[0, 2q)` for any `x < 2^52` (Harvey 2014).

/// Mask of the low 52 bits.
pub const MASK52: u64 = (1 << 52) - 1;

/// Upper bound (exclusive, in bits) of every modulus: lazy values up to `4q` then fit the 52-bit multiplier.
pub const MAX_MODULUS_BITS: u32 = 50;

/// An odd modulus below `2^50` with its reduction constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    q: u64,
    /// `q^-1 mod 2^52`.
    q_inv: u64,
    /// `2^52 mod q`.
    r1: u64,
    /// `2^104 mod q`.
    r2: u64,
}

impl Modulus {
    /// Constants for the odd modulus `q`, or `None` unless `2 < q < 2^50` and `q` is odd.
    #[must_use]
    pub fn new(q: u64) -> Option<Self> {
        if q < 3 || q.is_multiple_of(2) || q >= 1 << MAX_MODULUS_BITS {
            return None;
        }
        // Newton iteration doubles the number of correct low bits of the inverse.
        let mut inv = q;
        for _ in 0..5 {
            inv = inv.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(inv)));
        }
        let r1 = (1u64 << 52) % q;
        let r2 = (u128::from(r1) * u128::from(r1) % u128::from(q)) as u64;
        Some(Self { q, q_inv: inv & MASK52, r1, r2 })
    }

    /// The modulus itself.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.q
    }

    /// `q^-1 mod 2^52`.
    #[must_use]
    pub fn inverse_mod_radix(&self) -> u64 {
        self.q_inv
    }

    /// `2^52 mod q`, the Montgomery form of one.
    #[must_use]
    pub fn radix(&self) -> u64 {
        self.r1
    }

    /// `2^104 mod q`, the factor that brings a residue to Montgomery form.
    #[must_use]
    pub fn radix_squared(&self) -> u64 {
        self.r2
    }

    /// `a + b mod q` for reduced operands.
    #[must_use]
    #[inline]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        let s = a + b;
        s.min(s.wrapping_sub(self.q))
    }

    /// `a - b mod q` for reduced operands.
    #[must_use]
    #[inline]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        let d = a.wrapping_sub(b);
        d.min(d.wrapping_add(self.q))
    }

    /// `-a mod q` for a reduced operand.
    #[must_use]
    #[inline]
    pub fn neg(&self, a: u64) -> u64 {
        self.sub(0, a)
    }

    /// `a * b * 2^-52 mod q`, reduced, for `a * b < 2^102` with at least one operand reduced.
    #[must_use]
    #[inline]
    pub fn mont_mul(&self, a: u64, b: u64) -> u64 {
        let t = u128::from(a) * u128::from(b);
        self.mont_reduce(t as u64 & MASK52, (t >> 52) as u64, 1)
    }

    /// `(lo + 2^52 hi) * 2^-52 mod q`, reduced; `lo` may be any u64. `terms` is the number of accumulated products of
    /// a factor below `2^50` with a reduced one, which bounds the result before the final subtractions.
    #[must_use]
    #[inline]
    pub fn mont_reduce(&self, lo: u64, hi: u64, terms: usize) -> u64 {
        let hi = hi + (lo >> 52);
        let m = (lo & MASK52).wrapping_mul(self.q_inv) & MASK52;
        let t = ((u128::from(m) * u128::from(self.q)) >> 52) as u64;
        let r = hi.wrapping_sub(t);
        // r is in (-q, ceil(terms/4) q).
        let mut r = r.min(r.wrapping_add(self.q));
        for shift in (0..fold_steps(terms, FACTOR)).rev() {
            r = r.min(r.wrapping_sub(self.q << shift));
        }
        r
    }

    /// `a * b mod q` for reduced operands.
    #[must_use]
    #[inline]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        self.mont_mul(self.mont_mul(a, b), self.r2)
    }

    /// `a * 2^52 mod q`.
    #[must_use]
    #[inline]
    pub fn to_mont(&self, a: u64) -> u64 {
        self.mont_mul(a, self.r2)
    }

    /// `a * 2^-52 mod q`.
    #[must_use]
    #[inline]
    pub fn from_mont(&self, a: u64) -> u64 {
        self.mont_mul(a, 1)
    }

    /// Shoup companion `floor(w 2^52 / q)` of a reduced constant.
    #[must_use]
    #[inline]
    pub fn shoup(&self, w: u64) -> u64 {
        ((u128::from(w) << 52) / u128::from(self.q)) as u64
    }

    /// `x * w mod q` in `[0, 2q)` for `x < 2^52`, with `w_shoup = self.shoup(w)`.
    #[must_use]
    #[inline]
    pub fn mul_shoup_lazy(&self, x: u64, w: u64, w_shoup: u64) -> u64 {
        let h = ((u128::from(x) * u128::from(w_shoup)) >> 52) as u64;
        x.wrapping_mul(w).wrapping_sub(h.wrapping_mul(self.q)) & MASK52
    }

    /// `base^exp mod q`.
    #[must_use]
    pub fn pow(&self, base: u64, mut exp: u64) -> u64 {
        let mut acc = self.r1;
        let mut b = self.to_mont(base % self.q);
        while exp > 0 {
            if exp & 1 == 1 {
                acc = self.mont_mul(acc, b);
            }
            b = self.mont_mul(b, b);
            exp >>= 1;
        }
        self.from_mont(acc)
    }

    /// Inverse of a non-zero residue; `q` must be prime (Fermat).
    #[must_use]
    pub fn inv(&self, a: u64) -> u64 {
        self.pow(a, self.q - 2)
    }

    /// Residue of a signed integer.
    #[must_use]
    #[inline]
    pub fn from_i64(&self, a: i64) -> u64 {
        let r = a.unsigned_abs() % self.q;
        if a < 0 { self.neg(r) } else { r }
    }

    /// Residue of `x` rounded to the nearest integer, exact for any finite `x` whatever its magnitude.
    #[must_use]
    pub fn from_f64_rounded(&self, x: f64) -> u64 {
        let x = x.round();
        let bits = x.abs().to_bits();
        let exponent = (bits >> 52) as i64 - 1075;
        if exponent <= 10 {
            return self.from_i64(x as i64);
        }
        let mantissa = (bits & MASK52) | (1 << 52);
        let r = self.mul(mantissa % self.q, self.pow(2, exponent as u64));
        if x < 0.0 { self.neg(r) } else { r }
    }

    /// Representative in `(-q/2, q/2)` of a reduced residue.
    #[must_use]
    #[inline]
    pub fn centred(&self, a: u64) -> i64 {
        if a > self.q / 2 { a as i64 - self.q as i64 } else { a as i64 }
    }
}

/// Factors of lazily accumulated products are not above this, unless more is known of them.
pub const FACTOR: u64 = (1 << 50) - 1;

/// Number of conditional subtractions (`q << k`, highest first) that bring a Montgomery-reduced sum of `terms` products under `q`: each of
/// a reduced residue and a number up to `factor`. The sum is below `ceil(terms factor / 2^52) q`.
#[must_use]
#[inline]
pub fn fold_steps(terms: usize, factor: u64) -> u32 {
    let bound = ((terms as u128 * u128::from(factor)) >> 52) as u64 + 1;
    bound.next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moduli_out_of_range_are_refused() {
        assert!(Modulus::new(1 << 50).is_none() && Modulus::new(4).is_none());
        assert!(Modulus::new((1 << 50) + 1).is_none());
    }

    #[test]
    fn huge_floats_keep_their_exact_residue() {
        let m = Modulus::new(0x3ffffffdf0001).unwrap();
        let x = 3.0 * 2f64.powi(90);
        let want = m.mul(3, m.pow(2, 90));
        assert_eq!(m.from_f64_rounded(x), want);
        assert_eq!(m.from_f64_rounded(-x), m.neg(want));
        assert_eq!(m.from_f64_rounded(-2.5), m.from_i64(-3));
    }

    proptest! {
        #[test]
        fn products_match_u128(a in any::<u64>(), b in any::<u64>(), pick in 0usize..3) {
            let q = [0x3ffffffdf0001u64, 0x4020001, 0x10000140001][pick];
            let m = Modulus::new(q).unwrap();
            let (a, b) = (a % q, b % q);
            let want = (u128::from(a) * u128::from(b) % u128::from(q)) as u64;
            prop_assert_eq!(m.mul(a, b), want);
            prop_assert_eq!(m.mont_mul(a, m.to_mont(b)), want);
            prop_assert_eq!(m.mul_shoup_lazy(a, b, m.shoup(b)) % q, want);
            prop_assert_eq!(m.add(a, m.neg(a)), 0);
            if a != 0 { prop_assert_eq!(m.mul(a, m.inv(a)), 1); }
        }
    }
}
