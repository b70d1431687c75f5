//! The passes of encryption and key generation, each over memory once.

use super::backend::Backend;
use super::modulus::Modulus;

macro_rules! dispatch {
    ($backend:expr, $name:ident($($arg:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if $backend.is_ifma() {
            return super::simd_masking::$name($($arg),*);
        }
        let _ = $backend;
        scalar::$name($($arg),*)
    }};
}

/// `b = b - a s 2^-52`, plus `add` if there is one; residues in and out are reduced.
pub fn mask_assign(backend: Backend, m: &Modulus, b: &mut [u64], a: &[u64], s: &[u64], add: Option<&[u64]>) {
    dispatch!(backend, mask_assign(m, b, a, s, add))
}

/// `x = (x + v k 2^-52) c 2^-52`, plus `add` if there is one; residues in and out are reduced.
pub fn cover_assign(
    backend: Backend,
    m: &Modulus,
    x: &mut [u64],
    (v, k): (&[u64], &[u64]),
    c_mont: u64,
    add: Option<&[u64]>,
) {
    dispatch!(backend, cover_assign(m, x, v, k, c_mont, add))
}

/// Residues of integers below `2^52` in magnitude times a constant `c 2^-52`: plain for `c = 2^52`, Montgomery for `2^104`.
pub fn lift_signed(backend: Backend, m: &Modulus, out: &mut [u64], values: &[i64], c: u64) {
    dispatch!(backend, lift_signed(m, out, values, c))
}

/// The same for small integers.
pub fn lift_small(backend: Backend, m: &Modulus, out: &mut [u64], values: &[i8], c: u64) {
    dispatch!(backend, lift_small(m, out, values, c))
}

/// The portable bodies.
pub(super) mod scalar {
    use super::Modulus;

    pub fn mask_assign(m: &Modulus, b: &mut [u64], a: &[u64], s: &[u64], add: Option<&[u64]>) {
        for ((b, a), s) in b.iter_mut().zip(a).zip(s) {
            *b = m.sub(*b, m.mont_mul(*a, *s));
        }
        add_all(m, b, add);
    }

    pub fn cover_assign(m: &Modulus, x: &mut [u64], v: &[u64], k: &[u64], c: u64, add: Option<&[u64]>) {
        for ((x, v), k) in x.iter_mut().zip(v).zip(k) {
            *x = m.mont_mul(m.add(*x, m.mont_mul(*v, *k)), c);
        }
        add_all(m, x, add);
    }

    fn add_all(m: &Modulus, x: &mut [u64], add: Option<&[u64]>) {
        for (x, y) in x.iter_mut().zip(add.unwrap_or(&[])) {
            *x = m.add(*x, *y);
        }
    }

    pub fn lift_signed(m: &Modulus, out: &mut [u64], values: &[i64], c: u64) {
        for (o, v) in out.iter_mut().zip(values) {
            *o = lift(m, *v, c);
        }
    }

    pub fn lift_small(m: &Modulus, out: &mut [u64], values: &[i8], c: u64) {
        for (o, v) in out.iter_mut().zip(values) {
            *o = lift(m, i64::from(*v), c);
        }
    }

    /// The sign is applied without a branch: values can be secret.
    fn lift(m: &Modulus, v: i64, c: u64) -> u64 {
        debug_assert!(v.unsigned_abs() < 1 << 52);
        let r = m.mont_mul(v.unsigned_abs(), c);
        let mask = (v >> 63) as u64;
        m.neg(r) & mask | r & !mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn every_pass_is_bit_identical_on_both_backends_and_right() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(6);
        for q in [0x3ffffffdf0001u64, 0x4020001, 0x10000140001] {
            let m = Modulus::new(q).unwrap();
            for n in [5, 8, 72, 75] {
                let mut limb = || {
                    (0..n).map(|i| if i % 7 == 0 { q - 1 } else { rng.next_u64() % q }).collect::<Vec<_>>()
                };
                let [x, a, s, add] = [limb(), limb(), limb(), limb()];
                let big: Vec<i64> = (0..n).map(|i| (rng.next_u64() >> 12) as i64 * [1, -1][i % 2]).collect();
                let small: Vec<i8> = (0..n).map(|i| i as i8 - 20).collect();
                let run = |backend: Backend| {
                    let mut out = vec![x.clone(); 6];
                    mask_assign(backend, &m, &mut out[0], &a, &s, None);
                    mask_assign(backend, &m, &mut out[1], &a, &s, Some(&add));
                    cover_assign(backend, &m, &mut out[2], (&a, &s), m.radix(), None);
                    cover_assign(backend, &m, &mut out[3], (&a, &s), m.radix(), Some(&add));
                    lift_signed(backend, &m, &mut out[4], &big, m.radix());
                    lift_small(backend, &m, &mut out[5], &small, m.radix_squared());
                    out
                };
                let out = run(Backend::detect());
                assert!(out == run(Backend::scalar()));
                for i in 0..n {
                    let product = m.mont_mul(a[i], s[i]);
                    assert_eq!(out[1][i], m.add(m.sub(x[i], product), add[i]));
                    assert_eq!(out[3][i], m.add(m.add(x[i], product), add[i]));
                    assert_eq!(out[4][i], m.from_i64(big[i]));
                    assert_eq!(out[5][i], m.to_mont(m.from_i64(i64::from(small[i]))));
                }
            }
        }
    }
}
