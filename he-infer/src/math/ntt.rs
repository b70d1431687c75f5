//! Negacyclic number-theoretic transform modulo one prime, as a reusable [`Plan`].
//!
//! Forward is Cooley–Tukey with the powers of `psi` merged into the twiddles (Longa, Naehrig 2016), natural order in,
//! bit-reversed out: position `i` holds the value at `psi^(2 brv(i) + 1)`. Inverse is Gentleman–Sande. Butterflies are lazy
//! (Harvey 2014): values stay below `4q` forward and `2q` backward, and only the last level reduces.
//!
//! The inverse twiddle of node `p` (with `m <= p < 2m`) is `-W[p ^ (m - 1)]`, so one table serves both directions: half the
//! memory, which matters because tables of many primes compete for the cache.
#![expect(clippy::indexing_slicing, reason = "hot kernel: every index is bounded by the transform length")]

use std::ops::Range;
use std::sync::Arc;

use super::backend::Backend;
use super::buffer::AlignedWords;
use super::modulus::Modulus;
use super::primes::primitive_root;

/// Tables for transforms of one length modulo one prime.
pub struct Plan {
    modulus: Modulus,
    n: usize,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only one implementation there"))]
    backend: Backend,
    root: u64,
    n_inv: u64,
    /// `W[1]`.
    w1: u64,
    /// `W[i] = psi^brv(i)`: words, or bits of doubles if the AVX2 code runs.
    w: AlignedWords,
    /// Shoup companions of `w`, or quotients by `q` as doubles.
    companion: AlignedWords,
    /// The roots of the last levels in the order in which the AVX-512 code reads them, which then needs only few of the others.
    blocks: Blocks,
}

/// Words of one plan, perhaps beside those of others.
struct Blocks {
    words: Arc<AlignedWords>,
    range: Range<usize>,
}

/// Borrowed view of a plan for the SIMD code.
#[derive(Clone, Copy)]
#[cfg(target_arch = "x86_64")]
pub(super) struct Tables<'a> {
    pub modulus: &'a Modulus,
    pub n: usize,
    pub w: &'a [u64],
    pub companion: &'a [u64],
    pub blocks: &'a [u64],
}

/// The two constants of the last inverse level: `(f, f')` for sums and `(f W[1], ...)` for differences.
#[derive(Clone, Copy)]
pub(super) struct LastLevel {
    pub sum: (u64, u64),
    pub diff: (u64, u64),
}

impl Plan {
    /// Plan for ring degree `n` modulo `modulus`, or `None` if `n` is not a power of two of at least 2 or
    /// `q` is not `1 mod 2n`. `q` must be prime.
    #[must_use]
    pub fn new(n: usize, modulus: Modulus, backend: Backend) -> Option<Self> {
        if !n.is_power_of_two() || n < 2 {
            return None;
        }
        let root = primitive_root(&modulus, 2 * n as u64)?;
        let backend = for_length(backend, n);
        let log_n = n.trailing_zeros();
        let mut w = AlignedWords::zeroed(n);
        let mut power = 1;
        for i in 0..n {
            w[bit_reverse(i, log_n)] = power;
            power = modulus.mul(power, root);
        }
        let w1 = w[1];
        #[cfg(not(target_arch = "x86_64"))]
        let blocks = AlignedWords::zeroed(0);
        #[cfg(target_arch = "x86_64")]
        let blocks = if backend.is_ifma() {
            let blocks = super::simd_ntt::last_levels(&modulus, &w);
            w = w.head(n / super::simd_ntt::WORDS);
            blocks
        } else {
            AlignedWords::zeroed(0)
        };
        let mut companion = AlignedWords::zeroed(w.len());
        for (x, c) in w.iter_mut().zip(companion.iter_mut()) {
            #[cfg(target_arch = "x86_64")]
            if backend.is_avx2() {
                (*x, *c) = super::simd_avx2_ntt::prepare(&modulus, *x);
                continue;
            }
            *c = modulus.shoup(*x);
        }
        let n_inv = modulus.inv(n as u64 % modulus.value());
        let blocks = Blocks { range: 0..blocks.len(), words: Arc::new(blocks) };
        Some(Self { modulus, n, backend, root, n_inv, w1, w, companion, blocks })
    }

    /// Put the tables of many plans into one buffer, which is large enough for huge pages. At `n = 2^16` a table covers 144 small
    /// ones; transforms that take turns among forty primes looked most of them up anew, which took a fifteenth of their time.
    pub fn side_by_side(plans: &mut [Self]) {
        let mut all = AlignedWords::zeroed(plans.iter().map(|p| p.blocks.range.len()).sum());
        let mut at = 0;
        for Blocks { words, range } in plans.iter_mut().map(|p| &mut p.blocks) {
            let end = at + range.len();
            all[at..end].copy_from_slice(&words[range.clone()]);
            (*words, *range) = (Arc::default(), at..end);
            at = end;
        }
        let all = Arc::new(all);
        plans.iter_mut().for_each(|p| p.blocks.words = Arc::clone(&all));
    }

