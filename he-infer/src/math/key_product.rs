//! The inner loop of key switching: digits times a key, and the division by `P` that follows where a prime stays.

use super::backend::Backend;
use super::modulus::Modulus;
use super::packed::{self, TILE, nth, unpack, width, words};
use super::permute::Permutation;
use super::vector;

/// A digit and what it is multiplied with for either result.
pub type Term<'a> = (&'a [u64], &'a [u64], &'a [u64]);

/// Two inner products with a shared left side, `out0 = sum x_t y_t` and `out1 = sum x_t z_t`, for terms `(x, y, z)` with `y` and, if
/// `both`, `z` packed; both in Montgomery form. Each digit is read once, each key as it lies in memory. Digits may be what
/// [`Plan::forward_lazily`](super::ntt::Plan::forward_lazily) leaves on the same backend.
///
/// # Panics
/// If lengths do not agree.
pub fn dot_pair(
    backend: Backend,
    m: &Modulus,
    both: bool,
    out0: &mut [u64],
    out1: &mut [u64],
    terms: &[Term<'_>],
) {
    assert_eq!(out0.len(), out1.len(), "lengths of inner products");
    check(m, both, out0.len(), terms);
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_key_product::dot_pair(m, both, out0, out1, terms);
    }
    let width = width(m.value());
    let size = words(TILE, width);
    let mut unpacked = vec![[0; TILE]; 2 * terms.len()];
    for (tile, (out0, out1)) in out0.chunks_mut(TILE).zip(out1.chunks_mut(TILE)).enumerate() {
        let n = out0.len();
        for ((_, y, z), [b, a]) in terms.iter().zip(unpacked.as_chunks_mut().0) {
            unpack::<false>(backend, width, b.split_at_mut(n).0, nth(y, size, tile));
            let a = a.split_at_mut(n).0;
            if both {
                unpack::<false>(backend, width, a, nth(z, size, tile))
            } else {
                a.copy_from_slice(nth(z, TILE, tile))
            }
        }
        let plain = terms.iter().zip(unpacked.as_chunks().0);
        let plain: Vec<_> =
            plain.map(|((x, ..), [b, a])| (nth(x, TILE, tile), b.split_at(n).0, a.split_at(n).0)).collect();
        vector::dot_pair(backend, m, out0, out1, &plain);
    }
}

