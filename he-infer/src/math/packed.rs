//! Integers at the width they need: what lies in memory to be read once, or travels.
//!
//! A residue modulo a 42-bit prime takes 42 bits instead of 64: the keys of a deep network and their files are a quarter to a third
//! smaller, and so is what key switching reads from memory; encoded weights need even less. Integer `i` is bits `i w..(i + 1) w` of its limb, least significant
//! first, so 64 of them take exactly `w` words and eight take `w` bytes.
//! On processors with AVX2 only, the portable code packs and unpacks.

use super::backend::Backend;
use super::buffer::{AlignedWords, BufferPool};

/// Bits of a residue modulo `q`.
#[must_use]
pub fn width(q: u64) -> usize {
    (u64::BITS - q.leading_zeros()) as usize
}

/// Words that `n` integers of `width` bits take, `n` a multiple of 64.
#[must_use]
pub fn words(n: usize, width: usize) -> usize {
    n / 64 * width
}

/// Pack the low `width` bits of each value; `out` has [`words`] of them.
///
/// # Panics
/// If `width` is not in `8..=64`, `values` no multiple of 64 long or `out` not of its length.
pub fn pack(backend: Backend, width: usize, out: &mut [u64], values: &[u64]) {
    check(width, out, values);
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() && width < super::simd_packed::WIDTHS {
        return super::simd_packed::pack(width, out, values);
    }
    let _ = backend;
    scalar::pack(width, out, values);
}

/// The inverse of [`pack`]. Any bits unpack to words below `2^width`; if `SIGNED`, the highest of them is copied to those above it.
///
/// # Panics
/// As for [`pack`].
pub fn unpack<const SIGNED: bool>(backend: Backend, width: usize, out: &mut [u64], packed: &[u64]) {
    check(width, packed, out);
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() && width < super::simd_packed::WIDTHS {
        return super::simd_packed::unpack::<SIGNED>(width, out, packed);
    }
    let _ = backend;
    scalar::unpack::<SIGNED>(width, out, packed);
}

/// Copy words to where nobody reads them soon: past the caches, which saves reading what is overwritten.
///
/// # Panics
/// If lengths differ.
pub fn write_once(backend: Backend, out: &mut [u64], words: &[u64]) {
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_packed::write_once(out, words);
    }
    let _ = backend;
    out.copy_from_slice(words);
}

/// Integers that callers unpack together, so that they stay in the first-level cache.
pub const TILE: usize = 1024;

/// Chunk number `at` of `size` words, shorter at the end.
pub fn nth(x: &[u64], size: usize, at: usize) -> &[u64] {
    x.chunks(size).nth(at).unwrap_or(&[])
}

pub(super) fn check(width: usize, packed: &[u64], values: &[u64]) {
    assert!((8..=64).contains(&width), "width of packed integers");
    assert!(values.len().is_multiple_of(64), "integers are packed by 64");
    assert_eq!(packed.len(), words(values.len(), width), "length of packed integers");
}

/// Polynomials over several primes, or several over the integers: limbs of packed coefficients.
pub struct PackedPoly {
    words: AlignedWords,
    /// Where each limb begins, and where the last one ends.
    starts: Vec<usize>,
}

impl PackedPoly {
    /// Room for `n` residues modulo each of `primes`, with arbitrary contents in recycled memory.
    #[must_use]
    pub fn recycled(n: usize, primes: impl IntoIterator<Item = u64>, pool: &BufferPool) -> Self {
        let starts = starts(n, primes.into_iter().map(width));
        Self { words: pool.take(starts.last().copied().unwrap_or(0)), starts }
    }

    /// Room for `count` times `n` integers of `width` bits, in memory of its own.
    #[must_use]
    pub fn integers(n: usize, width: usize, count: usize) -> Self {
        let starts = starts(n, std::iter::repeat_n(width, count));
        Self { words: AlignedWords::zeroed(starts.last().copied().unwrap_or(0)), starts }
    }

