//! AVX-512-VBMI bodies of [`super::packed`]: eight residues are eight bit fields of `w` bytes.
#![expect(unsafe_code, reason = "vector loads, stores and target features")]
#![expect(clippy::indexing_slicing, reason = "tables filled at compile time")]

use std::arch::x86_64::*;

use super::simd::{load, splat, store};

/// How eight residues of one width lie in their bytes.
#[derive(Clone, Copy)]
struct Fields {
    /// For byte `k` of residue `i`, at `8 i + k`: its place among the packed bytes.
    unpack: [u8; 64],
    /// For each packed byte: the byte of an even or odd residue (shifted into place) that has bits there, and whether there is one.
    pack: [[u8; 64]; 2],
    present: [u64; 2],
    /// Position of the first bit of each residue within its first byte.
    shifts: [u64; 8],
}

/// Widths from 8 (below it, three residues share a byte) and below this one (a residue and its shift fit a word) are supported.
pub(super) const WIDTHS: usize = 58;

static FIELDS: [Fields; WIDTHS] = {
    let mut all = [Fields { unpack: [0; 64], pack: [[0; 64]; 2], present: [0; 2], shifts: [0; 8] }; WIDTHS];
    let mut width = 1;
    while width < WIDTHS {
        let mut i = 0;
        while i < 8 {
            let (first, shift) = (i * width / 8, i * width % 8);
            all[width].shifts[i] = shift as u64;
            let mut k = 0;
            while k < 8 {
                all[width].unpack[8 * i + k] = (first + k) as u8;
                if 8 * k < shift + width {
                    all[width].pack[i % 2][first + k] = (8 * i + k) as u8;
                    all[width].present[i % 2] |= 1 << (first + k);
                }
                k += 1;
            }
            i += 1;
        }
        width += 1;
    }
    all
};

pub(super) fn pack(width: usize, out: &mut [u64], values: &[u64]) {
    assert!((8..WIDTHS).contains(&width) && 8 * out.len() >= values.len() / 8 * width);
    // SAFETY: callers hold a `Backend` from `detect` that reported these features; lengths were checked.
    unsafe { pack_v(width, out, values) }
}

pub(super) fn unpack<const SIGNED: bool>(width: usize, out: &mut [u64], packed: &[u64]) {
    assert!((8..WIDTHS).contains(&width) && 8 * packed.len() >= out.len() / 8 * width);
    // SAFETY: as for `pack`.
    unsafe { unpack_v::<SIGNED>(width, out, packed) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bytes(x: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of 64.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

/// # Safety
/// `out` must hold `width` bytes for every eight values.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn pack_v(width: usize, out: &mut [u64], values: &[u64]) {
    let f = &FIELDS[width];
    let order = [bytes(&f.pack[0]), bytes(&f.pack[1])];
    let (shifts, mask) = (load(&f.shifts, 0), splat((1 << width) - 1));
    let out: &mut [u8] = bytemuck::cast_slice_mut(out);
    for i in 0..values.len() / 8 {
        let x = _mm512_sllv_epi64(_mm512_and_si512(load(values, 8 * i), mask), shifts);
        let even = _mm512_maskz_permutexvar_epi8(f.present[0], order[0], x);
        let odd = _mm512_maskz_permutexvar_epi8(f.present[1], order[1], x);
        let (x, to) = (_mm512_or_si512(even, odd), out.as_mut_ptr().wrapping_add(i * width));
        // Masked stores are slow; the next eight residues overwrite what a whole one writes too much.
        if i * width + 64 <= out.len() {
            // SAFETY: 64 bytes from `to` on lie inside `out`.
            unsafe { _mm512_storeu_si512(to.cast(), x) }
        } else {
            // SAFETY: the mask writes `width` bytes of those that the caller promised.
            unsafe { _mm512_mask_storeu_epi8(to.cast(), (1 << width) - 1, x) }
        }
    }
}

pub(super) fn write_once(out: &mut [u64], words: &[u64]) {
    assert_eq!(out.len(), words.len(), "length of what is written");
    let whole = out.len().is_multiple_of(8) && out.as_ptr().addr().is_multiple_of(64);
    if !whole {
        return out.copy_from_slice(words);
    }
    // SAFETY: callers hold a `Backend` from `detect` that reported these features; length and alignment were checked.
    unsafe { write_once_v(out, words) }
}

/// # Safety
/// `out` must be aligned to 64 bytes; both are equally long, whole vectors.
#[target_feature(enable = "avx512f")]
unsafe fn write_once_v(out: &mut [u64], words: &[u64]) {
    for j in (0..words.len()).step_by(8) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_stream_si512(out.as_mut_ptr().add(j).cast(), load(words, j)) }
    }
    // Such stores are ordered for other threads by a fence only.
    _mm_sfence();
}

/// Eight words from the bytes at `from`.
///
/// # Safety
/// `width` bytes must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn fields<const SIGNED: bool>(from: *const u8, l: &Layout) -> __m512i {
    // SAFETY: the mask reads the bytes that the caller promised.
    let x = unsafe { _mm512_maskz_loadu_epi8(l.bytes, from.cast()) };
    let x = _mm512_srlv_epi64(_mm512_permutexvar_epi8(l.order, x), l.shifts);
    if SIGNED {
        _mm512_srav_epi64(_mm512_sllv_epi64(x, l.above), l.above)
    } else {
        _mm512_and_si512(x, l.mask)
    }
}

/// What [`fields`] needs of one width.
pub(super) struct Layout {
    order: __m512i,
    shifts: __m512i,
    mask: __m512i,
    /// Bits above a field.
    above: __m512i,
    bytes: u64,
}

impl Layout {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(width: usize) -> Self {
        let f = &FIELDS[width];
        let all = (1 << width) - 1;
        Self {
            order: bytes(&f.unpack),
            shifts: load(&f.shifts, 0),
            mask: splat(all),
            above: splat(64 - width as u64),
            bytes: all,
        }
    }
}

/// # Safety
/// `packed` must hold `width` bytes for every eight words of `out`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn unpack_v<const SIGNED: bool>(width: usize, out: &mut [u64], packed: &[u64]) {
    let l = Layout::new(width);
    let from = packed.as_ptr().cast::<u8>();
    for i in 0..out.len() / 8 {
        // SAFETY: the caller's promise.
        store(out, 8 * i, unsafe { fields::<SIGNED>(from.add(i * width), &l) });
    }
}
