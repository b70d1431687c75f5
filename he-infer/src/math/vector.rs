//! Kernels over whole limbs. All residues in and out are fully reduced; each kernel has a scalar, an AVX2 and an IFMA body.
//!
//! Slices of one call must have equal length; the shortest decides where they do not.

use super::backend::Backend;
use super::modulus::{MASK52, Modulus};

/// Linear combinations that share one reading of their inputs.
pub const GROUP: usize = 9;

/// Sizes that cut `n` into groups of at most [`GROUP`], as equal as possible: nothing is left over alone.
pub fn groups(n: usize) -> impl Iterator<Item = usize> {
    shares(n, n.div_ceil(GROUP))
}

/// `count` sizes, as equal as possible, that add up to `n`; the larger ones are spread out, so that halves of the list are
/// equal too.
pub fn shares(n: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| (i + 1) * n / count - i * n / count)
}

/// Largest number of products one accumulator may hold: the low halves then stay below `2^64`.
pub const MAX_LAZY_TERMS: usize = 4095;

macro_rules! dispatch {
    ($backend:expr, $name:ident($($arg:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if $backend.is_ifma() {
            return super::simd::$name($($arg),*);
        } else if $backend.is_avx2() {
            return super::simd_avx2::$name($($arg),*);
        }
        let _ = $backend;
        scalar::$name($($arg),*)
    }};
}

/// `a += b`.
pub fn add_assign(backend: Backend, m: &Modulus, a: &mut [u64], b: &[u64]) {
    dispatch!(backend, add_assign(m, a, b))
}

/// `a -= b`.
pub fn sub_assign(backend: Backend, m: &Modulus, a: &mut [u64], b: &[u64]) {
    dispatch!(backend, sub_assign(m, a, b))
}

/// `a = -a`.
pub fn neg_assign(backend: Backend, m: &Modulus, a: &mut [u64]) {
    dispatch!(backend, neg_assign(m, a))
}

/// `a += c` for a reduced constant.
pub fn add_const_assign(backend: Backend, m: &Modulus, a: &mut [u64], c: u64) {
    dispatch!(backend, add_const_assign(m, a, c))
}

/// `a = a * c` for a constant in Montgomery form.
pub fn mul_const_assign(backend: Backend, m: &Modulus, a: &mut [u64], c_mont: u64) {
    dispatch!(backend, mul_const_assign(m, a, c_mont))
}

/// `out = a * c` for a constant in Montgomery form.
pub fn mul_const(backend: Backend, m: &Modulus, out: &mut [u64], a: &[u64], c_mont: u64) {
    dispatch!(backend, mul_const(m, out, a, c_mont))
}

/// `out = x * c + y + z` for a constant in Montgomery form; without `c` or `z`, nothing is multiplied or added. Only `y` need not be
/// fully reduced: it may be below `2q`.
pub fn mul_add(
    backend: Backend,
    m: &Modulus,
    out: &mut [u64],
    x: &[u64],
    c_mont: Option<u64>,
    y: &[u64],
    z: Option<&[u64]>,
) {
    dispatch!(backend, mul_add(m, out, x, c_mont, y, z))
}

/// `out = sum_t x_t y_t 2^-52`, all products accumulated before one reduction.
///
/// With one side in Montgomery form this is the plain inner product. For two sides in normal form give a `factor` (in normal
/// form, reduced) by which the sum is multiplied; 1 costs as much as any other. At most [`MAX_LAZY_TERMS`] terms.
pub fn dot(backend: Backend, m: &Modulus, out: &mut [u64], terms: &[(&[u64], &[u64])], factor: Option<u64>) {
    debug_assert!(terms.len() <= MAX_LAZY_TERMS);
    // The Montgomery reduction of the products leaves 2^-52, that of the last product too.
    let last = factor.map(|f| m.to_mont(m.to_mont(f)));
    dispatch!(backend, dot(m, out, terms, last))
}

/// Two inner products with a shared left side: `out0 = sum x_t y_t`, `out1 = sum x_t z_t` for terms `(x, y, z)` with `y`, `z`
/// in Montgomery form. The inner loop of key switching: each digit is read once.
pub fn dot_pair(
    backend: Backend,
    m: &Modulus,
    out0: &mut [u64],
    out1: &mut [u64],
    terms: &[(&[u64], &[u64], &[u64])],
) {
    debug_assert!(terms.len() <= MAX_LAZY_TERMS);
    dispatch!(backend, dot_pair(m, out0, out1, terms))
}

/// One term of [`dot_spread`]: `plain` (Montgomery form, one residue per run of `2^log_run` equal ones) times `x` and `y`.
#[derive(Clone, Copy)]
pub struct Spread<'a> {
    /// The known factor.
    pub plain: &'a [u64],
    /// Length of its runs.
    pub log_run: u32,
    /// Factor of the first sum.
    pub x: &'a [u64],
    /// Factor of the second sum.
    pub y: &'a [u64],
}

