//! 64-byte aligned word buffers and a pool that recycles them.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

/// One cache line of words.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// A 64-byte aligned, zero-initialised array of words.
#[derive(Clone, Default)]
pub struct AlignedWords {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedWords {
    /// `len` zero words.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line::zeroed(); len.div_ceil(8)], len }
    }
}

impl Deref for AlignedWords {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        bytemuck::cast_slice(&self.lines).split_at(self.len).0
    }
}

impl DerefMut for AlignedWords {
    fn deref_mut(&mut self) -> &mut [u64] {
        bytemuck::cast_slice_mut(&mut self.lines).split_at_mut(self.len).0
    }
}

/// Scratch buffers kept for reuse, so that hot operations do not fault in fresh pages.
///
/// Contents are arbitrary when taken. Nothing derived from a secret key is ever placed here.
#[derive(Default)]
pub struct ScratchPool {
    free: Mutex<Vec<AlignedWords>>,
}

impl ScratchPool {
    /// A buffer of exactly `len` words with arbitrary contents; it returns to the pool when dropped.
    pub fn take(&self, len: usize) -> Scratch<'_> {
        let found = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let fit = free.iter().rposition(|b| b.lines.len() * 8 >= len && b.lines.len() * 4 <= len + 64);
            fit.map(|i| free.swap_remove(i))
        };
        let mut words = found.unwrap_or_else(|| AlignedWords::zeroed(len));
        words.len = len;
        Scratch { words, pool: self }
    }
}

/// A buffer borrowed from a [`ScratchPool`].
pub struct Scratch<'a> {
    words: AlignedWords,
    pool: &'a ScratchPool,
}

impl Deref for Scratch<'_> {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        &self.words
    }
}

impl DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < 64 {
            free.push(std::mem::take(&mut self.words));
        }
    }
}
