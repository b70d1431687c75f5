//! The encoder's Fourier transform, factored into sparse matrices on slots (Chen, Chillotti, Song 2019; Cheon, Han, Hhan
//! 2019).
//!
//! Stage `s` with `h = 2^(s-1)` has three diagonals, at offsets 0, `h` and `-h`. Consecutive stages are merged into a matrix of
//! up to `2^(k+1) - 1` diagonals at multiples of its smallest `h`. Bit reversal is never carried out: slots to coefficients
//! leaves the coefficients in bit-reversed order and coefficients to slots undoes it.
//!
//! Offsets are made non-negative by rotating all of a matrix's output by a constant; rotations pass through the matrices that
//! follow, and the constants are chosen so that they cancel over the whole transform.

use std::collections::BTreeMap;

use crate::ckks::Diagonals;

/// Which way the transform goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// `F_log n ... F_1`, applied from stage 1 up.
    SlotsToCoefficients,
    /// `F_1^-1 ... F_log n^-1`, applied from stage `log n` down.
    CoefficientsToSlots,
}

/// Diagonals by offset modulo the slots; real and imaginary parts over one period.
struct Matrix {
    slots: usize,
    diagonals: BTreeMap<usize, (Vec<f64>, Vec<f64>)>,
}

/// One matrix before its numbers: which stages it merges, and by how much its offsets are moved up.
pub(super) struct Merged {
    /// Stages in the order of application.
    pub stages: Vec<usize>,
    /// The lowest of them; offsets are multiples of `2^(lowest - 1)`.
    pub lowest: usize,
    pub offset: usize,
}

/// How the transform over `2^groups.sum()` slots is cut into matrices, in the order of application. `groups` lists how many
/// stages each takes, in that order.
pub(super) fn merged(direction: Direction, groups: &[usize]) -> Vec<Merged> {
    let log_slots: usize = groups.iter().sum();
    let slots = 1usize << log_slots;
    let mut order: Vec<usize> = (1..=log_slots).collect();
    if direction == Direction::CoefficientsToSlots {
        order.reverse();
    }
    let mut stages = order.into_iter();
    // The offset of the group of lowest stride is a full turn of that group, those in between one stride less, so that the
    // sum is a multiple of the highest stride, whose matrix wraps around and can take any offset.
    let mut merged: Vec<Merged> = groups
        .iter()
        .map(|&size| {
            let stages: Vec<usize> = stages.by_ref().take(size).collect();
            let lowest = stages.iter().copied().min().unwrap_or(1);
            let offset = match lowest {
                _ if lowest + size > log_slots => 0,
                1 => 1 << size,
                _ => ((1 << size) - 1) << (lowest - 1),
            };
            Merged { stages, lowest, offset }
        })
        .collect();
    let wanted: usize = merged.iter().map(|m| m.offset).sum();
    let highest = merged.iter_mut().filter(|m| m.lowest + m.stages.len() > log_slots);
    highest.for_each(|m| m.offset = (slots - wanted % slots) % slots);
    merged
}

/// The matrices of the transform over `2^groups.sum()` slots in the order of application, the entries of each multiplied by
/// `factor`.
pub(super) fn matrices(direction: Direction, groups: &[usize], factor: f64) -> Vec<Diagonals> {
    let slots = 1usize << groups.iter().sum::<usize>();
    let forward = direction == Direction::SlotsToCoefficients;
    let mut total_offset = 0;
    let mut diagonals = |m: Merged| {
        let stages = m.stages.iter().map(|s| stage(*s, slots, forward));
        let mut matrix = stages.reduce(|acc, next| next.after(&acc))?;
        matrix.scale(factor);
        total_offset = (total_offset + m.offset) % slots;
        Some(matrix.into_diagonals(1 << (m.lowest - 1), m.offset, total_offset))
    };
    merged(direction, groups).into_iter().filter_map(&mut diagonals).collect()
}

/// `F_s` or its inverse.
fn stage(s: usize, slots: usize, forward: bool) -> Matrix {
    let h = 1usize << (s - 1);
    let order = 8 * h;
    let mut power = 1usize;
    let roots: Vec<(f64, f64)> = (0..h)
        .map(|_| {
            let angle = std::f64::consts::TAU * power as f64 / order as f64;
            power = power * 5 % order;
            (angle.cos(), angle.sin())
        })
        .collect();
    let zeros = std::iter::repeat_n((0.0, 0.0), h);
    let ones = |x: f64| std::iter::repeat_n((x, 0.0), h);
    let (main, up, down): (Vec<_>, Vec<_>, Vec<_>) = if forward {
        let negative = roots.iter().map(|(c, s)| (-c, -s));
        (
            ones(1.0).chain(negative).collect(),
            roots.iter().copied().chain(zeros.clone()).collect(),
            zeros.chain(ones(1.0)).collect(),
        )
    } else {
        let conjugate = |sign: f64| roots.iter().map(move |(c, s)| (sign * c, -sign * s));
        (
            ones(0.5).chain(conjugate(-0.5)).collect(),
            ones(0.5).chain(zeros.clone()).collect(),
            zeros.chain(conjugate(0.5)).collect(),
        )
    };
    let mut m = Matrix { slots, diagonals: BTreeMap::new() };
    for (offset, values) in [(0, main), (h, up), (slots - h, down)] {
        m.add(offset, values.into_iter().unzip());
    }
    m
}

