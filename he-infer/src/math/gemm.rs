//! Matrix of integer constants times many limbs: `out_o = sum_i W[o][i] x_i` for every coefficient.
//!
//! The kernel of batch packing (one ciphertext per feature), where a linear layer is a matrix product over residues. Rows
//! with the same support are computed six at a time on sixteen coefficients, all products accumulated lazily; inputs are
//! first copied tile by tile into a contiguous buffer so that the inner loop never touches a new page.
#![expect(clippy::indexing_slicing, reason = "hot kernel: indices are bounded by the checked tile shape")]

use super::backend::Backend;
use super::modulus::{MASK52, Modulus};

/// Rows computed together.
pub const GROUP_ROWS: usize = 6;
/// Coefficients of one packed tile.
const TILE: usize = 64;
/// Coefficients of one micro-kernel call.
pub(super) const STRIP: usize = 16;

/// Up to six rows that share one list of inputs.
pub struct RowGroup {
    /// Input numbers, at most `MAX_LAZY_TERMS` of them.
    pub inputs: Vec<u32>,
    /// Output numbers, at most six.
    pub rows: Vec<u32>,
    /// Weights in Montgomery form, `weights[k * rows.len() + r]` for input `k` of the list and row `r`.
    pub weights: Vec<u64>,
    /// Add to what the outputs hold instead of replacing it.
    pub accumulate: bool,
}

/// Apply all groups to one limb (or a part of one): `inputs[i]` and `outputs[o]` have one common length.
///
/// Rows in no group keep their contents. `scratch` is resized as needed and can be reused between calls.
///
/// # Panics
/// If lengths differ or a group names an input or output that does not exist (checked by the caller).
pub fn multiply(
    backend: Backend,
    m: &Modulus,
    inputs: &[&[u64]],
    groups: &[RowGroup],
    outputs: &mut [&mut [u64]],
    scratch: &mut Vec<u64>,
) {
    let len = inputs.first().map_or(0, |x| x.len());
    assert!(inputs.iter().all(|x| x.len() == len) && outputs.iter().all(|o| o.len() == len));
    let plane = inputs.len() * STRIP;
    scratch.resize(plane * (TILE / STRIP), 0);
    for start in (0..len).step_by(TILE) {
        let end = (start + TILE).min(len);
        for (i, x) in inputs.iter().enumerate() {
            for (s, strip) in x[start..end].chunks(STRIP).enumerate() {
                scratch[s * plane + i * STRIP..][..strip.len()].copy_from_slice(strip);
            }
        }
        for group in groups {
            for s in 0..(end - start).div_ceil(STRIP) {
                let mut result = [[0u64; STRIP]; GROUP_ROWS];
                let packed = &scratch[s * plane..(s + 1) * plane];
                strip(backend, m, packed, group, &mut result);
                let at = start + s * STRIP;
                let width = STRIP.min(end - at);
                for (r, row) in group.rows.iter().zip(&result) {
                    let out = &mut outputs[*r as usize][at..at + width];
                    if group.accumulate {
                        out.iter_mut().zip(row).for_each(|(o, v)| *o = m.add(*o, *v));
                    } else {
                        out.copy_from_slice(&row[..width]);
                    }
                }
            }
        }
    }
}

fn strip(
    backend: Backend,
    m: &Modulus,
    packed: &[u64],
    group: &RowGroup,
    out: &mut [[u64; STRIP]; GROUP_ROWS],
) {
    #[cfg(target_arch = "x86_64")]
    if backend.is_ifma() {
        return super::simd_gemm::strip(m, packed, group, out);
    } else if backend.is_avx2() {
        return super::simd_avx2::strip(m, packed, group, out);
    }
    let _ = backend;
    let rows = group.rows.len();
    for (r, out) in out.iter_mut().enumerate().take(rows) {
        for (c, o) in out.iter_mut().enumerate() {
            let (mut lo, mut hi) = (0, 0);
            for (k, i) in group.inputs.iter().enumerate() {
                let p = u128::from(packed[*i as usize * STRIP + c]) * u128::from(group.weights[k * rows + r]);
                lo += p as u64 & MASK52;
                hi += (p >> 52) as u64;
            }
            *o = m.mont_reduce(lo, hi, group.inputs.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn products_are_exact_on_every_backend() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(9);
        for q in [0x3ffffffdf0001u64, 0x4020001] {
            let m = Modulus::new(q).unwrap();
            let mut word = || if rng.next_u64() % 5 == 0 { q - 1 } else { rng.next_u64() % q };
            let (count, len) = (37usize, TILE + STRIP + 3);
            let inputs: Vec<Vec<u64>> = (0..count).map(|_| (0..len).map(|_| word()).collect()).collect();
            let inputs: Vec<&[u64]> = inputs.iter().map(|x| &x[..]).collect();
            let groups: Vec<RowGroup> = (1..=GROUP_ROWS)
                .map(|rows| RowGroup {
                    inputs: (0..count as u32).step_by(rows).collect(),
                    rows: (0..rows as u32).collect(),
                    weights: (0..count.div_ceil(rows) * rows).map(|_| word()).collect(),
                    accumulate: rows > 1,
                })
                .collect();
            let mut want = vec![vec![0; len]; GROUP_ROWS];
            for group in &groups {
                for (k, i) in group.inputs.iter().enumerate() {
                    for (r, want) in want.iter_mut().enumerate().take(group.rows.len()) {
                        let w = m.from_mont(group.weights[k * group.rows.len() + r]);
                        want.iter_mut()
                            .zip(inputs[*i as usize])
                            .for_each(|(o, x)| *o = m.add(*o, m.mul(*x, w)));
                    }
                }
            }
            for backend in Backend::all() {
                let mut out = vec![vec![0; len]; GROUP_ROWS];
                let mut slices: Vec<&mut [u64]> = out.iter_mut().map(|o| &mut o[..]).collect();
                multiply(backend, &m, &inputs, &groups, &mut slices, &mut Vec::new());
                assert!(out == want, "{}", backend.name());
            }
        }
    }
}
