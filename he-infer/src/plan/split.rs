//! How the rotations of a linear layer are split into babies and giants.

use std::collections::BTreeSet;

/// Relative prices of the two kinds of rotations and of one more key, which decide how offsets are split.
const HOISTED: f64 = 0.45;
const ROTATION: f64 = 1.0;
const KEY: f64 = 0.1;

/// How offsets are split into babies and giants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pitch: i64,
    modulus: i64,
    low: i64,
    stride: i64,
}

impl Split {
    /// `(baby, giant)` with `baby + giant ≡ d (mod modulus)`.
    pub(super) fn of(&self, d: i64) -> (i32, i32) {
        let r = signed(d, self.pitch);
        let u = (d - r).rem_euclid(self.modulus) / self.pitch;
        let k = (r - self.low) / self.stride;
        ((r - k * self.stride) as i32, (self.pitch * u + self.stride * k) as i32)
    }

    fn cost(&self, offsets: &[i64]) -> f64 {
        let (mut babies, mut giants) = (BTreeSet::new(), BTreeSet::new());
        for &d in offsets {
            let (b, g) = self.of(d);
            babies.insert(b);
            giants.insert(g);
        }
        let steps: Vec<i32> = giants.iter().copied().collect();
        let keys: BTreeSet<i32> = steps.iter().zip(steps.iter().skip(1)).map(|(a, b)| b - a).collect();
        let last = f64::from(u8::from(steps.first().is_some_and(|g| *g != 0)));
        let hoisted = babies.iter().filter(|b| **b != 0).count() as f64;
        hoisted * (HOISTED + KEY) + (steps.len() as f64 - 1.0 + last) * ROTATION + keys.len() as f64 * KEY
    }

    /// The cheapest split of a set of offsets: every power-of-two pitch, every stride up to the widest useful one.
    pub(super) fn best(offsets: &[i64], modulus: i64) -> Self {
        let mut best = Self { pitch: modulus, modulus, low: 0, stride: 1 };
        let mut best_cost = f64::INFINITY;
        let mut pitch = modulus;
        while pitch >= 1 {
            let residues: Vec<i64> = offsets.iter().map(|&d| signed(d, pitch)).collect();
            let low = residues.iter().copied().min().unwrap_or(0);
            let span = residues.iter().copied().max().unwrap_or(0) - low + 1;
            let widest = span.min(1024);
            // Strides near the square root of the span are dense candidates; far above it powers of two suffice.
            let strides = (1..=widest).filter(|s| *s <= 256 || s.count_ones() <= 2 || *s == widest);
            for stride in strides {
                let split = Self { pitch, modulus, low, stride };
                // At least this many giants or babies: skip what cannot win.
                if (offsets.len() as f64 / stride as f64 - 1.0) * ROTATION >= best_cost {
                    continue;
                }
                let cost = split.cost(offsets);
                if cost < best_cost {
                    (best, best_cost) = (split, cost);
                }
            }
            pitch /= 2;
        }
        best
    }
}

/// The residue of `d` modulo `m` in `[−m/2, m/2)`.
fn signed(d: i64, m: i64) -> i64 {
    let r = d.rem_euclid(m);
    if 2 * r >= m && m > 1 { r - m } else { r }
}