    /// The prime.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// Ring degree.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// The primitive `2n`-th root of unity behind the tables.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Forward transform in place: values below `4q` in natural order to reduced values in bit-reversed order.
    ///
    /// # Panics
    /// If `a` does not hold exactly `n` words.
    pub fn forward(&self, a: &mut [u64]) {
        assert_eq!(a.len(), self.n, "transform length");
        #[cfg(target_arch = "x86_64")]
        if self.backend.is_ifma() {
            return super::simd_ntt::forward::<true>(a, self.tables());
        } else if self.backend.is_avx2() {
            return super::simd_avx2_ntt::forward(a, self.tables());
        }
        self.forward_scalar(a);
    }

    /// The same, but results may be below `2q` where that is faster: for what is multiplied or added up next.
    ///
    /// # Panics
    /// If `a` does not hold exactly `n` words.
    pub fn forward_lazily(&self, a: &mut [u64]) {
        #[cfg(target_arch = "x86_64")]
        if self.backend.is_ifma() {
            assert_eq!(a.len(), self.n, "transform length");
            return super::simd_ntt::forward::<false>(a, self.tables());
        }
        self.forward(a);
    }

    /// Inverse transform in place: reduced values in bit-reversed order to reduced values in natural order.
    ///
    /// # Panics
    /// If `a` does not hold exactly `n` words.
    pub fn inverse(&self, a: &mut [u64]) {
        self.inverse_scaled(a, 1);
    }

    /// Inverse transform with every coefficient multiplied by the reduced constant `factor`, at no extra cost.
    ///
    /// # Panics
    /// If `a` does not hold exactly `n` words.
    pub fn inverse_scaled(&self, a: &mut [u64], factor: u64) {
        assert_eq!(a.len(), self.n, "transform length");
        let last = self.last_level(factor);
        #[cfg(target_arch = "x86_64")]
        if self.backend.is_ifma() {
            return super::simd_ntt_inverse::inverse(a, self.tables(), last);
        } else if self.backend.is_avx2() {
            return super::simd_avx2_ntt::inverse(a, self.tables(), last);
        }
        self.inverse_scalar(a, last);
    }

    fn last_level(&self, factor: u64) -> LastLevel {
        let q = &self.modulus;
        let f = q.mul(self.n_inv, factor);
        let d = q.mul(f, self.w1);
        LastLevel { sum: (f, q.shoup(f)), diff: (d, q.shoup(d)) }
    }

    /// The same from `src` into `out`, without a copy first.
    ///
    /// # Panics
    /// If either does not hold exactly `n` words.
    pub fn inverse_from(&self, out: &mut [u64], src: &[u64], factor: u64) {
        assert!(out.len() == self.n && src.len() == self.n, "transform length");
        #[cfg(target_arch = "x86_64")]
        if self.backend.is_ifma() {
            return super::simd_ntt_inverse::inverse_from(out, src, self.tables(), self.last_level(factor));
        }
        out.copy_from_slice(src);
        self.inverse_scaled(out, factor);
    }

    #[cfg(target_arch = "x86_64")]
    fn tables(&self) -> Tables<'_> {
        Tables {
            modulus: &self.modulus,
            n: self.n,
            w: &self.w,
            companion: &self.companion,
            blocks: &self.blocks.words[self.blocks.range.clone()],
        }
    }

    fn forward_scalar(&self, a: &mut [u64]) {
        let q = &self.modulus;
        let q2 = 2 * q.value();
        let (mut t, mut m) = (self.n / 2, 1);
        while m < self.n {
            for i in 0..m {
                let (w, ws) = (self.w[m + i], self.companion[m + i]);
                let (lo, hi) = a[2 * i * t..2 * (i + 1) * t].split_at_mut(t);
                for (x, y) in lo.iter_mut().zip(hi) {
                    let u = (*x).min(x.wrapping_sub(q2));
                    let v = q.mul_shoup_lazy(*y, w, ws);
                    *x = u + v;
                    *y = u + q2 - v;
                }
            }
            (t, m) = (t / 2, m * 2);
        }
        for x in a {
            *x = (*x).min(x.wrapping_sub(q2));
            *x = (*x).min(x.wrapping_sub(q.value()));
        }
    }

    fn inverse_scalar(&self, a: &mut [u64], last: LastLevel) {
        let q = &self.modulus;
        let q2 = 2 * q.value();
        let (mut t, mut m) = (1, self.n / 2);
        while m > 1 {
            for i in 0..m {
                let p = 2 * m - 1 - i;
                let (w, ws) = (self.w[p], self.companion[p]);
                let (lo, hi) = a[2 * i * t..2 * (i + 1) * t].split_at_mut(t);
                for (x, y) in lo.iter_mut().zip(hi) {
                    let (u, v) = (*x, *y);
                    let s = u + v;
                    *x = s.min(s.wrapping_sub(q2));
                    *y = q.mul_shoup_lazy(v + q2 - u, w, ws);
                }
            }
            (t, m) = (t * 2, m / 2);
        }
        let reduce = |x: u64| x.min(x.wrapping_sub(q.value()));
        let (lo, hi) = a.split_at_mut(t);
        for (x, y) in lo.iter_mut().zip(hi) {
            let (u, v) = (*x, *y);
            *x = reduce(q.mul_shoup_lazy(u + v, last.sum.0, last.sum.1));
            *y = reduce(q.mul_shoup_lazy(v + q2 - u, last.diff.0, last.diff.1));
        }
    }
}

