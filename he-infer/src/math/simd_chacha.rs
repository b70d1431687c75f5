//! ChaCha20 (Bernstein 2008) sixteen blocks at a time, and centred binomial errors, with AVX-512.
#![expect(unsafe_code, reason = "vector stores and target features")]
#![expect(clippy::indexing_slicing, reason = "state words of constant number; chunked output")]

use std::arch::x86_64::*;

use super::sampling::coins_scalar;

/// Key stream words from block `block` on, in the order of `rand_chacha::ChaCha20Rng`.
///
/// # Panics
/// If `out.len()` is not a multiple of 128 (sixteen blocks).
pub(super) fn keystream(seed: &[u8; 32], stream: u64, block: u64, out: &mut [u64]) {
    assert!(out.len().is_multiple_of(128));
    let mut key = [0u32; 8];
    for (k, b) in key.iter_mut().zip(seed.as_chunks::<4>().0) {
        *k = u32::from_le_bytes(*b);
    }
    for (i, chunk) in out.chunks_exact_mut(128).enumerate() {
        // SAFETY: only reached with a `Backend` from `detect`, which reported these features.
        unsafe { sixteen_blocks(&key, stream, block + 16 * i as u64, chunk) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn quarter(s: &mut [__m512i; 16], a: usize, b: usize, c: usize, d: usize) {
    s[a] = _mm512_add_epi32(s[a], s[b]);
    s[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(s[d], s[a]));
    s[c] = _mm512_add_epi32(s[c], s[d]);
    s[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(s[b], s[c]));
    s[a] = _mm512_add_epi32(s[a], s[b]);
    s[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(s[d], s[a]));
    s[c] = _mm512_add_epi32(s[c], s[d]);
    s[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(s[b], s[c]));
}

#[target_feature(enable = "avx512f,avx512dq")]
fn sixteen_blocks(key: &[u32; 8], stream: u64, block: u64, out: &mut [u64]) {
    let word = |x: u32| _mm512_set1_epi32(x as i32);
    let mut start = [word(0); 16];
    for (s, c) in start.iter_mut().zip([0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]) {
        *s = word(c);
    }
    for (s, k) in start[4..].iter_mut().zip(key) {
        *s = word(*k);
    }
    let mut counters = [[0u32; 16]; 2];
    let [low, high] = &mut counters;
    for (lane, (low, high)) in low.iter_mut().zip(high).enumerate() {
        let c = block.wrapping_add(lane as u64);
        (*low, *high) = (c as u32, (c >> 32) as u32);
    }
    // SAFETY: each array holds sixteen 32-bit words.
    unsafe {
        start[12] = _mm512_loadu_si512(counters[0].as_ptr().cast());
        start[13] = _mm512_loadu_si512(counters[1].as_ptr().cast());
    }
    (start[14], start[15]) = (word(stream as u32), word((stream >> 32) as u32));
    let mut s = start;
    for _ in 0..10 {
        for (a, b, c, d) in [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)] {
            quarter(&mut s, a, b, c, d);
        }
        for (a, b, c, d) in [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)] {
            quarter(&mut s, a, b, c, d);
        }
    }
    for (x, y) in s.iter_mut().zip(start) {
        *x = _mm512_add_epi32(*x, y);
    }
    // Transpose: lane b of word w becomes word w of block b.
    let mut u = s;
    for i in (0..16).step_by(4) {
        let (t0, t1) = (_mm512_unpacklo_epi32(s[i], s[i + 1]), _mm512_unpackhi_epi32(s[i], s[i + 1]));
        let (t2, t3) = (_mm512_unpacklo_epi32(s[i + 2], s[i + 3]), _mm512_unpackhi_epi32(s[i + 2], s[i + 3]));
        u[i] = _mm512_unpacklo_epi64(t0, t2);
        u[i + 1] = _mm512_unpackhi_epi64(t0, t2);
        u[i + 2] = _mm512_unpacklo_epi64(t1, t3);
        u[i + 3] = _mm512_unpackhi_epi64(t1, t3);
    }
    assert!(out.len() == 128);
    for r in 0..4 {
        let (u0, u1, u2, u3) = (u[r], u[4 + r], u[8 + r], u[12 + r]);
        let (s0, s1) = (_mm512_shuffle_i32x4::<0x44>(u0, u1), _mm512_shuffle_i32x4::<0x44>(u2, u3));
        let (s2, s3) = (_mm512_shuffle_i32x4::<0xee>(u0, u1), _mm512_shuffle_i32x4::<0xee>(u2, u3));
        let blocks = [
            _mm512_shuffle_i32x4::<0x88>(s0, s1),
            _mm512_shuffle_i32x4::<0xdd>(s0, s1),
            _mm512_shuffle_i32x4::<0x88>(s2, s3),
            _mm512_shuffle_i32x4::<0xdd>(s2, s3),
        ];
        for (l, b) in blocks.into_iter().enumerate() {
            let at = 8 * (4 * l + r);
            // SAFETY: `at + 8 <= 128 = out.len()`, asserted above.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), b) };
        }
    }
}

/// Centred binomial errors, one per word.
pub(super) fn coins(words: &[u64], out: &mut [i8]) {
    #[target_feature(enable = "avx512f")]
    fn wide(words: &[u64], out: &mut [i8]) {
        coins_scalar(words, out);
    }
    // SAFETY: only reached with a `Backend` from `detect`, which reported the feature.
    unsafe { wide(words, out) }
}
