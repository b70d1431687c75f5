//! Arithmetic below CKKS: prime moduli, transforms, base conversion, sampling.
//!
//! Nothing here knows about ciphertexts. Every kernel exists as portable scalar code, as AVX2 code and as AVX-512-IFMA
//! code (`math::simd*`); a [`backend::Backend`] value chosen at run time says which one runs. All give bit-identical results.
//!
//! Conventions used everywhere: residues are fully reduced to `[0, q)` between kernels, every prime is below `2^50`, and
//! "Montgomery form" of `w` means `w * 2^52 mod q`, so that a product with one operand in that form needs one reduction.
pub mod backend;
pub mod buffer;
pub mod convert;
pub mod gemm;
pub mod key_product;
pub mod masking;
pub mod modulus;
pub mod ntt;
pub mod packed;
pub mod permute;
pub mod poly;
pub mod primes;
pub mod sampling;
#[cfg(target_arch = "x86_64")]
mod simd;
#[cfg(target_arch = "x86_64")]
mod simd_aes;
#[cfg(target_arch = "x86_64")]
mod simd_avx2;
#[cfg(target_arch = "x86_64")]
mod simd_avx2_field;
#[cfg(target_arch = "x86_64")]
mod simd_avx2_ntt;
#[cfg(target_arch = "x86_64")]
mod simd_butterfly;
#[cfg(target_arch = "x86_64")]
mod simd_chacha;
#[cfg(target_arch = "x86_64")]
mod simd_convert;
#[cfg(target_arch = "x86_64")]
mod simd_fft;
#[cfg(target_arch = "x86_64")]
mod simd_gemm;
#[cfg(target_arch = "x86_64")]
mod simd_key_product;
#[cfg(target_arch = "x86_64")]
mod simd_masking;
#[cfg(target_arch = "x86_64")]
mod simd_ntt;
#[cfg(target_arch = "x86_64")]
mod simd_ntt_inverse;
#[cfg(target_arch = "x86_64")]
mod simd_packed;
#[cfg(target_arch = "x86_64")]
mod simd_permute;
pub mod special_fft;
pub mod vector;