/// The implementation that runs transforms of length `n`: short ones are left to the portable code.
fn for_length(backend: Backend, n: usize) -> Backend {
    #[cfg(target_arch = "x86_64")]
    if (backend.is_ifma() && n >= super::simd_ntt::MIN_LEN)
        || (backend.is_avx2() && n >= super::simd_avx2_ntt::MIN_LEN)
    {
        return backend;
    }
    let _ = (backend, n);
    Backend::scalar()
}

/// Reverse the low `bits` bits of `i`.
#[must_use]
#[inline]
pub fn bit_reverse(i: usize, bits: u32) -> usize {
    if bits == 0 { 0 } else { i.reverse_bits() >> (usize::BITS - bits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::primes::below;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    const Q: u64 = 0x3ffffffdf0001;

    fn plan(n: usize, q: u64, backend: Backend) -> Plan {
        Plan::new(n, Modulus::new(q).unwrap(), backend).unwrap()
    }

    fn random(n: usize, q: u64, seed: u64) -> Vec<u64> {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
        (0..n).map(|_| rng.next_u64() % q).collect()
    }

    #[test]
    fn product_of_transforms_is_the_negacyclic_product() {
        let n = 128;
        let (a, b) = (random(n, Q, 1), random(n, Q, 2));
        let m = Modulus::new(Q).unwrap();
        let mut want = vec![0; n];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let p = m.mul(*x, *y);
                let k = (i + j) % n;
                want[k] = if i + j < n { m.add(want[k], p) } else { m.sub(want[k], p) };
            }
        }
        for backend in Backend::all() {
            let plan = plan(n, Q, backend);
            let (mut x, mut y) = (a.clone(), b.clone());
            plan.forward(&mut x);
            plan.forward(&mut y);
            x.iter_mut().zip(&y).for_each(|(x, y)| *x = m.mul(*x, *y));
            plan.inverse(&mut x);
            assert_eq!(x, want);
        }
    }

    #[test]
    fn output_order_is_bit_reversed_evaluation() {
        let n = 64;
        let plan = plan(n, Q, Backend::detect());
        let m = plan.modulus();
        let mut x = vec![0; n];
        x[1] = 1;
        plan.forward(&mut x);
        for (i, v) in x.iter().enumerate() {
            assert_eq!(*v, m.pow(plan.root(), 2 * bit_reverse(i, 6) as u64 + 1));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn backends_agree_and_inverse_undoes_forward(log_n in 4u32..17, seed in any::<u64>(), pick in 0usize..5) {
            let n = 1usize << log_n;
            // The last ones are the largest that take the paths without reductions, forward and backward.
            let largest = |bits| below(bits, 18, 1, &[])[0];
            let q = [Q, 0x4020001, 0x10000140001, largest(45), largest(46)][pick];
            prop_assume!((q - 1).is_multiple_of(2 * n as u64));
            let slow = plan(n, q, Backend::scalar());
            // The forward direction accepts values below 4q.
            let a: Vec<u64> = random(n, q, seed);
            let lazy: Vec<u64> = random(n, 4 * q, seed).into_iter().map(|x| if x % 3 == 0 || pick == 3 { 4 * q - 1 } else { x }).collect();
            let (mut y, mut z) = (a.clone(), lazy.clone());
            slow.forward(&mut y);
            slow.forward(&mut z);
            // Sums grow fastest backward from equal residues, differences from opposite ones.
            let extreme: Vec<u64> =
                (0..n).map(|i| if pick < 3 || seed >> (i % 64) & 1 == 1 { q - 1 } else { 0 }).collect();
            let mut backward = extreme.clone();
            slow.inverse(&mut backward);
            let mut scaled = z.clone();
            slow.inverse_scaled(&mut scaled, 7);
            for backend in Backend::all() {
                let fast = plan(n, q, backend);
                let (mut x, mut l) = (a.clone(), lazy.clone());
                fast.forward(&mut x);
                prop_assert!(x == y, "{}", backend.name());
                let mut lazily = lazy.clone();
                fast.forward_lazily(&mut lazily);
                prop_assert!(lazily.iter().zip(&z).all(|(l, z)| l == z || *l == z + q), "{}", backend.name());
                fast.inverse(&mut x);
                prop_assert!(x == a, "{}", backend.name());
                fast.forward(&mut l);
                prop_assert!(l == z, "{}", backend.name());
                fast.inverse_scaled(&mut l, 7);
                prop_assert!(l == scaled, "{}", backend.name());
                fast.inverse_from(&mut l, &extreme, 1);
                prop_assert!(l == backward, "{}", backend.name());
            }
        }
    }
}
