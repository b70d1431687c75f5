//! Random polynomials from a given generator: uniform residues, ternary secrets, centred binomial errors.
//!
//! Everything public that can be recomputed (the `a` halves of keys and ciphertexts) is expanded from a 32-byte seed with
//! AES-128 in counter mode, as FrodoKEM does: a public seed needs uniform output, not secrecy, and hardware makes it as fast as
//! reading memory. Limbs are numbered streams, and every [`TILE`] words of a limb start at a counter of their own, so any part
//! can be expanded in any order and on any thread. Secrets and errors come from ChaCha20. Seeds for different purposes are
//! separated by SHA-256 with a label. Nothing branches on secret values, except on the positions of the ephemeral sparse secret: rejection only looks at discarded draws.

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use rand::rngs::SysRng;
use rand::{CryptoRng, Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::backend::Backend;
use super::modulus::Modulus;

/// Seed of a family of streams.
pub type Seed = [u8; 32];

/// Standard deviation of the error distribution, `sqrt(10)` (centred binomial with 20 + 20 coins).
pub const ERROR_STD: f64 = 3.162_277_660_168_379_5;

/// A generator seeded by the operating system, for production use.
///
/// # Errors
/// The operating system's error if it cannot supply entropy.
pub fn os_rng() -> Result<ChaCha20Rng, rand::rngs::SysError> {
    ChaCha20Rng::try_from_rng(&mut SysRng)
}

/// A seed for the purpose `label` and number `index`, derived from `master` (SHA-256 over all three).
#[must_use]
pub fn derive_seed(master: &Seed, label: &str, index: u64) -> Seed {
    let mut h = Sha256::new();
    h.update(b"hetrain-seed-v1");
    h.update((label.len() as u64).to_le_bytes());
    h.update(label.as_bytes());
    h.update(index.to_le_bytes());
    h.update(master);
    h.finalize().into()
}

/// Draw a fresh seed.
pub fn random_seed(rng: &mut (impl CryptoRng + ?Sized)) -> Seed {
    let mut seed = Seed::default();
    rng.fill_bytes(&mut seed);
    seed
}

/// Residues that start at a counter of their own.
pub const TILE: usize = 1024;

/// Fill `out` with residues uniform in `[0, q)`, a function of `(seed, stream, q)` only; see [`Expander::fill`].
pub fn uniform(backend: Backend, m: &Modulus, seed: &Seed, stream: u64, out: &mut [u64]) {
    Expander::new(backend, seed).fill(m, stream, out);
}

/// Expands a public seed to uniform residues.
///
/// Block `i` of tile `t` of stream `s` is AES-128 under the first half of the seed of the two words `2^32 t + i` and `s`,
/// xor the second half of the seed. Its two words (little endian) are skipped if they are at or above the largest multiple of
/// `q`; the others are multiplied by `2^-52 mod q`, a bijection that keeps them uniform.
pub struct Expander {
    cipher: Cipher,
    tweak: [u64; 2],
}

enum Cipher {
    Portable(Box<Aes128>),
    #[cfg(target_arch = "x86_64")]
    Wide(super::simd_aes::RoundKeys),
}

impl Expander {
    /// Prepare the expansion of `seed`.
    #[must_use]
    pub fn new(backend: Backend, seed: &Seed) -> Self {
        let mut halves = [[0u8; 16]; 2];
        for (half, part) in halves.iter_mut().zip(seed.as_chunks::<16>().0) {
            *half = *part;
        }
        let [key, tweak] = halves;
        let tweak = u128::from_le_bytes(tweak);
        Self { cipher: Cipher::new(backend, &key), tweak: [tweak as u64, (tweak >> 64) as u64] }
    }

    /// All residues of stream `stream` modulo `m`.
    pub fn fill(&self, m: &Modulus, stream: u64, out: &mut [u64]) {
        for (index, tile) in out.chunks_mut(TILE).enumerate() {
            self.tile(m, stream, index, tile);
        }
    }

    /// The first residues of tile `index`, at most [`TILE`].
    pub fn tile(&self, m: &Modulus, stream: u64, index: usize, out: &mut [u64]) {
        let limit = 0u64.wrapping_sub(((1u128 << 64) % u128::from(m.value())) as u64);
        let block = (index as u64) << 32;
        match &self.cipher {
            #[cfg(target_arch = "x86_64")]
            Cipher::Wide(keys) => {
                let start = super::simd_aes::Start { block, stream, tweak: self.tweak };
                super::simd_aes::tile(keys, start, m, limit, out);
            }
            Cipher::Portable(cipher) => self.tile_portable(cipher, [block, stream], m, limit, out),
        }
    }

    fn tile_portable(&self, cipher: &Aes128, start: [u64; 2], m: &Modulus, limit: u64, out: &mut [u64]) {
        let [mut block, stream] = start;
        let [low, high] = self.tweak;
        let mut slots = out.iter_mut();
        while slots.len() > 0 {
            let mut blocks = [aes::Block::default(); 32];
            for b in &mut blocks {
                let x = u128::from(block ^ low) | u128::from(stream ^ high) << 64;
                *b = x.to_le_bytes().into();
                block += 1;
            }
            cipher.encrypt_blocks(&mut blocks);
            for b in blocks {
                let x = u128::from_le_bytes(b.into());
                for word in [x as u64, (x >> 64) as u64] {
                    if word < limit
                        && let Some(o) = slots.next()
                    {
                        *o = m.mont_reduce(word, 0, 1);
                    }
                }
            }
        }
    }
}

impl Cipher {
    fn new(backend: Backend, key: &[u8; 16]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(keys) = super::simd_aes::expand_key(backend, key) {
            return Self::Wide(keys);
        }
        let _ = backend;
        Self::Portable(Box::new(Aes128::new(key.into())))
    }
}

/// The ChaCha20 stream as little-endian 64-bit words.
enum WordSource {
    Portable(Box<ChaCha20Rng>),
    #[cfg(target_arch = "x86_64")]
    Wide {
        seed: Seed,
        stream: u64,
        block: u64,
    },
}

impl WordSource {
    fn new(backend: Backend, seed: &Seed, stream: u64) -> Self {
        #[cfg(target_arch = "x86_64")]
        if backend.is_ifma() {
            return Self::Wide { seed: *seed, stream, block: 0 };
        }
        let _ = backend;
        let mut rng = ChaCha20Rng::from_seed(*seed);
        rng.set_stream(stream);
        Self::Portable(Box::new(rng))
    }

    /// Next words; the length must be a multiple of 128.
    fn fill(&mut self, words: &mut [u64]) {
        match self {
            Self::Portable(rng) => words.iter_mut().for_each(|w| *w = rng.next_u64()),
            #[cfg(target_arch = "x86_64")]
            Self::Wide { seed, stream, block } => {
                super::simd_chacha::keystream(seed, *stream, *block, words);
                *block += words.len() as u64 / 8;
            }
        }
    }
}

/// Fill `out` with values uniform in `{-1, 0, 1}`.
pub fn ternary(rng: &mut (impl CryptoRng + ?Sized), out: &mut [i8]) {
    let (mut pool, mut left) = (0u64, 0);
    for o in out {
        loop {
            if left == 0 {
                (pool, left) = (rng.next_u64(), 32);
            }
            let two = (pool & 3) as i8;
            (pool, left) = (pool >> 2, left - 1);
            if two != 3 {
                *o = two - 1;
                break;
            }
        }
    }
}

/// Fill `out` with a uniform choice among ternary vectors with exactly `weight` nonzero entries.
///
/// Touches memory at secret positions; call it where no one shares the processor's caches with an interest in the secret.
pub fn sparse_ternary(rng: &mut (impl CryptoRng + ?Sized), weight: usize, out: &mut [i8]) {
    out.fill(0);
    let mask = (out.len().next_power_of_two() as u64).wrapping_sub(1);
    let mut left = weight.min(out.len());
    while left > 0 {
        let word = rng.next_u64();
        let position = ((word >> 1) & mask) as usize;
        if let Some(slot) = out.get_mut(position).filter(|x| **x == 0) {
            *slot = if word & 1 == 0 { 1 } else { -1 };
            left -= 1;
        }
    }
}

/// Fill `out` with centred binomial errors of variance 10 (difference of two sums of 20 coins), from a fresh seed of `rng`.
pub fn centred_binomial(backend: Backend, rng: &mut (impl CryptoRng + ?Sized), out: &mut [i8]) {
    let seed = Zeroizing::new(random_seed(rng));
    centred_binomial_from_seed(backend, &seed, 0, out);
}

/// The errors of stream `stream` of `seed`, one word of ChaCha20 each.
pub fn centred_binomial_from_seed(backend: Backend, seed: &Seed, stream: u64, out: &mut [i8]) {
    let mut words = Zeroizing::new([0u64; 512]);
    let mut source = WordSource::new(backend, seed, stream);
    for chunk in out.chunks_mut(words.len()) {
        source.fill(&mut *words);
        coins(backend, &*words, chunk);
    }
}

fn coins(backend: Backend, words: &[u64], out: &mut [i8]) {
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_chacha::coins(words, out);
    }
    let _ = backend;
    coins_scalar(words, out);
}

