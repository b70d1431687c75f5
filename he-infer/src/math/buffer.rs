//! 64-byte aligned word buffers and a pool that recycles them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

/// One cache line of words.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// A 64-byte aligned array of words. If it came from a [`BufferPool`] it returns there when dropped.
#[derive(Default)]
pub struct AlignedWords {
    lines: Vec<Line>,
    len: usize,
    home: Option<BufferPool>,
}

impl AlignedWords {
    /// `len` zero words that belong to no pool.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line::zeroed(); len.div_ceil(8)], len, home: None }
    }

    /// `len` words from the same pool, with arbitrary contents; zeros if this buffer belongs to none.
    #[must_use]
    pub fn sibling(&self, len: usize) -> Self {
        self.home.as_ref().map_or_else(|| Self::zeroed(len), |pool| pool.take(len))
    }
}

impl Clone for AlignedWords {
    fn clone(&self) -> Self {
        let mut copy = self.sibling(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Drop for AlignedWords {
    fn drop(&mut self) {
        if let Some(pool) = self.home.take() {
            pool.give(std::mem::take(&mut self.lines));
        }
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

/// Buffers kept for reuse, so that operations do not fault in fresh pages. Cloning shares the pool.
///
/// Contents are arbitrary when taken. Nothing derived from a secret key is ever placed here.
#[derive(Clone, Default)]
pub struct BufferPool(Arc<Mutex<Free>>);

/// Returned buffers and their total size.
#[derive(Default)]
struct Free {
    buffers: Vec<Vec<Line>>,
    lines: usize,
}

/// Most memory a pool keeps, in lines of 64 bytes (256 MiB).
const KEEP_LINES: usize = 1 << 22;

impl BufferPool {
    /// A buffer of exactly `len` words with arbitrary contents.
    #[must_use]
    pub fn take(&self, len: usize) -> AlignedWords {
        let want = len.div_ceil(8);
        let found = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fit = free.buffers.iter().rposition(|b| b.len() >= want && b.len() <= want + want / 4);
            let found = fit.map(|i| free.buffers.swap_remove(i));
            free.lines -= found.as_ref().map_or(0, Vec::len);
            found
        };
        let lines = found.unwrap_or_else(|| vec![Line::zeroed(); want]);
        AlignedWords { lines, len, home: Some(self.clone()) }
    }

    fn give(&self, lines: Vec<Line>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.lines + lines.len() <= KEEP_LINES && free.buffers.len() < 1024 {
            free.lines += lines.len();
            free.buffers.push(lines);
        }
    }
}