    /// Number of limbs.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.starts.len() - 1
    }

    /// The words of limb `i`, or an empty slice if there is none.
    #[must_use]
    pub fn limb(&self, i: usize) -> &[u64] {
        let ends = self.starts.get(i).zip(self.starts.get(i + 1));
        ends.and_then(|(from, to)| self.words.get(*from..*to)).unwrap_or(&[])
    }

    /// All limbs as disjoint mutable slices.
    pub fn limbs_mut(&mut self) -> Vec<&mut [u64]> {
        let mut rest: &mut [u64] = &mut self.words;
        let lengths = self.starts.iter().zip(self.starts.iter().skip(1)).map(|(from, to)| to - from);
        lengths
            .map(|length| {
                let (limb, tail) = std::mem::take(&mut rest).split_at_mut(length);
                rest = tail;
                limb
            })
            .collect()
    }
}

fn starts(n: usize, widths: impl Iterator<Item = usize>) -> Vec<usize> {
    let ends = widths.scan(0, |end, width| {
        *end += words(n, width);
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

mod scalar {
    #![expect(clippy::indexing_slicing, reason = "lengths are checked by the callers")]

    pub fn pack(width: usize, out: &mut [u64], values: &[u64]) {
        let mask = u64::MAX >> (64 - width);
        out.fill(0);
        for (i, x) in values.iter().enumerate() {
            let (x, at, shift) = (x & mask, i * width / 64, i * width % 64);
            out[at] |= x << shift;
            if shift + width > 64 {
                out[at + 1] |= x >> (64 - shift);
            }
        }
    }

    pub fn unpack<const SIGNED: bool>(width: usize, out: &mut [u64], packed: &[u64]) {
        let above = 64 - width;
        for (i, o) in out.iter_mut().enumerate() {
            let (at, shift) = (i * width / 64, i * width % 64);
            let high = if shift + width > 64 { packed[at + 1] << (64 - shift) } else { 0 };
            let x = (packed[at] >> shift | high) << above;
            *o = if SIGNED { (x as i64 >> above) as u64 } else { x >> above };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limbs_lie_one_after_the_other() {
        let primes = [0x3_ffff_ffdf_0001, 0x402_0001, 0x400_0056_0001];
        let mut poly = PackedPoly::recycled(128, primes, &BufferPool::default());
        poly.limbs_mut().into_iter().enumerate().for_each(|(i, limb)| limb.fill(i as u64));
        assert_eq!(poly.limbs(), 3);
        for (i, words) in [100, 54, 86].into_iter().enumerate() {
            assert_eq!(poly.limb(i), vec![i as u64; words]);
        }
        assert!(poly.limb(3).is_empty());
    }

    proptest! {
        #[test]
        fn every_width_is_packed_alike_and_unpacks(width in 8usize..=64, seed in any::<u64>(), blocks in 1usize..4) {
            let mut x = seed;
            let values: Vec<u64> = (0..64 * blocks).map(|i| {
                x = x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                if i % 5 == 0 { u64::MAX } else { x }
            }).collect();
            let above = 64 - width;
            let low: Vec<u64> = values.iter().map(|x| x << above >> above).collect();
            let signed: Vec<u64> = values.iter().map(|x| ((x << above) as i64 >> above) as u64).collect();
            let mut want = vec![0; words(values.len(), width)];
            scalar::pack(width, &mut want, &values);
            for backend in Backend::all() {
                let (mut packed, mut back) = (vec![!0; want.len()], vec![0; values.len()]);
                pack(backend, width, &mut packed, &values);
                prop_assert_eq!(&packed, &want);
                unpack::<false>(backend, width, &mut back, &packed);
                prop_assert_eq!(&back, &low);
                unpack::<true>(backend, width, &mut back, &packed);
                prop_assert_eq!(&back, &signed);
                let mut copy = AlignedWords::zeroed(want.len() + 1);
                for at in 0..2 {
                    write_once(backend, &mut copy[at..at + want.len()], &packed);
                    prop_assert_eq!(&copy[at..at + want.len()], &want[..]);
                }
            }
        }
    }
}
