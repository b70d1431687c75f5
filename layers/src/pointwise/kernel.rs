//! What is computed for each element, one row of a channel at a time: a row is what one image has of one channel.
//!
//! Plain loops over blocks of [`LANES`] values, compiled for the processor's widest vectors by `pulp`.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

pub(super) const LANES: usize = 16;

fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

/// Runs a closure that reads, compiled for the processor's vectors.
///
/// `Arch::dispatch` takes closures too, but calls them by value: for one that could be called by reference this goes through a
/// function without vectors into which everything is inlined.
fn reading<R>(f: impl Fn() -> R) -> R {
    struct Wide<F>(F);
    impl<R, F: Fn() -> R> WithSimd for Wide<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> R {
            (self.0)()
        }
    }
    arch().dispatch(Wide(f))
}

/// As [`reading`] for a closure that writes.
pub(super) fn writing<R>(f: impl FnMut() -> R) -> R {
    struct Wide<F>(F);
    impl<R, F: FnMut() -> R> WithSimd for Wide<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _simd: S) -> R {
            (self.0)()
        }
    }
    arch().dispatch(Wide(f))
}

/// `Σ f(xᵢ, gᵢ)` in each of `K` sums, within a block of lanes in single precision.
#[inline(always)]
fn sums<const K: usize>(x: &[f32], g: &[f32], f: impl Fn(f32, f32) -> [f32; K]) -> [f64; K] {
    let mut lanes = [[0f32; LANES]; K];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (gs, g_rest) = g.as_chunks::<LANES>();
    for (x, g) in xs.iter().zip(gs) {
        for i in 0..LANES {
            #[expect(clippy::indexing_slicing, reason = "both are arrays of this length")]
            let terms = f(x[i], g[i]);
            for (lane, term) in lanes.iter_mut().zip(terms) {
                #[expect(clippy::indexing_slicing, reason = "an array of this length")]
                {
                    lane[i] += term;
                }
            }
        }
    }
    let mut out = lanes.map(|l| l.iter().map(|v| f64::from(*v)).sum());
    for (x, g) in x_rest.iter().zip(g_rest) {
        for (sum, term) in out.iter_mut().zip(f(*x, *g)) {
            *sum += f64::from(term);
        }
    }
    out
}

/// Sum of a row, and sum of the squares of its distances from its own mean.
pub(super) fn moments(x: &[f32]) -> [f64; 2] {
    reading(
        #[inline(always)]
        || {
            let [sum] = sums(x, x, |x, _| [x]);
            let mean = (sum / x.len().max(1) as f64) as f32;
            let [squares, rest] = sums(x, x, |x, _| [(x - mean) * (x - mean), x - mean]);
            // The mean was rounded; what that left over is taken out again.
            [sum, squares - rest * rest / x.len().max(1) as f64]
        },
    )
}

/// `y = scale·x + shift`.
pub(super) fn affine(x: &[f32], y: &mut [f32], scale: f32, shift: f32) {
    writing(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y = x.mul_add(scale, shift);
            }
        },
    );
}

/// `Σ g` and `Σ g·(x − mean)`.
pub(super) fn correlate(x: &[f32], g: &[f32], mean: f32) -> [f64; 2] {
    reading(
        #[inline(always)]
        || sums(x, g, |x, g| [g, g * (x - mean)]),
    )
}

/// `dx = s·g + t·x + u`.
pub(super) fn combine(x: &[f32], g: &[f32], dx: &mut [f32], [s, t, u]: [f32; 3]) {
    writing(
        #[inline(always)]
        || {
            for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
                *dx = g.mul_add(s, x.mul_add(t, u));
            }
        },
    );
}

/// An activation on one channel: `a x² + b x + c + relu·max(x, 0)` of `x` limited to `±limit`.
#[derive(Clone, Copy)]
pub(super) struct Curve {
    pub a: f32,
    pub b: f32,
    pub c: f32,
    pub relu: f32,
    pub limit: f32,
}

impl Curve {
    pub fn forward(self, x: &[f32], y: &mut [f32]) {
        let Self { a, b, c, relu, limit } = self;
        writing(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    let x = x.clamp(-limit, limit);
                    *y = x.mul_add(x.mul_add(a, b), c) + relu * x.max(0.0);
                }
            },
        );
    }

    /// Gradient by `x` into `dx`; returns `Σ g·x²`, `Σ g·x`, `Σ g` for those by the coefficients.
    pub fn backward(self, x: &[f32], g: &[f32], dx: &mut [f32]) -> [f64; 3] {
        let Self { a, b, relu, limit, .. } = self;
        writing(
            #[inline(always)]
            || {
                for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
                    let slope = x.mul_add(2.0 * a, b) + if *x > 0.0 { relu } else { 0.0 };
                    *dx = if x.abs() <= limit { g * slope } else { 0.0 };
                }
                sums(x, g, |x, g| {
                    let x = x.clamp(-limit, limit);
                    [g * x * x, g * x, g]
                })
            },
        )
    }
}

/// How far `x` is outside `[lo, hi]`, with the sign of the side.
#[inline(always)]
fn outside(x: f32, [lo, hi]: [f32; 2]) -> f32 {
    x - x.clamp(lo, hi)
}

/// Sum and maximum of the distances from `[lo, hi]`.
pub(super) fn excess(x: &[f32], interval: [f32; 2]) -> [f64; 2] {
    reading(
        #[inline(always)]
        || {
            let [sum] = sums(x, x, |x, _| [outside(x, interval).abs()]);
            // A NaN must not vanish in the maximum, and it does not in the sum.
            let max = if sum.is_nan() {
                f32::NAN
            } else {
                x.iter().fold(0f32, |m, x| m.max(outside(*x, interval).abs()))
            };
            [sum, f64::from(max)]
        },
    )
}

/// How many are at least `worst` outside `[lo, hi]`.
pub(super) fn reaching(x: &[f32], interval: [f32; 2], worst: f32) -> usize {
    reading(
        #[inline(always)]
        || x.iter().map(|x| usize::from(outside(*x, interval).abs() >= worst)).sum(),
    )
}

/// Gradient of [`excess`], `by` its sum and its maximum, which is `worst`.
pub(super) fn excess_backward(x: &[f32], dx: &mut [f32], interval: [f32; 2], worst: f32, by: [f32; 2]) {
    let [by_sum, by_max] = by;
    writing(
        #[inline(always)]
        || {
            for (dx, x) in dx.iter_mut().zip(x) {
                let e = outside(*x, interval);
                let size = if e.abs() >= worst { by_sum + by_max } else { by_sum };
                *dx = if e == 0.0 { 0.0 } else { size.copysign(e) };
            }
        },
    );
}