/// Difference of the numbers of ones in bits 0 to 19 and 32 to 51, without table or branch, so that it vectorises.
#[inline(always)]
pub(super) fn coins_scalar(words: &[u64], out: &mut [i8]) {
    const COINS: u64 = 0x000f_ffff_000f_ffff;
    for (o, w) in out.iter_mut().zip(words) {
        let x = w & COINS;
        let x = x - (x >> 1 & 0x5555_5555_5555_5555);
        let x = (x & 0x3333_3333_3333_3333) + (x >> 2 & 0x3333_3333_3333_3333);
        let x = (x + (x >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
        // The lowest byte of each half now collects the other bytes of its half.
        let x = x + (x >> 8);
        let x = x + (x >> 16);
        *o = (x as u8 as i8).wrapping_sub((x >> 32) as u8 as i8);
    }
}

/// One draw from the standard normal distribution (Box–Muller).
pub fn standard_normal(rng: &mut (impl CryptoRng + ?Sized)) -> f64 {
    let unit = |x: u64| ((x >> 11) as f64 + 0.5) * 2f64.powi(-53);
    let (u, v) = (unit(rng.next_u64()), unit(rng.next_u64()));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMES: [u64; 3] = [0x3ffffffdf0001, 0x4020001, 0x10000140001];

    #[test]
    fn uniform_streams_agree_on_both_backends() {
        for q in PRIMES {
            let m = Modulus::new(q).unwrap();
            for n in [8usize, 1000, 5000, 1 << 16] {
                let (mut a, mut b) = (vec![0; n], vec![0; n]);
                uniform(Backend::detect(), &m, &[7; 32], 1 << 40 | 3, &mut a);
                uniform(Backend::scalar(), &m, &[7; 32], 1 << 40 | 3, &mut b);
                assert!(a == b && a.iter().all(|x| *x < q));
                let mean = a.iter().map(|x| *x as f64 / (q - 1) as f64).sum::<f64>() / n as f64;
                assert!(n < 1000 || (mean - 0.5).abs() < 0.05, "{mean}");
                // Any tile alone equals its part of the whole.
                let last = n.div_ceil(TILE) - 1;
                let part = &a[last * TILE..];
                Expander::new(Backend::detect(), &[7; 32]).tile(&m, 1 << 40 | 3, last, &mut b[..part.len()]);
                assert!(b.starts_with(part));
            }
        }
    }

    /// Real limits reject one word in thousands; lower ones reach the rare paths.
    #[test]
    fn rejected_words_leave_no_gap() {
        let m = Modulus::new(PRIMES[0]).unwrap();
        for limit in [u64::MAX / 2, u64::MAX / 200, u64::MAX - 1] {
            let run = |backend: Backend, n: usize| {
                let e = Expander::new(backend, &[5; 32]);
                let mut out = vec![0; n];
                match &e.cipher {
                    #[cfg(target_arch = "x86_64")]
                    Cipher::Wide(keys) => {
                        let start = super::super::simd_aes::Start { block: 9, stream: 2, tweak: e.tweak };
                        super::super::simd_aes::tile(keys, start, &m, limit, &mut out);
                    }
                    Cipher::Portable(c) => e.tile_portable(c, [9, 2], &m, limit, &mut out),
                }
                out
            };
            for n in [1, 63, 64, 65, 500, TILE] {
                assert!(run(Backend::detect(), n) == run(Backend::scalar(), n));
            }
        }
    }

    /// FIPS 197, appendix C.1, through both key schedules and the counter construction.
    #[test]
    fn the_cipher_is_aes_128() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let plain: [u8; 16] = std::array::from_fn(|i| (i * 0x11) as u8);
        let mut seed = Seed::default();
        seed[..16].copy_from_slice(&key);
        seed[16..].copy_from_slice(&plain);
        let m = Modulus::new(PRIMES[0]).unwrap();
        for backend in [Backend::detect(), Backend::scalar()] {
            let mut out = [0; 2];
            // Block and stream zero: the input of the cipher is the second half of the seed.
            Expander::new(backend, &seed).tile(&m, 0, 0, &mut out);
            let words = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a_u128.swap_bytes();
            assert_eq!(out, [words as u64, (words >> 64) as u64].map(|w| m.mont_reduce(w, 0, 1)));
        }
    }

    #[test]
    fn error_and_secret_distributions_have_their_moments() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut e, mut s) = (vec![0i8; 1 << 16], vec![0i8; 1 << 16]);
        ternary(&mut rng, &mut s);
        centred_binomial(Backend::detect(), &mut rng, &mut e);
        let moment = |x: &[i8], k: i32| x.iter().map(|v| f64::from(*v).powi(k)).sum::<f64>() / x.len() as f64;
        assert!((moment(&e, 2) - 10.0).abs() < 0.4 && (moment(&s, 2) - 2.0 / 3.0).abs() < 0.02);
        assert!(moment(&e, 1).abs() < 0.1 && (moment(&e, 4) - 295.0).abs() < 20.0);
        let (mut a, mut b) = (vec![0i8; 1000], vec![0i8; 1000]);
        centred_binomial_from_seed(Backend::detect(), &[3; 32], 5, &mut a);
        centred_binomial_from_seed(Backend::scalar(), &[3; 32], 5, &mut b);
        assert!(a == b);
        coins_scalar(&[0, u64::MAX, 0x000f_ffff, 0x000f_ffff << 32, 1 << 19 | 1 << 51], &mut a);
        assert_eq!(a[..5], [0, 0, 20, -20, 0]);
        assert_ne!(derive_seed(&[0; 32], "a", 0), derive_seed(&[0; 32], "a", 1));
    }
}
