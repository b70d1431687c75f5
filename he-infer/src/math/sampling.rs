//! Random polynomials from a given generator: uniform residues, ternary secrets, centred binomial errors.
//!
//! Everything public that can be recomputed (the `a` halves of keys and ciphertexts) is expanded from a 32-byte seed with
//! ChaCha20, one stream number per limb, so limbs can be expanded in any order and on any thread. Seeds for different
//! purposes are separated by SHA-256 with a label. Nothing branches on secret values: rejection only looks at discarded draws.

use rand::rngs::SysRng;
use rand::{CryptoRng, Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

use super::backend::Backend;
use super::modulus::Modulus;

/// Seed of a ChaCha20 stream family.
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

/// Fill `out` with residues uniform in `[0, q)`, a function of `(seed, stream, q)` only.
///
/// 64-bit words of the ChaCha20 stream at or above the largest multiple of `q` are skipped; the others are multiplied by
/// `2^-52 mod q`, a bijection that keeps them uniform.
pub fn uniform(backend: Backend, m: &Modulus, seed: &Seed, stream: u64, out: &mut [u64]) {
    const CHUNK: usize = 1024;
    let mut words = [0u64; CHUNK];
    let mut source = WordSource::new(backend, seed, stream);
    let limit = 0u64.wrapping_sub(((1u128 << 64) % u128::from(m.value())) as u64);
    let mut rest = out;
    while !rest.is_empty() {
        source.fill(&mut words);
        let written = accept(backend, m, limit, &words, rest);
        rest = rest.split_at_mut(written).1;
    }
}

fn accept(backend: Backend, m: &Modulus, limit: u64, words: &[u64], out: &mut [u64]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_chacha::accept(m, limit, words, out);
    }
    let _ = backend;
    accept_scalar(m, limit, words, out)
}

pub(super) fn accept_scalar(m: &Modulus, limit: u64, words: &[u64], out: &mut [u64]) -> usize {
    let mut written = 0;
    let mut slots = out.iter_mut();
    for &x in words.iter().filter(|x| **x < limit) {
        let Some(o) = slots.next() else { break };
        *o = m.mont_reduce(x, 0, 1);
        written += 1;
    }
    written
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

    /// Next words; `words.len()` must be a multiple of 128.
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

/// Fill `out` with centred binomial errors of variance 10 (difference of two sums of 20 coins).
pub fn centred_binomial(rng: &mut (impl CryptoRng + ?Sized), out: &mut [i8]) {
    let mut bytes = zeroize::Zeroizing::new([0u8; 5 * 64]);
    for chunk in out.chunks_mut(64) {
        rng.fill_bytes(&mut *bytes);
        for (o, b) in chunk.iter_mut().zip(bytes.as_chunks::<5>().0) {
            let x = u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], 0, 0, 0]);
            let (a, b) = (x & 0xf_ffff, x >> 20);
            *o = a.count_ones() as i8 - b.count_ones() as i8;
        }
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

    #[test]
    fn uniform_streams_agree_on_both_backends() {
        for q in [0x3ffffffdf0001u64, 0x4020001, 0x10000140001] {
            let m = Modulus::new(q).unwrap();
            for n in [8usize, 1000, 5000] {
                let (mut a, mut b) = (vec![0; n], vec![0; n]);
                uniform(Backend::detect(), &m, &[7; 32], 1 << 40 | 3, &mut a);
                uniform(Backend::scalar(), &m, &[7; 32], 1 << 40 | 3, &mut b);
                assert!(a == b && a.iter().all(|x| *x < q));
                let mean = a.iter().map(|x| *x as f64 / q as f64).sum::<f64>() / n as f64;
                assert!(n < 1000 || (mean - 0.5).abs() < 0.05, "{mean}");
            }
        }
    }

    #[test]
    fn error_and_secret_distributions_have_their_moments() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut e, mut s) = (vec![0i8; 1 << 16], vec![0i8; 1 << 16]);
        centred_binomial(&mut rng, &mut e);
        ternary(&mut rng, &mut s);
        let var = |x: &[i8]| x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / x.len() as f64;
        assert!((var(&e) - 10.0).abs() < 0.4 && (var(&s) - 2.0 / 3.0).abs() < 0.02);
        assert_ne!(derive_seed(&[0; 32], "a", 0), derive_seed(&[0; 32], "a", 1));
    }
}