/// `out0 = sum_t plain_t x_t`, `out1 = sum_t plain_t y_t`.
pub fn dot_spread(backend: Backend, m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[Spread<'_>]) {
    debug_assert!(terms.len() <= MAX_LAZY_TERMS);
    dispatch!(backend, dot_spread(m, out0, out1, terms))
}

/// `v = round(sum_i y_i * inverse_i)` in double precision, identical on every backend.
pub fn rounded_weighted_sum(backend: Backend, v: &mut [u64], ys: &[&[u64]], inverses: &[f64]) {
    dispatch!(backend, rounded_weighted_sum(v, ys, inverses))
}

/// `out = sum_i y_i c_i + v d` for constants in Montgomery form and `y_i, v < 2^50`; without `v`, only the sum.
pub fn linear_combination(
    backend: Backend,
    m: &Modulus,
    out: &mut [u64],
    ys: &[&[u64]],
    c_mont: &[u64],
    v: Option<&[u64]>,
    d_mont: u64,
) {
    dispatch!(backend, linear_combination(m, out, ys, c_mont, v, d_mont))
}

/// One output of [`linear_combinations`]: `out = sum_i y_i c_i + v d` modulo `modulus`, below four times that.
pub struct Combination<'a> {
    /// The prime of this output.
    pub modulus: &'a Modulus,
    /// One constant per input, in Montgomery form.
    pub c_mont: &'a [u64],
    /// The constant of `v`, in Montgomery form.
    pub d_mont: u64,
    /// Where the result goes.
    pub out: &'a mut [u64],
}

/// Several outputs of [`linear_combination`] in one pass over the inputs, which then need not come from memory for each, with
/// `v = round(sum_i y_i inverse_i)` if there are `inverses`, identical on every backend: where nine outputs share it, computing it costs less than
/// reading it. Works in groups of at most [`GROUP`], whose sums fit the registers. Outputs are what a forward transform takes; below `4q`,
/// which multiple of `q` they contain depends on the backend.
///
/// # Panics
/// If a row has not as many constants as there are inputs, or there are not as many inverses.
pub fn linear_combinations(
    backend: Backend,
    rows: &mut [Combination<'_>],
    ys: &[&[u64]],
    inverses: Option<&[f64]>,
) {
    let counts = rows.iter().map(|row| row.c_mont.len()).chain(inverses.map(<[f64]>::len));
    assert!(counts.into_iter().all(|count| count == ys.len()), "constants of a conversion");
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_convert::linear_combinations(rows, ys, inverses);
    }
    let v = inverses.map(|inverses| {
        let mut v = vec![0; ys.first().map_or(0, |y| y.len())];
        rounded_weighted_sum(backend, &mut v, ys, inverses);
        v
    });
    for row in rows {
        linear_combination(backend, row.modulus, row.out, ys, row.c_mont, v.as_deref(), row.d_mont);
    }
}

