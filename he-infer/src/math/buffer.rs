//! 64-byte aligned word buffers, large ones in huge pages, and a pool that recycles them.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};
#[cfg(target_os = "linux")]
use memmap2::{Advice, MmapMut};

/// One cache line of words.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// Memory of a buffer: from the allocator, or mapped for itself so that it can ask for huge pages.
///
/// A page fault costs about a microsecond per 4 KiB on a virtual machine, as much as computing that many residues of a key;
/// with huge pages there is one fault per 2 MiB.
enum Lines {
    Heap(Vec<Line>),
    #[cfg(target_os = "linux")]
    Mapped(MmapMut),
}

impl Default for Lines {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

impl Lines {
    /// `count` lines of zeros.
    fn zeroed(count: usize) -> Self {
        #[cfg(target_os = "linux")]
        if count * size_of::<Line>() >= HUGE_PAGE - HUGE_PAGE / 8
            && let Some(map) = map_huge(count * size_of::<Line>())
        {
            return Self::Mapped(map);
        }
        // Not `vec!`, which would write (and so touch) every page of zeros it gets from the system.
        Self::Heap(bytemuck::zeroed_vec(count))
    }

    fn len(&self) -> usize {
        let lines: &[Line] = self;
        lines.len()
    }
}

/// Anonymous memory of at least `bytes`, a multiple of the line size, with the advice to use huge pages.
#[cfg(target_os = "linux")]
fn map_huge(bytes: usize) -> Option<MmapMut> {
    // A last page that is mostly unused is not worth its memory.
    let whole = bytes.next_multiple_of(HUGE_PAGE);
    let map = MmapMut::map_anon(if whole - bytes <= bytes / 8 { whole } else { bytes }).ok()?;
    // Only advice: a kernel without huge pages serves small ones.
    let _ = map.advise(Advice::HugePage);
    Some(map)
}

impl Deref for Lines {
    type Target = [Line];
    fn deref(&self) -> &[Line] {
        match self {
            Self::Heap(lines) => lines,
            #[cfg(target_os = "linux")]
            Self::Mapped(map) => bytemuck::cast_slice(map),
        }
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        match self {
            Self::Heap(lines) => lines,
            #[cfg(target_os = "linux")]
            Self::Mapped(map) => bytemuck::cast_slice_mut(map),
        }
    }
}

/// A 64-byte aligned array of words. If it came from a [`BufferPool`] it returns there when dropped.
#[derive(Default)]
pub struct AlignedWords {
    lines: Lines,
    len: usize,
    home: Option<BufferPool>,
}

impl AlignedWords {
    /// `len` zero words that belong to no pool.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { lines: Lines::zeroed(len.div_ceil(8)), len, home: None }
    }

    /// A copy of the first `len` words that belongs to no pool.
    #[must_use]
    pub fn head(&self, len: usize) -> Self {
        let mut head = Self::zeroed(len);
        head.iter_mut().zip(self.iter()).for_each(|(to, from)| *to = *from);
        head
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
        bytemuck::cast_slice::<Line, u64>(&self.lines).split_at(self.len).0
    }
}

impl DerefMut for AlignedWords {
    fn deref_mut(&mut self) -> &mut [u64] {
        bytemuck::cast_slice_mut::<Line, u64>(&mut self.lines).split_at_mut(self.len).0
    }
}

/// Buffers kept for reuse, so that operations do not fault in fresh pages. Cloning shares the pool.
///
/// Contents are arbitrary when taken. No secret key, mask or error stays here: buffers for ciphertexts and evaluation keys hold
/// errors only until the result overwrites them. Encoded messages do, as they would in memory given back to the allocator.
#[derive(Clone, Default)]
pub struct BufferPool(Arc<Mutex<Free>>);

/// Returned buffers, the last one at the end, and their total size.
#[derive(Default)]
struct Free {
    buffers: VecDeque<Lines>,
    lines: usize,
}

impl Free {
    /// The buffer to use for `want` lines: the last one returned of about that size, which is the likeliest to be in a cache;
    /// else the smallest that is not more than three times too large. New memory costs more than unused memory: the system clears
    /// it, page fault by page fault.
    fn fit(&self, want: usize) -> Option<usize> {
        let close = self.buffers.iter().rposition(|b| b.len() >= want && b.len() <= want + want / 4);
        let wider = || {
            let fitting =
                self.buffers.iter().enumerate().filter(|(_, b)| b.len() >= want && b.len() <= 3 * want);
            fitting.min_by_key(|(_, b)| b.len()).map(|(i, _)| i)
        };
        close.or_else(wider)
    }
}

/// Most memory a pool keeps, in lines of 64 bytes (2 GiB). A bootstrap at ring degree `2^16` uses 650 MB again; with 512 MiB it had to
/// take them anew each time.
const KEEP_LINES: usize = 32 << 20;

impl BufferPool {
    /// A buffer of exactly `len` words with arbitrary contents.
    #[must_use]
    pub fn take(&self, len: usize) -> AlignedWords {
        let want = len.div_ceil(8);
        let found = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fit = free.fit(want);
            let found = fit.and_then(|i| free.buffers.remove(i));
            free.lines -= found.as_ref().map_or(0, Lines::len);
            found
        };
        let lines = found.unwrap_or_else(|| Lines::zeroed(want));
        AlignedWords { lines, len, home: Some(self.clone()) }
    }

    fn give(&self, lines: Lines) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() > KEEP_LINES {
            return;
        }
        free.lines += lines.len();
        free.buffers.push_back(lines);
        // What lay longest goes: buffers of a level that is done with must not keep those of the next one out.
        while free.lines > KEEP_LINES || free.buffers.len() > 1024 {
            let Some(oldest) = free.buffers.pop_front() else { return };
            free.lines -= oldest.len();
        }
    }
}
