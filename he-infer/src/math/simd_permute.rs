//! AVX-512 bodies of the kernels in [`super::permute`].
#![expect(unsafe_code, reason = "vector stores and target features")]
#![expect(clippy::indexing_slicing, reason = "patterns are numbered below eight")]

use std::arch::x86_64::*;

use super::key_product::Finish;
use super::modulus::Modulus;
use super::simd::{Lanes, load, store};

/// Where each block of eight comes from (or goes), the lane pattern of each block that arrives, and the patterns.
pub(super) type Table<'a> = (&'a [u32], &'a [u8], &'a [[u64; 8]; 8]);

/// Where the residues of one limb go, eight by eight.
pub(super) struct Scatter<'a> {
    out: &'a mut [u64],
    /// Block numbers and patterns, unless all stay where they are.
    table: Option<(&'a [u32], &'a [u8], [__m512i; 8])>,
    far: bool,
}

impl<'a> Scatter<'a> {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(out: &'a mut [u64], finish: &Finish<'a>) -> Self {
        let table = finish.permutation.map(|p| {
            let (to, ids, lanes) = p.scatter_table();
            (to, ids, lanes.map(|l| load(&l, 0)))
        });
        let far = finish.far && out.as_ptr().addr().is_multiple_of(64);
        Self { out, table, far }
    }

    /// Put the residues that stand at word `at`, a multiple of eight, to where they go.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn put(&mut self, at: usize, x: __m512i) {
        let (dst, x) = match &self.table {
            Some((to, ids, patterns)) => {
                let block = to[at / 8] as usize;
                (8 * block, _mm512_permutexvar_epi64(patterns[usize::from(ids[block] & 7)], x))
            }
            None => (at, x),
        };
        assert!(dst + 8 <= self.out.len());
        if self.far {
            // SAFETY: the vector lies inside `out`, and on whole cache lines.
            unsafe { _mm512_stream_si512(self.out.as_mut_ptr().add(dst).cast(), x) }
        } else {
            store(self.out, dst, x);
        }
    }
}

pub(super) fn permute(out: &mut [u64], x: &[u64], blocks: &[u32], ids: &[u8], lanes: &[[u64; 8]; 8]) {
    // SAFETY: callers hold a `Backend` from `detect` that reported these features.
    unsafe { permute_v(out, x, (blocks, ids, lanes)) }
}

#[target_feature(enable = "avx512f")]
fn permute_v(out: &mut [u64], x: &[u64], (blocks, ids, lanes): Table<'_>) {
    let patterns = lanes.map(|l| load(&l, 0));
    for (i, (b, id)) in blocks.iter().zip(ids).enumerate() {
        let (src, dst) = (8 * *b as usize, 8 * i);
        assert!(src + 8 <= x.len() && dst + 8 <= out.len());
        let v = _mm512_permutexvar_epi64(patterns[usize::from(id & 7)], load(x, src));
        store(out, dst, v);
    }
}

pub(super) fn permute_sum(
    m: &Modulus,
    out: &mut [u64],
    x: &[u64],
    y: Option<&[u64]>,
    table: Table<'_>,
    add: bool,
) {
    // SAFETY: callers hold a `Backend` from `detect` that reported these features.
    unsafe { permute_sum_v(m, out, x, y, table, add) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn permute_sum_v(
    m: &Modulus,
    out: &mut [u64],
    x: &[u64],
    y: Option<&[u64]>,
    (blocks, ids, lanes): Table<'_>,
    add: bool,
) {
    let l = Lanes::new(m, 1);
    let patterns = lanes.map(|l| load(&l, 0));
    let n = x.len().min(y.map_or(usize::MAX, <[u64]>::len));
    for (i, (b, id)) in blocks.iter().zip(ids).enumerate() {
        let (src, dst) = (8 * *b as usize, 8 * i);
        assert!(src + 8 <= n && dst + 8 <= out.len());
        let mut v = load(x, src);
        if let Some(y) = y {
            v = l.add(v, load(y, src));
        }
        v = _mm512_permutexvar_epi64(patterns[usize::from(id & 7)], v);
        if add {
            v = l.add(v, load(out, dst));
        }
        store(out, dst, v);
    }
}
