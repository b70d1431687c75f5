//! AES-128 in counter mode, thirty-two blocks at a time, fused with rejection to uniform residues (VAES with AVX-512).
#![expect(unsafe_code, reason = "vector loads, stores and target features")]

use std::arch::x86_64::*;

use super::backend::Backend;
use super::modulus::Modulus;
use super::simd::{Lanes, splat, store};

/// Round keys of AES-128; holding one proves that the processor has every instruction used here.
pub(super) struct RoundKeys([[u8; 16]; 11]);

/// Words made per step: eight vectors, enough to hide the latency of a round.
const STEP: usize = 64;

/// Expand a key, or `None` if the backend or the processor lacks the instructions.
pub(super) fn expand_key(backend: Backend, key: &[u8; 16]) -> Option<RoundKeys> {
    let available = backend.is_ifma() && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("aes");
    // SAFETY: the features have just been reported.
    available.then(|| RoundKeys(unsafe { expand_key_v(key) }))
}

#[target_feature(enable = "aes")]
fn expand_key_v(key: &[u8; 16]) -> [[u8; 16]; 11] {
    let mut keys = [[0; 16]; 11];
    // SAFETY: `key` has sixteen bytes.
    let mut k = unsafe { _mm_loadu_si128(key.as_ptr().cast()) };
    for (round, out) in keys.iter_mut().enumerate() {
        if round > 0 {
            // The round constant is an immediate operand.
            let assist = match round {
                1 => _mm_aeskeygenassist_si128::<0x01>(k),
                2 => _mm_aeskeygenassist_si128::<0x02>(k),
                3 => _mm_aeskeygenassist_si128::<0x04>(k),
                4 => _mm_aeskeygenassist_si128::<0x08>(k),
                5 => _mm_aeskeygenassist_si128::<0x10>(k),
                6 => _mm_aeskeygenassist_si128::<0x20>(k),
                7 => _mm_aeskeygenassist_si128::<0x40>(k),
                8 => _mm_aeskeygenassist_si128::<0x80>(k),
                9 => _mm_aeskeygenassist_si128::<0x1b>(k),
                _ => _mm_aeskeygenassist_si128::<0x36>(k),
            };
            k = _mm_xor_si128(k, _mm_slli_si128::<4>(k));
            k = _mm_xor_si128(k, _mm_slli_si128::<8>(k));
            k = _mm_xor_si128(k, _mm_shuffle_epi32::<0xff>(assist));
        }
        // SAFETY: `out` has sixteen bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), k) };
    }
    keys
}

/// The first counter block of a tile, as `(block, stream)` before it is combined with the tweak.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub block: u64,
    pub stream: u64,
    pub tweak: [u64; 2],
}

/// Fill `out` with the residues of one tile; words at or above `limit` are skipped.
pub(super) fn tile(keys: &RoundKeys, start: Start, m: &Modulus, limit: u64, out: &mut [u64]) {
    // SAFETY: `RoundKeys` are only made by `expand_key`, which checked every feature.
    unsafe { tile_v(&keys.0, start, m, limit, out) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma,aes,vaes")]
fn tile_v(keys: &[[u8; 16]; 11], start: Start, m: &Modulus, limit: u64, out: &mut [u64]) {
    let lanes = Lanes::new(m, 1);
    let (zero, bound) = (_mm512_setzero_si512(), splat(limit));
    // Loops rather than `map`: closures would hide the features of this function from the inliner.
    let mut round = [zero; 11];
    for (wide, k) in round.iter_mut().zip(keys) {
        // SAFETY: a round key has sixteen bytes.
        *wide = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(k.as_ptr().cast()) });
    }
    let (tweak_lo, tweak_hi) = (start.tweak[0] as i64, start.tweak[1] as i64);
    let tweak =
        _mm512_setr_epi64(tweak_lo, tweak_hi, tweak_lo, tweak_hi, tweak_lo, tweak_hi, tweak_lo, tweak_hi);
    let (block, stream) = (start.block as i64, start.stream as i64);
    let mut counter = _mm512_add_epi64(
        _mm512_setr_epi64(block, stream, block, stream, block, stream, block, stream),
        _mm512_setr_epi64(0, 0, 1, 0, 2, 0, 3, 0),
    );
    let four = _mm512_setr_epi64(4, 0, 4, 0, 4, 0, 4, 0);
    let [first, middle @ .., last] = round;
    let first = _mm512_xor_si512(first, tweak);
    let mut written = 0;
    while written < out.len() {
        let mut s = [zero; 8];
        for x in &mut s {
            *x = _mm512_xor_si512(counter, first);
            counter = _mm512_add_epi64(counter, four);
        }
        for k in middle {
            for x in &mut s {
                *x = _mm512_aesenc_epi128(*x, k);
            }
        }
        let (mut good, mut all) = ([0u8; 8], 0xff);
        for (x, good) in s.iter_mut().zip(&mut good) {
            let word = _mm512_aesenclast_epi128(*x, last);
            *good = _mm512_cmplt_epu64_mask(word, bound);
            all &= *good;
            *x = lanes.reduce(word, zero);
        }
        let residues = s;
        if written + STEP <= out.len() {
            if all == 0xff {
                for (i, r) in residues.into_iter().enumerate() {
                    store(out, written + 8 * i, r);
                }
                written += STEP;
            } else {
                for (g, r) in good.into_iter().zip(residues) {
                    // Rejected lanes are squeezed out; what is stored behind the accepted ones is overwritten later.
                    store(out, written, _mm512_maskz_compress_epi64(g, r));
                    written += g.count_ones() as usize;
                }
            }
            continue;
        }
        let mut spare = [0u64; STEP];
        let mut kept = 0;
        for (g, r) in good.into_iter().zip(residues) {
            store(&mut spare, kept, _mm512_maskz_compress_epi64(g, r));
            kept += g.count_ones() as usize;
        }
        for (o, x) in out.iter_mut().skip(written).zip(spare.iter().take(kept)) {
            *o = *x;
            written += 1;
        }
    }
}