/// Residues of signed 64-bit integers times the constant `c`, in Montgomery form (pass `m.radix()` for plain residues).
pub fn from_signed(backend: Backend, m: &Modulus, out: &mut [u64], values: &[i64], c_mont: u64) {
    // Reducing a 64-bit word leaves a factor 2^-52; one more factor in the constant undoes it.
    let c = m.to_mont(c_mont);
    dispatch!(backend, from_signed(m, out, values, c))
}

/// Residues of small signed integers (`|x| < q`).
pub fn from_small(backend: Backend, m: &Modulus, out: &mut [u64], values: &[i8]) {
    dispatch!(backend, from_small(m, out, values))
}

/// The portable bodies.
pub(super) mod scalar {
    #![expect(clippy::indexing_slicing, reason = "reference loops over slices cut to one length")]
    use super::{MASK52, Modulus, Spread};

    pub fn dot_spread(m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[Spread<'_>]) {
        for (i, (o0, o1)) in out0.iter_mut().zip(out1).enumerate() {
            let (mut lo, mut hi) = ([0; 2], [0; 2]);
            for t in terms {
                for (k, x) in [t.x[i], t.y[i]].into_iter().enumerate() {
                    let p = u128::from(t.plain[i >> t.log_run]) * u128::from(x);
                    lo[k] += p as u64 & MASK52;
                    hi[k] += (p >> 52) as u64;
                }
            }
            *o0 = m.mont_reduce(lo[0], hi[0], terms.len());
            *o1 = m.mont_reduce(lo[1], hi[1], terms.len());
        }
    }

    #[inline(always)]
    pub fn add_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
        for (x, y) in a.iter_mut().zip(b) {
            *x = m.add(*x, *y);
        }
    }

