//! Exact centred conversion of residues from one set of primes to another.
//!
//! For `x` given modulo `B = b_1 ... b_k` and `y_i = x_i (B/b_i)^-1 mod b_i`, the representative of `x` in `(-B/2, B/2)` is
//! `sum_i y_i B/b_i - v B` with `v = round(sum_i y_i / b_i)`. The rounding is done in double precision (Halevi, Polyakov,
//! Shoup 2019), so the result is exact unless `x` lies within about `2^-45` of `±B/2`.
//! Cost: one multiply-add per input, coefficient and target prime.
//!
//! Where any `x + u B` with `0 <= u < k` will do, the correction can be left out ([`BasisConverter::approximate`]).

use super::backend::Backend;
use super::modulus::Modulus;
use super::vector::{self, Combination};

/// Constants for converting from one list of primes to another.
#[derive(Clone)]
pub struct BasisConverter {
    hat_inv: Vec<u64>,
    inverses: Vec<f64>,
    rows: Vec<Row>,
    exact: bool,
}

/// Constants of one target prime, in Montgomery form.
#[derive(Clone)]
struct Row {
    modulus: Modulus,
    hat: Vec<u64>,
    neg_product: u64,
}

impl BasisConverter {
    /// Converter from the primes `from` (distinct, at most 16) to the primes `to`.
    #[must_use]
    pub fn new(from: &[Modulus], to: &[Modulus]) -> Self {
        let product_without = |skip: Option<usize>, m: &Modulus| {
            from.iter()
                .enumerate()
                .filter(|(i, _)| Some(*i) != skip)
                .fold(1, |acc, (_, b)| m.mul(acc, b.value() % m.value()))
        };
        let hat_inv = from.iter().enumerate().map(|(i, b)| b.inv(product_without(Some(i), b))).collect();
        let inverses = from.iter().map(|b| 1.0 / b.value() as f64).collect();
        let rows = to
            .iter()
            .map(|m| Row {
                modulus: *m,
                hat: (0..from.len()).map(|i| m.to_mont(product_without(Some(i), m))).collect(),
                neg_product: m.to_mont(m.neg(product_without(None, m))),
            })
            .collect();
        Self { hat_inv, inverses, rows, exact: true }
    }

    /// The same without the correction `v`: what is converted is `sum_i y_i B/b_i`.
    #[must_use]
    pub fn approximate(from: &[Modulus], to: &[Modulus]) -> Self {
        Self { exact: false, ..Self::new(from, to) }
    }

    /// `(B/b_i)^-1 mod b_i` for each source prime: multiply the source coefficients by these first (for instance inside
    /// the inverse transform) to obtain the `y_i` the other functions expect.
    #[must_use]
    pub fn premultipliers(&self) -> &[u64] {
        &self.hat_inv
    }

    /// Multiply what is converted by `constant` of each target prime.
    #[must_use]
    pub fn times(mut self, constant: impl Fn(&Modulus) -> u64) -> Self {
        for row in &mut self.rows {
            let (m, c) = (row.modulus, constant(&row.modulus));
            row.hat.iter_mut().chain([&mut row.neg_product]).for_each(|x| *x = m.mul(*x, c));
        }
        self
    }

    /// Expect residues modulo the first source prime to be too small by a factor.
    #[must_use]
    pub fn first_times(mut self, first: &Modulus, factor: u64) -> Self {
        self.hat_inv.iter_mut().take(1).for_each(|x| *x = first.mul(*x, factor));
        self
    }

    /// Compute the correction `v` from the premultiplied coefficients.
    pub fn correction(&self, backend: Backend, ys: &[&[u64]], v: &mut [u64]) {
        vector::rounded_weighted_sum(backend, v, ys, &self.inverses);
    }

    /// Several target primes at once: one pass over `ys` for each group of them, which takes little more than half of
    /// the time of [`BasisConverter::convert`] where `ys` does not fit the second-level cache. `outs` pairs a target's position with the
    /// place for its residues, which are below four times the prime: what a forward transform takes.
    pub fn convert_many<'a>(
        &'a self,
        backend: Backend,
        outs: impl IntoIterator<Item = (usize, &'a mut [u64])>,
        ys: &[&[u64]],
    ) {
        let rows = outs.into_iter().filter_map(|(target, out)| {
            let row = self.rows.get(target)?;
            Some(Combination { modulus: &row.modulus, c_mont: &row.hat, d_mont: row.neg_product, out })
        });
        let inverses = self.exact.then_some(&self.inverses[..]);
        vector::linear_combinations(backend, &mut rows.collect::<Vec<_>>(), ys, inverses);
    }