impl Matrix {
    fn add(&mut self, offset: usize, (re, im): (Vec<f64>, Vec<f64>)) {
        let entry = self.diagonals.entry(offset % self.slots);
        let (r, i) = entry.or_insert_with(|| (vec![0.0; re.len()], vec![0.0; im.len()]));
        for (sum, x) in [(r, re), (i, im)] {
            if sum.len() < x.len() {
                *sum = sum.iter().cycle().take(x.len()).copied().collect();
            }
            sum.iter_mut().zip(x.iter().cycle()).for_each(|(s, x)| *s += x);
        }
    }

    /// `self` after `first`: `out_(i+k)[j] = self_i[j] first_k[j + i]`.
    fn after(&self, first: &Matrix) -> Matrix {
        let mut out = Matrix { slots: self.slots, diagonals: BTreeMap::new() };
        for (i, (ar, ai)) in &self.diagonals {
            for (k, (br, bi)) in &first.diagonals {
                let period = ar.len().max(br.len());
                let shifted = br.iter().zip(bi).cycle().skip(i % br.len().max(1));
                let pairs = ar.iter().zip(ai).cycle().zip(shifted).take(period);
                out.add(
                    i + k,
                    pairs.map(|((ar, ai), (br, bi))| (ar * br - ai * bi, ar * bi + ai * br)).unzip(),
                );
            }
        }
        out
    }

    fn scale(&mut self, factor: f64) {
        self.diagonals.values_mut().for_each(|(re, im)| re.iter_mut().chain(im).for_each(|x| *x *= factor));
    }

    /// As a list at multiples of `stride`, every offset moved up by `own`, every diagonal turned by `total`.
    fn into_diagonals(self, stride: usize, own: usize, total: usize) -> Diagonals {
        let mut diagonals = Vec::new();
        for (offset, (re, im)) in self.diagonals {
            let at = (offset + own) % self.slots / stride;
            if diagonals.len() <= at {
                diagonals.resize(at + 1, None);
            }
            let turned = |x: &[f64]| -> Vec<f64> {
                x.iter().cycle().skip(total % x.len().max(1)).take(x.len()).copied().collect()
            };
            if let Some(slot) = diagonals.get_mut(at) {
                *slot = Some((turned(&re), turned(&im)));
            }
        }
        Diagonals { stride, diagonals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{backend::Backend, ntt::bit_reverse, special_fft::SpecialFft};

    fn apply(m: &Diagonals, (re, im): (Vec<f64>, Vec<f64>)) -> (Vec<f64>, Vec<f64>) {
        let n = re.len();
        let mut out = (vec![0.0; n], vec![0.0; n]);
        for (i, d) in m.diagonals.iter().enumerate() {
            let Some((dr, di)) = d else { continue };
            for j in 0..n {
                let (a, b) = (dr[j % dr.len()], di[j % di.len()]);
                let at = (j + i * m.stride) % n;
                out.0[j] += a * re[at] - b * im[at];
                out.1[j] += a * im[at] + b * re[at];
            }
        }
        out
    }

    #[test]
    fn matrices_multiply_to_the_encoders_transform_and_its_inverse() {
        for groups in [vec![3, 3, 3], vec![4, 3, 2], vec![2, 2, 2, 3], vec![9]] {
            let n = 1 << 9;
            let z: (Vec<f64>, Vec<f64>) =
                (0..n).map(|i| (f64::from(i).sin(), (0.3 * f64::from(i)).cos())).unzip();
            // Slots z as coefficients in bit-reversed order: decoding them must give F z.
            let at = |j: usize| bit_reverse(j, 9);
            let (mut re, mut im): (Vec<f64>, Vec<f64>) =
                (0..n as usize).map(|j| (z.0[at(j)], z.1[at(j)])).unzip();
            SpecialFft::new(n as usize, Backend::scalar()).decode(&mut re, &mut im);
            let up = matrices(Direction::SlotsToCoefficients, &groups, 1.0);
            let got = up.iter().fold(z.clone(), |v, m| apply(m, v));
            for j in 0..n as usize {
                assert!((got.0[j] - re[j]).abs() + (got.1[j] - im[j]).abs() < 1e-9, "{groups:?} slot {j}");
            }
            let mut down = groups.clone();
            down.reverse();
            for m in matrices(Direction::CoefficientsToSlots, &down, 1.0).iter() {
                (re, im) = apply(m, (re, im));
            }
            for j in 0..n as usize {
                assert!((z.0[j] - re[j]).abs() + (z.1[j] - im[j]).abs() < 1e-9, "{groups:?} slot {j} back");
            }
            let most = groups.iter().map(|k| 1 << (k + 1)).max().unwrap();
            assert!(up.iter().all(|m| m.diagonals.len() <= most));
        }
    }
}