    #[inline(always)]
    pub fn sub_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
        for (x, y) in a.iter_mut().zip(b) {
            *x = m.sub(*x, *y);
        }
    }

    #[inline(always)]
    pub fn neg_assign(m: &Modulus, a: &mut [u64]) {
        for x in a {
            *x = m.neg(*x);
        }
    }

    #[inline(always)]
    pub fn add_const_assign(m: &Modulus, a: &mut [u64], c: u64) {
        for x in a {
            *x = m.add(*x, c);
        }
    }

    #[inline(always)]
    pub fn from_small(m: &Modulus, out: &mut [u64], values: &[i8]) {
        let q = m.value();
        for (o, v) in out.iter_mut().zip(values) {
            let x = i64::from(*v) as u64;
            *o = x.min(x.wrapping_add(q));
        }
    }

    pub fn from_signed(m: &Modulus, out: &mut [u64], values: &[i64], c: u64) {
        for (o, v) in out.iter_mut().zip(values) {
            let r = m.mont_mul(m.mont_reduce(v.unsigned_abs(), 0, 1), c);
            let negated = m.neg(r);
            *o = if *v < 0 { negated } else { r };
        }
    }

    pub fn mul_const_assign(m: &Modulus, a: &mut [u64], c: u64) {
        for x in a {
            *x = m.mont_mul(*x, c);
        }
    }

    pub fn mul_const(m: &Modulus, out: &mut [u64], a: &[u64], c: u64) {
        for (o, x) in out.iter_mut().zip(a) {
            *o = m.mont_mul(*x, c);
        }
    }

    pub fn mul_add(m: &Modulus, out: &mut [u64], x: &[u64], c: Option<u64>, y: &[u64], z: Option<&[u64]>) {
        for ((o, x), y) in out.iter_mut().zip(x).zip(y) {
            let y = (*y).min(y.wrapping_sub(m.value()));
            *o = m.add(c.map_or(*x, |c| m.mont_mul(*x, c)), y);
        }
        if let Some(z) = z {
            add_assign(m, out, z);
        }
    }

    fn accumulate(lo: &mut u64, hi: &mut u64, x: u64, y: u64) {
        let p = u128::from(x) * u128::from(y);
        *lo += p as u64 & MASK52;
        *hi += (p >> 52) as u64;
    }

    pub fn dot(m: &Modulus, out: &mut [u64], terms: &[(&[u64], &[u64])], last: Option<u64>) {
        for (j, o) in out.iter_mut().enumerate() {
            let (mut lo, mut hi) = (0, 0);
            for (x, y) in terms {
                accumulate(&mut lo, &mut hi, x[j], y[j]);
            }
            let r = m.mont_reduce(lo, hi, terms.len());
            *o = last.map_or(r, |c| m.mont_mul(r, c));
        }
    }

    pub fn dot_pair(m: &Modulus, out0: &mut [u64], out1: &mut [u64], terms: &[(&[u64], &[u64], &[u64])]) {
        for (j, (o0, o1)) in out0.iter_mut().zip(out1).enumerate() {
            let (mut l0, mut h0, mut l1, mut h1) = (0, 0, 0, 0);
            for (x, y, z) in terms {
                accumulate(&mut l0, &mut h0, x[j], y[j]);
                accumulate(&mut l1, &mut h1, x[j], z[j]);
            }
            *o0 = m.mont_reduce(l0, h0, terms.len());
            *o1 = m.mont_reduce(l1, h1, terms.len());
        }
    }

    pub fn rounded_weighted_sum(v: &mut [u64], ys: &[&[u64]], inverses: &[f64]) {
        for (j, o) in v.iter_mut().enumerate() {
            let mut sum = 0.5;
            for (y, inv) in ys.iter().zip(inverses) {
                sum += y[j] as f64 * inv;
            }
            *o = sum as u64;
        }
    }

    pub fn linear_combination(
        m: &Modulus,
        out: &mut [u64],
        ys: &[&[u64]],
        c: &[u64],
        v: Option<&[u64]>,
        d: u64,
    ) {
        for (j, o) in out.iter_mut().enumerate() {
            let (mut lo, mut hi) = (0, 0);
            if let Some(v) = v {
                accumulate(&mut lo, &mut hi, v[j], d);
            }
            for (y, c) in ys.iter().zip(c) {
                accumulate(&mut lo, &mut hi, y[j], *c);
            }
            *o = m.mont_reduce(lo, hi, ys.len() + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn limb(n: usize, q: u64, rng: &mut impl Rng) -> Vec<u64> {
        (0..n).map(|i| if i % 7 == 0 { q - 1 } else { rng.next_u64() % q }).collect()
    }

    #[test]
    fn every_kernel_is_bit_identical_on_all_backends() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(5);
        for q in [0x3ffffffdf0001u64, 0x4020001, 0x10000140001] {
            let m = Modulus::new(q).unwrap();
            for terms in [1usize, 3, 4, 5, 9, 40, 900] {
                let n = 72;
                let xs: Vec<_> = (0..3 * terms).map(|_| limb(n, q, &mut rng)).collect();
                let pairs: Vec<_> = (0..terms).map(|t| (&xs[t][..], &xs[terms + t][..])).collect();
                let triples: Vec<_> =
                    (0..terms).map(|t| (&xs[t][..], &xs[terms + t][..], &xs[2 * terms + t][..])).collect();
                let c = xs[0][1];
                let run = |b: Backend| {
                    let mut outs = vec![vec![0; n]; 10];
                    dot(b, &m, &mut outs[0], &pairs, None);
                    dot(b, &m, &mut outs[1], &pairs, Some(3));
                    let (l, r) = outs.split_at_mut(3);
                    dot_pair(b, &m, &mut l[2], &mut r[0], &triples);
                    mul_add(b, &m, &mut outs[4], &xs[0], Some(c), &xs[1], None);
                    mul_add(b, &m, &mut outs[5], &xs[0], None, &xs[1], Some(&xs[2]));
                    let (mut again, more): (_, Vec<u64>) =
                        (vec![0; n], xs[1].iter().map(|y| y + q).collect());
                    mul_add(b, &m, &mut again, &xs[0], None, &more, Some(&xs[2]));
                    assert!(again == outs[5], "an addend below 2q");
                    mul_const(b, &m, &mut outs[6], &xs[0], c);
                    outs[7].copy_from_slice(&xs[1]);
                    add_assign(b, &m, &mut outs[7], &xs[2]);
                    mul_const_assign(b, &m, &mut outs[7], c);
                    sub_assign(b, &m, &mut outs[7], &xs[0]);
                    neg_assign(b, &m, &mut outs[7]);
                    add_const_assign(b, &m, &mut outs[7], c);
                    let signed: Vec<i64> = xs[1].iter().map(|x| (x << 13) as i64).collect();
                    from_signed(b, &m, &mut outs[9], &signed, m.radix());
                    assert!(outs[9].iter().zip(&signed).all(|(o, s)| *o == m.from_i64(*s)));
                    from_small(b, &m, &mut outs[9], &[-20, 0, 20, -1, 1, 2, 3, 4, 5]);
                    assert_eq!(outs[9][0], q - 20);
                    let ys: Vec<_> = xs.iter().take(terms.min(16)).map(|x| &x[..]).collect();
                    rounded_weighted_sum(b, &mut outs[8], &ys, &vec![1.0 / q as f64; ys.len()]);
                    let inverses = (terms != 5).then(|| vec![1.0 / q as f64; ys.len()]);
                    let v = inverses.as_ref().map(|_| outs[8].clone());
                    let v = v.as_deref();
                    linear_combination(b, &m, &mut outs[9], &ys, &xs[1][..ys.len().min(n)], v, c);
                    for count in 1..=GROUP + 1 {
                        let mut many = vec![vec![0; n]; count];
                        let mut rows: Vec<_> = many
                            .iter_mut()
                            .enumerate()
                            .map(|(r, out)| {
                                let (c_mont, d_mont) = (&xs[r % terms][..ys.len()], xs[0][r]);
                                Combination { modulus: &m, c_mont, d_mont, out }
                            })
                            .collect();
                        linear_combinations(b, &mut rows, &ys, inverses.as_deref());
                        drop(rows);
                        for x in many.iter_mut().flatten() {
                            assert!(*x < 4 * q);
                            *x %= q;
                        }
                        for (r, got) in many.iter().enumerate() {
                            let mut want = vec![0; n];
                            let (c_mont, d_mont) = (&xs[r % terms][..ys.len()], xs[0][r]);
                            linear_combination(b, &m, &mut want, &ys, c_mont, v, d_mont);
                            assert!(*got == want, "{} {count}", b.name());
                        }
                    }
                    outs
                };
                let a = run(Backend::scalar());
                for backend in Backend::all() {
                    assert!(run(backend) == a, "{}", backend.name());
                }
                let sum = pairs.iter().fold(0, |s, (x, y)| m.add(s, m.mul(x[5], y[5])));
                assert_eq!(a[1][5], m.mul(3, sum));
            }
        }
    }

    #[test]
    fn runs_of_equal_factors_multiply_as_written_out() {
        let m = Modulus::new(0x3ffffffdf0001).unwrap();
        let residues = |n: usize, by: u64| (1..=n as u64).map(|i| m.mul(i, by)).collect::<Vec<_>>();
        let (x, y) = (residues(64, 0x2345_6789_abcd), residues(64, 0x1fed_cba9_8765));
        for log_run in 0..=6 {
            let plains =
                [residues(64 >> log_run, 0x3333_3333_3333), residues(64 >> log_run, 0x1234_5555_4321)];
            let whole: Vec<Vec<u64>> =
                plains.iter().map(|p| (0..64).map(|i| p[i >> log_run]).collect()).collect();
            let pairs: Vec<_> = whole.iter().map(|p| (&p[..], &x[..], &y[..])).collect();
            let terms: Vec<_> = plains.iter().map(|plain| Spread { plain, log_run, x: &x, y: &y }).collect();
            for b in Backend::all() {
                let mut outs = vec![vec![0; 64]; 4];
                let (l, r) = outs.split_at_mut(2);
                dot_pair(b, &m, &mut l[0], &mut r[0], &pairs);
                dot_spread(b, &m, &mut l[1], &mut r[1], &terms);
                assert!(l[0] == l[1] && r[0] == r[1], "{} 2^{log_run}", b.name());
            }
        }
    }
}
