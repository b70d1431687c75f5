//! Chebyshev series of every element, in one pass over memory for the values and one for the gradient, whatever their degree.

use hetrain_export::{Interval, Polynomial};

use super::kernel::{LANES, writing};

/// `p(x)` or `x·p(x)`, with `p` a polynomial in the Chebyshev basis.
#[derive(Clone, Debug)]
pub struct Series {
    value: Vec<f32>,
    /// Of `p'`, by `x`.
    slope: Vec<f32>,
    centre: f32,
    half: f32,
    /// Whether `p` is continued by its values at the ends of its interval.
    held: bool,
    /// Whether `p` is multiplied with `x`.
    product: bool,
}

impl Series {
    /// `p`, in the Chebyshev basis.
    pub(crate) fn new(p: &Polynomial) -> Self {
        let interval = p.interval();
        let half = interval.half_width();
        let c = p.coeffs();
        // T'ₙ = 2n·(Tₙ₋₁ + Tₙ₋₃ + …), with half of T₀.
        let mut slope = vec![0.0; c.len().saturating_sub(1)];
        for k in (0..slope.len()).rev() {
            let above = slope.get(k + 2).copied().unwrap_or(0.0);
            let next = c.get(k + 1).copied().unwrap_or(0.0);
            if let Some(s) = slope.get_mut(k) {
                *s = above + 2.0 * (k + 1) as f64 * next;
            }
        }
        if let Some(first) = slope.first_mut() {
            *first *= 0.5;
        }
        Self {
            value: c.iter().map(|v| *v as f32).collect(),
            slope: slope.iter().map(|v| (*v / half) as f32).collect(),
            centre: interval.centre() as f32,
            half: half as f32,
            held: false,
            product: false,
        }
    }

    /// The same, constant outside the interval.
    pub(crate) fn held(self, held: bool) -> Self {
        Self { held, ..self }
    }

    /// `x·p(x)` for `p ≈ f`, constant outside `interval`.
    pub(crate) fn product(f: impl Fn(f64) -> f64, degree: usize, interval: Interval) -> Option<Self> {
        let p = Polynomial::interpolate(f, degree, interval).ok()?;
        Some(Self { held: true, product: true, ..Self::new(&p) })
    }

    /// Places of a block on `[−1, 1]`.
    #[inline(always)]
    fn places(&self, x: &[f32; LANES]) -> [f32; LANES] {
        let by = 1.0 / self.half;
        let mut t = [0f32; LANES];
        for (t, x) in t.iter_mut().zip(x) {
            *t = (x - self.centre) * by;
        }
        if self.held {
            for t in &mut t {
                *t = t.clamp(-1.0, 1.0);
            }
        }
        t
    }

    #[inline(always)]
    fn values(&self, x: &[f32; LANES]) -> [f32; LANES] {
        let mut y = clenshaw(&self.value, &self.places(x));
        if self.product {
            for (y, x) in y.iter_mut().zip(x) {
                *y *= x;
            }
        }
        y
    }

    #[inline(always)]
    fn slopes(&self, x: &[f32; LANES]) -> [f32; LANES] {
        let t = self.places(x);
        let mut slope = clenshaw(&self.slope, &t);
        if self.held {
            for (s, x) in slope.iter_mut().zip(x) {
                *s = if (x - self.centre).abs() > self.half { 0.0 } else { *s };
            }
        }
        if self.product {
            let value = clenshaw(&self.value, &t);
            for ((s, x), value) in slope.iter_mut().zip(x).zip(value) {
                *s = s.mul_add(*x, value);
            }
        }
        slope
    }

    /// Values of one row.
    pub(super) fn forward(&self, x: &[f32], y: &mut [f32]) {
        writing(
            #[inline(always)]
            || {
                let (xs, x_rest) = x.as_chunks::<LANES>();
                let (ys, y_rest) = y.as_chunks_mut::<LANES>();
                for (x, y) in xs.iter().zip(ys) {
                    *y = self.values(x);
                }
                y_rest.iter_mut().zip(self.values(&filled(x_rest))).for_each(|(y, v)| *y = v);
            },
        );
    }

    /// Gradient by the elements of one row.
    pub(super) fn backward(&self, x: &[f32], g: &[f32], dx: &mut [f32]) {
        writing(
            #[inline(always)]
            || {
                let (xs, x_rest) = x.as_chunks::<LANES>();
                let (ds, d_rest) = dx.as_chunks_mut::<LANES>();
                for (x, d) in xs.iter().zip(ds) {
                    *d = self.slopes(x);
                }
                d_rest.iter_mut().zip(self.slopes(&filled(x_rest))).for_each(|(d, v)| *d = v);
                for (dx, g) in dx.iter_mut().zip(g) {
                    *dx *= g;
                }
            },
        );
    }
}

/// The last block, filled up.
#[inline(always)]
fn filled(rest: &[f32]) -> [f32; LANES] {
    let mut block = [0f32; LANES];
    block.iter_mut().zip(rest).for_each(|(b, x)| *b = *x);
    block
}

/// `Σ cₙTₙ(t)` by Clenshaw's recurrence.
#[inline(always)]
fn clenshaw(c: &[f32], t: &[f32; LANES]) -> [f32; LANES] {
    let [first, rest @ ..] = c else { return [0.0; LANES] };
    let (mut b1, mut b2) = ([0f32; LANES], [0f32; LANES]);
    for &c in rest.iter().rev() {
        let before = b1;
        for ((b1, b2), t) in b1.iter_mut().zip(&mut b2).zip(t) {
            *b1 = (2.0 * t).mul_add(*b1, c - *b2);
        }
        b2 = before;
    }
    for ((b1, b2), t) in b1.iter_mut().zip(b2).zip(t) {
        *b1 = t.mul_add(*b1, first - b2);
    }
    b1
}
