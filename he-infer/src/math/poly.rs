//! A polynomial over several primes: one padded limb of `n` residues per prime.

use super::buffer::{AlignedWords, BufferPool};

/// Words between the starts of two limbs. Never a power of two: that would put equal positions of all limbs in one
/// cache set and halve the speed of base conversion.
#[must_use]
pub fn limb_stride(n: usize) -> usize {
    n + 64
}

/// Residues of one polynomial modulo a list of primes the owner knows (RNS form).
#[derive(Clone, Default)]
pub struct RnsPoly {
    words: AlignedWords,
    n: usize,
    limbs: usize,
}

impl RnsPoly {
    /// The zero polynomial of ring degree `n` over `limbs` primes.
    #[must_use]
    pub fn zero(n: usize, limbs: usize) -> Self {
        Self { words: AlignedWords::zeroed(limb_stride(n) * limbs), n, limbs }
    }

    /// A polynomial with arbitrary contents in recycled memory, to be overwritten completely.
    #[must_use]
    pub fn recycled(n: usize, limbs: usize, pool: &BufferPool) -> Self {
        Self { words: pool.take(limb_stride(n) * limbs), n, limbs }
    }

    /// Ring degree.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of limbs.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.limbs
    }

    /// Limb `i`, or an empty slice if there is none.
    #[must_use]
    pub fn limb(&self, i: usize) -> &[u64] {
        let s = limb_stride(self.n);
        self.words.get(i * s..i * s + self.n).unwrap_or(&[])
    }

    /// Limb `i` for writing, or an empty slice if there is none.
    pub fn limb_mut(&mut self, i: usize) -> &mut [u64] {
        let s = limb_stride(self.n);
        self.words.get_mut(i * s..i * s + self.n).unwrap_or(&mut [])
    }

    /// All limbs in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u64]> {
        (0..self.limbs).map(|i| self.limb(i))
    }

    /// All limbs in order, for writing.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u64]> {
        let n = self.n;
        self.words.chunks_exact_mut(limb_stride(n).max(1)).map(move |c| c.split_at_mut(n).0)
    }

    /// All limbs as disjoint mutable slices, so that they can be handed to several threads.
    pub fn limbs_mut(&mut self) -> Vec<&mut [u64]> {
        self.iter_mut().collect()
    }

    /// A copy of the first `limbs` limbs.
    #[must_use]
    pub fn head(&self, limbs: usize) -> Self {
        let limbs = limbs.min(self.limbs);
        let mut out = Self { words: self.words.sibling(limb_stride(self.n) * limbs), n: self.n, limbs };
        for (dst, src) in out.iter_mut().zip(self.iter()) {
            dst.copy_from_slice(src);
        }
        out
    }

    /// Overwrite every word with zeros in a way the compiler keeps (for secret material).
    pub fn zeroize(&mut self) {
        use zeroize::Zeroize;
        let words: &mut [u64] = &mut self.words;
        words.zeroize();
    }
}