    /// Residues modulo target prime `target` (its position in the list given to [`BasisConverter::new`]).
    pub fn convert(&self, backend: Backend, target: usize, ys: &[&[u64]], v: &[u64], out: &mut [u64]) {
        if let Some(row) = self.rows.get(target) {
            let v = self.exact.then_some(v);
            vector::linear_combination(backend, &row.modulus, out, ys, &row.hat, v, row.neg_product);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Residue of the centred value of `x` in `[0, b)` modulo `m`, for products `b` below `2^127`.
    fn centred(x: u128, b: u128, m: u64) -> u64 {
        let r = (x % u128::from(m)) as u64;
        if x > b / 2 { Modulus::new(m).unwrap().sub(r, (b % u128::from(m)) as u64) } else { r }
    }

    #[test]
    fn conversions_to_many_primes_are_those_to_each() {
        let moduli = |bits, count| {
            let primes = crate::math::primes::below(bits, 8, count, &[]);
            primes.into_iter().map(|q| Modulus::new(q).unwrap()).collect::<Vec<_>>()
        };
        let n = 72;
        for k in 1..=16 {
            let (from, to) = (moduli(50, k), [moduli(49, 6), moduli(31, 4)].concat());
            let conv = BasisConverter::new(&from, &to).times(|m| m.value() / 3);
            // Corrections from nothing to one for each prime.
            let ys = from.iter().enumerate().map(|(i, b)| {
                (0..n as u64)
                    .map(move |j| if (i as u64) < j % 18 { b.value() - 1 - j } else { j * j })
                    .collect()
            });
            let ys: Vec<Vec<u64>> = ys.collect();
            let ys: Vec<&[u64]> = ys.iter().map(|y| &y[..]).collect();
            for backend in Backend::all() {
                let mut v = vec![0; n];
                conv.correction(backend, &ys, &mut v);
                assert_eq!((v.iter().min(), v.iter().max()), (Some(&0), Some(&(k as u64))));
                let mut many = vec![vec![0; n]; to.len()];
                conv.convert_many(backend, many.iter_mut().map(|o| &mut o[..]).enumerate(), &ys);
                for ((t, m), many) in to.iter().enumerate().zip(many) {
                    let mut want = vec![0; n];
                    conv.convert(backend, t, &ys, &v, &mut want);
                    assert!(many.iter().zip(want).all(|(x, w)| *x < 4 * m.value() && x % m.value() == w));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn conversion_is_the_exact_centred_lift(hi in any::<u64>(), lo in any::<u64>(), near in -3i64..=3, edge in 0u8..3) {
            let from = [0x1fffffff50001u64, 0x10000140001];
            let to = [0x3ffffffdf0001u64, 0x4020001, 0xffffe80001];
            let b: u128 = from.iter().map(|q| u128::from(*q)).product();
            let any = ((u128::from(hi) << 64) | u128::from(lo)) % b;
            // Near ±B/2 the exact answer needs a margin of about 2^-45 B; stay one part in 2^40 away.
            let x = match edge {
                0 => any,
                1 => (b / 2).wrapping_add_signed(i128::from(near.signum() * 2 + near % 2) * (b >> 40) as i128),
                _ => (b.wrapping_add_signed(i128::from(near))) % b,
            };
            prop_assume!(edge != 1 || near != 0);
            let mods: Vec<_> = from.iter().map(|q| Modulus::new(*q).unwrap()).collect();
            let targets: Vec<_> = to.iter().map(|q| Modulus::new(*q).unwrap()).collect();
            let conv = BasisConverter::new(&mods, &targets);
            let ys: Vec<Vec<u64>> = mods.iter().zip(conv.premultipliers())
                .map(|(m, k)| vec![m.mul((x % u128::from(m.value())) as u64, *k); 9]).collect();
            let ys: Vec<&[u64]> = ys.iter().map(|y| &y[..]).collect();
            for backend in Backend::all() {
                let mut v = vec![0; 9];
                conv.correction(backend, &ys, &mut v);
                let mut many = vec![vec![0; 9]; to.len()];
                conv.convert_many(backend, many.iter_mut().map(|o| &mut o[..]).enumerate(), &ys);
                for (j, m) in to.iter().enumerate() {
                    prop_assert!(many[j][8] < 4 * m);
                    prop_assert_eq!(many[j][8] % m, centred(x, b, *m));
                    let mut out = vec![0; 9];
                    conv.convert(backend, j, &ys, &v, &mut out);
                    prop_assert_eq!(out[0], centred(x, b, *m));
                    prop_assert_eq!(out[8], out[0]);
                }
            }
        }
    }
}
