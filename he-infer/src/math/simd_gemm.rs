//! IFMA micro-kernel of [`super::gemm`]: up to six rows times sixteen coefficients, accumulators in registers.
#![expect(unsafe_code, reason = "target features")]
#![expect(clippy::indexing_slicing, reason = "accumulators of constant size")]

use std::arch::x86_64::*;

use super::gemm::{GROUP_ROWS, RowGroup, STRIP};
use super::modulus::Modulus;
use super::simd::{Lanes, load, splat, store};

/// Compute one strip; the caller has checked the processor through `Backend::detect`.
pub(super) fn strip(m: &Modulus, packed: &[u64], group: &RowGroup, out: &mut [[u64; STRIP]; GROUP_ROWS]) {
    // SAFETY: only reached with a `Backend` from `detect`, which reported these features.
    unsafe {
        match group.rows.len() {
            1 => rows::<1>(m, packed, group, out),
            2 => rows::<2>(m, packed, group, out),
            3 => rows::<3>(m, packed, group, out),
            4 => rows::<4>(m, packed, group, out),
            5 => rows::<5>(m, packed, group, out),
            _ => rows::<6>(m, packed, group, out),
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn rows<const R: usize>(m: &Modulus, packed: &[u64], group: &RowGroup, out: &mut [[u64; STRIP]; GROUP_ROWS]) {
    let zero = _mm512_setzero_si512();
    let mut acc = [[zero; 4]; R];
    for (i, w) in group.inputs.iter().zip(group.weights.chunks_exact(R)) {
        let x = &packed[*i as usize * STRIP..][..STRIP];
        let (a, b) = (load(x, 0), load(x, 8));
        for r in 0..R {
            let k = splat(w[r]);
            acc[r][0] = _mm512_madd52lo_epu64(acc[r][0], a, k);
            acc[r][1] = _mm512_madd52hi_epu64(acc[r][1], a, k);
            acc[r][2] = _mm512_madd52lo_epu64(acc[r][2], b, k);
            acc[r][3] = _mm512_madd52hi_epu64(acc[r][3], b, k);
        }
    }
    let lanes = Lanes::new(m, group.inputs.len());
    for (acc, out) in acc.iter().zip(out) {
        store(out, 0, lanes.reduce(acc[0], acc[1]));
        store(out, 8, lanes.reduce(acc[2], acc[3]));
    }
}