fn check(m: &Modulus, both: bool, n: usize, terms: &[Term<'_>]) {
    debug_assert!(terms.len() <= vector::MAX_LAZY_TERMS);
    for (x, y, z) in terms {
        packed::check(width(m.value()), y, x);
        assert_eq!(x.len(), n, "lengths of inner products");
        assert_eq!(z.len(), if both { y.len() } else { n }, "lengths of inner products");
    }
}

/// What becomes of the two inner products `u` of a key switch: `permuted (u times + add + add)`, limbs of one ring degree.
pub struct Finish<'a> {
    /// What they are multiplied with, if anything, in Montgomery form.
    pub times: Option<u64>,
    /// What is added to each; the first may be what [`Plan::forward_lazily`](super::ntt::Plan::forward_lazily) leaves on the same backend.
    pub adds: [[Option<&'a [u64]>; 2]; 2],
    /// The key's automorphism.
    pub permutation: Option<&'a Permutation>,
    /// Whether results are part of something that no cache would hold until it is read: then they are written past the caches, which
    /// need not read what is overwritten.
    pub far: bool,
}

/// The inner products of [`dot_pair`] for the words from `first` on, finished: products, sums and permutation in one pass,
/// because half a megabyte per limb and step would go through the third-level cache otherwise.
///
/// # Panics
/// If lengths do not agree or `first` is not a multiple of eight.
pub fn finished_dot_pair(
    backend: Backend,
    m: &Modulus,
    both: bool,
    first: usize,
    terms: &[Term<'_>],
    finish: &Finish<'_>,
    outs: [&mut [u64]; 2],
) {
    let n = terms.first().map_or(0, |(x, ..)| x.len());
    check(m, both, n, terms);
    let lens = finish.adds.iter().flatten().flatten().map(|a| a.len()).chain(outs.iter().map(|o| o.len()));
    let mut lens = lens.chain(finish.permutation.map(Permutation::n));
    assert!(first.checked_add(n).is_some_and(|end| lens.all(|len| len >= end)), "lengths of limbs");
    assert!(first.is_multiple_of(8), "first word");
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_key_product::finished_dot_pair(m, both, first, terms, finish, outs);
    }
    let [mut u0, mut u1] = [vec![0; n], vec![0; n]];
    dot_pair(backend, m, both, &mut u0, &mut u1, terms);
    for ((u, adds), out) in [&mut u0, &mut u1].into_iter().zip(finish.adds).zip(outs) {
        if let Some(c) = finish.times {
            vector::mul_const_assign(backend, m, u, c);
        }
        for add in adds.into_iter().flatten() {
            vector::add_assign(backend, m, u, add.split_at(first).1.split_at(n).0);
        }
        match finish.permutation {
            Some(p) => p.scatter(first, out, u),
            None => out.split_at_mut(first).1.split_at_mut(n).0.copy_from_slice(u),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::buffer::AlignedWords;

    #[test]
    fn inner_products_are_those_of_unpacked_terms() {
        let m = Modulus::new(0x400_0056_0001).unwrap();
        for (n, count) in [(64, 1), (TILE + 128, 3), (2 * TILE, 40)] {
            let residues = |t: usize| (1..=n as u64).map(|i| m.mul(i, 0x123_4567_89ab + t as u64)).collect();
            let plain: Vec<Vec<u64>> = (0..3 * count).map(residues).collect();
            let mut packed = vec![vec![0; words(n, width(m.value()))]; 3 * count];
            packed
                .iter_mut()
                .zip(&plain)
                .for_each(|(out, x)| packed::pack(Backend::scalar(), width(m.value()), out, x));
            let (mut unpacked, mut both, mut one) = (Vec::new(), Vec::new(), Vec::new());
            for (i, x) in plain.iter().take(count).enumerate() {
                let (b, a) = (count + i, 2 * count + i);
                unpacked.push((&x[..], &plain[b][..], &plain[a][..]));
                both.push((&x[..], &packed[b][..], &packed[a][..]));
                one.push((&x[..], &packed[b][..], &plain[a][..]));
            }
            for backend in Backend::all() {
                let mut outs = [(); 3].map(|()| [vec![0; n], vec![0; n]]);
                let [[u0, u1], [v0, v1], [w0, w1]] = &mut outs;
                vector::dot_pair(backend, &m, u0, u1, &unpacked);
                dot_pair(backend, &m, true, v0, v1, &both);
                dot_pair(backend, &m, false, w0, w1, &one);
                assert!(outs[0] == outs[1] && outs[0] == outs[2], "{} {n}", backend.name());
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn digits_and_lifts_may_be_what_lazy_transforms_leave() {
        let Some(backend) = Backend::ifma() else { return };
        // The largest primes, for which products need the most reductions.
        for q in crate::math::primes::below(50, 10, 2, &[]) {
            let m = Modulus::new(q).unwrap();
            let (n, w) = (256, width(q));
            let largest = vec![q - 1; n];
            let mut key = vec![0; words(n, w)];
            packed::pack(backend, w, &mut key, &largest);
            for count in [1, 2, 3, 5, 8, 12] {
                let run = |digit: &[u64], lift: &[u64]| {
                    let terms: Vec<Term<'_>> = (0..count).map(|_| (digit, &key[..], &key[..])).collect();
                    let mut outs = [(); 4].map(|()| AlignedWords::zeroed(n));
                    let [a, b, c, d] = &mut outs;
                    dot_pair(backend, &m, true, a, b, &terms);
                    let adds = [[Some(lift), Some(&largest[..])], [Some(lift), None]];
                    let finish = Finish { times: None, adds, permutation: None, far: false };
                    finished_dot_pair(backend, &m, true, 0, &terms, &finish, [c, d]);
                    outs.map(|out| out.to_vec())
                };
                let lazy = vec![2 * q - 1; n];
                let outs = run(&lazy, &lazy);
                assert!(outs == run(&largest, &largest) && outs.iter().flatten().all(|x| *x < q));
            }
        }
    }

    #[test]
    fn finished_inner_products_are_those_of_separate_passes() {
        let m = Modulus::new(0x3_ffff_ffdf_0001).unwrap();
        let (n, w) = (256, width(m.value()));
        let limb = |t: usize| (1..=n as u64).map(|i| m.mul(i, 0x123_4567_89ab + t as u64)).collect();
        let plain: Vec<Vec<u64>> = (0..40).map(limb).collect();
        let mut packed = vec![vec![0; words(n, w)]; 40];
        packed.iter_mut().zip(&plain).for_each(|(out, x)| packed::pack(Backend::scalar(), w, out, x));
        let turn = Permutation::new(n, 25).unwrap();
        for (count, permutation, both) in
            [(2, Some(&turn), true), (2, None, false), (9, Some(&turn), false), (12, None, true)]
        {
            let terms = |first: usize, len: usize| -> Vec<Term<'_>> {
                let (here, there) = (first..first + len, words(first, w)..words(first + len, w));
                let factor =
                    |t: usize| if both { &packed[t][there.clone()] } else { &plain[t][here.clone()] };
                (0..count)
                    .map(|t| (&plain[t][here.clone()], &packed[20 + t][there.clone()], factor(t)))
                    .collect()
            };
            let [add, more] = [&plain[38][..], &plain[39][..]];
            let times = (count != 9).then_some(plain[1][7]);
            let finish =
                |far| Finish { times, adds: [[Some(add), None], [Some(add), Some(more)]], permutation, far };
            let mut want = vec![vec![0; n]; 2];
            let [mut u0, mut u1] = [vec![0; n], vec![0; n]];
            dot_pair(Backend::scalar(), &m, both, &mut u0, &mut u1, &terms(0, n));
            for ((u, adds), out) in [u0, u1].iter_mut().zip(finish(false).adds).zip(&mut want) {
                for (i, u) in u.iter_mut().enumerate() {
                    *u = times.map_or(*u, |c| m.mont_mul(*u, c));
                    *u = adds.iter().flatten().fold(*u, |u, a| m.add(u, a[i]));
                }
                match permutation {
                    Some(p) => p.apply(Backend::scalar(), out, u),
                    None => out.copy_from_slice(u),
                }
            }
            for backend in Backend::all() {
                for (far, tile) in [(false, n), (true, n), (true, n / 4)] {
                    let mut outs = [AlignedWords::zeroed(n), AlignedWords::zeroed(n)];
                    let [o0, o1] = &mut outs;
                    for first in (0..n).step_by(tile) {
                        let terms = terms(first, tile);
                        finished_dot_pair(backend, &m, both, first, &terms, &finish(far), [o0, o1]);
                    }
                    assert!(outs[0][..] == want[0] && outs[1][..] == want[1], "{} {count}", backend.name());
                }
            }
        }
    }
}
