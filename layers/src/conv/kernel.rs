//! The two inner loops of a convolution on flat planes: sums of shifted planes, and inner products with them.
//!
//! Written once over `pulp`'s vectors, so that the processor's widest are used. Registers are blocked: 8 outputs by two vectors,
//! and 4 by 6 inner products.
#![expect(clippy::indexing_slicing, reason = "hot kernel: every range is checked before the loops")]

use std::sync::OnceLock;

use bytemuck::Pod;
use pulp::{Arch, Simd, WithSimd};

/// Outputs whose sums are in registers together.
pub(super) const BLOCK: usize = 8;

fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

#[inline(always)]
fn load<V: Pod>(from: &[f32]) -> V {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&from[..size_of::<V>() / 4]))
}

#[inline(always)]
fn store<V: Pod>(to: &mut [f32], v: V) {
    to[..size_of::<V>() / 4].copy_from_slice(bytemuck::cast_slice(std::slice::from_ref(&v)));
}

/// `out[o][f] = Σ_t weights[o][t] · source[terms[t] + f]` for `f < length`.
pub(super) struct Correlate<'a> {
    pub source: &'a [f32],
    /// Where each term begins in `source`.
    pub terms: &'a [usize],
    /// `[outputs / BLOCK, terms, BLOCK]`, the last block padded with anything.
    pub weights: &'a [f32],
    /// `[outputs, length]`.
    pub out: &'a mut [f32],
    /// A multiple of [`super::geometry::STRIP`].
    pub length: usize,
}

impl Correlate<'_> {
    pub fn run(self) {
        arch().dispatch(self);
    }
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { source, terms, weights, out, length } = self;
        let lanes = S::F32_LANES;
        let block = terms.len() * BLOCK;
        for (outs, weights) in out.chunks_mut(BLOCK * length).zip(weights.chunks_exact(block)) {
            for at in (0..length).step_by(2 * lanes) {
                let mut sums = [[simd.splat_f32s(0.0); 2]; BLOCK];
                for (term, w) in terms.iter().zip(weights.chunks_exact(BLOCK)) {
                    let from = &source[term + at..term + at + 2 * lanes];
                    let x: [S::f32s; 2] = [load(from), load(&from[lanes..])];
                    for (sum, w) in sums.iter_mut().zip(w) {
                        let w = simd.splat_f32s(*w);
                        sum[0] = simd.mul_add_f32s(w, x[0], sum[0]);
                        sum[1] = simd.mul_add_f32s(w, x[1], sum[1]);
                    }
                }
                for (out, sum) in outs.chunks_mut(length).zip(sums) {
                    store(&mut out[at..], sum[0]);
                    store(&mut out[at + lanes..], sum[1]);
                }
            }
        }
    }
}

/// Left sides of inner products that are in registers together.
const LEFT: usize = 4;
/// Right sides.
const RIGHT: usize = 6;

/// `out[o][t] += Σ_f left[o][f] · right[terms[t] + f]` over `f < length`.
pub(super) struct InnerProducts<'a> {
    /// `[outputs, left_stride]`, beginning at the first `f`.
    pub left: &'a [f32],
    pub left_stride: usize,
    pub right: &'a [f32],
    pub terms: &'a [usize],
    /// `[outputs, terms]`.
    pub out: &'a mut [f32],
    /// A multiple of [`super::geometry::STRIP`].
    pub length: usize,
}

impl InnerProducts<'_> {
    pub fn run(self) {
        arch().dispatch(self);
    }
}

impl WithSimd for InnerProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { left, left_stride, right, terms, out, length } = self;
        let lanes = S::F32_LANES;
        let count = terms.len();
        for (block, outs) in out.chunks_mut(LEFT * count).enumerate() {
            let here = outs.len() / count;
            // A block that is not full repeats its last row.
            let rows: [usize; LEFT] = std::array::from_fn(|i| (block * LEFT + i.min(here - 1)) * left_stride);
            let xs = rows.map(|r| &left[r..r + length]);
            for (first, group) in terms.chunks(RIGHT).enumerate() {
                let ys: [&[f32]; RIGHT] =
                    std::array::from_fn(|j| &right[group[j.min(group.len() - 1)]..][..length]);
                let mut sums = [[simd.splat_f32s(0.0); RIGHT]; LEFT];
                for at in (0..length).step_by(lanes) {
                    let x: [S::f32s; LEFT] = xs.map(|x| load(&x[at..]));
                    for (j, y) in ys.iter().enumerate() {
                        let y: S::f32s = load(&y[at..]);
                        for (sum, x) in sums.iter_mut().zip(x) {
                            sum[j] = simd.mul_add_f32s(x, y, sum[j]);
                        }
                    }
                }
                for (out, sum) in outs.chunks_mut(count).zip(sums) {
                    for (out, sum) in out[first * RIGHT..].iter_mut().zip(sum).take(group.len()) {
                        *out += simd.reduce_sum_f32s(sum);
                    }
                }
            }
        }
    }
}
